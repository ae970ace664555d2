"""Wrong passwords: counted per account and address, and per address whatever the account."""

from __future__ import annotations

import asyncio

import pytest

import jabberd

pytestmark = pytest.mark.asyncio


async def login(server: jabberd.Server, name: str, password: str) -> bytes:
    reader, writer = await asyncio.open_connection(server.host, server.port)
    writer.write(
        b"<stream:stream xmlns='jabber:client' to='localhost'"
        b" xmlns:stream='http://etherx.jabber.org/streams'>"
        b"<iq type='set' id='a'><query xmlns='jabber:iq:auth'>"
        b"<username>%s</username><password>%s</password><resource>r</resource></query></iq>"
        b"</stream:stream>" % (name.encode(), password.encode())
    )
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_one_address_cannot_try_one_password_on_every_account() -> None:
    config = {"limits": {"login_attempts_per_address": 3}}
    async with asyncio.timeout(60), jabberd.Server(config=config) as server:
        await server.add_user("alice", "right")
        assert b"type='result'" in await login(server, "alice", "right")
        for number in range(3):
            assert b"<not-authorized" in await login(server, f"user{number}", "123456")
        refused = await login(server, "alice", "right")
        assert b"<resource-constraint" in refused
        assert b"try again in" in refused


async def test_one_account_is_locked_for_one_address_only() -> None:
    config = {"limits": {"login_attempts": 2}}
    async with asyncio.timeout(60), jabberd.Server(config=config) as server:
        await server.add_user("alice", "right")
        await server.add_user("bob", "right")
        for _ in range(2):
            assert b"<not-authorized" in await login(server, "alice", "wrong")
        assert b"<resource-constraint" in await login(server, "alice", "right")
        assert b"type='result'" in await login(server, "bob", "right")
