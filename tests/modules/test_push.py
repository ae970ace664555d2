"""XEP-0357: whom a client names, when that one is told, and what."""

from __future__ import annotations

import asyncio

import pytest

from jabberd.core import host
from jabberd.core.eager import settle
from jabberd.core.module import SessionEvent
from jabberd.core.ports import PushDevice
from jabberd.core.verdict import Stored
from jabberd.modules import push
from jabberd.modules.push import notify, registrations
from jabberd.modules.push.registrations import Registrations
from jabberd.storage.api import StorageError
from jabberd.storage.log_api import Unit
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.payload import carbons
from jabberd.xmpp.stanza import Message, read_stanza
from tests.modules.host import START
from tests.modules.push_town import (
    DISABLE,
    ENABLE,
    FORM,
    JULIET,
    NODE,
    ROMEO,
    SERVICE,
    USER,
    Phone,
    Service,
    Town,
    node_of,
    summary_of,
)

pytestmark = pytest.mark.asyncio


# Who wants to be told (§4.1, §5, §6)


async def test_the_account_says_that_it_can(town: Town) -> None:
    assert town.module.account_features == ["urn:xmpp:push:0"]
    assert town.module.features == ()


async def test_enabling(town: Town) -> None:
    phone = await town.phone(client="d4565fa7-4d72-4749-b3d3-740edbf87770")
    town.world.clock.pass_(5)
    answer = await town.asks(phone, ENABLE)
    assert answer == f"<iq to='{USER}/mobile' type='result' id='x42'/>"
    assert await town.only() == PushDevice(
        resource="mobile",
        client="d4565fa7-4d72-4749-b3d3-740edbf87770",
        service=SERVICE,
        node=NODE,
        since=START + 5,
        unread=0,
        sent=0,
        sent_at=None,
        failures=0,
        failed_at=None,
        error="",
        off_at=None,
    )


async def test_the_same_node_again_and_others(town: Town) -> None:
    """§5: a service may be named several times, with other nodes; the last request counts."""
    phone, tablet = await town.phone(), await town.phone("tablet")
    await town.asks(phone, ENABLE)
    await town.asks(tablet, ENABLE.replace("/>", f">{FORM}</enable>"))
    await town.asks(phone, ENABLE.replace(NODE, "another"))
    devices = await town.push.devices(JID.parse(USER))
    assert [(device.node, device.resource) for device in devices] == [
        (NODE, "tablet"),
        ("another", "mobile"),
    ]
    for session in (phone, tablet):
        await town.world.leaves(session)
    await town.comes()
    assert [(node_of(iq), b"eruio234vzxc2kla-91" in iq.inner) for iq in town.service.asked] == [
        (NODE, True),
        ("another", False),
    ]


@pytest.mark.parametrize(
    ("request_", "left"),
    [
        (DISABLE, ["c"]),
        (DISABLE.replace("/>", " node='a'/>"), ["b", "c"]),
        (DISABLE.replace("/>", " node='none'/>"), ["a", "b", "c"]),
        (DISABLE.replace(SERVICE, "nobody.example"), ["a", "b", "c"]),
    ],
)
async def test_disabling(town: Town, request_: str, left: list[str]) -> None:
    phone = await town.enabled(node="a")
    await town.asks(phone, ENABLE.replace(NODE, "b"))
    await town.asks(phone, ENABLE.replace(NODE, "c").replace(SERVICE, "push.other.example"))
    assert await town.asks(phone, request_) == f"<iq to='{phone.jid}' type='result' id='x42'/>"
    assert [device.node for device in await town.push.devices(JID.parse(USER))] == left
    assert [d.node for d in await (await town.again()).push.devices(JID.parse(USER))] == left


@pytest.mark.parametrize(
    ("request_", "condition"),
    [
        ("<enable xmlns='urn:xmpp:push:0'/>", "bad-request"),
        ("<enable xmlns='urn:xmpp:push:0' jid='@'/>", "jid-malformed"),
        (ENABLE.replace("/>", "><x xmlns='jabber:x:data' type='form'/></enable>"), "bad-request"),
        (ENABLE.replace(NODE, "n" * 1024), "not-acceptable"),
        ("<disable xmlns='urn:xmpp:push:0'/>", "bad-request"),
    ],
)
async def test_what_cannot_be_understood(town: Town, request_: str, condition: str) -> None:
    assert f"<{condition} " in await town.asks(await town.phone(), request_)
    assert await town.push.devices(JID.parse(USER)) == []


