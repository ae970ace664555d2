"""The parts of a server and how they are joined; `app` starts and stops them."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from jabberd.config import Config, StartError
from jabberd.config.folder import secret
from jabberd.core.accounts import AccountHooks, AccountService
from jabberd.core.clients import REVOKED, ClientService
from jabberd.core.command import Command, CommandRegistry, of_hosts
from jabberd.core.derive import Deriver
from jabberd.core.host import LocalHost
from jabberd.core.journal import Journal
from jabberd.core.keeper import Ledger
from jabberd.core.module import AccountEvent
from jabberd.core.ports import AccountsApi, ClientsApi
from jabberd.core.returned import Returns
from jabberd.core.router import Router
from jabberd.core.services import Services
from jabberd.core.session import SessionFacts, Sessions
from jabberd.core.tokens import Vault
from jabberd.edge.c2s import ClientConnection
from jabberd.edge.client_session import ClientSession
from jabberd.edge.component import ComponentConnection
from jabberd.edge.component_door import ComponentDoor
from jabberd.edge.door import ClientDoor, Entrance
from jabberd.edge.resumption import Resumptions
from jabberd.listening import BETWEEN_SERVERS, WEB, Listening
from jabberd.net.clock import SystemClock
from jabberd.net.limits import Admission, Attempts
from jabberd.net.listen import Listener
from jabberd.net.tls import TlsContexts
from jabberd.net.tls_config import TlsConfigError
from jabberd.net.wire import Machine
from jabberd.settings import (
    certificates,
    client_rules,
    privileges,
    sasl_policy,
    session_bounds,
    stream_limits,
    tls_config,
)
from jabberd.storage.api import Stores
from jabberd.storage.open import open_stores
from jabberd.xmpp.error import StreamCondition, StreamError
from jabberd.xmpp.jid import JID

if TYPE_CHECKING:
    from jabberd.edge.servers import Servers
    from jabberd.federation import Federation
    from jabberd.transports import Transports
    from jabberd.web import Web

_log: Final = structlog.get_logger("jabberd")
# So many of the newest messages are recognised when they are sent again after a restart.
_RESENT_MOST: Final = 20_000


def token() -> str:
    """An unpredictable string of 128 bits: lower-case hexadecimal, fit for every use."""
    return secrets.token_hex(16)


@dataclass(slots=True)
class Assembly:
    """A server's parts.

    Attributes:
        config: what was assembled.
        clock: the time.
        stores: durable state.
        deriver: PBKDF2, off the loop.
        journal: how stanzas ended.
        sessions: who is here.
        router: domain → route.
        hosts: by domain.
        accounts: of all hosts.
        clients: of all accounts.
        tls: certificates.
        door: what clients' connections share.
        services: how components and gateways are listed, and what they may do.
        components: what external components' connections share.
        federation: other servers; None where this one talks to no others.
        ledger: the durable log.
        admission: counts connections.
        listening: where it listens.
        transports: gateways inside this server; None where there are none.
        web: HTTP; None where nothing listens for it.
        warnings: what the operator should know, in sentences.
    """

    config: Config
    clock: SystemClock
    stores: Stores
    deriver: Deriver
    journal: Journal
    sessions: Sessions
    router: Router
    hosts: dict[str, LocalHost]
    accounts: AccountService
    clients: ClientService
    tls: TlsContexts
    door: ClientDoor
    services: Services
    components: ComponentDoor
    federation: Federation | None
    ledger: Ledger
    admission: Admission
    listening: Listening
    transports: Transports | None = None
    web: Web | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def listeners(self) -> list[tuple[str, Listener]]:
        """Kind and listener, as they come to be."""
        return self.listening.listeners

    @classmethod
    async def make(cls, config: Config) -> Assembly:
        """Open the database and join the parts; nothing listens yet.

        Raises:
            StartError: a certificate or the data folder cannot be used.
            StorageError: the database cannot be had.
        """
        clock = SystemClock()
        tls = certificates(config, clock)
        decoys = secret(config.data, "decoys")
        stores = await open_stores(config.storage, data=config.data, durability=config.durability)
        ledger = Ledger(stores.log, clock.now)
        journal = Journal(keep=config.journal.keep)
        sessions = Sessions()
        router = Router(journal, clock.now)
        deriver = Deriver()
        hosts = {
            name: LocalHost(
                JID.parse(name),
                stores=stores,
                sessions=sessions,
                router=router,
                now=clock.now,
                token=token,
                ledger=ledger,
            )
            for name in config.host
        }
        resumptions = Resumptions(
            ledger,
            hosts,
            clock.monotonic,
            session_bounds(config),
            config.sessions.acknowledge_seconds,
            config.sessions.location,
        )
        clients = client_service(
            config,
            stores,
            clock,
            sessions,
            dismiss=lambda account, client: door.dismiss(account, REVOKED, client),
        )

        def end(account: JID, error: StreamError) -> None:
            _close_sessions(hosts, account, error)
            door.dismiss(account, error)

        accounts = AccountService(
            stores,
            deriver,
            config.host,
            now=clock.now,
            iterations=config.passwords.iterations,
            hooks=AccountHooks(
                close=end,
                deleting=lambda account: _take_leave(hosts[account.domain], journal, account),
                withdraw=clients.withdraw,
            ),
        )
        before, after = stream_limits(config.limits)
        door = ClientDoor(
            router=router,
            hosts=hosts,
            sasl={name: sasl_policy(config, name, decoys) for name in config.host},
            sasl2=frozenset(name for name, host in config.host.items() if host.sasl2),
            sessions=sessions,
            stores=stores,
            accounts=accounts,
            clients=clients,
            derive=deriver.derive,
            attempts=Attempts(allowed=config.limits.login_attempts),
            sources=Attempts(allowed=config.limits.login_attempts_per_address),
            clock=clock,
            token=token,
            limits_before=before,
            limits_after=after,
            login_seconds=config.limits.login_seconds,
            output_bytes=config.limits.output_bytes,
            resumptions=resumptions,
        )
        services = Services(hosts)
        components = ComponentDoor(
            router=router,
            ledger=ledger,
            returns=Returns(router, hosts),
            memory=stores.keyvalue,
            attempts=Attempts(allowed=config.limits.login_attempts),
            clock=clock,
            token=token,
            limits_before=before,
            limits_after=after,
            login_seconds=config.limits.login_seconds,
            output_bytes=config.limits.output_bytes,
            on_up=services.came,
            on_down=services.went,
        )
        components.serve(
            {name: one.secret for name, one in config.component.items()},
            {name: one.queue_seconds for name, one in config.component.items()},
        )
        federation = None
        if config.federates:
            federation = _federation(config, router, hosts, ledger, tls, clock)
            router.elsewhere = federation.servers
        admission = Admission(config.limits.connections, config.limits.connections_per_address)
        assembly = cls(
            config, clock, stores, deriver, journal, sessions, router, hosts, accounts, clients,
            tls, door, services, components, federation, ledger, admission,
            Listening(config, tls, admission),
            warnings=list(tls.warnings),
        )  # fmt: skip
        if config.listen.http or config.listen.https:
            assembly.web = assembly.listening.web = _web(assembly)
        if any(not one.server for one in config.gateway.values()):
            assembly.transports = _transports(assembly)
        return assembly

    def load_modules(self, commands: CommandRegistry) -> None:
        """Load each host's modules; their commands join `commands`.

        Raises:
            StartError: the folder of uploaded files cannot be used.
        """
        if self.web is not None:
            self.web.provide()
        brought: dict[tuple[str, ...], dict[str, Command]] = {}
        for name, host in self.hosts.items():
            host.registry.ports[AccountsApi] = self.accounts
            host.registry.ports[ClientsApi] = self.clients
            host.registry.ports[CommandRegistry] = commands
            for choice in self.config.host[name].modules:
                module = choice.load(host, choice.options)
                host.load(choice.name, module)
                for command in module.commands:
                    brought.setdefault(command.path, {})[name] = command
            if self.transports is not None:
                host.load("gateways", self.transports.module())
        for of_each in brought.values():
            commands.register(of_hosts(of_each))
        for name, one in self.config.component.items():
            self.services.grant(name, privileges(one))

    async def restore(self) -> None:
        """Take over what the last process left: sessions, and what was sent lately.

        Modules must be loaded, and nobody connected.

        Raises:
            StorageError: the database cannot be read.
        """
        log = self.ledger.log
        self.ledger.resent.restore(await log.recently_sent(0.0, _RESENT_MOST))
        resumptions = self.door.resumptions

        def make(jid: JID, facts: SessionFacts) -> ClientSession:
            return ClientSession(jid, facts, self.hosts[jid.domain], resumptions, None)

        count = await resumptions.restore(await log.recover(), make)
        if count:
            _log.info("sessions wait for their clients", sessions=count)
        await self.components.recall()
        relays = self.components.restore(await log.relays())
        if self.federation is not None:
            self.federation.servers.restore(relays)

    def listen(self) -> None:
        """Accept connections.

        Raises:
            StartError: a port cannot be had; the message says why.
        """
        listen = self.config.listen
        for address in listen.c2s:
            entrance = Entrance(True, address.legacy_auth, address.starttls_required)
            self.listening.open("c2s", address, self._clients(entrance))
        for address in listen.c2s_tls:
            entrance = Entrance(False, address.legacy_auth, address.starttls_required)
            self.listening.open("c2s_tls", address, self._clients(entrance))
        for address in listen.component:
            self.listening.open("component", address, lambda: ComponentConnection(self.components))
        if self.web is not None:
            for kind in WEB:
                for address in getattr(listen, kind):
                    self.listening.open(kind, address, self.web.machines(address))
        if self.federation is not None:
            servers = self.federation.servers
            for kind in BETWEEN_SERVERS:
                for address in getattr(listen, kind):
                    required = address.starttls_required is not False
                    self.listening.open(kind, address, partial(_incoming, servers, required))
            servers.begin()

    async def begin(self) -> None:
        """Start what comes after everything listens: the gateways.

        Raises:
            StartError: one cannot start; the message says why.
            StorageError: the database cannot be read.
        """
        if self.transports is not None:
            await self.transports.start()

    def _clients(self, entrance: Entrance) -> Callable[[], Machine]:
        return lambda: ClientConnection(self.door, entrance)

    def apply(self, config: Config) -> None:
        """Take over what can change while running: certificates, limits, sessions and clients.

        Raises:
            StartError: a certificate cannot be used; nothing has changed.
        """
        try:
            warnings = self.tls.reload(tls_config(config))
        except TlsConfigError as error:
            raise StartError(str(error)) from None
        for warning in warnings:
            _log.warning(warning)
        limits = config.limits
        before, after = stream_limits(limits)
        self.config = config
        for door in (self.door, self.components):
            door.limits_before = before
            door.limits_after = after
            door.login_seconds = limits.login_seconds
            door.output_bytes = limits.output_bytes
            door.attempts.allow(limits.login_attempts)
        if self.federation is not None:
            self.federation.apply(config, before)
        self.door.sources.allow(limits.login_attempts_per_address)
        self.door.resumptions.bounds = session_bounds(config)
        self.door.resumptions.ack_seconds = config.sessions.acknowledge_seconds
        self.door.resumptions.location = config.sessions.location
        self.clients.rules = client_rules(config)
        self.admission.limit(limits.connections, limits.connections_per_address)
        self.listening.apply(config)

    async def close(self) -> None:
        """Tell everybody that the server stops, and close what is open.

        Sessions that can be resumed are kept; their clients see a connection that breaks.
        """
        self.listening.stop_accepting()
        if self.transports is not None:
            await self.transports.stop()
        self.door.resumptions.save()
        self.door.close_all(StreamError(StreamCondition.SYSTEM_SHUTDOWN))
        self.components.close_all(StreamError(StreamCondition.SYSTEM_SHUTDOWN))
        later = (*BETWEEN_SERVERS, *WEB)
        await asyncio.gather(self._close_web(), self.listening.stop(lambda kind: kind not in later))
        for host in self.hosts.values():
            await host.close()
        if self.federation is not None:  # others are told that our users have left
            await self.federation.servers.close()
        await self.listening.stop(lambda kind: kind in BETWEEN_SERVERS)
        await self.components.close()
        self.door.resumptions.close()
        await self.ledger.turns.close()
        await self.clients.settled()
        self.deriver.close()
        await self.stores.close()

    async def _close_web(self) -> None:
        if self.web is not None:
            await self.web.stop()
            await self.listening.stop(lambda kind: kind in WEB)


def _federation(
    config: Config,
    router: Router,
    hosts: dict[str, LocalHost],
    ledger: Ledger,
    tls: TlsContexts,
    clock: SystemClock,
) -> Federation:
    # It brings DNS and more, which a server for itself does without.
    from jabberd.federation import Federation  # noqa: PLC0415

    return Federation(
        config,
        router=router,
        ledger=ledger,
        tls=tls,
        clock=clock,
        token=token,
        before=stream_limits(config.limits)[0],
        hosts=hosts,
    )


def _transports(assembly: Assembly) -> Transports:
    # As above: a server without gateways does without what they need.
    from jabberd.transports import Transports  # noqa: PLC0415

    return Transports(
        assembly.config,
        stores=assembly.stores,
        router=assembly.router,
        turns=assembly.ledger.turns,
        clock=assembly.clock,
        token=token,
        services=assembly.services,
        nearby=lambda url: assembly.web.nearby(url) if assembly.web is not None else url,
    )


def _web(assembly: Assembly) -> Web:
    # It brings HTTP libraries, which a server without HTTP does without.
    from jabberd.web import Web  # noqa: PLC0415

    return Web(
        assembly.config, assembly.hosts, assembly.listening.listeners, assembly.tls, assembly.clock
    )


def _incoming(servers: Servers, required: bool) -> Machine:
    from jabberd.edge.s2s_in import IncomingServer  # noqa: PLC0415 -- as above

    return IncomingServer(servers, tls_required=required)


def client_service(
    config: Config,
    stores: Stores,
    clock: SystemClock,
    sessions: Sessions,
    *,
    dismiss: Callable[[JID, str], None] = lambda _, __: None,
) -> ClientService:
    """The clients of every account; the key of their tokens is made where there is none.

    Args:
        config: of the server.
        stores: where they are kept.
        clock: the time.
        sessions: of this process.
        dismiss: breaks off logins under way of one client of an account.

    Raises:
        StartError: the key cannot be read or written.
    """
    vault = Vault(secret(config.data, "tokens"))
    return ClientService(
        stores, sessions, vault, now=clock.now, rules=client_rules(config), dismiss=dismiss
    )


async def _take_leave(host: LocalHost, journal: Journal, account: JID) -> None:
    await host.emit_account(AccountEvent.DELETING, account)
    journal.forget(account.text)


def _close_sessions(hosts: dict[str, LocalHost], account: JID, error: StreamError) -> None:
    host = hosts[account.domain]
    for session in host.sessions(account):
        with contextlib.suppress(Exception):
            session.close(error)
