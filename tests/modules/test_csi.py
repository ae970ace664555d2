"""XEP-0352: what an inactive client is not told at once, and in which order it is told then."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

import pytest
import pytest_asyncio

from jabberd.core.eager import settle
from jabberd.core.module import Module, SessionEvent
from jabberd.core.ports import ArchiveRules, CsiApi
from jabberd.modules import csi
from jabberd.xmpp.jid import JID
from jabberd.xmpp.payload import carbons
from jabberd.xmpp.stanza import Message, Stanza, read_stanza
from tests.modules.host import RecordingSession, World

pytestmark = pytest.mark.asyncio

JULIET = "juliet@capulet.lit/balcony"
ROMEO, NURSE = "romeo@montague.lit/orchard", "nurse@capulet.lit/hall"
STATES = "http://jabber.org/protocol/chatstates"
ROOM = "http://jabber.org/protocol/muc#user"


class Balcony:
    """Juliet's one client, and its server."""

    def __init__(self, options: csi.Options | None = None) -> None:
        self.world = World("capulet.lit")
        module = csi.load(self.world.host, options or csi.Options())
        self.world.load("csi", module)
        registry = self.world.host.registry
        self._handlers = {
            name: registry.nonza("urn:xmpp:csi:0", name) for name in ("active", "inactive")
        }
        self.juliet = RecordingSession(JID.parse(JULIET))

    async def enter(self) -> None:
        """Bind the session."""
        await settle(self.world.host.bind(self.juliet))

    def says(self, name: str) -> None:
        """The client says that it is active, or inactive."""
        handle = self._handlers[name]
        assert handle is not None
        handle(self.juliet)

    def gets(self, *stanzas: str | Stanza) -> list[str]:
        """The server sends these to the client; what it is written."""
        for one in stanzas:
            self.juliet.send(read_stanza(one.encode()) if isinstance(one, str) else one)
        return self.juliet.take()


@pytest_asyncio.fixture
async def balcony() -> AsyncIterator[Balcony]:
    balcony = Balcony()
    await balcony.enter()
    balcony.says("inactive")
    yield balcony
    await balcony.world.host.close()


def presence(sender: str, inside: str = "", kind: str = "") -> str:
    type_ = f" type='{kind}'" if kind else ""
    head = f"<presence from='{sender}' to='{JULIET}'{type_}"
    return f"{head}>{inside}</presence>" if inside else f"{head}/>"


def message(sender: str, inside: str, kind: str = "chat") -> str:
    return f"<message from='{sender}' to='{JULIET}' type='{kind}'>{inside}</message>"


def state(sender: str, name: str) -> str:
    return message(sender, f"<{name} xmlns='{STATES}'/>")


def carbon(peer: str, inside: str, *, outgoing: bool) -> Message:
    """A copy of what another client of Juliet's sent or received."""
    other = "juliet@capulet.lit/chamber"
    from_, to = (other, peer) if outgoing else (peer, other)
    stanza = read_stanza(message(from_, inside).replace(JULIET, to).encode())
    assert isinstance(stanza, Message)
    copy = carbons.copy(stanza, JID.parse(JULIET).bare, outgoing=outgoing)
    return copy.replace(to=JID.parse(JULIET))


def texts(stanzas: Iterable[Stanza]) -> list[str]:
    return [stanza.to_bytes().decode() for stanza in stanzas]


BODY = "<body>Art thou not Romeo, and a Montague?</body>"


# State (§4.2, §5)


async def test_a_stream_begins_active() -> None:
    balcony = Balcony()
    stanzas = [presence(ROMEO), state(ROMEO, "composing"), presence(ROMEO, "<show>away</show>")]
    assert balcony.gets(*stanzas) == stanzas
    balcony.says("active")  # which says nothing new
    assert balcony.gets(*stanzas) == stanzas


