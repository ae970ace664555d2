"""XEP-0280: the examples of the text, and each of its rules about who gets a copy."""

from __future__ import annotations

import pytest

from jabberd.xmpp import ns
from jabberd.xmpp.element import Element, parse
from jabberd.xmpp.jid import JID
from jabberd.xmpp.payload import carbons
from jabberd.xmpp.stanza import Message
from tests.xmpp.documents import frames_of

ROMEO, JULIET = JID.parse("romeo@montague.example/garden"), JID.parse("juliet@capulet.example/b")
BODY = "<body>b</body>"
PRIVATE = "<private xmlns='urn:xmpp:carbons:2'/>"
NO_COPY = "<no-copy xmlns='urn:xmpp:hints'/>"
PM = "<x xmlns='http://jabber.org/protocol/muc#user'/>"
INVITE = "<x xmlns='http://jabber.org/protocol/muc#user'><invite to='hecate@shakespeare.lit'/></x>"
DECLINE = (
    "<x xmlns='http://jabber.org/protocol/muc#user'><decline to='crone1@shakespeare.lit'/></x>"
)
DIRECT = "<x xmlns='jabber:x:conference' jid='darkcave@macbeth.shakespeare.lit'/>"
RECEIPT = "<received xmlns='urn:xmpp:receipts' id='1'/>"
STATE = "<composing xmlns='http://jabber.org/protocol/chatstates'/>"
MARKER = "<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>"
OTHER = "<x xmlns='urn:x'/>"
AROUND = (
    "<received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>{}"
    "</forwarded></received>"
)
OCCUPANT, ROOM = "coven@chat.shakespeare.lit/firstwitch", "coven@chat.shakespeare.lit"


def message(kind: str, inside: str, from_: str = "a@b/c", to: str = "d@e/f") -> Message:
    head = f"<stream:stream xmlns='{ns.CLIENT}' xmlns:stream='{ns.STREAM}'>"
    text = f"{head}<message from='{from_}' to='{to}' type='{kind}'>{inside}</message>"
    (_, stanza) = frames_of([text.encode()])
    assert isinstance(stanza, Message)
    return stanza


# Copies


@pytest.mark.parametrize(("outgoing", "name"), [(True, "sent"), (False, "received")])
def test_copies(outgoing: bool, name: str) -> None:
    body = Element(ns.CLIENT, "body", {}, ["Neither, fair saint"])
    original = Message.build([body], to=JULIET, from_=ROMEO, type="chat", id="1")
    copy = carbons.copy(original, ROMEO.bare, outgoing=outgoing)
    assert (copy.from_, copy.to, copy.type) == (ROMEO.bare, None, "chat")
    assert copy.children == (f"urn:xmpp:carbons:2 {name}",)
    (wrapper,) = copy.payload()
    assert (wrapper.ns, wrapper.name) == ("urn:xmpp:carbons:2", name)
    (forwarded,) = wrapper
    assert (forwarded.ns, forwarded.name) == ("urn:xmpp:forward:0", "forwarded")
    assert list(forwarded) == [parse(original.to_bytes())]


def test_wrappers() -> None:
    inside = b"<forwarded xmlns='urn:xmpp:forward:0'><m/></forwarded>"
    assert carbons.sent(b"<m/>") == b"<sent xmlns='urn:xmpp:carbons:2'>%s</sent>" % inside
    assert carbons.received(b"<m/>") == (
        b"<received xmlns='urn:xmpp:carbons:2'>%s</received>" % inside
    )


@pytest.mark.parametrize("outgoing", [True, False])
def test_what_a_copy_holds(outgoing: bool) -> None:
    inside = f"{BODY}<a:x xmlns:a='urn:a'>&lt;|</a:x>{STATE}"
    original = message("chat", inside, ROMEO.text, JULIET.text)
    found = carbons.inside(carbons.copy(original, ROMEO.bare, outgoing=outgoing))
    assert found is not None
    held, was_sent = found
    assert was_sent is outgoing
    assert (held.from_, held.to, held.type) == (ROMEO, JULIET, "chat")
    assert held.children == original.children
    assert held.payload() == original.payload()


