"""XEP-0203 Delayed Delivery: when a stanza was really sent."""

from __future__ import annotations

from datetime import UTC, datetime

from jabberd.xmpp import ns
from jabberd.xmpp.element import Element
from jabberd.xmpp.jid import JID


def stamp(at: float) -> str:
    """Seconds since the epoch as a DateTime in UTC (XEP-0082), to the millisecond."""
    text = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def delay(at: float, by: JID | None = None, reason: str = "") -> Element:
    """The `<delay/>` element.

    Args:
        at: when the stanza was first sent, seconds since the epoch.
        by: who delayed it.
        reason: for people; may be empty.
    """
    attrs = {"from": by.text if by else None, "stamp": stamp(at)}
    return Element(ns.DELAY, "delay", attrs, [reason] if reason else [])
