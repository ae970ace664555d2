"""Pages of an archive, against a model that is a list."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jabberd.storage import log_docs, log_index, log_read, log_write
from jabberd.storage.api import Stores
from jabberd.storage.log_api import COUNT_MOST, ArchiveQuery, Doc, Entry, Log, Unit
from jabberd.storage.open import open_stores
from tests.storage.log_kit import AT, AWAITING, SENT, VISIBLE, add, entry, keys
from tests.storage.values import JULIET, NURSE, ROMEO, commit

PEERS = ("romeo@montague.example", "nurse@capulet.example", "montague.example")
RESOURCES = ("", "a", "A")
WORDS = ("apple", "pear", "plum")
# Steps of the clock, in seconds: within one millisecond, onwards, and back.
STEPS = (0.0, 0.0001, 0.5, 3.0, 100.0, -0.25, -2.0, -50.0)


def a_message() -> st.SearchStrategy[tuple[Any, ...]]:
    """Peer, resource, step of the clock, flags, words, whether the peer has a copy, its place."""
    return st.tuples(
        st.sampled_from(PEERS),
        st.sampled_from(RESOURCES),
        st.sampled_from(STEPS),
        st.sampled_from([VISIBLE] * 4 + [VISIBLE | SENT, VISIBLE | AWAITING, AWAITING, 0]),
        st.lists(st.sampled_from(WORDS), max_size=3),
        st.booleans(),
        st.booleans(),
    )


def a_query(keys: Sequence[int], times: Sequence[float]) -> st.SearchStrategy[ArchiveQuery]:
    """Any combination of filters and cursors, at and beside what is there."""
    key = st.sampled_from([*keys, *[key + 1 for key in keys], 0, 10**30])
    time = st.sampled_from([*times, *[at + 0.0005 for at in times], 0.0, 1e12])
    maybe = st.one_of
    return st.builds(
        ArchiveQuery,
        peer=st.sampled_from(("", "", *PEERS, "nobody@example")),
        resource=st.sampled_from(("", "", *RESOURCES)),
        start=maybe(st.none(), time),
        end=maybe(st.none(), time),
        after=maybe(st.none(), key),
        before=maybe(st.none(), key),
        keys=maybe(st.none(), st.none(), st.lists(key, max_size=6).map(tuple)),
        text=st.sampled_from(("", "", "", "apple", "Pear plum", "none", "?")),
        backwards=st.booleans(),
        limit=st.sampled_from((0, 1, 2, 3, 50)),
        count=st.booleans(),
    )


def matches(row: Entry, text: str, query: ArchiveQuery) -> bool:
    """What `ArchiveQuery` says of its filters, word by word."""
    if not row.flags & VISIBLE:
        return False
    if query.peer and row.peer != query.peer:
        return False
    if query.peer and query.resource and row.resource != query.resource:
        return False
    if query.start is not None and row.at < query.start:
        return False
    if query.end is not None and row.at > query.end:
        return False
    if query.keys is not None and row.key not in query.keys:
        return False
    if not query.text:
        return True
    asked = query.text.lower().replace("?", " ").split()
    return asked != [] and all(word in text.split() for word in asked)


async def write(log: Log, owner: str, script: Sequence[tuple[Any, ...]]) -> dict[int, Any]:
    """Commit messages, a few in a unit; returns entries with their texts, by key.

    The keys of the two copies of a message enclose those of others, in all orders.
    """
    model: dict[int, tuple[Entry, str]] = {}
    at = AT
    for first in range(0, len(script), 3):
        some = script[first : first + 3]
        times = [at := at + step for _, _, step, *_ in some]
        inner = [log.next_key(time) for time in times]
        outer = [log.next_key(time) for time in times[::-1]][::-1]
        unit = Unit()
        for one, time, *ends in zip(some, times, inner, outer, strict=True):
            peer, resource, _, flags, words, copied, turned = one
            mine, copy = ends[::-1] if turned else ends
            doc = (copy if copied else mine) if words else 0
            row = entry(log, owner, peer, time, key=mine, resource=resource, flags=flags, doc=doc)
            unit.entries.append(row)
            if copied:
                unit.entries.append(entry(log, peer, owner, time, key=copy, doc=doc))
            if words:
                unit.docs.append(Doc(doc, " ".join(words)))
            model[mine] = (row, " ".join(words))
        await commit(log, unit)
    return model


async def compare(log: Log, owner: str, model: dict[int, Any], query: ArchiveQuery) -> None:
    """The page is the model's."""
    rows = [row for _, (row, text) in sorted(model.items()) if matches(row, text, query)]
    within = [
        row
        for row in rows
        if (query.after is None or row.key > query.after)
        and (query.before is None or row.key < query.before)
    ]
    if query.backwards:
        expected = within[::-1][: query.limit][::-1]
    else:
        expected = within[: query.limit]
    page = await log.page(owner, query)
    assert list(page.entries) == expected
    assert page.complete == (len(within) <= query.limit)
    assert page.count == (len(rows) if query.count else None)


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Indexes that are nearly always incomplete, and never empty."""
    monkeypatch.setattr(log_index, "_MOST", 6)
    monkeypatch.setattr(log_index, "_STEP", 3)
    monkeypatch.setattr(log_index, "_OF_ONE", 4)
    monkeypatch.setattr(log_docs, "_MOST", 3)
    monkeypatch.setattr(log_read, "_DOCS", (1, 2))
    monkeypatch.setattr(log_write, "_LEAVING", 3)


def test_pages_are_those_of_a_model(url: str, small_steps: None) -> None:
    numbers = itertools.count()
    with asyncio.Runner() as runner:
        stores = runner.run(open_stores(url))

        @settings(
            max_examples=60,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        )
        @given(st.lists(a_message(), max_size=14), st.data())
        def check(script: list[tuple[Any, ...]], data: st.DataObject) -> None:
            owner = f"juliet{next(numbers)}@capulet.example"
            model = runner.run(write(stores.log, owner, script))
            times = [row.at for row, _ in model.values()]
            for query in data.draw(st.lists(a_query(list(model), times), min_size=1, max_size=12)):
                runner.run(compare(stores.log, owner, model, query))
            if not model:
                return
            # The same after some have gone.
            gone = data.draw(st.sampled_from(sorted(model)))
            before = model[gone][0].at
            runner.run(stores.log.prune(owner, before, limit=3))
            old = [
                key
                for key, (row, _) in sorted(model.items())
                if row.at < before and row.flags & (VISIBLE | AWAITING) == VISIBLE
            ]
            for key in old[:3]:
                del model[key]
            for query in data.draw(st.lists(a_query([gone], times), min_size=1, max_size=6)):
                runner.run(compare(stores.log, owner, model, query))

        try:
            check()
        finally:
            runner.run(stores.close())


@pytest.mark.asyncio
async def test_every_page_in_both_directions(stores: Stores, small_steps: None) -> None:
    log = stores.log
    rows = [
        entry(
            log, peer=(ROMEO, NURSE)[number % 2], at=AT + number, flags=VISIBLE * (number % 5 > 0)
        )
        for number in range(40)
    ]
    for at in range(0, 40, 8):
        await add(log, *rows[at : at + 8])
    for peer in ("", ROMEO, NURSE):
        query = ArchiveQuery(peer=peer, limit=3)
        expected = [row for row in rows if row.flags and peer in {"", row.peer}]
        forwards: list[Entry] = []
        while True:
            after = forwards[-1].key if forwards else None
            page = await log.page(JULIET, replace(query, after=after))
            forwards += page.entries
            if page.complete:
                break
        backwards: list[Entry] = []
        while True:
            before = backwards[0].key if backwards else None
            page = await log.page(JULIET, replace(query, before=before, backwards=True))
            backwards = [*page.entries, *backwards]
            if page.complete:
                break
        assert forwards == backwards == expected


@pytest.mark.asyncio
async def test_time_after_the_clock_stepped_back(stores: Stores) -> None:
    log = stores.log
    future = entry(log, at=AT + 86_400)
    back = [entry(log, at=AT + number) for number in range(3)]
    await add(log, future, *back)
    assert await keys(log, end=AT + 2) == [row.key for row in back]
    assert await keys(log, start=AT + 1, end=AT + 1) == [back[1].key]
    assert await keys(log, start=AT + 3) == [future.key]


@pytest.mark.asyncio
async def test_counting_stops(stores: Stores) -> None:
    log = stores.log
    await add(log, *[entry(log) for _ in range(COUNT_MOST)])
    assert (await log.page(JULIET, ArchiveQuery(count=True, limit=1))).count == COUNT_MOST
    await add(log, entry(log))
    assert (await log.page(JULIET, ArchiveQuery(count=True, limit=1))).count is None
    counted = await log.page(JULIET, ArchiveQuery(count=True, start=AT, end=AT, peer=ROMEO))
    assert counted.count is None


@pytest.mark.asyncio
async def test_a_unit_that_was_overtaken_is_found(stores: Stores, small_steps: None) -> None:
    log = stores.log
    late = [entry(log, doc=-1) for _ in range(2)]
    await add(log, *[entry(log) for _ in range(10)])
    await add(log, *[entry(log) for _ in range(10)])
    late = [row._replace(doc=late[0].key) for row in late]
    await commit(log, Unit(late, [Doc(late[0].key, "late")]))
    assert (await keys(log))[:2] == [row.key for row in late]
    assert (await keys(log, peer=ROMEO))[:2] == [row.key for row in late]
    assert await keys(log, text="late") == [row.key for row in late]


@pytest.mark.asyncio
async def test_searches_when_the_copies_of_messages_enclose_others(
    stores: Stores, small_steps: None
) -> None:
    log = stores.log
    for distance in (0.0, 2.0):
        owner = f"owner{distance}@capulet.example"
        for turned in (False, True):
            first = [log.next_key(AT) for _ in range(4)]
            second = [log.next_key(AT + distance) for _ in range(4)][::-1]
            mine, texts = (second, first) if turned else (first, second)
            unit = Unit()
            for key, doc in zip(mine, texts, strict=True):
                unit.entries += [
                    entry(log, owner, key=key, doc=doc),
                    entry(log, ROMEO, owner, AT + distance, key=doc, doc=doc),
                ]
                unit.docs.append(Doc(doc, "word"))
            await commit(log, unit)
        expected = await keys(log, owner)
        assert len(expected) == 8
        for limit in (1, 2, 8):
            for at, key in enumerate([expected[0] - 1, *expected, expected[-1] + 1]):
                query: dict[str, Any] = {"text": "word", "limit": limit}
                assert await keys(log, owner, after=key, **query) == expected[at:][:limit]
                before = await keys(log, owner, before=key, backwards=True, **query)
                assert before == expected[: max(0, at - 1)][-limit:]