async def test_active_again_and_inactive_again(balcony: Balcony) -> None:
    assert balcony.gets(presence(ROMEO)) == []
    balcony.says("inactive")  # which says nothing new
    assert balcony.juliet.take() == []
    balcony.says("active")
    assert balcony.juliet.take() == [presence(ROMEO)]
    assert balcony.gets(presence(NURSE)) == [presence(NURSE)]
    balcony.says("inactive")
    assert balcony.gets(presence(ROMEO)) == []
    balcony.says("active")
    assert balcony.juliet.take() == [presence(ROMEO)]


async def test_by_the_port(balcony: Balcony) -> None:
    api = balcony.world.host.require(CsiApi)
    api.set_active(balcony.juliet, True)
    assert balcony.gets(presence(ROMEO)) == [presence(ROMEO)]
    api.set_active(balcony.juliet, False)
    assert balcony.gets(presence(ROMEO)) == []


async def test_it_is_offered_after_login() -> None:
    module = csi.load(World().host, csi.Options())
    (feature,) = module.stream_features
    assert not callable(feature)
    assert feature.to_bytes() == b"<csi xmlns='urn:xmpp:csi:0'/>"


async def test_nobody_else_learns_of_it(balcony: Balcony) -> None:
    """§6."""
    romeo = balcony.world.domain("montague.lit")
    await balcony.world.arrives(
        f"<iq from='{ROMEO}' to='juliet@capulet.lit' type='get' id='1'>"
        "<query xmlns='urn:xmpp:csi:0'/></iq>"
    )
    (answer,) = romeo.take()
    assert "<service-unavailable " in answer


# Presence


async def test_only_the_last_presence_of_each_resource(balcony: Balcony) -> None:
    home = "romeo@montague.lit/home"
    last = [
        presence(home, kind="unavailable"),
        presence(NURSE, "<show>dnd</show>"),
        presence(ROMEO, "<show>away</show><status>asleep</status>"),
    ]
    assert (
        balcony.gets(
            presence(ROMEO),
            presence(home),
            presence(NURSE),
            presence(ROMEO, "<show>xa</show>"),
            *last,
        )
        == []
    )
    balcony.says("active")
    assert balcony.juliet.take() == last


async def test_requests_are_for_the_person(balcony: Balcony) -> None:
    for kind in ("subscribe", "subscribed", "unsubscribe", "unsubscribed", "error"):
        one = presence("romeo@montague.lit", kind=kind)
        assert balcony.gets(one) == [one]


async def test_the_own_presence_is_what_the_client_waits_for(balcony: Balcony) -> None:
    assert balcony.gets(presence(JULIET)) == [presence(JULIET)]
    other = presence("juliet@capulet.lit/chamber")
    assert balcony.gets(other) == []


async def test_to_enter_a_room(balcony: Balcony) -> None:
    """XEP-0045 §7.2.2: who is there already comes before oneself."""
    room = "masquerade@chat.capulet.lit"
    x = f"<x xmlns='{ROOM}'><item role='participant'/></x>"
    own = f"<x xmlns='{ROOM}'><item role='participant'/><status code='110'/></x>"
    occupants = [presence(f"{room}/{nick}", x) for nick in ("tybalt", "paris")]
    assert balcony.gets(presence(NURSE), *occupants) == []
    entered = presence(f"{room}/juliet", own)
    assert balcony.gets(entered) == [*occupants, entered]
    # One that only has the number in it, and one that comes later, can wait.
    assert balcony.gets(presence(f"{room}/paris", x + "<status>110</status>")) == []
    balcony.says("active")
    assert len(balcony.juliet.take()) == 2


# Chat states


async def test_only_the_last_chat_state_of_each_sender(balcony: Balcony) -> None:
    assert (
        balcony.gets(
            state(ROMEO, "composing"),
            state(NURSE, "composing"),
            state(ROMEO, "paused"),
            message(NURSE, f"<thread>t</thread><inactive xmlns='{STATES}'/>"),
        )
        == []
    )
    balcony.says("active")
    assert balcony.juliet.take() == [
        state(ROMEO, "paused"),
        message(NURSE, f"<thread>t</thread><inactive xmlns='{STATES}'/>"),
    ]


