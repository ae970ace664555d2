"""What the writer's thread does for the log: units into rows, and rows out again.

Everything here runs in that one thread, within a transaction; `LogWriter.ended` tells how it
ended. What other threads may read meanwhile (`Shared`) is changed only after a commit.
"""

# ruff: noqa: S608 -- statements are made of constants; whatever comes from outside is an argument

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

from sqlalchemy import Connection

from jabberd.storage import limits
from jabberd.storage.api import StorageError
from jabberd.storage.log_api import KEY_BITS, Flag, Unit
from jabberd.storage.log_dialects import VALUES, WIDTH, Dialect, Row, many
from jabberd.storage.log_docs import DocIndex
from jabberd.storage.log_index import LogIndex, read_recent
from jabberd.storage.log_relays import relay
from jabberd.storage.log_sessions import forget_sessions, remember
from jabberd.storage.log_shared import Shared, number_of, raise_state
from jabberd.storage.words import words_of

_NAMES: Final = 50_000
"""So many names are known by heart; past it all are forgotten."""

_LEAVING: Final = 500
"""Once so many names may be nobody's any more, that is looked up."""

_VISIBLE: Final = int(Flag.VISIBLE)
_AWAITING: Final = int(Flag.AWAITING)
_SEEN: Final = int(Flag.SEEN)
_NEW_NAMES: Final = f"INSERT INTO log_names (jid, domain) {VALUES} ON CONFLICT (jid) DO NOTHING"
_REMOVED: Final = "RETURNING key, owner, peer, doc"


@dataclass(frozen=True, slots=True)
class Commit:
    """A unit on its way.

    Attributes:
        unit: what is written.
        late: the greatest `Shared.late` among its entries.
    """

    unit: Unit
    late: int


