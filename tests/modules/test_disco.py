"""XEP-0030: the host, its nodes, and accounts for those who may see them."""

from __future__ import annotations

import pytest
import pytest_asyncio

from jabberd.core.module import DiscoNodes, Module
from jabberd.core.ports import DiscoApi
from jabberd.modules import disco, ping, vcard
from jabberd.xmpp.element import Element, parse
from jabberd.xmpp.jid import JID
from jabberd.xmpp.payload import forms
from tests.modules.host import RecordingSession, World

INFO = "http://jabber.org/protocol/disco#info"
ITEMS = "http://jabber.org/protocol/disco#items"


@pytest_asyncio.fixture
async def house(im: World) -> World:
    im.load("disco", disco.load(im.host, disco.Options(name="House")))
    im.load("vcard", vcard.load(im.host, vcard.Options()))
    im.load("ping", ping.load(im.host, ping.Options()))
    return im


async def _ask(
    world: World, session: RecordingSession, ns: str, to: str | None, node: str | None = None
) -> Element:
    """The query element of the answer, or the error element."""
    session.inbox.clear()
    address = "" if to is None else f" to='{to}'"
    attr = "" if node is None else f" node='{node}'"
    await world.says(session, f"<iq type='get' id='1'{address}><query xmlns='{ns}'{attr}/></iq>")
    (text,) = session.take()
    return next(iter(parse(text.encode())))


def _condition(error: Element) -> str:
    assert error.name == "error"
    first = next(iter(error))
    return f"{error.get('type')} {first.name}"


def _features(query: Element) -> list[str]:
    return [feature.get("var") for feature in query.find_all(INFO, "feature")]


async def _subscribe(world: World, account: str, contact: str) -> None:
    """Let the contact see the account's presence."""
    session = await world.login(f"{account}/setup", "<presence/>")
    other = await world.login(f"{contact}/setup", "<presence/>")
    await world.says(other, f"<presence type='subscribe' to='{account}@example.com'/>")
    await world.says(session, f"<presence type='subscribed' to='{contact}@example.com'/>")
    await world.leaves(session)
    await world.leaves(other)


@pytest.mark.asyncio
async def test_host_info(house: World) -> None:
    alice = await house.login("alice/desk")
    query = await _ask(house, alice, INFO, "example.com")
    (identity,) = query.find_all(INFO, "identity")
    assert identity.attrs == {"category": "server", "type": "im", "name": "House"}
    features = _features(query)
    assert {INFO, ITEMS, "vcard-temp", "urn:xmpp:ping"} <= set(features)
    assert features == sorted(set(features))
    assert "node" not in query.attrs


@pytest.mark.asyncio
async def test_features_of_two_modules_are_shown_once(house: World) -> None:
    house.load("other", Module(features=["vcard-temp", "urn:x"]))
    alice = await house.login("alice/desk")
    features = _features(await _ask(house, alice, INFO, "example.com"))
    assert features.count("vcard-temp") == 1
    assert "urn:x" in features


@pytest.mark.asyncio
async def test_forms_of_modules_extend_the_host(house: World) -> None:
    form = forms.form([forms.Field("a", values=["1"])], kind="result", form_type="urn:x")
    house.load("other", Module(forms=[form]))
    alice = await house.login("alice/desk")
    query = await _ask(house, alice, INFO, "example.com")
    assert query.find_all("jabber:x:data", "x") == [form]


@pytest.mark.asyncio
async def test_host_without_items_is_empty(house: World) -> None:
    alice = await house.login("alice/desk")
    query = await _ask(house, alice, ITEMS, "example.com")
    assert query == Element(ITEMS, "query")


@pytest.mark.asyncio
async def test_items_come_and_go(house: World) -> None:
    api = house.host.require(DiscoApi)
    rooms = JID.parse("rooms.example.com")
    api.add_item(rooms, "Rooms")
    api.add_item(rooms, "Music", node="music")
    alice = await house.login("alice/desk")
    query = await _ask(house, alice, ITEMS, "example.com")
    assert [item.attrs for item in query] == [
        {"jid": "rooms.example.com", "name": "Rooms"},
        {"jid": "rooms.example.com", "node": "music", "name": "Music"},
    ]
    api.remove_item(rooms)
    api.remove_item(rooms, "never was")
    query = await _ask(house, alice, ITEMS, "example.com")
    assert [item.get("node") for item in query] == ["music"]


