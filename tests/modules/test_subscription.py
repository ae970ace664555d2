"""RFC 6121 §3: the flows between two users; every cell is in tests/core/test_subscription."""

from __future__ import annotations

import pytest

from jabberd.core.module import AccountEvent
from jabberd.core.verdict import Delivered, Dropped, Handled, Stored
from jabberd.modules import presence, roster, subscription
from jabberd.storage.api import RosterItem, Subscription
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Iq, Presence, read_error, read_stanza
from tests.modules.host import RecordingSession, World, presences

pytestmark = pytest.mark.asyncio
ROSTER = "<iq type='get' id='g'><query xmlns='jabber:iq:roster'/></iq>"
ALICE, BOB = "alice@example.com", "bob@example.com"


async def enter(world: World, address: str) -> RecordingSession:
    """An available and interested resource."""
    session = await world.login(address)
    await world.says(session, ROSTER)
    await world.says(session, "<presence/>")
    session.inbox.clear()
    return session


async def keep(world: World, owner: str, item: RosterItem) -> None:
    await world.stores.roster.change(owner, item.contact, lambda _: item)


async def state(world: World, owner: str, contact: str) -> str:
    item = await world.stores.roster.item(owner, contact)
    if item is None:
        return "-"
    flags = (" ask" * item.ask, " in" * (item.pending_in is not None), " ok" * item.approved)
    return item.subscription.value + "".join(flags) + " hidden" * (not item.listed)


def said(kind: str, to: str, more: str = "") -> str:
    return f"<presence type='{kind}' to='{to}'{more}/>"


def story(session: RecordingSession) -> list[str]:
    """What a client was sent: types of presence, and roster pushes by their subscription."""
    lines = []
    for stanza in session.inbox:
        if isinstance(stanza, Presence):
            lines.append(f"{stanza.type or 'available'} {stanza.from_}")
        elif isinstance(stanza, Iq) and stanza.type == "set":
            item = next(iter(stanza.request()))
            ask = " ask" * (item.get("ask") == "subscribe")
            approved = " approved" * (item.get("approved") == "true")
            lines.append(f"push {item.get('jid')} {item.get('subscription')}{ask}{approved}")
    session.inbox.clear()
    return lines


async def test_two_people_add_each_other(im: World) -> None:
    alice, bob = await enter(im, "alice/desk"), await enter(im, "bob/desk")

    await im.says(alice, said("subscribe", BOB, " id='1'"))
    assert story(alice) == [f"push {BOB} none ask"]
    assert bob.take() == [f"<presence from='{ALICE}' to='{BOB}' type='subscribe' id='1'/>"]
    assert await state(im, ALICE, BOB) == "none ask"
    assert await state(im, BOB, ALICE) == "none in hidden"

    await im.says(bob, said("subscribed", ALICE))
    assert story(bob) == [f"push {ALICE} from"]
    # §3.1.6: the approval, then the push, then the presence.
    assert story(alice) == [
        f"subscribed {BOB}",
        f"push {BOB} to",
        f"available {BOB}/desk",
    ]

    await im.says(bob, said("subscribe", ALICE))
    await im.says(alice, said("subscribed", BOB))
    assert story(bob) == [
        f"push {ALICE} from ask",
        f"subscribed {ALICE}",
        f"push {ALICE} both",
        f"available {ALICE}/desk",
    ]
    assert await state(im, ALICE, BOB) == await state(im, BOB, ALICE) == "both"


async def test_a_denied_request(im: World) -> None:
    alice, bob = await enter(im, "alice/desk"), await enter(im, "bob/desk")
    await im.says(alice, said("subscribe", BOB))
    alice.take()
    bob.take()
    await im.says(bob, said("unsubscribed", ALICE))
    assert story(bob) == []
    # No unavailable presence: it would tell what resources there are (§3.2.2).
    assert story(alice) == [f"unsubscribed {BOB}", f"push {BOB} none"]
    assert await state(im, BOB, ALICE) == "-"


