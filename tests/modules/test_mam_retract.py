"""XEP-0424: retractions, and the tombstones that they leave in archives."""

from __future__ import annotations

import asyncio

import pytest
import pytest_asyncio

from jabberd.modules.mam import retraction
from jabberd.storage.api import StorageError
from jabberd.storage.log_api import Entry
from jabberd.xmpp.element import parse
from jabberd.xmpp.stanza import Message, read_stanza
from tests.modules.archive import ask, form, load
from tests.modules.host import RecordingSession, World

pytestmark = pytest.mark.asyncio
ROMEO, LORD = "alice@example.com", "bob@example.com"
ROOM = "room@muc.example.com"


@pytest_asyncio.fixture
async def house(world: World) -> World:
    load(world)
    return world


@pytest_asyncio.fixture
async def romeo(house: World) -> RecordingSession:
    return await house.login("alice/orchard", "<presence/>")


WRONG = (
    "<message type='chat' to='bob@example.com' id='wrong-recipient-1'>"
    "<body>Have not saints lips, and holy palmers too?</body></message>"
)


def retraction_of(
    target: str, to: str = LORD, more: str = "", own: str = "retract-message-1"
) -> str:
    return (
        f"<message type='chat' to='{to}' id='{own}'>"
        f"<retract id='{target}' xmlns='urn:xmpp:message-retract:1'/>"
        "<fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:message-retract:1'/>"
        "<body>/me retracted a previous message, but it's unsupported by your client.</body>"
        f"<store xmlns='urn:xmpp:hints'/>{more}</message>"
    )


async def contents(world: World, session: RecordingSession) -> list[str]:
    """What is in the archive, as the text of each message or the name of what it has instead."""
    got = await ask(world, session)
    return [
        result.body if result.body is not None else next(iter(result.message)).name
        for result in got.results
    ]


RETRACTED = "/me retracted a previous message, but it's unsupported by your client."
SAID = "Have not saints lips, and holy palmers too?"


async def test_the_example(house: World, romeo: RecordingSession) -> None:
    lord = await house.login("bob/chamber", "<presence/>")
    await house.says(romeo, WRONG)
    house.clock.pass_(67.5)
    before = await ask(house, lord)
    await house.says(romeo, retraction_of("wrong-recipient-1"))
    house.clock.pass_(10)
    got = await ask(house, lord)
    stone, asked = got.results
    assert stone.id == before.ids[0]
    assert stone.stamp == "2023-11-14T22:13:20.000Z"
    assert stone.message == parse(
        b"<message from='alice@example.com/orchard' to='bob@example.com' type='chat'"
        b" id='wrong-recipient-1'><retracted xmlns='urn:xmpp:message-retract:1'"
        b" id='retract-message-1' stamp='2023-11-14T22:14:27.500Z'/></message>"
    )
    # §5: the retraction itself is stored in any case.
    assert asked.body == RETRACTED
    assert await contents(house, romeo) == ["retracted", RETRACTED]
    # And both were delivered.
    await house.says(lord, "<presence type='unavailable'/>")


async def test_words_that_were_retracted_are_not_found(
    house: World, romeo: RecordingSession
) -> None:
    lord = await house.login("bob/chamber", "<presence/>")
    await house.says(romeo, WRONG)
    assert (await ask(house, lord, form(text="palmers"))).bodies == [SAID]
    await house.says(romeo, retraction_of("wrong-recipient-1"))
    for session in (romeo, lord):
        assert (await ask(house, session, form(text="palmers"))).results == []
        assert len((await ask(house, session, form(text="retracted"))).results) == 1


async def test_what_was_not_delivered_yet_never_is(house: World, romeo: RecordingSession) -> None:
    await house.says(romeo, WRONG)
    await house.says(romeo, retraction_of("wrong-recipient-1"))
    lord = await house.login("bob/chamber")
    await house.says(lord, "<presence/>")
    first, second = lord.take_all(Message)
    assert first.has("urn:xmpp:message-retract:1", "retracted")
    assert first.body() is None
    assert second.has("urn:xmpp:message-retract:1", "retract")
    assert await contents(house, lord) == ["retracted", RETRACTED]


