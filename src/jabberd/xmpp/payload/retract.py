"""XEP-0424 Message Retraction: what is taken back, and what stays in its place."""

from __future__ import annotations

from typing import Final

from jabberd.xmpp import ns
from jabberd.xmpp.element import Element
from jabberd.xmpp.payload.delay import stamp
from jabberd.xmpp.stanza import Message, qname

RETRACT: Final = qname(ns.RETRACT, "retract")
RETRACTED: Final = qname(ns.RETRACT, "retracted")


def read(message: Message) -> str | None:
    """The identifier of the message that is taken back (§3); None where none is.

    It is that message's `id`, or in a room the identifier that the room gave it (§5.1).

    Whether the sender may do so is for the caller to see: both messages have to come from the
    same bare address (§5). What a room's moderator takes back (XEP-0425) is none of these.
    """
    if RETRACT not in message.children or message.type == "error":
        return None
    found = message.child(ns.RETRACT, "retract")
    if found is None or any(child.name == "moderated" for child in found):
        return None
    return found.get("id") or None


def retracted(id: str, at: float) -> Element:  # noqa: A002 -- the attribute's name on the wire
    """The `<retracted/>` element of a tombstone (§4).

    Args:
        id: of the message that asked for it.
        at: when that was, seconds since the epoch.
    """
    return Element(ns.RETRACT, "retracted", {"id": id, "stamp": stamp(at)})


def tombstone(message: Message, id: str, at: float) -> Message:  # noqa: A002 -- as above
    """What an archive keeps of a retracted message: its address and type, and `retracted`."""
    return Message(
        message.to,
        message.from_,
        message.id,
        message.type,
        children=(RETRACTED,),
        inner=retracted(id, at).to_bytes(),
    )
