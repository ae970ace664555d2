"""What the readers' threads do for the log: questions about the archive of one account."""

# ruff: noqa: S608 -- statements are made of constants; whatever comes from outside is an argument

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
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
from jabberd.storage.log_index import read_recent
from jabberd.storage.log_write import Shared, number_of
from jabberd.storage.words import words_asked

_VISIBLE: Final = int(Flag.VISIBLE)
_AWAITING: Final = int(Flag.AWAITING)
_SENT: Final = int(Flag.SENT)

_ENTRY: Final = "l.key, p.jid, l.resource, l.at, l.flags, l.mark, l.doc, l.stanza"
_key: Final = itemgetter(0)
_DOCS: Final = (64, 1024)
"""So many texts are looked at together: at first, and at most."""


@dataclass(frozen=True, slots=True)
class _Range:
    """Which entries of which account.

    Attributes:
        owner: number of the account.
        after: only keys behind this one.
        before: only keys before this one.
        peer: number of the peer; 0 for all.
        where: further conditions on the entry `l`, each beginning with AND.
        arguments: theirs.
        visible: only entries that are.
    """

    owner: int
    after: int
    before: int
    peer: int = 0
    where: str = ""
    arguments: tuple[object, ...] = ()
    visible: bool = True


@dataclass(frozen=True, slots=True)
class _Part:
    """Entries `l` that one part of a statement finds.

    Attributes:
        source: what stands behind FROM.
        where: what stands behind WHERE.
        arguments: of both.
        order: the column by which they come in order.
    """

    source: str
    where: str
    arguments: tuple[object, ...]
    order: str = "l.key"


