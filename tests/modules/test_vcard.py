"""XEP-0054: the examples, and the bounds."""

from __future__ import annotations

import pytest
import pytest_asyncio

from jabberd.modules import vcard
from tests.modules.host import RecordingSession, World

CARD = (
    "<vCard xmlns='vcard-temp'><FN>Peter Saint-Andre</FN>"
    "<N><FAMILY>Saint-Andre</FAMILY><GIVEN>Peter</GIVEN><MIDDLE/></N>"
    "<DESC>a &lt; b &amp; \u00e9</DESC></vCard>"
)
HEAD = "from='bob@example.com' to='alice@example.com/desk'"


@pytest_asyncio.fixture
async def house(world: World) -> World:
    world.load("vcard", vcard.load(world.host, vcard.Options(max_bytes=1000)))
    return world


async def _says(world: World, session: RecordingSession, kind: str, to: str, card: str) -> str:
    address = f" to='{to}'" if to else ""
    await world.says(session, f"<iq type='{kind}' id='v'{address}>{card}</iq>")
    (text,) = session.take()
    return text


async def _get(world: World, session: RecordingSession, to: str = "") -> str:
    return await _says(world, session, "get", to, "<vCard xmlns='vcard-temp'/>")


@pytest.mark.asyncio
async def test_set_and_get_ones_own(house: World) -> None:
    alice = await house.login("alice/desk")
    assert await _says(house, alice, "set", "", CARD) == (
        "<iq to='alice@example.com/desk' type='result' id='v'/>"
    )
    assert await _get(house, alice) == (
        f"<iq to='alice@example.com/desk' type='result' id='v'>{CARD}</iq>"
    )
    assert CARD in await _get(house, alice, "alice@example.com")


@pytest.mark.asyncio
async def test_others_see_it(house: World) -> None:
    bob = await house.login("bob/home")
    await _says(house, bob, "set", "bob@example.com", CARD)
    alice = await house.login("alice/desk")
    assert await _get(house, alice, "bob@example.com") == (
        f"<iq {HEAD} type='result' id='v'>{CARD}</iq>"
    )


@pytest.mark.asyncio
async def test_other_servers_see_it(house: World) -> None:
    bob = await house.login("bob/home")
    await _says(house, bob, "set", "", CARD)
    other = house.domain("other.example")
    await house.arrives(
        "<iq from='x@other.example/y' to='bob@example.com' type='get' id='v'>"
        "<vCard xmlns='vcard-temp'/></iq>"
    )
    (text,) = other.take()
    assert CARD in text


@pytest.mark.asyncio
async def test_a_new_card_replaces_the_old_one(house: World) -> None:
    alice = await house.login("alice/desk")
    await _says(house, alice, "set", "", CARD)
    await _says(house, alice, "set", "", "<vCard xmlns='vcard-temp'><FN>New</FN></vCard>")
    text = await _get(house, alice)
    assert "New" in text
    assert "Peter" not in text


@pytest.mark.asyncio
async def test_an_empty_card_removes_it(house: World) -> None:
    alice = await house.login("alice/desk")
    await _says(house, alice, "set", "", CARD)
    await _says(house, alice, "set", "", "<vCard xmlns='vcard-temp'/>")
    assert "item-not-found" in await _get(house, alice)
    assert await house.stores.keyvalue.keys("alice@example.com", vcard.SPACE) == []


@pytest.mark.asyncio
async def test_no_card_of_ones_own(house: World) -> None:
    alice = await house.login("alice/desk")
    text = await _get(house, alice)
    assert "<item-not-found" in text
    assert "type='cancel'" in text


@pytest.mark.asyncio
async def test_no_card_and_no_account_look_the_same(house: World) -> None:
    alice = await house.login("alice/desk")
    empty = await _get(house, alice, "bob@example.com")
    nobody = await _get(house, alice, "nobody@example.com")
    assert "<service-unavailable" in empty
    assert empty == nobody.replace("nobody@", "bob@")


@pytest.mark.asyncio
@pytest.mark.parametrize("to", ["bob@example.com", "nobody@example.com", "example.com"])
async def test_nobody_sets_anothers_card(house: World, to: str) -> None:
    bob = await house.login("bob/home")
    await _says(house, bob, "set", "", CARD)
    alice = await house.login("alice/desk")
    text = await _says(house, alice, "set", to, "<vCard xmlns='vcard-temp'><FN>X</FN></vCard>")
    assert "type='auth'" in text
    assert "<forbidden" in text
    assert CARD in await _get(house, alice, "bob@example.com")


@pytest.mark.asyncio
async def test_the_bound_is_exact_and_the_old_card_stays(house: World) -> None:
    alice = await house.login("alice/desk")
    frame = len("<vCard xmlns='vcard-temp'><FN></FN></vCard>")
    card = "<vCard xmlns='vcard-temp'><FN>{}</FN></vCard>"
    fits = card.format("x" * (1000 - frame))
    assert "type='result'" in await _says(house, alice, "set", "", fits)
    text = await _says(house, alice, "set", "", card.format("y" * (1001 - frame)))
    assert "<policy-violation" in text
    assert "at most 1000 bytes, this one has 1001" in text
    assert fits in await _get(house, alice)


@pytest.mark.asyncio
async def test_the_card_goes_with_the_account(house: World) -> None:
    alice = await house.login("alice/desk")
    await _says(house, alice, "set", "", CARD)
    await house.stores.erase("alice@example.com")
    assert "item-not-found" in await _get(house, alice)
