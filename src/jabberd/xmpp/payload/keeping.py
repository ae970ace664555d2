"""Which messages are kept: in the archive of an account, and until somebody is there.

Both rules look at the kind of a message, its address and the names of its children, so that
nothing is parsed; nearly every message is decided by its body.
"""

from __future__ import annotations

from typing import Final

from jabberd.xmpp import ns
from jabberd.xmpp.payload.hints import NO_PERMANENT_STORE, NO_STORE, STORE
from jabberd.xmpp.stanza import Message, qname

ENCRYPTED: Final = frozenset(
    {
        qname(ns.EME, "encryption"),
        qname(ns.OMEMO, "encrypted"),
        qname(ns.OMEMO_1, "encrypted"),
        qname(ns.OMEMO_SIACS, "encrypted"),
        qname(ns.OPENPGP, "openpgp"),
        qname(ns.ENCRYPTED, "x"),
    }
)
"""What says that a message is encrypted; its body may be inside."""

_BODY: Final = qname(ns.CLIENT, "body")
_ONLY_BODY: Final = (_BODY,)
_ROOM: Final = qname(ns.MUC_USER, "x")
_REFUSED: Final = frozenset({NO_STORE, NO_PERMANENT_STORE})
_CONTENT: Final = frozenset(
    {
        _BODY,
        qname(ns.CLIENT, "subject"),
        qname(ns.RECEIPTS, "received"),
        qname(ns.MARKERS, "received"),
        qname(ns.MARKERS, "displayed"),
        qname(ns.MARKERS, "acknowledged"),
        qname(ns.CORRECTION, "replace"),
        qname(ns.REACTIONS, "reactions"),
        qname(ns.RETRACT, "retract"),
        *ENCRYPTED,
        qname(ns.CONFERENCE, "x"),
        STORE,
    }
)
# Chat states, which may have a thread (XEP-0085 §5.6), and what only accompanies other things.
_NOTHING: Final = (f"{ns.CHAT_STATES} ", f"{ns.HINTS} ", f"{ns.SID} ", f"{ns.CARBONS} ")
_THREAD: Final = qname(ns.CLIENT, "thread")


def archivable(message: Message, *, outgoing: bool) -> bool:
    """Whether the archive of an account keeps a message (XEP-0313 §6.1.1).

    The first row that fits decides.

    | message | kept | why |
    |---|---|---|
    | groupchat | no | XEP-0313 leaves it open; the room has an archive of its own |
    | error, received by one client | yes | the user's other clients learn what failed |
    | any other error | no | |
    | with the hint `<no-store/>` or `<no-permanent-store/>` | no | XEP-0334 §4.1, §4.2 |
    | with the hint `<store/>` | yes | XEP-0334 §4.4 |
    | headline | no | XEP-0313: not suggested |
    | with a body | yes | XEP-0313: SHOULD |
    | with a subject | yes | RFC 6121 §5.2.4: a person is to read it |
    | with a delivery receipt | yes | XEP-0184; the request for one is nothing by itself |
    | with a chat marker | yes | XEP-0333; that it can be marked is nothing by itself |
    | with a correction | yes | XEP-0308 |
    | with reactions | yes | XEP-0444 |
    | with a retraction | yes | XEP-0424 §5: MUST |
    | encrypted | yes | XEP-0380, XEP-0384, XEP-0373, XEP-0027; the body may be inside |
    | an invitation to a room | yes | XEP-0249; mediated ones (XEP-0045 §7.8.2) are normal |
    | any other | no | chat states (XEP-0085), events of pubsub (XEP-0060) and the like |

    A refusal in an error is that of the message which it returns, and is respected too.

    Args:
        message: what a client of the account sent or what came for the account.
        outgoing: whether it was sent.
    """
    children, kind = message.children, message.type
    if kind == "chat" and children == _ONLY_BODY:
        return True
    if kind == "groupchat" or not _REFUSED.isdisjoint(children):
        return False
    if kind == "error":
        return not outgoing and message.to is not None and not message.to.is_bare
    if kind == "headline":
        return STORE in children
    return not _CONTENT.isdisjoint(children) or (_ROOM in children and message.kind == "normal")


def waits(message: Message) -> bool:
    """Whether a message that nobody is there to receive is stored until somebody comes.

    The first row that fits decides. Where nothing was worth storing (`is_fleeting`), the sender
    need not be told.

    | message | stored | why |
    |---|---|---|
    | error, groupchat | no | XEP-0160 §3 |
    | with the hint `<no-store/>` | no | XEP-0334 §4.2 |
    | with the hint `<store/>` | yes | XEP-0334 §4.4 |
    | headline | no | XEP-0160 §3 |
    | with nothing in it, or only a chat state | no | XEP-0160 §3 |
    | chat | yes | XEP-0160 §3 |
    | normal, to the account | yes | XEP-0160 §3 |
    | normal, to one client | no | RFC 6121 table 1: it was meant for that one |

    Args:
        message: what came for an account.
    """
    children, kind = message.children, message.type
    if kind == "chat" and children == _ONLY_BODY:
        return message.to is not None
    if kind in {"error", "groupchat"} or message.to is None or NO_STORE in children:
        return False
    if STORE in children:
        return True
    if kind == "headline" or not (kind == "chat" or message.to.is_bare):
        return False
    return not is_fleeting(message)


def is_fleeting(message: Message) -> bool:
    """Whether there is nothing in a message but a chat state, or what accompanies other things."""
    children = message.children
    if _BODY in children:
        return False
    return all(name.startswith(_NOTHING) or name == _THREAD for name in children)
