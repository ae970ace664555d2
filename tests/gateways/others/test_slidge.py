"""slidge, with a made-up network, as a component of ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from slixmpp.exceptions import IqError

from tests.gateways.others.slidge_place import (
    ECHO,
    GATEWAY,
    STARTED,
    TWIN,
    SlidgePlace,
    slidge_place,
)
from tests.gateways.place import register
from tests.integration.slix import WAIT, Slix

pytestmark = pytest.mark.asyncio
PASSWORD = "narcissus"


@pytest_asyncio.fixture
async def here(slidge: Path, tmp_path: Path) -> AsyncIterator[SlidgePlace]:
    async with slidge_place(slidge, tmp_path) as made:
        yield made


def shows(jid: str) -> Any:
    return lambda p: p["from"].bare == jid and p["type"] == "available"


def lists(jid: str) -> Any:
    return lambda iq: jid in iq["roster"]["items"]


async def join(client: Slix) -> None:
    """Register, and wait until the network has been reached and the contacts are there."""
    await register(client, "Juliet", PASSWORD, gateway=GATEWAY)
    for jid in (ECHO, TWIN):
        await client.event("presence_available", shows(jid))
    await client.event("presence_chat", lambda p: p["status"] == "Listening")


async def roster(client: Slix) -> dict[str, tuple[str, str, list[str]]]:
    """The roster as the server has it: all of it, not what is new since the last version."""
    answer = await client.client.make_iq_get(queryxmlns="jabber:iq:roster").send(timeout=WAIT)
    return {
        str(jid): (item["name"], item["subscription"], sorted(item["groups"]))
        for jid, item in answer["roster"]["items"].items()
    }


async def test_registration_fills_the_roster(here: SlidgePlace) -> None:
    juliet = await here.client("juliet")
    other = await here.client("juliet", "two")
    items = await juliet.client.plugin["xep_0030"].get_items("localhost", timeout=WAIT)
    assert GATEWAY in {str(item[0]) for item in items["disco_items"]["items"]}
    info = await juliet.client.plugin["xep_0030"].get_info(GATEWAY, timeout=WAIT)
    assert ("gateway", "echo") in {one[:2] for one in info["disco_info"]["identities"]}
    with pytest.raises(IqError) as refused:
        await register(juliet, "Juliet", "jocasta", gateway=GATEWAY)
    assert refused.value.condition == "not-authorized"
    assert await roster(juliet) == {}
    await join(juliet)
    assert await roster(juliet) == {
        GATEWAY: ("Echoes", "both", ["Slidge"]),
        ECHO: ("The Echo", "both", ["Echoes"]),
        TWIN: ("The Twin", "both", ["Echoes"]),
    }
    for jid in (GATEWAY, ECHO, TWIN):  # the other client was told as well
        await other.event("roster_update", lists(jid))


async def test_messages_both_ways(here: SlidgePlace) -> None:
    juliet = await here.client("juliet")
    await join(juliet)
    texts = [f"Art thou there? {number}" for number in range(20)]
    juliet.write(ECHO, *texts)
    heard = [await juliet.event("message", lambda m: m["from"].bare == ECHO) for _ in texts]
    assert [message["body"] for message in heard] == texts
    juliet.write(f"nobody@{GATEWAY}", "Madam!")
    error = await juliet.event("message_error")
    assert (error["from"], error["error"]["condition"]) == (f"nobody@{GATEWAY}", "item-not-found")


async def test_what_the_user_says_elsewhere_is_seen_here(here: SlidgePlace) -> None:
    juliet = await here.client("juliet")
    other = await here.client("juliet", "two")
    await join(juliet)
    juliet.write(TWIN, "By the telephone")
    for client, times in ((juliet, 1), (other, 2)):  # the other sees what this one said, too
        for _ in range(times):
            carbon = (await client.event("carbon_sent"))["carbon_sent"]
            assert (carbon["from"].bare, carbon["to"].bare) == ("juliet@localhost", TWIN)
            assert carbon["body"] == "By the telephone"
    await juliet.settled()
    assert juliet.seen("carbon_sent") == []
    found = juliet.client.plugin["xep_0313"].iterate(with_jid=TWIN)
    bodies = [one["mam_result"]["forwarded"]["stanza"]["body"] async for one in found]
    assert bodies == ["By the telephone"] * 2


async def test_a_restart_of_the_gateway(here: SlidgePlace) -> None:
    juliet = await here.client("juliet")
    await join(juliet)
    before = await roster(juliet)
    await here.slidge.stop()
    # Whether it says goodbye for its contacts is its own affair.
    route = here.server.running.assembly.components.routes[GATEWAY]
    async with asyncio.timeout(WAIT):
        while route.connection is not None:  # noqa: ASYNC110 -- it tells nobody
            await asyncio.sleep(0.05)
    juliet.write(ECHO, "Gone?")
    assert (await juliet.event("message_error"))["error"]["condition"] == "remote-server-timeout"
    for kind in ("presence_available", "presence_chat"):  # of the time before
        for _ in juliet.seen(kind):
            await juliet.event(kind)
    await here.slidge.start(STARTED)
    await juliet.event("presence_available", shows(ECHO))
    await juliet.event("presence_chat", lambda p: p["status"] == "Listening")
    juliet.write(ECHO, "Back")
    assert (await juliet.event("message", lambda m: m["from"].bare == ECHO))["body"] == "Back"
    assert await roster(juliet) == before
    assert juliet.seen("presence_subscribe") == []


async def test_unregistration(here: SlidgePlace) -> None:
    """slidge takes nothing out of the roster: it ends the subscriptions, and the items stay."""
    juliet = await here.client("juliet")
    await join(juliet)
    await juliet.client.plugin["xep_0077"].cancel_registration(jid=GATEWAY, timeout=WAIT)
    await juliet.event("presence_unavailable", lambda p: p["from"] == GATEWAY)
    juliet.write(ECHO, "Farewell")
    error = await juliet.event("message_error")
    assert error["error"]["condition"] == "registration-required"
    await juliet.settled()
    left = await roster(juliet)
    assert {jid: item[1] for jid, item in left.items()} == dict.fromkeys(
        (GATEWAY, ECHO, TWIN), "none"
    )
