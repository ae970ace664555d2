"""The only constructor of everything: from a configuration to a running server."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import shlex
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import structlog

from jabberd.assembly import Assembly, client_service
from jabberd.config import (
    FIXED_FEDERATION,
    Config,
    Federation,
    HostConfig,
    StartError,
    data_folder,
    load,
    reload,
    reloadable_changes,
)
from jabberd.config.folder import locked
from jabberd.core import log
from jabberd.core.accounts import AccountHooks, AccountService
from jabberd.core.admin import ServerProcess, all_commands
from jabberd.core.admin_check import OwnDomains
from jabberd.core.admin_gateways import GatewayView
from jabberd.core.admin_s2s import ServersView
from jabberd.core.command import CommandError, CommandRegistry
from jabberd.core.derive import Deriver
from jabberd.core.ports import PushApi
from jabberd.core.session import Sessions
from jabberd.edge.control import ControlServer
from jabberd.net.clock import SystemClock
from jabberd.net.holder import where
from jabberd.storage.api import RosterItem, Stores, Subscription
from jabberd.storage.open import open_stores
from jabberd.xmpp.jid import JID

_log: Final = structlog.get_logger("jabberd")
_SWITCH_SECONDS: Final = 0.001


@dataclass(frozen=True, slots=True)
class Report:
    """What a server that has just started says about itself.

    Attributes:
        hosts: the domains that it serves.
        listening: kind ("c2s", "s2s" and so on) and address of each listener.
        data: the data folder.
        hints: what to do next, in sentences.
    """

    hosts: tuple[str, ...]
    listening: tuple[tuple[str, str], ...]
    data: str
    hints: tuple[str, ...]


class RunningServer:
    """A server with everything that belongs to it, its lock on the data folder excepted.

    Args:
        config: what to run.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.stopping = asyncio.Event()
        self.restarting = False
        self._assembly: Assembly | None = None
        self._control: ControlServer | None = None

    @property
    def assembly(self) -> Assembly:
        """The parts, once started.

        Raises:
            RuntimeError: it is not running.
        """
        if self._assembly is None:
            raise RuntimeError("the server is not running")
        return self._assembly

    async def start(self) -> Report:
        """Open everything, from the database to the ports.

        Raises:
            StartError: something of it cannot be had; nothing is left open.
            StorageError: the database cannot be had; nothing is left open.
        """
        assembly = await Assembly.make(self.config)
        try:
            process = ServerProcess(
                stop=self.stopping.set, restart=self.restart, reload=self.reload
            )
            commands = CommandRegistry(
                all_commands(
                    lambda: assembly.accounts,
                    lambda: assembly.journal,
                    lambda: assembly.sessions,
                    process,
                    lambda account: _push(assembly, account),
                    lambda: assembly.clients,
                    lambda: _servers(assembly),
                    lambda: _own_domains(assembly),
                    lambda: _gateways(assembly),
                )
            )
            assembly.load_modules(commands)
            control = ControlServer(self.config.data, commands)
            self._assembly, self._control = assembly, control
            await assembly.restore()
            await control.start()
            assembly.listen()
            await assembly.begin()
        except OSError as error:
            await self.stop()
            raise StartError(f"cannot make the control socket: {error.strerror}") from None
        except BaseException:
            self._assembly = assembly
            await self.stop()
            raise
        return Report(
            tuple(self.config.host),
            tuple(
                (kind, where(listener.address.host, listener.address.port))
                for kind, listener in assembly.listeners
            ),
            str(self.config.data),
            await self._hints(assembly),
        )

    async def _hints(self, assembly: Assembly) -> tuple[str, ...]:
        counts = [await assembly.accounts.count(host) for host in self.config.host]
        hints = list(assembly.warnings)
        if not any(counts):
            host = next(iter(self.config.host))
            command = f"{_command()} user add you@{host}{self._where()}"
            hints.append(f"Next: make an account with `{command}`, then log in.")
        return tuple(hints)

    def _where(self) -> str:
        """What another command has to be told to find this server."""
        source = self.config.source
        if source.file is not None and source.data is None:
            return f" --config {shlex.quote(str(source.file))}"
        if self.config.data == data_folder():
            return ""
        return f" --data {shlex.quote(str(self.config.data))}"

    def restart(self) -> None:
        """Begin an orderly shutdown after which the program is to begin anew."""
        self.restarting = True
        self.stopping.set()

    async def stop(self) -> None:
        """Tell everybody, and close everything in order."""
        control, self._control = self._control, None
        if control is not None:
            await control.stop()
        assembly, self._assembly = self._assembly, None
        if assembly is not None:
            await assembly.close()

    async def reload(self) -> str:
        """Read the configuration again and apply what can be applied live.

        Raises:
            CommandError: it has an error; the old state goes on.
        """
        try:
            fresh = reload(self.config)
            changes = reloadable_changes(self.config, fresh)
            self.assembly.apply(fresh)
        except StartError as error:
            _log.error("reload refused: the old configuration goes on", reason=str(error))
            raise CommandError(f"the old configuration goes on: {error}") from None
        log.set_level(fresh.log.level)
        host = {name: self._merged(name, fresh) for name in self.config.host}
        self.config = replace(
            self.config,
            limits=fresh.limits,
            sessions=fresh.sessions,
            clients=fresh.clients,
            log=fresh.log,
            federation=_merged_federation(self.config.federation, fresh.federation),
            peer=fresh.peer,
            route=fresh.route,
            host=host,
            source=fresh.source,
        )
        sentences = ["Certificates were read again."]
        if changes.live:
            sentences.append(f"Changed: {', '.join(changes.live)}.")
        if changes.restart:
            sentences.append(f"Needs a restart: {', '.join(changes.restart)}.")
        answer = " ".join(sentences)
        _log.info("configuration reloaded", result=answer)
        return answer

    def _merged(self, name: str, fresh: Config) -> HostConfig:
        old = self.config.host[name]
        new = fresh.host.get(name)
        if new is None:
            return old
        return replace(
            old,
            certificate=new.certificate,
            key=new.key,
            client_ca=new.client_ca,
            federation=new.federation,
        )


