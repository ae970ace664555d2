"""slixmpp stays in step: it reads its archive, gets carbons, and resumes where it was."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio

import jabberd
from tests.integration.daemon import Daemon, How
from tests.integration.link import Link
from tests.integration.slix import WAIT, Slix, talk

pytestmark = pytest.mark.asyncio
ALICE, BOB = "alice@example.com", "bob@example.com"
PLUGINS: Final = ("xep_0198", "xep_0199", "xep_0280", "xep_0313", "xep_0359")
PAGE: Final = 4


@pytest_asyncio.fixture
async def server() -> AsyncIterator[jabberd.Server]:
    modules = {"mam": {"page": PAGE}}
    config = {"host": {"example.com": {"modules": modules}}}
    async with jabberd.Server("example.com", storage="sqlite:", config=config) as server:
        for name in ("alice", "bob"):
            await server.add_user(name, name)
        yield server


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path, ("alice", "bob"))
    yield daemon
    daemon.stop()


async def arrive(at: Any, jid: str, *, carbons: bool = False) -> Slix:
    """Log in; the password is the name."""
    client = Slix(at, jid, jid.partition("@")[0], plugins=PLUGINS)
    await client.online()
    if carbons:
        await client.client.plugin["xep_0280"].enable(timeout=WAIT)
    return client


async def archived(client: Slix, **query: Any) -> list[Any]:
    """What the client finds in its archive, page by page."""
    iterator = client.client.plugin["xep_0313"].iterate(**query)
    return [message["mam_result"] async for message in iterator]


def text_of(result: Any) -> str:
    return str(result["forwarded"]["stanza"]["body"])


async def test_a_new_client_reads_the_whole_archive(server: jabberd.Server) -> None:
    alice, bob = await arrive(server, f"{ALICE}/desk"), await arrive(server, f"{BOB}/desk")
    said = [f"m{number}" for number in range(11)]
    await talk(bob, alice, said)
    phone = await arrive(server, f"{ALICE}/phone")
    # Three pages forwards; then backwards, which is how clients show the end of it first.
    found = await archived(phone, rsm={"max": 5})
    assert [text_of(result) for result in found] == said
    assert len({result["id"] for result in found}) == 11
    assert [text_of(result) for result in await archived(phone, reverse=True)] == said[::-1]
    senders = {str(result["forwarded"]["stanza"]["from"]) for result in found}
    assert senders == {f"{ALICE}/desk", f"{BOB}/desk"}
    stamps = [result["forwarded"]["delay"]["stamp"] for result in found]
    assert stamps == sorted(stamps)
    # Nothing of it was a message to the phone.
    bob.write(f"{ALICE}/phone", "end")
    assert await phone.bodies("end") == ["end"]
    for client in (alice, bob, phone):
        await client.leave()


async def test_a_client_catches_up_from_the_last_message_it_has(server: jabberd.Server) -> None:
    alice, bob = await arrive(server, f"{ALICE}/desk"), await arrive(server, f"{BOB}/desk")
    bob.write(ALICE, "seen")
    seen = await alice.message()
    await alice.leave()
    missed = [f"m{number}" for number in range(9)]
    bob.write(ALICE, *missed)
    await bob.settled()
    alice = Slix(server, f"{ALICE}/desk", "alice", plugins=PLUGINS)
    await alice.online(presence=False)
    archive = alice.client.plugin["xep_0313"]
    found: list[Any] = []
    last = seen["stanza_id"]["id"]
    complete = ""
    while complete != "true":
        page = await archive.retrieve(rsm={"max": 50, "after": last}, timeout=WAIT)
        found += page["mam"]["results"]
        complete = page["mam_fin"]["complete"]
        last = page["mam_fin"]["rsm"]["last"]
    assert [text_of(message["mam_result"]) for message in found] == missed
    # They waited for her as well, but she has them: there is nothing left to send her.
    alice.client.send_presence()
    bob.write(ALICE, "end")
    assert await alice.bodies("end") == ["end"]
    for client in (alice, bob):
        await client.leave()


async def test_carbons_keep_two_clients_alike(server: jabberd.Server) -> None:
    desk = await arrive(server, f"{ALICE}/desk", carbons=True)
    phone = await arrive(server, f"{ALICE}/phone", carbons=True)
    bob = await arrive(server, f"{BOB}/desk")
    bob.write(f"{ALICE}/desk", "to the desk")
    assert await desk.bodies("to the desk") == ["to the desk"]
    copy = (await phone.event("carbon_received"))["carbon_received"]
    assert (copy["body"], copy["from"], copy["to"]) == (
        "to the desk", f"{BOB}/desk", f"{ALICE}/desk",
    )  # fmt: skip
    phone.write(BOB, "from the phone")
    assert await bob.bodies("from the phone") == ["from the phone"]
    copy = (await desk.event("carbon_sent"))["carbon_sent"]
    assert (copy["body"], copy["from"], copy["to"]) == ("from the phone", f"{ALICE}/phone", BOB)
    # A message to both comes to each once, and nobody gets a copy of what is theirs.
    bob.write(ALICE, "end")
    assert await desk.bodies("end") == ["end"]
    assert await phone.bodies("end") == ["end"]
    for client in (desk, phone):
        assert client.seen("carbon_received") == client.seen("carbon_sent") == []
    for client in (desk, phone, bob):
        await client.leave()


async def test_it_resumes_when_the_connection_breaks(server: jabberd.Server) -> None:
    alice = await arrive(server, f"{ALICE}/desk", carbons=True)
    async with Link(server.port) as link:
        bob = await arrive(link, f"{BOB}/phone")
        session = bob.client.plugin["xep_0198"].sm_id
        await talk(bob, alice, ["m0", "m1"])
        # Each says something that the other does not get, and Bob gets what he cannot acknowledge;
        # then the line is dead.
        link.mute()
        alice.write(BOB, "m2")
        assert await bob.bodies("m2") == ["m2"]
        link.hold()
        alice.write(BOB, "m3")
        bob.write(ALICE, "n2")
        await alice.settled()
        link.cut()
        assert alice.seen("message") == bob.seen("message") == []
        alice.write(BOB, "m4")
        await bob.back()
        assert await alice.bodies("n2") == ["n2"]
        bob.write(ALICE, "end")
        alice.write(BOB, "end")
        assert await alice.bodies("end") == ["end"]
        assert await bob.bodies("end") == ["m3", "m4", "end"]
        assert bob.client.plugin["xep_0198"].sm_id == session
        assert bob.seen("session_start") == bob.seen("sm_failed") == []
        assert len(server.running.assembly.sessions.of(BOB)) == 1
        # The archive has each of them once too.
        found = await archived(bob)
        assert [text_of(result) for result in found] == (
            ["m0", "m1", "m2", "m3", "m4", "n2", "end", "end"]
        )
        await bob.leave()
    await alice.leave()


@pytest.mark.parametrize("how", ["stop", "restart", "kill"])
async def test_it_resumes_when_the_server_restarts(daemon: Daemon, how: How) -> None:
    async with Link(daemon.port) as one, Link(daemon.port) as other:
        alice, bob = await arrive(one, f"{ALICE}/desk"), await arrive(other, f"{BOB}/phone")
        await talk(bob, alice, ["m0", "m1"])
        other.mute()
        alice.write(BOB, "m2")
        assert await bob.bodies("m2") == ["m2"]
        other.hold()
        bob.write(ALICE, "n2")
        alice.write(BOB, "m3")
        await alice.settled()
        await asyncio.to_thread(daemon.again, how)
        other.cut()
        for client in (alice, bob):
            await client.back()
            assert client.seen("session_start") == client.seen("sm_failed") == []
        alice.write(BOB, "end")
        assert await bob.bodies("end") == ["m3", "end"]
        bob.write(ALICE, "end")
        assert await alice.bodies("end") == ["n2", "end"]
        for client in (alice, bob):
            await client.leave()
