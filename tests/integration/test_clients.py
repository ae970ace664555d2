"""Two independent clients of today over TLS: slixmpp, a library, and mcabber, a console client."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

import jabberd
from jabberd.storage.api import Subscription
from tests.integration import mcabber
from tests.integration.mcabber import Mcabber
from tests.integration.slix import Slix

pytestmark = pytest.mark.asyncio
ALICE, BOB = "alice@localhost", "bob@localhost"


@pytest_asyncio.fixture
async def server() -> AsyncIterator[jabberd.Server]:
    async with jabberd.Server(storage="sqlite:") as server:
        await server.add_user("alice", "alicespassword")
        await server.add_user("bob", "bobspassword")
        yield server


@pytest_asyncio.fixture
async def alice(server: jabberd.Server, tmp_path: Path) -> AsyncIterator[Mcabber]:
    if mcabber.installed() is None:
        if os.environ.get("CI"):
            pytest.fail("mcabber is not installed: apt-get install mcabber")
        pytest.skip("mcabber is not installed: nothing but slixmpp can be tried")
    client = Mcabber(tmp_path / "mcabber", ALICE, "alicespassword", (server.host, server.port))
    try:
        yield client
    finally:
        await client.stop()


async def befriend(alice: Mcabber, bob: Slix) -> None:
    """Alice adds Bob, he approves and asks back, and she accepts."""
    await alice.command(f"/add {BOB} Bob")
    await bob.event("presence_subscribe", lambda stanza: stanza["from"] == ALICE)
    bob.client.send_presence(pto=ALICE, ptype="subscribed")
    await alice.logged(f"<{BOB}> has allowed you to receive their presence")
    bob.client.send_presence(pto=ALICE, ptype="subscribe")
    await alice.logged(f"<{BOB}> wants to subscribe to your presence updates")
    await alice.command("/event * accept")
    await bob.event("presence_subscribed", lambda stanza: stanza["from"] == ALICE)


async def test_they_add_each_other_see_presence_and_chat(
    server: jabberd.Server, alice: Mcabber
) -> None:
    bob = Slix(server, f"{BOB}/slixmpp", "bobspassword")
    await bob.online()
    await alice.logged("Your status has been set: [_>")
    sessions = server.running.assembly.sessions
    await befriend(alice, bob)

    # Both are encrypted, by STARTTLS on the one port.
    assert {s.jid.bare.text: s.facts.tls[:4] for s in sessions.all()} == {
        ALICE: "TLSv",
        BOB: "TLSv",
    }
    # The rosters agree, on the server and at the client.
    roster = server.running.assembly.stores.roster
    for owner, contact in ((ALICE, BOB), (BOB, ALICE)):
        item = await roster.item(owner, contact)
        assert item is not None
        assert item.subscription is Subscription.BOTH
    await bob.event("roster_update", lambda iq: 'subscription="both"' in str(iq))
    assert bob.client.client_roster[ALICE]["subscription"] == "both"

    # Each sees the other: that they are there, and what changes.
    await bob.event("presence_available", lambda p: p["from"] == f"{ALICE}/mcabber")
    bob.client.send_presence(pshow="away", pstatus="out for a walk")
    await alice.history(BOB, "out for a walk")
    await alice.command("/status dnd counting stars")
    changed = await bob.event("presence_dnd")
    assert (changed["from"], changed["status"]) == (f"{ALICE}/mcabber", "counting stars")

    # They chat both ways.
    await alice.command(f"/say_to {BOB} Hyvää päivää <Bob> & others")
    message = await bob.message()
    assert message["body"] == "Hyvää päivää <Bob> & others"
    assert (message["type"], message["from"]) == ("chat", f"{ALICE}/mcabber")
    bob.client.send_message(ALICE, "Päivää, päivää! 🐟", mtype="chat")
    await alice.history(BOB, "Päivää, päivää! 🐟")

    # And see each other leave.
    await bob.leave()
    await alice.history(BOB, "SO ")
    again = Slix(server, f"{BOB}/again", "bobspassword")
    await again.online()
    await again.event("presence_dnd", lambda p: p["from"] == f"{ALICE}/mcabber")
    await alice.command("/quit")
    await again.event("presence_unavailable", lambda p: p["from"] == f"{ALICE}/mcabber")
    await again.leave()


async def test_two_of_slixmpp_over_direct_tls(server: jabberd.Server) -> None:
    """The same port for both ends would do; here one of them comes in by the other door."""
    alice = Slix(server, f"{ALICE}/a", "alicespassword")
    bob = Slix(server, f"{BOB}/b", "bobspassword", direct_tls=server.tls_port)
    await alice.online()
    await bob.online()
    alice.client.send_message(f"{BOB}/b", "through the side door", mtype="chat")
    assert (await bob.message())["body"] == "through the side door"
    await alice.leave()
    await bob.leave()


async def test_a_wrong_password(server: jabberd.Server) -> None:
    mallory = Slix(server, f"{ALICE}/m", "not hers")
    mallory.connect()
    await mallory.event("failed_all_auth")
    await mallory.leave()
    assert server.running.assembly.sessions.of(ALICE) == ()