@pytest.mark.asyncio
@pytest.mark.parametrize("ns", [INFO, ITEMS])
@pytest.mark.parametrize("to", ["example.com", "alice@example.com", None])
async def test_unknown_nodes(house: World, ns: str, to: str | None) -> None:
    alice = await house.login("alice/desk")
    assert _condition(await _ask(house, alice, ns, to, "nowhere")) == "cancel item-not-found"


@pytest.mark.asyncio
async def test_nodes_of_modules_are_answered_and_mirrored(house: World) -> None:
    def info(node: str, asker: JID) -> list[Element] | None:
        return [Element(INFO, "identity", {"name": asker.text})] if node == "music" else None

    def items(node: str, _asker: JID) -> list[Element] | None:
        return [] if node == "music" else None

    house.load("other", Module(nodes=[DiscoNodes(info, items)]))
    alice = await house.login("alice/desk")
    query = await _ask(house, alice, INFO, "example.com", "music")
    assert query == Element(
        INFO,
        "query",
        {"node": "music"},
        [Element(INFO, "identity", {"name": "alice@example.com/desk"})],
    )
    query = await _ask(house, alice, ITEMS, "example.com", "music")
    assert query == Element(ITEMS, "query", {"node": "music"})


@pytest.mark.asyncio
@pytest.mark.parametrize("to", ["alice@example.com", None])
async def test_own_account(house: World, to: str | None) -> None:
    alice = await house.login("alice/desk")
    query = await _ask(house, alice, INFO, to)
    (identity,) = query.find_all(INFO, "identity")
    assert identity.attrs == {"category": "account", "type": "registered"}
    features = _features(query)
    assert {INFO, "vcard-temp"} <= set(features)
    assert "urn:xmpp:ping" not in features  # a feature of the host


@pytest.mark.asyncio
async def test_own_items_are_the_available_resources(house: World) -> None:
    alice = await house.login("alice/desk", "<presence/>")
    await house.login("alice/phone", "<presence><priority>-1</priority></presence>")
    await house.login("alice/silent")
    query = await _ask(house, alice, ITEMS, None)
    assert [item.attrs for item in query] == [
        {"jid": "alice@example.com/desk"},
        {"jid": "alice@example.com/phone"},
    ]


@pytest.mark.asyncio
async def test_subscribers_see_an_account_and_its_resources(house: World) -> None:
    await _subscribe(house, "bob", "alice")
    await house.login("bob/home", "<presence/>")
    alice = await house.login("alice/desk")
    query = await _ask(house, alice, INFO, "bob@example.com")
    (identity,) = query.find_all(INFO, "identity")
    assert identity.attrs == {"category": "account", "type": "registered"}
    query = await _ask(house, alice, ITEMS, "bob@example.com")
    assert [item.attrs for item in query] == [{"jid": "bob@example.com/home"}]
    # The other direction was not granted.
    bob = await house.login("bob/work")
    refused = await _ask(house, bob, INFO, "alice@example.com")
    assert _condition(refused) == "cancel service-unavailable"


@pytest.mark.asyncio
@pytest.mark.parametrize("node", [None, "nowhere"])
async def test_strangers_cannot_tell_accounts_from_names(house: World, node: str | None) -> None:
    await house.login("bob/home", "<presence/>")
    alice = await house.login("alice/desk")
    for to in ("bob@example.com", "nobody@example.com"):
        refused = await _ask(house, alice, INFO, to, node)
        assert _condition(refused) == "cancel service-unavailable"
        # XEP-0030 §8: an empty result, and not an error.
        query = await _ask(house, alice, ITEMS, to, node)
        assert query == Element(ITEMS, "query", {"node": node})


@pytest.mark.asyncio
async def test_without_presence_everybody_is_a_stranger(world: World) -> None:
    world.load("disco", disco.load(world.host, disco.Options()))
    alice = await world.login("alice/desk")
    refused = await _ask(world, alice, INFO, "bob@example.com")
    assert _condition(refused) == "cancel service-unavailable"
    own = await _ask(world, alice, INFO, "alice@example.com")
    assert own.name == "query"