async def test_a_cancelled_subscription(im: World) -> None:
    await keep(im, ALICE, RosterItem(BOB, subscription=Subscription.BOTH))
    await keep(im, BOB, RosterItem(ALICE, subscription=Subscription.BOTH))
    alice, bob = await enter(im, "alice/desk"), await enter(im, "bob/desk")
    alice.take()
    await im.says(bob, said("unsubscribed", ALICE))
    assert story(bob) == [f"push {ALICE} to"]
    assert story(alice) == [
        f"unavailable {BOB}/desk",
        f"unsubscribed {BOB}",
        f"push {BOB} from",
    ]
    await im.says(bob, "<presence><show>away</show></presence>")
    assert story(alice) == []


async def test_an_ended_subscription(im: World) -> None:
    await keep(im, ALICE, RosterItem(BOB, subscription=Subscription.BOTH))
    await keep(im, BOB, RosterItem(ALICE, subscription=Subscription.BOTH))
    alice, bob = await enter(im, "alice/desk"), await enter(im, "bob/desk")
    alice.take()
    await im.says(alice, said("unsubscribe", BOB))
    assert story(bob) == [f"unsubscribe {ALICE}", f"push {ALICE} to"]
    # The automatic "unsubscribed" meets a state in which it means nothing.
    assert story(alice) == [f"unavailable {BOB}/desk", f"push {BOB} from"]
    assert (await state(im, ALICE, BOB), await state(im, BOB, ALICE)) == ("from", "to")


async def test_requests_come_back_until_they_are_answered(im: World) -> None:
    elsewhere = im.domain("example.net")
    request = (
        f"<presence from='eve@example.net/x' to='{BOB}' type='subscribe'>"
        "<nick xmlns='http://jabber.org/protocol/nick'>Eve</nick></presence>"
    )
    assert isinstance(await im.arrives(request), Stored)
    assert isinstance(await im.arrives(request.replace("Eve", "Eva")), Dropped)
    bob = await im.login("bob/desk")
    await im.says(bob, "<presence><priority>-1</priority></presence>")
    expected = request.replace("/x'", "'")
    assert expected in bob.take()
    # A new priority makes no new resource.
    await im.says(bob, "<presence/>")
    assert [p.type for p in bob.take_all(Presence)] == [""]
    await im.says(bob, "<presence type='unavailable'/>")
    await im.says(bob, "<presence/>")
    assert expected in bob.take()
    assert elsewhere.take() == []
    await im.says(bob, said("subscribed", "eve@example.net"))
    assert [line.split(" type=")[-1] for line in elsewhere.take()] == [
        "'subscribed'/>",
        f"<presence from='{BOB}/desk' to='eve@example.net'/>",
    ]
    phone = await im.login("bob/phone")
    await im.says(phone, "<presence/>")
    assert "subscribe" not in [p.type for p in phone.take_all(Presence)]


async def test_requests_go_to_available_and_answers_to_interested_resources(im: World) -> None:
    await keep(im, BOB, RosterItem("bea@example.net", ask=True))
    available = await im.login("bob/available", "<presence/>")
    interested = await im.login("bob/interested")
    await im.says(interested, ROSTER)
    interested.take()
    eve = f"<presence from='eve@example.net' to='{BOB}' type='"
    await im.arrives(eve + "subscribe'/>")
    assert story(available) == ["subscribe eve@example.net"]
    assert story(interested) == []
    await im.arrives(eve.replace("eve", "bea") + "subscribed'/>")
    assert story(available) == []
    assert story(interested) == ["subscribed bea@example.net", "push bea@example.net to"]


