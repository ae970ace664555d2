"""XEP-0199: the examples that a server answers."""

from __future__ import annotations

import pytest

from jabberd.modules import ping
from tests.modules.host import World


@pytest.mark.asyncio
@pytest.mark.parametrize("to", ["example.com", "alice@example.com", ""])
async def test_pong(world: World, to: str) -> None:
    world.load("ping", ping.load(world.host, ping.Options()))
    alice = await world.login("alice/desk")
    address = f" to='{to}'" if to else ""
    await world.says(alice, f"<iq type='get' id='c2s1'{address}><ping xmlns='urn:xmpp:ping'/></iq>")
    sender = f" from='{to}'" if to else ""
    assert alice.take() == [f"<iq{sender} to='alice@example.com/desk' type='result' id='c2s1'/>"]


@pytest.mark.asyncio
async def test_server_to_server(world: World) -> None:
    world.load("ping", ping.load(world.host, ping.Options()))
    montague = world.domain("montague.example")
    await world.arrives(
        "<iq from='montague.example' to='example.com' type='get' id='s2s1'>"
        "<ping xmlns='urn:xmpp:ping'/></iq>"
    )
    assert montague.take() == [
        "<iq from='example.com' to='montague.example' type='result' id='s2s1'/>"
    ]


@pytest.mark.asyncio
async def test_other_accounts_do_not_show_whether_they_exist(world: World) -> None:
    world.load("ping", ping.load(world.host, ping.Options()))
    alice = await world.login("alice/desk")
    answers = []
    for name in ("bob", "nobody"):
        await world.says(
            alice,
            f"<iq type='get' id='1' to='{name}@example.com'><ping xmlns='urn:xmpp:ping'/></iq>",
        )
        answers += [text.replace(name, "X") for text in alice.take()]
    assert answers[0] == answers[1]
    assert "type='error'" in answers[0]


@pytest.mark.asyncio
async def test_a_set_is_not_a_ping(world: World) -> None:
    world.load("ping", ping.load(world.host, ping.Options()))
    alice = await world.login("alice/desk")
    await world.says(
        alice, "<iq type='set' id='1' to='example.com'><ping xmlns='urn:xmpp:ping'/></iq>"
    )
    (text,) = alice.take()
    assert "type='error'" in text


@pytest.mark.asyncio
async def test_feature(world: World) -> None:
    assert ping.load(world.host, ping.Options()).features == ["urn:xmpp:ping"]
