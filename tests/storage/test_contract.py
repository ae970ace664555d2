"""What every back end must do; runs over memory, SQLite and a real PostgreSQL."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from jabberd.storage import limits
from jabberd.storage.api import (
    AccountExists,
    RosterFull,
    RosterItem,
    RosterPage,
    StorageError,
    Stores,
    Subscription,
)
from tests.storage.values import (
    FULL_ITEM,
    JULIET,
    JULIETS,
    KEYS,
    NURSE,
    ROMEO,
    append,
    becomes,
    waiting,
)

pytestmark = pytest.mark.asyncio


async def test_account_comes_back_as_it_was(stores: Stores) -> None:
    assert await stores.accounts.get(JULIET) is None
    await stores.accounts.create(JULIETS)
    assert await stores.accounts.get(JULIET) == JULIETS
    keyless = replace(JULIETS, owner=NURSE, keys=(), disabled="retired: ☃")
    await stores.accounts.create(keyless)
    assert await stores.accounts.get(NURSE) == keyless


async def test_account_is_created_once(stores: Stores) -> None:
    await stores.accounts.create(JULIETS)
    with pytest.raises(AccountExists, match=JULIET):
        await stores.accounts.create(replace(JULIETS, keys=()))
    assert await stores.accounts.get(JULIET) == JULIETS


async def test_one_of_many_creations_wins(stores: Stores) -> None:
    made = await asyncio.gather(
        *(stores.accounts.create(JULIETS) for _ in range(20)), return_exceptions=True
    )
    assert sum(one is None for one in made) == 1
    assert sum(isinstance(one, AccountExists) for one in made) == 19


async def test_account_changes(stores: Stores) -> None:
    assert not await stores.accounts.set_keys(JULIET, KEYS)
    assert not await stores.accounts.set_disabled(JULIET, "why")
    await stores.accounts.create(JULIETS)
    assert await stores.accounts.set_keys(JULIET, list(KEYS[:1]))
    assert await stores.accounts.set_disabled(JULIET, "")
    assert await stores.accounts.get(JULIET) == replace(JULIETS, keys=KEYS[:1], disabled="")
    assert await stores.accounts.set_disabled(JULIET, None)
    assert await stores.accounts.get(JULIET) == replace(JULIETS, keys=KEYS[:1])
    assert await stores.accounts.erase(JULIET)
    assert not await stores.accounts.erase(JULIET)
    assert await stores.accounts.get(JULIET) is None


async def test_accounts_are_listed_by_code_point(stores: Stores) -> None:
    # Code points: "-" < "B" < "a" < "ä" < U+FF5E < U+1F339; no language sorts like this.
    names = ["-", "B", "a", "ä", "\uff5e", "🌹"]
    for name in reversed(names):
        await stores.accounts.create(replace(JULIETS, owner=f"{name}@capulet.example"))
    await stores.accounts.create(replace(JULIETS, owner=ROMEO))
    found = await stores.accounts.list("capulet.example")
    assert [account.owner for account in found] == [f"{name}@capulet.example" for name in names]
    assert await stores.accounts.count("capulet.example") == 6
    assert await stores.accounts.count("example") == 0
    assert await stores.accounts.list("example") == []
    page = await stores.accounts.list("capulet.example", after="a@capulet.example", limit=2)
    assert [account.owner[0] for account in page] == ["ä", "\uff5e"]
    assert await stores.accounts.list("capulet.example", limit=0) == []
    assert await stores.accounts.list("capulet.example", limit=-1) == []
    assert len(await stores.accounts.list("capulet.example", limit=10**30)) == 6


async def test_keyvalue(stores: Stores) -> None:
    kv = stores.keyvalue
    assert await kv.get(JULIET, "vcard", "") is None
    await kv.put(JULIET, "vcard", "", b"\x00\xff")
    await kv.put(JULIET, "vcard", "ä 🌹", b"")
    await kv.put(JULIET, "private", "b", b"2")
    await kv.put(JULIET, "private", "B", b"1")
    await kv.put(ROMEO, "private", "c", b"3")
    assert await kv.get(JULIET, "vcard", "") == b"\x00\xff"
    assert await kv.get(JULIET, "vcard", "ä 🌹") == b""
    assert await kv.keys(JULIET, "private") == ["B", "b"]
    assert await kv.get_many([], "private", "b") == {}
    assert await kv.get_many([JULIET, ROMEO], "private", "b") == {JULIET: b"2"}
    await kv.put(ROMEO, "private", "b", b"")
    crowd = [f"c{number}@capulet.example" for number in range(1500)]
    both = {JULIET: b"2", ROMEO: b""}
    assert await kv.get_many([JULIET, *crowd, ROMEO], "private", "b") == both
    await kv.put(JULIET, "private", "b", b"new")
    assert await kv.get(JULIET, "private", "b") == b"new"
    await kv.put(JULIET, "private", "b", None)
    await kv.put(JULIET, "private", "b", None)
    assert await kv.get(JULIET, "private", "b") is None
    assert await kv.keys(JULIET, "private") == ["B"]
    await kv.erase(JULIET)
    assert await kv.keys(JULIET, "vcard") == []
    assert await kv.get(ROMEO, "private", "c") == b"3"


async def test_big_values(stores: Stores) -> None:
    big = bytes(range(256)) * 16_384
    await stores.keyvalue.put(JULIET, "vcard", "", big)
    assert await stores.keyvalue.get(JULIET, "vcard", "") == big
    assert await append(stores, big)
    assert await waiting(stores) == [big]
    item = replace(FULL_ITEM, name="n" * 100_000, pending_in=big)
    await stores.roster.change(JULIET, ROMEO, becomes(item))
    assert await stores.roster.item(JULIET, ROMEO) == item


async def test_roster_item_comes_back_as_it_was(stores: Stores) -> None:
    assert await stores.roster.item(JULIET, ROMEO) is None
    first = await stores.roster.change(JULIET, ROMEO, becomes(FULL_ITEM))
    assert (first.before, first.after) == (None, FULL_ITEM)
    assert await stores.roster.item(JULIET, ROMEO) == FULL_ITEM
    assert await stores.roster.get(JULIET) == RosterPage(first.version, (FULL_ITEM,))
    for subscription in Subscription:
        plain = RosterItem(ROMEO, subscription=subscription)
        await stores.roster.change(JULIET, ROMEO, becomes(plain))
        found = await stores.roster.item(JULIET, ROMEO)
        assert repr(found) == repr(plain)
    assert await stores.roster.item(ROMEO, JULIET) is None


async def test_empty_roster(stores: Stores) -> None:
    assert await stores.roster.get(JULIET) == RosterPage(0, ())
    assert await stores.roster.get(JULIET, since=0) == RosterPage(0, (), whole=False)
    assert await stores.roster.get(JULIET, since=7) == RosterPage(0, ())


async def test_roster_since(stores: Stores) -> None:
    roster = stores.roster
    contacts = [f"{letter}@example.org" for letter in "zyx"]
    items = {contact: RosterItem(contact, "first") for contact in contacts}
    at = [(await roster.change(JULIET, one, becomes(items[one]))).version for one in contacts]
    assert at == sorted(set(at))
    assert await roster.get(JULIET, since=at[2]) == RosterPage(at[2], (), whole=False)
    page = await roster.get(JULIET, since=at[0])
    assert page == RosterPage(at[2], (items[contacts[1]], items[contacts[2]]), whole=False)
    renamed = replace(items[contacts[0]], name="second")
    await roster.change(JULIET, contacts[0], becomes(renamed))
    gone = await roster.change(JULIET, contacts[1], becomes(None))
    assert (gone.before, gone.after) == (items[contacts[1]], None)
    assert await roster.item(JULIET, contacts[1]) is None
    page = await roster.get(JULIET, since=at[2])
    assert page == RosterPage(gone.version, (renamed,), (contacts[1],), whole=False)
    whole = await roster.get(JULIET)
    assert whole.whole
    assert whole.removed == ()
    assert {item.contact for item in whole.items} == {contacts[0], contacts[2]}
    again = await roster.change(JULIET, contacts[1], becomes(items[contacts[1]]))
    assert again.before is None
    page = await roster.get(JULIET, since=gone.version)
    assert page == RosterPage(again.version, (items[contacts[1]],), whole=False)


@pytest.mark.parametrize("since", [-1, 0, 1, 2**63 - 1, 2**63, 10**40])
async def test_unknown_version_gives_the_whole_roster(stores: Stores, since: int) -> None:
    done = await stores.roster.change(JULIET, ROMEO, becomes(FULL_ITEM))
    assert await stores.roster.get(JULIET, since=since) == RosterPage(done.version, (FULL_ITEM,))


async def test_newer_version_than_ours_gives_the_whole_roster(stores: Stores) -> None:
    done = await stores.roster.change(JULIET, ROMEO, becomes(FULL_ITEM))
    page = await stores.roster.get(JULIET, since=done.version + 1)
    assert page == RosterPage(done.version, (FULL_ITEM,))


async def test_unchanged_item_keeps_the_version(stores: Stores) -> None:
    nothing = await stores.roster.change(JULIET, ROMEO, becomes(None))
    assert (nothing.version, nothing.before, nothing.after) == (0, None, None)
    assert await stores.roster.get(JULIET) == RosterPage(0, ())
    done = await stores.roster.change(JULIET, ROMEO, becomes(FULL_ITEM))
    same = await stores.roster.change(JULIET, ROMEO, lambda before: before)
    assert (same.version, same.before, same.after) == (done.version, FULL_ITEM, FULL_ITEM)
    assert (await stores.roster.get(JULIET)).version == done.version


async def test_removals_are_remembered_within_bounds(stores: Stores) -> None:
    roster = stores.roster
    first = await roster.change(JULIET, ROMEO, becomes(FULL_ITEM))
    removed = []
    for number in range(limits.REMOVED_KEPT + 1):
        contact = f"c{number}@example.org"
        await roster.change(JULIET, contact, becomes(RosterItem(contact)))
        removed.append((contact, await roster.change(JULIET, contact, becomes(None))))
    last = removed[-1][1].version
    assert (await roster.get(JULIET, since=first.version)).whole
    page = await roster.get(JULIET, since=removed[0][1].version)
    assert not page.whole
    assert page.removed == tuple(contact for contact, _ in removed[1:])
    assert await roster.get(JULIET, since=last) == RosterPage(last, (), whole=False)
    assert await roster.get(JULIET) == RosterPage(last, (FULL_ITEM,))


async def test_a_new_account_never_reuses_the_versions_of_its_name(stores: Stores) -> None:
    old = await stores.roster.change(JULIET, ROMEO, becomes(FULL_ITEM))
    await asyncio.sleep(0.01)
    await stores.erase(JULIET)
    new = await stores.roster.change(JULIET, NURSE, becomes(RosterItem(NURSE)))
    assert new.version > old.version
    page = await stores.roster.get(JULIET, since=old.version)
    assert page == RosterPage(new.version, (RosterItem(NURSE),))


async def test_roster_limit(stores: Stores) -> None:
    for number in range(3):
        contact = f"c{number}@example.org"
        await stores.roster.change(JULIET, contact, becomes(RosterItem(contact)), limit=3)
    version = (await stores.roster.get(JULIET)).version
    with pytest.raises(RosterFull):
        await stores.roster.change(JULIET, ROMEO, becomes(FULL_ITEM), limit=3)
    assert (await stores.roster.get(JULIET)).version == version
    old = RosterItem("c1@example.org", "an old one may change")
    await stores.roster.change(JULIET, old.contact, becomes(old), limit=3)
    await stores.roster.change(JULIET, old.contact, becomes(None), limit=3)
    await stores.roster.change(JULIET, ROMEO, becomes(FULL_ITEM), limit=3)
    await stores.roster.change(JULIET, NURSE, becomes(RosterItem(NURSE)))
    assert len((await stores.roster.get(JULIET)).items) == 4


async def test_a_failing_transition_changes_nothing(stores: Stores) -> None:
    def fail(_before: RosterItem | None) -> RosterItem | None:
        raise LookupError("no such cell")

    with pytest.raises(LookupError, match="no such cell"):
        await stores.roster.change(JULIET, ROMEO, fail)
    assert await stores.roster.get(JULIET) == RosterPage(0, ())
    with pytest.raises(ValueError, match=NURSE):
        await stores.roster.change(JULIET, ROMEO, becomes(RosterItem(NURSE)))
    await stores.roster.change(JULIET, ROMEO, becomes(FULL_ITEM))
    before = await stores.roster.get(JULIET)
    with pytest.raises(LookupError):
        await stores.roster.change(JULIET, ROMEO, fail)
    assert await stores.roster.get(JULIET) == before


async def test_a_hundred_changes_at_once_lose_none(stores: Stores) -> None:
    def longer(before: RosterItem | None) -> RosterItem:
        return RosterItem(ROMEO, (before.name if before else "") + "x")

    done = await asyncio.gather(*(stores.roster.change(JULIET, ROMEO, longer) for _ in range(100)))
    item = await stores.roster.item(JULIET, ROMEO)
    assert item is not None
    assert item.name == "x" * 100
    assert len({change.version for change in done}) == 100
    assert (await stores.roster.get(JULIET)).version == max(change.version for change in done)


async def test_failures_at_once_hurt_nobody_else(stores: Stores) -> None:
    def fail(_before: RosterItem | None) -> RosterItem | None:
        raise LookupError

    calls = []
    for number in range(30):
        contact = f"c{number}@example.org"
        calls.append(stores.roster.change(JULIET, contact, becomes(RosterItem(contact))))
        calls.append(stores.roster.change(JULIET, contact, fail))
    done = await asyncio.gather(*calls, return_exceptions=True)
    assert [isinstance(one, LookupError) for one in done] == [False, True] * 30
    assert len((await stores.roster.get(JULIET)).items) == 30


async def test_erase_spans_all_stores(stores: Stores) -> None:
    for owner in (JULIET, NURSE):
        await stores.accounts.create(replace(JULIETS, owner=owner))
        await stores.keyvalue.put(owner, "vcard", "", b"v")
        await stores.roster.change(owner, ROMEO, becomes(FULL_ITEM))
        await append(stores, b"q", owner)
    assert await stores.erase(JULIET)
    assert await stores.accounts.get(JULIET) is None
    assert await stores.keyvalue.get(JULIET, "vcard", "") is None
    assert await stores.roster.get(JULIET) == RosterPage(0, ())
    assert await stores.log.count_waiting(JULIET) == 0
    assert await stores.accounts.get(NURSE) is not None
    assert await stores.keyvalue.get(NURSE, "vcard", "") == b"v"
    assert await stores.roster.item(NURSE, ROMEO) == FULL_ITEM
    assert await stores.log.count_waiting(NURSE) == 1
    assert not await stores.erase(JULIET)


async def test_roster_erase(stores: Stores) -> None:
    await stores.roster.change(JULIET, ROMEO, becomes(FULL_ITEM))
    await stores.roster.change(NURSE, ROMEO, becomes(FULL_ITEM))
    await stores.roster.erase(JULIET)
    assert await stores.roster.get(JULIET) == RosterPage(0, ())
    assert await stores.roster.item(NURSE, ROMEO) == FULL_ITEM


@pytest.mark.parametrize("bad", ["a\0b", "\ud800", "ä\udfff"])
async def test_text_that_no_database_takes_is_refused(stores: Stores, bad: str) -> None:
    calls = [
        stores.accounts.create(replace(JULIETS, owner=bad)),
        stores.accounts.create(replace(JULIETS, disabled=bad)),
        stores.accounts.get(bad),
        stores.accounts.list("example", after=bad),
        stores.accounts.set_disabled(JULIET, bad),
        stores.keyvalue.put(JULIET, "private", bad, b""),
        stores.keyvalue.get(JULIET, bad, ""),
        stores.roster.get(bad),
        stores.roster.item(JULIET, bad),
        stores.roster.change(JULIET, ROMEO, becomes(RosterItem(ROMEO, bad))),
        stores.roster.change(JULIET, ROMEO, becomes(RosterItem(ROMEO, groups=("ok", bad)))),
        append(stores, b"", bad),
        stores.erase(bad),
    ]
    for call in calls:
        with pytest.raises(StorageError, match="cannot be stored"):
            await call
    assert await stores.roster.get(JULIET) == RosterPage(0, ())


async def test_values_are_not_statements(stores: Stores) -> None:
    owner = "x'; DROP TABLE accounts; -- %s :owner ? @example.org"
    await stores.accounts.create(replace(JULIETS, owner=owner))
    await stores.keyvalue.put(owner, "%", "_", b"1")
    assert await stores.keyvalue.keys(owner, "_") == []
    assert await stores.erase(owner)


async def test_a_cancelled_caller_does_no_harm(stores: Stores) -> None:
    calls = [asyncio.ensure_future(append(stores, b"x")) for _ in range(10)]
    await asyncio.sleep(0)
    for call in calls[::2]:
        call.cancel()
    done = await asyncio.gather(*calls, return_exceptions=True)
    assert all(one is True for one in done[1::2])
    assert 5 <= await stores.log.count_waiting(JULIET) <= 10


async def test_after_the_end_calls_are_refused(stores: Stores) -> None:
    last = asyncio.ensure_future(append(stores, b"last"))
    await asyncio.sleep(0)
    await stores.close()
    assert await last
    for call in (stores.accounts.get(JULIET), append(stores, b"x")):
        with pytest.raises(StorageError, match="closed"):
            await call
    await stores.close()
