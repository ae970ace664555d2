"""The servers can be had, killed, restarted and troubled, as the runs do it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from xml.etree.ElementTree import Element

import pytest

from tests.invariants import native
from tests.invariants.servers import SERVERS, Jabberd, Server, available
from tests.invariants.stream import DOMAIN, Stream, condition

_TIME = "<iq type='get' id='time' to='localhost'><time xmlns='urn:xmpp:time'/></iq>"


def private(size: int) -> str:
    """Something that the server has to write down (XEP-0049)."""
    return (
        "<iq type='set' id='private'><query xmlns='jabber:iq:private'>"
        f"<x xmlns='urn:x'>{'x' * size}</x></query></iq>"
    )


@pytest.fixture
def jabberd(tmp_path: Path) -> Iterator[Jabberd]:
    server = Jabberd(tmp_path)
    server.prepare(["alice"])
    server.start()
    yield server
    server.free()
    server.unlock()
    server.stop()


def ask(server: Server, iq: str) -> Element:
    """Log in, and have something answered."""

    async def answered() -> Element:
        async with await Stream.connect("127.0.0.1", server.port) as stream:
            await stream.log_in("alice")
            assert await stream.bind("desk") == f"alice@{DOMAIN}/desk"
            answer = await stream.ask(iq)
            stream.finish()
            await stream.ended()
            return answer

    return asyncio.run(answered())


@pytest.mark.parametrize("name", sorted(SERVERS))
def test_a_server_lives_several_lives(name: str, tmp_path: Path) -> None:
    if reason := available(name):
        pytest.skip(reason)
    server = SERVERS[name](tmp_path)
    server.prepare(["alice", "bob"])
    try:
        for end in (server.kill, server.stop):
            server.start()
            assert ask(server, _TIME).get("id") == "time"
            end()
            with pytest.raises(ConnectionRefusedError):
                ask(server, _TIME)
        server.start()
        server.shoot()
        server.kill()
    finally:
        server.stop()
    assert server.complaints() == []


def test_its_clock_jumps(tmp_path: Path) -> None:
    if reason := native.missing():
        pytest.skip(reason)

    def ahead(server: Server) -> float:
        """How far its clock is before ours, seconds (XEP-0202)."""
        text = ask(server, _TIME).findtext(".//{urn:xmpp:time}utc") or ""
        return (datetime.fromisoformat(text) - datetime.now(UTC)).total_seconds()

    data = tmp_path / "server"
    data.mkdir()
    with closing(native.Clock(tmp_path)) as clock:
        server = Jabberd(data, clock.environment)
        server.prepare(["alice"])
        server.start()
        try:
            assert abs(ahead(server)) < 60
            clock.jump(7200)
            assert abs(ahead(server) - 7200) < 60
            clock.jump(-86_400)
            assert abs(ahead(server) + 79_200) < 60
        finally:
            server.stop()


def test_its_disk_is_full(jabberd: Jabberd) -> None:
    assert ask(jabberd, private(10)).get("type") == "result"
    jabberd.fill()
    assert condition(ask(jabberd, private(60_000))) == "resource-constraint"
    jabberd.free()
    assert ask(jabberd, private(60_000)).get("type") == "result"


@pytest.mark.asyncio
async def test_its_database_is_locked(jabberd: Jabberd) -> None:
    """What waits for the lock is done when it is let go."""
    jabberd.lock()
    asking = asyncio.create_task(asyncio.to_thread(ask, jabberd, private(10)))
    done, _ = await asyncio.wait((asking,), timeout=0.5)
    assert not done
    jabberd.unlock()
    assert (await asking).get("type") == "result"
