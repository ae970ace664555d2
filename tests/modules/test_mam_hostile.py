"""Queries that nobody in their right mind would send."""

from __future__ import annotations

import pytest
import pytest_asyncio

from jabberd.storage.log_api import Entry, Flag, Unit
from tests.modules.archive import TYPE, ask, form, load, put, rsm
from tests.modules.host import RecordingSession, World

pytestmark = pytest.mark.asyncio
JULIET, ROMEO = "alice@example.com", "bob@example.com"


@pytest_asyncio.fixture
async def house(world: World) -> World:
    load(world)
    return world


@pytest_asyncio.fixture
async def alice(house: World) -> RecordingSession:
    session = await house.login("alice/balcony", "<presence/>")
    put(house, JULIET, ROMEO, "m")
    return session


@pytest.mark.parametrize(
    ("inside", "condition"),
    [
        (rsm("<max>-1</max>"), "bad-request"),
        (rsm("<max>99999999999999999999</max>"), "bad-request"),
        (rsm("<max>\u0661</max>"), "bad-request"),
        (rsm("<max>5</max><before/><after>x</after>"), "bad-request"),
        (rsm("<after>' OR 1=1 --</after>"), "item-not-found"),
        (rsm(f"<after>{'f' * 100_000}</after>"), "item-not-found"),
        (rsm("<max>1</max><index>1</index>"), "feature-not-implemented"),
        (form(with_="@"), "jid-malformed"),
        (form(with_="a" * 2000 + "@b"), "jid-malformed"),
        (form(start="2010-02-30T00:00:00Z"), "bad-request"),
        (form(start="yesterday"), "bad-request"),
        (form(ids=tuple(str(number) for number in range(1001))), "policy-violation"),
        (form(ids=tuple(f"{number:032x}" for number in range(1000))), "item-not-found"),
        (f"<x xmlns='jabber:x:data' type='cancel'>{TYPE}</x>", "bad-request"),
        ("<x xmlns='jabber:x:data' type='submit'/>", "bad-request"),
        (form(_password="x"), "feature-not-implemented"),
    ],
)
async def test_what_is_refused(
    house: World, alice: RecordingSession, inside: str, condition: str
) -> None:
    got = await ask(house, alice, inside)
    assert (got.results, got.error) == ([], condition)


async def test_a_long_queryid_would_be_repeated_in_every_result(
    house: World, alice: RecordingSession
) -> None:
    assert (await ask(house, alice, attrs=f"queryid='{'q' * 257}'")).error == "policy-violation"
    got = await ask(house, alice, attrs=f"queryid='{'ü' * 256}'")
    assert got.results[0].queryid == "ü" * 256


async def test_what_is_repeated_is_escaped(house: World, alice: RecordingSession) -> None:
    got = await ask(house, alice, attrs="queryid='&apos;/&gt;&lt;&quot;&#10;&amp;'")
    assert got.results[0].queryid == "'/><\"\n&"


@pytest.mark.parametrize(
    "text", ["%", "_", "''", '"', "* NEAR(a b)", "a" * 100_000, "\u202e", "(" * 9]
)
async def test_texts_to_search_for(house: World, alice: RecordingSession, text: str) -> None:
    got = await ask(house, alice, form(text=text))
    assert (got.results, got.complete) == ([], True)


async def test_every_condition_at_once(house: World, alice: RecordingSession) -> None:
    one = put(house, JULIET, ROMEO, "word")
    two = put(house, JULIET, ROMEO, "word")
    three = put(house, JULIET, ROMEO, "word")
    inside = form(
        with_=f"{ROMEO}/home",
        start="2023-11-14T22:13:20Z",
        end="2023-11-14T22:13:20Z",
        after_id=one,
        before_id=three,
        ids=(two, three),
        include_groupchat="false",
        text="word",
    )
    got = await ask(house, alice, inside, rsm("<max>1</max><before/>"), "<flip-page/>")
    assert (got.ids, got.complete) == ([two], True)


async def test_a_stanza_of_any_shape_comes_back_as_it_was(
    house: World, alice: RecordingSession
) -> None:
    for number, stanza in enumerate(
        (
            b"<message/>",
            b"<message xmlns:p='urn:p' from='b@c'><p:x/><body>a</body></message>",
            b"<message xml:lang='de' from='b@c'><x xmlns='urn:x'><y/></x></message>",
        )
    ):
        key = house.stores.log.next_key(house.clock())
        flags = int(Flag.VISIBLE)
        entry = Entry(key, JULIET, f"n{number}@x", "", house.clock(), flags, "", 0, stanza)
        house.stores.log.commit(Unit(entries=[entry]))
    _, bare, prefixed, languages = (result.message for result in (await ask(house, alice)).results)
    assert list(bare) == []
    assert [(child.ns, child.name) for child in prefixed] == [
        ("urn:p", "x"),
        ("jabber:client", "body"),
    ]
    assert languages.get("http://www.w3.org/XML/1998/namespace lang") == "de"


async def test_forged_identifiers_do_not_reach_the_archive(
    house: World, alice: RecordingSession
) -> None:
    # XEP-0359 §3, rule 2; all copies.
    forged = f"<stanza-id xmlns='urn:xmpp:sid:0' by='{JULIET}' id='forged'/>"
    await house.arrives(
        f"<message from='{ROMEO}/x' to='{JULIET}' type='chat'>{forged}<body>b</body>{forged}"
        "<stanza-id xmlns='urn:xmpp:sid:0' by='room@muc.example.org' id='theirs'/></message>"
    )
    _, got = (await ask(house, alice)).results
    assert [child.get("id") for child in got.message if child.name == "stanza-id"] == ["theirs"]


async def test_results_that_somebody_else_makes_up_are_not_archived(
    house: World, alice: RecordingSession
) -> None:
    await house.arrives(
        f"<message from='{ROMEO}/x' to='{JULIET}/balcony'>"
        "<result xmlns='urn:xmpp:mam:2' id='1'><forwarded xmlns='urn:xmpp:forward:0'/></result>"
        "</message>"
    )
    assert (await ask(house, alice)).bodies == ["m"]
