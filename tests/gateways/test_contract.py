"""What every network must do; runs over all of them, each with a real far end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from jabberd.gateways.events import Arrived, Event, Online, Text
from jabberd.gateways.transport import (
    BadAddress,
    Capability,
    LoginRefused,
    NotDone,
    Transport,
)
from jabberd.xmpp.escaping import escape, unescape
from jabberd.xmpp.jid import JID
from tests.gateways.labs import LABS, USER, Lab

pytestmark = pytest.mark.asyncio
WAIT = 30.0
_VERBS = {
    Capability.TYPING: "send_typing",
    Capability.READ: "send_read",
    Capability.REACTIONS: "send_reactions",
    Capability.RETRACTIONS: "retract",
    Capability.PRESENCE: "set_presence",
    Capability.CONTACTS: "contacts",
}


@pytest_asyncio.fixture(params=sorted(LABS))
async def lab(request: pytest.FixtureRequest) -> AsyncIterator[Lab]:
    async with LABS[request.param](request) as made:
        yield made


@contextlib.asynccontextmanager
async def logged_in(lab: Lab) -> AsyncIterator[Transport]:
    """The user's transport, once it is online; and what it does when it is cancelled."""
    transport = lab.network.transport(USER, lab.login, lab.site)
    online = asyncio.Event()

    async def emit(event: Event) -> None:
        if isinstance(event, Online):
            online.set()
        else:
            await lab.site.emit(USER, event)

    running = asyncio.create_task(transport.run(emit))
    try:
        async with asyncio.timeout(WAIT):
            await online.wait()
        yield transport
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        await transport.close()


async def test_it_says_what_it_is(lab: Lab) -> None:
    network = lab.network
    assert network.title
    assert network.identity.isalnum()
    assert network.identity.islower()
    assert network.policy
    assert network.prompt
    assert network.transmission in {"plain", "encrypted"}
    names = [field.var for field in network.form.fields]
    assert len(names) == len(set(names))
    secret = any(field.kind == "text-private" for field in network.form.fields)
    assert network.stores_credentials or not secret
    assert network.canonical(network.example)


async def test_it_does_what_it_says(lab: Lab) -> None:
    transport = lab.network.transport(USER, lab.login, lab.site)
    for capability, verb in _VERBS.items():
        if lab.network.capabilities & capability:
            assert getattr(type(transport), verb) is not getattr(Transport, verb), verb
    await transport.close()


async def test_addresses_have_one_spelling(lab: Lab) -> None:
    network = lab.network
    assert network.canonical(lab.peer) == lab.peer
    for text in lab.spellings:
        assert network.canonical(text) == lab.peer
    jid = JID.parse(f"{escape(lab.peer)}@gateway.example")
    assert unescape(jid.local).lower() == lab.peer.lower()
    for text in lab.nobody:
        with pytest.raises(BadAddress) as refused:
            network.canonical(text)
        assert str(refused.value), "it has to say why"


async def test_texts_go_there_and_come_back_in_order(lab: Lab) -> None:
    async with logged_in(lab) as transport:
        names = []
        for number in range(3):
            text = Text(f"contract-{number}", f"there {number}", at=lab.site.now())
            names.append(await transport.send_text(lab.peer, text))
        assert len(set(names)) == 3
        assert sorted([await lab.heard() for _ in range(3)]) == [f"there {n}" for n in range(3)]
        for number in range(3):
            await lab.say(f"back {number}")
            event = await lab.site.next(USER, Arrived)
            assert (event.contact, event.body) == (lab.peer, f"back {number}")


async def test_a_repeated_text_is_the_same_message(lab: Lab) -> None:
    if not lab.network.capabilities & Capability.REPEATABLE:
        return  # it is never repeated
    async with logged_in(lab) as transport:
        text = Text("contract-again", "once", at=lab.site.now())
        first = await transport.send_text(lab.peer, text)
        assert await transport.send_text(lab.peer, text) == first
        assert await lab.heard() == "once"


async def test_who_is_not_let_in_is_told(lab: Lab) -> None:
    if lab.wrong is None:
        return  # this network asks for no credentials

    async def emit(event: Event) -> None:
        raise AssertionError(event)

    transport = lab.network.transport(USER, lab.wrong, lab.site)
    with pytest.raises(LoginRefused) as refused:
        async with asyncio.timeout(WAIT):
            await transport.run(emit)
    await transport.close()
    assert str(refused.value)
    assert "wrong" not in str(refused.value).replace("wrong password", "")


async def test_what_a_network_does_not_have_is_refused(lab: Lab) -> None:
    async with logged_in(lab) as transport:
        if not lab.network.capabilities & Capability.REACTIONS:
            with pytest.raises(NotDone):
                await transport.send_reactions(lab.peer, "some message", ["👍"])
        if not lab.network.capabilities & Capability.RETRACTIONS:
            with pytest.raises(NotDone):
                await transport.retract(lab.peer, "some message")


async def test_no_secret_is_shown(lab: Lab) -> None:
    shown = repr(lab.login) + repr(lab.network.transport(USER, lab.login, lab.site))
    for name, value in lab.login.data.items():
        if "password" in name:
            assert value not in shown