@pytest.mark.parametrize(
    "inside",
    [
        BODY,
        f"{BODY}<active xmlns='{STATES}'/>",
        f"<active xmlns='{STATES}'/><store xmlns='urn:xmpp:hints'/>",
        f"<active xmlns='{STATES}'/><displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>",
        "<received xmlns='urn:xmpp:receipts' id='1'/>",
        "<subject>s</subject>",
        "<event xmlns='http://jabber.org/protocol/pubsub#event'/>",
        "<encrypted xmlns='eu.siacs.conversations.axolotl'/>",
        "",
    ],
)
@pytest.mark.parametrize("kind", ["chat", "normal", "groupchat", "headline"])
async def test_no_message_is_delayed(balcony: Balcony, kind: str, inside: str) -> None:
    read = read_stanza(message(ROMEO, inside, kind).encode())
    assert balcony.gets(presence(NURSE), read) == [read.to_bytes().decode()]


async def test_an_error_is_no_chat_state(balcony: Balcony) -> None:
    error = message(ROMEO, f"<composing xmlns='{STATES}'/><error type='cancel'/>", "error")
    assert balcony.gets(error) == [error]


# Order


async def test_what_one_says_keeps_its_order(balcony: Balcony) -> None:
    home = "romeo@montague.lit/home"
    held = [
        presence(ROMEO),
        presence(home),
        state(ROMEO, "composing"),
        presence(NURSE),
    ]
    assert balcony.gets(*held) == []
    said = message(ROMEO, BODY)
    assert balcony.gets(said) == [held[0], held[2], said]
    assert balcony.gets(said) == [said]
    balcony.says("active")
    assert balcony.juliet.take() == [held[1], held[3]]


async def test_an_iq_goes_at_once_and_in_order(balcony: Balcony) -> None:
    iq = f"<iq from='{ROMEO}' to='{JULIET}' type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>"
    assert balcony.gets(presence(NURSE), iq) == [iq]
    assert balcony.gets(presence(ROMEO), iq) == [presence(ROMEO), iq]
    pong = f"<iq to='{JULIET}' type='result' id='ping1'/>"
    assert balcony.gets(pong) == [pong]


async def test_in_order_processing(balcony: Balcony) -> None:
    """§5.1: first everything that was held back, then the pong."""
    assert balcony.gets(presence(ROMEO), presence(NURSE)) == []
    balcony.says("active")
    pong = f"<iq from='capulet.lit' to='{JULIET}' type='result' id='ping1'/>"
    assert balcony.gets(pong) == [presence(ROMEO), presence(NURSE), pong]


async def test_what_goes_ahead_is_not_looked_at(balcony: Balcony) -> None:
    balcony.juliet.send(read_stanza(presence(ROMEO).encode()), ahead=True)
    assert balcony.juliet.take() == [presence(ROMEO)]


# Copies (XEP-0280)


async def test_copies_of_chat_states(balcony: Balcony) -> None:
    typing = f"<composing xmlns='{STATES}'/>"
    stopped = f"<paused xmlns='{STATES}'/>"
    last = [
        carbon(ROMEO, stopped, outgoing=False),
        carbon(NURSE, typing, outgoing=False),
        carbon(ROMEO, stopped, outgoing=True),
    ]
    early = [carbon(ROMEO, typing, outgoing=True), carbon(ROMEO, typing, outgoing=False)]
    assert balcony.gets(*early, *last) == []
    balcony.says("active")
    assert balcony.juliet.take() == texts(last)


