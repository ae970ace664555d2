"""RFC 6121 §4.3.2 rule 3 at login: since when contacts of the same host are gone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from jabberd.core.module import Module
from jabberd.core.ports import LastPresence
from jabberd.core.verdict import Handled
from jabberd.modules import presence, roster
from jabberd.storage.api import RosterItem, StorageError, Subscription
from jabberd.xmpp.jid import JID
from tests.modules.host import START, World, presences

pytestmark = pytest.mark.asyncio
ALICE, BOB = "alice@example.com", "bob@example.com"
FULL = "alice@example.com/desk"
GONE = (
    f"<presence from='{BOB}' to='{FULL}' type='unavailable'>"
    "<delay xmlns='urn:xmpp:delay' stamp='2023-11-14T22:13:20.000Z'/></presence>"
)


async def befriend(world: World, kind: str = "both") -> None:
    """Alice has bob in her roster, and he has her in his."""
    other = {"to": "from", "from": "to"}.get(kind, kind)
    hers, his = (
        RosterItem(contact, subscription=Subscription(state))
        for contact, state in ((BOB, kind), (ALICE, other))
    )
    await world.stores.roster.change(ALICE, BOB, lambda _: hers)
    await world.stores.roster.change(BOB, ALICE, lambda _: his)


async def bob_was_here(world: World) -> None:
    """Bob comes, says nothing, and leaves at `START`."""
    await world.leaves(await world.login("bob/desk"))
    world.clock.pass_(60)


@pytest.mark.parametrize("kind", ["to", "both"])
async def test_a_new_session_is_told_once(im: World, kind: str) -> None:
    await befriend(im, kind)
    await bob_was_here(im)
    phone = await im.login("alice/phone", "<presence/>")
    desk = await im.login("alice/desk")
    assert isinstance(await im.says(desk, "<presence/>"), Handled)
    assert desk.take().count(GONE) == 1
    assert BOB not in dict(presences(phone))
    await im.says(desk, "<presence><show>away</show></presence>")
    assert GONE not in desk.take()
    await im.says(desk, "<presence type='unavailable'/>")
    await im.says(desk, "<presence/>")
    assert desk.take().count(GONE) == 1


@pytest.mark.parametrize("kind", ["none", "from"])
async def test_who_is_not_subscribed_is_told_nothing(im: World, kind: str) -> None:
    await befriend(im, kind)
    await bob_was_here(im)
    desk = await im.login("alice/desk")
    await im.says(desk, "<presence/>")
    assert presences(desk) == [(FULL, "")]


async def test_nothing_is_said_of_who_has_never_been_here(im: World) -> None:
    await befriend(im)
    desk = await im.login("alice/desk")
    await im.says(desk, "<presence/>")
    assert presences(desk) == [(FULL, "")]


async def test_who_is_connected_is_asked_instead(im: World) -> None:
    await befriend(im)
    await bob_was_here(im)
    await im.login("bob/home")
    desk = await im.login("alice/desk")
    await im.says(desk, "<presence/>")
    # The answer to the probe: connected, though not available.
    assert presences(desk) == [(FULL, ""), (BOB, "unavailable")]


class Lasts:
    """`LastPresence` that says what it is told to."""

    world: World
    broken = False

    async def last(self, account: JID) -> tuple[float, str] | None:
        """Always the same."""
        return START, ""

    async def last_of(self, accounts: Sequence[JID]) -> Mapping[str, tuple[float, str]]:
        """Fail, or let bob come in the meantime."""
        if self.broken:
            raise StorageError("the disk is gone")
        await self.world.login("bob/desk", "<presence/>")
        return {account.text: (START, "") for account in accounts}


@pytest.mark.parametrize(("broken", "seen"), [(True, []), (False, [(f"{BOB}/desk", "")])])
async def test_a_failure_and_a_late_arrival(
    world: World, broken: bool, seen: list[tuple[str, str]]
) -> None:
    lasts = Lasts()
    lasts.world, lasts.broken = world, broken
    world.load("roster", roster.load(world.host, roster.Options()))
    world.load("presence", presence.load(world.host, presence.Options()))
    world.load("last", Module(provides={LastPresence: lasts}))
    await befriend(world)
    desk = await world.login("alice/desk")
    assert isinstance(await world.says(desk, "<presence/>"), Handled)
    assert presences(desk) == [(FULL, ""), *seen]
