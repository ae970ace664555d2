"""By owner and by peer: the indexes of the log in SQLite, which the log fills itself.

SQLite writes whole pages, and every account's place in an index is a page of its own. An index
that is kept by every commit costs three times what the entries cost. So entries go into
`log_by_owner` and `log_by_peer` later, many of one account together. Until then their keys are in
memory (`read_recent`), where readers look as well, and `log_state.indexed` says from where on a new
process has to look for them.
"""

# ruff: noqa: S608 -- statements are made of constants; whatever comes from outside is an argument

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

from sqlalchemy import Connection

from jabberd.storage.log_api import Flag
from jabberd.storage.log_dialects import VALUES, WIDTH, Dialect, many
from jabberd.storage.log_shared import raise_state

# In the place of an entry that was deleted: the first one of an account tells how old it is.
_GONE: Final = -1

_MOST: Final = 20_000
"""So many entries may be missing in the index."""

_OF_ONE: Final = 500
"""So many may be missing of one account: readers look through them one by one."""

_STEP: Final = 1_000
"""About so many are added together: this keeps the writer busy for some milliseconds."""

_VISIBLE: Final = int(Flag.VISIBLE)
_BY_OWNER: Final = f"INSERT OR IGNORE INTO log_by_owner (owner, key, visible) {VALUES}"
_BY_PEER: Final = f"INSERT OR IGNORE INTO log_by_peer (peer, owner, key, visible) {VALUES}"


class LogIndex:
    """Fills the index. Runs in the writer's thread.

    Args:
        dialect: how to speak to the database.
        recent: what is missing, by owner, those that miss for longest first; changed only after a
            commit. Of each entry two numbers, for `read_recent`: its key, and its peer and flag.
        last: the greatest key in the log.
    """

    def __init__(self, dialect: Dialect, recent: dict[int, list[int]], last: int) -> None:
        self._dialect = dialect
        self._recent = recent
        self._count = 0
        self._last = self._newest = last
        self._full: set[int] = set()
        # Of the transaction that is running.
        self._new: list[int] = []
        self._added: set[int] = set()
        self._gone: dict[int, set[int]] = {}

    def add(self, connection: Connection, values: list[Any]) -> None:
        """Entries were inserted: values as of `LOG_COLUMNS`."""
        columns = (values[column::WIDTH] for column in range(4))
        for key, owner, peer, flags in zip(*columns, strict=True):
            if key > self._newest:
                self._newest = key
                self._new += (owner, key, peer << 1 | flags & _VISIBLE)
            else:  # a unit that was overtaken; where a new process looks, all keys are greater
                self._insert(connection, [(owner, key, peer, flags & _VISIBLE)])

    def removed(self, connection: Connection, rows: Iterable[tuple[int, int, int]]) -> None:
        """Entries were deleted: key, owner, peer."""
        for key, owner, peer in rows:
            self._gone.setdefault(owner, set()).add(key)
            where = "WHERE owner = ? AND key = ?"
            self._dialect.run(connection, f"DELETE FROM log_by_owner {where}", (owner, key))
            where += " AND peer = ?"
            self._dialect.run(connection, f"DELETE FROM log_by_peer {where}", (owner, key, peer))

    def keep_up(self, connection: Connection) -> None:
        """Add what is due."""
        # Several units may be in one transaction, and only its end empties `_full`.
        full = self._full - self._added
        if full:
            self._move(connection, full)
        left = self._count - sum([len(self._recent[owner]) // 2 for owner in self._added])
        while left > _MOST:
            owners, count = [], 0
            for owner, values in self._recent.items():
                if owner not in self._added:
                    owners.append(owner)
                    count += len(values) // 2
                    if count >= _STEP:
                        break
            self._move(connection, owners)
            left -= count

    def finish(self, connection: Connection) -> None:
        """Add everything that was committed."""
        self._move(connection, self._recent.keys() - self._added)

    def ended(self, *, committed: bool) -> None:
        """The transaction has ended."""
        if committed:
            self._show()
        self._newest = self._last
        self._new.clear()
        self._added.clear()
        self._gone.clear()

    def named(self) -> set[int]:
        """Owners and peers of entries that are not in the index."""
        names = {*self._new[::3], *[code >> 1 for code in self._new[2::3]]}
        for owner, values in self._recent.items():
            added = owner in self._added
            peers = [] if added else [peer for _, peer, _ in read_recent(values)]
            if peers:
                names.update(peers, (owner,))
        return names

    def _show(self) -> None:
        recent = self._recent
        for owner in self._added:
            self._count -= len(recent.pop(owner)) // 2
            self._full.discard(owner)
        values = iter(self._new)
        for owner, key, code in zip(values, values, values, strict=True):
            if owner in recent:
                recent[owner] += (key, code)
            else:
                recent[owner] = [key, code]
        for owner in set(self._new[::3]):
            if len(recent[owner]) >= 2 * _OF_ONE:
                self._full.add(owner)
        self._count += len(self._new) // 3
        self._last = self._newest
        for owner, keys in self._gone.items():
            if owner in recent:
                codes = iter(recent[owner])
                recent[owner] = [
                    value
                    for key, code in zip(codes, codes, strict=True)
                    for value in (key, _GONE if key in keys else code)
                ]

    def _move(self, connection: Connection, owners: Collection[int]) -> None:
        rows = []
        for owner in owners:
            gone = self._gone.get(owner, ())
            rows += [
                (owner, key, peer, visible)
                for key, peer, visible in read_recent(self._recent[owner])
                if key not in gone
            ]
        self._added.update(owners)
        self._insert(connection, rows)
        self._raise(connection)

    def _insert(self, connection: Connection, rows: Sequence[tuple[int, int, int, int]]) -> None:
        """Insert rows: owner, key, peer, visible."""
        by_owner = sorted([(owner, key, visible) for owner, key, _, visible in rows])
        many(self._dialect, connection, _BY_OWNER, by_owner)
        by_peer = sorted([(peer, owner, key, visible) for owner, key, peer, visible in rows])
        many(self._dialect, connection, _BY_PEER, by_peer)

    def _raise(self, connection: Connection) -> None:
        """Note from where on entries are missing."""
        left = (values[0] for owner, values in self._recent.items() if owner not in self._added)
        oldest = next(left, self._new[1] if self._new else self._last + 1)
        raise_state(self._dialect, connection, "indexed", oldest - 1)


def read_recent(values: list[int]) -> list[tuple[int, int, int]]:
    """Entries that are not in the index: key, peer, and 1 where it is visible; in any thread."""
    both = iter(list(values))
    return [
        (key, code >> 1, code & 1) for key, code in zip(both, both, strict=True) if code != _GONE
    ]


def catch_up(dialect: Dialect, connection: Connection, indexed: int) -> None:
    """Add the entries behind a key, which the last process did not come to."""
    for table, columns in (("log_by_owner", "owner"), ("log_by_peer", "peer, owner")):
        statement = (
            f"INSERT OR IGNORE INTO {table} ({columns}, key, visible)"
            f" SELECT {columns}, key, flags & {_VISIBLE} FROM log WHERE key > ?"
            f" ORDER BY {columns}, key"
        )
        dialect.run(connection, statement, (indexed,))
    last = dialect.rows(connection, "SELECT coalesce(max(key), 0) FROM log")[0][0]
    raise_state(dialect, connection, "indexed", last)
