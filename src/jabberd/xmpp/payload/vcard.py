"""XEP-0054 vcard-temp."""

from __future__ import annotations

from jabberd.xmpp.element import Element


def is_empty(card: Element) -> bool:
    """Whether a card says nothing, which is how clients remove theirs."""
    return not any(True for _ in card)