class LogWriter:
    """Writes the log of one database.

    Args:
        dialect: how to speak to it.
        shared: what readers see.
        texts: all texts up to this key are in the full-text index.
    """

    def __init__(self, dialect: Dialect, shared: Shared, texts: int) -> None:
        self._dialect = dialect
        self._shared = shared
        own = dialect.own_index
        self._index = LogIndex(dialect, shared.recent, shared.last) if own else None
        self._docs = DocIndex(dialect, texts) if own else None
        # Names of accounts and peers that may be nobody's any more.
        self._leaving: set[int] = set()
        self._unseen = 0
        # Of the transaction that is running.
        self._names: dict[str, int] = {}
        self._late = 0
        self._apart = 0
        self._erased: dict[int, int] = {}
        self._looked_at: set[int] = set()

    def ended(self, committed: bool) -> None:
        """The transaction has ended."""
        if committed:
            self._show()
        if self._index is not None:
            self._index.ended(committed=committed)
        if self._docs is not None:
            self._docs.ended(committed=committed)
        self._names.clear()
        self._erased.clear()
        self._looked_at.clear()
        self._late = self._apart = 0

    def commit(self, connection: Connection, commit: Commit) -> None:
        """Write a unit."""
        unit, late = commit.unit, commit.late
        if unit.entries:
            self._add(connection, unit)
        self._flag(connection, unit)
        remember(self._dialect, connection, unit)
        relay(self._dialect, connection, unit)
        if unit.relayed:
            self._raise(connection, "floor", self._shared.last)  # their keys must not come again
        if unit.checkpoint:
            self._raise(connection, "checkpoint", unit.checkpoint)
        if late > max(self._shared.late, self._late):
            self._late = late
            self._raise(connection, "late", late)
        if self._index is not None:
            self._index.keep_up(connection)
        if self._docs is not None:
            self._docs.keep_up(connection)
        if self._unseen >= _LEAVING:
            self._drop_names(connection)

    def finish(self, connection: Connection, _asked: None) -> None:
        """Leave nothing to do for the next process."""
        if self._index is not None:
            self._index.finish(connection)
        if self._docs is not None:
            self._docs.finish(connection)
        self._raise(connection, "floor", self._shared.last)
        self._drop_names(connection)

    def replace(self, connection: Connection, asked: tuple[str, int, bytes]) -> bool:
        """See `Log.replace`."""
        owner, key, stanza = asked
        number = self.number(connection, owner)
        if number is None or key <= self._shared.erased.get(number, 0):
            return False
        where = (key, number)
        found = self._dialect.rows(
            connection, "SELECT doc FROM log WHERE key = ? AND owner = ?", where
        )
        if not found:
            return False
        statement = "UPDATE log SET stanza = ?, doc = 0 WHERE key = ? AND owner = ?"
        self._dialect.run(connection, statement, (stanza, *where))
        self._release(connection, [found[0][0]])
        return True

    def delete(self, connection: Connection, keys: Sequence[int]) -> int:
        """Delete entries, wherever they are; returns how many there were."""
        statement = (
            f"DELETE FROM log WHERE key IN (SELECT value FROM {self._dialect.each}) {_REMOVED}"
        )
        rows = self._dialect.rows(connection, statement, (self._dialect.numbers(keys),))
        self._removed(connection, rows)
        if self._unseen >= _LEAVING:
            self._drop_names(connection)
        return len(rows)

    def erase(self, connection: Connection, owner: str) -> bool:
        """Erase an archive in effect, and sessions; returns whether `sweep` has to follow.

        One row says that nothing of it up to the last key is there any more. To delete a million
        entries in one transaction would keep everybody else waiting for seconds.
        """
        statement = "SELECT number FROM log_sessions WHERE owner = ?"
        numbers = [row[0] for row in self._dialect.rows(connection, statement, (owner,))]
        forget_sessions(self._dialect, connection, numbers)
        number = self.number(connection, owner)
        if number is None:
            return False
        last = self._shared.last
        statement = (
            "INSERT INTO log_erased (owner, upto) VALUES (?, ?)"
            " ON CONFLICT (owner) DO UPDATE SET upto = excluded.upto"
        )
        self._dialect.run(connection, statement, (number, last))
        self._raise(connection, "floor", last)
        self._erased[number] = last
        return True

    def sweep(self, connection: Connection, asked: tuple[int, int]) -> bool:
        """Delete some entries (owner, so many at most) that were erased; False at the end."""
        owner, limit = asked
        upto = self._erased.get(owner, self._shared.erased.get(owner, 0))
        if not upto:
            return False
        source = "log_by_owner" if self._dialect.own_index else "log"
        statement = (
            f"SELECT key FROM {source} WHERE owner = {self._dialect.account} AND key <= ?"
            " ORDER BY key LIMIT ?"
        )
        found = self._dialect.rows(connection, statement, (owner, upto, limit))
        keys = [row[0] for row in found]
        if not keys:
            recent = self._shared.recent.get(owner, [])
            keys = [key for key, _, _ in read_recent(recent) if key <= upto]
        if keys:
            self.delete(connection, keys)
            return True
        self._dialect.run(
            connection, "DELETE FROM log_erased WHERE owner = ? AND upto = ?", (owner, upto)
        )
        self._leaving.add(owner)
        self._erased[owner] = 0
        return False

    def number(self, connection: Connection, name: str) -> int | None:
        """The number of a name; None where there is none."""
        known = self._names.get(name) or self._shared.names.get(name)
        return known or number_of(self._dialect, connection, name)

    def _show(self) -> None:
        """Let the readers see what was committed."""
        shared = self._shared
        if len(shared.names) + len(self._names) > _NAMES:
            shared.names = {}
        shared.names.update(self._names)
        self._leaving -= self._looked_at
        shared.late = max(shared.late, self._late)
        shared.apart = max(shared.apart, self._apart)
        for owner, upto in self._erased.items():
            if upto:
                shared.erased[owner] = upto
            else:
                shared.erased.pop(owner, None)

    def _add(self, connection: Connection, unit: Unit) -> None:
        # Column by column, and back into rows: a loop would cost as much as the commit.
        keys, owners, peers, resources, ats, flags, uniques, docs, stanzas = zip(
            *unit.entries, strict=True
        )
        ids = self._numbers(connection, {*owners, *peers})
        values: list[Any] = [None] * (len(keys) * WIDTH)
        values[0::WIDTH] = keys
        values[1::WIDTH] = [ids[owner] for owner in owners]
        values[2::WIDTH] = [ids[peer] for peer in peers]
        values[3::WIDTH] = map(int, flags)
        values[4::WIDTH] = docs
        values[5::WIDTH] = ats
        values[6::WIDTH] = resources
        values[7::WIDTH] = uniques
        values[8::WIDTH] = stanzas
        self._dialect.add_log(connection, values)
        if self._index is not None:
            self._index.add(connection, values)
        if unit.docs:
            self._add_docs(connection, unit, values)

    def _add_docs(self, connection: Connection, unit: Unit, values: list[Any]) -> None:
        """Index texts by their words, and by whom they are from, to and of.

        A word with `@` is the number of an owner or of a peer, and cannot be one of a text.
        """
        people: dict[int, tuple[int, ...]] = {}
        known = apart = max(self._shared.apart, self._apart)
        near = (known + 1) << KEY_BITS
        columns = (values[column::WIDTH] for column in (0, 1, 2, 4))
        for key, owner, peer, doc in zip(*columns, strict=True):
            if not doc:
                continue
            those = people.get(doc)
            if those is None:
                people[doc] = (owner, peer) if owner != peer else (owner,)
            elif owner not in those or peer not in those:
                people[doc] = tuple({*those, owner, peer})
            if not -near < key - doc < near:
                apart = max(apart, abs((key >> KEY_BITS) - (doc >> KEY_BITS)))
        docs = [
            (doc.key, [*words_of(doc.text), *[f"@{number}" for number in people[doc.key]]])
            for doc in unit.docs
            if doc.key in people
        ]
        self._dialect.add_docs(connection, docs)
        if self._docs is not None:
            self._docs.add(connection, [key for key, _ in docs])
        if apart > known:
            self._apart = apart
            self._raise(connection, "apart", apart)

    def _numbers(self, connection: Connection, names: set[str]) -> Mapping[str, int]:
        """The numbers of names; makes those that are new."""
        known = self._shared.names
        missing = names - known.keys()
        if not missing:
            return known
        missing -= self._names.keys()
        if missing:
            limits.check_text(*missing)
            rows = [(name, limits.domain_of(name)) for name in sorted(missing)]
            many(self._dialect, connection, _NEW_NAMES, rows)
            for name in missing:
                number = number_of(self._dialect, connection, name)
                if number is None:
                    raise StorageError("the database forgot a name that was just written")
                self._names[name] = number
        return {name: known.get(name) or self._names[name] for name in names}

    def _flag(self, connection: Connection, unit: Unit) -> None:
        """Entries that wait, and those that wait no more."""
        each = f"(SELECT value FROM {self._dialect.each})"
        if unit.awaiting:
            keys = self._dialect.numbers(unit.awaiting)
            statement = f"UPDATE log SET flags = flags | {_AWAITING} WHERE key IN {each}"
            self._dialect.run(connection, statement, (keys,))
        if unit.delivered:
            keys = self._dialect.numbers(unit.delivered)
            statement = f"DELETE FROM log WHERE key IN {each} AND flags & {_VISIBLE} = 0 {_REMOVED}"
            gone = self._dialect.rows(connection, statement, (keys,))
            self._removed(connection, gone)
            if len(gone) < len(unit.delivered):
                statement = (
                    f"UPDATE log SET flags = (flags & ~{_AWAITING}) | {_SEEN} WHERE key IN {each}"
                )
                self._dialect.run(connection, statement, (keys,))

    def _removed(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Take entries (`_REMOVED`) that are gone out of everything that points to them."""
        if not rows:
            return
        if self._index is not None:
            self._index.removed(connection, [(row[0], row[1], row[2]) for row in rows])
        self._release(connection, [doc for _, _, _, doc in rows])
        # Their keys must not come again, and those that were given out later are on their way.
        self._raise(connection, "floor", self._shared.last)
        self._leaving.update(chain.from_iterable([row[1:3] for row in rows]))
        self._unseen += len(rows)

    def _release(self, connection: Connection, docs: Iterable[int]) -> None:
        """Delete those of these texts to which no entry points any more."""
        left = {doc for doc in docs if doc}
        if not left:
            return
        statement = (
            f"SELECT value FROM {self._dialect.each} WHERE"
            " EXISTS (SELECT 1 FROM log WHERE key = value AND doc = value) OR EXISTS"
            " (SELECT 1 FROM log WHERE doc = value AND doc <> 0 AND doc <> key)"
        )
        rows = self._dialect.rows(connection, statement, (self._dialect.numbers(left),))
        left.difference_update([row[0] for row in rows])
        if left:
            self._dialect.remove_docs(connection, sorted(left))

    def _drop_names(self, connection: Connection) -> None:
        """Delete names that nobody has any more, of those of deleted entries."""
        left = self._leaving - self._looked_at
        if self._index is not None:
            left -= self._index.named()
        by_owner, by_peer = (
            ("log_by_owner", "log_by_peer") if self._dialect.own_index else ("log", "log")
        )
        statement = (
            f"DELETE FROM log_names WHERE id IN (SELECT value FROM {self._dialect.each})"
            f" AND NOT EXISTS (SELECT 1 FROM {by_owner} WHERE owner = log_names.id)"
            f" AND NOT EXISTS (SELECT 1 FROM {by_peer} WHERE peer = log_names.id)"
            " AND NOT EXISTS (SELECT 1 FROM log_erased WHERE owner = log_names.id) RETURNING jid"
        )
        for (name,) in self._dialect.rows(connection, statement, (self._dialect.numbers(left),)):
            self._names.pop(name, None)
            self._shared.names.pop(name, None)
        self._looked_at |= left
        self._unseen = 0

    def _raise(self, connection: Connection, column: str, to: int) -> None:
        raise_state(self._dialect, connection, column, to)
