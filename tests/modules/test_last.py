"""XEP-0012."""

from __future__ import annotations

import pytest

from jabberd.core.ports import LastPresence, RosterApi
from jabberd.modules import last, presence, roster
from jabberd.storage.api import RosterItem, Subscription
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Iq, read_error
from tests.modules.host import START, RecordingSession, World

pytestmark = pytest.mark.asyncio
ALICE, BOB = "alice@example.com", "bob@example.com"


async def ask(world: World, session: RecordingSession, to: str) -> str:
    """The reply's query element, or the condition of its error."""
    attr = f" to='{to}'" if to else ""
    session.inbox.clear()
    await world.says(session, f"<iq type='get' id='1'{attr}><query xmlns='jabber:iq:last'/></iq>")
    (reply,) = session.take_all(Iq)
    if reply.type == "error":
        return read_error(reply).condition.value
    return reply.inner.decode()


async def befriend(world: World) -> None:
    item = RosterItem(ALICE, subscription=Subscription.FROM)
    api = world.host.require(RosterApi)
    await api.change(JID.parse(BOB), JID.parse(ALICE), lambda _: item)


def seconds(number: int, status: str = "") -> str:
    if status:
        return f"<query xmlns='jabber:iq:last' seconds='{number}'>{status}</query>"
    return f"<query xmlns='jabber:iq:last' seconds='{number}'/>"


async def test_uptime(im: World) -> None:
    im.clock.pass_(123456)
    alice = await im.login("alice/desk")
    assert await ask(im, alice, "example.com") == seconds(123456)


async def test_last_words_of_a_friend(im: World) -> None:
    await befriend(im)
    bob = await im.login("bob/desk", "<presence/>")
    await im.says(bob, "<presence type='unavailable'><status>Heading &lt;Home</status></presence>")
    im.clock.pass_(3)
    await im.leaves(bob)
    im.clock.pass_(900)
    alice = await im.login("alice/desk")
    assert await ask(im, alice, BOB) == seconds(903, "Heading &lt;Home")


async def test_who_breaks_off_leaves_only_the_time(im: World) -> None:
    await befriend(im)
    bob = await im.login("bob/desk", "<presence/>")
    await im.says(bob, "<presence type='unavailable'><status>bye</status></presence>")
    await im.says(bob, "<presence/>")
    im.clock.pass_(10)
    await im.leaves(bob)
    im.clock.pass_(1)
    alice = await im.login("alice/desk")
    assert await ask(im, alice, BOB) == seconds(1)


async def test_only_the_last_session_counts(im: World) -> None:
    api = im.host.require(LastPresence)
    desk, phone = await im.login("bob/desk"), await im.login("bob/phone")
    await im.leaves(desk)
    assert await api.last(JID.parse(BOB)) is None
    im.clock.pass_(5)
    await im.leaves(phone)
    assert await api.last(JID.parse(BOB)) == (START + 5, "")


async def test_many_at_once(im: World) -> None:
    api = im.host.require(LastPresence)
    for name in ("bob/desk", "carol/desk"):
        await im.leaves(await im.login(name))
        im.clock.pass_(5)
    everybody = [JID.parse(f"{name}@example.com") for name in ("alice", "bob", "carol")]
    assert await api.last_of(everybody) == {
        "bob@example.com": (START, ""),
        "carol@example.com": (START + 5, ""),
    }
    assert await api.last_of([]) == {}


async def test_who_is_connected_was_active_just_now(im: World) -> None:
    await befriend(im)
    await im.login("bob/desk")
    im.clock.pass_(50)
    alice = await im.login("alice/desk")
    assert await ask(im, alice, BOB) == seconds(0)
    assert await ask(im, alice, "") == seconds(0)
    assert await ask(im, alice, ALICE) == seconds(0)


async def test_nothing_known_of_a_friend(im: World) -> None:
    await befriend(im)
    alice = await im.login("alice/desk")
    assert await ask(im, alice, BOB) == "item-not-found"


@pytest.mark.parametrize("whom", [BOB, "nobody@example.com"])
async def test_strangers_learn_nothing(im: World, whom: str) -> None:
    await im.leaves(await im.login("bob/desk"))
    alice = await im.login("alice/desk")
    assert await ask(im, alice, whom) == "forbidden"


async def test_a_resource_is_asked_itself_if_that_is_allowed(im: World) -> None:
    bob = await im.login("bob/desk", "<presence/>")
    alice = await im.login("alice/desk")
    assert await ask(im, alice, f"{BOB}/desk") == "forbidden"
    assert bob.take() == []
    await befriend(im)
    await im.says(
        alice, f"<iq type='get' id='1' to='{BOB}/desk'><query xmlns='jabber:iq:last'/></iq>"
    )
    (asked,) = bob.take_all(Iq)
    assert asked.from_ == alice.jid


async def test_subscribers_from_elsewhere_may_ask(im: World) -> None:
    elsewhere = im.domain("example.net")
    item = RosterItem("eve@example.net", subscription=Subscription.BOTH)
    await im.stores.roster.change(BOB, item.contact, lambda _: item)
    await im.leaves(await im.login("bob/desk"))
    im.clock.pass_(7)
    for name in ("eve", "mallory"):
        await im.arrives(
            f"<iq type='get' id='1' from='{name}@example.net/x' to='{BOB}'>"
            "<query xmlns='jabber:iq:last'/></iq>"
        )
    answer, refusal = elsewhere.inbox
    assert answer.inner.decode() == seconds(7)
    assert read_error(refusal).condition.value == "forbidden"


async def test_long_status_texts_are_cut(world: World) -> None:
    host = world.host
    world.load("roster", roster.load(host, roster.Options()))
    world.load("presence", presence.load(host, presence.Options()))
    world.load("last", last.load(host, last.Options(max_status=5)))
    bob = await world.login("bob/desk", "<presence/>")
    await world.says(bob, "<presence type='unavailable'><status>ünïcödé</status></presence>")
    await world.leaves(bob)
    assert await host.require(LastPresence).last(JID.parse(BOB)) == (START, "ünïcö")


async def test_features(im: World) -> None:
    for features in ("features", "account_features"):
        assert any("jabber:iq:last" in getattr(m, features) for _, m in im.host.loaded())
