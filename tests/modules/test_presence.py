"""RFC 6121 §4, with two hosts' worth of contacts: example.com is ours, example.net is not."""

from __future__ import annotations

import pytest

from jabberd.core.eager import settle
from jabberd.core.module import Module, OnSession, SessionEvent
from jabberd.core.ports import PresenceApi
from jabberd.core.session import Session
from jabberd.core.verdict import Dropped, Handled, Relayed
from jabberd.modules import presence, roster
from jabberd.storage.api import RosterItem, Subscription
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Presence, read_error
from tests.modules.host import Domain, RecordingSession, World, presences

pytestmark = pytest.mark.asyncio
ALICE, BOB = "alice@example.com", "bob@example.com"
FULL = "alice@example.com/desk"


async def keep(world: World, owner: str, contact: str, kind: str) -> None:
    item = RosterItem(contact, subscription=Subscription(kind))
    await world.stores.roster.change(owner, contact, lambda _: item)


async def remote(world: World) -> Domain:
    """Contacts of alice elsewhere, one in each state."""
    for kind in ("none", "to", "from", "both"):
        await keep(world, ALICE, f"{kind}@example.net", kind)
    return world.domain("example.net")


async def friends(world: World) -> None:
    await keep(world, ALICE, BOB, "both")
    await keep(world, BOB, ALICE, "both")


# §4.2: initial presence


async def test_initial_presence_is_broadcast_and_contacts_are_probed(im: World) -> None:
    elsewhere = await remote(im)
    alice = await im.login("alice/desk")
    await im.says(alice, "<presence id='p1'><status>hi</status></presence>")
    inside = "id='p1'><status>hi</status></presence>"
    assert sorted(elsewhere.take()) == sorted(
        [
            f"<presence from='{FULL}' to='from@example.net' {inside}",
            f"<presence from='{FULL}' to='both@example.net' {inside}",
            f"<presence from='{ALICE}' to='to@example.net' type='probe'/>",
            f"<presence from='{ALICE}' to='both@example.net' type='probe'/>",
        ]
    )
    # §4.2.2: everybody is subscribed to themselves.
    assert alice.take() == [f"<presence from='{FULL}' to='{ALICE}' {inside}"]


async def test_own_resources_see_each_other(im: World) -> None:
    desk = await im.login("alice/desk", "<presence><show>away</show></presence>")
    phone = await im.login("alice/phone")
    silent = await im.login("alice/silent")
    await im.says(phone, "<presence/>")
    assert presences(desk) == [(f"{ALICE}/phone", "")]
    assert sorted(presences(phone)) == [(FULL, ""), (f"{ALICE}/phone", "")]
    assert presences(silent) == []


async def test_friends_here_see_each_other(im: World) -> None:
    await friends(im)
    bob = await im.login("bob/desk", "<presence><show>dnd</show></presence>")
    alice = await im.login("alice/desk")
    await im.says(alice, "<presence/>")
    assert bob.take() == [f"<presence from='{FULL}' to='{BOB}'/>"]
    assert f"<presence from='{BOB}/desk' to='{FULL}'><show>dnd</show></presence>" in alice.take()


async def test_answers_to_a_probe_reach_the_new_resource_only(im: World) -> None:
    await friends(im)
    await im.login("bob/desk", "<presence/>")
    desk = await im.login("alice/desk", "<presence/>")
    phone = await im.login("alice/phone")
    await im.says(phone, "<presence/>")
    assert (f"{BOB}/desk", "") not in presences(desk)
    assert (f"{BOB}/desk", "") in presences(phone)


@pytest.mark.parametrize("kind", ["none", "to"])
async def test_the_contacts_own_roster_decides(im: World, kind: str) -> None:
    await keep(im, ALICE, BOB, "both")
    await keep(im, BOB, ALICE, kind)
    await im.login("bob/desk", "<presence/>")
    alice = await im.login("alice/desk")
    await im.says(alice, "<iq type='get' id='g'><query xmlns='jabber:iq:roster'/></iq>")
    await im.says(alice, "<presence/>")
    # §4.3.2 rule 1 repairs our side.
    assert (BOB, "unsubscribed") in presences(alice)
    item = await im.stores.roster.item(ALICE, BOB)
    assert item is not None
    assert item.subscription is Subscription.FROM


# §4.4, §4.7


async def test_updates_are_broadcast_without_probes(im: World) -> None:
    elsewhere = await remote(im)
    alice = await im.login("alice/desk", "<presence/>")
    elsewhere.take()
    await im.says(alice, "<presence><show>away</show></presence>")
    assert [xml.partition(" id")[0] for xml in elsewhere.take()] == [
        f"<presence from='{FULL}' to='{to}@example.net'><show>away</show></presence>"
        for to in ("both", "from")
    ]


