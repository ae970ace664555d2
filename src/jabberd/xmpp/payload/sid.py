"""XEP-0359 Unique and Stable Stanza IDs: who knows a message by which identifier."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from jabberd.xmpp import ns
from jabberd.xmpp.cut import without
from jabberd.xmpp.element import escape_attr
from jabberd.xmpp.jid import JID, InvalidJID, parse_jid
from jabberd.xmpp.stanza import Message, qname

STANZA_ID: Final = qname(ns.SID, "stanza-id")
"""The name of what `stanza_id` writes, for `Message.with_tail`."""

ORIGIN_ID: Final = qname(ns.SID, "origin-id")
"""The name of what `origin_id` reads."""

# How clients write it, if the value needs no unescaping. Possessive, so that it cannot backtrack.
_USUAL: Final = re.compile(
    rb"""<origin-id(?:\s++xmlns=(?:'[^'<>]*+'|"[^"<>]*+"))?\s++id=(?:'([^'<>&\s]*+)'|"([^"<>&\s]*+)")"""
    rb"""(?:\s++xmlns=(?:'[^'<>]*+'|"[^"<>]*+"))?\s*+/>"""
)


def stanza_id(by: JID, id: str) -> bytes:  # noqa: A002 -- the attribute's name on the wire
    """The `<stanza-id/>` that `by` gives a message (§2.1)."""
    value = id if id.isalnum() else escape_attr(id)
    return f"<stanza-id xmlns='{ns.SID}' by='{by.xml}' id='{value}'/>".encode()


def origin_id(message: Message) -> str:
    """The identifier that the sender's client gave the message; empty where it gave none (§2.2)."""
    if ORIGIN_ID not in message.children:
        return ""
    # A child of that name is there. Where its name is written only once, there it is, and
    # nowhere deeper inside: so it need not be parsed.
    inner = message.inner
    if inner.count(b"origin-id") == 1 and (found := _USUAL.search(inner)):
        return (found[1] or found[2] or b"").decode()
    element = message.child(ns.SID, "origin-id")
    return "" if element is None else element.get("id")


def strip(message: Message, by: Callable[[str], bool]) -> Message:
    """The message without the identifiers that only we may give it (§3, rules 2 and 3).

    Args:
        message: as it was received; it is returned itself where there is nothing to do.
        by: whether identifiers by this address are ours to give; it is in canonical form.
    """
    if STANZA_ID not in message.children:
        return message

    def forged(name: str, attrs: Mapping[str, str]) -> bool:
        if name != STANZA_ID:
            return False
        try:
            return by(parse_jid(attrs.get("by", "")).text)
        except InvalidJID:
            return False  # nobody's, so nobody takes it for ours

    return without(message, forged)