async def test_another_client_of_the_sender(house: World, romeo: RecordingSession) -> None:
    # §5: the bare address counts.
    lord = await house.login("bob/chamber", "<presence/>")
    await house.says(romeo, WRONG)
    await house.says(await house.login("alice/phone"), retraction_of("wrong-recipient-1"))
    for session in (romeo, lord):
        assert await contents(house, session) == ["retracted", RETRACTED]


async def test_a_note_to_oneself(house: World, romeo: RecordingSession) -> None:
    await house.says(romeo, "<message type='chat' id='n1'><body>note</body></message>")
    await house.says(romeo, retraction_of("n1", ROMEO))
    assert await contents(house, romeo) == ["retracted", RETRACTED]


async def test_an_origin_id(house: World, romeo: RecordingSession) -> None:
    lord = await house.login("bob/chamber", "<presence/>")
    origin = "<origin-id xmlns='urn:xmpp:sid:0' id='{}'/>"
    await house.says(romeo, WRONG.replace("<body", origin.format("wrong-recipient-1") + "<body"))
    await house.says(
        romeo, retraction_of("wrong-recipient-1", more=origin.format("retract-message-1"))
    )
    for session in (romeo, lord):
        assert await contents(house, session) == ["retracted", RETRACTED]


async def test_nobody_retracts_for_others(house: World, romeo: RecordingSession) -> None:
    lord = await house.login("bob/chamber", "<presence/>")
    carol = await house.login("carol/hut", "<presence/>")
    await house.says(romeo, WRONG)
    await house.says(carol, retraction_of("wrong-recipient-1"))
    # Nor does the recipient, although the two have the same pair of addresses.
    await house.says(lord, retraction_of("wrong-recipient-1", ROMEO))
    assert await contents(house, romeo) == [SAID, RETRACTED]
    assert await contents(house, lord) == [SAID, RETRACTED, RETRACTED]


async def test_only_of_what_was_said_to_the_same(house: World, romeo: RecordingSession) -> None:
    lord = await house.login("bob/chamber", "<presence/>")
    await house.says(romeo, WRONG)
    await house.says(romeo, retraction_of("wrong-recipient-1", "carol@example.com"))
    assert await contents(house, lord) == [SAID]
    assert await contents(house, romeo) == [SAID, RETRACTED]


async def test_only_of_what_was_said_before(house: World, romeo: RecordingSession) -> None:
    lord = await house.login("bob/chamber", "<presence/>")
    await house.says(romeo, retraction_of("wrong-recipient-1"))
    await house.says(romeo, WRONG)
    assert await contents(house, lord) == [RETRACTED, SAID]
    # And not of itself.
    await house.says(romeo, retraction_of("self", own="self"))
    assert await contents(house, lord) == [RETRACTED, SAID, RETRACTED]


async def test_the_first_retraction_counts(house: World, romeo: RecordingSession) -> None:
    lord = await house.login("bob/chamber", "<presence/>")
    await house.says(romeo, WRONG)
    await house.says(romeo, retraction_of("wrong-recipient-1", own="r1"))
    await house.says(romeo, retraction_of("wrong-recipient-1", own="r2"))
    await house.says(romeo, retraction_of("r1", own="r3"))  # retractions stay
    for session in (romeo, lord):
        assert await contents(house, session) == ["retracted", *[RETRACTED] * 3]
        (stone, *_) = (await ask(house, session)).results
        assert next(iter(stone.message)).get("id") == "r1"


