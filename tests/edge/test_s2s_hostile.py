"""Servers that lie, repeat what they have heard, or come in crowds."""

from __future__ import annotations

import asyncio
import re
import secrets
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import ClassVar, Self

import pytest
import pytest_asyncio

from jabberd.net.dns import Target
from jabberd.xmpp.stanza import Message
from jabberd.xmpp.stream.events import Pair
from tests.edge.pair import Directory, Server, arrives

pytestmark = pytest.mark.asyncio
EVIL = "evil.example"
HEADER = (
    "<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:db='jabber:server:dialback'"
    " xmlns:stream='http://etherx.jabber.org/streams' version='1.0' from='{}' to='{}'>"
)


class Raw:
    """A server that says whatever a test wants."""

    made: ClassVar[list[Raw]] = []

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.seen = ""
        self.stream_id = ""
        self.made.append(self)

    @classmethod
    async def connect(cls, server: Server) -> Self:
        """Only the connection."""
        address = server.listener.address
        return cls(*await asyncio.open_connection(address.host, address.port))

    @classmethod
    async def secure(cls, server: Server, name: str = EVIL) -> Self:
        """A stream under TLS, with its features read."""
        raw = await cls.connect(server)
        await raw.say(HEADER.format(name, server.domain))
        await raw.hears("</stream:features>")
        await raw.say("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
        await raw.hears("<proceed[^>]*/>")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        await raw.writer.start_tls(context)
        await raw.say(HEADER.format(name, server.domain))
        header = await raw.hears("<stream:stream.*?>")
        raw.stream_id = re.findall(r" id='([^']*)'", header)[0]
        await raw.hears("</stream:features>")
        return raw

    async def say(self, text: str) -> None:
        """Write."""
        self.writer.write(text.encode())
        await self.writer.drain()

    async def hears(self, pattern: str) -> str:
        """Read until there is something; returns it, and forgets all before it."""
        async with asyncio.timeout(10):
            while not (found := re.search(pattern, self.seen, re.DOTALL)):
                data = await self.reader.read(65536)
                assert data, f"the connection ended after {self.seen!r}"
                self.seen += data.decode()
        self.seen = self.seen[found.end() :]
        return found[0]

    async def ends(self) -> str:
        """Read until the other side has closed; returns the rest."""
        async with asyncio.timeout(10):
            while data := await self.reader.read(65536):
                self.seen += data.decode()
        return self.seen

    def drop(self) -> None:
        """Break it."""
        self.writer.transport.abort()


@pytest_asyncio.fixture
async def here(tmp_path: Path) -> AsyncIterator[Server]:
    server = Server(tmp_path, Directory(), "example.com")
    await server.start()
    yield server
    for raw in Raw.made:
        raw.drop()
    Raw.made.clear()
    await server.stop()


def claim(name: str, key: str = "key") -> str:
    return f"<db:result from='{name}' to='example.com'>{key}</db:result>"


def message(sender: str, to: str = "alice@example.com") -> str:
    return f"<message from='{sender}' to='{to}' type='chat'><body>hello</body></message>"


@pytest_asyncio.fixture
async def honest(tmp_path: Path, here: Server) -> AsyncIterator[Server]:
    server = Server(tmp_path, here.directory, "example.net")
    await server.start()
    yield server
    await server.stop()


async def test_nothing_is_proved(here: Server) -> None:
    alice = await here.login("alice")
    raw = await Raw.secure(here)
    await raw.say(message(f"mallory@{EVIL}"))
    assert "not-authorized" in await raw.ends()
    assert alice.inbox == []


async def test_without_tls(here: Server) -> None:
    raw = await Raw.connect(here)
    await raw.say(HEADER.format(EVIL, here.domain))
    await raw.hears("<required")
    await raw.say(claim(EVIL))
    assert "policy-violation" in await raw.hears("<db:result.*?</db:result>")
    raw.drop()


async def test_a_made_up_key_of_an_honest_server(here: Server, honest: Server) -> None:
    raw = await Raw.secure(here, honest.domain)
    await raw.say(claim(honest.domain, "0" * 64))
    assert "type='invalid'" in await raw.hears("<db:result[^>]*>")
    assert raw.seen in {"", "</stream:stream>"} or "</stream:stream>" in await raw.ends()
    assert "not one of that domain" in here.servers.refusals[honest.domain]


async def test_a_key_of_another_stream(here: Server, honest: Server) -> None:
    """A key that was right once, for another stream, is not for this one."""
    alice, bob = await here.login("alice"), await honest.login("bob")
    await honest.says(bob, message("bob@example.net").replace(" from='bob@example.net'", ""))
    await arrives(alice, Message)
    stream_id = secrets.token_hex(16)
    stolen = honest.servers.dialback.key(stream_id, Pair("example.net", "example.com"))
    raw = await Raw.secure(here, honest.domain)
    await raw.say(claim(honest.domain, stolen))
    assert "type='invalid'" in await raw.hears("<db:result[^>]*>")
    raw.drop()


async def proved(here: Server, there: Server, name: str = "other.example") -> Raw:
    """A stream on which a domain was proved: the honest server answers for that one too."""
    here.directory.places[name] = here.directory.places[there.domain]
    there.world.domain(name)
    raw = await Raw.secure(here, name)
    key = there.servers.dialback.key(raw.stream_id, Pair(name, "example.com"))
    await raw.say(claim(name, key))
    await raw.hears("<db:result[^>]*type='valid'[^>]*>")
    return raw


async def test_another_domain_than_was_proved(here: Server, honest: Server) -> None:
    alice = await here.login("alice")
    raw = await proved(here, honest)
    await raw.say(message("mallory@other.example"))
    assert str((await arrives(alice, Message)).from_) == "mallory@other.example"
    await raw.say(message("bob@example.net"))
    assert "invalid-from" in await raw.ends()
    assert alice.take_all(Message) == []


async def test_somebody_elses_account_here(here: Server, honest: Server) -> None:
    """No other server speaks for an account of ours."""
    raw = await Raw.connect(here)
    await raw.say(HEADER.format(here.domain, here.domain))
    assert "invalid-from" in await raw.ends()
    raw = await Raw.secure(here)
    await raw.say(claim(here.domain))
    assert "type='error'" in await raw.hears("<db:result[^>]*>")


async def test_results_that_nobody_asked_for(here: Server, honest: Server) -> None:
    alice = await here.login("alice")
    raw = await Raw.secure(here)
    await raw.say(f"<db:result from='{EVIL}' to='example.com' type='valid'/>")
    await raw.say(f"<db:verify from='{EVIL}' to='example.com' id='1' type='valid'/>")
    await raw.say(message(f"mallory@{EVIL}"))
    assert "not-authorized" in await raw.ends()
    assert alice.inbox == []


def _listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    Raw(reader, writer)  # it is kept, and says nothing


async def test_a_crowd_of_made_up_domains(here: Server) -> None:
    """One address does not have us look for more than a few domains at a time."""
    silent = await asyncio.start_server(_listen, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    raw = await Raw.secure(here)
    for number in range(40):
        here.directory.places[f"made-up-{number}.example"] = Target("127.0.0.1", port)
        await raw.say(claim(f"made-up-{number}.example"))
    for _ in range(15):
        assert "resource-constraint" in await raw.hears("<db:result.*?</db:result>")
    raw.drop()
    silent.close()


async def test_half_open_streams_are_ended(here: Server) -> None:
    here.servers.bounds.negotiation_seconds = 0.2
    streams = [await Raw.connect(here) for _ in range(50)]
    for raw in streams[:25]:
        await raw.say(HEADER.format(EVIL, here.domain))
    for raw in streams:
        assert "connection-timeout" in await raw.ends()
    assert here.servers.connections == set()


async def test_a_peer_that_acknowledges_too_much(here: Server, honest: Server) -> None:
    raw = await proved(here, honest)
    await raw.say("<enable xmlns='urn:xmpp:sm:3'/>")
    await raw.hears("<enabled")
    await raw.say("<r xmlns='urn:xmpp:sm:3'/>")
    assert "h='0'" in await raw.hears("<a [^>]*>")
    await raw.say(message("mallory@other.example", "nobody@example.com"))
    await raw.say("<r xmlns='urn:xmpp:sm:3'/>")
    assert "h='1'" in await raw.hears("<a [^>]*>")
    raw.drop()


async def test_an_address_that_is_none(here: Server, honest: Server) -> None:
    raw = await proved(here, honest)
    await raw.say("<iq type='get' id='1' from='mallory@other.example' to='@example.com'/>")
    await raw.say("<r xmlns='urn:xmpp:sm:3'/>")  # not enabled: nothing is counted, nothing said
    await raw.say("<enable xmlns='urn:xmpp:sm:3'/>")
    await raw.hears("<enabled")
    raw.drop()


async def test_a_stanza_that_is_too_large(here: Server, honest: Server) -> None:
    raw = await proved(here, honest)
    text = "x" * (here.servers.bounds.after.stanza_bytes + 10)
    await raw.say(message("mallory@other.example").replace("hello", text))
    assert "policy-violation" in await raw.ends()