async def test_copies_of_messages_go_at_once_behind_their_conversation(balcony: Balcony) -> None:
    typing = f"<composing xmlns='{STATES}'/>"
    held = [
        carbon(NURSE, typing, outgoing=False),
        carbon(ROMEO, typing, outgoing=False),
        carbon(ROMEO, typing, outgoing=True),
    ]
    assert balcony.gets(*held) == []
    came = carbon(ROMEO, BODY, outgoing=False)
    assert balcony.gets(came) == texts([held[1], came])
    went = carbon("romeo@montague.lit", BODY, outgoing=True)
    assert balcony.gets(went) == texts([held[2], went])
    # What comes by itself belongs to the same conversation as the copies.
    said = message(NURSE, BODY)
    assert balcony.gets(said) == [*texts(held[:1]), said]


# Bounds


async def test_so_many_and_no_more() -> None:
    balcony = Balcony(csi.Options(max_stanzas=3))
    await balcony.enter()
    balcony.says("inactive")
    senders = [f"r{number}@montague.lit/x" for number in range(8)]
    # The same ones again and again take no room.
    assert balcony.gets(*[presence(sender) for sender in senders[:3]] * 5) == []
    assert balcony.gets(presence(senders[3])) == [presence(sender) for sender in senders[:4]]
    # It goes on.
    assert balcony.gets(*[presence(sender) for sender in senders[4:7]]) == []
    said = message(senders[4], BODY)
    assert balcony.gets(said) == [presence(senders[4]), said]
    assert balcony.gets(presence(senders[7])) == []
    assert balcony.gets(presence(senders[0])) == [
        presence(sender) for sender in (*senders[5:8], senders[0])
    ]


async def test_so_many_bytes_and_no_more() -> None:
    balcony = Balcony(csi.Options(max_bytes=1_000))
    await balcony.enter()
    balcony.says("inactive")
    long = f"<status>{'x' * 300}</status>"
    assert balcony.gets(*[presence(ROMEO, long)] * 9, presence(NURSE, long)) == []
    third = presence("tybalt@capulet.lit/x", long)
    assert balcony.gets(third) == [presence(ROMEO, long), presence(NURSE, long), third]


async def test_switched_off() -> None:
    for options, held in (
        (csi.Options(presence=False), state(ROMEO, "paused")),
        (csi.Options(chat_states=False), presence(ROMEO)),
    ):
        balcony = Balcony(options)
        await balcony.enter()
        balcony.says("inactive")
        both = [presence(ROMEO), state(ROMEO, "paused")]
        both.remove(held)
        assert balcony.gets(held, *both) == [held, *both]
        assert balcony.gets(held) == []


# The log


async def test_what_is_in_the_log_is_never_held_back(balcony: Balcony) -> None:
    class Everything:
        searchable = False

        def visible(self, message: Message, account: JID, *, outgoing: bool) -> bool:
            return True

    world = balcony.world
    world.load("archive", Module(provides={ArchiveRules: Everything()}))
    await world.account("juliet")
    await world.arrives(state(ROMEO, "composing"))
    (text,) = balcony.juliet.take()
    assert "<stanza-id " in text


# The end, and the beginning again


async def test_a_client_that_is_gone_gets_it_when_it_comes_back(balcony: Balcony) -> None:
    """§5.2: a resumed stream is active."""
    assert balcony.gets(presence(ROMEO), state(NURSE, "paused")) == []
    await settle(balcony.world.host.emit(SessionEvent.AWAY, balcony.juliet))
    assert balcony.juliet.take() == [presence(ROMEO), state(NURSE, "paused")]
    assert balcony.gets(presence(ROMEO)) == [presence(ROMEO)]


async def test_the_state_does_not_outlive_the_process(balcony: Balcony) -> None:
    assert balcony.juliet.kept_slots() == {}


async def test_nothing_is_left_when_the_session_ends(balcony: Balcony) -> None:
    assert balcony.gets(presence(ROMEO)) == []
    await balcony.world.leaves(balcony.juliet)
    assert balcony.juliet.take() == []
    assert balcony.juliet.get(csi.INACTIVE) is None