@pytest.mark.parametrize("request_", [ENABLE, DISABLE])
async def test_nobody_decides_for_others(town: Town, request_: str) -> None:
    await town.enabled()
    other = await town.world.login("other/x")
    await town.world.says(other, f"<iq type='set' id='1' to='{USER}'>{request_}</iq>")
    (answer,) = other.take()
    assert "type='error'" in answer
    await town.world.arrives(f"<iq from='{JULIET}' to='{USER}' type='set' id='1'>{request_}</iq>")
    assert (await town.only()).resource == "mobile"


async def test_so_many_and_no_more() -> None:
    town = Town(push.Options(max_devices=2))
    await town.world.account("user")
    phone = await town.enabled(node="a")
    await town.asks(phone, ENABLE.replace(NODE, "b"))
    assert "<resource-constraint " in await town.asks(phone, ENABLE)
    # The same one again takes no room.
    assert "type='result'" in await town.asks(phone, ENABLE.replace(NODE, "b"))
    # One that is dead makes room.
    town.service.errors = [StanzaError(Condition.ITEM_NOT_FOUND)]
    await town.sleeps(phone)
    await town.misses(phone)
    await town.resumes(phone)
    assert "type='result'" in await town.asks(phone, ENABLE)
    devices = await town.push.devices(JID.parse(USER))
    assert [device.node for device in devices] == ["b", NODE]
    assert "<resource-constraint " in await town.asks(phone, ENABLE.replace(NODE, "c"))


async def test_it_lasts(town: Town) -> None:
    phone = await town.phone(client="c1")
    await town.asks(phone, ENABLE.replace("/>", f">{FORM}</enable>"))
    await town.world.leaves(phone)
    await town.comes()
    before = await town.only()
    again = await town.again()
    after = await again.only()
    assert (after.sent, after.sent_at, after.unread) == (1, START, 0)
    assert (after.client, after.since, after.node) == (before.client, before.since, before.node)
    # What is told needs the form, which has been read again.
    await again.push.test(JID.parse(USER))
    assert b"eruio234vzxc2kla-91" in again.service.asked[0].inner


