"""Requests of the server's own, and who may answer them (RFC 6120 §8.2.3)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from jabberd.core.eager import settle
from jabberd.xmpp.element import Element
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Iq, read_stanza
from tests.modules.host import Domain, World

pytestmark = pytest.mark.asyncio

PUSH = JID.parse("push-5.client.example")
ALICE, BOB = JID.parse("alice@example.com"), JID.parse("bob@example.com")


class Question:
    """A request that is under way."""

    def __init__(self, world: World, service: Domain, account: JID | None, wait: float) -> None:
        self._world = world
        iq = Iq.build([Element("urn:x", "q")], to=PUSH, type="set")
        self.answer = asyncio.ensure_future(world.host.ask(iq, wait, account=account))
        self._service = service

    async def asked(self) -> Iq:
        """What the service was asked."""
        await asyncio.sleep(0)
        (iq,) = self._service.inbox
        assert isinstance(iq, Iq)
        return iq

    async def answered(self, xml: str) -> bool:
        """Whether this ends the waiting."""
        await settle(self._world.host.route(read_stanza(xml.encode())))
        await asyncio.sleep(0)
        return self.answer.done()


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    await world.account("alice", "bob")
    yield world
    await world.host.close()


@pytest.mark.parametrize("account", [None, ALICE])
async def test_who_asks_and_who_answers(world: World, account: JID | None) -> None:
    question = Question(world, world.domain(PUSH.text), account, 30.0)
    iq = await question.asked()
    asker = "example.com" if account is None else "alice@example.com"
    assert (str(iq.from_), iq.to, iq.type) == (asker, PUSH, "set")
    result = f"<iq from='{PUSH}' to='{asker}' type='result' id='{iq.id}'><r xmlns='urn:x'/></iq>"
    others = {"example.com", "alice@example.com", "bob@example.com", "alice@example.com/x"}
    for forged in (
        result.replace(f"from='{PUSH}'", "from='push-5.client.example/x'"),
        result.replace(f"from='{PUSH}'", "from='evil.example'"),
        result.replace(f"id='{iq.id}'", "id='guess'"),
        *(result.replace(f"to='{asker}'", f"to='{other}'") for other in others - {asker}),
    ):
        assert not await question.answered(forged)
    assert await question.answered(result)
    assert (await question.answer).has("urn:x", "r")
    # Once is enough.
    await question.answered(result)


async def test_an_error_is_an_answer(world: World) -> None:
    question = Question(world, world.domain(PUSH.text), ALICE, 30.0)
    iq = await question.asked()
    assert await question.answered(
        f"<iq from='{PUSH}' to='{ALICE}' type='error' id='{iq.id}'><error type='cancel'>"
        "<item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
    )
    with pytest.raises(StanzaError) as caught:
        await question.answer
    assert caught.value.condition is Condition.ITEM_NOT_FOUND


async def test_nobody_there(world: World) -> None:
    iq = Iq.build([Element("urn:x", "q")], to=PUSH, type="set")
    with pytest.raises(StanzaError) as caught:
        await world.host.ask(iq, account=ALICE)
    assert caught.value.condition is Condition.REMOTE_SERVER_NOT_FOUND


async def test_no_answer(world: World) -> None:
    question = Question(world, world.domain(PUSH.text), ALICE, 0.0)
    with pytest.raises(StanzaError) as caught:
        await question.answer
    assert caught.value.condition is Condition.REMOTE_SERVER_TIMEOUT


async def test_a_client_that_is_asked_answers_for_itself(world: World) -> None:
    bob = await world.login("bob/desk", None)
    mallory = await world.login("alice/desk", None)
    iq = Iq.build([Element("urn:x", "q")], to=bob.jid, type="get")
    answer = asyncio.ensure_future(world.host.ask(iq, account=BOB))
    await asyncio.sleep(0)
    (asked,) = bob.take_all(Iq)
    reply = f"<iq to='{BOB}' type='result' id='{asked.id}'/>"
    for session in (mallory, bob):
        assert not answer.done()
        stanza = read_stanza(reply.encode()).replace(from_=session.jid)
        await settle(world.router.submit(stanza, session))
        await asyncio.sleep(0)
    assert (await answer).from_ == bob.jid
