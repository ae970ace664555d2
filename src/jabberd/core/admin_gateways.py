"""The administration commands about gateways."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol

from jabberd.core.command import Command, CommandError, Doc, Table
from jabberd.core.printable import printable

_Name = Annotated[str, Doc("the domain of the gateway")]


@dataclass(frozen=True, slots=True)
class GatewayUser:
    """How it stands with one user of a gateway.

    Attributes:
        user: bare JID.
        account: on the network.
        state: in plain words.
        seconds: since it is so.
        waiting: messages that wait for the network.
        problem: the last error, in plain words; empty where there was none.
    """

    user: str
    account: str
    state: str
    seconds: int
    waiting: int
    problem: str


class GatewayView(Protocol):
    """What is known of one gateway."""

    @property
    def domain(self) -> str:
        """Its address."""

    @property
    def network(self) -> str:
        """Where it leads, for people."""

    def members(self) -> Sequence[GatewayUser]:
        """Everybody who is registered."""


class GatewayCommands:
    """`jabberd gateway …`.

    Args:
        gateways: of the running server.
    """

    def __init__(self, gateways: Callable[[], Sequence[GatewayView]]) -> None:
        self._gateways = gateways

    def commands(self) -> list[Command]:
        """The commands as values."""
        return [
            Command(("gateway", "list"), self.list, online=True),
            Command(("gateway", "status"), self.status, online=True),
            Command(("gateway", "users"), self.users, online=True),
        ]

    async def list(self) -> Table:
        """Show the gateways that run inside this server."""
        rows = [(one.domain, one.network, len(one.members())) for one in self._gateways()]
        return Table(("gateway", "network", "users"), rows)

    async def status(
        self, gateway: Annotated[str | None, Doc("the domain of one gateway")] = None
    ) -> Table:
        """Show how many logins stand how, and what is wrong most often."""
        chosen = self._gateways() if gateway is None else [self._find(gateway)]
        rows: list[tuple[str, str, int, str]] = []
        for one in chosen:
            members = one.members()
            for state in sorted({member.state for member in members}):
                alike = [member for member in members if member.state == state]
                problems = [member.problem for member in alike if member.problem]
                worst = max(set(problems), key=problems.count) if problems else ""
                rows.append((one.domain, state, len(alike), printable(worst, 300)))
        return Table(("gateway", "state", "users", "most frequent problem"), rows)

    async def users(
        self,
        gateway: _Name,
        *,
        user: Annotated[str | None, Doc("one user only, by the bare JID")] = None,
        limit: Annotated[int, Doc("at most so many")] = 1000,
    ) -> Table:
        """Show who is registered with a gateway, and how each login stands."""
        found = [m for m in self._find(gateway).members() if user is None or m.user == user]
        return Table(
            ("user", "account", "state", "for", "waiting", "last error"),
            [
                (
                    one.user,
                    printable(one.account),
                    one.state,
                    f"{one.seconds} s",
                    one.waiting,
                    printable(one.problem, 300),
                )
                for one in found[: max(0, limit)]
            ],
        )

    def _find(self, name: str) -> GatewayView:
        for one in self._gateways():
            if one.domain == name:
                return one
        known = ", ".join(one.domain for one in self._gateways())
        there = f"there are: {known}" if known else "there are none"
        raise CommandError(f"there is no gateway {printable(name)} in this server; {there}")
