"""The administration command that looks at this server as others see it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Protocol

from jabberd.core.admin_s2s import Step, steps_table
from jabberd.core.command import Command, CommandError, Doc, Table
from jabberd.core.printable import printable


class OwnDomains(Protocol):
    """What can be found out about our own domains."""

    @property
    def hosts(self) -> Sequence[str]:
        """Our domains."""

    async def check(self, domain: str) -> Sequence[Step]:
        """Whether clients and servers find one of them, and what they find."""

    async def clock(self, server: str) -> Step:
        """Whether our clock is right."""


class CheckCommand:
    """`jabberd check`.

    Args:
        own: of the running server.
    """

    def __init__(self, own: Callable[[], OwnDomains]) -> None:
        self._own = own

    def commands(self) -> list[Command]:
        """The commands as values."""
        return [Command(("check",), self.check, online=True)]

    async def check(
        self,
        host: Annotated[str | None, Doc("one host only")] = None,
        *,
        clock: Annotated[str | None, Doc("a time server (NTP) to compare the clock with")] = None,
    ) -> Table:
        """Look at DNS records, ports and certificates of this server, and say what to do."""
        own = self._own()
        if host is not None and host not in own.hosts:
            raise CommandError(f"{printable(host)} is not a host of this server")
        found = [(name, await own.check(name)) for name in ([host] if host else own.hosts)]
        if clock is not None:
            found.append(("", [await own.clock(clock)]))
        tables = [(name, steps_table(steps)) for name, steps in found]
        columns = ("host", *steps_table(()).columns)
        return Table(columns, [(name, *row) for name, table in tables for row in table.rows])
