"""What both directions of a stream to another server have in common at the edge.

A stream is one-way (RFC 6120 §4.1), unless both sides have agreed on more (XEP-0288): then what
we have to say to a server goes over the stream that it has opened.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from jabberd.edge.acknowledging import Acknowledgements
from jabberd.edge.outlet import Outlet
from jabberd.edge.peers import Policy
from jabberd.edge.repeats import Repeats
from jabberd.edge.senders import SenderQueues
from jabberd.net.trust import Fault, Judgement
from jabberd.net.wire import Wire
from jabberd.xmpp import ns, sm
from jabberd.xmpp.error import Condition, StanzaError, StreamCondition, StreamError
from jabberd.xmpp.frames import BadAddress, Nonza
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Iq, Message, Stanza, error_reply
from jabberd.xmpp.stream import events
from jabberd.xmpp.stream.events import Event, Pair
from jabberd.xmpp.stream.server import ServerStream

if TYPE_CHECKING:
    from jabberd.edge.servers import Servers

_log: Final = structlog.get_logger("jabberd.s2s")
_ROOMY: Final = 256 * 1024  # bytes waiting for the far end, as the pump's own high-water mark
_BARRIERS: Final = 10  # pings of one stream that wait for what stands before them


class ServerConnection:
    """One connection with another server (`net.wire.Machine`, `edge.outlet.Line`).

    Args:
        servers: what all of them share.

    Attributes:
        used: when a stanza last went either way, by the loop's clock.
        since: when it began, by the same clock.
        proved: how each pair was proved: "EXTERNAL" or "dialback".
    """

    __slots__ = ("_acks", "_barriers", "_closing", "_queues", "_repeats", "_servers", "_timer",
                 "_wire", "judgements", "outlet", "proved", "since", "used")  # fmt: skip

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._repeats = Repeats(servers.resent, servers.log, servers.router.route)
        self._queues = SenderQueues(self._repeats.route, self._room)
        self._acks = Acknowledgements(self._queues, servers.turns, self.write_raw)
        self._wire: Wire | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._barriers = 0
        self._closing = False
        self.outlet: Outlet | None = None
        self.proved: dict[Pair, str] = {}
        self.judgements: dict[str, Judgement] = {}
        self.since = self.used = asyncio.get_running_loop().time()

    # What the directions differ in

    @property
    def stream(self) -> ServerStream | None:
        """The stream; None before the connection is up."""
        raise NotImplementedError

    def _event(self, event: Event) -> None:
        """Take an event of the direction's own."""
        raise NotImplementedError

    def _left(self, why: str) -> None:
        """The connection is gone."""
        raise NotImplementedError

    # Called by the pump

    def received(self, data: bytes) -> None:
        """The peer sent something."""
        if self.stream is not None:
            self.used = asyncio.get_running_loop().time()
            self._take(self.stream.receive(data))

    def ended(self, error: Exception | None) -> None:
        """The connection is gone."""
        if self.stream is not None:
            self.stream.eof()
        self._leave(str(error) if error else "the connection was closed")

    def drained(self) -> None:
        """The peer reads again."""
        if self.outlet is not None:
            self.outlet.room()

    # Line

    @property
    def roomy(self) -> bool:
        """Whether the far end reads what is written."""
        return self._wire is not None and self._wire.buffered <= _ROOMY

    def write_stanza(self, stanza: Stanza) -> None:
        """Write a stanza."""
        if self._wire is not None and self.stream is not None:
            self.used = asyncio.get_running_loop().time()
            self._wire.write(self.stream.send(stanza))

    def write_raw(self, data: bytes) -> None:
        """Write what is no stanza."""
        if self._wire is not None:
            self._wire.write(data)

    def give_up(self, why: str) -> None:
        """Break the connection."""
        wire = self._wire
        self._leave(why)
        if wire is not None:
            wire.abort()

    # Used by the server

    @property
    def wire(self) -> Wire | None:
        """The connection, while it is up."""
        return self._wire

    @property
    def ready(self) -> bool:
        """Whether stanzas may flow."""
        return self.stream is not None and self.stream.is_ready and not self.stream.closed

    @property
    def waiting(self) -> bool:
        """Whether something on it is not done."""
        return bool(self.outlet and self.outlet.unconfirmed) or (
            self._queues.handled < self._queues.count
        )

    def close(self, error: StreamError | None = None) -> None:
        """End the stream from our side."""
        if self.stream is None:
            self.give_up("" if error is None else error.text)
        elif not self.stream.closed:
            self._take(self.stream.close(error))

    # Events

    def _take(self, found: list[Event]) -> None:
        for event in found:
            if isinstance(event, Stanza):
                self._stanza(event)
            elif isinstance(event, Nonza):
                self._nonza(event)
            elif isinstance(event, BadAddress):
                self._bad_address(event)
            elif isinstance(event, events.Closed):
                self._closed(event)
            else:
                self._event(event)
        self._flush()
        if self._queues.full and self._wire is not None:
            self._wire.pause()

    def _room(self) -> None:
        if self._wire is not None:
            self._wire.resume()

    def _flush(self) -> None:
        if self.stream is not None and self._wire is not None:
            data = self.stream.take()
            if data:
                self._wire.write(data)

    def _stanza(self, stanza: Stanza) -> None:
        if isinstance(stanza, Iq) and stanza.from_ is not None and not stanza.from_.local:
            if self._servers.marks.answered(stanza):
                self._queues.done(self._queues.begin())
                return
            if stanza.is_request and stanza.children == (_PING,) and self._barriers < _BARRIERS:
                self._barriers += 1
                self._servers.spawn(self._answer_after(stanza, self._queues.begin()))
                return
        elif isinstance(stanza, Message) and self._repeats.came_before(stanza):
            self._log().debug("a message was sent again", id=stanza.id)
            self._queues.done(self._queues.begin())
            return
        self._queues.put(stanza)

    async def _answer_after(self, ping: Iq, place: int) -> None:
        """Answer a ping of a server itself once all before it is done, and on the disk.

        It may be a mark, by which the server learns what we have (`edge.outlet`).
        """
        try:
            await self._queues.reach(place)
            await self._servers.turns.settled()
        finally:
            self._barriers -= 1
            self._queues.done(place)
        self._servers.router.route(ping)

    def _proves(self, pair: Pair, how: str) -> None:
        self._stop_timer()
        self.proved[pair] = how
        if self._servers.meet(pair.remote):
            self._repeats.suspect()

    def _bad_address(self, bad: BadAddress) -> None:
        self._queues.done(self._queues.begin())  # it counts as handled (XEP-0198 §4)
        stanza = bad.stanza
        if stanza.type in {"error", "result"} or stanza.from_ is None:
            return
        error = StanzaError(Condition.JID_MALFORMED, bad.why)
        # What was not an address cannot be where the error is from, yet there must be a `from`.
        local = next((p.local for p in self.proved if p.remote == stanza.from_.domain), None)
        if local is not None:
            self._servers.router.route(error_reply(stanza.replace(to=JID("", local)), error))

    # Stream management

    def _nonza(self, nonza: Nonza) -> None:
        stream = self.stream
        if stream is None or stream.closed:
            return
        if nonza.ns != ns.SM:
            text = f"<{nonza.name[:50]}/> is not understood here"
            self.close(StreamError(StreamCondition.UNSUPPORTED_STANZA_TYPE, text))
            return
        try:
            if nonza.name == "r":
                self._acks.asked()
            elif nonza.name == "a" and self.outlet is not None:
                self.outlet.acknowledge(sm.read_a(nonza))
            elif nonza.name == "enable":
                self._enable()
            else:
                self._sm(nonza)
        except StreamError as error:
            self.close(error)

    def _enable(self) -> None:
        """Count what the peer sends, and have it count what we send (XEP-0198 §3)."""
        if self._acks.on:
            self.write_raw(sm.failed(Condition.UNEXPECTED_REQUEST))
            return
        self._acks.begin()
        # A session of servers is not resumed: what was not acknowledged is sent again.
        self.write_raw(sm.enabled())
        if self.outlet is not None:
            self.outlet.begin_managing()

    def _sm(self, nonza: Nonza) -> None:
        """Take an answer to `<enable/>`; a receiving stream has asked for nothing."""
        text = f"<{nonza.name[:50]}/> is not understood here"
        raise StreamError(StreamCondition.UNSUPPORTED_STANZA_TYPE, text)

    # Certificates

    def _judge(self, domain: str) -> Judgement:
        """What the peer's certificate is worth for a domain."""
        judgement = self.judgements.get(domain)
        if judgement is None:
            tls = self._wire.tls if self._wire is not None else None
            chain = tls.peer_chain() if tls is not None else ()
            judgement = self.judgements[domain] = self._servers.trust.judge(chain, domain)
        return judgement

    def _objection(self, pair: Pair, *, more: bool = False) -> str:
        """Why the peer's certificate is not good enough for a pair; empty where it is.

        A certificate that an authority has signed is held to what it says. Who has none from an
        authority proves itself by dialback, where that is enough.

        Args:
            pair: which.
            more: it comes by dialback on a stream that is another domain's: a certificate that
                is only that one's is no fault.
        """
        judgement = self._judge(pair.remote)
        if judgement.valid:
            return ""
        if self._servers.peers.policy(pair.local, pair.remote) is Policy.REQUIRED:
            return judgement.why
        stranger = judgement.fault is Fault.WRONG_NAME and more
        return judgement.why if judgement.trusted and not stranger else ""

    # The end

    def _deadline(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._too_late)

    def _too_late(self) -> None:
        self._timer = None
        text = "the negotiation took too long"
        self.close(StreamError(StreamCondition.CONNECTION_TIMEOUT, text))

    def _closed(self, event: events.Closed) -> None:
        self._flush()
        why = "it was closed"
        self._repeats.mark.clean = event.error is None and event.by_peer
        if event.error is not None:
            error = event.error
            why = f"{error.condition.value}: {error.text}" if error.text else error.condition.value
            self._log().info("stream closed", condition=error.condition.value, text=error.text)
        if self._wire is not None:
            self._wire.close()
        self._leave(why)

    def _leave(self, why: str) -> None:
        if self._closing:
            return
        self._closing = True
        self._stop_timer()
        self._wire = None
        self._acks.end()
        outlet, self.outlet = self.outlet, None
        self._servers.connections.discard(self)
        self._left(why)
        if outlet is not None:
            outlet.end(why)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _log(self) -> structlog.stdlib.BoundLogger:
        bound: dict[str, str] = {}
        if self._wire is not None:
            bound["address"] = self._wire.peer.host
        if self.proved:
            bound["server"] = next(iter(self.proved)).remote
        logger: structlog.stdlib.BoundLogger = _log.bind(**bound)
        return logger


_PING: Final = f"{ns.PING} ping"
