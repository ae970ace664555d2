"""XEP-0115: the server's own capabilities."""

from __future__ import annotations

import pytest
import pytest_asyncio

from jabberd.core.module import Module
from jabberd.modules import caps, disco
from jabberd.xmpp.element import Element, parse
from jabberd.xmpp.payload import caps as payload
from jabberd.xmpp.payload import forms
from tests.modules.host import World

INFO = "http://jabber.org/protocol/disco#info"
NODE = "https://software.example"


@pytest_asyncio.fixture
async def house(world: World) -> World:
    world.load("caps", caps.load(world.host, caps.Options(node=NODE)))
    world.load("disco", disco.load(world.host, disco.Options()))
    form = forms.form([forms.Field("a", values=["1"])], kind="result", form_type="urn:x")
    world.load("late", Module(features=["urn:x"], forms=[form]))
    return world


def _feature(world: World) -> Element:
    (module,) = (module for name, module in world.host.loaded() if name == "caps")
    (feature,) = module.stream_features
    assert not isinstance(feature, Element)
    return feature()


async def _query(world: World, what: str, node: str = "") -> Element:
    alice = await world.login("alice/desk")
    attr = f" node='{node}'" if node else ""
    await world.says(
        alice,
        f"<iq type='get' id='1' to='example.com'>"
        f"<query xmlns='http://jabber.org/protocol/disco#{what}'{attr}/></iq>",
    )
    (text,) = alice.take()
    await world.leaves(alice)
    return next(iter(parse(text.encode())))


@pytest.mark.asyncio
async def test_the_stream_feature_reflects_every_module(house: World) -> None:
    feature = _feature(house)
    info = await _query(house, "info")
    names = [f.get("var") for f in info.find_all(INFO, "feature")]
    assert names == sorted(["http://jabber.org/protocol/caps", INFO, INFO[:-4] + "items", "urn:x"])
    assert feature.to_bytes().decode() == (
        "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1'"
        f" node='{NODE}' ver='{payload.verification_string(info)}'/>"
    )


@pytest.mark.asyncio
async def test_the_node_says_what_the_host_says(house: World) -> None:
    node = f"{NODE}#{_feature(house).get('ver')}"
    answer = await _query(house, "info", node)
    assert answer.get("node") == node
    assert list(answer) == list(await _query(house, "info"))


@pytest.mark.asyncio
async def test_the_node_is_a_phantom(house: World) -> None:
    node = f"{NODE}#{_feature(house).get('ver')}"
    items = "http://jabber.org/protocol/disco#items"
    assert await _query(house, "items") == Element(items, "query")
    assert await _query(house, "items", node) == Element(items, "query", {"node": node})


@pytest.mark.asyncio
async def test_other_versions_are_unknown(house: World) -> None:
    error = await _query(house, "info", f"{NODE}#AAAAAAAAAAAAAAAAAAAAAAAAAAA=")
    assert next(iter(error)).name == "item-not-found"
