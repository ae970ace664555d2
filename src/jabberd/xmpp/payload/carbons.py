"""XEP-0280 Message Carbons: copies for the other clients of an account."""

from __future__ import annotations

from typing import Final

from jabberd.xmpp import ns
from jabberd.xmpp.cut import without
from jabberd.xmpp.jid import JID
from jabberd.xmpp.payload.forward import forwarded
from jabberd.xmpp.payload.hints import NO_COPY
from jabberd.xmpp.stanza import Message, ParseError, qname, read_stanza

SENT: Final = qname(ns.CARBONS, "sent")
RECEIVED: Final = qname(ns.CARBONS, "received")

_WRAPPERS: Final = frozenset({SENT, RECEIVED})
_PRIVATE: Final = frozenset({qname(ns.CARBONS, "private"), NO_COPY})
_BODY: Final = qname(ns.CLIENT, "body")
_ROOM: Final = qname(ns.MUC_USER, "x")
_INVITATION: Final = qname(ns.CONFERENCE, "x")
_EXCEPTIONS: Final = _PRIVATE | {_ROOM}
# §6.1 names these three specifications.
_IM: Final = (f"{ns.RECEIPTS} ", f"{ns.CHAT_STATES} ", f"{ns.MARKERS} ")

_WRITE_SENT: Final = f"<sent xmlns='{ns.CARBONS}'>%s</sent>".encode()
_WRITE_RECEIVED: Final = f"<received xmlns='{ns.CARBONS}'>%s</received>".encode()
_SENT_AROUND: Final = (_WRITE_SENT % forwarded(b"|")).partition(b"|")
_RECEIVED_AROUND: Final = (_WRITE_RECEIVED % forwarded(b"|")).partition(b"|")


def sent(stanza: bytes) -> bytes:
    """The `<sent/>` around what another client sent, as `Stanza.in_namespace` gives it (§8)."""
    return _WRITE_SENT % forwarded(stanza)


def received(stanza: bytes) -> bytes:
    """The `<received/>` around what another client received; see `sent` (§7)."""
    return _WRITE_RECEIVED % forwarded(stanza)


def copy(message: Message, owner: JID, *, outgoing: bool) -> Message:
    """The copy for the account's other clients, `to` none of them yet: use `replace` for each.

    Args:
        message: what one of the account's clients sent or received.
        owner: the account, a bare JID.
        outgoing: whether it was sent.
    """
    stanza = message.in_namespace()
    inner, name = (sent(stanza), SENT) if outgoing else (received(stanza), RECEIVED)
    return Message(from_=owner, type=message.type, children=(name,), inner=inner)


def inside(carbon: Message) -> tuple[Message, bool] | None:
    """What a copy that `copy` made holds, and whether it was sent; None for other messages."""
    if carbon.children not in {(SENT,), (RECEIVED,)}:
        return None
    was_sent = carbon.children == (SENT,)
    start, _, end = _SENT_AROUND if was_sent else _RECEIVED_AROUND
    inner = carbon.inner
    if not (inner.startswith(start) and inner.endswith(end)):
        return None
    try:
        message = read_stanza(inner[len(start) : -len(end)])
    except ParseError:
        return None
    return (message, was_sent) if isinstance(message, Message) else None


def is_wrapped(message: Message) -> bool:
    """Whether it says that it is a copy. Only an account's own server may say so (§11)."""
    return not _WRAPPERS.isdisjoint(message.children)


def strip(message: Message) -> Message:
    """The message without the wrappers of forged copies; itself where there are none."""
    if not is_wrapped(message):
        return message
    return without(message, lambda name, _attrs: name in _WRAPPERS)


def eligible(message: Message, *, outgoing: bool) -> bool:
    """Whether the account's other clients get a copy (§6.1).

    | message | copied |
    |---|---|
    | with `<private/>` or the hint `<no-copy/>` | no |
    | groupchat | no |
    | error | yes |
    | from an occupant of a room (`muc#user`, from a full JID), received | no |
    | chat | yes |
    | with a delivery receipt, a chat state or a chat marker, or the request for one | yes |
    | normal with a body | yes |
    | an invitation to a room: XEP-0249, or mediated by the room | yes |
    | any other | no |

    The first row that fits decides. An error follows the message that it answers, which it
    need not name: it is taken for the answer to one that was copied, so that all clients that
    show a message learn that it failed.

    The mark of a private message is not removed (§9): that was the rule once, and let senders
    change unseen who gets what.

    Args:
        message: what a client sent or gets.
        outgoing: whether it was sent by a client of the account: what is said to an occupant
            is copied, what an occupant says is not, since the room copies that itself.
    """
    children, kind = message.children, message.type
    if _EXCEPTIONS.isdisjoint(children):
        if kind == "chat":
            return True
    elif not _PRIVATE.isdisjoint(children):
        return False
    if kind == "groupchat":
        return False
    if kind == "error":
        return True
    from_room = _ROOM in children
    if from_room and not outgoing and message.from_ is not None and message.from_.resource:
        return False
    if kind == "chat" or _INVITATION in children:
        return True
    if any(name.startswith(_IM) for name in children):
        return True
    if _BODY in children and message.kind == "normal":
        return True
    return from_room and _is_invitation(message)


def _is_invitation(message: Message) -> bool:
    # XEP-0045 §7.8.2: the element has other uses, so it has to be looked into.
    element = message.child(ns.MUC_USER, "x")
    return element is not None and element.find(ns.MUC_USER, "invite") is not None
