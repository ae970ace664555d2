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
    check_text(*[saved.owner for saved in unit.sessions.values()])
    if unit.relays:
        check_text("".join([row.local for row in unit.relays]))
        check_text("".join([row.remote for row in unit.relays]))
    if not unit.entries:
        return 0
    # Column by column: many entries are looked at in a few calls. Owners and peers are looked at
    # when their names are new.
    keys, _, _, resources, ats, _, uniques, _, _ = zip(*unit.entries, strict=True)
    check_text("".join(resources), "".join(uniques))
    late: list[int]
    if len(set(ats)) == 1:  # as the entries of one turn have
        base = _milliseconds(ats[0])
        late = [(key >> KEY_BITS) - base for key in (min(keys), max(keys))]
    else:
        late = [(key >> KEY_BITS) - _milliseconds(at) for key, at in zip(keys, ats, strict=True)]
    if min(late) < 0:
        raise StorageError("the key of an entry is not of its time")
    return max(late)


def _milliseconds(at: float) -> int:
    return int(at * 1000) if at > 0 else 0


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
