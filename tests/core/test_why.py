"""Why was it not delivered? What the journal says of each kind of ending."""

from __future__ import annotations

import pytest

from jabberd.core.journal import Entry
from jabberd.modules import offline, roster
from jabberd.xmpp.jid import JID
from tests.modules.host import World

pytestmark = pytest.mark.asyncio
ALICE, BOB = JID.parse("alice@example.com"), JID.parse("bob@example.com")


def why(world: World, account: JID) -> list[str]:
    entries: list[Entry] = world.journal.entries(account)
    return [str(entry.ending) for entry in entries if entry.tag != "presence"]


async def test_who_decided_and_in_which_phase() -> None:
    world = World()
    await world.account("alice", "bob")
    world.load("offline", offline.load(world.host, offline.Options(keep=1)))
    world.load("roster", roster.load(world.host, roster.Options()))
    alice = await world.login("alice/desk")
    for xml in (
        "<message to='nobody@example.com' type='chat'><body>1</body></message>",
        "<message to='bob@example.com' type='chat'><body>2</body></message>",
        "<message to='bob@example.com' type='chat'><body>3</body></message>",
        "<message to='bob@example.com' type='headline'><body>4</body></message>",
        "<message to='someone@example.net'><body>5</body></message>",
        "<iq type='get' id='6' to='bob@example.com'><query xmlns='jabber:iq:roster'/></iq>",
        "<iq type='get' id='7' to='bob@example.com/gone'><ping xmlns='urn:xmpp:ping'/></iq>",
    ):
        await world.says(alice, xml)
    endings = why(world, ALICE)
    assert endings == [
        "returned by delivery (no such account): service-unavailable",
        "stored by offline in phase fallback",
        (
            "returned by offline in phase fallback: service-unavailable:"
            " too many messages wait for the recipient"
        ),
        "dropped by delivery: headline: no available resource",
        "returned by router: remote-server-not-found: example.net is not served here",
        "returned by roster: forbidden: this is the roster of somebody else",
        "returned by delivery (no such resource): service-unavailable",
    ]
    # The recipient's own journal has what was on its way to an account that is offline.
    assert why(world, BOB) == [endings[1], endings[2], endings[3], endings[5], endings[6]]
    assert why(world, JID.parse("nobody@example.com")) == []


async def test_the_sender_learns_no_more_than_the_rfc_says() -> None:
    world = World()
    await world.account("bob")
    alice = await world.login("alice/desk")
    answers = []
    for name in ("bob", "nobody"):
        await world.says(alice, f"<message to='{name}@example.com'><body>x</body></message>")
        answers += [text.replace(name, "N") for text in alice.take()]
    assert answers[0] == answers[1]
