"""What every back end agrees on: which texts can be stored, and the size of numbers."""

from __future__ import annotations

import time

from jabberd.storage.api import RosterItem, StorageError
from jabberd.storage.log_api import KEY_BITS, Unit

INTEGER_MAX = 2**63 - 1
"""The largest integer that both SQLite and PostgreSQL hold."""

REMOVED_KEPT = 64
"""How many removed contacts a roster remembers for clients with an older version."""


def check_text(*texts: str) -> None:
    """Refuse what is not text in every database; XML has no such characters either.

    Raises:
        StorageError: there is U+0000 or half of a surrogate pair in one of them.
    """
    for text in texts:
        if text.isascii():
            if "\0" not in text:
                continue
        elif "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text):
            continue
        raise StorageError("text with U+0000 or with a lone surrogate cannot be stored")


def check_item(item: RosterItem, contact: str) -> None:
    """Refuse an item that a transition must not return.

    Raises:
        ValueError: it is about another contact.
        StorageError: a text in it cannot be stored.
    """
    if item.contact != contact:
        raise ValueError(f"a transition of {contact!r} returned {item.contact!r}")
    check_text(item.name, *item.groups)


def check_unit(unit: Unit) -> int:
    """Refuse what no database takes, and entries that would not be found by their time.

    Returns:
        By how many milliseconds the time of a key is ahead of its entry's, at most.

    Raises:
        StorageError: a text cannot be stored, or a key is smaller than its entry's time allows.
    """
    texts: list[str] = []
    most, before, base = 0, 0.0, 0
    for key, _, _, resource, at, _, unique, _, _ in unit.entries:
        # Owners and peers are looked at when their names are new.
        texts += (resource, unique)
        if at != before:  # entries of one turn have the same time
            before, base = at, int(at * 1000) if at > 0 else 0
        late = (key >> KEY_BITS) - base
        if late > most:
            most = late
        elif late < 0:
            raise StorageError("the key of an entry is not of its time")
    check_text("".join(texts), *[saved.owner for saved in unit.sessions.values()])
    return most


def clamp(number: int) -> int:
    """The nearest number from 0 to `INTEGER_MAX`: what peers send may have any size."""
    return min(max(number, 0), INTEGER_MAX)


def first_version() -> int:
    """The version that a new roster starts from: milliseconds since the epoch.

    An account that is erased and made again must not reach a version that a client of the
    former one still holds in its cache.
    """
    return max(1, int(time.time() * 1000))


def domain_of(owner: str) -> str:
    """The domain of a bare JID."""
    return owner.rpartition("@")[2]
