"""XEP-0198 for one session: what was sent and is not acknowledged, and what is kept of it on disk.

Acknowledging is a promise, so a count is written (`Unit.handled`) before it is told. What is
sent to the client is journaled, so that a session outlives the process: entries of the log by
their key, anything else as its bytes. Messages are journaled together with their entry; the rest
soon after (`Turns.later`), since nobody was promised it.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from jabberd.core.parcel import Parcel
from jabberd.core.turn import Turn
from jabberd.storage.log_api import Journaled, Unit
from jabberd.xmpp import sm

# A key (0: none), and how many bytes of a stanza follow (0: it is the entry itself).
_HEAD: Final = struct.Struct(">QI")
_EVERYTHING: Final = 2**62
_SHORT: Final = 64  # stanzas that are journaled once more without a thought
_new: Final = tuple.__new__  # a named tuple's own is a function, and costs twice as much
_NEVER_SENT: Final = 2**48  # places from here on are of stanzas that no stream has carried


class Item(NamedTuple):
    """A stanza on its way to the client.

    Attributes:
        data: its bytes.
        parcel: the entry of the log that it is or carries, if any.
    """

    data: bytes
    parcel: Parcel | None


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much may be kept for one session.

    Attributes:
        seconds: for a client to come back.
        stanzas: that are not acknowledged.
        bytes: of these stanzas.
    """

    seconds: int
    stanzas: int
    bytes: int


