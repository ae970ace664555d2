"""One connection of an external component (XEP-0114): a program that answers for a domain."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from jabberd.edge.acknowledging import Acknowledgements
from jabberd.edge.component_door import ComponentDoor
from jabberd.edge.component_route import ComponentRoute
from jabberd.edge.outlet import Outlet
from jabberd.edge.repeats import Repeats
from jabberd.edge.senders import SenderQueues
from jabberd.net.wire import Wire
from jabberd.xmpp import sm
from jabberd.xmpp.error import Condition, StanzaError, StreamCondition, StreamError
from jabberd.xmpp.frames import BadAddress, Nonza
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Message, Stanza, error_reply
from jabberd.xmpp.stream import events
from jabberd.xmpp.stream.component import ComponentStream
from jabberd.xmpp.stream.events import Event

_log: Final = structlog.get_logger("jabberd.component")
_ROOMY: Final = 256 * 1024  # bytes waiting for the far end, as the pump's own high-water mark


class ComponentConnection:
    """One connection of a component (`net.wire.Machine`, `edge.outlet.Line`)."""

    __slots__ = ("_acks", "_door", "_outlet", "_queues", "_repeats", "_route", "_stream", "_timer",
                 "_wire")  # fmt: skip

    def __init__(self, door: ComponentDoor) -> None:
        self._door = door
        self._repeats = Repeats(door.resent, door.ledger.log, door.router.route)
        self._queues = SenderQueues(self._repeats.route, self._room)
        self._acks = Acknowledgements(self._queues, door.ledger.turns, self.write_raw)
        self._outlet: Outlet | None = None  # once there is stream management
        self._route: ComponentRoute | None = None  # once the handshake is done
        self._stream: ComponentStream | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._wire: Wire | None = None

    # Called by the pump

    def connected(self, wire: Wire) -> None:
        """Somebody is here."""
        self._wire = wire
        door = self._door
        source = wire.peer.source
        self._stream = ComponentStream(
            secret=lambda domain: door.secret(domain, source),
            taken=door.taken,
            before=door.limits_before,
            after=door.limits_after,
            token=door.token,
        )
        self._timer = asyncio.get_running_loop().call_later(door.login_seconds, self._too_late)
        door.connections.add(self)

    def received(self, data: bytes) -> None:
        """The component sent something."""
        if self._stream is not None:
            self._take(self._stream.receive(data))

    def secured(self) -> None:
        """Nothing: this protocol has no STARTTLS."""

    def ended(self, error: Exception | None) -> None:
        """The connection is gone."""
        if self._stream is not None:
            self._stream.eof()
        self._leave(str(error) if error else "")

    def drained(self) -> None:
        """The component reads again."""
        if self._outlet is not None:
            self._outlet.room()

    # Line, once there is stream management

    @property
    def roomy(self) -> bool:
        """Whether the far end reads what is written."""
        return self._wire is not None and self._wire.buffered <= _ROOMY

    def write_stanza(self, stanza: Stanza) -> None:
        """Write a stanza."""
        if self._wire is not None and self._stream is not None:
            self._wire.write(self._stream.send(stanza))

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

    # Used by the route and the door

    def send(self, stanza: Stanza) -> bool:
        """Write a stanza; False where the component can take no more and is disconnected."""
        stream = self._stream
        return stream is not None and self._write(stream.send(stanza))

    def probe(self) -> None:
        """Write a space, which a dead connection does not survive (RFC 6120 §4.6.1)."""
        self._write(b" ")

    def close(self, error: StreamError | None = None) -> None:
        """End the stream from our side."""
        if self._stream is not None and not self._stream.closed:
            self._take(self._stream.close(error))

    def _write(self, data: bytes) -> bool:
        wire = self._wire
        if wire is None:
            return False
        wire.write(data)
        if wire.buffered <= self._door.output_bytes:
            return True
        self._logger().warning("the component does not read: disconnecting it")
        self.give_up("it did not read")
        return False

    # Events

    def _take(self, found: list[Event]) -> None:
        for event in found:
            if isinstance(event, Stanza):
                self._stanza(event)
            elif isinstance(event, Nonza):
                self._nonza(event)
            elif isinstance(event, BadAddress):
                self._bad_address(event)
            elif isinstance(event, events.Authenticated):
                self._enter(event.account)
            elif isinstance(event, events.AuthenticationFailed):
                self._refused(event)
            elif isinstance(event, events.Closed):
                self._closed(event)
        self._flush()
        if self._queues.full and self._wire is not None:
            self._wire.pause()

    def _stanza(self, stanza: Stanza) -> None:
        if self._acks.on and isinstance(stanza, Message) and self._repeats.came_before(stanza):
            self._logger().debug("a message was sent again", id=stanza.id)
            self._queues.done(self._queues.begin())
            return
        self._queues.put(stanza)

    def _room(self) -> None:
        if self._wire is not None:
            self._wire.resume()

    def _flush(self) -> None:
        if self._stream is not None and self._wire is not None:
            data = self._stream.take()
            if data:
                self._wire.write(data)

    def _enter(self, domain: JID) -> None:
        self._flush()  # the answer to the handshake comes before the first stanza
        door = self._door
        self._stop_timer()
        door.attempts.succeeded((domain.text, self._source()))
        self._route = door.routes[domain.domain]
        self._logger().info("component connected")
        self._route.enter(self)
        door.on_up(domain.domain)

    def _refused(self, event: events.AuthenticationFailed) -> None:
        if event.account is None:
            return
        key = (event.account.text, self._source())
        self._door.attempts.failed(key, self._door.clock.monotonic())
        self._logger().warning("handshake refused: wrong secret", component=event.account.text)

    def _bad_address(self, bad: BadAddress) -> None:
        self._queues.done(self._queues.begin())  # it counts as handled (XEP-0198 §4)
        if bad.stanza.type in {"error", "result"} or self._route is None:
            return
        error = StanzaError(Condition.JID_MALFORMED, bad.why)
        # What was not an address cannot be where the error is from, yet there must be a `from`.
        by = JID("", self._route.domain)
        self._door.router.route(error_reply(bad.stanza.replace(to=by), error))

    def _too_late(self) -> None:
        self._timer = None
        self.close(StreamError(StreamCondition.CONNECTION_TIMEOUT, "the handshake took too long"))

    # Stream management (XEP-0198)

    def _nonza(self, nonza: Nonza) -> None:
        try:
            if nonza.name == "r":
                self._acks.asked()
            elif nonza.name == "a" and self._outlet is not None:
                self._outlet.acknowledge(sm.read_a(nonza))
            elif nonza.name == "enable":
                self._enable()
            elif nonza.name == "resume":
                # What was not acknowledged is sent again instead, by both sides.
                self.write_raw(sm.failed(Condition.ITEM_NOT_FOUND))
            else:
                text = f"<{nonza.name[:50]}/> is not understood here"
                raise StreamError(StreamCondition.UNSUPPORTED_STANZA_TYPE, text)
        except StreamError as error:
            self.close(error)

    def _enable(self) -> None:
        route = self._route
        if route is None:
            return
        if self._outlet is not None:
            self.write_raw(sm.failed(Condition.UNEXPECTED_REQUEST))
            return
        self._acks.begin()
        self.write_raw(sm.enabled())
        self._outlet = outlet = Outlet(self, self._door.marks, managed=True)
        if self._door.meet(route.domain):
            self._repeats.suspect()
        route.manage(outlet.add)

    # The end

    def _closed(self, event: events.Closed) -> None:
        self._flush()
        why = ""
        self._repeats.mark.clean = event.error is None and event.by_peer
        if event.error is not None:
            why = event.error.condition.value
            self._logger().info("stream closed", condition=why, text=event.error.text)
        if self._wire is not None:
            self._wire.close()
        self._leave(why)

    def _leave(self, why: str) -> None:
        self._stop_timer()
        route, self._route = self._route, None
        if route is not None:
            _log.info("component disconnected", component=route.domain, why=why)
        self._wire = None
        self._door.connections.discard(self)
        self._acks.end()
        if route is None:
            return
        route.leave()
        outlet, self._outlet = self._outlet, None
        if outlet is not None:
            outlet.end(why)
        self._door.on_down(route.domain)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _source(self) -> str:
        return self._wire.peer.source if self._wire is not None else ""

    def _logger(self) -> structlog.stdlib.BoundLogger:
        bound: dict[str, str] = {}
        if self._wire is not None:
            bound["address"] = self._wire.peer.host
        if self._route is not None:
            bound["component"] = self._route.domain
        logger: structlog.stdlib.BoundLogger = _log.bind(**bound)
        return logger
