"""XEP-0352 Client State Indication: whether somebody looks at a client, and what can wait."""

from __future__ import annotations

from typing import Final

from jabberd.xmpp import ns
from jabberd.xmpp.payload.hints import STORE
from jabberd.xmpp.payload.keeping import is_fleeting
from jabberd.xmpp.stanza import Message, Presence, qname

_STATES: Final = f"{ns.CHAT_STATES} "
_ROOM: Final = qname(ns.MUC_USER, "x")
_SELF: Final = b"110"


def is_chat_state(message: Message) -> bool:
    """Whether there is nothing in a message but a chat state (XEP-0085)."""
    children = message.children
    return (
        message.type != "error"
        and is_fleeting(message)
        and STORE not in children
        and any(name.startswith(_STATES) for name in children)
    )


def is_own_in_room(presence: Presence) -> bool:
    """Whether a room says by it that the client itself came, went or was changed there.

    XEP-0045 §7.2.2: status 110; it is the last one that a client waits for when it enters.
    """
    if _ROOM not in presence.children or _SELF not in presence.inner:
        return False
    element = presence.child(ns.MUC_USER, "x")
    return element is not None and any(
        status.get("code") == _SELF.decode() for status in element.find_all(ns.MUC_USER, "status")
    )
