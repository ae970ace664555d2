"""What the connections of clients share: whom they may talk to, and within which bounds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Protocol

from jabberd.core.accounts import AccountService
from jabberd.core.clients import ClientService
from jabberd.core.host import LocalHost
from jabberd.core.ports import CarbonsApi, CsiApi, RegisterApi
from jabberd.core.router import Router
from jabberd.core.session import Session, Sessions
from jabberd.edge.client_session import ClientSession
from jabberd.edge.resumption import Resumptions
from jabberd.edge.sm import StreamManagement
from jabberd.net.clock import Clock
from jabberd.net.limits import Attempts
from jabberd.net.wire import Wire
from jabberd.storage.api import Stores
from jabberd.xmpp import ns, sm
from jabberd.xmpp.element import Element
from jabberd.xmpp.error import Condition, StanzaError, StreamError
from jabberd.xmpp.frames import Limits
from jabberd.xmpp.jid import JID
from jabberd.xmpp.sasl import ht
from jabberd.xmpp.sasl.offer import Policy as SaslPolicy
from jabberd.xmpp.scanner import Pool
from jabberd.xmpp.stanza import Iq, error_reply
from jabberd.xmpp.stream.policy import HostPolicy, Inline
from jabberd.xmpp.stream.receiving import ReceivingStream

Derive = Callable[[bytes, str, bytes, int], Awaitable[bytes]]
_UPGRADES: Final = ("SCRAM-SHA-512", "SCRAM-SHA-256")
# Not to SHA-1: such keys can be tried out faster than any that an account has already.
_REGISTER: Final = Element(ns.REGISTER_FEATURE, "register").to_bytes()


class Closeable(Protocol):
    """A connection, as the door keeps it."""

    def close(self, error: StreamError | None = None) -> None:
        """End its stream."""

    def dismiss(self, account: JID, client: str, error: StreamError) -> None:
        """End its stream, if somebody logs in on it to this account (by this client, or any)."""


@dataclass(frozen=True, slots=True)
class Entrance:
    """How one listener lets clients in.

    Attributes:
        starttls: TLS can be begun by STARTTLS.
        legacy_auth: logins without SASL; None: on loopback connections only.
        tls_required: no login without TLS; None: on loopback connections only.
    """

    starttls: bool
    legacy_auth: bool | None = None
    tls_required: bool | None = None


@dataclass(slots=True)
class ClientDoor:
    """Shared by the connections of clients; limits may be changed at any time.

    Attributes:
        router: takes their stanzas.
        hosts: by domain.
        sasl: by domain: which mechanisms are offered.
        sasl2: domains where logins by SASL2 are offered.
        sessions: of this process.
        stores: durable state.
        accounts: of all hosts.
        clients: of all accounts.
        derive: PBKDF2, off the loop.
        attempts: failed logins by account and source.
        sources: failed logins by source alone.
        clock: the time.
        token: makes unpredictable strings.
        limits_before: of a stream before login.
        limits_after: of a stream after login.
        login_seconds: how long a login may take.
        output_bytes: how much may wait for a client that does not read.
        resumptions: sessions that can be resumed.
        connections: all that are open.
        pool: parsers that the streams share.
        features: by domain: what its modules offer after login, serialised.
    """

    router: Router
    hosts: Mapping[str, LocalHost]
    sasl: Mapping[str, SaslPolicy]
    sasl2: Container[str]
    sessions: Sessions
    stores: Stores
    accounts: AccountService
    clients: ClientService
    derive: Derive
    attempts: Attempts
    sources: Attempts
    clock: Clock
    token: Callable[[], str]
    limits_before: Limits
    limits_after: Limits
    login_seconds: float
    output_bytes: int
    resumptions: Resumptions
    connections: set[Closeable] = field(default_factory=set)
    pool: Pool = field(default_factory=Pool)
    features: dict[str, bytes] = field(default_factory=dict)

    def policy(self, domain: JID, entrance: Entrance, wire: Wire) -> HostPolicy | None:
        """How a host wants to be logged in to on one connection; None: not ours."""
        host = self.hosts.get(domain.domain)
        if host is None:
            return None
        sasl = self.sasl[domain.domain]
        local = is_loopback(wire)
        secure = wire.tls is not None
        legacy = entrance.legacy_auth if entrance.legacy_auth is not None else local
        required = entrance.tls_required if entrance.tls_required is not None else not local
        return HostPolicy(
            domain=host.domain,
            sasl=sasl,
            starttls=entrance.starttls,
            tls_required=required,
            legacy_auth=legacy,
            before_login=lambda: self._before_login(host, local=local, secure=secure),
            after_login=lambda: self._after_login(host),
            sasl2=domain.domain in self.sasl2,
            inline=self._inline(host, sasl.enabled),
        )

    def _inline(self, host: LocalHost, enabled: Sequence[str]) -> Inline:
        """What is offered together with a login by SASL2."""
        ports = host.registry.ports
        modules = ((ns.CARBONS, CarbonsApi), (ns.CSI, CsiApi))
        return Inline(
            bind=(*(name for name, api in modules if api in ports), ns.SM),
            resume=self.resumptions.bounds.seconds > 0,
            fast=tuple(ht.BINDINGS) if self.clients.rules.token_seconds else (),
            upgrades=tuple(name for name in _UPGRADES if name in enabled),
        )

    def _before_login(self, host: LocalHost, *, local: bool, secure: bool) -> bytes:
        register = _register_api(host)
        offered = register is not None and register.offered(local, secure)
        limits = _limits_element(self.limits_before)
        return _REGISTER + limits if offered else limits

    def _after_login(self, host: LocalHost) -> bytes:
        made = self.features.get(host.domain.domain)
        if made is None:
            # Modules are loaded once: what they offer does not change.
            made = b"".join(
                (feature if isinstance(feature, Element) else feature()).to_bytes()
                for _, module in host.loaded()
                for feature in module.stream_features
            )
            self.features[host.domain.domain] = made
        return made + sm.FEATURE + _limits_element(self.limits_after)

    def manage(self, session: ClientSession, wanted: sm.Enable) -> bytes:
        """Begin stream management; returns the `<enabled/>`, which has to be written next."""
        resumptions = self.resumptions
        most = resumptions.bounds.seconds
        resume = wanted.resume and most > 0 and not session.facts.temporary
        seconds = min(wanted.max or most, most) if resume else 0
        number = resumptions.next_number()
        name = self.token() if resume else ""
        session.manage(StreamManagement(number, name, seconds, durable=resume))
        resumptions.add(session)
        location = resumptions.location if resume else ""
        return sm.enabled(name, resume=resume, max=seconds or None, location=location)

    async def register(self, stream: ReceivingStream, iq: Iq, wire: Wire) -> Iq:
        """Answer an in-band registration before login (XEP-0077)."""
        api = _register_api(self.hosts[stream.policy.domain.domain])
        if api is None:
            return error_reply(iq, StanzaError(Condition.SERVICE_UNAVAILABLE))
        return await api.before_login(iq, wire.peer.host, is_loopback(wire), stream.is_secure)

    def blocked(self, account: JID, source: str) -> float:
        """Seconds until somebody at this address may try to log in to this account again."""
        now = self.clock.monotonic()
        return max(
            self.attempts.blocked((account.text, source), now), self.sources.blocked(source, now)
        )

    def failed(self, account: JID, source: str) -> None:
        """Count a login with wrong credentials."""
        now = self.clock.monotonic()
        self.attempts.failed((account.text, source), now)
        self.sources.failed(source, now)

    def drop(self, session: Session, error: StreamError) -> Awaitable[None] | None:
        """End a session now; awaitable until everybody has been told."""
        host = self.hosts[session.jid.domain]
        told = host.unbind(session)
        session.close(error)
        return told

    def dismiss(self, account: JID, error: StreamError, client: str = "") -> None:
        """End the logins to an account that are under way (by one client, or by any)."""
        for connection in list(self.connections):
            connection.dismiss(account, client, error)

    def close_all(self, error: StreamError) -> None:
        """End every stream."""
        for connection in list(self.connections):
            connection.close(error)


def is_loopback(wire: Wire) -> bool:
    """Whether both ends are loopback addresses, and no proxy stands between them."""
    return wire.peer.is_loopback and wire.local.is_loopback and not wire.proxied


@lru_cache(maxsize=16)
def _limits_element(limits: Limits) -> bytes:
    # XEP-0478 §2.
    most = Element(ns.LIMITS, "max-bytes", {}, [str(limits.stanza_bytes)])
    return Element(ns.LIMITS, "limits", {}, [most]).to_bytes()


def _register_api(host: LocalHost) -> RegisterApi | None:
    try:
        return host.require(RegisterApi)
    except LookupError:
        return None
