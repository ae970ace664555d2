"""How long messages are kept."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import pytest_asyncio

from jabberd import config
from jabberd.config import ConfigError
from jabberd.core.command import Command, CommandError, CommandRegistry, Table
from jabberd.modules import mam
from jabberd.modules.mam import retention
from jabberd.modules.mam.retention import Retention, seconds_of
from jabberd.storage.api import StorageError
from jabberd.storage.log_api import ArchiveQuery, Flag
from tests.modules.archive import ask, form, load, put
from tests.modules.host import World

DAY = 86_400.0
JULIET, ROMEO, NURSE = "alice@example.com", "bob@example.com", "carol@example.com"
BOTH = int(Flag.VISIBLE | Flag.AWAITING)


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("1 day", 1),
        ("30 days", 30),
        ("2 weeks", 14),
        ("6 months", 180),
        ("1 year", 365),
        ("  10  Years ", 3650),
        ("9999 days", 9999),
    ],
)
def test_times(text: str, days: int) -> None:
    assert seconds_of(text) == days * DAY


def test_forever() -> None:
    assert seconds_of("forever") is None
    assert seconds_of("Forever") is None


@pytest.mark.parametrize(
    "text",
    ["", "1", "year", "0 days", "-1 day", "1.5 years", "1year", "10000 days", "1 yearss", "ever",
     "1 hour", "\u0661 day", "1 year 2 days", "host"],
)  # fmt: skip
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match='expected "forever", or a time like "30 days"'):
        seconds_of(text)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ("keep = 'a while'", 'keep: expected "forever", or a time like "30 days" or "1 year"'),
        ("keep = 365", "keep: found the number 365, expected text"),
        ("page = 0", "page: expected a number from 1 to 1000"),
        ("page = 1001", "page: expected a number from 1 to 1000"),
        ("default = 'some'", "expected one of"),
    ],
)
def test_options_that_are_wrong(tmp_path: Path, options: str, complaint: str) -> None:
    file = tmp_path / "jabberd.toml"
    file.write_text(f"[host.'example.com'.modules]\nmam = {{ {options} }}\n")
    with pytest.raises(ConfigError) as refused:
        config.load(file, environ={})
    assert complaint in str(refused.value)


# The rounds


@pytest_asyncio.fixture
async def house(world: World) -> World:
    load(world, mam.Options(keep="30 days"))
    return world


def rounds(world: World, keep: str = "30 days") -> Retention:
    return Retention(world.host, keep)


async def left(world: World, owner: str = JULIET) -> list[str]:
    page = await world.stores.log.page(owner, ArchiveQuery(limit=1000))
    return [
        entry.stanza.decode().partition("<body>")[2].partition("<")[0] for entry in page.entries
    ]


@pytest.mark.asyncio
async def test_old_messages_go(house: World) -> None:
    start = house.clock.at
    for day in range(40):
        house.clock.at = start + day * DAY
        put(house, JULIET, ROMEO, f"m{day}")
    put(house, ROMEO, JULIET, "young")
    house.clock.at = start + 40 * DAY
    await rounds(house).round()
    assert await left(house) == [f"m{day}" for day in range(10, 40)]
    assert await left(house, ROMEO) == ["young"]
    await rounds(house, "1 week").round()
    assert await left(house) == [f"m{day}" for day in range(33, 40)]
    house.clock.pass_(1000 * DAY)
    await rounds(house, "forever").round()
    assert len(await left(house)) == 7


@pytest.mark.asyncio
async def test_what_waits_stays(house: World) -> None:
    put(house, ROMEO, JULIET, "waits", flags=BOTH)
    put(house, ROMEO, JULIET, "was delivered")
    house.clock.pass_(400 * DAY)
    await rounds(house).round()
    assert await left(house, ROMEO) == ["waits"]
    bob = await house.login("bob/home")
    await house.says(bob, "<presence/>")
    await rounds(house).round()
    assert await left(house, ROMEO) == []


@pytest.mark.asyncio
async def test_in_small_steps(house: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "_STEP", 3)
    monkeypatch.setattr(retention, "_ACCOUNTS", 2)
    monkeypatch.setattr(retention, "_PAUSE", 0.0)
    prune, steps = house.stores.log.prune, list[tuple[str, int]]()

    async def watched(owner: str, before: float, *, limit: int = 500) -> int:
        deleted = await prune(owner, before, limit=limit)
        steps.append((owner, deleted))
        return deleted

    monkeypatch.setattr(house.stores.log, "prune", watched)
    for owner, count in ((JULIET, 7), (ROMEO, 3), (NURSE, 1)):
        for number in range(count):
            put(house, owner, "x@example.org", f"m{number}")
    put(house, "x@example.net", JULIET, "another host's")
    house.clock.pass_(31 * DAY)
    await rounds(house).round()
    assert steps == [
        (JULIET, 3),
        (JULIET, 3),
        (JULIET, 1),
        (ROMEO, 3),
        (ROMEO, 0),
        (NURSE, 1),
    ]
    assert await left(house, "x@example.net") == ["another host's"]


@pytest.mark.asyncio
async def test_rounds_come_again(house: World, monkeypatch: pytest.MonkeyPatch) -> None:
    # Also after one that failed; and none when the host is closed.
    calls, enough = [0], asyncio.Event()
    owners, failures = house.stores.log.owners, iter([True])

    async def failing(domain: str, *, after: str = "", limit: int = 100) -> object:
        calls[0] += 1
        if calls[0] == 4:
            enough.set()
        if next(failures, False):
            raise StorageError("the disk is full")
        return await owners(domain, after=after, limit=limit)

    monkeypatch.setattr(house.stores.log, "owners", failing)
    monkeypatch.setattr(retention, "_FIRST", 0.0)
    monkeypatch.setattr(retention, "_EVERY", 0.0)
    rounds(house)
    await asyncio.wait_for(enough.wait(), 10)
    await house.host.close()
    seen = calls[0]
    for _ in range(20):
        await asyncio.sleep(0)
    assert calls[0] == seen


# jabberd user archive


def registry(world: World) -> CommandRegistry:
    commands = [c for _, module in world.host.loaded() for c in module.commands]
    return CommandRegistry(commands)


async def run(world: World, **arguments: object) -> str | Table:
    result = await registry(world).run(["user", "archive"], arguments)
    assert isinstance(result, str | Table)
    await world.quiet()
    return result


@pytest.mark.asyncio
async def test_show(house: World) -> None:
    shown = await run(house, account=JULIET)
    assert isinstance(shown, Table)
    assert shown.rows == [
        ("account", JULIET),
        ("kept", "30 days, as the host says"),
        ("messages", 0),
        ("oldest", "none"),
        ("newest", "none"),
        ("waiting", 0),
    ]
    put(house, JULIET, ROMEO, "m0")
    house.clock.pass_(3600)
    put(house, JULIET, ROMEO, "m1", flags=BOTH)
    put(house, JULIET, ROMEO, "m2", flags=int(Flag.AWAITING))
    await run(house, account=JULIET, keep="2 weeks")
    shown = await run(house, account=JULIET)
    assert isinstance(shown, Table)
    assert shown.rows == [
        ("account", JULIET),
        ("kept", "2 weeks"),
        ("messages", 2),
        ("oldest", "2023-11-14 22:13:20Z"),
        ("newest", "2023-11-14 23:13:20Z"),
        ("waiting", 2),
    ]


@pytest.mark.asyncio
async def test_an_account_with_a_rule_of_its_own(house: World) -> None:
    for owner in (JULIET, ROMEO, NURSE):
        put(house, owner, "x@example.org", "old")
    assert await run(house, account=JULIET, keep="Forever") == (
        f"Messages of {JULIET} are kept: forever."
    )
    assert (
        await run(house, account=ROMEO, keep="1  year") == f"Messages of {ROMEO} are kept: 1 year."
    )
    house.clock.pass_(31 * DAY)
    await rounds(house).round()
    assert [await left(house, owner) for owner in (JULIET, ROMEO, NURSE)] == [["old"], ["old"], []]
    house.clock.pass_(365 * DAY)
    await rounds(house).round()
    assert [await left(house, owner) for owner in (JULIET, ROMEO)] == [["old"], []]
    # Deleted at once, not in the next round.
    assert await run(house, account=JULIET, keep="host") == (
        f"Messages of {JULIET} are kept: 30 days, as the host says."
    )
    assert await left(house) == []
    assert await house.stores.keyvalue.keys(JULIET, "mam") == []


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"account": JULIET, "keep": "a while"}, '--keep: expected "forever", or a time like'),
        ({"account": "nobody@example.com"}, "there is no account nobody@example.com"),
        ({"account": "nobody@example.com", "keep": "1 day"}, "there is no account"),
        ({"account": "example.com"}, "is not an account"),
        ({"account": "@"}, "not an address"),
    ],
)
async def test_commands_that_are_wrong(
    house: World, arguments: dict[str, object], complaint: str
) -> None:
    with pytest.raises(CommandError, match=complaint):
        await run(house, **arguments)


@pytest.mark.asyncio
async def test_a_database_that_fails(house: World) -> None:
    (command,) = registry(house).all()
    assert isinstance(command, Command)
    await house.stores.close()
    with pytest.raises(CommandError):
        await command.run(account=JULIET)


@pytest.mark.asyncio
async def test_pages_after_messages_have_gone(house: World) -> None:
    # XEP-0313 §3.2: those that go are the oldest, and their identifiers are gone with them.
    old = put(house, JULIET, ROMEO, "old")
    house.clock.pass_(31 * DAY)
    put(house, JULIET, ROMEO, "young")
    await rounds(house).round()
    alice = await house.login("alice/desk")
    got = await ask(house, alice)
    assert (got.bodies, got.complete, got.count) == (["young"], True, "1")
    assert (await ask(house, alice, form(after_id=old))).error == "item-not-found"
