"""XEP-0160 and XEP-0203."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from jabberd.core.verdict import Bounced, Delivered, Dropped, Stored
from jabberd.modules import offline, presence, roster
from jabberd.storage.log_api import Entry, Unit
from jabberd.xmpp.stanza import Message, Presence, read_error, read_stanza
from tests.modules.host import RecordingSession, World

pytestmark = pytest.mark.asyncio
BOB = "bob@example.com"
ACTIVE = "<active xmlns='http://jabber.org/protocol/chatstates'/>"


def message(body: str, kind: str = "chat", to: str = BOB, more: str = "") -> str:
    text = f"<body>{body}</body>" if body else ""
    return f"<message to='{to}' type='{kind}'>{text}{more}</message>"


async def waiting(world: World) -> int:
    return await world.waiting(BOB)


def _presence(session: RecordingSession) -> Presence:
    return Presence(from_=session.jid)


def bodies(session: RecordingSession) -> list[str | None]:
    return [stanza.body() for stanza in session.take_all(Message)]


async def test_messages_wait_and_come_in_order_with_their_time(im: World) -> None:
    alice = await im.login("alice/desk")
    for number in range(3):
        assert isinstance(await im.says(alice, message(f"m{number}")), Stored)
        im.clock.pass_(1)
    bob = await im.login("bob/desk")
    await im.says(bob, "<presence/>")
    texts = [m.to_bytes().decode() for m in bob.take_all(Message)]
    assert texts == [
        f"<message from='alice@example.com/desk' to='{BOB}' type='chat'><body>m{n}</body>"
        f"<delay xmlns='urn:xmpp:delay' from='example.com' stamp='2023-11-14T22:13:2{n}.000Z'>"
        "Offline storage</delay></message>"
        for n in range(3)
    ]
    assert await waiting(im) == 0
    await im.says(bob, "<presence type='unavailable'/>")
    await im.says(bob, "<presence/>")
    assert bodies(bob) == []


async def test_the_stanza_is_kept_whole(im: World) -> None:
    alice = await im.login("alice/desk")
    await im.says(
        alice,
        f"<message to='{BOB}' id='i' xml:lang='de'><subject>S &amp; T</subject>"
        "<x xmlns='urn:example' xmlns:p='urn:p' p:a='1'/></message>",
    )
    bob = await im.login("bob/desk")
    await im.says(bob, "<presence/>")
    (stanza,) = bob.take_all(Message)
    assert (stanza.id, stanza.lang, stanza.type) == ("i", "de", "")
    assert [element.name for element in stanza.payload()] == ["subject", "x", "delay"]
    x = stanza.child("urn:example", "x")
    assert x is not None
    assert x.attrs == {"urn:p a": "1"}


@pytest.mark.parametrize(
    ("kind", "to", "verdict"),
    [
        ("chat", BOB, Stored),
        ("normal", BOB, Stored),
        ("odd", BOB, Stored),
        ("chat", BOB + "/gone", Stored),
        ("normal", BOB + "/gone", Bounced),
        ("groupchat", BOB, Bounced),
        ("headline", BOB, Dropped),
        ("error", BOB, Dropped),
    ],
)
async def test_what_is_kept(im: World, kind: str, to: str, verdict: type) -> None:
    alice = await im.login("alice/desk")
    assert isinstance(await im.says(alice, message("m", kind, to)), verdict)
    assert await waiting(im) == (verdict is Stored)


@pytest.mark.parametrize(
    ("body", "more", "verdict"),
    [
        ("", ACTIVE, Dropped),
        ("", "", Dropped),
        ("m", ACTIVE, Stored),
        ("", "<request xmlns='urn:xmpp:receipts'/>", Stored),
        ("m", "<no-store xmlns='urn:xmpp:hints'/>", Bounced),
        ("m", "<no-permanent-store xmlns='urn:xmpp:hints'/>", Stored),
    ],
)
async def test_what_is_worth_keeping(im: World, body: str, more: str, verdict: type) -> None:
    alice = await im.login("alice/desk")
    assert isinstance(await im.says(alice, message(body, more=more)), verdict)
    assert await waiting(im) == (verdict is Stored)


async def test_past_the_bound_the_sender_is_told(world: World) -> None:
    world.load("roster", roster.load(world.host, roster.Options()))
    world.load("presence", presence.load(world.host, presence.Options()))
    world.load("offline", offline.load(world.host, offline.Options(keep=2)))
    alice = await world.login("alice/desk")
    for number in range(3):
        await world.says(alice, message(f"m{number}"))
    (error,) = alice.take_all(Message)
    assert (error.type, read_error(error).condition.value) == ("error", "service-unavailable")
    bob = await world.login("bob/desk")
    await world.says(bob, "<presence/>")
    assert bodies(bob) == ["m0", "m1"]


async def test_negative_priority_takes_none_until_it_is_raised(im: World) -> None:
    alice = await im.login("alice/desk")
    bob = await im.login("bob/desk", "<presence><priority>-1</priority></presence>")
    await im.says(alice, message("m"))
    assert bodies(bob) == []
    await im.says(bob, "<presence><priority>0</priority></presence>")
    assert bodies(bob) == ["m"]


async def test_more_than_a_page(im: World) -> None:
    for number in range(250):
        im.put(BOB, f"<message><body>{number}</body></message>".encode())
    bob = await im.login("bob/desk")
    await im.says(bob, "<presence/>")
    assert bodies(bob) == [str(number) for number in range(250)]
    assert await waiting(im) == 0


async def test_what_cannot_be_read_does_not_stop_the_rest(im: World) -> None:
    for data in (b"<message", b"<message><body>m</body></message>", b"<x/>", b"<message to='@'/>"):
        im.put(BOB, data)
    bob = await im.login("bob/desk")
    await im.says(bob, "<presence/>")
    assert bodies(bob) == ["m"]
    assert await waiting(im) == 0


async def test_nobody_and_strangers(im: World) -> None:
    alice = await im.login("alice/desk")
    verdict = await im.says(alice, message("m", to="nobody@example.com"))
    assert isinstance(verdict, Bounced)
    assert await im.waiting("nobody@example.com") == 0


async def test_the_feature_is_announced(im: World) -> None:
    assert "msgoffline" in [f for _, module in im.host.loaded() for f in module.features]


class _SlowLog:
    """A log whose commits and reads can be held up."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.writes, self.reads = asyncio.Event(), asyncio.Event()
        self._commit, self._waiting = world.stores.log.commit, world.stores.log.waiting
        monkeypatch.setattr(world.stores.log, "commit", self.commit)
        monkeypatch.setattr(world.stores.log, "waiting", self.waiting)

    def commit(self, unit: Unit) -> asyncio.Future[None]:
        return asyncio.ensure_future(self._slowly(unit))

    async def _slowly(self, unit: Unit) -> None:
        await self.writes.wait()
        self._commit(unit)

    async def waiting(self, owner: str, *, after: int = 0, limit: int = 100) -> Sequence[Entry]:
        found = await self._waiting(owner, after=after, limit=limit)
        await self.reads.wait()
        return found


