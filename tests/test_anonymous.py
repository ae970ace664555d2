"""An account that is made at login and gone afterwards (RFC 4505), over a real socket."""

from __future__ import annotations

import asyncio

import pytest

import jabberd
from jabberd.xmpp.element import parse

pytestmark = pytest.mark.asyncio
HEADER = (
    b"<?xml version='1.0'?><stream:stream xmlns='jabber:client' version='1.0'"
    b" xmlns:stream='http://etherx.jabber.org/streams' to='localhost'>"
)
AUTH = b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='ANONYMOUS'>=</auth>"
BIND = b"<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>"
ADD = (
    b"<iq type='set' id='r'><query xmlns='jabber:iq:roster'>"
    b"<item jid='alice@localhost'/></query></iq>"
)


async def test_nothing_of_an_anonymous_account_outlives_its_session() -> None:
    config = {"host": {"localhost": {"anonymous": True}}}
    async with asyncio.timeout(20), jabberd.Server(config=config) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(HEADER)
        assert b"<mechanism>ANONYMOUS</mechanism>" in await reader.readuntil(b"</stream:features>")
        writer.write(AUTH)
        await reader.readuntil(b"success")
        writer.write(HEADER + BIND)
        await reader.readuntil(b"</stream:features>")
        bound = parse(await reader.readuntil(b"</iq>"))
        jid = str(next(iter(next(iter(bound)))).text)
        writer.write(ADD)
        await reader.readuntil(b"id='r'")
        stores = server.running.assembly.stores
        owner = jid.partition("/")[0]
        assert (await stores.roster.get(owner)).items
        writer.write(b"</stream:stream>")
        await reader.read()
        writer.close()
        await writer.wait_closed()
        for _ in range(500):
            await asyncio.sleep(0.01)
            if not (left := (await stores.roster.get(owner)).items):
                break
        assert not left


async def test_it_is_not_offered_unless_configured() -> None:
    async with asyncio.timeout(20), jabberd.Server() as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(HEADER)
        assert b"ANONYMOUS" not in await reader.readuntil(b"</stream:features>")
        writer.write(AUTH)
        assert b"<invalid-mechanism/>" in await reader.readuntil(b"</failure>")
        writer.close()
        await writer.wait_closed()
