"""Searching by words: the same on every back end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jabberd.storage.api import Stores
from jabberd.storage.log_api import ArchiveQuery, Doc, Unit
from jabberd.storage.words import words_asked, words_of
from tests.storage.log_kit import AT, VISIBLE, add, entry, keys, message
from tests.storage.values import JULIET, NURSE, ROMEO, commit


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("?!, -- \t\n", []),
        ("Wherefore art thou, Romeo?", ["wherefore", "art", "thou", "romeo"]),
        (
            "foo_bar don't 3.14 a-b x@y.org",
            ["foo", "bar", "don", "t", "3", "14", "a", "b", "x", "y", "org"],
        ),
        ("Twice twice TWICE", ["twice"]),
        ("Größe ÄÖÜ ñandú Ångström", ["grosse", "aou", "nandu", "angstrom"]),
        ("Größe", ["grosse"]),
        ("Привет ПРИВЕТ Ёлка", ["привет", "елка"]),
        ("ΟΔΟΣ οδός", ["οδοσ"]),
        ("\uff26\uff35\uff2c\uff2c \ufb01ne \u2163", ["full", "fine", "iv"]),
        ("مَرْحَبًا", ["مرحبا"]),
        ("नमस्ते", ["नमस्ते"]),
        ("한국어 하세요", ["한국어", "하세요"]),
        ("東京 x", ["東", "京", "東京", "x"]),
        ("見る", ["見", "る", "見る"]),
        ("が", ["が"]),
        ("か\u3099", ["が"]),
        ("a\0b \ud800c", ["a", "b", "c"]),
        ("🌹 rose", ["rose"]),
        ("x" * 100, ["x" * 64]),
        ("é" * 100, ["e" * 64]),
    ],
)
def test_words_of(text: str, words: list[str]) -> None:
    assert words_of(text) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("Größe OR", ["grosse", "or"]),
        ("東京都", ["東京", "京都"]),
        ("東 x", ["東", "x"]),
        ("v2東京", ["v2", "東京"]),
        ("x" * 100, ["x" * 64]),
        (" ".join(map(str, range(99))), [str(number) for number in range(32)]),
    ],
)
def test_words_asked(text: str, words: list[str]) -> None:
    assert words_asked(text) == words


@given(st.text(max_size=200))
def test_a_text_is_found_by_itself(text: str) -> None:
    words = words_of(text)
    assert set(words_asked(text)) <= set(words)
    # What a query or an index could take for its own: quotes, operators, and the "@" of people.
    assert all(word and not set(word) & set("\"'@*()^:+-\\ \0") for word in words)


async def one(stores: Stores, text: str) -> int:
    unit = message(stores.log, text)
    await commit(stores.log, unit)
    return unit.entries[0].key


@pytest.mark.asyncio
async def test_all_words_have_to_be_there(stores: Stores) -> None:
    log = stores.log
    rose = await one(stores, "What's in a name? That which we call a rose")
    other = await one(stores, "By any other NAME would smell as sweet")
    assert await keys(log, text="name") == [rose, other]
    assert await keys(log, text="Name ROSE") == [rose]
    assert await keys(log, text="rose sweet") == []
    assert await keys(log, text="ros") == []
    assert await keys(log, text="names") == []


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("Grüße aus Köln", "GRÜSSE köln"),
        ("Grüße aus Köln", "gru\u0308sse koln"),
        ("Съешь ещё этих мягких булок", "ЕЩЕ БУЛОК"),
        ("東京都に行く", "京都"),
        ("full \uff57\uff49\uff44\uff54\uff48", "width"),
        ("see https://example.org/a_b?c=d", "example.org a_b"),
        ("to NOT be", "not"),
        ("near and far", "NEAR(and, far)"),
        ("a 'quoted' \"word\"", "\"quoted' 'word\""),
        ("words words words", "words:words"),
        ("minus one", "one -minus"),
        ("star", "star*"),
        ("back\\slash", "back\\slash"),
        ("a | b & !c <-> d", "!a & b | (c <-> d)"),
    ],
)
async def test_queries_are_plain_text(stores: Stores, text: str, asked: str) -> None:
    there = await one(stores, text)
    await one(stores, "something else")
    assert await keys(stores.log, text=asked) == [there]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "asked", ["*", '"', "'", "OR", "-", ":", "@1", "@", "\0", "% _", ")", "\ud800"]
)
async def test_signs_find_nothing(stores: Stores, asked: str) -> None:
    await one(stores, "something else 42")
    page = await stores.log.page(JULIET, ArchiveQuery(text=asked, count=True))
    assert (page.entries, page.complete, page.count) == ((), True, 0)


@pytest.mark.asyncio
async def test_numbers_of_accounts_are_no_words(stores: Stores) -> None:
    log = stores.log
    await one(stores, "hello")
    await commit(log, message(log, "@1 @2 @3 1 2 3 hello", ROMEO, NURSE))
    assert len(await keys(log, text="hello")) == 1
    assert await keys(log, text="1") == []


@pytest.mark.asyncio
async def test_a_text_is_everybodys_who_has_a_copy(stores: Stores) -> None:
    log = stores.log
    unit = message(log, "hello")
    await commit(log, unit)
    mine, theirs = unit.entries
    assert await keys(log, text="hello") == [mine.key]
    assert await keys(log, ROMEO, text="hello") == [theirs.key]
    assert await keys(log, NURSE, text="hello") == []
    assert await keys(log, text="hello", peer=ROMEO) == [mine.key]
    assert await keys(log, text="hello", peer=NURSE) == []
    await log.prune(JULIET, AT + 1)
    assert await keys(log, text="hello") == []
    assert await keys(log, ROMEO, text="hello") == [theirs.key]
    await log.prune(ROMEO, AT + 1)
    assert await keys(log, ROMEO, text="hello") == []


@pytest.mark.asyncio
async def test_a_message_to_oneself(stores: Stores) -> None:
    log = stores.log
    unit = message(log, "note", JULIET, JULIET)
    await commit(log, unit)
    both = [row.key for row in unit.entries]
    assert await keys(log, text="note") == both
    assert await log.replace(JULIET, both[0], b"")
    assert await keys(log, text="note") == both[1:]
    assert await log.replace(JULIET, both[1], b"")
    assert await keys(log, text="note") == []


@pytest.mark.asyncio
async def test_what_is_not_visible_is_not_found(stores: Stores) -> None:
    log = stores.log
    unit = message(log, "hidden")
    unit.entries[0] = unit.entries[0]._replace(flags=0)
    await commit(log, unit)
    assert await keys(log, text="hidden") == []
    await commit(log, Unit(delivered=[unit.entries[0].key]))
    assert await keys(log, ROMEO, text="hidden") == [unit.entries[1].key]


@pytest.mark.asyncio
async def test_entries_without_a_text_and_texts_without_an_entry(stores: Stores) -> None:
    log = stores.log
    none = entry(log)
    missing = entry(log, doc=none.key)
    key = log.next_key(AT)
    await commit(log, Unit([none, missing], [Doc(key, "nowhere")]))
    assert await keys(log, text="nowhere") == []
    await add(log, entry(log, doc=key))
    assert await keys(log, text="nowhere") == []


@pytest.mark.asyncio
async def test_long_texts_and_many_words(stores: Stores) -> None:
    text = " ".join([f"w{number}" for number in range(3000)])
    there = await one(stores, text)
    assert await keys(stores.log, text=text) == [there]
    assert await keys(stores.log, text="w2999") == []
    assert await keys(stores.log, text="w2500") == [there]
    wide = await one(stores, "".join([chr(0x4E00 + number) for number in range(16_000)]))
    assert await keys(stores.log, text=chr(0x4E00 + 9) + chr(0x4E00 + 10)) == [wide]


@pytest.mark.asyncio
async def test_pages_of_a_search(stores: Stores) -> None:
    log = stores.log
    unit = Unit()
    expected = []
    for number in range(1200):
        row = entry(log, at=AT + number, flags=VISIBLE)
        row = row._replace(doc=row.key)
        unit.entries.append(row)
        unit.docs.append(Doc(row.key, f"all {'even' if number % 2 else ''} n{number}"))
        expected.append(row.key)
    await commit(log, unit)
    assert await keys(log, text="all", limit=2000) == expected
    assert await keys(log, text="even", limit=5) == expected[1:10:2]
    assert await keys(log, text="all", limit=5, backwards=True) == expected[-5:]
    assert await keys(log, text="all", start=AT + 1190, end=AT + 1191) == expected[1190:1192]
    assert await keys(log, text="even", after=expected[1190], backwards=True) == expected[1191::2]
    assert await keys(log, text="n7 all", keys=tuple(expected[:10])) == [expected[7]]
    page = await log.page(JULIET, ArchiveQuery(text="even", limit=0, count=True))
    assert (page.entries, page.complete, page.count) == ((), False, 600)
