"""Other servers, as the configuration has them: made when the server starts, adjusted later."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

import structlog

from jabberd.config import Config, StartError, parse_route
from jabberd.config.folder import secret
from jabberd.core.admin_s2s import ServersView
from jabberd.core.host import LocalHost
from jabberd.core.keeper import Ledger
from jabberd.core.returned import Returns
from jabberd.core.router import Router
from jabberd.edge.finder import Finder
from jabberd.edge.peers import Peers, Policy
from jabberd.edge.probe import Ask, Probe
from jabberd.edge.servers import Bounds, Servers
from jabberd.edge.streams_view import StreamsView
from jabberd.net.clock import Clock
from jabberd.net.dial import Dialler
from jabberd.net.dns import Resolver, Target
from jabberd.net.listen import parse_network
from jabberd.net.tls import TlsContexts
from jabberd.net.trust import Trust, TrustError
from jabberd.xmpp.frames import Limits

_log: Final = structlog.get_logger("jabberd.s2s")
_POLICIES: Final = {
    "dialback": Policy.DIALBACK,
    "required": Policy.REQUIRED,
    "off": Policy.OFF,
}
_WILDCARDS: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 -- what is not bound to here


class Federation:
    """Every other server, and where they are found.

    Args:
        config: of this server.
        router: of this server.
        ledger: the durable log.
        tls: our certificates.
        clock: the time.
        token: makes unpredictable strings.
        before: limits of a stream on which nothing is proved.
        hosts: ours.

    Raises:
        StartError: the authorities or the secret cannot be read.
    """

    def __init__(  # noqa: PLR0913 -- it is where all of this meets
        self,
        config: Config,
        *,
        router: Router,
        ledger: Ledger,
        tls: TlsContexts,
        clock: Clock,
        token: Callable[[], str],
        before: Limits,
        hosts: Mapping[str, LocalHost],
    ) -> None:
        federation = config.federation
        self.resolver = Resolver(
            now=clock.monotonic,
            nameservers=federation.nameservers,
            trusted=federation.trusted_dns,
            networks=[parse_network(network) for network in federation.networks],
            own=_own_addresses(config),
        )
        self.finder = Finder(routes(config), self.resolver)
        try:
            trust = Trust(federation.authorities, now=clock.now)
        except TrustError as error:
            raise StartError(str(error)) from None
        self.servers = Servers(
            router=router,
            turns=ledger.turns,
            log=ledger.log,
            peers=peers(config),
            trust=trust,
            tls=tls,
            finder=self.finder,
            dialler=Dialler(self.resolver, on_bug=_bug),
            clock=clock,
            token=token,
            secret=secret(config.data, "dialback"),
            bounds=bounds(config, before),
            verifications=federation.verifications,
            returns=Returns(router, hosts),
        )

    def view(self, hosts: Mapping[str, LocalHost]) -> ServersView:
        """What is known of other servers, for the operator."""

        def ask(domain: str) -> Ask | None:
            host = hosts.get(domain)
            return None if host is None else host.ask

        return StreamsView(self.servers, Probe(self.servers, self.resolver, ask), tuple(hosts))

    def apply(self, config: Config, before: Limits) -> None:
        """Take over what can change while running."""
        self.finder.routes = routes(config)
        self.servers.peers = peers(config)
        self.servers.adjust(bounds(config, before))


def peers(config: Config) -> Peers:
    """Who may talk to whom."""
    federation = config.federation
    return Peers(
        enabled=config.federates,
        policy=_POLICIES[federation.policy],
        hosts={
            name: _POLICIES[host.federation]
            for name, host in config.host.items()
            if host.federation is not None
        },
        peers={
            name: _POLICIES[peer.policy]
            for name, peer in config.peer.items()
            if peer.policy is not None
        },
        allow=federation.allow,
        deny=federation.deny,
        plain=[name for name, peer in config.peer.items() if peer.plain],
    )


def routes(config: Config) -> dict[str, Target]:
    """Where other servers are, by the operator's word."""
    return {
        domain: Target(host, port, direct_tls=direct, trusted=True)
        for domain, text in config.route.items()
        for host, port, direct in [parse_route(text)]
    }


def bounds(config: Config, before: Limits) -> Bounds:
    """What streams with other servers may use up."""
    federation, limits = config.federation, config.limits
    after = replace(before, stanza_bytes=federation.stanza_bytes)
    return Bounds(
        before,
        after,
        negotiation_seconds=limits.login_seconds,
        idle_seconds=federation.idle_seconds,
        queue_seconds=federation.queue_seconds,
        queue_bytes=federation.queue_bytes,
    )


def _own_addresses(config: Config) -> list[str]:
    listeners = (*config.listen.s2s, *config.listen.s2s_tls)
    return [listener.host for listener in listeners if listener.host not in _WILDCARDS]


def _bug(error: Exception) -> None:
    _log.error("a connection failed", exc_info=error)
