"""Values that the storage tests share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from jabberd.storage.api import Account, RosterItem, ScramKeys, Stores, Subscription
from jabberd.storage.log_api import Entry, Flag, Log, Unit

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


async def commit(log: Log, unit: Unit) -> None:
    """Commit a unit, and wait until it is durable."""
    done = log.commit(unit)
    if done is not None:
        await asyncio.wait_for(done, 60)


async def append(stores: Stores, stanza: bytes, owner: str = JULIET) -> bool:
    """Commit one entry that waits for its owner."""
    key = stores.log.next_key(1.0)
    flags = int(Flag.VISIBLE | Flag.AWAITING)
    await commit(stores.log, Unit([Entry(key, owner, ROMEO, "", 1.0, flags, "", 0, stanza)]))
    return True


async def waiting(stores: Stores, owner: str = JULIET) -> Sequence[bytes]:
    """What waits for this owner."""
    return [entry.stanza for entry in await stores.log.waiting(owner, limit=10_000)]
