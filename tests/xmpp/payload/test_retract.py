"""XEP-0424: the examples of the text, and what is none of it."""

from __future__ import annotations

import pytest

from jabberd.xmpp import ns
from jabberd.xmpp.element import Element
from jabberd.xmpp.jid import JID
from jabberd.xmpp.payload import retract
from jabberd.xmpp.stanza import Message
from tests.xmpp.documents import frames_of

RETRACT = "<retract id='wrong-recipient-1' xmlns='urn:xmpp:message-retract:1'/>"
MODERATED = RETRACT.replace("/>", "><moderated xmlns='urn:xmpp:message-moderate:1'/></retract>")
BODY = "<body>/me retracted a previous message, but it's unsupported by your client.</body>"
FALLBACK = "<fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:message-retract:1'/>"


def message(inside: str, kind: str = "chat") -> Message:
    head = f"<stream:stream xmlns='{ns.CLIENT}' xmlns:stream='{ns.STREAM}'>"
    (_, stanza) = frames_of([f"{head}<message type='{kind}'>{inside}</message>".encode()])
    assert isinstance(stanza, Message)
    return stanza


@pytest.mark.parametrize(
    "more", [FALLBACK + BODY + "<store xmlns='urn:xmpp:hints'/>", FALLBACK + BODY, BODY, ""]
)
def test_retractions(more: str) -> None:
    assert retract.read(message(RETRACT + more)) == "wrong-recipient-1"


@pytest.mark.parametrize(
    ("inside", "kind"),
    [
        (BODY, "chat"),
        ("<retract id='1' xmlns='urn:x'/>", "chat"),
        ("<retract xmlns='urn:xmpp:message-retract:1'/>", "chat"),
        ("<retract id='' xmlns='urn:xmpp:message-retract:1'/>", "chat"),
        (f"<y xmlns='urn:y'>{RETRACT}</y>", "chat"),
        (MODERATED, "groupchat"),
        (RETRACT + "<error/>", "error"),
    ],
)  # fmt: skip
def test_what_retracts_nothing(inside: str, kind: str) -> None:
    assert retract.read(message(inside, kind)) is None


def test_tombstones() -> None:
    # §4, but that our times have milliseconds.
    original = Message(
        to=JID.parse("lord@capulet.example"),
        from_=JID.parse("romeo@montague.example/orchard"),
        id="wrong-recipient-1",
        type="chat",
        lang="en",
        children=("jabber:client body",),
        inner=b"<body>Have not saints lips?</body>",
        extra=b" xmlns:p='urn:p' p:secret='1'",
    )
    left = retract.tombstone(original, "retract-message-1", 1569021 * 1000 + 2.5)
    assert left.to_bytes().decode() == (
        "<message from='romeo@montague.example/orchard' to='lord@capulet.example' type='chat'"
        " id='wrong-recipient-1'><retracted xmlns='urn:xmpp:message-retract:1'"
        " id='retract-message-1' stamp='2019-09-20T23:10:02.500Z'/></message>"
    )
    assert left.children == (retract.RETRACTED,)
    assert left.payload() == [retract.retracted("retract-message-1", 1569021002.5)]
    assert Message.build(left.payload()).children == (retract.RETRACTED,)


def test_the_name_that_others_look_for() -> None:
    assert Message.build([Element(ns.RETRACT, "retract")]).children == (retract.RETRACT,)
