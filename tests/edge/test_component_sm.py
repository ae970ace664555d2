"""Stream management on a component's stream, as the accepting side has it (XEP-0198)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from jabberd.core.verdict import Bounced, Dropped, Relayed
from jabberd.edge import component_route
from jabberd.storage.log_api import Relay
from tests.edge.test_component import (
    SMS,
    Inn,
    Peer,
    Slow,
    message,
    numbered,
    opened,
    received,
    sms,
    until,
)
from tests.modules.host import RecordingSession

ENABLE = "<enable xmlns='urn:xmpp:sm:3'/>"
ENABLED = "<enabled xmlns='urn:xmpp:sm:3'/>"
R = "<r xmlns='urn:xmpp:sm:3'/>"


def a(h: int) -> str:
    """An acknowledgement."""
    return f"<a xmlns='urn:xmpp:sm:3' h='{h}'/>"


async def managed(inn: Inn) -> Peer:
    """A component with stream management."""
    peer = await (await inn.peer()).enter()
    await inn.happens(f"up {SMS}")
    peer.say(ENABLE)
    assert await peer.hear(">") == ENABLED
    return peer


async def breaks(inn: Inn, peer: Peer) -> None:
    """The connection of a component breaks."""
    peer.writer.transport.abort()
    await inn.happens(f"down {SMS}")


async def queued(inn: Inn) -> int:
    """How many stanzas are in the durable queue."""
    turns = inn.world.ledger.turns
    turns.tidy()
    await turns.settled()
    return len(await inn.world.ledger.log.relays())


@asynccontextmanager
async def inn_with_alice() -> AsyncIterator[tuple[Inn, RecordingSession]]:
    """An inn, and a client of its host."""
    async with opened() as inn:
        yield inn, await inn.alice()
        await inn.door.close()


@pytest.mark.asyncio
async def test_what_is_counted() -> None:
    async with inn_with_alice() as (inn, alice):
        peer = await inn.peer()
        await peer.login()
        peer.say(sms("before") + ENABLE + R)
        assert await peer.hear(a(0)) == f"<handshake/>{ENABLED}{a(0)}"
        peer.say(sms("1") + R)
        assert await peer.hear(">") == a(1)
        await received(alice, 2)
        peer.say(ENABLE)
        assert "<unexpected-request " in await peer.hear("</failed>")
        peer.say("<resume xmlns='urn:xmpp:sm:3' previd='x' h='1'/>")
        assert "<item-not-found " in await peer.hear("</failed>")


@pytest.mark.asyncio
@pytest.mark.parametrize("text", [a(1), "<a xmlns='urn:xmpp:sm:3'/>", "<b xmlns='urn:xmpp:sm:3'/>"])
async def test_nonsense_ends_the_stream(text: str) -> None:
    async with inn_with_alice() as (inn, _):
        peer = await managed(inn)
        peer.say(text)
        assert "<stream:error>" in await peer.rest()


@pytest.mark.asyncio
async def test_a_stanza_is_acknowledged_when_it_has_its_verdict() -> None:
    async with inn_with_alice() as (inn, _):
        slow = Slow()
        inn.world.router.add("slow.example", slow)
        peer = await managed(inn)
        peer.say(numbered("1", "a", "quick") + numbered("2", "b", "slow") + R)
        assert await peer.hear(">") == a(1)
        slow.gate.set()
        assert await peer.hear(">") == a(2)


@pytest.mark.asyncio
async def test_a_message_stays_in_the_queue_until_it_is_acknowledged() -> None:
    async with inn_with_alice() as (inn, alice):
        peer = await managed(inn)
        assert await inn.says(alice, message("1")) == Relayed(f"component {SMS}")
        assert "<body>1</body>" in await peer.hear("</message>")
        assert await peer.hear(">") == R
        assert await queued(inn) == 1
        await breaks(inn, peer)
        peer = await managed(inn)
        assert "<body>1</body>" in await peer.hear("</message>")
        assert await peer.hear(">") == R
        peer.say(a(1))
        await inn.says(alice, message("2"))
        assert "<body>2</body>" in await peer.hear("</message>")
        peer.say(a(2))
        peer.say(R)
        await peer.hear(a(0))
        assert await queued(inn) == 0


@pytest.mark.asyncio
async def test_what_waits_for_a_component_that_is_away() -> None:
    async with inn_with_alice() as (inn, alice):
        await breaks(inn, await managed(inn))
        iq = f"<iq xmlns='jabber:client' type='get' id='q' to='{SMS}'><q xmlns='urn:q'/></iq>"
        assert isinstance(await inn.says(alice, iq), Bounced)
        presence = f"<presence xmlns='jabber:client' to='{SMS}'/>"
        assert isinstance(await inn.says(alice, presence), Dropped)
        assert isinstance(await inn.says(alice, message("1")), Relayed)
        assert ["remote-server-timeout" in each for each in alice.take()] == [True]
        peer = await managed(inn)
        assert (await peer.hear("</message>")).startswith("<message ")


@pytest.mark.asyncio
async def test_a_message_that_waited_too_long_comes_back() -> None:
    async with inn_with_alice() as (inn, alice):
        await breaks(inn, await managed(inn))
        route = inn.door.routes[SMS]
        route.wait(0.0)
        await inn.says(alice, message("late"))
        await inn.world.ledger.turns.settled()
        route.sweep()
        (error,) = await received(alice)
        assert "<remote-server-timeout " in error
        assert await queued(inn) == 0


@pytest.mark.asyncio
async def test_a_component_that_comes_back_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(component_route, "_GRACE_SECONDS", 0.05)
    async with inn_with_alice() as (inn, alice):
        await breaks(inn, await managed(inn))
        await inn.says(alice, message("1"))
        peer = await (await inn.peer()).enter()
        assert "<body>1</body>" in await peer.hear("</message>")
        await inn.says(alice, message("2"))
        assert "<body>2</body>" in await peer.hear("</message>")
        await inn.happens(f"up {SMS}")
        await breaks(inn, peer)
        assert await queued(inn) == 0
        assert isinstance(await inn.says(alice, message("3")), Bounced)


@pytest.mark.asyncio
async def test_what_a_component_sends_again_is_recognised() -> None:
    async with inn_with_alice() as (inn, alice):
        again = sms("once").replace("<message ", "<message id='o' ")
        peer = await managed(inn)
        peer.say(again + again)  # on one stream, that is what it wants
        assert len(await received(alice, 2)) == 2
        await breaks(inn, peer)
        peer = await managed(inn)
        peer.say(again + sms("more") + R)
        await peer.hear(a(2))
        assert ["more" in each for each in await received(alice)] == [True]


@pytest.mark.asyncio
async def test_what_a_former_process_left() -> None:
    async with inn_with_alice() as (inn, alice):
        now = inn.door.clock.now()
        head = "<message xmlns='jabber:client' from='alice@example.com/desk' type='chat'"

        def relay(key: int, domain: str, local: str = "") -> Relay:
            stanza = f"{head} to='{domain}'><body>{key}</body></message>".encode()
            return Relay(key, local or domain, domain, now + 100, stanza)

        other = relay(1, "far.example", "example.com")
        broken = Relay(2, SMS, SMS, now + 100, b"<")
        found = inn.door.restore([other, broken, relay(3, SMS), relay(4, "gone.example.com")])
        assert found == [other]
        assert "<remote-server-not-found " in (await received(alice))[0]
        peer = await managed(inn)
        assert "<body>3</body>" in await peer.hear("</message>")


@pytest.mark.asyncio
async def test_a_component_that_is_configured_no_more() -> None:
    async with inn_with_alice() as (inn, alice):
        await breaks(inn, await managed(inn))
        await inn.says(alice, message("1"))
        await inn.world.ledger.turns.settled()
        inn.door.serve({})
        assert "<remote-server-not-found " in (await received(alice))[0]


@pytest.mark.asyncio
async def test_one_that_does_not_read_has_what_comes_wait() -> None:
    async with inn_with_alice() as (inn, alice):
        peer = await managed(inn)
        route = inn.door.routes[SMS]
        text = message("x" * 10_000)
        while not route.outbox.waiting:  # more than the buffers of the sockets take
            assert isinstance(await inn.says(alice, text), Relayed)
            await asyncio.sleep(0)
        assert route.connection is not None
        await inn.says(alice, message("the last"))
        said = b""
        async with asyncio.timeout(10):
            while b"<body>the last</body>" not in said:
                said = said[-100:] + await peer.reader.read(65_536)
        await until(lambda: not route.outbox.waiting)


@pytest.mark.asyncio
async def test_another_process_knows_that_it_had_stream_management(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(component_route, "_GRACE_SECONDS", 0.01)
    async with inn_with_alice() as (inn, alice):
        route = inn.door.routes[SMS]
        await breaks(inn, await managed(inn))
        await inn.door.close()
        route.managed = False
        await inn.door.recall()
        assert isinstance(await inn.says(alice, message("1")), Relayed)
        peer = await (await inn.peer()).enter()
        assert "<body>1</body>" in await peer.hear("</message>")
        await inn.door.close()
        await inn.door.recall()
        assert not route.managed
