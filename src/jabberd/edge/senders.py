"""One queue per sender, for streams that carry many people.

What each of them sends is taken in order, but nobody waits for another.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

import structlog

from jabberd.core.verdict import Verdict
from jabberd.xmpp.stanza import Stanza

_log: Final = structlog.get_logger("jabberd.senders")
_MOST_WAITING: Final = 1_048_576  # bytes, of all queues of a connection
_STANZA_ITSELF: Final = 512  # bytes: about what a stanza takes besides its payload


class SenderQueues:
    """Stanzas of many senders, each sender's one after the other.

    A sender is a bare JID: what the occupants of one room say stays in order too. Nothing is
    ever dropped; who fills the queues looks at `full` and stops for a while. They go on without
    their connection: what was received is not lost with it.

    Args:
        route: takes a stanza; the verdict may have to be waited for.
        room: called when the queues are no longer full after having been so.
    """

    __slots__ = ("_bytes", "_room", "_route", "_senders", "_was_full")

    def __init__(
        self, route: Callable[[Stanza], Verdict | asyncio.Task[Verdict]], room: Callable[[], None]
    ) -> None:
        self._route = route
        self._room = room
        self._senders: dict[str, deque[Stanza]] = {}  # behind a stanza that is under way
        self._bytes = 0
        self._was_full = False

    @property
    def full(self) -> bool:
        """Whether no more should be put in."""
        return self._bytes > _MOST_WAITING

    def put(self, stanza: Stanza) -> None:
        """Route a stanza when those of the same sender before it have their verdicts."""
        sender = stanza.from_.bare_text if stanza.from_ is not None else ""
        queue = self._senders.get(sender)
        if queue is not None:
            queue.append(stanza)
            self._hold(stanza)
            return
        work = self._route(stanza)
        if isinstance(work, asyncio.Task):
            self._senders[sender] = deque()
            self._hold(stanza)
            self._wait(work, sender, stanza)

    def _hold(self, stanza: Stanza) -> None:
        self._bytes += _weight(stanza)
        self._was_full = self._was_full or self.full

    def _wait(self, work: asyncio.Task[Verdict], sender: str, stanza: Stanza) -> None:
        work.add_done_callback(partial(self._go_on, sender, stanza))

    def _go_on(self, sender: str, stanza: Stanza, work: asyncio.Task[Verdict]) -> None:
        self._bytes -= _weight(stanza)
        queue = self._senders[sender]
        if work.cancelled():  # the process ends
            self._bytes -= sum(map(_weight, queue))
            queue.clear()
        elif (error := work.exception()) is not None:
            _log.error("a stanza failed", exc_info=error)
        while queue:
            following = queue.popleft()
            verdict = self._route(following)
            if isinstance(verdict, asyncio.Task):
                self._wait(verdict, sender, following)
                break
            self._bytes -= _weight(following)
        else:
            del self._senders[sender]
        if self._was_full and self._bytes <= _MOST_WAITING // 2:
            self._was_full = False
            self._room()


def _weight(stanza: Stanza) -> int:
    return len(stanza.inner) + len(stanza.extra) + _STANZA_ITSELF
