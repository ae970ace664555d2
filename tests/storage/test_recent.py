"""What is kept of accounts is never older than the last change."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from jabberd.storage import recent
from jabberd.storage.api import Account
from jabberd.storage.memory import MemoryStores
from jabberd.storage.recent import RecentAccounts
from tests.storage.values import KEYS

pytestmark = pytest.mark.asyncio
ALICE = Account("alice@example.com", KEYS, 1.0)


class Counting:
    """Accounts in memory that count the reads and can be slow."""

    def __init__(self) -> None:
        self.accounts = MemoryStores().accounts
        self.reads = 0
        self.slow: asyncio.Event | None = None


async def make() -> tuple[RecentAccounts, Counting]:
    counting = Counting()
    get = counting.accounts.get

    async def counted(owner: str) -> Account | None:
        counting.reads += 1
        found = await get(owner)
        if counting.slow is not None:
            await counting.slow.wait()
        return found

    counting.accounts.get = counted  # type: ignore[method-assign]  # to see what is asked
    return RecentAccounts(counting.accounts), counting


async def test_it_asks_once() -> None:
    accounts, counting = await make()
    assert await accounts.get(ALICE.owner) is None
    await accounts.create(ALICE)
    assert await accounts.get(ALICE.owner) == ALICE
    assert await accounts.get(ALICE.owner) == ALICE
    assert counting.reads == 2


async def test_every_change_is_seen_at_once() -> None:
    accounts, _ = await make()
    await accounts.create(ALICE)
    await accounts.get(ALICE.owner)
    await accounts.set_disabled(ALICE.owner, "gone")
    assert await accounts.get(ALICE.owner) == replace(ALICE, disabled="gone")
    await accounts.set_keys(ALICE.owner, ())
    assert await accounts.get(ALICE.owner) == replace(ALICE, keys=(), disabled="gone")
    await accounts.erase(ALICE.owner)
    assert await accounts.get(ALICE.owner) is None


async def test_a_read_that_a_change_overtakes_is_not_kept() -> None:
    accounts, counting = await make()
    await accounts.create(ALICE)
    counting.slow = asyncio.Event()
    reading = asyncio.ensure_future(accounts.get(ALICE.owner))
    await asyncio.sleep(0)
    await accounts.set_disabled(ALICE.owner, "gone")
    counting.slow.set()
    assert await reading == ALICE
    assert await accounts.get(ALICE.owner) == replace(ALICE, disabled="gone")


async def test_few_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "_KEPT", 2)
    accounts, counting = await make()
    for number in range(3):
        await accounts.create(replace(ALICE, owner=f"user{number}@example.com"))
        await accounts.get(f"user{number}@example.com")
    counting.reads = 0
    await accounts.get("user2@example.com")
    assert counting.reads == 0
    await accounts.get("user0@example.com")
    assert counting.reads == 1