@pytest.mark.parametrize("value", ["128", "-129", "high", "", "1.5"])
async def test_a_priority_that_is_none_is_refused(im: World, value: str) -> None:
    alice = await im.login("alice/desk")
    await im.says(alice, f"<presence id='p'><priority>{value}</priority></presence>")
    (error,) = alice.take_all(Presence)
    assert (error.type, read_error(error).condition.value) == ("error", "bad-request")
    assert alice.presence is None


@pytest.mark.parametrize("value", [-128, 0, 127])
async def test_priorities_are_kept(im: World, value: int) -> None:
    alice = await im.login("alice/desk", f"<presence><priority>{value}</priority></presence>")
    assert alice.priority == value


async def test_sessions_become_available_once_or_when_they_take_messages(im: World) -> None:
    seen: list[Session] = []
    im.load("test", Module([OnSession(SessionEvent.AVAILABLE, seen.append)]))
    alice = await im.login("alice/desk")
    for priority, expected in ((-1, 1), (-2, 1), (0, 2), (5, 2), (-1, 2), (1, 3)):
        await im.says(alice, f"<presence><priority>{priority}</priority></presence>")
        assert len(seen) == expected, priority
    await im.says(alice, "<presence type='unavailable'/>")
    await im.says(alice, "<presence/>")
    assert seen == [alice] * 4


# §4.5


async def test_unavailable_is_broadcast_in_full(im: World) -> None:
    elsewhere = await remote(im)
    alice = await im.login("alice/desk", "<presence/>")
    phone = await im.login("alice/phone", "<presence/>")
    elsewhere.take()
    alice.take()
    verdict = await im.says(alice, "<presence type='unavailable'><status>bye</status></presence>")
    assert isinstance(verdict, Handled)
    inside = "type='unavailable'><status>bye</status></presence>"
    assert elsewhere.take() == [
        f"<presence from='{FULL}' to='{to}@example.net' {inside}" for to in ("both", "from")
    ]
    assert alice.take() == phone.take() == [f"<presence from='{FULL}' to='{ALICE}' {inside}"]
    assert alice.presence is None
    await im.leaves(alice)
    assert elsewhere.take() == []
    assert phone.take() == []


async def test_unavailable_of_who_never_was_there_is_silent(im: World) -> None:
    elsewhere = await remote(im)
    alice = await im.login("alice/desk")
    await im.says(alice, "<presence type='unavailable'/>")
    assert (alice.take(), elsewhere.take()) == ([], [])


async def test_the_server_speaks_for_a_lost_session(im: World) -> None:
    elsewhere = await remote(im)
    alice = await im.login("alice/desk", "<presence/>")
    phone = await im.login("alice/phone", "<presence/>")
    elsewhere.take()
    await im.leaves(alice)
    assert elsewhere.take() == [
        f"<presence from='{FULL}' to='{to}@example.net' type='unavailable'/>"
        for to in ("both", "from")
    ]
    assert presences(phone) == [(FULL, "unavailable")]


async def test_a_session_that_took_over_the_address_is_not_declared_gone(im: World) -> None:
    elsewhere = await remote(im)
    old = await im.login("alice/desk", "<presence/>")
    elsewhere.take()
    im.sessions.remove(old)
    await im.login("alice/desk", "<presence/>")
    elsewhere.take()
    done = im.host.emit(SessionEvent.CLOSED, old)
    if done is not None:
        await done
    assert elsewhere.take() == []


async def test_presence_of_an_ended_session_makes_no_ghost(im: World) -> None:
    elsewhere = await remote(im)
    alice = await im.login("alice/desk")
    await im.leaves(alice)
    for kind in ("", " type='unavailable'"):
        assert isinstance(await im.says(alice, f"<presence{kind}/>"), Dropped)
    assert elsewhere.take() == []


# §4.6: directed presence


async def test_directed_presence_is_taken_back_at_the_end(im: World) -> None:
    rooms = im.domain("conference.example.net")
    alice = await im.login("alice/desk", "<presence/>")
    for room in ("a", "b", "c"):
        xml = f"<presence to='{room}@conference.example.net/me'/>"
        assert isinstance(await im.says(alice, xml), Relayed)
    await im.says(alice, "<presence><show>away</show></presence>")
    await im.says(alice, "<presence to='b@conference.example.net/me' type='unavailable'/>")
    await im.arrives(f"<presence from='c@conference.example.net/me' to='{FULL}' type='error'/>")
    assert len(rooms.take()) == 4
    await im.leaves(alice)
    assert rooms.take() == [
        f"<presence from='{FULL}' to='a@conference.example.net/me' type='unavailable'/>"
    ]