async def test_what_cannot_be_kept_is_not_promised(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    phone = await town.enabled(node="a")

    async def full(owner: str, space: str, key: str, value: bytes | None) -> None:
        raise StorageError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(town.world.stores.keyvalue, "put", full)
        assert "<resource-constraint " in await town.asks(phone, ENABLE)
    assert (await town.only()).node == "a"


# What is told (§7)


async def test_a_notification(town: Town) -> None:
    await town.world.leaves(await town.enabled())
    assert isinstance(await town.comes(), Stored)
    (iq,) = town.service.asked
    form = (
        "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'>"
        "<value>urn:xmpp:push:summary</value></field>"
        "<field var='message-count'><value>1</value></field></x>"
    )
    assert iq.to_bytes().decode() == (
        f"<iq from='{USER}' to='{SERVICE}' type='set' id='{iq.id}'>"
        "<pubsub xmlns='http://jabber.org/protocol/pubsub'>"
        f"<publish node='{NODE}'><item><notification xmlns='urn:xmpp:push:0'>{form}"
        "</notification></item></publish></pubsub></iq>"
    )


@pytest.mark.parametrize(
    ("options", "more"),
    [
        (push.Options(include_sender=True), {"last-message-sender": JULIET}),
        (
            push.Options(include_body=True),
            {"last-message-body": "Wherefore art thou, Romeo?"},
        ),
    ],
)
async def test_more_only_where_the_operator_says_so(
    options: push.Options, more: dict[str, str]
) -> None:
    town = Town(options)
    await town.world.account("user")
    await town.world.leaves(await town.enabled())
    await town.comes()
    (iq,) = town.service.asked
    assert summary_of(iq) == {"message-count": "1", **more}


async def test_a_long_text_is_cut() -> None:
    town = Town(push.Options(include_body=True))
    await town.world.account("user")
    await town.world.leaves(await town.enabled())
    await town.comes(f"<body>{'ä' * 2000}</body>")
    (iq,) = town.service.asked
    assert summary_of(iq)["last-message-body"] == "ä" * 500


async def test_it_comes_after_the_message_is_durable(town: Town) -> None:
    phone = await town.enabled()
    await town.sleeps(phone)
    commit = town.world.stores.log.commit
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    under_way = asyncio.Event()

    def slow(unit: Unit) -> asyncio.Future[None]:
        commit(unit)
        under_way.set()
        return done

    town.world.stores.log.commit = slow  # type: ignore[method-assign]
    text = f"<message from='{JULIET}' to='{USER}' type='chat'>{ROMEO}</message>"
    message = read_stanza(text.encode())
    assert isinstance(message, Message)
    town.world.host.keeper.store(message, JID.parse(USER), None, 0)
    town.world.host.undelivered(phone, message)
    await under_way.wait()
    assert town.service.asked == []
    done.set_result(None)
    await town.world.quiet()
    assert len(town.service.asked) == 1


# Who is told


async def test_each_client_that_is_not_there_and_no_other(town: Town) -> None:
    gone = await town.enabled("gone", "gone")
    asleep = await town.enabled("asleep", "asleep")
    await town.enabled("awake", "awake")
    await town.world.leaves(gone)
    await town.sleeps(asleep)
    await town.comes()
    assert town.service.take() == [("gone", 1), ("asleep", 1)]


async def test_a_client_for_itself_though_another_has_the_message(town: Town) -> None:
    asleep, other = await town.enabled("asleep", "a"), await town.enabled("other", "b")
    await town.sleeps(asleep)
    await town.sleeps(other)
    await town.misses(asleep)
    assert town.service.take() == [("a", 1)]


async def test_a_client_is_known_by_its_id(town: Town) -> None:
    await town.world.leaves(await town.enabled("1a2b", client="c1"))
    phone = await town.phone("3c4d", "c1")
    stranger = await town.phone("5e6f", "c2")
    await town.sleeps(stranger)
    await town.misses(stranger)
    assert town.service.take() == []
    await town.sleeps(phone)
    await town.misses(phone)
    assert town.service.take() == [(NODE, 1)]


async def test_who_asked_for_nothing_is_told_nothing(town: Town) -> None:
    await town.enabled()
    other = Phone(JID.parse("other@example.com/mobile"))
    await settle(town.world.host.bind(other))
    other.here = False
    await town.misses(other)
    assert town.service.take() == []


async def test_copies(town: Town) -> None:
    """What another client sent is no news; what it received is."""
    phone = await town.enabled()
    await town.sleeps(phone)
    own = JID.parse(USER)
    for outgoing, told in ((True, []), (False, [(NODE, 1)])):
        peers = (f"{USER}/desk", JULIET) if outgoing else (JULIET, f"{USER}/desk")
        text = f"<message from='{peers[0]}' to='{peers[1]}' type='chat'>{ROMEO}</message>"
        message = read_stanza(text.encode())
        assert isinstance(message, Message)
        carbon = carbons.copy(message, own, outgoing=outgoing).replace(to=phone.jid)
        town.world.host.undelivered(phone, carbon)
        await town.world.quiet()
        assert town.service.take() == told


@pytest.mark.parametrize(
    "stanza",
    [
        "<presence from='{0}'/>",
        "<iq from='{0}' type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>",
        "<message from='{0}'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>",
        "<message from='{1}/desk' to='{1}' type='chat'><body>b</body></message>",
    ],
)
async def test_what_is_not_worth_it(town: Town, stanza: str) -> None:
    phone = await town.enabled()
    await town.sleeps(phone)
    town.world.host.undelivered(phone, read_stanza(stanza.format(JULIET, USER).encode()))
    await town.world.quiet()
    assert town.service.take() == []
    assert (await town.only()).unread == 0


async def test_a_service_is_not_told_of_what_it_says_itself(town: Town) -> None:
    other = Service(town.world, "push.other.example")
    phone = await town.enabled()
    await town.asks(phone, ENABLE.replace(SERVICE, other.name))
    await town.world.leaves(phone)
    for _ in range(3):
        await town.comes(from_=f"robot@{SERVICE}")
    assert town.service.take() == []
    assert other.take() == [(NODE, 1)]


# When


async def test_at_once_then_now_and_then(town: Town) -> None:
    phone = await town.enabled()
    await town.sleeps(phone)
    await town.misses(phone)
    assert town.service.take() == [(NODE, 1)]
    for _ in range(4):
        await town.misses(phone)
    await town.later(29)
    assert town.service.take() == []
    await town.later(1)
    assert town.service.take() == [(NODE, 5)]
    # Nothing more has come: nothing more is told.
    await town.later(1000)
    assert town.service.take() == []
    await town.misses(phone)
    assert town.service.take() == [(NODE, 6)]
    assert (await town.only()).unread == 6


@pytest.mark.parametrize("how", ["resumes", "logs in"])
async def test_who_was_here_is_told_at_once_again(town: Town, how: str) -> None:
    phone = await town.enabled()
    await town.sleeps(phone)
    for _ in range(3):
        await town.misses(phone)
    assert town.service.take() == [(NODE, 1)]
    if how == "resumes":
        await town.resumes(phone)
    else:
        await town.world.leaves(phone)
        phone = await town.phone()
    assert (await town.only()).unread == 0
    await town.later(100)
    assert town.service.take() == []
    await town.sleeps(phone)
    await town.misses(phone)
    assert town.service.take() == [(NODE, 1)]


async def test_a_clock_that_goes_back_does_not_silence_it(town: Town) -> None:
    phone = await town.enabled()
    await town.sleeps(phone)
    await town.misses(phone)
    town.world.clock.pass_(-86_400)
    await town.misses(phone)
    assert town.service.take() == [(NODE, 1), (NODE, 2)]


async def test_without_a_pause() -> None:
    town = Town(push.Options(seconds=0.0))
    await town.world.account("user")
    phone = await town.enabled()
    await town.sleeps(phone)
    for _ in range(3):
        await town.misses(phone)
    assert town.service.take() == [(NODE, 1), (NODE, 2), (NODE, 3)]


async def test_only_one_is_under_way(town: Town) -> None:
    phone = await town.enabled()
    await town.sleeps(phone)
    town.service.hold = asyncio.Event()
    stanza = read_stanza(f"<message from='{JULIET}' to='{USER}'>{ROMEO}</message>".encode())
    for _ in range(3):
        town.world.host.undelivered(phone, stanza)
        town.world.clock.pass_(31)
        town.push._notifier.due()
        await asyncio.sleep(0)
    assert len(town.service.asked) == 1
    town.service.hold.set()
    await town.world.quiet()
    await town.later(31)
    assert town.service.take() == [(NODE, 1), (NODE, 3)]


async def test_only_so_many_are_under_way(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "_MOST_UNDER_WAY", 1)
    first, second = await town.enabled("a", "a"), await town.enabled("b", "b")
    for phone in (first, second):
        await town.world.leaves(phone)
    await town.comes()
    assert town.service.take() == [("a", 1)]
    await town.later(30)
    assert town.service.take() == [("b", 1)]


async def nothing() -> None:
    """A work that pushes out those of the same moment, before they have begun."""


async def test_a_notification_that_is_pushed_out(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    phone = await town.enabled()
    await town.sleeps(phone)
    monkeypatch.setattr(host, "_WORKS", 1)
    town.service.hold = asyncio.Event()
    stanza = read_stanza(f"<message from='{JULIET}' to='{USER}'>{ROMEO}</message>".encode())
    town.world.host.undelivered(phone, stanza)
    town.world.host.spawn("one more", nothing())
    for _ in range(5):
        await asyncio.sleep(0)
    town.service.hold.set()  # too late: nobody waits for the answer any more
    await town.world.quiet()
    assert town.service.take() == [(NODE, 1)]
    assert (await town.only()).sent == 0
    await town.misses(phone)
    await town.later(30)
    assert town.service.take() == [(NODE, 2)]


async def test_a_look_that_is_pushed_out(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    phone = await town.enabled()
    again = await town.again()
    await town.sleeps(phone)
    again.world.sessions.add(phone)
    stanza = read_stanza(f"<message from='{JULIET}' to='{USER}'>{ROMEO}</message>".encode())
    monkeypatch.setattr(host, "_WORKS", 1)
    slow, get = asyncio.Event(), again.world.stores.keyvalue.get

    async def slowly(owner: str, space: str, key: str) -> bytes | None:
        await slow.wait()
        return await get(owner, space, key)

    monkeypatch.setattr(again.world.stores.keyvalue, "get", slowly)
    again.world.host.undelivered(phone, stanza)
    again.world.host.spawn("one more", nothing())
    await again.world.quiet()
    slow.set()
    monkeypatch.setattr(host, "_WORKS", 10)
    await again.misses(phone)
    assert again.service.take() == [(NODE, 1)]


async def test_nothing_rings_when_the_host_is_closed() -> None:
    town = Town(push.Options(seconds=0.2))
    await town.world.account("user")
    phone = await town.enabled()
    await town.sleeps(phone)
    await town.misses(phone)
    await town.misses(phone)
    assert town.service.take() == [(NODE, 1)]
    await town.world.host.close()
    town.world.clock.pass_(1)
    await asyncio.sleep(0.2)  # more than the time between two looks at what is due
    assert town.service.take() == []


async def test_bells_are_looked_at_by_the_clock() -> None:
    town = Town(push.Options(seconds=0.2))
    await town.world.account("user")
    phone = await town.enabled()
    await town.sleeps(phone)
    await town.misses(phone)
    await town.misses(phone)
    assert town.service.take() == [(NODE, 1)]
    town.world.clock.pass_(1)
    for _ in range(500):
        await asyncio.sleep(0.01)
        if town.service.asked:
            break
    await town.world.quiet()
    assert town.service.take() == [(NODE, 2)]


# What is at hand of all that


async def test_only_so_many_are_at_hand(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registrations, "_KNOWN", 2)
    kept = Registrations(town.world.host)
    first, second, third = (JID.parse(f"{name}@example.com") for name in "abc")
    for account in (first, second):
        assert await kept.of(account) == []
    assert kept.known(first) == []  # which makes it the last to go
    kept.erase(third)
    assert (kept.known(first), kept.known(second), kept.known(third)) == ([], None, [])
    for number in range(10):  # as many as there are anonymous sessions that end
        kept.erase(JID.parse(f"{number}@example.com"))
        assert len(kept._known) == 2
    for account in (first, second, third):
        assert await kept.of(account) == []
        assert len(kept._known) == 2


async def test_a_bell_that_is_to_ring_is_not_forgotten(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registrations, "_KNOWN", 2)
    phone = await town.enabled()
    await town.sleeps(phone)
    await town.misses(phone)
    await town.misses(phone)
    assert town.service.take() == [(NODE, 1)]
    for name in ("a", "b", "c"):
        await town.later(9)
        await town.push.devices(JID.parse(f"{name}@example.com"))
    await town.later(9)
    assert town.service.take() == [(NODE, 2)]


# What has not come to a client, though it was sent to it


async def test_a_client_that_goes_without_a_word(town: Town) -> None:
    phone = await town.enabled()
    world = town.world
    for inside in (ROMEO, "<received xmlns='urn:xmpp:receipts' id='1'/>", ROMEO):
        text = f"<message from='{JULIET}' to='{USER}' type='chat'>{inside}</message>"
        world.put(USER, text.encode())
    entries = await world.stores.log.waiting(USER)
    phone.unacknowledged = frozenset(entry.key for entry in entries)
    await town.sleeps(phone)
    assert town.service.take() == [(NODE, 2)]
    # One that has acknowledged all is told nothing.
    await town.resumes(phone)
    phone.unacknowledged = frozenset()
    await town.sleeps(phone)
    assert town.service.take() == []


async def test_one_that_is_back_already_is_not_told(town: Town) -> None:
    phone = await town.enabled()
    town.world.put(USER, f"<message from='{JULIET}' to='{USER}'>{ROMEO}</message>".encode())
    (entry,) = await town.world.stores.log.waiting(USER)
    phone.unacknowledged = frozenset({entry.key})
    await settle(town.world.host.emit(SessionEvent.AWAY, phone))  # and here it is again
    await town.world.quiet()
    assert town.service.take() == []


async def test_what_comes_back_is_told_to_who_knows_nothing(town: Town) -> None:
    """A session has ended whose client had been told; others have not."""
    told, other = await town.enabled("told", "a"), await town.enabled("other", "b")
    await town.sleeps(told)
    await town.misses(told)
    assert town.service.take() == [("a", 1)]
    await town.world.leaves(told)
    await town.world.leaves(other)
    for inside in (ROMEO, "<received xmlns='urn:xmpp:receipts' id='1'/>"):
        text = f"<message from='{JULIET}' to='{USER}' type='chat'>{inside}</message>"
        town.world.put(USER, text.encode())
    for _ in range(2):
        town.world.host._waiting(JID.parse(USER), None)
    await town.world.quiet()
    assert town.service.take() == [("b", 1)]
