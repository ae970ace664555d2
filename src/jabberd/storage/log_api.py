"""The durable log: one per account, and the source of truth for messages.

What one turn of the event loop decided is one `Unit`: entries for both sides of its messages,
what the sessions with stream management must remember, what is on its way to other servers, and
what has been delivered meanwhile.
A unit is committed whole or not at all. Only when it is on disk are its messages delivered and
then acknowledged.

An entry has a *key*: a number that this process makes (`Log.next_key`), that grows with every
entry of the whole server, and that never returns, whatever is deleted and whenever the process
dies. It begins with the time in milliseconds, so a range of time is a range of keys (see
`key_at`). Keys are for inside; what clients see is made of them by `core.archive_id`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntFlag
from typing import Final, NamedTuple, Protocol

KEY_BITS: Final = 20
"""A key is milliseconds since the epoch, shifted by so many bits, and a counter below."""


def key_at(at: float) -> int:
    """The smallest key that an entry of this time (seconds since the epoch) can have."""
    return max(0, int(at * 1000)) << KEY_BITS


class Flag(IntFlag):
    """What an entry is."""

    VISIBLE = 1
    """It is in the owner's archive (XEP-0313)."""
    AWAITING = 2
    """It waits for the owner to come (XEP-0160). One that is not VISIBLE lives until then."""
    SENT = 4
    """The owner sent it; otherwise the owner received it."""
    SEEN = 8
    """A client of the owner has it for certain."""


class Entry(NamedTuple):
    """One message in one account's log. A named tuple: it is made for every message.

    Attributes:
        key: of `Log.next_key` for this time, or a greater one.
        owner: the account's bare JID.
        peer: the other side's bare JID.
        resource: of the other side's address; may be empty.
        at: when the server took the message, seconds since the epoch.
        flags: of `Flag`.
        unique: how the message is recognised when it is sent again; empty where it is not.
        doc: the key of the `Doc` in the same unit by which it is found; 0 where it has none.
        stanza: its bytes in the jabber:client namespace, with `from` and `to`.
    """

    key: int
    owner: str
    peer: str
    resource: str
    at: float
    flags: int
    unique: str
    doc: int
    stanza: bytes


class Doc(NamedTuple):
    """A text to be found by words: once per message, for all entries that point to it.

    It lives as long as an entry points to it. A text that no entry of its unit points to is left
    out; how it is cut into words is told in `words`.

    Attributes:
        key: of one of the entries.
        text: what can be searched.
    """

    key: int
    text: str


class Saved(NamedTuple):
    """A session with stream management, as it is kept (XEP-0198).

    Attributes:
        number: which session; made by the caller, never used again.
        owner: the account's bare JID.
        data: everything but what stands beside it, in the caller's own form.
    """

    number: int
    owner: str
    data: bytes


class Journaled(NamedTuple):
    """Stanzas on their way to a session that it has not acknowledged yet.

    Attributes:
        number: which session.
        first: the place of the first one among all that were ever sent to it; grows.
        stanzas: how many they are.
        items: them all, in the caller's own form.
    """

    number: int
    first: int
    stanzas: int
    items: bytes


class Relay(NamedTuple):
    """A stanza on its way to another server.

    Attributes:
        key: of `Log.next_key`, as an entry's; it orders them.
        local: our domain that the stanza is from.
        remote: the other server's domain.
        expires: when it is given back to its sender, seconds since the epoch.
        stanza: its bytes in the jabber:client namespace, with `from` and `to`.
    """

    key: int
    local: str
    remote: str
    expires: float
    stanza: bytes


@dataclass(slots=True)
class Unit:
    """What is committed together. The order of the fields is the order of the work.

    Attributes:
        entries: new messages.
        docs: their texts, for the index.
        awaiting: keys of entries that wait for their owner again.
        delivered: keys of entries that a client has: they are SEEN and not AWAITING any more, and
            an entry that is not VISIBLE is deleted.
        sessions: sessions with stream management that are new or have changed, by number; what
            was handled for one that has changed stays as it was.
        handled: by number of a session: how many stanzas of its client were handled (XEP-0198 h).
        forget: by number of a session, a place: what was journaled before, and has only places
            below this one, is not needed. A row of the journal goes as a whole.
        journal: what is on its way to sessions.
        ended: numbers of sessions that are over; everything about them is deleted.
        relays: stanzas on their way to other servers.
        relayed: keys of those that have arrived there, or were given back to their senders; they
            are deleted.
        checkpoint: all entries up to this key that do not wait were given to their recipients;
            0 where nothing is to be said.
    """

    entries: list[Entry] = field(default_factory=list)
    docs: list[Doc] = field(default_factory=list)
    awaiting: list[int] = field(default_factory=list)
    delivered: list[int] = field(default_factory=list)
    sessions: dict[int, Saved] = field(default_factory=dict)
    handled: dict[int, int] = field(default_factory=dict)
    forget: dict[int, int] = field(default_factory=dict)
    journal: list[Journaled] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)
    relays: list[Relay] = field(default_factory=list)
    relayed: list[int] = field(default_factory=list)
    checkpoint: int = 0

    def __bool__(self) -> bool:
        """Whether there is anything to commit."""
        return bool(
            self.entries
            or self.sessions
            or self.handled
            or self.journal
            or self.forget
            or self.delivered
            or self.awaiting
            or self.ended
            or self.relays
            or self.relayed
            or self.checkpoint
            or self.docs
        )