async def test_directed_presence_without_initial_presence(im: World) -> None:
    rooms = im.domain("conference.example.net")
    alice = await im.login("alice/desk")
    await im.says(alice, "<presence to='a@conference.example.net/me'/>")
    rooms.take()
    await im.says(alice, "<presence type='unavailable'><status>bye</status></presence>")
    assert rooms.take() == [
        (
            f"<presence from='{FULL}' to='a@conference.example.net/me' type='unavailable'>"
            "<status>bye</status></presence>"
        )
    ]
    await im.leaves(alice)
    assert rooms.take() == []


async def test_subscribers_are_told_once(im: World) -> None:
    elsewhere = await remote(im)
    alice = await im.login("alice/desk", "<presence/>")
    await im.says(alice, "<presence to='both@example.net'><show>chat</show></presence>")
    elsewhere.take()
    await im.leaves(alice)
    assert len(elsewhere.take()) == 2


async def test_too_many_addresses_are_refused(world: World) -> None:
    world.load("roster", roster.load(world.host, roster.Options()))
    world.load("presence", presence.load(world.host, presence.Options(max_directed=1)))
    rooms = world.domain("conference.example.net")
    alice = await world.login("alice/desk")
    await world.says(alice, "<presence to='a@conference.example.net'/>")
    await world.says(alice, "<presence to='b@conference.example.net'/>")
    (error,) = alice.take_all(Presence)
    assert read_error(error).condition.value == "resource-constraint"
    await world.says(alice, "<presence to='a@conference.example.net'/>")
    assert len(rooms.take()) == 2


async def test_one_resource_losing_its_room_does_not_cost_another_its_own(im: World) -> None:
    rooms = im.domain("conference.example.net")
    desk, phone = await im.login("alice/desk"), await im.login("alice/phone")
    for session in (desk, phone):
        await im.says(session, "<presence to='a@conference.example.net/me'/>")
    await im.arrives(
        f"<presence from='a@conference.example.net/me' to='{FULL}' type='unavailable'/>"
    )
    rooms.take()
    await im.leaves(desk)
    await im.leaves(phone)
    assert len(rooms.take()) == 1


# §4.3.2: probes


def probe(from_: str, to: str) -> str:
    return f"<presence from='{from_}' to='{to}' type='probe' id='pr'/>"


async def test_probe_of_a_subscriber(im: World) -> None:
    elsewhere = await remote(im)
    await im.login("alice/desk", "<presence id='p'><show>away</show></presence>")
    await im.login("alice/phone", "<presence/>")
    await im.login("alice/silent")
    elsewhere.take()
    await im.arrives(probe("both@example.net", ALICE))
    assert elsewhere.take() == [
        f"<presence from='{FULL}' to='both@example.net' id='p'><show>away</show></presence>",
        f"<presence from='{ALICE}/phone' to='both@example.net'/>",
    ]


async def test_probe_of_an_absent_user(im: World) -> None:
    elsewhere = await remote(im)
    await im.arrives(probe("from@example.net", ALICE))
    assert elsewhere.take() == [
        f"<presence from='{ALICE}' to='from@example.net' type='unavailable' id='pr'/>"
    ]
    alice = await im.login("alice/desk", "<presence/>")
    await im.leaves(alice)
    elsewhere.take()
    im.clock.pass_(60)
    await im.arrives(probe("from@example.net", ALICE))
    assert elsewhere.take() == [
        (
            f"<presence from='{ALICE}' to='from@example.net' type='unavailable' id='pr'>"
            "<delay xmlns='urn:xmpp:delay' stamp='2023-11-14T22:13:20.000Z'/></presence>"
        )
    ]


async def test_probe_of_an_absent_user_where_no_times_are_kept(world: World) -> None:
    world.load("roster", roster.load(world.host, roster.Options()))
    world.load("presence", presence.load(world.host, presence.Options()))
    elsewhere = await remote(world)
    await world.arrives(probe("from@example.net", ALICE))
    assert elsewhere.take() == [
        f"<presence from='{ALICE}' to='from@example.net' type='unavailable' id='pr'/>"
    ]


@pytest.mark.parametrize("asker", ["none@example.net", "to@example.net", "stranger@example.net/x"])
async def test_probe_of_who_is_not_subscribed(im: World, asker: str) -> None:
    elsewhere = await remote(im)
    await im.login("alice/desk", "<presence/>")
    elsewhere.take()
    await im.arrives(probe(asker, ALICE))
    await im.arrives(probe(asker, FULL))
    bare = JID.parse(asker).bare
    assert (
        elsewhere.take()
        == [f"<presence from='{ALICE}' to='{bare}' type='unsubscribed' id='pr'/>"] * 2
    )