class LogReader:
    """Reads the log of one database.

    Args:
        dialect: how to speak to it.
        shared: what the writer has to say.
    """

    def __init__(self, dialect: Dialect, shared: Shared) -> None:
        self._dialect = dialect
        self._shared = shared

    def waiting(self, connection: Connection, asked: tuple[str, int, int]) -> list[Entry]:
        """See `Log.waiting`."""
        owner, after, limit = asked
        number = self._number(connection, owner)
        if number is None:
            return []
        rows = self._dialect.rows(
            connection,
            f"SELECT {_ENTRY} FROM {self._awaiting()} JOIN log_names AS p ON p.id = l.peer"
            f" WHERE l.owner = ? AND l.flags & {_AWAITING} <> 0 AND l.key > ?"
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
            f" WHERE l.owner = ? AND l.flags & {_AWAITING} <> 0 AND l.key > ?",
            (number, self._floor(number)),
        )
        return int(rows[0][0])

    def get(self, connection: Connection, asked: tuple[str, Sequence[int]]) -> list[Entry]:
        """See `Log.get`."""
        owner, keys = asked
        number = self._number(connection, owner)
        if number is None:
            return []
        which = _Range(number, self._floor(number), limits.INTEGER_MAX, visible=False)
        return _entries(owner, self._select(connection, [self._of_keys(which, keys)], len(keys)))

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
        which = _Range(
            number,
            self._floor(number),
            limits.INTEGER_MAX,
            other,
            f" AND l.mark = ? AND l.flags & {_SENT} = ?",
            (unique, _SENT if sent else 0),
            visible=False,
        )
        which = replace(which, after=max(which.after, self._too_old(connection, which)))
        found = self._select(connection, self._of_range(which), 1, backwards=True)
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
        parts = self._of_range(which)
        return [row[0] for row in self._select(connection, parts, limit, columns="l.key")]

    def _too_old(self, connection: Connection, which: _Range) -> int:
        """The key up to which `find` does not look; 0 where it looks at everything."""
        recent = self._recent(which)
        if len(recent) > FIND_MOST:
            return recent[-FIND_MOST - 1]
        by_peer = "log_by_peer" if self._dialect.own_index else "log"
        rows = self._dialect.rows(
            connection,
            f"SELECT key FROM {by_peer} WHERE peer = ? AND owner = ?"
            " ORDER BY key DESC LIMIT 1 OFFSET ?",
            (which.peer, which.owner, FIND_MOST - len(recent)),
        )
        return int(rows[0][0]) if rows else 0

    def _number(self, connection: Connection, name: str) -> int | None:
        return self._shared.names.get(name) or number_of(self._dialect, connection, name)

    def _floor(self, number: int) -> int:
        """The last key of an account that was erased."""
        return self._shared.erased.get(number, 0)

    def _awaiting(self) -> str:
        # SQLite has no statistics by which it would see that few entries wait.
        return "log AS l INDEXED BY log_waiting" if self._dialect.own_index else "log AS l"

    def _range(self, connection: Connection, owner: str, query: ArchiveQuery) -> _Range | None:
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
        return _Range(number, after, before, peer, where, tuple(arguments))

    def _rows(
        self,
        connection: Connection,
        which: _Range,
        query: ArchiveQuery,
        words: list[str],
        limit: int,
    ) -> list[Row]:
        """The first of these entries, or the last ones with `backwards`; oldest first."""
        if words:
            return self._search(connection, which, query, words, limit)
        if query.keys is not None:
            parts = [self._of_keys(which, query.keys)]
        else:
            parts = self._of_range(which)
        return self._select(connection, parts, limit, backwards=query.backwards)

    def _count(
        self, connection: Connection, which: _Range, query: ArchiveQuery, words: list[str]
    ) -> int | None:
        most = COUNT_MOST + 1
        if words:
            count = len(self._search(connection, which, query, words, most, columns="l.key"))
        else:
            if query.keys is not None:
                parts = [self._of_keys(which, query.keys)]
            else:
                parts = self._of_range(which, bare=not which.where)
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
        which: _Range,
        query: ArchiveQuery,
        words: list[str],
        limit: int,
        columns: str = _ENTRY,
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
            found += self._of_docs(connection, which, query, docs, columns)
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

    def _of_docs(
        self,
        connection: Connection,
        which: _Range,
        query: ArchiveQuery,
        docs: list[int],
        columns: str,
    ) -> list[Row]:
        if not docs:
            return []
        conditions, arguments = _conditions(which)
        if query.keys is not None:
            conditions += f" AND l.key IN (SELECT value FROM {self._dialect.each})"
            arguments = (*arguments, self._given(query.keys))
        given = (self._dialect.numbers(docs), *arguments)
        ways = (
            "l.key = j.value AND l.doc = l.key",
            "l.doc = j.value AND l.doc <> 0 AND l.doc <> l.key",
        )
        parts = [
            _Part(f"{self._dialect.each} CROSS JOIN log AS l", f"{way}{conditions}", given)
            for way in ways
        ]
        return self._select(connection, parts, 2 * len(docs), columns=columns)

    def _of_keys(self, which: _Range, keys: Iterable[int]) -> _Part:
        conditions, arguments = _conditions(which)
        source = f"{self._dialect.each} CROSS JOIN log AS l"
        return _Part(source, f"l.key = j.value{conditions}", (self._given(keys), *arguments))

    def _given(self, keys: Iterable[int]) -> object:
        return self._dialect.numbers({limits.clamp(key) for key in keys})

    def _of_range(self, which: _Range, *, bare: bool = False) -> list[_Part]:
        """By the index, and what is too new to be in it; `bare` without entries, to count."""
        conditions, arguments = _conditions(which)
        if not self._dialect.own_index:
            return [_Part("log AS l", f"1 = 1{conditions}", arguments)]
        table, where, numbers = "log_by_owner", "i.owner = ?", [which.owner]
        if which.peer:
            table, where = "log_by_peer", "i.peer = ? AND i.owner = ?"
            numbers = [which.peer, which.owner]
        where += " AND i.key > ? AND i.key < ?"
        if which.visible:
            where += " AND i.visible = 1"
        source = f"{table} AS i"
        if not bare:
            source += " CROSS JOIN log AS l"
            where += f" AND l.key = i.key{which.where}"
        given = (*numbers, which.after, which.before, *which.arguments)
        parts = [_Part(source, where, given, "i.key")]
        recent = self._recent(which)
        if recent:
            # Whoever brings the index up to date meanwhile makes no entry appear twice.
            source = f"{self._dialect.each} CROSS JOIN log AS l"
            where = (
                f"l.key = j.value{conditions} AND NOT EXISTS (SELECT 1 FROM log_by_owner AS i"
                " WHERE i.owner = l.owner AND i.key = l.key)"
            )
            parts.append(_Part(source, where, (self._dialect.numbers(recent), *arguments)))
        return parts

    def _recent(self, which: _Range) -> list[int]:
        """Keys that may be among these, of entries that are not in the index."""
        return [
            key
            for key, peer, visible in read_recent(self._shared.recent.get(which.owner, []))
            if which.after < key < which.before
            and (not which.peer or peer == which.peer)
            and visible >= which.visible
        ]

    def _select(
        self,
        connection: Connection,
        parts: Sequence[_Part],
        limit: int,
        *,
        backwards: bool = False,
        columns: str = _ENTRY,
    ) -> list[Row]:
        """The first of these entries, or the last ones; oldest first."""
        order = "DESC" if backwards else "ASC"
        each = [
            f"SELECT {columns} FROM {part.source} CROSS JOIN log_names AS p"
            f" WHERE {part.where} AND p.id = l.peer ORDER BY {part.order} {order} LIMIT ?"
            for part in parts
        ]
        statement = each[0]
        if len(each) > 1:
            statement = " UNION ALL ".join([f"SELECT * FROM ({one}) AS a" for one in each])
        arguments = [value for part in parts for value in (*part.arguments, limit)]
        rows = sorted(self._dialect.rows(connection, statement, arguments), key=_key)
        return rows[max(0, len(rows) - limit) :] if backwards else rows[:limit]


def _conditions(which: _Range) -> tuple[str, tuple[object, ...]]:
    """What has to be true of an entry `l`."""
    where = " AND l.owner = ? AND l.key > ? AND l.key < ?"
    arguments: tuple[object, ...] = (which.owner, which.after, which.before)
    if which.peer:
        where += " AND l.peer = ?"
        arguments = (*arguments, which.peer)
    if which.visible:
        where += f" AND l.flags & {_VISIBLE} <> 0"
    return where + which.where, (*arguments, *which.arguments)


def _entries(owner: str, rows: Iterable[Row]) -> list[Entry]:
    return [
        Entry(key, owner, peer, resource, at, flags, unique, doc, stanza)
        for key, peer, resource, at, flags, unique, doc, stanza in rows
    ]