@dataclass(frozen=True, slots=True)
class Restored:
    """A session with stream management, as the last process left it.

    Attributes:
        saved: what was kept of it.
        handled: the last one committed; 0 before the first.
        journal: in order of `first`.
    """

    saved: Saved
    handled: int
    journal: tuple[Journaled, ...]


@dataclass(frozen=True, slots=True)
class ArchiveQuery:
    """Which visible entries of an account are wanted.

    Attributes:
        peer: only those with this bare JID; empty: all.
        resource: together with `peer`: only those with this resource of it.
        start: only from this time on, seconds since the epoch.
        end: only up to this time.
        after: only those with a greater key.
        before: only those with a smaller key.
        keys: only these; None: no such limit.
        text: only those with all of these words (a plain text of the user's, not a language);
            a text without a word in it finds nothing.
        backwards: the page holds the newest of them, not the oldest.
        limit: so many at most.
        count: whether to count all that match, whatever `after`, `before` and `limit` say.
    """

    peer: str = ""
    resource: str = ""
    start: float | None = None
    end: float | None = None
    after: int | None = None
    before: int | None = None
    keys: tuple[int, ...] | None = None
    text: str = ""
    backwards: bool = False
    limit: int = 50
    count: bool = False


@dataclass(frozen=True, slots=True)
class ArchivePage:
    """Entries of an archive, oldest first.

    Attributes:
        entries: of this page.
        complete: there are no more in the direction of the query.
        count: of all that match; None where that was not asked for or is more than `COUNT_MOST`.
    """

    entries: tuple[Entry, ...]
    complete: bool
    count: int | None = None


FIND_MOST: Final = 2_000
"""`Log.find` looks at so many of the newest entries with a peer."""

LOOK: Final = 10
"""`Log.recently_sent` looks at so many times the entries that it is to return."""

COUNT_MOST: Final = 10_000
"""Counting stops here: a page must not cost what a whole archive costs."""


class Log(Protocol):
    """Messages of accounts, what sessions have to remember, and the queue to other servers."""

    @property
    def secret(self) -> bytes:
        """16 random bytes that were made with the database and never change."""

    def next_key(self, at: float) -> int:
        """A key for an entry of this time (seconds since the epoch), greater than every other.

        Where the clock has stepped back, keys go on from the last one.
        """

    def commit(self, unit: Unit) -> asyncio.Future[None] | None:
        """Commit a unit; each is written by itself, in the order of the calls.

        Never raises. The unit must not be changed until it is done.

        Returns:
            None where it is done already; else a future that is done when it is durable, and
            that has a StorageError where nothing of the unit was written.
        """

    async def recover(self) -> Sequence[Restored]:
        """The sessions that the last process left behind; asked once, before anything else."""

    async def relays(self) -> Sequence[Relay]:
        """What is on its way to other servers, in order of key, also what has expired.

        Asked once, before anything else. All of it at once: the server has it in memory anyway.
        """

    async def unsettled(self) -> Sequence[int]:
        """Keys of received entries behind the checkpoint, not AWAITING or SEEN, oldest first.

        The last process may have died before it gave them to anybody.
        """

    async def waiting(self, owner: str, *, after: int = 0, limit: int = 100) -> Sequence[Entry]:
        """The oldest entries that wait for their owner, behind a key."""

    async def count_waiting(self, owner: str) -> int:
        """How many entries wait for this owner."""

    async def page(self, owner: str, query: ArchiveQuery) -> ArchivePage:
        """A page of an account's archive."""

    async def get(self, owner: str, keys: Sequence[int]) -> Sequence[Entry]:
        """Entries by their keys, visible or not, oldest first; unknown ones are left out."""

    async def bounds(self, owner: str) -> tuple[Entry, Entry] | None:
        """The oldest and the newest visible entry; None where there is none."""

    async def find(self, owner: str, peer: str, unique: str, *, sent: bool) -> Entry | None:
        """The newest entry with this peer, of the newest `FIND_MOST`, that `unique` recognises."""

    async def replace(self, owner: str, key: int, stanza: bytes) -> bool:
        """Put another stanza in the place of an entry, and take it out of the index.

        Returns:
            False where there is no such entry.
        """

    async def recently_sent(self, since: float, limit: int) -> Sequence[Entry]:
        """The newest entries of all owners that have a `unique`, oldest first.

        Those that are SENT, and notes to oneself; among `LOOK` times as many of the newest.

        Args:
            since: only from this time on, seconds since the epoch.
            limit: so many at most.
        """

    async def owners(self, domain: str, *, after: str = "", limit: int = 100) -> Sequence[str]:
        """Owners of a domain that have entries, in order of their JID, behind `after` only."""

    async def prune(self, owner: str, before: float, *, limit: int = 500) -> int:
        """Delete some of the oldest visible entries from before a time that do not wait.

        Returns:
            How many were deleted; fewer than `limit` when there are no more.
        """

    async def erase(self, owner: str) -> None:
        """Remove everything of this owner: entries, texts that are nobody else's, sessions.

        What is on its way to other servers stays: it was sent before.
        """
