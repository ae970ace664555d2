"""XEP-0198 over real sockets, byte by byte."""

from __future__ import annotations

from collections.abc import AsyncIterator
from xml.etree.ElementTree import Element, tostring

import pytest
import pytest_asyncio

import jabberd
from tests.integration.managed import ENABLE, SM, Client, body
from tests.integration.wire import CLIENT, STANZA_ERRORS, stream_error

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture(params=["memory", "sqlite:"])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[jabberd.Server]:
    async with jabberd.Server("example.com", storage=request.param) as server:
        for name in ("alice", "bob"):
            await server.add_user(name, name)
        yield server


async def connect(server: jabberd.Server) -> Client:
    return await Client.connect(server.host, server.port)


async def test_a_client_that_comes_back_gets_what_it_missed_once(server: jabberd.Server) -> None:
    async with await connect(server) as alice, await connect(server) as bob:
        await alice.arrive("alice", "desk")
        await bob.arrive("bob", "phone")
        await alice.write("bob@example.com", "one")
        assert body(await bob.stanza()) == "one"
        await bob.acknowledge()
        await alice.write("bob@example.com", "two")
        assert await alice.count() == 3
        # "two" is written to bob's first connection, and nobody ever says that it arrived.
        await bob.cut()
        await alice.write("bob@example.com", "three")
        assert await alice.count() == 4
        async with await connect(server) as again:
            resumed = await again.resume(bob)
            assert resumed.tag == f"{SM}resumed"
            assert (resumed.get("previd"), resumed.get("h")) == (bob.session, "1")
            assert body(await again.stanza()) == "two"
            assert body(await again.stanza()) == "three"
            await again.write("alice@example.com", "back")
            assert await again.count() == 2
            assert body(await alice.stanza()) == "back"


async def test_a_session_that_is_taken_over_ends_its_old_stream(server: jabberd.Server) -> None:
    async with await connect(server) as bob, await connect(server) as again:
        await bob.arrive("bob", "phone")
        resumed = await again.resume(bob)
        assert resumed.tag == f"{SM}resumed"
        while (found := await bob.next()).tag == f"{SM}r":
            pass
        assert stream_error(found) == "conflict"
        await bob.ended()
        await again.ping("example.com")


async def test_an_unknown_session_and_somebody_elses_are_not_found(server: jabberd.Server) -> None:
    async with await connect(server) as alice, await connect(server) as bob:
        await alice.arrive("alice", "desk")
        alice.account = "bob@example.com"  # bob knows alice's identifier
        failed = await bob.resume(alice)
        assert failed.tag == f"{SM}failed"
        assert failed.find(f"{STANZA_ERRORS}item-not-found") is not None
        assert failed.get("h") is None
        bound = await bob.ask(
            "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>"
        )
        assert bound.get("type") == "result"


async def test_who_acknowledges_too_much_is_told_so(server: jabberd.Server) -> None:
    async with await connect(server) as bob:
        await bob.arrive("bob", "phone")
        await bob.send("<a xmlns='urn:xmpp:sm:3' h='2'/>")
        while (found := await bob.next()).tag == f"{SM}r":
            pass
        assert stream_error_with(found) == ("undefined-condition", {"h": "2", "send-count": "1"})


def stream_error_with(element: Element) -> tuple[str, dict[str, str]]:
    app = element.find(f"{SM}handled-count-too-high")
    assert app is not None, tostring(element)
    element.remove(app)
    return stream_error(element), dict(app.attrib)


async def test_what_a_client_that_leaves_has_not_got_waits_for_it(server: jabberd.Server) -> None:
    async with await connect(server) as alice:
        await alice.arrive("alice", "desk")
        async with await connect(server) as bob:
            await bob.arrive("bob", "phone", resume=False)
            await alice.write("bob@example.com", "one")
            assert await alice.count() == 2
            assert body(await bob.stanza()) == "one"  # and it dies before it says so
        async with await connect(server) as bob:
            await bob.arrive("bob", "phone")
            late = await bob.stanza()
            assert body(late) == "one"
            assert late.find("{urn:xmpp:delay}delay") is not None


async def test_a_request_to_a_session_that_ends_is_returned(server: jabberd.Server) -> None:
    async with await connect(server) as alice, await connect(server) as bob:
        await alice.arrive("alice", "desk")
        await bob.arrive("bob", "phone", resume=False)
        # Bob shows himself to Alice, so that she may ask.
        await bob.send("<presence to='alice@example.com/desk'/>")
        assert (await alice.stanza()).tag == f"{CLIENT}presence"
        await alice.send(
            "<iq type='get' id='q' to='bob@example.com/phone'>"
            "<query xmlns='jabber:iq:version'/></iq>"
        )
        assert (await bob.stanza()).get("id") == "q"
        await bob.cut()
        while (answer := await alice.stanza()).tag != f"{CLIENT}iq":
            pass
        assert (answer.get("id"), answer.get("type")) == ("q", "error")


async def test_enabling_twice_ends_the_stream(server: jabberd.Server) -> None:
    async with await connect(server) as bob:
        await bob.arrive("bob", "phone")
        await bob.send(ENABLE)
        while (found := await bob.next()).tag == f"{SM}r":
            pass
        assert stream_error(found) == "policy-violation"


async def test_enabling_before_a_resource_is_refused(server: jabberd.Server) -> None:
    async with await connect(server) as bob:
        await bob.authenticate("bob@example.com")
        await bob.send(ENABLE)
        failed = await bob.next()
        assert failed.tag == f"{SM}failed"
        assert failed.find(f"{STANZA_ERRORS}unexpected-request") is not None


async def test_a_message_sent_again_after_a_failed_resumption_is_there_once(
    server: jabberd.Server,
) -> None:
    async with await connect(server) as alice, await connect(server) as bob:
        await bob.arrive("bob", "phone")
        await alice.arrive("alice", "desk", resume=False)
        await alice.write("bob@example.com", "one")
        assert body(await bob.stanza()) == "one"
        await alice.cut()  # and never learns that it arrived
        async with await connect(server) as again:
            await again.arrive("alice", "desk")
            await again.write("bob@example.com", "one")
            await again.write("bob@example.com", "two")
            assert await again.count() == 3
        assert body(await bob.stanza()) == "two"


async def test_what_is_sent_alike_on_purpose_arrives_twice(server: jabberd.Server) -> None:
    async with await connect(server) as bob:
        await bob.arrive("bob", "phone")
        for _ in range(2):  # a script that calls all of its messages the same
            async with await connect(server) as script:
                await script.arrive("alice", "script")
                await script.write("bob@example.com", "alarm")
                await script.close()
        assert [body(await bob.stanza()) for _ in range(2)] == ["alarm", "alarm"]
