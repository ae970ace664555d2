"""What a component was sent: one queue per sender, so that nobody waits for another."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

import structlog

from jabberd.xmpp import ns
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.stanza import Iq, Message, Presence, Stanza

_log: Final = structlog.get_logger("jabberd.client")
_STANZA_ITSELF: Final = 512  # bytes: about what a stanza takes besides its payload
_REMEMBERED: Final = 10_000  # messages that are recognised when they are sent again

Receive = Callable[[Stanza], Awaitable[None] | None]


class Tally:
    """How much of what came by one link is done.

    Args:
        progress: called whenever more is.

    Attributes:
        count: how many stanzas have come.
    """

    __slots__ = ("_open", "_progress", "count")

    def __init__(self, progress: Callable[[], None]) -> None:
        self._open: dict[int, None] = {}  # not done, in order
        self._progress = progress
        self.count = 0

    @property
    def handled(self) -> int:
        """How many are done, up to the first one that is not."""
        return next(iter(self._open)) if self._open else self.count

    def begin(self) -> Callable[[], None]:
        """Count a stanza; returns what is to be called when it is done."""
        place = self.count
        self.count += 1
        self._open[place] = None

        def done() -> None:
            del self._open[place]
            self._progress()

        return done


class _Item(NamedTuple):
    stanza: Stanza
    done: Callable[[], None]
    again: bool


class Inbox:
    """Stanzas that wait for whoever receives them, and those that came lately.

    Args:
        receive: takes a stanza; where it raises StanzaError, the sender is told.
        refuse: tells the sender of a stanza why it was not taken.
        per_sender: how many stanzas of one sender wait at most; more are refused.
        most: bytes of all of them, beyond which more are refused. Reading must not stop for
            that: whoever receives may himself wait for an acknowledgement that is to be read.
    """

    def __init__(
        self,
        receive: Receive,
        refuse: Callable[[Stanza, StanzaError], None],
        *,
        per_sender: int,
        most: int,
    ) -> None:
        self._receive = receive
        self._refuse = refuse
        self._per_sender = per_sender
        self._most = most
        self._queues: dict[str, deque[_Item]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._bytes = 0
        self._seen: OrderedDict[tuple[str, str, str], tuple[object, int]] = OrderedDict()

    def came_before(self, message: Message, link: object) -> bool:
        """Whether a message came by an earlier link; it is remembered if not.

        It has the same addresses, identifier and content: the server sends again what was not
        acknowledged. It may have been through the server's queue on the disk, so that the same
        content need not be the same bytes.
        """
        if not message.id:
            return False
        key = (str(message.from_), str(message.to), message.id)
        content = _content(message)
        first, before = self._seen.get(key, (link, 0))
        if first is not link and before == content:
            return True
        self._seen[key] = (link, content)
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        return False

    def put(self, stanza: Stanza, done: Callable[[], None], *, again: bool = False) -> None:
        """Have a stanza received when those of the same sender before it have been.

        Args:
            stanza: it.
            done: called then.
            again: it has been put in before: only its turn is waited for.
        """
        sender = stanza.from_.bare_text if stanza.from_ is not None else ""
        queue = self._queues.get(sender)
        full = self._bytes > self._most or (queue is not None and len(queue) >= self._per_sender)
        if full and not again:
            error = StanzaError(Condition.RESOURCE_CONSTRAINT, "too much waits already")
            self._refuse(stanza, error)
            done()
            return
        if queue is None:
            queue = self._queues[sender] = deque()
            task = asyncio.get_running_loop().create_task(self._work(sender, queue))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        queue.append(_Item(stanza, done, again))
        self._bytes += _weight(stanza)

    async def _work(self, sender: str, queue: deque[_Item]) -> None:
        while queue:
            item = queue[0]
            if not item.again:
                await self._one(item.stanza)
            queue.popleft()
            self._bytes -= _weight(item.stanza)
            item.done()
        del self._queues[sender]

    async def _one(self, stanza: Stanza) -> None:
        try:
            result = self._receive(stanza)
            if result is not None:
                await result
        except StanzaError as error:
            self._refuse(stanza, error)
        except Exception as error:
            _log.error("a stanza failed", stanza=repr(stanza)[:500], exc_info=error)
            if not isinstance(stanza, Presence):
                self._refuse(stanza, StanzaError(Condition.INTERNAL_SERVER_ERROR))

    async def close(self) -> None:
        """Stop; what was not received is not acknowledged."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def answerable(stanza: Stanza) -> bool:
    """Whether a stanza may be answered by an error (RFC 6120 §8.3.1)."""
    return stanza.type != "error" and not (isinstance(stanza, Iq) and stanza.type == "result")


def _content(message: Message) -> int:
    # XEP-0198 §4: who sends again may add when it was sent first.
    children = [c for c in message.payload() if (c.ns, c.name) != (ns.DELAY, "delay")]
    return hash(b"".join(child.to_bytes() for child in children))


def _weight(stanza: Stanza) -> int:
    return len(stanza.inner) + len(stanza.extra) + _STANZA_ITSELF
