"""RFC 6121 §2: what `jabber:iq:roster` looks like on the wire."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from jabberd.xmpp import ns, prep
from jabberd.xmpp.element import Element, escape_attr, escape_text
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.jid import JID, InvalidJID

MAX_TEXT: Final = 1023
"""The longest name of a contact or of a group, in bytes of UTF-8 (§2.3.3 leaves it to us)."""


@dataclass(frozen=True, slots=True)
class RosterSet:
    """What a client asks to be done to one item (§2.1.5).

    Attributes:
        contact: a bare JID.
        remove: take the item out; name and groups mean nothing then.
        name: the new handle, or an empty string for none.
        groups: the new groups, in the client's order.
    """

    contact: JID
    remove: bool
    name: str
    groups: tuple[str, ...]


def item(
    contact: str,
    *,
    name: str = "",
    groups: Sequence[str] = (),
    subscription: str = "none",
    ask: bool = False,
    approved: bool = False,
) -> str:
    """One `<item/>` (§2.1.2), as text to be joined; `subscription` may be "remove"."""
    text = f"<item jid='{escape_attr(contact)}' subscription='{subscription}'"
    if name:
        text = f"{text} name='{escape_attr(name)}'"
    if ask:
        text += " ask='subscribe'"
    if approved:
        text += " approved='true'"
    if not groups:
        return text + "/>"
    inside = "".join([f"<group>{escape_text(group)}</group>" for group in groups])
    return f"{text}>{inside}</item>"


def query(items: Iterable[str], version: str) -> bytes:
    """The `<query/>` of a result or a push (§2.1.4, §2.1.6)."""
    inside = "".join(items)
    if not inside:
        return f"<query xmlns='{ns.ROSTER}' ver='{version}'/>".encode()
    return f"<query xmlns='{ns.ROSTER}' ver='{version}'>{inside}</query>".encode()


def read_set(request: Element) -> RosterSet:
    """Read and check the `<query/>` of a roster set.

    Raises:
        StanzaError: bad-request, not-acceptable or jid-malformed, as §2.3.3 says.
    """
    elements = list(request)
    if len(elements) != 1 or (elements[0].ns, elements[0].name) != (ns.ROSTER, "item"):
        raise StanzaError(Condition.BAD_REQUEST, "a roster set has exactly one item")
    element = elements[0]
    if not element.get("jid"):
        raise StanzaError(Condition.BAD_REQUEST, "a roster item has a jid")
    try:
        contact = JID.parse(element.get("jid")).bare
    except InvalidJID as error:
        raise StanzaError(Condition.JID_MALFORMED, str(error)) from None
    # §2.1.5: every other value of the subscription attribute is ignored.
    if element.get("subscription") == "remove":
        return RosterSet(contact, True, "", ())
    groups = tuple(group.text for group in element.find_all(ns.ROSTER, "group"))
    _check_texts(element.get("name"), groups)
    return RosterSet(contact, False, element.get("name"), groups)


def _check_texts(name: str, groups: Sequence[str]) -> None:
    if len(name.encode()) > MAX_TEXT:
        raise StanzaError(Condition.NOT_ACCEPTABLE, f"the name is longer than {MAX_TEXT} bytes")
    for group in groups:
        if not group:
            raise StanzaError(Condition.NOT_ACCEPTABLE, "a group has no name")
        if len(group.encode()) > MAX_TEXT:
            raise StanzaError(Condition.NOT_ACCEPTABLE, f"a group is longer than {MAX_TEXT} bytes")
    if len({_comparable(group) for group in groups}) < len(groups):
        raise StanzaError(Condition.BAD_REQUEST, "a group is named twice")


def _comparable(group: str) -> str:
    # §2.3.3 proposes to compare as resourceparts; groups may hold what a resource may not.
    try:
        return prep.resourcepart(group)
    except prep.PrepError:
        return group
