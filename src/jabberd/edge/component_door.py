"""Which external components (XEP-0114) there are, and what their connections share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import structlog

from jabberd.core.keeper import Ledger
from jabberd.core.resent import Resent
from jabberd.core.returned import Returns
from jabberd.core.router import Router
from jabberd.edge.component_route import ComponentRoute, Connection
from jabberd.edge.outbox import Outbox, Outgoing, Post
from jabberd.edge.outlet import Marks
from jabberd.net.clock import Clock
from jabberd.net.limits import Attempts
from jabberd.storage.api import KeyValue, StorageError
from jabberd.storage.log_api import Relay
from jabberd.xmpp.error import Condition, StanzaError, StreamCondition, StreamError
from jabberd.xmpp.frames import Limits
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import ParseError, read_stanza

_log: Final = structlog.get_logger("jabberd.component")
_QUEUE_BYTES: Final = 4 << 20
_SPACE: Final = "component"
_MANAGED: Final = "sm"
QUEUE_SECONDS: Final = 300.0
"""How long messages wait for a component that has, or had, stream management."""


def _nothing(_domain: str) -> None:
    """Nobody wants to know."""


def _comes_by_itself(_outbox: Outbox) -> None:
    """Nobody can look for a component."""


@dataclass(slots=True)
class ComponentDoor:
    """Shared by the connections of components; limits may be changed at any time.

    Attributes:
        router: takes their stanzas.
        ledger: the durable log.
        returns: the way back to senders.
        memory: which components have stream management, so that a restart does not forget it.
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
        resent: what components with stream management have sent lately.
        marks: see `edge.outlet.Outlet`.
    """

    router: Router
    ledger: Ledger
    returns: Returns
    memory: KeyValue
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
    connections: set[Connection] = field(default_factory=set)
    resent: Resent = field(default_factory=Resent)
    marks: Marks = field(init=False)
    _met: set[str] = field(default_factory=set)
    _writing: asyncio.Task[None] | None = None
    _unwritten: dict[str, bool] = field(default_factory=dict)
    _secrets: dict[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.marks = Marks(self.token)

    def serve(self, secrets: Mapping[str, str], seconds: Mapping[str, float] | None = None) -> None:
        """Answer for these components and no others, from now on; at start and at a reload.

        A component that is there no more is disconnected, and so is one whose secret changed.

        Args:
            secrets: by domain, in its prepared form.
            seconds: by domain: how long messages wait for one with stream management; see
                `QUEUE_SECONDS`.

        Raises:
            ValueError: a domain is served by something else; nothing has changed.
        """
        for domain in secrets.keys() - self.routes.keys():
            if self.router.find(domain) is not None:
                raise ValueError(f"{domain} is served already")
        before, self._secrets = self._secrets, dict(secrets)
        for domain in before.keys() - secrets.keys():
            self.router.remove(domain)
            route = self.routes.pop(domain)
            self._end(route, StreamError(StreamCondition.HOST_GONE))
            route.gone()
        for domain, secret in secrets.items():
            wait = (seconds or {}).get(domain, QUEUE_SECONDS)
            if domain not in self.routes:
                self.routes[domain] = ComponentRoute(domain, self._post(), wait, self._remember)
                self.router.add(domain, self.routes[domain])
                continue
            self.routes[domain].wait(wait)
            if before[domain] != secret:
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

    def meet(self, domain: str) -> bool:
        """Whether this is the first stream of a component since this process began."""
        first = domain not in self._met
        self._met.add(domain)
        return first

    def restore(self, relays: Iterable[Relay]) -> list[Relay]:
        """Take over what a former process has not got rid of, oldest first.

        Returns:
            What is for others than components.
        """
        skew = asyncio.get_running_loop().time() - self.clock.now()
        others: list[Relay] = []
        for relay in relays:
            if relay.local != relay.remote:
                others.append(relay)
                continue
            try:
                outgoing = Outgoing(
                    read_stanza(relay.stanza), relay.key, None, relay.expires + skew
                )
            except ParseError as error:
                _log.error("given up in the queue", component=relay.remote, why=str(error))
                self.ledger.turns.open().unit.relayed.append(relay.key)
                continue
            route = self.routes.get(relay.remote)
            if route is None:
                self.ledger.turns.open().unit.relayed.append(relay.key)
                text = f"{relay.remote} is not served here any more"
                gone = StanzaError(Condition.REMOTE_SERVER_NOT_FOUND, text)
                self.returns.give_back(outgoing.stanza, gone)
            else:
                route.restore(outgoing)
        return others

    async def recall(self) -> None:
        """Ask which components had stream management in a former process.

        Raises:
            StorageError: the database cannot be read.
        """
        for domain, route in self.routes.items():
            if await self.memory.get(domain, _SPACE, _MANAGED) is not None:
                route.managed = True

    def _remember(self, domain: str, managed: bool) -> None:
        self._unwritten[domain] = managed
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        while self._unwritten:
            domain, managed = self._unwritten.popitem()
            try:
                await self.memory.put(domain, _SPACE, _MANAGED, b"1" if managed else None)
            except StorageError as error:  # it is asked for again with the next stream
                _log.error("storage failed", component=domain, error=str(error))
        self._writing = None

    async def close(self) -> None:
        """What waits is left to the next process; once nothing comes any more."""
        for route in self.routes.values():
            route.close()
        if self._writing is not None:
            await self._writing

    def close_all(self, error: StreamError) -> None:
        """End every stream."""
        for connection in list(self.connections):
            connection.close(error)

    def _post(self) -> Post:
        ledger, returns = self.ledger, self.returns
        return Post(
            ledger.turns, ledger.log.next_key, self.clock.now, returns.give_back,
            returns.not_stored, _comes_by_itself, QUEUE_SECONDS, _QUEUE_BYTES,
        )  # fmt: skip

    def _end(self, route: ComponentRoute, error: StreamError) -> None:
        if route.connection is not None:
            route.connection.close(error)
