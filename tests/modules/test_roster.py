"""RFC 6121 §2, with the error cases of §2.3.3 one by one."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from jabberd.core.ports import RosterApi
from jabberd.modules import presence, roster, subscription
from jabberd.storage.api import RosterItem, RosterPage, Subscription
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Iq, read_error
from tests.modules.host import RecordingSession, World

pytestmark = pytest.mark.asyncio
ALICE = JID.parse("alice@example.com")


def get(ver: str | None = None) -> str:
    attr = "" if ver is None else f" ver='{ver}'"
    return f"<iq type='get' id='g'><query xmlns='jabber:iq:roster'{attr}/></iq>"


def always(item: RosterItem) -> Callable[[RosterItem | None], RosterItem]:
    """A transition that ends in this item."""
    return lambda _before: item


def put(items: str, to: str = "") -> str:
    return f"<iq type='set' id='s'{to}><query xmlns='jabber:iq:roster'>{items}</query></iq>"


async def fetch(world: World, session: RecordingSession, ver: str | None = None) -> str:
    """The inside of the roster result."""
    session.inbox.clear()
    await world.says(session, get(ver))
    return session.take_all(Iq)[0].inner.decode()


def version(query: str) -> str:
    found = re.search(r" ver='([^']*)'", query)
    assert found
    return found[1]


def without_version(query: str) -> str:
    return re.sub(r" ver='[^']*'", "", query)


async def error(world: World, session: RecordingSession, xml: str) -> tuple[Condition, str]:
    await world.says(session, xml)
    (reply,) = session.take_all(Iq)
    assert (reply.type, reply.id) == ("error", "s")
    found = read_error(reply)
    return found.condition, found.type.value


async def test_empty_roster_is_an_empty_query(im: World) -> None:
    alice = await im.login("alice/desk")
    await im.says(alice, get())
    assert alice.take() == [
        (
            "<iq to='alice@example.com/desk' type='result' id='g'>"
            "<query xmlns='jabber:iq:roster' ver='0'/></iq>"
        )
    ]


async def test_set_answers_and_pushes_to_interested_resources_only(im: World) -> None:
    desk, phone, tv = [await im.login(f"alice/{name}") for name in ("desk", "phone", "tv")]
    await fetch(im, desk)
    await fetch(im, phone)
    await im.says(
        desk,
        put("<item jid='bob@example.com' name='Bob &amp; Co'><group>Friends</group></item>"),
    )
    item = (
        "<item jid='bob@example.com' subscription='none' name='Bob &amp; Co'>"
        "<group>Friends</group></item>"
    )
    pushes = desk.take_all(Iq)
    assert sorted(iq.type for iq in pushes) == ["result", "set"]
    (push,) = [iq for iq in pushes if iq.type == "set"]
    assert (push.from_, push.to) == (None, desk.jid)
    assert item in push.inner.decode()
    (other,) = phone.take_all(Iq)
    assert other.inner == push.inner
    assert other.id != push.id
    assert tv.take() == []
    assert item in await fetch(im, tv)


async def test_set_on_an_empty_address_and_on_the_own_bare_jid(im: World) -> None:
    alice = await im.login("alice/desk")
    await im.says(alice, put("<item jid='bob@example.com'/>", " to='alice@example.com'"))
    (reply,) = alice.take_all(Iq)
    assert (reply.type, reply.from_) == ("result", ALICE)


async def test_update_replaces_name_and_groups_and_ignores_flags(im: World) -> None:
    alice = await im.login("alice/desk")
    await im.says(alice, put("<item jid='bob@example.com' name='Bob'><group>A</group></item>"))
    await im.says(
        alice,
        put("<item jid='bob@example.com' subscription='both' ask='subscribe' approved='true'/>"),
    )
    alice.take()
    assert "<item jid='bob@example.com' subscription='none'/>" in await fetch(im, alice)


async def test_set_keeps_the_subscription(im: World) -> None:
    both = RosterItem("bob@example.com", subscription=Subscription.BOTH)
    await im.stores.roster.change(ALICE.text, both.contact, lambda _: both)
    alice = await im.login("alice/desk")
    await im.says(alice, put("<item jid='bob@example.com' name='B'/>"))
    assert await im.stores.roster.item(ALICE.text, both.contact) == replace(both, name="B")


LONG = "x" * 1024


@pytest.mark.parametrize(
    ("items", "condition", "kind"),
    [
        ("<item jid='b@x'/><item jid='c@x'/>", Condition.BAD_REQUEST, "modify"),
        ("", Condition.BAD_REQUEST, "modify"),
        ("<item/>", Condition.BAD_REQUEST, "modify"),
        ("<thing jid='b@x'/>", Condition.BAD_REQUEST, "modify"),
        ("<item jid='@x'/>", Condition.JID_MALFORMED, "modify"),
        (
            "<item jid='b@x'><group>A</group><group>A</group></item>",
            Condition.BAD_REQUEST,
            "modify",
        ),
        # U+E000 is for private use: no resourcepart, but somebody's group.
        (
            "<item jid='b@x'><group>\ue000</group><group>\ue000</group></item>",
            Condition.BAD_REQUEST,
            "modify",
        ),
        (f"<item jid='b@x' name='{LONG}'/>", Condition.NOT_ACCEPTABLE, "modify"),
        ("<item jid='b@x'><group/></item>", Condition.NOT_ACCEPTABLE, "modify"),
        (f"<item jid='b@x'><group>{LONG}</group></item>", Condition.NOT_ACCEPTABLE, "modify"),
        ("<item jid='alice@example.com'/>", Condition.NOT_ALLOWED, "cancel"),
        ("<item jid='b@x' subscription='remove'/>", Condition.ITEM_NOT_FOUND, "modify"),
    ],
)
async def test_errors_of_a_set(im: World, items: str, condition: Condition, kind: str) -> None:
    alice = await im.login("alice/desk")
    await fetch(im, alice)
    assert await error(im, alice, put(items)) == (condition, kind)
    assert (await im.stores.roster.get(ALICE.text)).items == ()


@pytest.mark.parametrize("whose", ["bob@example.com", "nobody@example.com"])
@pytest.mark.parametrize("kind", ["get", "set"])
async def test_other_rosters_are_forbidden(im: World, whose: str, kind: str) -> None:
    alice = await im.login("alice/desk")
    inside = "<item jid='b@x'/>" if kind == "set" else ""
    xml = put(inside, f" to='{whose}'").replace("'set'", f"'{kind}'")
    assert await error(im, alice, xml) == (Condition.FORBIDDEN, "auth")


async def test_strangers_from_elsewhere_are_refused(im: World) -> None:
    elsewhere = im.domain("example.net")
    await im.arrives(
        "<iq type='set' id='s' from='alice@example.net/x' to='alice@example.com'>"
        "<query xmlns='jabber:iq:roster'><item jid='b@x'/></query></iq>"
    )
    (reply,) = elsewhere.inbox
    assert read_error(reply).condition is Condition.FORBIDDEN


async def test_a_get_has_no_items(im: World) -> None:
    alice = await im.login("alice/desk")
    xml = put("<item jid='b@x'/>").replace("'set'", "'get'")
    assert await error(im, alice, xml) == (Condition.BAD_REQUEST, "modify")


async def test_a_full_roster_takes_no_new_items_but_changes(world: World) -> None:
    world.load("roster", roster.load(world.host, roster.Options(max_items=2)))
    alice = await world.login("alice/desk")
    await world.says(alice, put("<item jid='b@x'/>"))
    await world.says(alice, put("<item jid='c@x'/>"))
    alice.take()
    assert await error(world, alice, put("<item jid='d@x'/>")) == (
        Condition.RESOURCE_CONSTRAINT,
        "wait",
    )
    await world.says(alice, put("<item jid='c@x' name='C'/>"))
    assert [iq.type for iq in alice.take_all(Iq)] == ["result"]


async def test_others_may_not_use_the_last_tenth(world: World) -> None:
    world.load("roster", roster.load(world.host, roster.Options(max_items=10)))
    api = world.host.require(RosterApi)
    for number in range(9):
        contact = JID.parse(f"c{number}@x")
        await api.change(ALICE, contact, always(RosterItem(contact.text)), foreign=True)
    with pytest.raises(StanzaError):
        await api.change(ALICE, JID.parse("d@x"), lambda _: RosterItem("d@x"), foreign=True)
    await api.change(ALICE, JID.parse("d@x"), lambda _: RosterItem("d@x"))


# §2.5: removing


@pytest.mark.parametrize(
    ("subscription", "ask", "sent"),
    [
        (Subscription.NONE, False, []),
        (Subscription.NONE, True, ["unsubscribe"]),
        (Subscription.TO, False, ["unsubscribe"]),
        (Subscription.FROM, False, ["unsubscribed"]),
        (Subscription.BOTH, False, ["unsubscribe", "unsubscribed"]),
    ],
)
async def test_remove(
    im: World, subscription: Subscription, ask: bool, sent: Sequence[str]
) -> None:
    elsewhere = im.domain("example.net")
    item = RosterItem("bob@example.net", subscription=subscription, ask=ask)
    await im.stores.roster.change(ALICE.text, item.contact, lambda _: item)
    alice = await im.login("alice/desk")
    await fetch(im, alice)
    await im.says(alice, put("<item jid='bob@example.net' subscription='remove'/>"))
    push, result = sorted(alice.take_all(Iq), key=lambda iq: iq.type, reverse=True)
    assert result.type == "result"
    assert without_version(push.inner.decode()) == (
        "<query xmlns='jabber:iq:roster'>"
        "<item jid='bob@example.net' subscription='remove'/></query>"
    )
    assert elsewhere.take() == [
        f"<presence from='alice@example.com' to='bob@example.net' type='{kind}'/>" for kind in sent
    ]
    assert "bob" not in await fetch(im, alice)


async def test_removed_subscribers_see_unavailable_first(im: World) -> None:
    elsewhere = im.domain("example.net")
    item = RosterItem("bob@example.net", subscription=Subscription.FROM)
    await im.stores.roster.change(ALICE.text, item.contact, lambda _: item)
    alice = await im.login("alice/desk", "<presence/>")
    elsewhere.take()
    await im.says(alice, put("<item jid='bob@example.net' subscription='remove'/>"))
    assert elsewhere.take() == [
        "<presence from='alice@example.com/desk' to='bob@example.net' type='unavailable'/>",
        "<presence from='alice@example.com' to='bob@example.net' type='unsubscribed'/>",
    ]


async def test_a_request_outlives_the_item(im: World) -> None:
    item = RosterItem("bob@example.net", name="Bob", pending_in=b"<presence/>")
    await im.stores.roster.change(ALICE.text, item.contact, lambda _: item)
    alice = await im.login("alice/desk")
    await im.says(alice, put("<item jid='bob@example.net' subscription='remove'/>"))
    assert await im.stores.roster.item(ALICE.text, item.contact) == RosterItem(
        "bob@example.net", pending_in=b"<presence/>", listed=False
    )
    alice.take()
    assert "bob" not in await fetch(im, alice)


# §2.6: versions


async def test_the_feature_is_offered(im: World) -> None:
    features = [
        element.to_bytes()
        for _, module in im.host.loaded()
        for element in module.stream_features
        if not callable(element)
    ]
    assert b"<ver xmlns='urn:xmpp:features:rosterver'/>" in features


async def test_an_unchanged_roster_is_not_sent_again(im: World) -> None:
    alice = await im.login("alice/desk")
    await im.says(alice, put("<item jid='b@x'/>"))
    alice.take()
    ver = version(await fetch(im, alice, ""))
    assert await fetch(im, alice, ver) == ""


@pytest.mark.parametrize("ver", [None, "", "999999999999999", "ver7", "-1", "9" * 30])
async def test_an_unknown_version_gets_everything(im: World, ver: str | None) -> None:
    alice = await im.login("alice/desk")
    await im.says(alice, put("<item jid='b@x'/>"))
    alice.take()
    assert "<item jid='b@x'" in await fetch(im, alice, ver)


async def test_changes_are_pushed_after_an_empty_result(im: World) -> None:
    desk = await im.login("alice/desk")
    for contact in ("b@x", "c@x", "d@x"):
        await im.says(desk, put(f"<item jid='{contact}'/>"))
    desk.take()
    ver = version(await fetch(im, desk))
    await im.says(desk, put("<item jid='c@x' name='C'/>"))
    await im.says(desk, put("<item jid='b@x' subscription='remove'/>"))
    phone = await im.login("alice/phone")
    await im.says(phone, get(ver))
    result, *pushes = phone.take_all(Iq)
    assert (result.type, result.inner) == ("result", b"")
    assert [without_version(push.inner.decode()) for push in pushes] == [
        "<query xmlns='jabber:iq:roster'><item jid='c@x' subscription='none' name='C'/></query>",
        "<query xmlns='jabber:iq:roster'><item jid='b@x' subscription='remove'/></query>",
    ]
    versions = [version(push.inner.decode()) for push in pushes]
    assert len(set(versions)) == 2
    # The last one is the present version; who got only the first is sent both again.
    assert await fetch(im, desk, versions[1]) == ""
    phone.take()
    await im.says(phone, get(versions[0]))
    assert len(phone.take_all(Iq)) == 3


async def test_live_pushes_carry_the_version(im: World) -> None:
    alice = await im.login("alice/desk")
    await fetch(im, alice)
    await im.says(alice, put("<item jid='b@x'/>"))
    (push,) = [iq for iq in alice.take_all(Iq) if iq.type == "set"]
    assert await fetch(im, alice, version(push.inner.decode())) == ""


async def test_a_hidden_request_in_the_changes_means_a_whole_roster(im: World) -> None:
    alice = await im.login("alice/desk")
    await im.says(alice, put("<item jid='b@x'/>"))
    alice.take()
    ver = version(await fetch(im, alice))
    hidden = RosterItem("c@x", pending_in=b"<presence/>", listed=False)
    api = im.host.require(RosterApi)
    await api.change(ALICE, JID.parse("c@x"), lambda _: hidden)
    assert alice.take() == []
    inner = await fetch(im, alice, ver)
    assert "b@x" in inner
    assert "c@x" not in inner


async def test_ask_and_approval_are_shown(im: World) -> None:
    item = RosterItem("b@x", ask=True, approved=True, subscription=Subscription.FROM)
    await im.stores.roster.change(ALICE.text, item.contact, lambda _: item)
    alice = await im.login("alice/desk")
    assert "<item jid='b@x' subscription='from' ask='subscribe' approved='true'/>" in await fetch(
        im, alice
    )


# The cache


async def test_what_is_cached_is_exact(im: World) -> None:
    await im.login("alice/desk")
    api = im.host.require(RosterApi)
    assert await api.items(ALICE) == ()
    contacts = ["m@x", "c@x", "z@x", "a@x"]
    for contact in contacts:
        await api.change(ALICE, JID.parse(contact), always(RosterItem(contact)))
    await api.change(ALICE, JID.parse("c@x"), lambda item: item and replace(item, name="C"))
    await api.change(ALICE, JID.parse("m@x"), lambda _: None)
    stored = (await im.stores.roster.get(ALICE.text)).items
    assert list(await api.items(ALICE)) == sorted(stored, key=lambda item: item.contact)
    assert await api.item(ALICE, JID.parse("c@x")) == RosterItem("c@x", name="C")
    assert await api.item(ALICE, JID.parse("m@x")) is None


class _SlowRoster:
    """A roster store whose reads can be held up."""

    def __init__(self, world: World) -> None:
        self.inner = world.stores.roster
        self.gate = asyncio.Event()
        self.reads = 0
        self.change = self.inner.change

    async def get(self, owner: str, *, since: int | None = None) -> RosterPage:
        self.reads += 1
        page = await self.inner.get(owner, since=since)
        await self.gate.wait()
        return page


async def test_a_change_during_a_read_is_not_lost(
    im: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = _SlowRoster(im)
    monkeypatch.setattr(im.stores, "roster", slow)
    await im.login("alice/desk")
    api = im.host.require(RosterApi)
    reads = [asyncio.create_task(asyncio.wait_for(api.items(ALICE), 5)) for _ in range(3)]
    await asyncio.sleep(0)
    change = asyncio.create_task(api.change(ALICE, JID.parse("b@x"), lambda _: RosterItem("b@x")))
    await asyncio.sleep(0)
    slow.gate.set()
    await asyncio.gather(*reads, change)
    assert await api.items(ALICE) == (RosterItem("b@x"),)
    assert slow.reads == 1


async def test_the_cache_is_bounded_and_for_those_online(world: World) -> None:
    host = world.host
    module = roster.load(host, roster.Options(cache=1))
    world.load("roster", module)
    world.load("subscription", subscription.load(host, subscription.Options()))
    world.load("presence", presence.load(host, presence.Options()))
    api = host.require(RosterApi)
    assert isinstance(api, roster.Rosters)
    await api.items(ALICE)
    assert list(api._cache) == []
    await world.login("alice/desk", "<presence/>")
    await world.login("bob/desk", "<presence/>")
    assert list(api._cache) == ["bob@example.com"]
    api.forget(JID.parse("bob@example.com"))
    assert list(api._cache) == []
    assert api._turns == {}
