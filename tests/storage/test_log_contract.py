"""What the log must do on every back end; pages and searches have tests of their own."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from jabberd.storage.api import StorageError, Stores
from jabberd.storage.log_api import (
    FIND_MOST,
    ArchiveQuery,
    Entry,
    Journaled,
    Restored,
    Saved,
    Unit,
    key_at,
)
from tests.storage.log_kit import AT, AWAITING, SEEN, SENT, VISIBLE, add, entry, keys, message
from tests.storage.values import JULIET, NURSE, ROMEO, commit

pytestmark = pytest.mark.asyncio


async def test_keys_grow_and_begin_with_the_time(stores: Stores) -> None:
    log = stores.log
    one = log.next_key(AT)
    assert key_at(AT) <= one < key_at(AT + 0.001)
    two = log.next_key(AT)
    assert one < two < key_at(AT + 0.001)
    assert log.next_key(AT - 3600) == two + 1
    assert log.next_key(-1.0) == two + 2
    later = log.next_key(AT + 3600)
    assert key_at(AT + 3600) <= later < key_at(AT + 3600.001)


async def test_the_secret_is_random_and_stays(stores: Stores) -> None:
    secret = stores.log.secret
    assert type(secret) is bytes
    assert len(secret) == 16
    assert len(set(secret)) > 4
    assert stores.log.secret == secret


async def test_an_entry_comes_back_as_it_was(stores: Stores) -> None:
    log = stores.log
    at = AT + 0.123456
    key = log.next_key(at)
    flags = VISIBLE | AWAITING
    one = Entry(key, JULIET, ROMEO, "Handy ☃ 'x'", at, flags, 'id-"ä"', 0, b"<m>\x00\xff</m>")
    await add(log, one)
    for found in (
        await log.get(JULIET, [key]),
        await log.waiting(JULIET),
        (await log.page(JULIET, ArchiveQuery())).entries,
    ):
        assert list(found) == [one]
        assert type(found[0]) is Entry
        assert [type(value) for value in found[0]] == [type(value) for value in one]
    assert await log.bounds(JULIET) == (one, one)


async def test_an_entry_is_its_owners_only(stores: Stores) -> None:
    log = stores.log
    one = entry(log, flags=VISIBLE | AWAITING, unique="u")
    await add(log, one, entry(log, ROMEO, JULIET, unique="other"))
    for other in (ROMEO, NURSE):
        assert await log.get(other, [one.key]) == []
        assert await log.waiting(other) == []
        assert await log.count_waiting(other) == 0
        assert one.key not in await keys(log, other)
        assert await log.find(other, ROMEO, "u", sent=False) is None
        assert not await log.replace(other, one.key, b"")
        assert await log.prune(other, AT - 1) == 0
    assert await log.bounds(NURSE) is None
    assert await log.get(JULIET, [one.key]) == [one]


async def test_get(stores: Stores) -> None:
    log = stores.log
    rows = [entry(log, flags=flags) for flags in (VISIBLE, AWAITING, SENT, 0)]
    await add(log, *rows)
    wanted = [row.key for row in rows]
    assert await log.get(JULIET, wanted[::-1]) == rows
    assert await log.get(JULIET, [wanted[1], wanted[1], 5, -1, 10**30]) == [rows[1]]
    assert await log.get(JULIET, []) == []


async def test_waiting_and_delivered(stores: Stores) -> None:
    log = stores.log
    shown = entry(log, flags=VISIBLE | AWAITING)
    hidden = entry(log, flags=AWAITING)
    other = entry(log, flags=VISIBLE)
    await add(log, shown, hidden, other, entry(log, ROMEO, flags=AWAITING))
    assert await log.waiting(JULIET) == [shown, hidden]
    assert await log.waiting(JULIET, after=shown.key) == [hidden]
    assert await log.waiting(JULIET, limit=1) == [shown]
    assert await log.waiting(JULIET, limit=0) == []
    assert await log.waiting(JULIET, after=10**30, limit=10**30) == []
    assert await log.count_waiting(JULIET) == 2
    await commit(log, Unit(delivered=[shown.key, hidden.key, other.key, 5]))
    assert await log.count_waiting(JULIET) == 0
    assert await log.get(JULIET, [shown.key, hidden.key]) == [shown._replace(flags=VISIBLE | SEEN)]
    assert await keys(log) == [shown.key, other.key]
    await commit(log, Unit(awaiting=[shown.key, hidden.key, 5]))
    assert await log.waiting(JULIET) == [shown._replace(flags=VISIBLE | SEEN | AWAITING)]
    assert await log.count_waiting(ROMEO) == 1


async def test_what_is_delivered_at_once_needs_no_second_unit(stores: Stores) -> None:
    log = stores.log
    shown, hidden = entry(log), entry(log, flags=0)
    both = [shown.key, hidden.key]
    await commit(log, Unit([shown, hidden], awaiting=both, delivered=both))
    assert await log.get(JULIET, both) == [shown._replace(flags=VISIBLE | SEEN)]
    assert await log.count_waiting(JULIET) == 0


async def test_the_order_of_units_counts(stores: Stores) -> None:
    log = stores.log
    one = entry(log, flags=VISIBLE | AWAITING)
    units = [
        Unit(entries=[one], sessions={1: Saved(1, JULIET, b"1")}),
        Unit(delivered=[one.key], journal=[Journaled(1, 1, 1, b"1")]),
        Unit(awaiting=[one.key], handled={1: 5}, ended=[1]),
        Unit(sessions={1: Saved(1, JULIET, b"2")}),
        Unit(delivered=[one.key]),
        Unit(awaiting=[one.key], checkpoint=one.key - 1),
    ]
    done = [log.commit(unit) for unit in units]
    await asyncio.gather(*(one for one in done if one is not None))
    assert await log.count_waiting(JULIET) == 1
    assert await log.recover() == [Restored(Saved(1, JULIET, b"2"), 0, ())]


async def test_a_bad_unit_writes_nothing_and_hurts_nobody_else(stores: Stores) -> None:
    log = stores.log
    there = entry(log)
    await commit(log, Unit([there], journal=[Journaled(7, 7, 1, b"there")]))
    session = {1: Saved(1, JULIET, b"")}
    bad = [
        Unit([entry(log), there], sessions=session),
        Unit([entry(log), entry(log, resource="\0")], sessions=session),
        Unit([entry(log), entry(log, unique="\ud800")], sessions=session),
        Unit([entry(log, "\0")], sessions=session),
        Unit([entry(log), entry(log, at=AT + 1, key=log.next_key(AT))], sessions=session),
        Unit([entry(log)], sessions={1: Saved(1, "\0", b"")}),
        Unit([entry(log)], sessions=session, journal=[Journaled(7, 7, 1, b"again")]),
    ]
    twice = entry(log)
    bad.append(Unit([twice, twice], sessions=session))
    good = [entry(log, NURSE) for _ in range(len(bad) + 1)]
    units = [Unit([good[0]])]
    for one, other in zip(bad, good[1:], strict=True):
        units += [one, Unit([other])]
    done = [log.commit(unit) for unit in units]
    ended = await asyncio.gather(
        *(asyncio.sleep(0) if one is None else one for one in done), return_exceptions=True
    )
    assert [type(one) for one in ended] == [type(None), *[StorageError, type(None)] * len(bad)]
    assert await keys(log, NURSE) == [row.key for row in good]
    assert await keys(log) == [there.key]
    assert await log.recover() == []


async def test_sessions_come_back(stores: Stores) -> None:
    log = stores.log
    two = Saved(2**62, ROMEO, b"\x00two")
    one = Saved(1, JULIET, b"one")
    rows = [Journaled(1, first, 3, b"\xff%d" % first) for first in (2**40, 5, 10, 2)]
    await commit(
        log, Unit(sessions={two.number: two, 1: one}, handled={1: 2**32 - 1}, journal=rows)
    )
    assert await log.recover() == [
        Restored(one, 2**32 - 1, (rows[3], rows[1], rows[2], rows[0])),
        Restored(two, 0, ()),
    ]
    changed = one._replace(data=b"new")
    await commit(log, Unit(sessions={1: changed}, handled={two.number: 3}))
    recovered = await log.recover()
    assert [(one.saved, one.handled) for one in recovered] == [(changed, 2**32 - 1), (two, 3)]
    await commit(log, Unit(ended=[1, 99]))
    assert await log.recover() == [Restored(two, 3, ())]


async def test_what_is_journaled_goes_when_it_is_not_needed(stores: Stores) -> None:
    log = stores.log
    rows = [
        Journaled(n, first, stanzas, b"")
        for n in (1, 2)
        for first, stanzas in ((1, 3), (4, 5), (9, 1))
    ]
    sessions = {number: Saved(number, JULIET, b"") for number in (1, 2)}
    await commit(log, Unit(sessions=sessions, journal=rows))

    async def firsts(forget: dict[int, int], *journal: Journaled) -> list[list[int]]:
        await commit(log, Unit(forget=forget, journal=list(journal)))
        return [[row.first for row in one.journal] for one in await log.recover()]

    assert await firsts({1: 0, 2: 3}) == [[1, 4, 9], [1, 4, 9]]
    assert await firsts({1: 4}) == [[4, 9], [1, 4, 9]]
    assert await firsts({1: 8, 2: 9, 3: 9}) == [[4, 9], [9]]
    # What is journaled in the same unit comes after, whatever its places.
    assert await firsts({1: 2**62}, Journaled(1, 4, 2, b"new")) == [[4], [9]]
    assert await firsts({2: 10}) == [[4], []]


async def test_journals_of_units_of_one_moment(stores: Stores) -> None:
    log = stores.log
    units = [
        Unit(sessions={1: Saved(1, JULIET, b"")}, journal=[Journaled(1, 1, 2, b"a")]),
        Unit(journal=[Journaled(1, 3, 2, b"b"), Journaled(2, 3, 2, b"other")]),
        Unit(forget={1: 3}, journal=[Journaled(1, 5, 1, b"c")]),
        Unit(forget={1: 4, 2: 1}),
        Unit(forget={1: 2**62}, journal=[Journaled(1, 3, 3, b"again")]),
        Unit(forget={1: 5}, journal=[Journaled(1, 6, 1, b"d")], sessions={2: Saved(2, ROMEO, b"")}),
    ]
    done = [log.commit(unit) for unit in units]
    await asyncio.gather(*(one for one in done if one is not None))
    assert [[row.items for row in one.journal] for one in await log.recover()] == [
        [b"again", b"d"],
        [b"other"],
    ]


async def test_unsettled(stores: Stores) -> None:
    log = stores.log
    rows = [entry(log, flags=flags) for flags in (VISIBLE, VISIBLE | SENT, AWAITING, 0, VISIBLE)]
    await add(log, *rows)
    last = entry(log, ROMEO)
    await add(log, last)
    assert await log.unsettled() == [rows[0].key, rows[3].key, rows[4].key, last.key]
    await commit(log, Unit(checkpoint=rows[3].key))
    assert await log.unsettled() == [rows[4].key, last.key]
    await add(log, entry(log, flags=VISIBLE | SEEN), seen := entry(log))
    await commit(log, Unit(delivered=[seen.key]))
    assert await log.unsettled() == [rows[4].key, last.key]
    await commit(log, Unit(checkpoint=rows[0].key, awaiting=[last.key]))
    assert await log.unsettled() == [rows[4].key]
    await log.erase(JULIET)
    assert await log.unsettled() == []


async def test_bounds(stores: Stores) -> None:
    log = stores.log
    rows = [entry(log, flags=flags) for flags in (AWAITING, VISIBLE, SENT, VISIBLE | SENT, 0)]
    await add(log, *rows)
    assert await log.bounds(JULIET) == (rows[1], rows[3])


async def test_find(stores: Stores) -> None:
    log = stores.log
    rows = [
        entry(log, unique="a"),
        entry(log, unique="a", flags=SENT),
        entry(log, unique="a", flags=0),
        entry(log, unique="b"),
        entry(log, peer=NURSE, unique="a"),
        entry(log, ROMEO, JULIET, unique="a"),
    ]
    await add(log, *rows)
    assert await log.find(JULIET, ROMEO, "a", sent=False) == rows[2]
    assert await log.find(JULIET, ROMEO, "a", sent=True) == rows[1]
    assert await log.find(JULIET, NURSE, "a", sent=False) == rows[4]
    assert await log.find(JULIET, ROMEO, "c", sent=False) is None
    assert await log.find(JULIET, "nobody@example", "a", sent=False) is None
    assert await log.find(JULIET, ROMEO, "", sent=False) is None


async def test_find_looks_at_the_newest_only(stores: Stores) -> None:
    log = stores.log
    rows = [entry(log, unique=f"u{number}") for number in range(FIND_MOST + 1)]
    await add(log, *rows, *[entry(log, peer=NURSE) for _ in range(600)])
    assert await log.find(JULIET, ROMEO, "u1", sent=False) == rows[1]
    assert await log.find(JULIET, ROMEO, "u0", sent=False) is None


async def test_replace(stores: Stores) -> None:
    log = stores.log
    unit = message(log, "to be or not to be")
    await commit(log, unit)
    mine, theirs = unit.entries
    assert await log.replace(JULIET, mine.key, b"<gone/>")
    assert not await log.replace(JULIET, theirs.key, b"<gone/>")
    assert not await log.replace(JULIET, 10**30, b"")
    assert await log.get(JULIET, [mine.key]) == [mine._replace(doc=0, stanza=b"<gone/>")]
    assert await log.get(ROMEO, [theirs.key]) == [theirs]
    assert await keys(log, text="be") == []
    assert await keys(log, ROMEO, text="be") == [theirs.key]
    assert await log.replace(ROMEO, theirs.key, b"")
    assert await keys(log, ROMEO, text="be") == []


async def test_recently_sent(stores: Stores) -> None:
    log = stores.log
    rows = [
        entry(log, at=AT, flags=SENT, unique="1"),
        entry(log, at=AT + 1, flags=VISIBLE, unique="2"),
        entry(log, at=AT + 1, flags=SENT),
        entry(log, ROMEO, JULIET, AT + 1, flags=SENT | VISIBLE, unique="3"),
        entry(log, at=AT + 2, flags=SENT | AWAITING, unique="4"),
        # The clock steps back: the key says later, the entry says earlier.
        entry(log, at=AT - 100, flags=SENT, unique="5"),
    ]
    await add(log, *rows)
    assert await log.recently_sent(AT - 200, 10) == [rows[0], rows[3], rows[4], rows[5]]
    assert await log.recently_sent(AT - 200, 2) == [rows[4], rows[5]]
    assert await log.recently_sent(AT + 0.5, 10) == [rows[3], rows[4]]
    assert await log.recently_sent(AT, 0) == []
    note = entry(log, peer=JULIET, at=AT + 3, unique="6")
    await add(log, note, *[entry(log, ROMEO) for _ in range(9)])
    assert await log.recently_sent(AT - 200, 1) == [note]
    await add(log, entry(log, ROMEO))
    assert await log.recently_sent(AT - 200, 1) == []
    assert await log.recently_sent(AT - 200, 2) == [rows[5], note]
    await log.erase(JULIET)
    assert await log.recently_sent(AT - 200, 10) == [rows[3]]


async def test_owners(stores: Stores) -> None:
    log = stores.log
    names = [f"{name}@capulet.example" for name in ("-", "B", "a", "ä", "\uff5e", "🌹")]
    await add(log, *[entry(log, name) for name in reversed(names)], entry(log, ROMEO, NURSE))
    assert await log.owners("capulet.example") == names
    assert await log.owners("capulet.example", after=names[1], limit=2) == names[2:4]
    assert await log.owners("capulet.example", limit=0) == []
    assert await log.owners("example") == []
    await log.prune(names[2], AT + 1)
    await log.erase(names[3])
    assert await log.owners("capulet.example") == [*names[:2], *names[4:]]


async def test_prune(stores: Stores) -> None:
    log = stores.log
    rows = [entry(log, at=AT + number) for number in range(6)]
    rows[1] = rows[1]._replace(flags=VISIBLE | AWAITING)
    rows[2] = rows[2]._replace(flags=SENT)
    other = entry(log, ROMEO, at=AT)
    await add(log, *rows, other)
    all_keys = [row.key for row in rows]
    assert await log.prune(JULIET, AT) == 0
    assert await log.prune(JULIET, AT + 5, limit=2) == 2
    assert await log.get(JULIET, all_keys) == [rows[1], rows[2], rows[4], rows[5]]
    assert await log.prune(JULIET, AT + 5, limit=2) == 1
    assert await log.prune(JULIET, AT + 5, limit=2) == 0
    assert await log.get(JULIET, all_keys) == [rows[1], rows[2], rows[5]]
    await commit(log, Unit(delivered=[rows[1].key]))
    assert await log.prune(JULIET, AT + 5) == 1
    assert await log.bounds(JULIET) == (rows[5], rows[5])
    assert await log.bounds(ROMEO) == (other, other)


async def test_prune_goes_by_the_time_of_the_entry(stores: Stores) -> None:
    log = stores.log
    late = entry(log, at=AT + 3600)
    early = entry(log, at=AT)
    assert early.key > late.key
    await add(log, late, early)
    assert await log.prune(JULIET, AT + 1) == 1
    assert await log.bounds(JULIET) == (late, late)


async def test_erase(stores: Stores) -> None:
    log = stores.log
    mine, theirs = message(log, "hello"), message(log, "hello", ROMEO, NURSE)
    mine.entries[0] = mine.entries[0]._replace(flags=VISIBLE | AWAITING, unique="u")
    mine.sessions = {1: Saved(1, JULIET, b""), 2: Saved(2, ROMEO, b"")}
    mine.handled = {1: 1, 2: 2}
    mine.journal = [Journaled(1, 1, 1, b""), Journaled(2, 1, 1, b"")]
    await commit(log, mine)
    await commit(log, theirs)
    await log.erase(JULIET)
    key = mine.entries[0].key
    assert await log.get(JULIET, [key]) == []
    assert await log.waiting(JULIET) == []
    assert await log.count_waiting(JULIET) == 0
    assert await log.bounds(JULIET) is None
    assert await log.find(JULIET, ROMEO, "u", sent=False) is None
    assert not await log.replace(JULIET, key, b"")
    assert await log.prune(JULIET, AT + 1) == 0
    assert await log.owners("capulet.example") == [NURSE]
    for query in (ArchiveQuery(), ArchiveQuery(text="hello"), ArchiveQuery(keys=(key,))):
        page = await log.page(JULIET, replace(query, count=True))
        assert (page.entries, page.complete, page.count) == ((), True, 0)
    assert await log.recover() == [Restored(Saved(2, ROMEO, b""), 2, (Journaled(2, 1, 1, b""),))]
    romeos = [mine.entries[1].key, theirs.entries[0].key]
    assert await keys(log, ROMEO) == romeos
    assert await keys(log, ROMEO, text="hello") == romeos
    new = entry(log)
    await add(log, new)
    assert new.key > max(romeos)
    assert await keys(log) == [new.key]
    assert await log.bounds(JULIET) == (new, new)
    assert await log.owners("capulet.example") == [JULIET, NURSE]


async def test_stores_erase_the_log_too(stores: Stores) -> None:
    await commit(stores.log, message(stores.log, "hello"))
    await stores.erase(JULIET)
    assert await keys(stores.log) == []
    assert len(await keys(stores.log, ROMEO)) == 1


async def test_no_text_is_a_statement(stores: Stores) -> None:
    log = stores.log
    owner = "x'; DROP TABLE log; -- %s :owner ? @example.org"
    one = entry(log, owner, peer=owner, resource=owner, unique=owner)
    await add(log, one)
    assert await log.find(owner, owner, owner, sent=False) == one
    assert await keys(log, owner, peer=owner, resource=owner) == [one.key]
    assert await log.owners("example.org") == [owner]


async def test_text_that_no_database_takes_is_refused(stores: Stores) -> None:
    log, bad = stores.log, "a\0b"
    for call in (
        log.waiting(bad),
        log.count_waiting(bad),
        log.page(bad, ArchiveQuery()),
        log.page(JULIET, ArchiveQuery(peer=bad)),
        log.page(JULIET, ArchiveQuery(peer=ROMEO, resource=bad)),
        log.get(bad, [1]),
        log.bounds(bad),
        log.find(bad, ROMEO, "u", sent=True),
        log.find(JULIET, ROMEO, bad, sent=True),
        log.replace(bad, 1, b""),
        log.owners(bad),
        log.prune(bad, 1.0),
        log.erase(bad),
    ):
        with pytest.raises(StorageError, match="cannot be stored"):
            await call


async def test_after_the_end_a_unit_fails(stores: Stores) -> None:
    unit = Unit([entry(stores.log)])
    await stores.close()
    failed = stores.log.commit(unit)
    assert failed is not None
    with pytest.raises(StorageError, match="closed"):
        await failed
    with pytest.raises(StorageError, match="closed"):
        await stores.log.waiting(JULIET)
