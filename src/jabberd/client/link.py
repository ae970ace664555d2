"""One connection of a component to its server, and what was written to it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from jabberd.client.inbox import Inbox, Tally
from jabberd.xmpp import ns, sm
from jabberd.xmpp.element import Element
from jabberd.xmpp.error import Condition, StanzaError, StreamCondition, StreamError
from jabberd.xmpp.frames import BadAddress, Nonza
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Iq, Message, Stanza
from jabberd.xmpp.stream import events
from jabberd.xmpp.stream.component_initiating import ComponentInitiatingStream
from jabberd.xmpp.stream.events import Event

_READ: Final = 65_536
_MOST_UNCONFIRMED: Final = 10_000  # stanzas
_ROOMY: Final = 1 << 20  # bytes waiting for the far end
_ASK_AGAIN_SECONDS: Final = 0.5
_ANSWER_SECONDS: Final = 2.0
"""How long an acknowledgement is kept back while nothing more is done."""
_LAST_WORDS_SECONDS: Final = 2.0


class Over(Exception):  # noqa: N818 -- it says what the link is
    """The link is gone, or did not come about.

    Attributes:
        error: what the server said of it; None where it said nothing.
    """

    def __init__(self, why: str, error: StreamError | None = None) -> None:
        super().__init__(why)
        self.error = error


class Pending:
    """A stanza on its way to the server.

    Attributes:
        stanza: it.
        done: has a result when the server is responsible for it; None: nobody wants to know.
        sent: it was written to a link.
    """

    __slots__ = ("done", "sent", "stanza")

    def __init__(self, stanza: Stanza, done: asyncio.Future[None] | None = None) -> None:
        self.stanza = stanza
        self.done = done
        self.sent = False

    @property
    def wanted(self) -> bool:
        """Whether somebody waits for it."""
        return self.done is not None and not self.done.done()

    def confirm(self) -> None:
        """The server has it."""
        if self.done is not None and not self.done.done():
            self.done.set_result(None)


@dataclass(frozen=True, slots=True)
class Handler:
    """Whom a link tells what came.

    Attributes:
        inbox: takes stanzas.
        answered: takes an answer to a request; False where it is none.
        refuse: tells the sender of a stanza why it was not taken.
        token: makes identifiers.
    """

    inbox: Inbox
    answered: Callable[[Iq], bool]
    refuse: Callable[[Stanza, StanzaError], None]
    token: Callable[[], str]


class Link:
    """One connection.

    What was written has arrived when the server acknowledges it (XEP-0198); where it has no
    stream management for components, when it answers a ping (XEP-0199) that was written behind
    it: a server reads a stream in order.

    Args:
        reader: of the connection.
        writer: of the connection.
        stream: not started.
        domain: of the component.
        server: its server's.
        handler: whom to tell what came.
        patience: seconds of silence after which the server is asked for a sign of life, and has
            as long for it.

    Attributes:
        managed: there is stream management.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        stream: ComponentInitiatingStream,
        domain: JID,
        server: JID,
        handler: Handler,
        patience: float,
    ) -> None:
        self._stream = stream
        self._domain = domain
        self._server = server
        self._handler = handler
        self._patience = patience
        self._reader = reader
        self._writer = writer
        self._loop = asyncio.get_running_loop()
        self._settled = False
        self._why = ""
        self._tally = Tally(self._progress)
        self._before = 0  # so many stanzas came before they were counted
        self._owes = False  # an acknowledgement
        self._owing: asyncio.TimerHandle | None = None
        self._out: sm.Outbound[Pending] = sm.Outbound()
        self._asked = 0.0  # since when a proof is under way; 0: none is
        self._asking: asyncio.Handle | None = None
        self._mark = ""
        self._marked = 0  # so many stanzas were sent when the proof was asked for
        self.managed = False

    # The connection

    async def open(self) -> None:
        """Shake hands, and settle whether there is stream management.

        Raises:
            Over: the server does not want it.
        """
        self._stream.start()
        self._flush()
        while not self._settled:
            await self._read()

    async def serve(self) -> None:
        """Read until the link is over.

        Raises:
            Over: it is, always.
        """
        watch = self._loop.create_task(self._watch())
        try:
            while True:
                await self._read()
        finally:
            watch.cancel()

    async def close(self) -> None:
        """End it in good order, as far as the server still listens."""
        for timer in (self._owing, self._asking):
            if timer is not None:
                timer.cancel()
        if self.managed and not self._stream.closed:
            self._acknowledge()
        self._stream.close()
        self._flush()
        self._writer.close()
        try:
            async with asyncio.timeout(_LAST_WORDS_SECONDS):
                with contextlib.suppress(OSError):
                    await self._writer.wait_closed()
        except TimeoutError:
            self._writer.transport.abort()

    def unconfirmed(self) -> list[Pending]:
        """What was written, is waited for, and is not known to have arrived, in order."""
        return [pending for pending in self._out if pending.wanted]

    def _write(self, data: bytes) -> None:
        if not self._writer.is_closing():
            self._writer.write(data)

    def _flush(self) -> None:
        data = self._stream.take()
        if data:
            self._write(data)

    async def _read(self) -> None:
        try:
            data = await self._reader.read(_READ)
        except OSError as error:
            raise Over(self._why or str(error)) from None
        if not data:
            self._stream.eof()
            raise Over(self._why or "the connection was closed")
        for event in self._stream.receive(data):
            self._event(event)
        self._flush()

    async def _watch(self) -> None:
        """Find out about a server that is gone without a word."""
        while True:
            await asyncio.sleep(self._patience)
            if self._asked and self._loop.time() - self._asked >= self._patience:
                self._why = "the server is silent"
                self._writer.transport.abort()
                return
            self._ask()

    # Out

    @property
    def takes(self) -> bool:
        """Whether it takes more now."""
        if len(self._out) >= _MOST_UNCONFIRMED or self._writer.is_closing():
            return False
        return self._writer.transport.get_write_buffer_size() <= _ROOMY

    async def drained(self) -> None:
        """Wait until the server reads what was written."""
        with contextlib.suppress(OSError):
            await self._writer.drain()

    def carry(self, pending: Pending) -> None:
        """Write a stanza, and remember it until it has arrived."""
        pending.sent = True
        self._out.push(pending)
        self._write(self._stream.send(pending.stanza))
        if not self._asked:
            if self._asking is not None:
                self._asking.cancel()
            # One question behind all that is written in this turn of the loop.
            self._asking = self._loop.call_soon(self._ask)

    def _ask(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
            self._asking = None
        if self._asked:
            return
        self._asked = self._loop.time()
        self._marked = len(self._out)
        if self.managed:
            self._write(sm.R)
            return
        self._mark = f"mark-{self._handler.token()}"
        ping = [Element(ns.PING, "ping")]
        iq = Iq.build(ping, id=self._mark, type="get", from_=self._domain, to=self._server)
        self._write(self._stream.send(iq))

    def _answered(self, h: int) -> None:
        """So many stanzas have arrived, modulo 2^32."""
        covered = self._out.acknowledge(h)
        self._asked = 0.0
        more = len(self._out) + len(covered) > self._marked
        for pending in covered:
            pending.confirm()
        if len(self._out) and self._asking is None:
            # What it had when it was asked, it may only have to finish: that takes a moment.
            wait = 0.0 if more else _ASK_AGAIN_SECONDS
            self._asking = self._loop.call_later(wait, self._ask)

    # In

    def _event(self, event: Event) -> None:
        if isinstance(event, Stanza):
            self._stanza(event)
        elif isinstance(event, Nonza):
            self._nonza(event)
        elif isinstance(event, BadAddress):
            self._tally.begin()()
            self._handler.refuse(event.stanza, StanzaError(Condition.JID_MALFORMED, event.why))
        elif isinstance(event, events.Authenticated):
            self._flush()
            if self._stream.offers_sm:
                self._write(sm.ENABLE)
            else:
                self._settled = True
        elif isinstance(event, events.Closed):
            self._flush()
            if event.error is None:
                raise Over("the server closed the stream")
            by = "the server says" if event.by_peer else "we said"
            raise Over(f"{by} {event.error}", event.error)

    def _stanza(self, stanza: Stanza) -> None:
        done = self._tally.begin()
        if isinstance(stanza, Iq) and not stanza.is_request:
            if self._mark and stanza.id == self._mark and stanza.from_ == self._server:
                # An error is an answer as well: whoever refuses a ping has read it.
                self._mark = ""
                self._answered((self._out.acknowledged + self._marked) % sm.MODULUS)
                done()
                return
            if self._handler.answered(stanza):
                done()
                return
        inbox = self._handler.inbox
        again = isinstance(stanza, Message) and inbox.came_before(stanza, self) and self.managed
        inbox.put(stanza, done, again=again)

    def _nonza(self, nonza: Nonza) -> None:
        try:
            if nonza.name in {"enabled", "failed"} and not self._settled:
                self._settled = True
                self.managed = nonza.name == "enabled"
                self._before = self._tally.count
            elif nonza.name == "a" and self.managed:
                self._answered(sm.read_a(nonza))
            elif nonza.name == "r" and self.managed:
                self._owe()
            else:
                text = f"<{nonza.name[:50]}/> is not understood here"
                raise StreamError(StreamCondition.UNSUPPORTED_STANZA_TYPE, text)
        except StreamError as error:
            for event in self._stream.close(error):
                self._event(event)

    def _owe(self) -> None:
        """Acknowledge what is done, once there is something new to say.

        A server that is told the same as before may ask again at once.
        """
        self._owes = True
        if self._tally.handled == self._tally.count:
            self._acknowledge()
        elif self._owing is None:
            self._owing = self._loop.call_later(_ANSWER_SECONDS, self._acknowledge)

    def _progress(self) -> None:
        if self._owes:
            self._acknowledge()

    def _acknowledge(self) -> None:
        self._owes = False
        if self._owing is not None:
            self._owing.cancel()
            self._owing = None
        self._write(sm.a((self._tally.handled - self._before) % sm.MODULUS))