def _merged_federation(old: Federation, new: Federation) -> Federation:
    """What is in force after a reload: some needs a restart."""
    return replace(new, **{name: getattr(old, name) for name in FIXED_FEDERATION})


def _servers(assembly: Assembly) -> ServersView | None:
    if assembly.federation is None:
        return None
    return assembly.federation.view(assembly.hosts)


def _gateways(assembly: Assembly) -> Sequence[GatewayView]:
    return assembly.transports.infos() if assembly.transports is not None else ()


def _own_domains(assembly: Assembly) -> OwnDomains:
    # It brings DNS, which a server for itself does without until somebody asks.
    from jabberd.edge import own_domains  # noqa: PLC0415

    federation = assembly.config.federation
    return own_domains.OwnDomains(
        hosts=tuple(assembly.hosts),
        listeners=assembly.listeners,
        tls=assembly.tls,
        nameservers=federation.nameservers,
        authorities=federation.authorities,
        clock=assembly.clock,
        on_bug=lambda error: _log.error("a connection failed", exc_info=error),
    )


def _push(assembly: Assembly, account: JID) -> PushApi | None:
    host = assembly.hosts.get(account.domain)
    if host is None:
        return None
    try:
        return host.require(PushApi)
    except LookupError:  # the module is switched off
        return None


def _command() -> str:
    """How to call this program: it need not be on the PATH (`make run`)."""
    if shutil.which("jabberd"):
        return "jabberd"
    beside = Path(sys.executable).with_name("jabberd")
    if not beside.exists():
        return "jabberd"
    here = Path.cwd()
    return str(beside.relative_to(here) if beside.is_relative_to(here) else beside)