async def test_a_message_on_its_way_into_the_log_is_not_stranded(
    im: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = _SlowLog(im, monkeypatch)
    slow.reads.set()
    monkeypatch.setattr(RecordingSession, "managed", True)
    alice, bob = await im.login("alice/desk"), await im.login("bob/desk")
    stanza = read_stanza(message("m").encode()).replace(from_=alice.jid)
    assert isinstance(im.router.submit(stanza, alice), Stored)
    arriving = im.router.submit(_presence(bob), bob)
    slow.writes.set()
    if isinstance(arriving, asyncio.Task):
        await asyncio.wait_for(arriving, 5)
    await im.quiet()
    assert bodies(bob) == ["m"]
    assert await waiting(im) == 0


async def test_a_message_that_comes_during_delivery_is_delivered_too(
    im: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    im.put(BOB, b"<message><body>old</body></message>")
    slow = _SlowLog(im, monkeypatch)
    slow.writes.set()
    alice, bob = await im.login("alice/desk"), await im.login("bob/desk")
    arriving = im.router.submit(_presence(bob), bob)
    assert isinstance(arriving, asyncio.Task)
    # Delivery is reading what waits by now.
    stanza = read_stanza(message("m").encode()).replace(from_=alice.jid)
    assert isinstance(im.router.submit(stanza, alice), Delivered)
    slow.reads.set()
    await asyncio.wait_for(arriving, 5)
    await im.quiet()
    assert bodies(bob) == ["old", "m"]
    assert await waiting(im) == 0


async def test_two_resources_at_once_get_each_message_once(
    im: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    im.put(BOB, b"<message><body>m</body></message>")
    slow = _SlowLog(im, monkeypatch)
    slow.writes.set()
    desk, phone = await im.login("bob/desk"), await im.login("bob/phone")
    both = [im.router.submit(_presence(session), session) for session in (desk, phone)]
    slow.reads.set()
    for verdict in both:
        if isinstance(verdict, asyncio.Task):
            await asyncio.wait_for(verdict, 5)
    await im.quiet()
    assert bodies(desk) + bodies(phone) == ["m"]


async def test_a_resource_that_leaves_meanwhile_leaves_them_to_the_next(
    im: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    im.put(BOB, b"<message><body>m</body></message>")
    slow = _SlowLog(im, monkeypatch)
    slow.writes.set()
    desk, phone = await im.login("bob/desk"), await im.login("bob/phone")
    for session in (desk, phone):
        im.router.submit(_presence(session), session)
    im.host.unbind(desk)
    slow.reads.set()
    await im.quiet()
    assert bodies(desk) == []
    assert bodies(phone) == ["m"]
    assert await waiting(im) == 0


async def test_a_message_after_the_presence_is_simply_delivered(im: World) -> None:
    alice, bob = await im.login("alice/desk"), await im.login("bob/desk", "<presence/>")
    assert isinstance(await im.says(alice, message("m")), Delivered)
    assert bodies(bob) == ["m"]


async def test_a_younger_message_does_not_overtake(
    im: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = await im.login("alice/desk")
    for number in range(3):
        await im.says(alice, message(f"m{number}"))
    read = im.stores.log.waiting
    overtaking: list[object] = []

    async def slowly(owner: str, *, after: int = 0, limit: int = 100) -> Sequence[Entry]:
        if not overtaking:
            last = read_stanza(message("m3").encode()).replace(from_=alice.jid)
            overtaking.append(im.router.submit(last, alice))
            await asyncio.sleep(0)
        return await read(owner, after=after, limit=limit)

    monkeypatch.setattr(im.stores.log, "waiting", slowly)
    bob = await im.login("bob/desk")
    await im.says(bob, "<presence/>")
    assert isinstance(overtaking[0], Delivered)
    assert bodies(bob) == ["m0", "m1", "m2", "m3"]


async def test_who_comes_while_a_message_is_being_kept_gets_it_first(
    im: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = _SlowLog(im, monkeypatch)
    slow.reads.set()
    monkeypatch.setattr(RecordingSession, "managed", True)
    alice, bob = await im.login("alice/desk"), await im.login("bob/desk")
    count = im.stores.log.count_waiting
    counting, counted = asyncio.Event(), asyncio.Event()

    async def slowly(owner: str) -> int:
        counting.set()
        await counted.wait()
        return await count(owner)

    monkeypatch.setattr(im.stores.log, "count_waiting", slowly)
    first, second = (
        read_stanza(message(body).encode()).replace(from_=alice.jid) for body in ("m0", "m1")
    )
    keeping = im.router.submit(first, alice)
    assert isinstance(keeping, asyncio.Task)
    await counting.wait()
    arriving = im.router.submit(_presence(bob), bob)
    if isinstance(arriving, asyncio.Task):
        await asyncio.wait_for(arriving, 5)
    counted.set()
    assert isinstance(await keeping, Stored)
    # The first one is not committed yet: nobody has been told that it waits.
    assert isinstance(im.router.submit(second, alice), Delivered)
    slow.writes.set()
    await im.quiet()
    assert bodies(bob) == ["m0", "m1"]
    assert await waiting(im) == 0


async def test_who_is_told_nothing_is_read_on_when_it_is_on_the_disk(
    im: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = _SlowLog(im, monkeypatch)
    slow.reads.set()
    alice = await im.login("alice/desk")
    stanza = read_stanza(message("m").encode()).replace(from_=alice.jid)
    keeping = im.router.submit(stanza, alice)
    assert isinstance(keeping, asyncio.Task)
    for _ in range(5):
        await asyncio.sleep(0)
    assert not keeping.done()
    slow.writes.set()
    assert isinstance(await asyncio.wait_for(keeping, 5), Stored)
    assert await waiting(im) == 1
