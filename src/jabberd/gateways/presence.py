"""Presence stanzas of a gateway and its contacts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from jabberd.gateways.discovery import contact_caps, gateway_caps
from jabberd.gateways.events import Show
from jabberd.gateways.transport import Network
from jabberd.gateways.users import Seen
from jabberd.xmpp import ns
from jabberd.xmpp.element import Element
from jabberd.xmpp.error import StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Presence

_SHOWN: Final = frozenset(show.value for show in Show) - {"", "unavailable"}
_LONGEST_STATUS: Final = 1_000


def read(presence: Presence) -> Seen | None:
    """What a user's presence says; None for an unavailable one.

    Raises:
        StanzaError: bad-request for a priority that is none.
    """
    if presence.type == "unavailable":
        return None
    show, status = "", ""
    for child in presence.payload():
        if (child.ns, child.name) == (ns.CLIENT, "show"):
            show = child.text.strip()
        elif (child.ns, child.name) == (ns.CLIENT, "status"):
            status = status or child.text
    known = Show(show) if show in _SHOWN else Show.ONLINE
    return Seen(known, status[:_LONGEST_STATUS], presence.priority())


def of_gateway(
    network: Network, domain: JID, to: JID, show: Show = Show.ONLINE, status: str = ""
) -> Presence:
    """The gateway's own presence."""
    return _made(domain, to, show, status, [gateway_caps(network)])


def of_contact(
    network: Network,
    contact: JID,
    to: JID,
    show: Show,
    status: str = "",
    avatar: str | None = None,
) -> Presence:
    """A contact's presence; `avatar` is the SHA-1 of the picture (XEP-0153), None: not known."""
    extra = [contact_caps(network)]
    if avatar is not None:
        photo = Element(ns.VCARD_UPDATE, "photo", None, [avatar] if avatar else [])
        extra.append(Element(ns.VCARD_UPDATE, "x", None, [photo]))
    return _made(contact, to, show, status, extra)


def of_type(kind: str, from_: JID, to: JID, text: str = "", nick: str = "") -> Presence:
    """A presence that says one thing: "subscribe" and so on, or "probe"."""
    payload = []
    if text:
        payload.append(Element(ns.CLIENT, "status", None, [text[:_LONGEST_STATUS]]))
    if nick:
        payload.append(Element(ns.NICK, "nick", None, [nick]))
    return Presence.build(payload, from_=from_, to=to, type=kind)


def failed(domain: JID, to: JID, error: StanzaError) -> Presence:
    """A login failed (XEP-0100 §4.4.2)."""
    inner = Element(ns.STANZA_ERRORS, error.condition.value)
    payload = [Element(ns.CLIENT, "error", {"type": error.type.value}, [inner])]
    if error.text:
        payload[0].add(Element(ns.STANZA_ERRORS, "text", {f"{ns.XML} lang": "en"}, [error.text]))
    return Presence.build(payload, from_=domain, to=to, type="error")


def _made(from_: JID, to: JID, show: Show, status: str, extra: Sequence[Element]) -> Presence:
    payload = []
    if show.value in _SHOWN:
        payload.append(Element(ns.CLIENT, "show", None, [show.value]))
    if status:
        payload.append(Element(ns.CLIENT, "status", None, [status[:_LONGEST_STATUS]]))
    if show is Show.OFFLINE:
        return Presence.build(payload, from_=from_, to=to, type="unavailable")
    return Presence.build([*payload, *extra], from_=from_, to=to)