@pytest.mark.parametrize(
    "text",
    [
        retraction_of("wrong-recipient-1").replace("id='retract-message-1'", ""),
        retraction_of("wrong-recipient-1").replace("retract-message-1", "x" * 300),
        retraction_of(""),
        retraction_of("wrong-recipient-1", more="<no-store xmlns='urn:xmpp:hints'/>"),
        retraction_of("wrong-recipient-1").replace("type='chat'", "type='groupchat'"),
        retraction_of("wrong-recipient-1").replace("type='chat'", "type='error'"),
        retraction_of("wrong-recipient-1").replace("retract:1'/>", "retract:0'/>"),
    ],
)
async def test_what_leaves_no_tombstone(house: World, romeo: RecordingSession, text: str) -> None:
    # No identifier to name in the tombstone; nothing retracted; not in the archive itself.
    lord = await house.login("bob/chamber", "<presence/>")
    await house.says(romeo, WRONG)
    await house.says(romeo, text)
    for session in (romeo, lord):
        assert (await contents(house, session))[0] == SAID


async def test_occupants_of_a_room_share_a_bare_address(
    house: World, romeo: RecordingSession
) -> None:
    # §5: from the same full address there.
    mark = "<x xmlns='http://jabber.org/protocol/muc#user'/>"

    async def arrives(nick: str, inner: str, own: str) -> None:
        await house.arrives(
            f"<message from='{ROOM}/{nick}' to='{ROMEO}' type='chat' id='{own}'>{inner}</message>"
        )

    retract = "<retract xmlns='urn:xmpp:message-retract:1' id='m1'/><body>r</body>"
    await arrives("nurse", f"<body>private</body>{mark}", "m1")
    await arrives("paris", retract, "r1")
    await arrives("paris", retract + mark, "r2")
    assert await contents(house, romeo) == ["private", "r", "r"]
    await arrives("nurse", retract, "r3")
    assert await contents(house, romeo) == ["retracted", "r", "r", "r"]


async def test_the_account_that_keeps_nothing(house: World, romeo: RecordingSession) -> None:
    lord = await house.login("bob/chamber", "<presence/>")
    await house.says(romeo, WRONG)
    never = "<prefs xmlns='urn:xmpp:mam:2' default='never'/>"
    await house.says(lord, f"<iq type='set' id='1'>{never}</iq>")
    await house.says(lord, "<presence type='unavailable'/>")
    await house.says(romeo, retraction_of("wrong-recipient-1"))
    # The retraction is not in this archive, so nothing could name it.
    assert await contents(house, lord) == [SAID]
    assert await contents(house, romeo) == ["retracted", RETRACTED]


async def test_both_in_one_turn(house: World, romeo: RecordingSession) -> None:
    lord = await house.login("bob/chamber", "<presence/>")
    for xml in (WRONG, retraction_of("wrong-recipient-1")):
        house.router.submit(read_stanza(xml.encode()).replace(from_=romeo.jid), romeo)
    await house.quiet()
    for session in (romeo, lord):
        assert await contents(house, session) == ["retracted", RETRACTED]


async def test_many_at_once_are_dealt_with_up_to_a_bound(
    house: World, romeo: RecordingSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retraction, "_MOST", 3)
    for number in range(5):
        await house.says(romeo, WRONG.replace("wrong-recipient-1", f"m{number}"))
    for number in range(5):
        xml = retraction_of(f"m{number}", own=f"r{number}")
        house.router.submit(read_stanza(xml.encode()).replace(from_=romeo.jid), romeo)
    await house.quiet()
    assert (await contents(house, romeo))[:5] == ["retracted"] * 3 + [SAID] * 2
    # Those behind them are not stuck.
    await house.says(romeo, retraction_of("m3", own="again"))
    assert (await contents(house, romeo))[3] == "retracted"


async def test_a_database_that_fails_once(
    house: World, romeo: RecordingSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    find, failures = house.stores.log.find, iter([True])

    async def failing(owner: str, peer: str, unique: str, *, sent: bool) -> Entry | None:
        if next(failures, False):
            raise StorageError("the disk is on fire")
        return await find(owner, peer, unique, sent=sent)

    monkeypatch.setattr(house.stores.log, "find", failing)
    await house.says(romeo, WRONG)
    await house.says(romeo, retraction_of("wrong-recipient-1"))
    await asyncio.sleep(0)
    lord = await house.login("bob/chamber")
    found = sorted([(await contents(house, one))[0] for one in (romeo, lord)])
    assert found == [SAID, "retracted"]
