"""Values that the storage tests share."""

from __future__ import annotations

from collections.abc import Callable

from jabberd.storage.api import Account, RosterItem, ScramKeys, Subscription

JULIET = "juliet@capulet.example"
ROMEO = "romeo@montague.example"
NURSE = "nurse@capulet.example"

KEYS = (
    ScramKeys("sha1", b"\x00salt:\n\xff", 10_000, bytes(20), bytes(range(20))),
    ScramKeys("sha256", b"", 1, bytes(range(32)), bytes(32)),
    ScramKeys("sha512", bytes(range(256)), 2**31 - 1, bytes(64), bytes(64)),
)

JULIETS = Account(JULIET, KEYS, 1763.25)

FULL_ITEM = RosterItem(
    ROMEO,
    "Romeo 🌹 \"M\" 'o' \\ \n\t<&>",
    ("Zweite", 'a","b', "", "back\\slash", "☃", "\x1f"),
    Subscription.BOTH,
    ask=True,
    pending_in=b"<presence>\x00\xff</presence>",
    approved=True,
    listed=False,
)

Transition = Callable[[RosterItem | None], RosterItem | None]


def becomes(item: RosterItem | None) -> Transition:
    """A transition that gives this item, whatever was there."""
    return lambda _before: item