async def test_large_requests_are_kept_without_their_payload(world: World) -> None:
    host = world.host
    world.load("roster", roster.load(host, roster.Options()))
    world.load("presence", presence.load(host, presence.Options()))
    world.load("subscription", subscription.load(host, subscription.Options(max_request=100)))
    large = f"<presence from='e@x' to='{BOB}' type='subscribe' id='1'><status>"
    await world.arrives(large + "x" * 200 + "</status></presence>")
    item = await world.stores.roster.item(BOB, "e@x")
    assert item is not None
    assert item.pending_in == f"<presence from='e@x' to='{BOB}' type='subscribe' id='1'/>".encode()


async def test_a_request_that_became_unreadable_is_delivered_bare(im: World) -> None:
    await keep(im, BOB, RosterItem("e@x", pending_in=b"<presence", listed=False))
    bob = await im.login("bob/desk")
    await im.says(bob, "<presence/>")
    assert f"<presence from='e@x' to='{BOB}' type='subscribe'/>" in bob.take()


async def test_who_is_subscribed_already_is_answered(im: World) -> None:
    elsewhere = im.domain("example.net")
    await keep(im, BOB, RosterItem("eve@example.net", subscription=Subscription.FROM))
    bob = await enter(im, "bob/desk")
    elsewhere.take()
    verdict = await im.arrives(
        f"<presence from='eve@example.net' to='{BOB}' type='subscribe' id='7'/>"
    )
    assert isinstance(verdict, Handled)
    assert elsewhere.take() == [
        f"<presence from='{BOB}' to='eve@example.net' type='subscribed' id='7'/>",
        f"<presence from='{BOB}/desk' to='eve@example.net'/>",
    ]
    assert story(bob) == []


async def test_preapproval(im: World) -> None:
    alice, bob = await enter(im, "alice/desk"), await enter(im, "bob/desk")
    await im.says(bob, said("subscribed", ALICE))
    assert story(bob) == [f"push {ALICE} none approved"]
    assert story(alice) == []
    await im.says(alice, said("subscribe", BOB))
    assert story(bob) == [f"push {ALICE} from approved"]
    assert story(alice) == [
        f"push {BOB} none ask",
        f"subscribed {BOB}",
        f"push {BOB} to",
        f"available {BOB}/desk",
    ]
    await im.says(bob, said("unsubscribed", ALICE))
    assert await state(im, BOB, ALICE) == "none"


async def test_a_withdrawn_preapproval_is_nobody_elses_business(im: World) -> None:
    alice, bob = await enter(im, "alice/desk"), await enter(im, "bob/desk")
    await im.says(bob, said("subscribed", ALICE))
    await im.says(bob, said("unsubscribed", ALICE))
    assert story(bob) == [f"push {ALICE} none approved", f"push {ALICE} none"]
    assert story(alice) == []


async def test_the_feature_is_offered(im: World) -> None:
    features = [
        element.to_bytes()
        for _, module in im.host.loaded()
        for element in module.stream_features
        if not callable(element)
    ]
    assert b"<sub xmlns='urn:xmpp:features:pre-approval'/>" in features


async def test_requests_to_a_full_jid_mean_the_account(im: World) -> None:
    alice, bob = await enter(im, "alice/desk"), await enter(im, "bob/desk")
    await im.says(alice, said("subscribe", f"{BOB}/phone"))
    assert bob.take() == [f"<presence from='{ALICE}' to='{BOB}' type='subscribe'/>"]
    await im.arrives(f"<presence from='eve@x/y' to='{BOB}/gone' type='subscribe'/>")
    assert bob.take() == [f"<presence from='eve@x' to='{BOB}' type='subscribe'/>"]


@pytest.mark.parametrize("kind", ["subscribed", "unsubscribe", "unsubscribed"])
async def test_answers_to_a_resource_that_is_gone_are_ignored(im: World, kind: str) -> None:
    item = RosterItem("eve@x", ask=True, subscription=Subscription.FROM)
    await keep(im, BOB, item)
    verdict = await im.arrives(f"<presence from='eve@x' to='{BOB}/gone' type='{kind}'/>")
    assert isinstance(verdict, Dropped)
    assert await im.stores.roster.item(BOB, "eve@x") == item


