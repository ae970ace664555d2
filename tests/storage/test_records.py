"""What every back end must do with the records of services."""

from __future__ import annotations

import pytest

from jabberd.storage.api import StorageError, Stores
from jabberd.storage.records import Drop, Record
from tests.storage.values import JULIET, JULIETS, ROMEO

pytestmark = pytest.mark.asyncio
SMS, MAIL = "sms.example", "mail.example"


async def test_a_record_comes_back_as_it_was(stores: Stores) -> None:
    records = stores.records(SMS)
    assert await records.get(JULIET, "outbox", "1") is None
    one = Record(JULIET, "outbox", "1", b"\x00\xff", 12.5)
    await records.write([one])
    assert await records.get(JULIET, "outbox", "1") == one
    again = Record(JULIET, "outbox", "1", b"", 13.0)
    await records.write([again])
    assert await stores.records(SMS).get(JULIET, "outbox", "1") == again
    await records.write([Drop(JULIET, "outbox", "1"), Drop(ROMEO, "outbox", "1")])
    assert await records.get(JULIET, "outbox", "1") is None


async def test_services_owners_and_spaces_are_apart(stores: Stores) -> None:
    one = Record(JULIET, "a", "k", b"1")
    await stores.records(SMS).write([one])
    assert await stores.records(MAIL).get(JULIET, "a", "k") is None
    assert await stores.records(SMS).get(ROMEO, "a", "k") is None
    assert await stores.records(SMS).get(JULIET, "b", "k") is None


async def test_all_changes_or_none(stores: Stores) -> None:
    records = stores.records(SMS)
    with pytest.raises(StorageError):
        await records.write([Record(JULIET, "a", "1", b""), Record(JULIET, "a", "\0", b"")])
    assert await records.list(JULIET, "a") == []


async def test_listing_is_in_order_and_in_pages(stores: Stores) -> None:
    records = stores.records(SMS)
    made = [Record(JULIET, "a", f"{number:04}", b"%d" % number) for number in range(25)]
    await records.write(list(reversed(made)))
    await records.write([Record(ROMEO, "a", "0000", b""), Record(JULIET, "b", "0000", b"")])
    found: list[Record] = []
    while page := await records.list(JULIET, "a", after=found[-1].key if found else "", limit=10):
        found += page
    assert found == made


async def test_records_of_everyone(stores: Stores) -> None:
    records = stores.records(SMS)
    names = [f"{letter}@capulet.example" for letter in "abc"]
    made = [Record(name, "a", key, b"") for name in names for key in ("x", "y")]
    await records.write([*reversed(made), Record("", "a", "x", b"own")])
    await stores.records(MAIL).write([Record(ROMEO, "a", "x", b"")])
    assert await records.everyone("a") == made
    first = await records.everyone("a", limit=3)
    assert first == made[:3]
    after = (first[-1].owner, first[-1].key)
    assert await records.everyone("a", after=after) == made[3:]
    assert await records.get("", "a", "x") == Record("", "a", "x", b"own")


async def test_old_records_are_pruned(stores: Stores) -> None:
    records = stores.records(SMS)
    made = [Record(JULIET, "ids", str(at), b"", float(at)) for at in range(10)]
    await records.write([*made, Record(JULIET, "other", "0", b"", 0.0)])
    await stores.records(MAIL).write([made[0]])
    assert await records.prune("ids", 5.0, limit=3) == 3
    assert await records.prune("ids", 5.0) == 2
    assert await records.prune("ids", 5.0) == 0
    assert await records.list(JULIET, "ids") == made[5:]
    assert await records.get(JULIET, "other", "0") is not None
    assert await stores.records(MAIL).get(JULIET, "ids", "0") == made[0]


async def test_erasing_an_owner(stores: Stores) -> None:
    sms, mail = stores.records(SMS), stores.records(MAIL)
    one = Record(JULIET, "a", "1", b"")
    for records in (sms, mail):
        await records.write([one, Record(ROMEO, "a", "1", b"")])
    await sms.erase(JULIET)
    assert await sms.list(JULIET, "a") == []
    assert await mail.list(JULIET, "a") == [one]
    await stores.accounts.create(JULIETS)
    assert await stores.erase(JULIET)
    assert await mail.list(JULIET, "a") == []
    assert len(await mail.list(ROMEO, "a")) == len(await sms.list(ROMEO, "a")) == 1
