"""XEP-0357 Push Notifications: telling an app's server that something came."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from jabberd.xmpp import ns
from jabberd.xmpp.element import Element
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.jid import JID, InvalidJID
from jabberd.xmpp.payload import carbons, forms
from jabberd.xmpp.payload.forms import Field
from jabberd.xmpp.payload.hints import STORE
from jabberd.xmpp.payload.keeping import ENCRYPTED
from jabberd.xmpp.stanza import Message, qname

MAX_NODE: Final = 1023
"""The longest node, in bytes of UTF-8; the XEP names no bound."""

MAX_OPTIONS: Final = 4096
"""The largest form of publish options, in bytes as it is written; they are kept per client."""

_CONTENT: Final = ENCRYPTED | {qname(ns.CLIENT, "body")}
_ABOUT_OTHERS: Final = (f"{ns.RECEIPTS} ", f"{ns.MARKERS} ")


@dataclass(frozen=True, slots=True)
class Enable:
    """A client wants notifications (§5).

    Attributes:
        service: whom to notify.
        node: which node there; may be empty.
        options: the form to publish with, of the type "submit"; None where there is none.
    """

    service: JID
    node: str
    options: Element | None


@dataclass(frozen=True, slots=True)
class Disable:
    """A client wants no more notifications (§6).

    Attributes:
        service: whom not to notify any more.
        node: about which node; empty for all of them.
    """

    service: JID
    node: str


@dataclass(frozen=True, slots=True)
class Summary:
    """What a notification tells; an app's server has no need to know more than the first.

    Attributes:
        messages: how many wait unread.
        sender: who sent the last message.
        body: what was in it.
    """

    messages: int | None = None
    sender: JID | None = None
    body: str | None = None


def read(request: Element) -> Enable | Disable:
    """What an `<enable/>` or a `<disable/>` asks for.

    Raises:
        StanzaError: bad-request for other elements, without a `jid`, or for a form that is not
            a submission of publish options; jid-malformed; not-acceptable past a bound.
    """
    if request.ns != ns.PUSH or request.name not in {"enable", "disable"}:
        raise StanzaError(Condition.BAD_REQUEST, "push is enabled or disabled")
    if not request.get("jid"):
        raise StanzaError(Condition.BAD_REQUEST, "a push service has a jid")
    try:
        service = JID.parse(request.get("jid"))
    except InvalidJID as error:
        raise StanzaError(Condition.JID_MALFORMED, str(error)) from None
    node = request.get("node")
    if len(node.encode()) > MAX_NODE:
        raise StanzaError(Condition.NOT_ACCEPTABLE, f"the node is longer than {MAX_NODE} bytes")
    if request.name == "disable":
        return Disable(service, node)
    return Enable(service, node, _options(request))


def _options(request: Element) -> Element | None:
    form = request.find(ns.DATA_FORMS, "x")
    if form is None:
        return None
    if form.get("type") != "submit" or forms.form_type(form) != ns.PUBLISH_OPTIONS:
        raise StanzaError(Condition.BAD_REQUEST, "a submission of publish options is expected")
    if len(form.to_bytes()) > MAX_OPTIONS:
        raise StanzaError(Condition.NOT_ACCEPTABLE, f"options may have {MAX_OPTIONS} bytes")
    return form


def worth(message: Message, owner: JID) -> Message | None:
    """The message that an account's client should be told of, itself or inside a copy.

    The first row that fits decides.

    | message | told |
    |---|---|
    | a copy (XEP-0280) of what another client of the account sent | no |
    | any other copy | by what is in it |
    | error | no |
    | from the account itself | no |
    | with a body | yes |
    | encrypted | yes |
    | with a delivery receipt or a chat marker | no |
    | with the hint `<store/>` | yes |
    | any other | no |

    Args:
        message: what could not be given to the client.
        owner: the account, a bare JID.

    Returns:
        None where there is nothing to tell.
    """
    copied = carbons.inside(message)
    if copied is not None:
        message, was_sent = copied
        if was_sent:
            return None
    if message.type == "error" or (message.from_ is not None and message.from_.bare == owner):
        return None
    children = message.children
    if not _CONTENT.isdisjoint(children):
        return message
    if STORE in children and not any(name.startswith(_ABOUT_OTHERS) for name in children):
        return message
    return None


def read_end(message: Message, owner: JID) -> str | None:
    """The node at which a service will take no more notifications for an account (§8).

    Returns:
        None where the message says something else.
    """
    pubsub = message.child(ns.PUBSUB, "pubsub")
    if pubsub is None:
        return None
    for affiliation in pubsub.find_all(ns.PUBSUB, "affiliation"):
        if affiliation.get("affiliation") == "none" and affiliation.get("jid") == owner.text:
            return pubsub.get("node")
    return None


def publish(node: str, summary: Summary, options: Element | None = None) -> Element:
    """The `<pubsub/>` of the request that notifies (§7).

    Args:
        node: as the client named it.
        summary: what to tell; without anything in it there is no form.
        options: the form that the client enabled the service with.
    """
    notification = Element(ns.PUSH, "notification")
    if fields := _fields(summary):
        notification.add(forms.form(fields, kind="submit", form_type=ns.PUSH_SUMMARY))
    item = Element(ns.PUBSUB, "item", {}, [notification])
    pubsub = Element(ns.PUBSUB, "pubsub")
    pubsub.add(Element(ns.PUBSUB, "publish", {"node": node or None}, [item]))
    if options is not None:
        pubsub.add(Element(ns.PUBSUB, "publish-options", {}, [options]))
    return pubsub


def _fields(summary: Summary) -> list[Field]:
    # §11.3 names the fields.
    told = {
        "message-count": summary.messages,
        "last-message-sender": summary.sender,
        "last-message-body": summary.body,
    }
    return [Field(var, "", values=[str(v)]) for var, v in told.items() if v is not None]
