"""XEP-0431 and XEP-0413: by words, and in another order."""

from __future__ import annotations

import pytest
import pytest_asyncio

from jabberd.modules import disco, mam
from tests.modules.archive import ask, form, load, put, rsm
from tests.modules.host import RecordingSession, World

pytestmark = pytest.mark.asyncio
JULIET, ROMEO, NURSE = "alice@example.com", "bob@example.com", "carol@example.com"


@pytest_asyncio.fixture
async def house(world: World) -> World:
    load(world)
    return world


@pytest_asyncio.fixture
async def alice(house: World) -> RecordingSession:
    return await house.login("alice/balcony", "<presence/>")


# XEP-0431


async def test_the_example(house: World, alice: RecordingSession) -> None:
    # XEP-0313 §4.1.5 has the one that XEP-0431 leaves out.
    bob = await house.login("bob/home", "<presence/>")
    for body in ("Where arth thou, my Juliet?", "my Juliet!", "Juliet"):
        await house.says(bob, f"<message to='{JULIET}' type='chat'><body>{body}</body></message>")
    asked = form(text="Where arth thou, my Juliet?")
    assert (await ask(house, alice, asked)).bodies == ["Where arth thou, my Juliet?"]
    assert (await ask(house, alice, form(text="JULIET my"))).bodies == [
        "Where arth thou, my Juliet?",
        "my Juliet!",
    ]
    # The sender finds what it has sent.
    assert len((await ask(house, bob, form(text="juliet"))).results) == 3


async def test_what_is_found(house: World, alice: RecordingSession) -> None:
    for body in ("Käse &amp; Brot", "kase", "brot", ""):
        put(house, JULIET, ROMEO, body)
    put(house, JULIET, NURSE, "Brot!")
    for text, bodies in {
        "brot": ["Käse & Brot", "brot", "Brot!"],
        "KASE": ["Käse & Brot", "kase"],
        "bro": [],
        "brot käse": ["Käse & Brot"],
        "&amp;": [],
        "'\"*) OR brot": [],
        "brot -käse": ["Käse & Brot"],
    }.items():
        assert (await ask(house, alice, form(text=text))).bodies == bodies, text
    assert (await ask(house, alice, form(text="brot", with_=NURSE))).bodies == ["Brot!"]
    # Not filled in (XEP-0431 §2.2: "if non-empty").
    assert len((await ask(house, alice, form(text=""))).results) == 5


async def test_pages_of_what_is_found(house: World, alice: RecordingSession) -> None:
    ids = [put(house, JULIET, ROMEO, f"word {number}") for number in range(5)]
    put(house, JULIET, ROMEO, "another")
    one = await ask(house, alice, form(text="word"), rsm("<max>3</max><before/>"))
    assert (one.ids, one.complete) == (ids[2:], False)
    two = await ask(
        house, alice, form(text="word"), rsm(f"<max>3</max><before>{one.first}</before>")
    )
    assert (two.ids, two.complete) == (ids[:2], True)
    assert (await ask(house, alice, form(text="word"), rsm("<max>0</max>"))).count == "5"


async def test_other_peoples_words(house: World, alice: RecordingSession) -> None:
    put(house, ROMEO, NURSE, "secret")
    assert (await ask(house, alice, form(text="secret"))).bodies == []


async def test_without_an_index(world: World) -> None:
    load(world, mam.Options(search=False))
    world.load("disco", disco.load(world.host, disco.Options()))
    alice = await world.login("alice/desk", "<presence/>")
    await world.says(alice, f"<message to='{ROMEO}' type='chat'><body>word</body></message>")
    assert (await ask(world, alice, form(text="word"))).error == "feature-not-implemented"
    assert (await ask(world, alice)).bodies == ["word"]
    shown = await ask(world, alice, kind="get")
    assert b"fulltext" not in shown.iq.to_bytes()
    await world.says(
        alice, "<iq type='get' id='1'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
    )
    (info,) = alice.take()
    assert "urn:xmpp:mam:2" in info
    assert "urn:xmpp:fulltext:0" not in info


# XEP-0413


def order(by: str = "creation", desc: str = "") -> str:
    attribute = f" desc='{desc}'" if desc else ""
    return f"<order xmlns='urn:xmpp:order-by:1' by='{by}'{attribute}/>"


async def test_the_example_for_archives(house: World, alice: RecordingSession) -> None:
    # §4.3; without a node, which accounts do not have.
    ids = [put(house, JULIET, ROMEO, name) for name in "ABCD"]
    got = await ask(house, alice, order(), attrs="queryid='123'")
    assert got.ids == ids
    assert {result.queryid for result in got.results} == {"123"}
    got = await ask(house, alice, order(), attrs="queryid='123' node='plays'")
    assert got.error == "item-not-found"


@pytest.mark.parametrize("by", ["creation", "modification"])
async def test_the_example_with_pages(house: World, alice: RecordingSession, by: str) -> None:
    # §4.5, "rsm_3" and "rsm_4": descending in the whole result and in each page.
    a, b, c, d = (put(house, JULIET, ROMEO, name) for name in "ABCD")
    one = await ask(house, alice, order(by, "true"), rsm("<max>2</max>"))
    assert one.bodies == ["D", "C"]
    assert (one.first, one.last, one.index, one.count) == (d, c, "0", None)
    assert not one.complete
    two = await ask(house, alice, order(by, "true"), rsm(f"<max>2</max><after>{c}</after>"))
    assert (two.bodies, two.first, two.last, two.complete) == (["B", "A"], b, a, True)


async def test_descending_pages_from_the_end(house: World, alice: RecordingSession) -> None:
    ids = [put(house, JULIET, ROMEO, name) for name in "ABCDE"]
    descending = order(desc="1")
    last = await ask(house, alice, descending, rsm("<max>2</max><before/>"))
    assert (last.bodies, last.index, last.count) == (["B", "A"], None, None)
    assert not last.complete
    before = await ask(house, alice, descending, rsm(f"<max>2</max><before>{ids[1]}</before>"))
    assert (before.bodies, before.complete) == (["D", "C"], False)
    first = await ask(house, alice, descending, rsm(f"<max>2</max><before>{ids[3]}</before>"))
    assert (first.bodies, first.complete) == (["E"], True)


async def test_descending_and_flipped(house: World, alice: RecordingSession) -> None:
    a, b, c = (put(house, JULIET, ROMEO, name) for name in "ABC")
    got = await ask(house, alice, order(desc="true"), rsm("<max>2</max>"), "<flip-page/>")
    assert (got.bodies, got.first, got.last) == (["B", "C"], c, b)
    # The fields of a query go by the time, whatever the order.
    got = await ask(house, alice, order(desc="true"), form(after_id=a))
    assert got.bodies == ["C", "B"]


async def test_several_levels(house: World, alice: RecordingSession) -> None:
    # §6: the first one is the main one.
    for name in "AB":
        put(house, JULIET, ROMEO, name)
    first, second = order(desc="true"), order("modification", "false")
    assert (await ask(house, alice, first, second)).bodies == ["B", "A"]
    assert (await ask(house, alice, second, first)).bodies == ["A", "B"]


async def test_orders_that_there_are_not(house: World, alice: RecordingSession) -> None:
    assert (await ask(house, alice, order("{urn:x}size"))).error == "feature-not-implemented"
