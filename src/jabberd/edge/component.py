"""External components (XEP-0114): programs that answer for domains of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import structlog

from jabberd.core.router import Router
from jabberd.core.session import Session
from jabberd.core.verdict import Relayed, Verdict
from jabberd.edge.senders import SenderQueues
from jabberd.net.clock import Clock
from jabberd.net.limits import Attempts
from jabberd.net.wire import Wire
from jabberd.xmpp.error import Condition, StanzaError, StreamCondition, StreamError
from jabberd.xmpp.frames import BadAddress, Limits
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Stanza, error_reply
from jabberd.xmpp.stream import events
from jabberd.xmpp.stream.component import ComponentStream
from jabberd.xmpp.stream.events import Event

_log: Final = structlog.get_logger("jabberd.component")


class ComponentRoute:
    """What answers for a component's domain, whether it is connected or not (`Route`).

    Args:
        domain: of the component.
    """

    __slots__ = ("_relayed", "connection", "domain")

    def __init__(self, domain: str) -> None:
        self.domain = domain
        self.connection: ComponentConnection | None = None
        self._relayed = Relayed(f"component {domain}")

    async def receive(self, stanza: Stanza, origin: Session | None) -> Verdict:  # noqa: ARG002 -- Route
        """Write a stanza to the component as it is.

        Raises:
            StanzaError: remote-server-timeout, where the component is not connected.
        """
        connection = self.connection
        if connection is None or not connection.send(stanza):
            # RFC 6120 §8.3.3.17 has this for services too; its type, wait, says that the
            # component may come back. Prosody answers the same.
            text = f"{self.domain} is not connected at the moment"
            raise StanzaError(Condition.REMOTE_SERVER_TIMEOUT, text)
        return self._relayed

    def knows(self, account: str) -> bool:  # noqa: ARG002 -- Route
        """False: a component has no accounts of ours."""
        return False


def _nothing(_domain: str) -> None:
    """Nobody wants to know."""


@dataclass(slots=True)
class ComponentDoor:
    """Shared by the connections of components; limits may be changed at any time.

    Attributes:
        router: takes their stanzas.
        attempts: failed handshakes by domain and source.
        clock: the time.
        token: makes unpredictable strings, at least 128 bits.
        limits_before: of a stream before the handshake.
        limits_after: of a stream after it.
        login_seconds: how long a handshake may take.
        output_bytes: how much may wait for a component that does not read.
        on_up: told of the domain of a component that has connected.
        on_down: told of the domain of a component that is gone.
        routes: by domain, one for each configured component.
        connections: all that are open.
    """

    router: Router
    attempts: Attempts
    clock: Clock
    token: Callable[[], str]
    limits_before: Limits
    limits_after: Limits
    login_seconds: float
    output_bytes: int
    on_up: Callable[[str], None] = _nothing
    on_down: Callable[[str], None] = _nothing
    routes: dict[str, ComponentRoute] = field(default_factory=dict)
    connections: set[ComponentConnection] = field(default_factory=set)
    _secrets: dict[str, str] = field(default_factory=dict, repr=False)

    def serve(self, secrets: Mapping[str, str]) -> None:
        """Answer for these components and no others, from now on; at start and at a reload.

        A component that is there no more is disconnected, and so is one whose secret changed.

        Args:
            secrets: by domain, in its prepared form.

        Raises:
            ValueError: a domain is served by something else; nothing has changed.
        """
        for domain in secrets.keys() - self.routes.keys():
            if self.router.find(domain) is not None:
                raise ValueError(f"{domain} is served already")
        before, self._secrets = self._secrets, dict(secrets)
        for domain in before.keys() - secrets.keys():
            self.router.remove(domain)
            self._end(self.routes.pop(domain), StreamError(StreamCondition.HOST_GONE))
        for domain, secret in secrets.items():
            if domain not in self.routes:
                self.routes[domain] = ComponentRoute(domain)
                self.router.add(domain, self.routes[domain])
            elif before[domain] != secret:
                error = StreamError(StreamCondition.RESET, "the secret has changed")
                self._end(self.routes[domain], error)

    def secret(self, domain: JID, source: str) -> str:
        """The secret of a component that somebody claims to be.

        Raises:
            StreamError: there is no such component, or too many have failed to be it.
        """
        secret = self._secrets.get(domain.domain)
        if secret is None:
            text = "there is no such component in the configuration"
            raise StreamError(StreamCondition.HOST_UNKNOWN, text)
        seconds = self.attempts.blocked((domain.text, source), self.clock.monotonic())
        if seconds > 0:
            text = f"too many failed handshakes: try again in {int(seconds) + 1} seconds"
            raise StreamError(StreamCondition.POLICY_VIOLATION, text)
        return secret

    def taken(self, domain: JID) -> bool:
        """Whether a component is connected already.

        If so, that connection is probed: where its far end has gone without a word, TCP finds
        out, and the component gets in when it tries again.
        """
        connection = self.routes[domain.domain].connection
        if connection is None:
            return False
        connection.probe()
        return True

    def close_all(self, error: StreamError) -> None:
        """End every stream."""
        for connection in list(self.connections):
            connection.close(error)

    def _end(self, route: ComponentRoute, error: StreamError) -> None:
        if route.connection is not None:
            route.connection.close(error)


class ComponentConnection:
    """One connection of a component (`net.wire.Machine`)."""

    __slots__ = ("_door", "_queues", "_route", "_stream", "_timer", "_wire")

    def __init__(self, door: ComponentDoor) -> None:
        self._door = door
        self._queues = SenderQueues(door.router.route, self._room)
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
        """The component reads again; nothing waits for that here."""

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
        wire.abort()
        self._leave("it did not read")
        return False

    # Events

    def _take(self, found: list[Event]) -> None:
        for event in found:
            if isinstance(event, Stanza):
                self._queues.put(event)
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
        self._route.connection = self
        self._logger().info("component connected")
        door.on_up(domain.domain)

    def _refused(self, event: events.AuthenticationFailed) -> None:
        if event.account is None:
            return
        key = (event.account.text, self._source())
        self._door.attempts.failed(key, self._door.clock.monotonic())
        self._logger().warning("handshake refused: wrong secret", component=event.account.text)

    def _bad_address(self, bad: BadAddress) -> None:
        if bad.stanza.type in {"error", "result"} or self._route is None:
            return
        error = StanzaError(Condition.JID_MALFORMED, bad.why)
        # What was not an address cannot be where the error is from, yet there must be a `from`.
        by = JID("", self._route.domain)
        self.send(error_reply(bad.stanza.replace(to=by), error))

    def _too_late(self) -> None:
        self._timer = None
        self.close(StreamError(StreamCondition.CONNECTION_TIMEOUT, "the handshake took too long"))

    # The end

    def _closed(self, event: events.Closed) -> None:
        self._flush()
        why = ""
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
        if route is not None:
            route.connection = None
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
