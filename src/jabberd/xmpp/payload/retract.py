"""XEP-0424 Message Retraction: what is taken back, and what stays in its place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from jabberd.xmpp import ns
from jabberd.xmpp.element import Element
from jabberd.xmpp.payload.delay import stamp
from jabberd.xmpp.stanza import Message, qname

RETRACT: Final = qname(ns.RETRACT, "retract")
RETRACTED: Final = qname(ns.RETRACT, "retracted")


@dataclass(frozen=True, slots=True)
class Retraction:
    """What a message takes back (§3).

    Attributes:
        id: of the message that is taken back: its `id`, or in a room the identifier that the
            room gave it (§5.1).
        fallback: whether the whole body is there only for clients that do not know retractions
            (XEP-0428): nothing that anybody said.
    """

    id: str
    fallback: bool


def read(message: Message) -> Retraction | None:
    """What the message retracts; None where it retracts nothing.

    Whether the sender may do so is for the caller to see: both messages have to come from the
    same bare address (§5). What a room's moderator takes back (XEP-0425) is none of these.
    """
    if RETRACT not in message.children or message.type == "error":
        return None
    payload = message.payload()
    found = next((c for c in payload if c.name == "retract" and c.ns == ns.RETRACT), None)
    if found is None or not found.get("id") or any(child.name == "moderated" for child in found):
        return None
    return Retraction(found.get("id"), any(_is_fallback(child) for child in payload))


def _is_fallback(element: Element) -> bool:
    if (element.ns, element.name) != (ns.FALLBACK, "fallback") or element.get("for") != ns.RETRACT:
        return False
    # XEP-0428 §2.2: with nothing inside it is about everything, else about what it names.
    regions = list(element)
    return not regions or any(
        region.name == "body" and not region.attrs.keys() & {"start", "end"} for region in regions
    )


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
