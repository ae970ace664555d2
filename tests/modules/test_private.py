"""XEP-0049: the examples, every error, and the bounds."""

from __future__ import annotations

import pytest
import pytest_asyncio

from jabberd.modules import private
from tests.modules.host import RecordingSession, World

PREFS = "<exodus xmlns='exodus:prefs'><defaultnick>Hamlet</defaultnick></exodus>"
ASK = "<exodus xmlns='exodus:prefs'/>"


@pytest_asyncio.fixture
async def house(world: World) -> World:
    options = private.Options(max_bytes=200, max_namespaces=3)
    world.load("private", private.load(world.host, options))
    return world


async def _says(
    world: World, session: RecordingSession, kind: str, inner: str, to: str = ""
) -> str:
    address = f" to='{to}'" if to else ""
    await world.says(
        session,
        f"<iq type='{kind}' id='1'{address}><query xmlns='jabber:iq:private'>{inner}</query></iq>",
    )
    (text,) = session.take()
    return text


def _result(inner: str) -> str:
    return (
        "<iq to='alice@example.com/desk' type='result' id='1'>"
        f"<query xmlns='jabber:iq:private'>{inner}</query></iq>"
    )


@pytest.mark.asyncio
async def test_store_and_retrieve(house: World) -> None:
    alice = await house.login("alice/desk")
    assert await _says(house, alice, "set", PREFS) == (
        "<iq to='alice@example.com/desk' type='result' id='1'/>"
    )
    assert await _says(house, alice, "get", ASK) == _result(PREFS)
    own = await _says(house, alice, "get", ASK, "alice@example.com")
    assert PREFS in own


@pytest.mark.asyncio
async def test_what_was_never_stored_is_the_empty_element(house: World) -> None:
    alice = await house.login("alice/desk")
    assert await _says(house, alice, "get", ASK) == _result(ASK)


@pytest.mark.asyncio
async def test_accounts_do_not_share(house: World) -> None:
    alice, bob = await house.login("alice/desk"), await house.login("bob/home")
    await _says(house, bob, "set", PREFS)
    assert await _says(house, alice, "get", ASK) == _result(ASK)


@pytest.mark.asyncio
async def test_several_elements_of_one_namespace(house: World) -> None:
    alice = await house.login("alice/desk")
    both = "<a xmlns='x:y'>1</a><b xmlns='x:y'>2</b>"
    await _says(house, alice, "set", both)
    assert await _says(house, alice, "get", "<a xmlns='x:y'/>") == _result(both)


@pytest.mark.asyncio
async def test_several_namespaces_in_one_set(house: World) -> None:
    alice = await house.login("alice/desk")
    await _says(house, alice, "set", PREFS + "<a xmlns='x:y'>1</a>")
    assert await _says(house, alice, "get", ASK) == _result(PREFS)
    assert await _says(house, alice, "get", "<a xmlns='x:y'/>") == _result("<a xmlns='x:y'>1</a>")


@pytest.mark.asyncio
async def test_an_empty_element_removes(house: World) -> None:
    alice = await house.login("alice/desk")
    await _says(house, alice, "set", PREFS)
    await _says(house, alice, "set", ASK)
    assert await house.stores.keyvalue.keys("alice@example.com", private.SPACE) == []
    assert await _says(house, alice, "get", ASK) == _result(ASK)


@pytest.mark.asyncio
async def test_one_namespace_per_get(house: World) -> None:
    alice = await house.login("alice/desk")
    text = await _says(house, alice, "get", ASK + "<a xmlns='x:y'/>")
    assert "<bad-request" in text


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ["get", "set"])
@pytest.mark.parametrize(
    "inner",
    [
        "",
        "text",
        "<vCard xmlns='vcard-temp'><FN>Hamlet</FN></vCard>",
        "<query xmlns='jabber:iq:roster'/>",
        "<x xmlns='http://jabber.org/protocol/muc'/>",
        "<own/>",
        "<none xmlns=''/>",
        f"<long xmlns='{'x' * 1001}'/>",
    ],
)
async def test_not_acceptable(house: World, kind: str, inner: str) -> None:
    alice = await house.login("alice/desk")
    text = await _says(house, alice, kind, inner)
    assert "type='modify' code='406'" in text
    assert "<not-acceptable" in text
    assert await house.stores.keyvalue.keys("alice@example.com", private.SPACE) == []


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ["get", "set"])
@pytest.mark.parametrize("to", ["bob@example.com", "nobody@example.com", "example.com"])
async def test_somebody_elses(house: World, kind: str, to: str) -> None:
    bob = await house.login("bob/home")
    await _says(house, bob, "set", PREFS)
    alice = await house.login("alice/desk")
    text = await _says(house, alice, kind, PREFS.replace("Hamlet", "Macbeth"), to)
    assert "code='403'" in text
    assert "<forbidden" in text
    assert "Hamlet" in await _says(house, bob, "get", ASK)


@pytest.mark.asyncio
async def test_the_bound_on_bytes_is_exact(house: World) -> None:
    alice = await house.login("alice/desk")
    frame = len("<a xmlns='x:y'></a>")
    fits = f"<a xmlns='x:y'>{'x' * (200 - frame)}</a>"
    assert "type='result'" in await _says(house, alice, "set", fits)
    text = await _says(house, alice, "set", f"<a xmlns='x:y'>{'y' * (201 - frame)}</a>")
    assert "<policy-violation" in text
    assert await _says(house, alice, "get", "<a xmlns='x:y'/>") == _result(fits)


@pytest.mark.asyncio
async def test_the_bound_on_namespaces(house: World) -> None:
    alice = await house.login("alice/desk")
    for number in range(3):
        await _says(house, alice, "set", f"<a xmlns='x:{number}'>1</a>")
    assert "<policy-violation" in await _says(house, alice, "set", "<a xmlns='x:3'>1</a>")
    assert "type='result'" in await _says(house, alice, "set", "<a xmlns='x:0'>2</a>")
    assert "type='result'" in await _says(house, alice, "set", "<a xmlns='x:1'/>")
    assert "type='result'" in await _says(house, alice, "set", "<a xmlns='x:3'>1</a>")
    assert list(await house.stores.keyvalue.keys("alice@example.com", private.SPACE)) == [
        "x:0",
        "x:2",
        "x:3",
    ]
