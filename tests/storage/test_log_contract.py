"""What the log must do on every back end."""

from __future__ import annotations

import asyncio

import pytest

from jabberd.storage.api import StorageError, Stores
from jabberd.storage.log_api import (
    ArchiveQuery,
    Doc,
    Entry,
    Flag,
    Journaled,
    Log,
    Restored,
    Saved,
    Unit,
    key_at,
)
from tests.storage.values import JULIET, NURSE, ROMEO

pytestmark = pytest.mark.asyncio

AT = 1_700_000_000.0
BOTH = Flag.VISIBLE | Flag.AWAITING


async def commit(log: Log, unit: Unit) -> None:
    """Commit, and wait until it is durable."""
    done = log.commit(unit)
    if done is not None:
        await asyncio.wait_for(done, 30)


def entry(
    log: Log, owner: str = JULIET, peer: str = ROMEO, at: float = AT, **other: object
) -> Entry:
    """An entry with a new key."""
    key = log.next_key(at)
    made = Entry(key, owner, peer, "", at, int(Flag.VISIBLE), "", 0, b"<message id='%d'/>" % key)
    return made._replace(**other)


async def keys(log: Log, owner: str = JULIET, **query: object) -> list[int]:
    page = await log.page(owner, ArchiveQuery(**query))  # type: ignore[arg-type]
    return [row.key for row in page.entries]


async def test_keys_grow_and_begin_with_the_time(stores: Stores) -> None:
    log = stores.log
    one = log.next_key(AT)
    assert key_at(AT) <= one < key_at(AT + 0.001)
    two = log.next_key(AT)
    assert one < two < key_at(AT + 0.001)
    three = log.next_key(AT - 3600)
    assert three == two + 1
    later = log.next_key(AT + 3600)
    assert key_at(AT + 3600) <= later < key_at(AT + 3600.001)


async def test_an_entry_comes_back_as_it_was(stores: Stores) -> None:
    log = stores.log
    key = log.next_key(AT + 0.123456)
    one = Entry(
        key, JULIET, ROMEO, "Handy ☃ 'x'", AT + 0.123456, int(BOTH), 'id-"ä"', 0, b"<m>\x00\xff</m>"
    )
    await commit(log, Unit(entries=[one]))
    for found in (
        await log.get(JULIET, [key]),
        await log.waiting(JULIET),
        (await log.page(JULIET, ArchiveQuery())).entries,
    ):
        assert list(found) == [one]
        assert type(found[0]) is Entry
    assert await log.bounds(JULIET) == (one, one)
    assert await log.get(ROMEO, [key]) == []
    assert await log.bounds(ROMEO) is None