async def test_probe_of_a_full_jid_says_only_whether_it_is_there(im: World) -> None:
    elsewhere = await remote(im)
    await im.login("alice/desk", "<presence><show>away</show></presence>")
    elsewhere.take()
    await im.arrives(probe("both@example.net", FULL))
    await im.arrives(probe("both@example.net", f"{ALICE}/gone"))
    assert elsewhere.take() == [
        f"<presence from='{FULL}' to='both@example.net'/>",
        f"<presence from='{ALICE}/gone' to='both@example.net' type='unavailable'/>",
    ]


async def test_probe_of_who_got_directed_presence(im: World) -> None:
    rooms = im.domain("conference.example.net")
    room = "a@conference.example.net/me"
    alice = await im.login("alice/desk", "<presence><show>away</show></presence>")
    await im.login("alice/phone", "<presence/>")
    await im.says(alice, f"<presence to='{room}'><show>away</show></presence>")
    rooms.take()
    await im.arrives(probe(room, FULL))
    assert rooms.take() == [f"<presence from='{FULL}' to='{room}'/>"]
    await im.arrives(probe(room, f"{ALICE}/phone"))
    await im.arrives(probe("b@conference.example.net/me", FULL))
    assert [" type='unsubscribed'" in xml for xml in rooms.take()] == [True, True]


async def test_a_clients_probe_is_no_error(im: World) -> None:
    elsewhere = im.domain("example.net")
    await friends(im)
    await im.login("bob/desk", "<presence/>")
    alice = await im.login("alice/desk")
    await im.says(alice, f"<presence to='{BOB}' type='probe'/>")
    assert presences(alice) == [(f"{BOB}/desk", "")]
    assert isinstance(await im.says(alice, "<presence to='a@example.net' type='probe'/>"), Relayed)
    assert elsewhere.take() == [f"<presence from='{FULL}' to='a@example.net' type='probe'/>"]


# What comes in


async def test_incoming_presence_goes_to_available_resources(im: World) -> None:
    desk = await im.login("alice/desk", "<presence/>")
    phone = await im.login("alice/phone", "<presence><priority>-1</priority></presence>")
    silent = await im.login("alice/silent")
    desk.take()
    await im.arrives(f"<presence from='b@x/y' to='{ALICE}'/>")
    assert [len(session.take()) for session in (desk, phone, silent)] == [1, 1, 0]


# PresenceApi


async def test_announce_withdraw_and_probe(im: World) -> None:
    elsewhere = im.domain("example.net")
    api = im.host.require(PresenceApi)
    account, contact = JID.parse(ALICE), JID.parse("eve@example.net")
    alice = await im.login("alice/desk", "<presence><show>away</show></presence>")
    await im.login("alice/silent")
    api.announce(account, contact)
    api.withdraw(account, contact)
    await api.probe(account, contact, alice)
    assert elsewhere.take() == [
        f"<presence from='{FULL}' to='{contact}'><show>away</show></presence>",
        f"<presence from='{FULL}' to='{contact}' type='unavailable'/>",
        f"<presence from='{ALICE}' to='{contact}' type='probe'/>",
    ]


async def test_withdraw_forgets_directed_presence(im: World) -> None:
    elsewhere = im.domain("example.net")
    alice = await im.login("alice/desk")
    await im.says(alice, "<presence to='eve@example.net/x'/>")
    im.host.require(PresenceApi).withdraw(JID.parse(ALICE), JID.parse("eve@example.net"))
    assert [" type='unavailable'" in xml for xml in elsewhere.take()] == [False, True]
    await im.leaves(alice)
    assert elsewhere.take() == []


@pytest.mark.parametrize(
    ("asker", "sees"),
    [
        ("none@example.net", False),
        ("to@example.net", False),
        ("from@example.net", True),
        ("both@example.net/x", True),
        ("alice@example.com", True),
        ("alice@example.com/phone", True),
        ("stranger@example.net", False),
    ],
)
async def test_may_see_and_may_ask(im: World, asker: str, sees: bool) -> None:
    await remote(im)
    api = im.host.require(PresenceApi)
    alice = await im.login("alice/desk")
    assert await api.may_see(JID.parse(ALICE), JID.parse(asker)) is sees
    assert await settle(api.may_ask(alice, JID.parse(asker))) is sees


async def test_directed_presence_lets_ask(im: World) -> None:
    im.domain("conference.example.net")
    api = im.host.require(PresenceApi)
    alice = await im.login("alice/desk")
    phone = await im.login("alice/phone")
    await im.says(alice, "<presence to='a@conference.example.net/me'/>")

    async def may(session: RecordingSession, asker: str) -> bool:
        return await settle(api.may_ask(session, JID.parse(asker)))

    assert await may(alice, "a@conference.example.net/me")
    assert await may(alice, "a@conference.example.net/other")
    assert not await may(alice, "b@conference.example.net/me")
    assert not await may(phone, "a@conference.example.net/me")
