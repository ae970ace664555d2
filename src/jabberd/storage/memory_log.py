"""The log in the memory of the process, for tests and embedding; nothing outlives it."""

from __future__ import annotations

import asyncio
import secrets
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from jabberd.storage import limits
from jabberd.storage.api import StorageError
from jabberd.storage.log_api import (
    COUNT_MOST,
    FIND_MOST,
    LOOK,
    ArchivePage,
    ArchiveQuery,
    Entry,
    Flag,
    Journaled,
    Relay,
    Restored,
    Saved,
    Unit,
    key_at,
)
from jabberd.storage.words import words_asked, words_of

_DONE = int(Flag.AWAITING | Flag.SENT | Flag.SEEN)


class MemoryLog:
    """`Log` in dicts.

    Args:
        check: refuses calls after the end, and texts that no database takes.
    """

    def __init__(self, check: Callable[..., None]) -> None:
        self._check = check
        self._secret = secrets.token_bytes(16)
        self._last = 0
        self._checkpoint = 0
        self._entries: dict[int, Entry] = {}
        # Of each owner, in order.
        self._keys: dict[str, list[int]] = {}
        # Of each text: its words, and how many entries point to it.
        self._docs: dict[int, tuple[frozenset[str], int]] = {}
        self._sessions: dict[int, tuple[Saved, int]] = {}
        self._journal: dict[int, dict[int, Journaled]] = {}
        self._relays: dict[int, Relay] = {}

    @property
    def secret(self) -> bytes:
        """See `Log.secret`."""
        return self._secret

    def next_key(self, at: float) -> int:
        """See `Log.next_key`."""
        self._last = max(self._last + 1, key_at(at))
        return self._last

    def commit(self, unit: Unit) -> asyncio.Future[None] | None:
        """See `Log.commit`."""
        try:
            self._refuse(unit)
        except StorageError as error:
            failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            failed.set_exception(error)
            return failed
        self._write(unit)
        self._remember(unit)
        self._relay(unit)
        self._checkpoint = max(self._checkpoint, unit.checkpoint)
        return None

    async def recover(self) -> Sequence[Restored]:
        """See `Log.recover`."""
        self._check()
        return [
            Restored(saved, handled, tuple(sorted(self._journal.get(number, {}).values())))
            for number, (saved, handled) in sorted(self._sessions.items())
        ]

    async def relays(self) -> Sequence[Relay]:
        """See `Log.relays`."""
        self._check()
        return sorted(self._relays.values())

    async def unsettled(self) -> Sequence[int]:
        """See `Log.unsettled`."""
        self._check()
        rows = self._entries.values()
        return sorted(
            row.key for row in rows if row.key > self._checkpoint and not row.flags & _DONE
        )

    async def waiting(self, owner: str, *, after: int = 0, limit: int = 100) -> Sequence[Entry]:
        """See `Log.waiting`."""
        self._check(owner)
        waiting = (row for row in self._of(owner, after + 1) if row.flags & Flag.AWAITING)
        return list(islice(waiting, limits.clamp(limit)))

    async def count_waiting(self, owner: str) -> int:
        """See `Log.count_waiting`."""
        self._check(owner)
        return sum(bool(row.flags & Flag.AWAITING) for row in self._of(owner))

    async def page(self, owner: str, query: ArchiveQuery) -> ArchivePage:
        """See `Log.page`."""
        self._check(owner, query.peer, query.resource)
        matches = self._matches(query)
        found = [row for row in self._of(owner) if row.flags & Flag.VISIBLE and matches(row)]
        count = len(found) if query.count and len(found) <= COUNT_MOST else None
        if query.after is not None:
            found = [row for row in found if row.key > query.after]
        if query.before is not None:
            found = [row for row in found if row.key < query.before]
        limit = limits.clamp(query.limit)
        page = found[max(0, len(found) - limit) :] if query.backwards else found[:limit]
        return ArchivePage(tuple(page), len(page) == len(found), count)

    async def get(self, owner: str, keys: Sequence[int]) -> Sequence[Entry]:
        """See `Log.get`."""
        self._check(owner)
        found = (self._entries.get(key) for key in sorted(set(keys)))
        return [row for row in found if row is not None and row.owner == owner]

    async def bounds(self, owner: str) -> tuple[Entry, Entry] | None:
        """See `Log.bounds`."""
        self._check(owner)
        visible = [row for row in self._of(owner) if row.flags & Flag.VISIBLE]
        return (visible[0], visible[-1]) if visible else None

    async def find(self, owner: str, peer: str, unique: str, *, sent: bool) -> Entry | None:
        """See `Log.find`."""
        self._check(owner, peer, unique)
        if not unique:
            return None
        newest = [row for row in self._of(owner) if row.peer == peer][: -FIND_MOST - 1 : -1]
        for row in newest:
            if row.unique == unique and bool(row.flags & Flag.SENT) == sent:
                return row
        return None

    async def replace(self, owner: str, key: int, stanza: bytes) -> bool:
        """See `Log.replace`."""
        self._check(owner)
        row = self._entries.get(key)
        if row is None or row.owner != owner:
            return False
        self._entries[key] = row._replace(stanza=bytes(stanza), doc=0)
        self._release(row.doc)
        return True

    async def recently_sent(self, since: float, limit: int) -> Sequence[Entry]:
        """See `Log.recently_sent`."""
        self._check()
        limit = limits.clamp(limit)
        rows = sorted(self._entries.values(), reverse=True)[: LOOK * limit]
        sent = (
            row
            for row in rows
            if (row.flags & Flag.SENT or row.owner == row.peer) and row.unique and row.at >= since
        )
        return list(islice(sent, limit))[::-1]

    async def owners(self, domain: str, *, after: str = "", limit: int = 100) -> Sequence[str]:
        """See `Log.owners`."""
        self._check(domain, after)
        owners = (owner for owner in self._keys if limits.domain_of(owner) == domain)
        return sorted(owner for owner in owners if owner > after)[: limits.clamp(limit)]

    async def prune(self, owner: str, before: float, *, limit: int = 500) -> int:
        """See `Log.prune`."""
        self._check(owner)
        old = (
            row.key
            for row in self._of(owner)
            if row.at < before and row.flags & Flag.VISIBLE and not row.flags & Flag.AWAITING
        )
        return self._delete(list(islice(old, limits.clamp(limit))))

    async def erase(self, owner: str) -> None:
        """See `Log.erase`."""
        self._check(owner)
        self._delete(list(self._keys.get(owner, ())))
        for number in [one for one, row in self._sessions.items() if row[0].owner == owner]:
            self._end(number)

    def _refuse(self, unit: Unit) -> None:
        """Find whatever a database would refuse, before anything is changed."""
        self._check(*[text for row in unit.entries for text in (row.owner, row.peer)])
        limits.check_unit(unit)
        keys = {row.key for row in unit.entries}
        places = {(row.number, row.first) for row in unit.journal}
        if len(keys) < len(unit.entries) or any(key in self._entries for key in keys):
            raise StorageError("the database refused: an entry with this key is there already")
        kept = {
            (number, first)
            for number in {row.number for row in unit.journal}
            for first in self._unforgotten(number, unit.forget.get(number, 0))
        }
        if len(places) < len(unit.journal) or not places.isdisjoint(kept):
            raise StorageError("the database refused: this place is in the journal already")
        relays = {row.key for row in unit.relays}
        if len(relays) < len(unit.relays) or not relays.isdisjoint(self._relays):
            raise StorageError("the database refused: a relay with this key is there already")

    def _write(self, unit: Unit) -> None:
        pointing: dict[int, int] = {}
        for row in unit.entries:
            self._entries[row.key] = row
            insort(self._keys.setdefault(row.owner, []), row.key)
            pointing[row.doc] = pointing.get(row.doc, 0) + 1
        for doc in unit.docs:
            if doc.key in pointing:
                self._docs[doc.key] = (frozenset(words_of(doc.text)), pointing[doc.key])
        for key in unit.awaiting:
            if key in self._entries:
                self._set_flags(key, self._entries[key].flags | Flag.AWAITING)
        for key in unit.delivered:
            if key not in self._entries:
                continue
            if self._entries[key].flags & Flag.VISIBLE:
                self._set_flags(key, self._entries[key].flags & ~Flag.AWAITING | Flag.SEEN)
            else:
                self._delete([key])

    def _remember(self, unit: Unit) -> None:
        for number, saved in unit.sessions.items():
            self._sessions[number] = (saved, self._sessions.get(number, (saved, 0))[1])
        for number, handled in unit.handled.items():
            if number in self._sessions:
                self._sessions[number] = (self._sessions[number][0], handled)
        for number, place in unit.forget.items():
            if number in self._journal:
                self._journal[number] = self._unforgotten(number, place)
        for row in unit.journal:
            self._journal.setdefault(row.number, {})[row.first] = row
        for number in unit.ended:
            self._end(number)

    def _relay(self, unit: Unit) -> None:
        for row in unit.relays:
            self._relays[row.key] = row
        for key in unit.relayed:
            self._relays.pop(key, None)

    def _unforgotten(self, number: int, place: int) -> dict[int, Journaled]:
        rows = self._journal.get(number, {})
        return {first: row for first, row in rows.items() if first + row.stanzas > place}

    def _end(self, number: int) -> None:
        self._sessions.pop(number, None)
        self._journal.pop(number, None)

    def _set_flags(self, key: int, flags: int) -> None:
        self._entries[key] = self._entries[key]._replace(flags=int(flags))

    def _of(self, owner: str, least: int = 0) -> Iterator[Entry]:
        keys = self._keys.get(owner, [])
        for key in keys[bisect_left(keys, least) :]:
            yield self._entries[key]

    def _delete(self, keys: Iterable[int]) -> int:
        count = 0
        for key in keys:
            row = self._entries.pop(key)
            of_owner = self._keys[row.owner]
            del of_owner[bisect_right(of_owner, key) - 1]
            if not of_owner:
                del self._keys[row.owner]
            self._release(row.doc)
            count += 1
        return count

    def _release(self, doc: int) -> None:
        """An entry points to a text no more; the last one takes it away."""
        words, pointing = self._docs.get(doc, (frozenset[str](), 0))
        if pointing > 1:
            self._docs[doc] = (words, pointing - 1)
        else:
            self._docs.pop(doc, None)

    def _matches(self, query: ArchiveQuery) -> Callable[[Entry], bool]:
        asked = frozenset(words_asked(query.text))
        keys = None if query.keys is None else frozenset(query.keys)

        def matches(row: Entry) -> bool:
            return (
                (not query.peer or row.peer == query.peer)
                and (not query.peer or not query.resource or row.resource == query.resource)
                and (query.start is None or row.at >= query.start)
                and (query.end is None or row.at <= query.end)
                and (keys is None or row.key in keys)
                and (not query.text or self._has_words(row, asked))
            )

        return matches

    def _has_words(self, row: Entry, asked: frozenset[str]) -> bool:
        doc = self._docs.get(row.doc)
        return bool(asked) and doc is not None and asked <= doc[0]
