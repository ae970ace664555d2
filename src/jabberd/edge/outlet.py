"""One stream to another server, as a way out: what was written to it and has not arrived yet.

Where the other side has stream management (XEP-0198), it says what it has handled. Where it has
not, a ping (XEP-0199) from our domain to its domain is a mark in what is written: a server reads
a stream in order, so what stands before a ping that is answered has been read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from jabberd.edge.outbox import Outbox, Outgoing
from jabberd.xmpp import ns, sm
from jabberd.xmpp.element import Element
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Iq, Stanza
from jabberd.xmpp.stream.events import Pair

_MOST_UNCONFIRMED: Final = 8 << 20  # bytes on one stream
_MARK_SECONDS: Final = 0.5
"""How long after the first stanza without a mark one is set: it stands for all until then."""
_PATIENCE: Final = 60.0
"""How long an answer to a request for acknowledgement may take; then the stream is dead."""
_DEAF_SECONDS: Final = 30.0
"""How long an answer to a mark may take. Some servers cannot answer, as they reach us by no way:
what a stream that is up has taken for so long counts as arrived then."""


class Line(Protocol):
    """The connection of the stream."""

    def write_stanza(self, stanza: Stanza) -> None:
        """Write a stanza."""

    def write_raw(self, data: bytes) -> None:
        """Write what is no stanza."""

    def give_up(self, why: str) -> None:
        """Break the connection."""

    @property
    def roomy(self) -> bool:
        """Whether the far end reads what is written."""


class Marks:
    """Pings under way, by their id: how their answers find the stream that they speak for."""

    def __init__(self, token: Callable[[], str]) -> None:
        self._token = token
        self._open: dict[str, tuple[Pair, Outlet]] = {}

    def make(self, pair: Pair, outlet: Outlet) -> Iq:
        """A ping that is a mark."""
        name = f"mark-{self._token()}"
        self._open[name] = (pair, outlet)
        local, remote = JID.parse(pair.local), JID.parse(pair.remote)
        return Iq.build([Element(ns.PING, "ping")], id=name, type="get", from_=local, to=remote)

    def forget(self, name: str) -> None:
        """It will not be answered."""
        self._open.pop(name, None)

    def answered(self, iq: Iq) -> bool:
        """Take an answer; False where it is not one to a mark."""
        known = self._open.get(iq.id)
        if known is None or iq.is_request or iq.from_ is None or iq.to is None:
            return False
        pair, outlet = known
        if (iq.to.text, iq.from_.text) != pair:
            return False
        del self._open[iq.id]
        # An error is an answer as well: whoever refuses a ping has read it.
        outlet.mark_answered(iq.id)
        return True


class Outlet:
    """A way out (`edge.outbox.Carrier`).

    Args:
        line: the connection.
        marks: shared by the server's streams.
        managed: whether stream management is on for what is written here.
    """

    __slots__ = ("_asked", "_bytes", "_early", "_line", "_mark", "_marked", "_marks", "_pair",
                 "_timer", "_unconfirmed", "boxes", "managed")  # fmt: skip

    def __init__(self, line: Line, marks: Marks, *, managed: bool = False) -> None:
        self._line = line
        self._marks = marks
        self.managed = managed
        self.boxes: dict[Pair, Outbox] = {}
        self._unconfirmed: sm.Outbound[tuple[Outbox, Outgoing]] = sm.Outbound()
        self._early: list[tuple[Outbox, Outgoing]] = []  # written before stream management
        self._bytes = 0
        self._asked = False  # an acknowledgement is asked for, or a mark is set
        self._mark = ""
        self._marked = 0  # so many were written before the mark
        self._pair: Pair | None = None  # of the newest stanza
        self._timer: asyncio.TimerHandle | None = None

    def add(self, outbox: Outbox) -> None:
        """Carry a pair from now on."""
        self.boxes[outbox.pair] = outbox
        outbox.attach(self)

    @property
    def takes(self) -> bool:
        """Whether it takes more now."""
        return self._bytes <= _MOST_UNCONFIRMED and self._line.roomy

    @property
    def unconfirmed(self) -> int:
        """How many stanzas are not known to have arrived."""
        return len(self._early) + len(self._unconfirmed)

    def carry(self, outbox: Outbox, outgoing: Outgoing) -> None:
        """Write a stanza, and remember it until it has arrived."""
        self._unconfirmed.push((outbox, outgoing))
        self._bytes += outgoing.size
        self._pair = outbox.pair
        self._line.write_stanza(outgoing.stanza)
        if not self._asked:
            self._asked = True
            loop = asyncio.get_running_loop()
            if self.managed:
                # One request behind all that is written in this turn of the loop.
                loop.call_soon(self._ask)
            else:
                self._timer = loop.call_later(_MARK_SECONDS, self._set_mark)

    def room(self) -> None:
        """The far end reads again."""
        for outbox in tuple(self.boxes.values()):
            outbox.flush()

    def begin_managing(self) -> None:
        """Stream management is on: what was written before is in no count (XEP-0198 §3)."""
        self._stop()
        self._early = list(self._unconfirmed)
        self._unconfirmed.restore(0, ())
        self.managed = True
        if self._early:
            self._asked = True
            self._ask()

    # Acknowledgements

    def acknowledge(self, h: int) -> None:
        """The other side has handled so many stanzas.

        Raises:
            StreamError: that is more than were sent (XEP-0198 §6).
        """
        if not self.managed:
            return
        covered = self._unconfirmed.acknowledge(h)
        self._stop()
        early, self._early = self._early, []
        self._arrive(early + covered)  # an answer to a question that stands behind them as well
        if len(self._unconfirmed):
            self._asked = True
            self._ask()

    def _ask(self) -> None:
        if not self._asked or not self.managed:
            return
        self._line.write_raw(sm.R)
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_PATIENCE, self._unanswered)

    def _unanswered(self) -> None:
        self._timer = None
        self._line.give_up("it acknowledges nothing")

    # Marks

    def _set_mark(self) -> None:
        self._timer = None
        if self._pair is None:
            return
        ping = self._marks.make(self._pair, self)
        self._mark = ping.id
        self._marked = len(self._unconfirmed)
        self._line.write_stanza(ping)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(_DEAF_SECONDS, self._mark_late)

    def _mark_late(self) -> None:
        self._timer = None
        self._marks.forget(self._mark)
        self.mark_answered(self._mark)

    def mark_answered(self, name: str) -> None:
        """A mark has been read, and what stands before it."""
        if name != self._mark:
            return
        self._stop()
        self._confirm(self._marked)
        if len(self._unconfirmed):
            self._asked = True
            self._set_mark()

    def _confirm(self, count: int) -> None:
        queue = self._unconfirmed
        self._arrive(queue.acknowledge((queue.acknowledged + count) % sm.MODULUS))

    def _arrive(self, covered: list[tuple[Outbox, Outgoing]]) -> None:
        was_full = self._bytes > _MOST_UNCONFIRMED
        for outbox, outgoing in covered:
            self._bytes -= outgoing.size
            outbox.arrived(outgoing)
        if was_full and self._bytes <= _MOST_UNCONFIRMED:
            self.room()

    def _stop(self) -> None:
        self._asked = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._mark:
            self._marks.forget(self._mark)
            self._mark = ""

    # The end

    def end(self, why: str) -> None:
        """The stream is gone: what has not arrived goes back, in order."""
        self._stop()
        back: dict[Outbox, list[Outgoing]] = {box: [] for box in self.boxes.values()}
        for outbox, outgoing in (*self._early, *self._unconfirmed):
            back.setdefault(outbox, []).append(outgoing)
        self._unconfirmed.restore(0, ())
        self._early = []
        self._bytes = 0
        self.boxes = {}
        for outbox, unconfirmed in back.items():
            outbox.detach(self, unconfirmed, why)
