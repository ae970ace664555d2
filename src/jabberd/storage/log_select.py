"""Statements that find entries of one account, by the index or by what is not in it yet."""

# ruff: noqa: S608 -- statements are made of constants; whatever comes from outside is an argument

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Final

from sqlalchemy import Connection

from jabberd.storage import limits
from jabberd.storage.log_api import ArchiveQuery, Flag
from jabberd.storage.log_dialects import Dialect, Row
from jabberd.storage.log_index import read_recent
from jabberd.storage.log_shared import Shared

_VISIBLE: Final = int(Flag.VISIBLE)

ENTRY: Final = "l.key, p.jid, l.resource, l.at, l.flags, l.mark, l.doc, l.stanza"
"""The columns of an entry, but its owner."""

_key: Final = itemgetter(0)


@dataclass(frozen=True, slots=True)
class Range:
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
class Part:
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


class Selection:
    """Finds entries in one database.

    Args:
        dialect: how to speak to it.
        shared: what the writer has to say.
    """

    def __init__(self, dialect: Dialect, shared: Shared) -> None:
        self._dialect = dialect
        self._shared = shared

    def of_docs(
        self,
        connection: Connection,
        which: Range,
        query: ArchiveQuery,
        docs: list[int],
        columns: str,
    ) -> list[Row]:
        """Entries that point to these texts; oldest first."""
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
            Part(f"{self._dialect.each} CROSS JOIN log AS l", f"{way}{conditions}", given)
            for way in ways
        ]
        return self.select(connection, parts, 2 * len(docs), columns=columns)

    def of_keys(self, which: Range, keys: Iterable[int]) -> Part:
        """Those with these keys."""
        conditions, arguments = _conditions(which)
        source = f"{self._dialect.each} CROSS JOIN log AS l"
        return Part(source, f"l.key = j.value{conditions}", (self._given(keys), *arguments))

    def _given(self, keys: Iterable[int]) -> object:
        return self._dialect.numbers({limits.clamp(key) for key in keys})

    def of_range(self, which: Range, *, bare: bool = False) -> list[Part]:
        """By the index, and what is too new to be in it; `bare` without entries, to count."""
        conditions, arguments = _conditions(which)
        if not self._dialect.own_index:
            account = self._dialect.account
            where, numbers = f"l.owner = {account}", [which.owner]
            if which.peer:
                where, numbers = f"l.peer = {account} AND {where}", [which.peer, which.owner]
            where += " AND l.key > ? AND l.key < ?"
            if which.visible:
                where += f" AND l.flags & {_VISIBLE} <> 0"
            given = (*numbers, which.after, which.before, *which.arguments)
            return [Part("log AS l", where + which.where, given)]
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
        parts = [Part(source, where, given, "i.key")]
        recent = self.recent(which)
        if recent:
            # Whoever brings the index up to date meanwhile makes no entry appear twice.
            source = f"{self._dialect.each} CROSS JOIN log AS l"
            where = (
                f"l.key = j.value{conditions} AND NOT EXISTS (SELECT 1 FROM log_by_owner AS i"
                " WHERE i.owner = l.owner AND i.key = l.key)"
            )
            parts.append(Part(source, where, (self._dialect.numbers(recent), *arguments)))
        return parts

    def recent(self, which: Range) -> list[int]:
        """Keys that may be among these, of entries that are not in the index."""
        return [
            key
            for key, peer, visible in read_recent(self._shared.recent.get(which.owner, []))
            if which.after < key < which.before
            and (not which.peer or peer == which.peer)
            and visible >= which.visible
        ]

    def nth(self, connection: Connection, part: Part, number: int) -> int | None:
        """The key behind so many of the newest of these; None where there are not so many."""
        statement = (
            f"SELECT {part.order} FROM {part.source} WHERE {part.where}"
            f" ORDER BY {part.order} DESC LIMIT 1 OFFSET ?"
        )
        rows = self._dialect.rows(connection, statement, (*part.arguments, number))
        return int(rows[0][0]) if rows else None

    def select(
        self,
        connection: Connection,
        parts: Sequence[Part],
        limit: int,
        *,
        backwards: bool = False,
        columns: str = ENTRY,
    ) -> list[Row]:
        """The first of these entries, or the last ones; oldest first."""
        way = "DESC" if backwards else "ASC"
        each = [
            f"SELECT {columns} FROM {part.source} CROSS JOIN log_names AS p"
            f" WHERE {part.where} AND p.id = l.peer"
            f" ORDER BY {part.order} {way} LIMIT ?"
            for part in parts
        ]
        statement = each[0]
        if len(each) > 1:
            statement = " UNION ALL ".join([f"SELECT * FROM ({one}) AS a" for one in each])
        arguments = [value for part in parts for value in (*part.arguments, limit)]
        rows = sorted(self._dialect.rows(connection, statement, arguments), key=_key)
        return rows[max(0, len(rows) - limit) :] if backwards else rows[:limit]


def _conditions(which: Range) -> tuple[str, tuple[object, ...]]:
    """What has to be true of an entry `l`."""
    where = " AND l.owner = ? AND l.key > ? AND l.key < ?"
    arguments: tuple[object, ...] = (which.owner, which.after, which.before)
    if which.peer:
        where += " AND l.peer = ?"
        arguments = (*arguments, which.peer)
    if which.visible:
        where += f" AND l.flags & {_VISIBLE} <> 0"
    return where + which.where, (*arguments, *which.arguments)
