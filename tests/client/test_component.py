"""A component's own end, against this server and against Prosody, over lines that break."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from jabberd.client.component import ClientBounds, LinkLost
from jabberd.embed import Server
from jabberd.xmpp import ns
from jabberd.xmpp.element import Element
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Iq, Message, Presence, Stanza
from tests.client.line import SECRET, Actor, acting, text, until
from tests.client.prosody import Prosody
from tests.integration.wire import CLIENT, Wire

COMPONENTS = {
    "listen": {"component": ["127.0.0.1:0"]},
    "component": {f"{name}.localhost": {"secret": SECRET} for name in "ab"},
}


@asynccontextmanager
async def pair(port: int) -> AsyncIterator[tuple[Actor, Actor]]:
    """Two components of one server, which are up."""
    async with acting("a.localhost", port) as a, acting("b.localhost", port) as b:
        await until(lambda: bool(a.ups and b.ups))
        yield a, b


@pytest.mark.asyncio
async def test_a_user_and_a_component() -> None:
    async with Server(config=COMPONENTS) as server:
        await server.add_user("alice", "alice")
        async with acting("a.localhost", server.component_port) as a:
            await until(lambda: a.client.connected)
            async with await Wire.connect(server.host, server.port) as alice:
                await alice.login("alice@localhost", "alice", "desk")
                await alice.send("<presence/>")
                await alice.next()
                hello = "<message to='x@a.localhost' type='chat' id='1'><body>hello</body>"
                await alice.send(f"{hello}</message>")
                await until(lambda: a.bodies == ["hello"])
                await a.client.send(text("hi", "alice@localhost", "x@a.localhost"))
                answer = await alice.next()
                assert answer.findtext(f"{CLIENT}body") == "hi"
                ping = Iq.build([Element(ns.PING, "ping")], type="get", to=JID.parse("localhost"))
                assert (await a.client.ask(ping)).type == "result"
                nobody = Iq.build(
                    [Element("urn:no", "no")], type="get", to=JID.parse("nobody@localhost")
                )
                with pytest.raises(StanzaError) as refused:
                    await a.client.ask(nobody)
                assert refused.value.condition is Condition.SERVICE_UNAVAILABLE


@pytest.mark.asyncio
async def test_nothing_is_lost_and_nothing_comes_twice() -> None:
    count = 300
    async with Server(config=COMPONENTS) as server, pair(server.component_port) as (a, b):

        async def talk(one: Actor, other: str) -> None:
            by = str(one.client.domain)
            for number in range(count):
                sender = f"s{number % 3}@{by}"
                await one.client.send(text(str(number), f"x@{other}", sender))

        talks = asyncio.gather(talk(a, "b.localhost"), talk(b, "a.localhost"))
        for cuts in itertools.count(1):
            seen = len(a.inbox) + len(b.inbox)
            await until(lambda seen=seen: len(a.inbox) + len(b.inbox) > seen + 40 or talks.done())  # type: ignore[misc]
            if talks.done():
                break
            (a, b)[cuts % 2].line.cut()
        await talks
        assert cuts > 5
        await until(lambda: len(a.inbox) >= count and len(b.inbox) >= count)
        for one in (a, b):
            assert Counter(one.bodies) == Counter(map(str, range(count)))
            for sender in range(3):
                of = [int(body or "") for body in one.bodies if int(body or "") % 3 == sender]
                assert of == sorted(of)
        assert a.ups + b.ups > 5


@pytest.mark.asyncio
async def test_an_acknowledgement_that_got_lost() -> None:
    async with Server(config=COMPONENTS) as server, pair(server.component_port) as (a, b):
        a.line.deaf = True
        sending = asyncio.create_task(
            a.client.send(text("once", "x@b.localhost", "y@a.localhost", "same"))
        )
        await until(lambda: b.bodies == ["once"])
        assert not sending.done()
        a.line.cut()
        a.line.deaf = False
        await sending
        assert a.ups == 2
        await a.client.send(text("then", "x@b.localhost", "y@a.localhost"))
        await until(lambda: len(b.bodies) > 1)
        assert b.bodies == ["once", "then"]


@pytest.mark.asyncio
async def test_what_was_not_received_is_not_acknowledged() -> None:
    gate, got = asyncio.Event(), list[Stanza]()

    async def receive(stanza: Stanza) -> None:
        got.append(stanza)
        await gate.wait()

    async with Server(config=COMPONENTS) as server, AsyncExitStack() as stack:
        port = server.component_port
        a = await stack.enter_async_context(acting("a.localhost", port))
        async with acting("b.localhost", port, receive=receive) as b:
            await until(lambda: bool(a.ups and b.ups))
            await a.client.send(text("1", "x@b.localhost", "y@a.localhost"))
            await until(lambda: len(got) == 1)
        # The program ended in the middle of it: another one takes it over.
        b = await stack.enter_async_context(acting("b.localhost", port))
        await until(lambda: b.bodies == ["1"])


@pytest.mark.asyncio
async def test_messages_wait_for_a_component_and_survive_the_server(tmp_path: Path) -> None:
    async with Server(config=COMPONENTS, storage="sqlite:", data=tmp_path) as server:
        port = server.component_port
        async with acting("a.localhost", port) as a:
            async with acting("b.localhost", port) as b:
                await until(lambda: bool(a.ups and b.ups))
            route = server.running.assembly.components.routes["b.localhost"]
            await until(lambda: route.connection is None)
            await a.client.send(text("waits", "x@b.localhost", "y@a.localhost"))
            a.client.post(Presence(from_=a.client.domain, to=JID.parse("b.localhost")))
            ping = Iq.build([Element(ns.PING, "ping")], type="get", to=JID.parse("b.localhost"))
            with pytest.raises(StanzaError) as away:
                await a.client.ask(ping)
            assert away.value.condition is Condition.REMOTE_SERVER_TIMEOUT
            assert a.inbox == []
    async with (
        Server(config=COMPONENTS, storage="sqlite:", data=tmp_path) as server,
        acting("b.localhost", server.component_port) as b,
    ):
        await until(lambda: b.bodies == ["waits"])
        assert len(b.inbox) == 1


@pytest.mark.asyncio
async def test_what_waits_too_long_comes_back() -> None:
    async with Server(config=COMPONENTS) as server, pair(server.component_port) as (a, b):
        route = server.running.assembly.components.routes["b.localhost"]
        route.wait(0.0)
        b.line.deaf = True
        b.line.port = 0
        b.line.cut()
        await until(lambda: bool(b.downs))
        await b.line.stop()
        await until(lambda: route.connection is None)
        await a.client.send(text("late", "x@b.localhost", "y@a.localhost", "l"))
        await until(lambda: route.outbox.waiting == 1)
        route.sweep()
        await until(lambda: len(a.inbox) == 1)
        assert (a.inbox[0].id, a.inbox[0].type) == ("l", "error")
        assert b"remote-server-timeout" in a.inbox[0].inner


@pytest.mark.asyncio
async def test_a_wrong_secret_is_told_and_not_logged() -> None:
    with capture_logs() as logs:
        async with Server(config=COMPONENTS) as server:
            async with acting("a.localhost", server.component_port, secret="other-secret") as a:
                await until(lambda: any("secret" in log.get("why", "") for log in logs))
                assert not a.client.connected
                a.client.post(text("x", "x@b.localhost", "y@a.localhost"))  # dropped
                with pytest.raises(StanzaError):
                    await a.client.ask(Iq.build(type="get", to=JID.parse("localhost")))
            async with acting("c.localhost", server.component_port):
                await until(lambda: any("no such component" in log.get("why", "") for log in logs))
    assert "other-secret" not in repr(logs)


@pytest.mark.asyncio
async def test_a_slow_user_delays_nobody_and_fills_nothing() -> None:
    gate, got = asyncio.Event(), list[str | None]()

    async def receive(stanza: Stanza) -> None:
        assert isinstance(stanza, Message)
        if stanza.from_ is not None and stanza.from_.local == "slow":
            await gate.wait()
        got.append(stanza.body())

    bounds = ClientBounds(first_retry=0.01, per_sender=2)
    async with Server(config=COMPONENTS) as server, AsyncExitStack() as stack:
        port = server.component_port
        a = await stack.enter_async_context(acting("a.localhost", port))
        b = await stack.enter_async_context(
            acting("b.localhost", port, receive=receive, bounds=bounds)
        )
        await until(lambda: bool(a.ups and b.ups))
        for number in range(3):
            await a.client.send(text(f"slow {number}", "x@b.localhost", "slow@a.localhost"))
        await a.client.send(text("quick", "x@b.localhost", "quick@a.localhost"))
        await until(lambda: got == ["quick"])
        await until(lambda: len(a.inbox) == 1)
        assert b"resource-constraint" in a.inbox[0].inner
        gate.set()
        await until(lambda: got == ["quick", "slow 0", "slow 1"])


@pytest.mark.asyncio
async def test_errors_of_whoever_receives_are_told_to_the_sender() -> None:
    def receive(stanza: Stanza) -> None:
        if stanza.id == "no":
            raise StanzaError(Condition.NOT_ALLOWED, "no")
        raise ZeroDivisionError

    with capture_logs() as logs:
        async with Server(config=COMPONENTS) as server, AsyncExitStack() as stack:
            port = server.component_port
            a = await stack.enter_async_context(acting("a.localhost", port))
            b = await stack.enter_async_context(acting("b.localhost", port, receive=receive))
            await until(lambda: bool(a.ups and b.ups))
            for ident in ("no", "bug"):
                await a.client.send(text("x", "x@b.localhost", "y@a.localhost", ident))
            await until(lambda: len(a.inbox) == 2)
    assert [stanza.id for stanza in a.inbox] == ["no", "bug"]
    assert b"not-allowed" in a.inbox[0].inner
    assert b"internal-server-error" in a.inbox[1].inner
    assert [log["event"] for log in logs if log["log_level"] == "error"] == ["a stanza failed"]


@pytest.mark.asyncio
async def test_a_server_that_falls_silent_is_noticed() -> None:
    bounds = ClientBounds(first_retry=0.01, patience=0.3)
    async with (
        Server(config=COMPONENTS) as server,
        acting("a.localhost", server.component_port, bounds=bounds) as a,
    ):
        await until(lambda: a.ups >= 1)
        a.line.deaf = True
        await until(lambda: "the server is silent" in a.downs)
        before = a.ups
        a.line.deaf = False
        await until(lambda: a.ups > before)


@pytest.mark.asyncio
async def test_prosody_which_has_no_stream_management_for_components(tmp_path: Path) -> None:
    if why := Prosody.missing():
        pytest.skip(why)
    with Prosody(tmp_path, ("a.localhost", "b.localhost"), SECRET) as prosody:
        async with pair(prosody.port) as (a, b):
            await asyncio.gather(
                *(
                    a.client.send(text(str(number), "x@b.localhost", "y@a.localhost"))
                    for number in range(50)
                )
            )
            await until(lambda: b.bodies == [str(number) for number in range(50)])
            a.line.deaf = True
            sending = asyncio.create_task(
                a.client.send(text("unsure", "x@b.localhost", "y@a.localhost"))
            )
            await until(lambda: b.bodies[-1] == "unsure")
            assert not sending.done()
            a.line.cut()
            a.line.deaf = False
            with pytest.raises(LinkLost) as lost:
                await sending
            assert lost.value.sent
            await a.client.send(text("again", "x@b.localhost", "y@a.localhost"))
            await until(lambda: b.bodies[-1] == "again")
            assert len(b.bodies) == 52
        with capture_logs() as logs:
            async with acting("a.localhost", prosody.port, secret="other"):
                await until(lambda: any("secret" in log.get("why", "") for log in logs))


@pytest.mark.asyncio
async def test_what_was_never_sent_is_said_so() -> None:
    async with Server(config=COMPONENTS) as server:
        bounds = ClientBounds(send_seconds=0.05)
        port = server.component_port
        async with acting("a.localhost", port, secret="wrong", bounds=bounds) as a:
            with pytest.raises(LinkLost) as lost:
                await a.client.send(text("x", "x@b.localhost", "y@a.localhost"))
            assert not lost.value.sent
