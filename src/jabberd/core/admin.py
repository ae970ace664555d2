"""The administration commands of the spine: accounts, the journal, sessions.

Services are given as callables, so that a command line can describe the commands without any.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, NoReturn

from jabberd.core.accounts import AccountError, AccountService
from jabberd.core.admin_check import CheckCommand, OwnDomains
from jabberd.core.admin_gateways import GatewayCommands, GatewayView
from jabberd.core.admin_s2s import ServersCommands, ServersView
from jabberd.core.command import Command, CommandError, Doc, Table
from jabberd.core.derive import DeriveBusy
from jabberd.core.journal import Journal
from jabberd.core.ports import PushApi, PushDevice
from jabberd.core.printable import printable
from jabberd.core.session import Session, Sessions
from jabberd.storage.api import Account, StorageError
from jabberd.xmpp.jid import JID, InvalidJID

if TYPE_CHECKING:  # it brings a library that a command line can do without
    from jabberd.core.clients import ClientService

_PAGE = 100
_NODE = 40  # characters of a node that are shown
_Account = Annotated[str, Doc("the account, for example alice@localhost")]


def nowhere() -> NoReturn:
    """Stands for a service where there is none, when commands are only to be described."""
    raise CommandError("there is no server here")


def _no_push(_account: JID) -> None:
    """Stands for notifications where no server runs that could send any."""


def all_commands(  # noqa: PLR0913 -- one for each service
    accounts: Callable[[], AccountService] = nowhere,
    journal: Callable[[], Journal] = nowhere,
    sessions: Callable[[], Sessions] = nowhere,
    process: ServerProcess | None = None,
    push: Callable[[JID], PushApi | None] = _no_push,
    clients: Callable[[], ClientService] = nowhere,
    servers: Callable[[], ServersView | None] = nowhere,
    own: Callable[[], OwnDomains] = nowhere,
    gateways: Callable[[], Sequence[GatewayView]] = nowhere,
) -> list[Command]:
    """Every command of the spine; `push` finds what notifies the clients of an account."""
    return [
        *UserCommands(accounts, push).commands(),
        *ClientCommands(accounts, clients).commands(),
        *TraceCommand(accounts, journal).commands(),
        *SessionCommands(sessions).commands(),
        *ServersCommands(servers).commands(),
        *CheckCommand(own).commands(),
        *GatewayCommands(gateways).commands(),
        *ServerCommands(process or ServerProcess()).commands(),
    ]


class UserCommands:
    """`jabberd user …`."""

    def __init__(
        self,
        accounts: Callable[[], AccountService],
        push: Callable[[JID], PushApi | None] = _no_push,
    ) -> None:
        self._accounts = accounts
        self._push = push

    def commands(self) -> list[Command]:
        """The commands as values."""
        return [
            Command(("user", "add"), self.add),
            Command(("user", "push"), self.push, online=True),
            Command(("user", "list"), self.list),
            Command(("user", "show"), self.show),
            Command(("user", "passwd"), self.passwd),
            Command(("user", "disable"), self.disable),
            Command(("user", "enable"), self.enable),
            Command(("user", "delete"), self.delete),
        ]

    async def add(
        self,
        account: _Account,
        *,
        password: Annotated[str, Doc("the password", secret=True)],
    ) -> str:
        """Add an account."""
        jid = parse_account(account)
        with _told():
            await self._accounts().add(jid, password)
        return f"{jid.text} is added."

    async def list(
        self,
        host: Annotated[str | None, Doc("one host only")] = None,
        *,
        limit: Annotated[int, Doc("at most so many")] = 1000,
    ) -> Table:
        """List accounts."""
        service = self._accounts()
        rows: list[tuple[str, str, str]] = []
        with _told():
            for domain in [_domain(service, host)] if host else service.domains:
                after = ""
                while len(rows) < limit:
                    page = await service.list(
                        domain, after=after, limit=min(_PAGE, limit - len(rows))
                    )
                    if not page:
                        break
                    rows += [(one.owner, when(one.created), _state(one)) for one in page]
                    after = page[-1].owner
        return Table(("account", "created", "state"), rows)

    async def show(self, account: _Account) -> Table:
        """Show what is known of an account."""
        jid = parse_account(account)
        with _told():
            found = await self._accounts().show(jid)
            push = self._push(jid)
            devices = await push.devices(jid) if push is not None else ()
        keys = ", ".join(f"{key.hash} ({key.iterations} iterations)" for key in found.keys)
        return Table(
            ("what", "value"),
            [
                ("account", found.owner),
                ("created", when(found.created)),
                ("state", _state(found)),
                ("password", keys or "none"),
                *(("push", _device(device)) for device in devices),
            ],
        )

    async def push(
        self,
        account: _Account,
        *,
        test: Annotated[bool, Doc("notify each of them now")] = False,
    ) -> Table:
        """Show which clients are notified when they are not there, and how that went."""
        jid = parse_account(account)
        with _told():
            await self._accounts().show(jid)
            push = self._push(jid)
            if push is None:
                raise CommandError(f"{jid.domain} sends no push notifications")
            devices = await (push.test(jid) if test else push.devices(jid))
        return Table(
            ("client", "service", "node", "since", "sent", "unread", "state"),
            [
                (
                    printable(device.resource),
                    printable(device.service),
                    printable(device.node, _NODE),
                    when(device.since),
                    device.sent,
                    device.unread,
                    _health(device),
                )
                for device in devices
            ],
        )

    async def passwd(
        self,
        account: _Account,
        *,
        password: Annotated[str, Doc("the new password", secret=True)],
    ) -> str:
        """Replace the password of an account, and end its sessions."""
        jid = parse_account(account)
        with _told():
            await self._accounts().set_password(jid, password)
        return f"{jid.text} has a new password."

    async def disable(
        self,
        account: _Account,
        *,
        reason: Annotated[str, Doc("why; the user is told")] = "",
    ) -> str:
        """Refuse logins to an account, and end its sessions. Nothing is erased."""
        jid = parse_account(account)
        with _told():
            await self._accounts().disable(jid, reason)
        return f"{jid.text} may not log in any more."

    async def enable(self, account: _Account) -> str:
        """Allow logins to a disabled account again."""
        jid = parse_account(account)
        with _told():
            await self._accounts().enable(jid)
        return f"{jid.text} may log in again."

    async def delete(self, account: _Account) -> str:
        """Erase an account and everything that it owns."""
        jid = parse_account(account)
        with _told():
            await self._accounts().delete(jid)
        return f"{jid.text} and everything it owned is erased."


class ClientCommands:
    """`jabberd user clients` and `jabberd user revoke`."""

    def __init__(
        self, accounts: Callable[[], AccountService], clients: Callable[[], ClientService]
    ) -> None:
        self._accounts = accounts
        self._clients = clients

    def commands(self) -> list[Command]:
        """The commands as values."""
        return [
            Command(("user", "clients"), self.clients),
            Command(("user", "revoke"), self.revoke),
        ]

    async def clients(self, account: _Account) -> Table:
        """List the clients that have access to an account."""
        jid = parse_account(account)
        with _told():
            await self._accounts().show(jid)
            found = await self._clients().list(jid)
        return Table(
            ("client", "software", "device", "access", "login", "first seen", "last seen", "here"),
            [
                (
                    one.id,
                    printable(one.software),
                    printable(one.device),
                    ", ".join(one.access),
                    one.mechanism,
                    when(one.first_seen),
                    when(one.last_seen),
                    one.connected,
                )
                for one in found
            ],
        )

    async def revoke(
        self,
        account: _Account,
        client: Annotated[str, Doc("the client, as `user clients` names it")],
    ) -> str:
        """End the sessions of a client, and make its tokens good for nothing."""
        jid = parse_account(account)
        with _told():
            await self._accounts().show(jid)
            found = await self._clients().list(jid)
            sessions = await self._clients().shut_out(jid, client)
        access = next((one.access for one in found if one.id == client), ())
        said = f"{client} is out; sessions ended: {sessions}."
        if "password" in access:
            return f"{said} It knows the password: replace that by `jabberd user passwd {jid}`."
        if "certificate" in access:
            return f"{said} It can come back with its certificate."
        return said


class TraceCommand:
    """`jabberd trace`."""

    def __init__(
        self, accounts: Callable[[], AccountService], journal: Callable[[], Journal]
    ) -> None:
        self._accounts = accounts
        self._journal = journal

    def commands(self) -> list[Command]:
        """The command as a value."""
        return [Command(("trace",), self.trace, online=True)]

    async def trace(
        self,
        account: _Account,
        *,
        to: Annotated[str | None, Doc("only what went to or came from this address")] = None,
        follow: Annotated[bool, Doc("go on until interrupted")] = False,
    ) -> Table | AsyncIterator[str]:
        """Show how the last stanzas of an account ended, and why."""
        jid = parse_account(account)
        other = _parse(to) if to else None
        with _told():
            await self._accounts().show(jid)
        if follow:
            return self._lines(jid, other)
        return Table(
            ("time", "stanza", "id", "from", "to", "ending"),
            [
                (one.time, one.what, *map(printable, (one.id, one.from_, one.to, str(one.ending))))
                for one in self._journal().entries(jid, other)
            ],
        )

    async def _lines(self, account: JID, other: JID | None) -> AsyncIterator[str]:
        try:
            async with aclosing(self._journal().follow(account, other, past=True)) as lines:
                async for line in lines:
                    yield str(line)
        except RuntimeError as error:
            raise CommandError(str(error)) from None


class SessionCommands:
    """`jabberd sessions`."""

    def __init__(self, sessions: Callable[[], Sessions]) -> None:
        self._sessions = sessions

    def commands(self) -> list[Command]:
        """The command as a value."""
        return [Command(("sessions",), self.sessions, online=True)]

    async def sessions(
        self,
        account: Annotated[str | None, Doc("of one account only")] = None,
        *,
        limit: Annotated[int, Doc("at most so many")] = 1000,
    ) -> Table:
        """List who is connected, and whose client is away and may come back."""
        sessions = self._sessions()
        found: Sequence[Session]
        if account is None:
            found = sorted(sessions.all(), key=lambda session: session.jid.text)
        else:
            found = sessions.of(parse_account(account).text)
        return Table(
            ("session", "since", "address", "client", "tls", "login", "presence"),
            [
                (
                    printable(session.jid.text),
                    when(session.facts.since),
                    session.facts.address,
                    "connected" if session.connected else "away",
                    session.facts.tls or "none",
                    session.facts.mechanism,
                    f"priority {session.priority}" if session.presence else "unavailable",
                )
                for session in found[: max(0, limit)]
            ],
        )


async def _no_reload() -> str:
    nowhere()


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """What can be done to the process as a whole.

    Attributes:
        stop: begins an orderly shutdown, as SIGTERM does.
        restart: does the same, and then begins anew in the same process.
        reload: reads the configuration again, as SIGHUP does; says what changed, and raises
            CommandError where the old state goes on.
    """

    stop: Callable[[], None] = nowhere
    restart: Callable[[], None] = nowhere
    reload: Callable[[], Awaitable[str]] = _no_reload


class ServerCommands:
    """`jabberd stop`, `jabberd restart` and `jabberd reload`."""

    def __init__(self, process: ServerProcess) -> None:
        self._process = process

    def commands(self) -> list[Command]:
        """The commands as values."""
        return [
            Command(("stop",), self.stop, online=True),
            Command(("restart",), self.restart, online=True),
            Command(("reload",), self.reload, online=True),
        ]

    async def stop(self) -> str:
        """Shut the server down in good order."""
        self._process.stop()
        return "The server is shutting down."

    async def restart(self) -> str:
        """Begin anew, with the configuration read again. Sessions are kept for their clients."""
        self._process.restart()
        return "The server is restarting."

    async def reload(self) -> str:
        """Read again: certificates, log level, limits, and what is set for sessions and clients."""
        return await self._process.reload()


def parse_account(text: str) -> JID:
    """The address of an account.

    Raises:
        CommandError: it is not one.
    """
    jid = _parse(text)
    if not jid.local or not jid.is_bare:
        raise CommandError(f"{printable(text, 200)!r} is not an account: expected name@host")
    return jid


def _parse(text: str) -> JID:
    try:
        return JID.parse(text)
    except InvalidJID as error:
        raise CommandError(f"not an address: {printable(str(error), 200)}") from None


def _domain(service: AccountService, host: str) -> str:
    domain = _parse(host).text
    if domain not in service.domains:
        hosts = ", ".join(service.domains)
        raise CommandError(f"{printable(host, 200)} is not a host of this server: {hosts}")
    return domain


def when(moment: float) -> str:
    """A moment as people are shown it, in UTC."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _device(device: PushDevice) -> str:
    return f"{printable(device.resource)} by {printable(device.service)}: {_health(device)}"


def _health(device: PushDevice) -> str:
    if device.failed_at is None:
        return "on" if device.sent_at is None else f"on, last {when(device.sent_at)}"
    error = printable(device.error)
    if device.off_at is not None:
        return f"off since {when(device.off_at)}: {error}"
    return f"failures in a row: {device.failures}, last {when(device.failed_at)}: {error}"


def _state(account: Account) -> str:
    return "enabled" if account.disabled is None else f"disabled: {printable(account.disabled)}"


@contextmanager
def _told() -> Iterator[None]:
    """Turns the errors of services into ones for the person who gave the command."""
    try:
        yield
    except (AccountError, DeriveBusy, StorageError) as error:
        raise CommandError(printable(str(error), 500)) from error
