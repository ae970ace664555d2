"""XEP-0357 with a real push service: slixmpp, connected as an external component (XEP-0114)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from xml.etree.ElementTree import Element

import pytest
import pytest_asyncio
import slixmpp
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath

import jabberd
from jabberd.edge.control_client import ControlClient
from tests.integration.wire import CLIENT, Wire

pytestmark = pytest.mark.asyncio

HOST, SERVICE, SECRET = "localhost", "push.localhost", "swordfish-43"
WAIT = 20.0
PUBSUB = "{http://jabber.org/protocol/pubsub}"
PUSH, DATA, SM = "{urn:xmpp:push:0}", "{jabber:x:data}", "{urn:xmpp:sm:3}"
CONFIG: dict[str, Any] = {
    "listen": {"component": ["127.0.0.1:0"]},
    "component": {SERVICE: {"secret": SECRET}},
    "host": {HOST: {"modules": {"push": {"seconds": 0.2}}}},
}
FORM = (
    "<x xmlns='jabber:x:data' type='submit'>"
    "<field var='FORM_TYPE'><value>http://jabber.org/protocol/pubsub#publish-options</value></field>"
    "<field var='secret'><value>{}</value></field></x>"
)


class AppServer:
    """A push service: it knows its nodes by their secrets, and notes what it is told."""

    def __init__(self, nodes: dict[str, str]) -> None:
        self._nodes = nodes
        self.rung: asyncio.Queue[tuple[str, str, int]] = asyncio.Queue()
        make: Any = slixmpp.ComponentXMPP  # not annotated
        self.component: Any = make(SERVICE, SECRET)
        matcher = MatchXPath(f"{{jabber:component:accept}}iq/{PUBSUB}pubsub")
        self.component.register_handler(Callback("publish", matcher, self._published))

    def _published(self, iq: Any) -> None:
        pubsub = iq.xml.find(f"{PUBSUB}pubsub")
        publish = pubsub.find(f"{PUBSUB}publish")
        node = publish.get("node", "")
        summary = publish.find(f"{PUBSUB}item/{PUSH}notification/{DATA}x")
        options = pubsub.find(f"{PUBSUB}publish-options/{DATA}x")
        count = int(_field(summary, "message-count"))
        self.rung.put_nowait((str(iq["from"]), node, count))
        reply = iq.reply()
        secret = _field(options, "secret") if options is not None else ""
        if node not in self._nodes:
            reply["type"] = "error"
            reply["error"]["type"] = "cancel"
            reply["error"]["condition"] = "item-not-found"
        elif self._nodes[node] != secret:
            reply["type"] = "error"
            reply["error"]["type"] = "auth"
            reply["error"]["condition"] = "forbidden"
        reply.send()

    async def next(self) -> tuple[str, str, int]:
        """Who tells which node of how many messages."""
        async with asyncio.timeout(WAIT):
            return await self.rung.get()


def _field(form: Element, var: str) -> str:
    for field in form.iter(f"{DATA}field"):
        if field.get("var") == var:
            return field.findtext(f"{DATA}value") or ""
    raise AssertionError(f"there is no field {var}")


@asynccontextmanager
async def app_server(server: jabberd.Server, nodes: dict[str, str]) -> AsyncIterator[AppServer]:
    """A push service that is connected."""
    service = AppServer(nodes)
    up = asyncio.Event()
    service.component.add_event_handler("session_start", lambda _: up.set())
    service.component.connect(server.host, server.component_port)
    async with asyncio.timeout(WAIT):
        await up.wait()
    try:
        yield service
    finally:
        await service.component.disconnect()


@pytest_asyncio.fixture
async def server() -> AsyncIterator[jabberd.Server]:
    async with jabberd.Server(HOST, config=CONFIG) as server:
        for name in ("alice", "bob"):
            await server.add_user(name, name)
        yield server


async def enter(server: jabberd.Server, name: str, resource: str) -> Wire:
    """A client that is logged in."""
    wire = await Wire.connect(server.host, server.port)
    await wire.login(f"{name}@{HOST}", name, resource)
    return wire


async def enable(wire: Wire, node: str, secret: str = "") -> None:
    """Ask to be notified."""
    form = FORM.format(secret) if secret else ""
    answer = await wire.ask(
        "<iq type='set' id='push'>"
        f"<enable xmlns='urn:xmpp:push:0' jid='{SERVICE}' node='{node}'>{form}</enable></iq>"
    )
    assert answer.get("type") == "result"


async def write(wire: Wire, text: str) -> None:
    """Send Alice a message."""
    await wire.send(f"<message to='alice@{HOST}' type='chat'><body>{text}</body></message>")


async def shown(server: jabberd.Server, **more: object) -> list[dict[str, Any]]:
    """What `jabberd user push` says."""
    client = ControlClient(server.running.config.data)
    arguments = {"account": f"alice@{HOST}", **more}
    answers = await asyncio.to_thread(lambda: list(client.ask(["user", "push"], arguments)))
    (table,) = [answer for answer in answers if answer["kind"] == "table"]
    return [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]


async def test_a_client_that_has_logged_out(server: jabberd.Server) -> None:
    async with app_server(server, {"phone-1": "s1"}) as service:
        phone = await enter(server, "alice", "phone")
        await enable(phone, "phone-1", "s1")
        assert (await phone.close()).clean
        async with await enter(server, "bob", "desk") as bob:
            await write(bob, "one")
            assert await service.next() == (f"alice@{HOST}", "phone-1", 1)
            # Together, once the pause is over.
            await write(bob, "two")
            assert await service.next() == (f"alice@{HOST}", "phone-1", 2)
        (row,) = await shown(server)
        assert (row["client"], row["service"], row["unread"]) == ("phone", SERVICE, 2)
        assert row["state"].startswith("on, last 20")


async def test_a_client_whose_connection_is_lost(server: jabberd.Server) -> None:
    """It is told of what it has not got, though another client of the account got it."""
    async with app_server(server, {"phone-1": "s1"}) as service:
        phone = await enter(server, "alice", "phone")
        await enable(phone, "phone-1", "s1")
        await phone.send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
        enabled = await phone.next()
        await phone.send("<presence/>")
        while (await phone.next()).tag != f"{CLIENT}presence":
            pass
        async with await enter(server, "alice", "desk") as desk:
            await desk.send("<presence/>")
            await desk.next()
            async with await enter(server, "bob", "desk") as bob:
                await phone.cut()
                await write(bob, "one")
                assert await service.next() == (f"alice@{HOST}", "phone-1", 1)
                while (found := await desk.next()).tag != f"{CLIENT}message":
                    pass
                assert found.findtext(f"{CLIENT}body") == "one"
        # It comes because of that, and finds the message.
        async with await Wire.connect(server.host, server.port) as again:
            await again.open(HOST)
            await again.features()
            await again.start_tls(HOST)
            await again.features()
            await again.plain("alice", "alice")
            await again.open(HOST)
            await again.features()
            await again.send(f"<resume xmlns='urn:xmpp:sm:3' previd='{enabled.get('id')}' h='1'/>")
            assert (await again.next()).tag == f"{SM}resumed"
            while (found := await again.next()).tag != f"{CLIENT}message":
                pass
            assert found.findtext(f"{CLIENT}body") == "one"
            (row,) = await shown(server)
            assert row["unread"] == 0


async def test_what_goes_wrong_can_be_seen(server: jabberd.Server) -> None:
    nodes: dict[str, str] = {}
    async with app_server(server, nodes) as service:
        phone = await enter(server, "alice", "phone")
        await enable(phone, "gone", "s1")
        await phone.close()
        async with await enter(server, "bob", "desk") as bob:
            await write(bob, "one")
            assert await service.next() == (f"alice@{HOST}", "gone", 1)
            (row,) = await shown(server, test=True)
            assert await service.next() == (f"alice@{HOST}", "gone", 1)
            assert row["state"].startswith("off since 20")
            assert row["state"].endswith(": item-not-found")
            # It is there again, but the secret is another.
            nodes["gone"] = "s2"
            (row,) = await shown(server, test=True)
            assert row["state"].endswith(": forbidden")
            nodes["gone"] = "s1"
            (row,) = await shown(server, test=True)
            assert row["state"].startswith("on, last 20")


async def test_a_service_that_is_not_there(server: jabberd.Server) -> None:
    phone = await enter(server, "alice", "phone")
    await enable(phone, "phone-1")
    await phone.close()
    (row,) = await shown(server, test=True)
    assert row["state"].startswith("failures in a row: 1, last 20")
    assert ": remote-server-timeout: " in row["state"]
    async with app_server(server, {"phone-1": ""}):
        (row,) = await shown(server, test=True)
        assert row["state"].startswith("on, last 20")


async def test_the_service_says_that_it_is_over(server: jabberd.Server) -> None:
    async with app_server(server, {"phone-1": ""}) as service:
        phone = await enter(server, "alice", "phone")
        await enable(phone, "phone-1")
        await phone.send("<presence/>")
        await phone.next()
        service.component.send_raw(
            f"<message from='{SERVICE}' to='alice@{HOST}'>"
            "<pubsub xmlns='http://jabber.org/protocol/pubsub' node='phone-1'>"
            f"<affiliation jid='alice@{HOST}' affiliation='none'/></pubsub></message>"
            f"<message from='{SERVICE}' to='alice@{HOST}'><body>bye</body></message>"
        )
        # The first one was for the server alone.
        assert (await phone.next()).findtext(f"{CLIENT}body") == "bye"
        (row,) = await shown(server)
        assert row["state"].endswith(": the service has ended it")
        await phone.cut()