@pytest.mark.parametrize(
    "inside",
    [
        BODY,
        "<received xmlns='urn:xmpp:carbons:2'/>",
        AROUND.format("<presence xmlns='jabber:client'/>"),
        AROUND.format("<message xmlns='urn:x'/>"),
        AROUND.format("<message xmlns='jabber:client'/>") + BODY,
        " " + AROUND.format("<message xmlns='jabber:client'/>"),
        RECEIPT,
    ],
)
def test_what_is_no_copy_of_ours(inside: str) -> None:
    assert carbons.inside(message("chat", inside)) is None


def test_forged_copies() -> None:
    # The attack of §7: Tybalt says what Juliet said.
    copy = carbons.copy(Message(from_=JULIET), ROMEO.bare, outgoing=False)
    assert carbons.is_wrapped(copy)
    assert carbons.strip(copy).inner == b""
    assert carbons.strip(copy).children == ()
    both = copy.inner.decode() + BODY + "<sent xmlns='urn:xmpp:carbons:2'/>"
    assert carbons.strip(message("chat", both)).inner.decode() == BODY
    honest = message("chat", BODY + PRIVATE + RECEIPT + "<sent xmlns='urn:x'/>")
    assert not carbons.is_wrapped(honest)
    assert carbons.strip(honest) is honest


# Rules


@pytest.mark.parametrize(
    ("kind", "inside", "copied"),
    [
        ("chat", BODY, True),
        ("chat", "", True),
        ("chat", OTHER, True),
        ("normal", BODY, True),
        ("normal", OTHER, False),
        ("normal", "", False),
        ("novel", BODY, True),
        ("headline", BODY, False),
        ("normal", RECEIPT, True),
        ("normal", STATE, True),
        ("normal", MARKER, True),
        ("headline", BODY + RECEIPT, True),
        ("error", "<error/>", True),
        ("error", "<error/>" + BODY, True),
        ("groupchat", BODY, False),
        ("groupchat", STATE, False),
        ("normal", DIRECT, True),
        ("headline", DIRECT, True),
        ("groupchat", DIRECT, False),
        ("normal", INVITE, True),
        ("normal", DECLINE, False),
    ],
)
@pytest.mark.parametrize("outgoing", [True, False])
def test_who_gets_a_copy(kind: str, inside: str, copied: bool, outgoing: bool) -> None:
    from_, to = (ROMEO.text, ROOM) if outgoing else (ROOM, ROMEO.text)
    stanza = message(kind, inside, from_, to)
    assert carbons.eligible(stanza, outgoing=outgoing) is copied
    for mark in (PRIVATE, NO_COPY, PRIVATE + NO_COPY):
        private = message(kind, inside + mark, from_, to)
        assert not carbons.eligible(private, outgoing=outgoing)


@pytest.mark.parametrize("kind", ["chat", "normal"])
@pytest.mark.parametrize("inside", [BODY + PM, STATE + PM, DIRECT + PM, INVITE])
def test_what_an_occupant_says_is_not_copied(kind: str, inside: str) -> None:
    assert not carbons.eligible(message(kind, inside, OCCUPANT, ROMEO.text), outgoing=False)


@pytest.mark.parametrize(("kind", "inside"), [("chat", BODY), ("chat", STATE), ("normal", BODY)])
def test_what_is_said_to_an_occupant_is(kind: str, inside: str) -> None:
    assert carbons.eligible(message(kind, inside + PM, ROMEO.text, OCCUPANT), outgoing=True)


def test_that_it_failed_is_copied_too() -> None:
    stanza = message("error", "<error/>" + BODY + PM, OCCUPANT, ROMEO.text)
    assert carbons.eligible(stanza, outgoing=False)
