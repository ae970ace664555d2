"""The command that looks at this server as others see it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from jabberd.core.admin_check import CheckCommand
from jabberd.core.admin_s2s import Step
from jabberd.core.command import CommandError, CommandRegistry, Table

pytestmark = pytest.mark.asyncio


class Own:
    """Two domains, and what a test says of them."""

    hosts = ("a.example", "b.example")

    async def check(self, domain: str) -> Sequence[Step]:
        return [Step("certificate", ok=domain == "a.example", found="\x1b[2J", advice="renew it")]

    async def clock(self, server: str) -> Step:
        return Step("clock", ok=None, found=f"{server} does not answer")


async def run(**given: str) -> Table:
    registry = CommandRegistry(CheckCommand(Own).commands())
    result = await registry.run(("check",), given)
    assert isinstance(result, Table)
    return result


async def test_every_host() -> None:
    table = await run()
    assert table.columns == ("host", "step", "result", "found", "what to do")
    assert [tuple(row)[:3] for row in table.rows] == [
        ("a.example", "certificate", "ok"),
        ("b.example", "certificate", "FAILED"),
    ]
    assert "\x1b" not in str(table.rows[0][3])


async def test_one_host_and_the_clock() -> None:
    table = await run(host="b.example", clock="time.example")
    assert [row[0] for row in table.rows] == ["b.example", ""]
    assert tuple(table.rows[1])[1:4] == ("clock", "unknown", "time.example does not answer")


async def test_a_host_of_others() -> None:
    with pytest.raises(CommandError, match=r"c\.example is not a host of this server"):
        await run(host="c.example")
