"""What the readers' threads do for the log: questions about the archive of one account."""

# ruff: noqa: S608 -- statements are made of constants; whatever comes from outside is an argument

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from operator import itemgetter
from typing import Final

from sqlalchemy import Connection

from jabberd.storage import limits
from jabberd.storage.log_api import (
    COUNT_MOST,
    FIND_MOST,
    KEY_BITS,
    ArchivePage,
    ArchiveQuery,
    Entry,
    Flag,
    key_at,
)
from jabberd.storage.log_dialects import Dialect, Row, Search
from jabberd.storage.log_select import ENTRY, Range, Selection
from jabberd.storage.log_shared import Shared, number_of
from jabberd.storage.words import words_asked

_VISIBLE: Final = int(Flag.VISIBLE)
_AWAITING: Final = int(Flag.AWAITING)
_SENT: Final = int(Flag.SENT)

_key: Final = itemgetter(0)
_DOCS: Final = (64, 1024)
"""So many texts are looked at together: at first, and at most."""


class LogReader:
    """Reads the log of one database.

    Args:
        dialect: how to speak to it.
        shared: what the writer has to say.
    """

    def __init__(self, dialect: Dialect, shared: Shared) -> None:
        self._dialect = dialect
        self._shared = shared
        self._find = Selection(dialect, shared)

    def waiting(self, connection: Connection, asked: tuple[str, int, int]) -> list[Entry]:
        """See `Log.waiting`."""
        owner, after, limit = asked
        number = self._number(connection, owner)
        if number is None:
            return []
        rows = self._dialect.rows(
            connection,
            f"SELECT {ENTRY} FROM {self._awaiting()} JOIN log_names AS p ON p.id = l.peer"
            f" WHERE l.owner = {self._dialect.account} AND l.flags & {_AWAITING} <> 0 AND l.key > ?"
            " ORDER BY l.key LIMIT ?",
            (number, max(after, self._floor(number)), limit),
        )
        return _entries(owner, rows)

    def count_waiting(self, connection: Connection, owner: str) -> int:
        """See `Log.count_waiting`."""
        number = self._number(connection, owner)
        if number is None:
            return 0
        rows = self._dialect.rows(
            connection,
            f"SELECT count(*) FROM {self._awaiting()}"
            f" WHERE l.owner = {self._dialect.account} AND l.flags & {_AWAITING} <> 0"
            " AND l.key > ?",
            (number, self._floor(number)),
        )
        return int(rows[0][0])

    def get(self, connection: Connection, asked: tuple[str, Sequence[int]]) -> list[Entry]:
        """See `Log.get`."""
        owner, keys = asked
        number = self._number(connection, owner)
        if number is None:
            return []
        which = Range(number, self._floor(number), limits.INTEGER_MAX, visible=False)
        return _entries(
            owner,
            self._find.select(connection, [self._find.of_keys(which, keys)], len(keys)),
        )

    def bounds(self, connection: Connection, owner: str) -> tuple[Entry, Entry] | None:
        """See `Log.bounds`."""
        oldest = self.page(connection, (owner, ArchiveQuery(limit=1))).entries
        newest = self.page(connection, (owner, ArchiveQuery(limit=1, backwards=True))).entries
        return (oldest[0], newest[0]) if oldest and newest else None

    def find(self, connection: Connection, asked: tuple[str, str, str, bool]) -> Entry | None:
        """See `Log.find`."""
        owner, peer, unique, sent = asked
        number, other = self._number(connection, owner), self._number(connection, peer)
        if number is None or other is None:
            return None
        which = Range(
            number,
            self._floor(number),
            limits.INTEGER_MAX,
            other,
            f" AND l.mark = ? AND l.flags & {_SENT} = ?",
            (unique, _SENT if sent else 0),
            visible=False,
        )
        which = replace(which, after=max(which.after, self._too_old(connection, which)))
        found = self._find.select(connection, self._find.of_range(which), 1, backwards=True)
        return _entries(owner, found)[0] if found else None

    def page(self, connection: Connection, asked: tuple[str, ArchiveQuery]) -> ArchivePage:
        """See `Log.page`."""
        owner, query = asked
        words = words_asked(query.text)
        which = self._range(connection, owner, query)
        if which is None or (query.text and not words):
            return ArchivePage((), True, 0 if query.count else None)
        limit = min(limits.clamp(query.limit), limits.INTEGER_MAX - 1)
        within = replace(
            which,
            after=max(which.after, limits.clamp(query.after or 0)),
            before=min(
                which.before,
                limits.INTEGER_MAX if query.before is None else limits.clamp(query.before),
            ),
        )
        rows = self._rows(connection, within, query, words, limit + 1)
        count = None
        if query.count:
            count = self._count(connection, which, query, words)
        complete = len(rows) <= limit
        if not complete:
            rows = rows[len(rows) - limit :] if query.backwards else rows[:limit]
        return ArchivePage(tuple(_entries(owner, rows)), complete, count)

    def oldest(self, connection: Connection, asked: tuple[str, float, int]) -> list[int]:
        """Keys of what `Log.prune` deletes."""
        owner, before, limit = asked
        which = self._range(connection, owner, ArchiveQuery(end=before))
        if which is None:
            return []
        which = replace(
            which,
            where=f" AND l.at < ? AND l.flags & {_AWAITING} = 0",
            arguments=(before,),
        )
        parts = self._find.of_range(which)
        return [row[0] for row in self._find.select(connection, parts, limit, columns="l.key")]

    def _too_old(self, connection: Connection, which: Range) -> int:
        """The key up to which `find` does not look; 0 where it looks at everything."""
        recent = self._find.recent(which)
        if len(recent) > FIND_MOST:
            return recent[-FIND_MOST - 1]
        parts = self._find.of_range(replace(which, where="", arguments=()), bare=True)
        oldest = self._find.nth(connection, parts[0], FIND_MOST - len(recent))
        return oldest or 0

    def _number(self, connection: Connection, name: str) -> int | None:
        return self._shared.names.get(name) or number_of(self._dialect, connection, name)

    def _floor(self, number: int) -> int:
        """The last key of an account that was erased."""
        return self._shared.erased.get(number, 0)

    def _awaiting(self) -> str:
        # SQLite has no statistics by which it would see that few entries wait.
        return "log AS l INDEXED BY log_waiting" if self._dialect.own_index else "log AS l"

    def _range(self, connection: Connection, owner: str, query: ArchiveQuery) -> Range | None:
        """Where a query's entries are, whatever its cursors; None where there cannot be any."""
        number = self._number(connection, owner)
        peer = self._number(connection, query.peer) if query.peer else 0
        if number is None or peer is None:
            return None
        where, arguments = "", list[object]()
        after, before = self._floor(number), limits.INTEGER_MAX
        if query.peer and query.resource:
            where += " AND l.resource = ?"
            arguments.append(query.resource)
        if query.start is not None:
            # No key is smaller than its entry's time allows (`limits.check_unit`).
            after = max(after, limits.clamp(key_at(query.start) - 1))
            where += " AND l.at >= ?"
            arguments.append(query.start)
        if query.end is not None:
            # A key may be greater, by as much as the clock has stepped back.
            late = (self._shared.late + 1) << KEY_BITS
            before = min(before, key_at(query.end) + late)
            where += " AND l.at <= ?"
            arguments.append(query.end)
        return Range(number, after, before, peer, where, tuple(arguments))

    def _rows(
        self,
        connection: Connection,
        which: Range,
        query: ArchiveQuery,
        words: list[str],
        limit: int,
    ) -> list[Row]:
        """The first of these entries, or the last ones with `backwards`; oldest first."""
        if words:
            return self._search(connection, which, query, words, limit)
        if query.keys is not None:
            parts = [self._find.of_keys(which, query.keys)]
        else:
            parts = self._find.of_range(which)
        return self._find.select(connection, parts, limit, backwards=query.backwards)

    def _count(
        self, connection: Connection, which: Range, query: ArchiveQuery, words: list[str]
    ) -> int | None:
        most = COUNT_MOST + 1
        if words:
            count = len(self._search(connection, which, query, words, most, columns="l.key"))
        else:
            if query.keys is not None:
                parts = [self._find.of_keys(which, query.keys)]
            else:
                parts = self._find.of_range(which, bare=not which.where)
            several = " UNION ALL ".join(
                [f"SELECT 1 FROM {part.source} WHERE {part.where}" for part in parts]
            )
            arguments = [value for part in parts for value in part.arguments]
            statement = f"SELECT count(*) FROM (SELECT 1 FROM ({several}) AS b LIMIT ?) AS a"
            count = int(self._dialect.rows(connection, statement, (*arguments, most))[0][0])
        return count if count <= COUNT_MOST else None

    def _search(
        self,
        connection: Connection,
        which: Range,
        query: ArchiveQuery,
        words: list[str],
        limit: int,
        columns: str = ENTRY,
    ) -> list[Row]:
        """Find texts, and the entries that point to them, some at a time.

        A text has the key of one of its entries. The other one is near, but not always on the
        same side of a third: the border up to which all entries are known lags behind the texts.
        """
        backwards = query.backwards
        people = [f"@{number}" for number in {which.owner, which.peer} if number]
        apart = (self._shared.apart + 1) << KEY_BITS
        low, high = max(0, which.after - apart), min(limits.INTEGER_MAX, which.before + apart)
        some, most = _DOCS
        if limit > COUNT_MOST:
            some = limit  # to count: all at once is quicker than some at a time
        found: list[Row] = []
        while True:
            search = Search([*people, *words], low, high, backwards, some)
            docs = self._dialect.find_docs(connection, search)
            found += self._find.of_docs(connection, which, query, docs, columns)
            if len(docs) < some:
                break
            if backwards:
                high = docs[-1]
                known = sum(row[0] > high + apart for row in found)
            else:
                low = docs[-1]
                known = sum(row[0] < low - apart for row in found)
            if known >= limit:
                break
            some = min(4 * some, most)
        found.sort(key=_key)
        return found[max(0, len(found) - limit) :] if backwards else found[:limit]


def _entries(owner: str, rows: Iterable[Row]) -> list[Entry]:
    return [
        Entry(key, owner, peer, resource, at, flags, unique, doc, stanza)
        for key, peer, resource, at, flags, unique, doc, stanza in rows
    ]
