"""What is kept in archives and for who is away: every row of the two tables."""

from __future__ import annotations

import pytest

from jabberd.xmpp.jid import JID
from jabberd.xmpp.payload import keeping
from jabberd.xmpp.stanza import Message

BARE, FULL = JID.parse("juliet@example.com"), JID.parse("juliet@example.com/balcony")
BODY = "jabber:client body"
THREAD = "jabber:client thread"
SUBJECT = "jabber:client subject"
STATE = "http://jabber.org/protocol/chatstates composing"
STORE, NO_STORE, NO_PERMANENT, NO_COPY = (
    f"urn:xmpp:hints {name}" for name in ("store", "no-store", "no-permanent-store", "no-copy")
)
ORIGIN = "urn:xmpp:sid:0 origin-id"
PRIVATE = "urn:xmpp:carbons:2 private"
REQUEST, RECEIPT = "urn:xmpp:receipts request", "urn:xmpp:receipts received"
MARKABLE, DISPLAYED = "urn:xmpp:chat-markers:0 markable", "urn:xmpp:chat-markers:0 displayed"
EVENT = "http://jabber.org/protocol/pubsub#event event"
ROOM = "http://jabber.org/protocol/muc#user x"
OTHER = "urn:x x"
ERROR = "jabber:client error"

CONTENT = [
    BODY, SUBJECT, RECEIPT, DISPLAYED,
    "urn:xmpp:chat-markers:0 received", "urn:xmpp:chat-markers:0 acknowledged",
    "urn:xmpp:message-correct:0 replace", "urn:xmpp:reactions:0 reactions",
    "urn:xmpp:message-retract:1 retract", "urn:xmpp:eme:0 encryption",
    "urn:xmpp:omemo:2 encrypted", "urn:xmpp:omemo:1 encrypted",
    "eu.siacs.conversations.axolotl encrypted", "urn:xmpp:openpgp:0 openpgp",
    "jabber:x:encrypted x", "jabber:x:conference x", STORE,
]  # fmt: skip
NOTHING = [
    (), (STATE,), (STATE, THREAD), (THREAD,), (NO_COPY, STATE), (ORIGIN,), (PRIVATE, STATE),
]  # fmt: skip


def message(*children: str, kind: str = "chat", to: JID | None = BARE) -> Message:
    # The rules look at names only: what is inside may be anything.
    return Message(to=to, type=kind, children=children, inner=b"<not parsed")


def archived(*children: str, kind: str = "chat", to: JID = BARE) -> set[str]:
    """Whose archive keeps it: that of who sent it, that of who got it."""
    found = message(*children, kind=kind, to=to)
    sides = {"out": True, "in": False}
    return {side for side in sides if keeping.archivable(found, outgoing=sides[side])}


BOTH = {"out", "in"}
NONE: set[str] = set()


@pytest.mark.parametrize("name", CONTENT)
@pytest.mark.parametrize("kind", ["chat", "normal", "", "novel"])
def test_what_archives_keep(name: str, kind: str) -> None:
    assert archived(name, kind=kind) == BOTH
    assert archived(STATE, name, OTHER, kind=kind, to=FULL) == BOTH
    assert archived(name, NO_STORE, kind=kind) == NONE
    assert archived(NO_PERMANENT, name, kind=kind) == NONE
    assert archived(name, kind="groupchat") == NONE
    assert archived(name, kind="headline") == (BOTH if name == STORE else NONE)


@pytest.mark.parametrize("children", [*NOTHING, (REQUEST,), (MARKABLE,), (EVENT,), (OTHER,)])
@pytest.mark.parametrize("kind", ["chat", "normal", "headline", "groupchat", ""])
def test_what_archives_do_not_keep(children: tuple[str, ...], kind: str) -> None:
    assert archived(*children, kind=kind) == NONE


def test_mediated_invitations() -> None:
    # XEP-0045 §7.8.2: they are of the type "normal"; in a chat the element marks an occupant.
    assert archived(ROOM, kind="normal") == archived(ROOM, kind="") == BOTH
    assert archived(ROOM, STATE, kind="chat") == NONE
    assert archived(ROOM, NO_STORE, kind="normal") == NONE


def test_failures_are_kept_for_the_clients_that_did_not_see_them() -> None:
    assert archived(ERROR, kind="error", to=FULL) == {"in"}
    assert archived(ERROR, BODY, STORE, kind="error", to=FULL) == {"in"}
    assert archived(ERROR, kind="error", to=BARE) == NONE
    assert archived(ERROR, BODY, NO_STORE, kind="error", to=FULL) == NONE
    assert not keeping.archivable(message(ERROR, kind="error", to=None), outgoing=False)


@pytest.mark.parametrize(
    ("kind", "to", "waits"),
    [
        ("chat", BARE, True),
        ("chat", FULL, True),
        ("normal", BARE, True),
        ("", BARE, True),
        ("novel", BARE, True),
        ("normal", FULL, False),
        ("novel", FULL, False),
        ("headline", BARE, False),
        ("headline", FULL, False),
        ("groupchat", BARE, False),
        ("error", BARE, False),
        ("error", FULL, False),
        ("chat", None, False),
        ("normal", None, False),
    ],
)
def test_what_waits_for_who_is_away(kind: str, to: JID | None, waits: bool) -> None:
    for children in ((BODY,), (BODY, STATE), (STATE, OTHER), (REQUEST,), (BODY, NO_PERMANENT)):
        assert keeping.waits(message(*children, kind=kind, to=to)) is waits
        assert not keeping.waits(message(*children, NO_STORE, kind=kind, to=to))
    wished = to is not None and kind not in {"groupchat", "error"}
    assert keeping.waits(message(STATE, STORE, kind=kind, to=to)) is wished
    assert not keeping.waits(message(STORE, NO_STORE, kind=kind, to=to))


@pytest.mark.parametrize("children", NOTHING)
def test_nothing_is_not_worth_waiting(children: tuple[str, ...]) -> None:
    assert keeping.is_fleeting(message(*children))
    assert not keeping.waits(message(*children))
    for more in (BODY, REQUEST, OTHER):
        assert not keeping.is_fleeting(message(*children, more))
        assert keeping.waits(message(*children, more))