@pytest.mark.parametrize("kind", sorted(Presence.SUBSCRIPTION_TYPES))
async def test_oneself_is_no_contact(im: World, kind: str) -> None:
    alice = await enter(im, "alice/desk")
    assert isinstance(await im.says(alice, said(kind, ALICE)), Dropped)
    assert story(alice) == []
    assert await state(im, ALICE, ALICE) == "-"


@pytest.mark.parametrize("kind", sorted(Presence.SUBSCRIPTION_TYPES))
async def test_accounts_that_do_not_exist_say_nothing(im: World, kind: str) -> None:
    elsewhere = im.domain("example.net")
    xml = f"<presence from='eve@example.net' to='nobody@example.com' type='{kind}'/>"
    assert isinstance(await im.arrives(xml), Dropped)
    assert elsewhere.take() == []


async def test_a_full_roster_drops_requests_silently(world: World) -> None:
    host, elsewhere = world.host, world.domain("example.net")
    world.load("roster", roster.load(host, roster.Options(max_items=1)))
    world.load("presence", presence.load(host, presence.Options()))
    world.load("subscription", subscription.load(host, subscription.Options()))
    await keep(world, BOB, RosterItem("a@x"))
    verdict = await world.arrives(f"<presence from='eve@example.net' to='{BOB}' type='subscribe'/>")
    assert isinstance(verdict, Dropped)
    assert elsewhere.take() == []


async def test_a_full_roster_is_an_error_for_its_owner(world: World) -> None:
    host = world.host
    world.load("roster", roster.load(host, roster.Options(max_items=1)))
    world.load("presence", presence.load(host, presence.Options()))
    world.load("subscription", subscription.load(host, subscription.Options()))
    await keep(world, ALICE, RosterItem("a@x"))
    alice = await world.login("alice/desk")
    await world.says(alice, said("subscribe", BOB))
    (error,) = alice.take_all(Presence)
    assert read_error(error).condition.value == "resource-constraint"


async def test_verdicts_name_what_happened(im: World) -> None:
    alice = await enter(im, "alice/desk")
    assert isinstance(await im.says(alice, said("subscribe", BOB)), Stored)
    bob = await im.login("bob/desk")
    await im.says(bob, "<presence/>")
    assert isinstance(await im.says(bob, said("subscribed", ALICE)), Delivered)
    assert isinstance(await im.says(bob, said("subscribed", ALICE)), Handled)


async def test_contacts_of_a_deleted_account_are_told(im: World) -> None:
    elsewhere = im.domain("example.net")
    for name, kind, ask, waits in (
        ("none", Subscription.NONE, False, None),
        ("asked", Subscription.NONE, True, None),
        ("waits", Subscription.NONE, False, b"<presence/>"),
        ("to", Subscription.TO, False, None),
        ("from", Subscription.FROM, False, None),
        ("both", Subscription.BOTH, False, None),
    ):
        await keep(im, ALICE, RosterItem(f"{name}@example.net", "", (), kind, ask, waits))
    await im.host.emit_account(AccountEvent.DELETING, JID.parse(ALICE))
    told = {(str(s.to), s.type) for s in map(read_stanza, map(str.encode, elsewhere.take()))}
    assert told == {
        ("asked@example.net", "unsubscribe"),
        ("waits@example.net", "unsubscribed"),
        ("to@example.net", "unsubscribe"),
        ("from@example.net", "unsubscribed"),
        ("both@example.net", "unsubscribe"),
        ("both@example.net", "unsubscribed"),
    }


async def test_presence_between_strangers_stays_away(im: World) -> None:
    alice, bob = await enter(im, "alice/desk"), await enter(im, "bob/desk")
    await im.says(alice, said("subscribe", BOB))
    bob.take()
    await im.says(alice, "<presence><show>away</show></presence>")
    assert presences(bob) == []
