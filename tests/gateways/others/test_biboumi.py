"""biboumi, which leads to IRC, as a component of ours."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.gateways.others.biboumi_place import (
    GATEWAY,
    IRC,
    ROOM,
    BiboumiPlace,
    biboumi_place,
    join,
)
from tests.gateways.others.program import need
from tests.integration.slix import WAIT, Slix

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def here(tmp_path: Path) -> AsyncIterator[BiboumiPlace]:
    need("biboumi", "ngircd")
    async with biboumi_place(tmp_path) as made:
        yield made


async def occupant(client: Slix, nick: str, kind: str = "available") -> Any:
    """Wait for the presence of somebody in the room."""
    return await client.event("room", lambda p: p["from"] == f"{ROOM}/{nick}" and p["type"] == kind)


async def inside(client: Slix, nick: str) -> None:
    """Enter the room; the subject ends that (XEP-0045 §7.1)."""
    join(client, nick)
    own = await occupant(client, nick)
    assert 110 in {int(one.get("code")) for one in own.xml.iter() if one.get("code")}
    await client.event("subject")


async def test_it_is_found_and_has_commands(here: BiboumiPlace) -> None:
    juliet = await here.client("juliet")
    disco = juliet.client.plugin["xep_0030"]
    items = await disco.get_items("localhost", timeout=WAIT)
    assert GATEWAY in {str(item[0]) for item in items["disco_items"]["items"]}
    info = await disco.get_info(GATEWAY, timeout=WAIT)
    assert ("conference", "irc") in {one[:2] for one in info["disco_info"]["identities"]}
    for where, expected in ((GATEWAY, {"ping", "hello"}), (IRC, {"configure"})):
        found = await disco.get_items(where, "http://jabber.org/protocol/commands", timeout=WAIT)
        assert expected <= {item[1] for item in found["disco_items"]["items"]}
    done = await juliet.client.plugin["xep_0050"].send_command(GATEWAY, "ping", timeout=WAIT)
    assert (done["command"]["status"], done["command"].xml[0].text) == ("completed", "Pong")


async def test_a_channel(here: BiboumiPlace) -> None:
    nurse = await here.person("nurse")
    juliet = await here.client("juliet")
    await inside(juliet, "juliet")
    await occupant(juliet, "nurse")
    await nurse.line("JOIN", "#verona")
    # To the channel and from it, in order.
    texts = [f"line {number}" for number in range(10)]
    for text in texts:
        juliet.client.send_message(ROOM, text, mtype="groupchat")
        nurse.say(f"PRIVMSG #verona :{text}, indeed")
    for text in texts:
        await nurse.line(":juliet!", f"PRIVMSG #verona :{text}")
    heard = [
        (await juliet.event("message", lambda m: m["from"] == f"{ROOM}/nurse"))["body"]
        for _ in texts
    ]
    assert heard == [f"{text}, indeed" for text in texts]
    # To one and from one.
    juliet.write(f"{ROOM}/nurse", "a word with you")
    await nurse.line(":juliet!", "PRIVMSG nurse :a word with you")
    nurse.say("PRIVMSG juliet :anon, anon")
    private = await juliet.event("message", lambda m: m["body"] == "anon, anon")
    assert private["type"] == "chat"
    # The end, of either.
    nurse.say("PART #verona :called away")
    await occupant(juliet, "nurse", "unavailable")


async def test_two_users_of_ours_meet_there(here: BiboumiPlace) -> None:
    juliet, romeo = await here.client("juliet"), await here.client("romeo")
    await inside(juliet, "juliet")
    await inside(romeo, "romeo")
    await occupant(juliet, "romeo")
    await occupant(romeo, "juliet")
    romeo.client.send_message(ROOM, "It is the east", mtype="groupchat")
    for client in (juliet, romeo):
        said = await client.event("message", lambda m: m["body"] == "It is the east")
        assert (said["from"], said["type"]) == (f"{ROOM}/romeo", "groupchat")
    romeo.client.send_presence(pto=f"{ROOM}/romeo", ptype="unavailable")
    await occupant(juliet, "romeo", "unavailable")
    await occupant(romeo, "romeo", "unavailable")


async def test_who_logs_out_leaves_the_channel(here: BiboumiPlace) -> None:
    nurse = await here.person("nurse")
    juliet = await here.client("juliet")
    await inside(juliet, "juliet")
    await nurse.line(":juliet!", "JOIN")
    await juliet.leave()
    await nurse.line(":juliet!", "PART #verona")