class StreamManagement:
    """The state of one session; places count stanzas from 0 and never wrap around.

    Attributes:
        number: of the session in the log.
        id: by which the client resumes; empty where it may not.
        seconds: how long the session waits for its client.
        durable: whether the session outlives the process.
        handled: how many stanzas of the client were handled, modulo 2^32.
        told: the newest `handled` that is on disk or under way there.
        base: the place of the oldest stanza that is not acknowledged.
        asked: when an acknowledgement was asked for that has not come, by the loop's clock.
        asks: how often one was asked for in this while.
        rest: when this while is over, by the loop's clock.
        changed: what is kept of the session beside its stanzas is not on disk yet.
    """

    __slots__ = ("_forgotten", "_fresh", "_next", "_places", "_rewrite", "_written", "asked",
                 "asks", "base", "bytes", "changed", "durable", "handled", "id", "number", "queue",
                 "rest", "seconds", "told")  # fmt: skip

    def __init__(self, number: int, id: str, seconds: int, *, durable: bool) -> None:  # noqa: A002 -- XEP-0198's word
        self.number = number
        self.id = id
        self.seconds = seconds
        self.durable = durable
        self.handled = 0
        self.told = 0
        self.base = 0
        self.queue: deque[Item] = deque()
        self.bytes = 0
        self.asked = 0.0
        self.rest = 0.0
        self.asks = 0
        self.changed = durable
        self._next = 0  # the place of the next stanza
        self._places: list[int] | None = None  # of the first in the queue, after a restart
        self._written = 0  # as long as there are places: so many of the queue are on the disk
        self._fresh: list[Item] = []  # the newest of the queue: not journaled yet
        self._forgotten = 0
        self._rewrite = False

    def push(self, data: bytes, parcel: Parcel | None) -> None:
        """One more stanza is sent."""
        item = _new(Item, (data, parcel))
        self.queue.append(item)
        self.bytes += len(data)
        self._next += 1
        if self.durable:
            self._fresh.append(item)

    def within(self, bounds: Bounds) -> bool:
        """Whether no more is waiting than may."""
        return len(self.queue) <= bounds.stanzas and self.bytes <= bounds.bytes

    def acknowledge(self, h: int) -> None:
        """The client has handled everything up to its count `h`.

        Raises:
            StreamError: undefined-condition, where that is more than was sent (§6).
        """
        count = (h - self.base) % sm.MODULUS
        if count > len(self.queue):
            raise sm.too_high(h, (self.base + len(self.queue)) % sm.MODULUS)
        self._arrive(count)
        self.base += count

    def resume(self, h: int) -> None:
        """The client is back, and has handled everything up to its count `h`; see `acknowledge`.

        After a restart of the server, the count says how many were sent at all: what the former
        process sent beyond its journal is gone, and what came since was never sent.
        """
        places, self._places = self._places, None
        if places is None:
            self.acknowledge(h)
            return
        last = places[-1] if places else self.base
        reached = last + (h - last + sm.MODULUS // 2) % sm.MODULUS - sm.MODULUS // 2
        self._arrive(sum(place < reached for place in places))
        self.base = max(0, reached)
        self.rewrite()

    def _arrive(self, count: int) -> None:
        queue = self.queue
        for _ in range(count):
            data, parcel = queue.popleft()
            self.bytes -= len(data)
            if parcel is not None:
                parcel.arrive()
        if not queue:
            self._fresh.clear()

    def discard(self, turn: Turn) -> None:
        """What belonged to a turn that failed was never sent."""
        kept = [i for i in self.queue if i.parcel is None or i.parcel.turn is not turn]
        if len(kept) < len(self.queue):
            self.queue = deque(kept)
            self.bytes = sum(len(item.data) for item in kept)
        self.rewrite()

    def written(self) -> None:
        """What was packed is on the disk."""
        if self._places is not None:
            self._written = len(self.queue) - len(self._fresh)

    def rewrite(self) -> None:
        """What is in the journal is not what is in the queue: journal all of it anew."""
        if self._places is not None:  # what a former process has left must stay, and its places
            self._fresh = list(self.queue)[self._written :]
            self._next += len(self._fresh)
            return
        self._rewrite = True
        self._next = self.base + len(self.queue)
        self._fresh = list(self.queue) if self.durable else []

    @property
    def restored(self) -> bool:
        """Whether it is what a former process left, and no client has come back to it yet."""
        return self._places is not None

    def finish(self) -> None:
        """The process is about to end in good order: leave a journal that is exact."""
        if self._places is None:  # else nothing was sent or acknowledged since it was read
            self.rewrite()

    def pack(self, unit: Unit) -> None:
        """Add what has to be journaled to a unit."""
        if self._rewrite:
            self._rewrite = False
            unit.forget[self.number] = _EVERYTHING
            self._forgotten = self.base
        elif self.base > self._forgotten:
            self._forgotten = self.base
            if self._places is None and len(self.queue) <= _SHORT:
                # Rows go as a whole: what is left of them is written once more.
                unit.forget[self.number] = _EVERYTHING
                self._fresh = list(self.queue)
            else:
                unit.forget[self.number] = self.base
        fresh = self._fresh
        if fresh:
            # Those that were acknowledged meanwhile need no journal.
            fresh = fresh[-len(self.queue) :]
            first = self._next - len(fresh)
            self._fresh = []
            unit.journal.append(Journaled(self.number, first, len(fresh), _pack(fresh)))

    def restore(self, handled: int, placed: Iterable[tuple[int, Item]], behind: int) -> None:
        """Become what the last process left.

        Args:
            handled: its count.
            placed: what is left of its journal, in order. Entries of the log may be gone.
            behind: the place behind everything that was journaled.
        """
        self.handled = self.told = handled
        self.changed = False
        places: list[int] = []
        for place, item in placed:
            self.queue.append(item)
            self.bytes += len(item.data)
            if place < _NEVER_SENT:
                places.append(place)
        self._places = places
        self._written = len(self.queue)
        self.base = self._forgotten = places[0] if places else 0
        # Nobody knows how many more were sent. The places from here on are compared to no count.
        self._next = max(behind, _NEVER_SENT)


def _pack(items: list[Item]) -> bytes:
    parts: list[bytes] = []
    for data, parcel in items:
        if parcel is None:
            parts += (_HEAD.pack(0, len(data)), data)
        elif parcel.wire is data:
            parts.append(_HEAD.pack(parcel.key, 0))
        else:  # a copy of it, in a wrapper
            parts += (_HEAD.pack(parcel.key, len(data)), data)
    return b"".join(parts)


def unpack(data: bytes) -> list[tuple[int, bytes]]:
    """What `StreamManagement.pack` wrote.

    Returns:
        For each stanza the key of its entry in the log, or 0; and its bytes, or none where it is
        the entry itself.
    """
    found: list[tuple[int, bytes]] = []
    at = 0
    while at < len(data):
        key, length = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        found.append((key, data[at : at + length]))
        at += length
    return found
