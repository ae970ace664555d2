"""The administration commands about other servers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Protocol

from jabberd.core.command import Command, CommandError, Doc, Table
from jabberd.core.printable import printable
from jabberd.xmpp.jid import JID, InvalidJID

_ALONE: Final = "this server talks to no others: listen.s2s in the configuration is what begins it"


@dataclass(frozen=True, slots=True)
class ServerState:
    """How it stands between one of our domains and one other server.

    Attributes:
        server: the other domain.
        host: ours.
        direction: "in", "out" or "both" of a stream; empty where there is none.
        proved: how: "EXTERNAL" or "dialback"; empty where nothing is.
        tls: for example "TLSv1.3"; empty where there is none.
        days_left: of the other server's certificate; None where nobody knows.
        waiting: stanzas that have not arrived there.
        seconds: since the stream is up.
        state: what happens, in plain words.
        problem: the last error, in plain words; empty where there was none.
    """

    server: str
    host: str
    direction: str = ""
    proved: str = ""
    tls: str = ""
    days_left: int | None = None
    waiting: int = 0
    seconds: int | None = None
    state: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a check.

    Attributes:
        name: "dns", "connect" and so on.
        ok: whether it went well; None where nobody can say.
        found: what was seen.
        advice: what to do, where it did not.
    """

    name: str
    ok: bool | None
    found: str = ""
    advice: str = ""


class ServersView(Protocol):
    """What is known of other servers."""

    def states(self) -> Sequence[ServerState]:
        """Every stream, every queue, and who was refused lately."""

    async def check(self, local: str, remote: str) -> Sequence[Step]:
        """Walk the way from one of our domains to another server, up to where it ends."""

    @property
    def hosts(self) -> Sequence[str]:
        """Our domains."""


class ServersCommands:
    """`jabberd s2s`.

    Args:
        view: of the running server; None where it talks to no others.
    """

    def __init__(self, view: Callable[[], ServersView | None]) -> None:
        self._view = view

    def commands(self) -> list[Command]:
        """The commands as values."""
        return [
            Command(("s2s",), self.show, online=True),
            Command(("s2s", "check"), self.check, online=True),
        ]

    async def show(
        self,
        *,
        server: Annotated[str | None, Doc("one server only")] = None,
        limit: Annotated[int, Doc("at most so many")] = 1000,
    ) -> Table:
        """Show the streams with other servers, what waits for them, and what went wrong."""
        view = self._view()
        if view is None:
            raise CommandError(_ALONE)
        found = [one for one in view.states() if server is None or one.server == server]
        return Table(
            (
                "server", "host", "stream", "proved by", "tls", "certificate", "waiting", "up",
                "state", "last error",
            ),
            [_row(one) for one in found[: max(0, limit)]],
        )  # fmt: skip

    async def check(
        self,
        server: Annotated[str, Doc("the domain of the other server")],
        *,
        host: Annotated[str | None, Doc("from which of this server's hosts")] = None,
    ) -> Table:
        """Walk the way to another server step by step, and say where it ends and what to do."""
        view = self._view()
        if view is None:
            raise CommandError(_ALONE)
        try:
            remote = JID.parse(server)
        except InvalidJID as error:
            raise CommandError(f"not a domain: {printable(str(error), 200)}") from None
        if remote.local or remote.resource:
            raise CommandError("expected a domain, as example.net")
        local = host or view.hosts[0]
        if local not in view.hosts:
            raise CommandError(f"{printable(local)} is not a host of this server")
        return steps_table(await view.check(local, remote.domain))


def steps_table(steps: Sequence[Step]) -> Table:
    """Steps for people."""
    words = {True: "ok", False: "FAILED", None: "unknown"}
    return Table(
        ("step", "result", "found", "what to do"),
        [(one.name, words[one.ok], printable(one.found, 500), one.advice) for one in steps],
    )


def _row(one: ServerState) -> tuple[str | int | None, ...]:
    return (
        printable(one.server),
        one.host,
        one.direction or "none",
        one.proved,
        one.tls,
        None if one.days_left is None else f"{one.days_left} days left",
        one.waiting,
        None if one.seconds is None else f"{one.seconds} s",
        one.state,
        printable(one.problem, 300),
    )