async def serve(config: Config, *, ready: Callable[[Report], None]) -> bool:
    """Run until SIGTERM, SIGINT, `jabberd stop` or `jabberd restart`; SIGHUP reloads.

    Args:
        config: what to run.
        ready: told when logins are accepted.

    Returns:
        Whether to begin anew.

    Raises:
        StartError: the server cannot start.
        StorageError: its database cannot be had.
    """
    with locked(config.data):
        server = RunningServer(config)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, server.stopping.set)
        reloads: set[asyncio.Task[None]] = set()

        def reload_soon() -> None:
            task = loop.create_task(_reload(server))
            reloads.add(task)
            task.add_done_callback(reloads.discard)

        loop.add_signal_handler(signal.SIGHUP, reload_soon)
        try:
            report = await server.start()
            _calm_collector()
            ready(report)
            await server.stopping.wait()
            _log.info("shutting down")
        finally:
            await server.stop()
        return server.restarting


def _calm_collector() -> None:
    """Have garbage collection look less often, and never at what stays until the end.

    And have threads hand over the interpreter sooner than after 5 ms: every statement of the
    database's writer lets go of it, and wants it back.

    Stanzas make no cycles, but a full collection over many sessions would delay them by tens of
    milliseconds. Only where the process is ours, never in an embedding program.
    """
    gc.collect()
    sys.setswitchinterval(_SWITCH_SECONDS)
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


async def _reload(server: RunningServer) -> None:
    with contextlib.suppress(CommandError):  # logged already
        await server.reload()


@asynccontextmanager
async def offline_registry(config: Config) -> AsyncIterator[CommandRegistry]:
    """The commands that work on the data of a server that is not running.

    Raises:
        StartError: a server is running, or the folder cannot be used.
        StorageError: the database cannot be had.
    """
    with locked(config.data):
        stores = await open_stores(config.storage, data=config.data)
        deriver = Deriver()
        try:
            clock = SystemClock()
            clients = client_service(config, stores, clock, Sessions())
            accounts = AccountService(
                stores,
                deriver,
                config.host,
                now=clock.now,
                iterations=config.passwords.iterations,
                hooks=AccountHooks(withdraw=clients.withdraw),
            )
            yield CommandRegistry(all_commands(lambda: accounts, clients=lambda: clients))
        finally:
            deriver.close()
            await stores.close()


DEMO: Final[Mapping[str, str]] = {"alice": "alice", "bob": "bob", "carol": "carol"}
"""The accounts of `jabberd demo`, with their passwords."""


async def demo(*, ready: Callable[[Report], None]) -> None:
    """Run a server in a throwaway folder, with three accounts who know each other.

    Raises:
        StartError: the server cannot start.
    """
    with tempfile.TemporaryDirectory(prefix="jabberd-demo-") as folder:
        config = load(data=Path(folder), environ={})
        stores = await open_stores(config.storage, data=config.data)
        deriver = Deriver()
        try:
            await _populate(stores, AccountService(stores, deriver, config.host, now=time.time))
        finally:
            deriver.close()
            await stores.close()

        def announce(report: Report) -> None:
            logins = "; ".join(f"{name}@localhost, password {DEMO[name]}" for name in DEMO)
            hints = (
                f"Log in as: {logins}.",
                "The certificate is self-signed: tell your client to accept it.",
                "Everything is gone when you stop this by Ctrl-C.",
            )
            ready(replace(report, hints=hints))

        await serve(config, ready=announce)


async def _populate(stores: Stores, accounts: AccountService) -> None:
    names = [JID.parse(f"{name}@localhost") for name in DEMO]
    for jid in names:
        await accounts.add(jid, DEMO[jid.local])
        for other in names:
            if other != jid:
                name = other.local.title()
                item = RosterItem(other.text, name, ("Demo",), Subscription.BOTH)
                await stores.roster.change(jid.text, other.text, _always(item))


def _always(item: RosterItem) -> Callable[[RosterItem | None], RosterItem | None]:
    return lambda _: item
