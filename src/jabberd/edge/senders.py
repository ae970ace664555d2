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

    __slots__ = ("_bytes", "_count", "_open", "_progress", "_room", "_route", "_senders",
                 "_was_full")  # fmt: skip

    def __init__(
        self, route: Callable[[Stanza], Verdict | asyncio.Task[Verdict]], room: Callable[[], None]
    ) -> None:
        self._route = route
        self._room = room
        # Behind a stanza that is under way, with their places among all that were put in.
        self._senders: dict[str, deque[tuple[int, Stanza]]] = {}
        self._count = 0
        self._open: dict[int, None] = {}  # places without a verdict, in order
        self._progress: list[tuple[int, asyncio.Future[None]]] = []
        self._bytes = 0
        self._was_full = False

    @property
    def full(self) -> bool:
        """Whether no more should be put in."""
        return self._bytes > _MOST_WAITING

    @property
    def count(self) -> int:
        """How many stanzas were put in."""
        return self._count

    @property
    def handled(self) -> int:
        """How many of them have their verdicts, up to the first one that has not."""
        return next(iter(self._open)) if self._open else self._count

    async def reach(self, count: int) -> None:
        """Wait until so many are handled."""
        if self.handled < count:
            reached = asyncio.get_running_loop().create_future()
            self._progress.append((count, reached))
            await reached

    def begin(self) -> int:
        """Count a stanza that somebody else takes; returns its place, for `done`."""
        place = self._count
        self._count += 1
        self._open[place] = None
        return place

    def done(self, place: int) -> None:
        """A stanza that was begun is handled."""
        del self._open[place]
        if self._progress:
            self._tell_progress()

    def put(self, stanza: Stanza) -> None:
        """Route a stanza when those of the same sender before it have their verdicts."""
        place = self._count
        self._count += 1
        sender = stanza.from_.bare_text if stanza.from_ is not None else ""
        queue = self._senders.get(sender)
        if queue is not None:
            queue.append((place, stanza))
            self._hold(place, stanza)
            return
        work = self._route(stanza)
        if isinstance(work, asyncio.Task):
            self._senders[sender] = deque()
            self._hold(place, stanza)
            self._wait(work, sender, place, stanza)

    def _hold(self, place: int, stanza: Stanza) -> None:
        self._open[place] = None
        self._bytes += _weight(stanza)
        self._was_full = self._was_full or self.full

    def _let_go(self, place: int, stanza: Stanza) -> None:
        del self._open[place]
        self._bytes -= _weight(stanza)

    def _wait(self, work: asyncio.Task[Verdict], sender: str, place: int, stanza: Stanza) -> None:
        work.add_done_callback(partial(self._go_on, sender, place, stanza))

    def _go_on(self, sender: str, place: int, stanza: Stanza, work: asyncio.Task[Verdict]) -> None:
        self._let_go(place, stanza)
        queue = self._senders[sender]
        if work.cancelled():  # the process ends
            for waiting in queue:
                self._let_go(*waiting)
            queue.clear()
        elif (error := work.exception()) is not None:
            _log.error("a stanza failed", exc_info=error)
        while queue:
            place, following = queue.popleft()
            verdict = self._route(following)
            if isinstance(verdict, asyncio.Task):
                self._wait(verdict, sender, place, following)
                break
            self._let_go(place, following)
        else:
            del self._senders[sender]
        if self._progress:
            self._tell_progress()
        if self._was_full and self._bytes <= _MOST_WAITING // 2:
            self._was_full = False
            self._room()

    def _tell_progress(self) -> None:
        handled = self.handled
        waiting, self._progress = self._progress, []
        for count, reached in waiting:
            if count > handled:
                self._progress.append((count, reached))
            elif not reached.done():
                reached.set_result(None)


def _weight(stanza: Stanza) -> int:
    return len(stanza.inner) + len(stanza.extra) + _STANZA_ITSELF
