"""XEP-0441 Message Archive Management Preferences: with whom messages are archived."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from jabberd.xmpp import ns
from jabberd.xmpp.element import Element
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.jid import JID, InvalidJID

MAX_LISTED: Final = 1000
"""How many addresses each of the lists may have; the XEP names no bound."""


class Default(Enum):
    """What happens to messages with those who are in neither list (§2.1.1)."""

    ALWAYS = "always"
    NEVER = "never"
    ROSTER = "roster"


@dataclass(frozen=True, slots=True)
class Prefs:
    """What an account wants archived.

    Attributes:
        default: the rule for those who are in neither list.
        always: with these, messages are archived.
        never: with these they are not, even if the other list has them too.
    """

    default: Default
    always: frozenset[JID] = frozenset()
    never: frozenset[JID] = frozenset()

    def archives(self, peer: JID) -> bool | None:
        """Whether a message to or from this address is archived (§2.3).

        Returns:
            None where that depends on whether the bare address is in the roster.
        """
        # A bare address in a list stands for all of its clients.
        if peer in self.never or peer.bare in self.never:
            return False
        if peer in self.always or peer.bare in self.always or self.default is Default.ALWAYS:
            return True
        return None if self.default is Default.ROSTER else False


def read(element: Element) -> Prefs:
    """What a `<prefs/>` of type "set" wants; a list that is missing is empty (§2.1).

    Raises:
        StanzaError: bad-request without a proper default; jid-malformed; policy-violation past
            `MAX_LISTED`.
    """
    try:
        default = Default(element.get("default"))
    except ValueError:
        text = "default is always, never or roster"
        raise StanzaError(Condition.BAD_REQUEST, text) from None
    return Prefs(default, _listed(element, "always"), _listed(element, "never"))


def write(prefs: Prefs) -> Element:
    """The `<prefs/>` of an answer; both lists are there even if they are empty (§2.1)."""
    lists = [_list("always", prefs.always), _list("never", prefs.never)]
    return Element(ns.MAM, "prefs", {"default": prefs.default.value}, lists)


def _listed(element: Element, name: str) -> frozenset[JID]:
    found = element.find(ns.MAM, name)
    if found is None:
        return frozenset()
    listed = found.find_all(ns.MAM, "jid")
    if len(listed) > MAX_LISTED:
        raise StanzaError(Condition.POLICY_VIOLATION, f"a list may have {MAX_LISTED} addresses")
    try:
        return frozenset(JID.parse(jid.text.strip()) for jid in listed)
    except InvalidJID as error:
        raise StanzaError(Condition.JID_MALFORMED, str(error)) from None


def _list(name: str, jids: Iterable[JID]) -> Element:
    element = Element(ns.MAM, name)
    return element.add(*(Element(ns.MAM, "jid", {}, [jid.text]) for jid in sorted(jids)))
