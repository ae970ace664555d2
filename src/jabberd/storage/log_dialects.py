"""What the log says differently to SQLite and to PostgreSQL.

Statements are written with `?` for their arguments and go to the drivers as they are: building
and compiling them by SQLAlchemy for every commit costs as much as the commit.
"""

# ruff: noqa: S608 -- statements are made of constants; whatever comes from outside is an argument

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any, Final, Protocol

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

Row = Sequence[Any]
Doc = tuple[int, Sequence[str]]

LOG_COLUMNS: Final = ("key", "owner", "peer", "flags", "doc", "at", "resource", "mark", "stanza")
"""Of the table `log`, in the order in which values are given to `Dialect.add_log`."""

WIDTH: Final = len(LOG_COLUMNS)

VALUES: Final = "VALUES …"
"""Where `Dialect.run_values` puts rows."""

_ADD_LOG: Final = f"INSERT INTO log ({', '.join(LOG_COLUMNS)}) {VALUES}"

# PostgreSQL looks through so many texts before it uses the index by words; through more of them
# where what it has found by then says that this will do.
_LOOK_THROUGH: Final = 4_000
_LOOK_FURTHER: Final = 40_000
_TYPES: Final = {int: "bigint", float: "float8", str: "text", bytes: "bytea"}

# SQLite is given rows of so many values in one statement: each statement lets go of the
# interpreter's lock, and may have to wait for it.
_VALUES_AT_ONCE: Final = 576


@dataclass(frozen=True, slots=True)
class Search:
    """Which texts are wanted.

    Attributes:
        words: they have all of these.
        after: keys behind this one.
        before: keys before this one.
        backwards: greatest keys first.
        limit: so many at most.
    """

    words: Sequence[str]
    after: int
    before: int
    backwards: bool
    limit: int


class Dialect(Protocol):
    """How one database is spoken to, within the transaction of a connection."""

    @property
    def own_index(self) -> bool:
        """Whether `log_by_owner` and `log_by_peer` are tables that the log itself fills."""

    @property
    def each(self) -> str:
        """A table `j` with the column `value`, made of one argument of `numbers`."""

    @property
    def account(self) -> str:
        """What stands for the number of an account or a peer that is told as an argument.

        A number that it does not see keeps PostgreSQL from thinking of the one account that has
        most of all entries, for which it would walk along the keys of everybody.
        """

    def numbers(self, numbers: Iterable[int]) -> object:
        """An argument for `each`."""

    def run(self, connection: Connection, statement: str, arguments: Row = ()) -> None:
        """Run a statement."""

    def rows(self, connection: Connection, statement: str, arguments: Row = ()) -> list[Row]:
        """Run a statement, and return its rows."""

    def run_values(
        self, connection: Connection, statement: str, values: list[Any], width: int
    ) -> None:
        """Run a statement for rows of this width, which take the place of `VALUES` in it.

        Args:
            connection: within a transaction.
            statement: with `VALUES` in it.
            values: numbers, texts and bytes of the rows, one after the other.
            width: how many belong to a row.
        """

    def add_log(self, connection: Connection, values: list[Any]) -> None:
        """Insert entries, given as the values of one after the other.

        In one list, because a tuple for each would call the garbage collector all the time.
        """

    def add_docs(self, connection: Connection, docs: Sequence[Doc]) -> None:
        """Insert texts, each with the words by which it is found."""

    def remove_docs(self, connection: Connection, keys: Sequence[int]) -> None:
        """Delete texts."""

    def find_docs(self, connection: Connection, which: Search) -> list[int]:
        """Keys of the first texts with all of these words, in the order that was asked for."""


class SqliteDialect:
    """SQLite, through Python's own driver."""

    own_index: Final = True
    each: Final = "json_each(?) AS j"
    account: Final = "?"

    @staticmethod
    def numbers(numbers: Iterable[int]) -> object:
        """See `Dialect.numbers`."""
        return json.dumps(list(numbers))

    @staticmethod
    def run(connection: Connection, statement: str, arguments: Row = ()) -> None:
        """See `Dialect.run`."""
        driver: Any = connection.connection.driver_connection
        driver.execute(statement, arguments)

    @staticmethod
    def rows(connection: Connection, statement: str, arguments: Row = ()) -> list[Row]:
        """See `Dialect.rows`."""
        driver: Any = connection.connection.driver_connection
        found: list[Row] = driver.execute(statement, arguments).fetchall()
        return found

    def run_values(
        self, connection: Connection, statement: str, values: list[Any], width: int
    ) -> None:
        """See `Dialect.run_values`."""
        at_once = _VALUES_AT_ONCE // width * width
        # The driver looks for an adapter of `bytes` each time, which takes longer than a copy.
        blobs = [column for column, value in enumerate(values[:width]) if type(value) is bytes]
        for first in range(0, len(values), at_once):
            some = values[first : first + at_once]
            for column in blobs:
                some[column::width] = map(bytearray, some[column::width])
            self.run(connection, _with_values(statement, width, len(some) // width), some)

    def add_log(self, connection: Connection, values: list[Any]) -> None:
        """See `Dialect.add_log`."""
        self.run_values(connection, _ADD_LOG, values, WIDTH)

    def add_docs(self, connection: Connection, docs: Sequence[Doc]) -> None:
        """See `Dialect.add_docs`; they are found from now on, but slowly until `index_docs`."""
        rows = [(key, f" {' '.join(words)} ") for key, words in docs]
        many(self, connection, f"INSERT INTO log_texts (key, words) {VALUES}", rows)

    def remove_docs(self, connection: Connection, keys: Sequence[int]) -> None:
        """See `Dialect.remove_docs`."""
        given = (self.numbers(keys),)
        where = f"WHERE key IN (SELECT value FROM {self.each})"
        self.run(
            connection,
            "INSERT INTO log_docs (log_docs, rowid, words) SELECT 'delete', key, words"
            f" FROM log_texts {where} AND key <= (SELECT texts FROM log_state)",
            given,
        )
        self.run(connection, f"DELETE FROM log_texts {where}", given)

    def find_docs(self, connection: Connection, which: Search) -> list[int]:
        """See `Dialect.find_docs`."""
        # No word has a quotation mark in it (see `words`), and in quotes nothing is an operator.
        asked = " AND ".join([f'"{word}"' for word in which.words])
        has_all = " AND instr(words, ?)" * len(which.words)
        order = f"ORDER BY key {'DESC' if which.backwards else 'ASC'} LIMIT ?"
        within = (which.after, which.before)
        rows = self.rows(
            connection,
            "SELECT key FROM (SELECT key FROM (SELECT rowid AS key FROM log_docs"
            f" WHERE log_docs MATCH ? AND rowid > ? AND rowid < ? {order}) UNION ALL"
            " SELECT key FROM log_texts WHERE key > (SELECT texts FROM log_state)"
            f" AND key > ? AND key < ?{has_all}) {order}",
            (
                asked,
                *within,
                which.limit,
                *within,
                *[f" {word} " for word in which.words],
                which.limit,
            ),
        )
        return [row[0] for row in rows]


class PostgresqlDialect:
    """PostgreSQL, through psycopg."""

    own_index: Final = False
    each: Final = "unnest(?::bigint[]) AS j(value)"
    account: Final = "(SELECT ?::bigint)"

    @staticmethod
    def numbers(numbers: Iterable[int]) -> object:
        """See `Dialect.numbers`."""
        return list(numbers)

    @staticmethod
    def run(connection: Connection, statement: str, arguments: Row = ()) -> None:
        """See `Dialect.run`."""
        connection.exec_driver_sql(_percent(statement), tuple(arguments))

    @staticmethod
    def rows(connection: Connection, statement: str, arguments: Row = ()) -> list[Row]:
        """See `Dialect.rows`.

        It is planned anew each time. A plan for any account and any word, which PostgreSQL makes
        after some times, walks through everything where those of this account and this word are
        few, or the other way round.
        """
        driver: Any = connection.connection.driver_connection
        with _said(connection, statement):
            found: list[Row] = driver.execute(
                _percent(statement), arguments, prepare=False
            ).fetchall()
        return found

    def run_values(
        self, connection: Connection, statement: str, values: list[Any], width: int
    ) -> None:
        """See `Dialect.run_values`; a column is one argument, so that the statement is known."""
        if values:
            types = tuple(_TYPES[type(value)] for value in values[:width])
            columns = [values[column::width] for column in range(width)]
            self.run(connection, _with_arrays(statement, types), columns)

    def add_log(self, connection: Connection, values: list[Any]) -> None:
        """See `Dialect.add_log`."""
        rows = [values[at : at + WIDTH] for at in range(0, len(values), WIDTH)]
        types = ("int8", "int8", "int8", "int4", "int8", "float8", "text", "text", "bytea")
        statement = f"COPY log ({', '.join(LOG_COLUMNS)}) FROM STDIN (FORMAT BINARY)"
        self._copy(connection, statement, rows, types)

    def add_docs(self, connection: Connection, docs: Sequence[Doc]) -> None:
        """See `Dialect.add_docs`."""
        # No word has a quotation mark in it (see `words`).
        rows = [(key, " ".join([f"'{word}'" for word in words])) for key, words in docs]
        self._copy(connection, "COPY log_docs (key, words) FROM STDIN", rows, None)

    def remove_docs(self, connection: Connection, keys: Sequence[int]) -> None:
        """See `Dialect.remove_docs`."""
        statement = f"DELETE FROM log_docs WHERE key IN (SELECT value FROM {self.each})"
        self.run(connection, statement, (self.numbers(keys),))

    def find_docs(self, connection: Connection, which: Search) -> list[int]:
        """See `Dialect.find_docs`.

        PostgreSQL knows too little of how frequent words are to choose the way. What is frequent
        is found among the texts at the end; of what is not, there are few enough to be sorted
        (`key + 0` keeps it from another walk along the keys).
        """
        asked = " & ".join([f"'{word}'" for word in which.words])
        way = "DESC" if which.backwards else "ASC"
        at_end = (
            "SELECT key FROM (SELECT key, words FROM log_docs WHERE key > ? AND key < ?"
            f" ORDER BY key {way} LIMIT ?) AS near WHERE words @@ ?::tsquery"
            f" ORDER BY key {way} LIMIT ?"
        )
        within = (which.after, which.before)
        rows = self.rows(connection, at_end, (*within, _LOOK_THROUGH, asked, which.limit))
        if 0 < len(rows) < which.limit:
            enough = 2 * _LOOK_THROUGH * which.limit // len(rows)
            if enough <= _LOOK_FURTHER:
                rows = self.rows(connection, at_end, (*within, enough, asked, which.limit))
        if len(rows) < which.limit:
            everywhere = (
                "SELECT key FROM log_docs WHERE words @@ ?::tsquery AND key > ? AND key < ?"
                f" ORDER BY key + 0 {way} LIMIT ?"
            )
            given = (asked, which.after, which.before, which.limit)
            rows = self.rows(connection, everywhere, given)
        return [row[0] for row in rows]

    @staticmethod
    def _copy(
        connection: Connection, statement: str, rows: Sequence[Row], types: Sequence[str] | None
    ) -> None:
        driver: Any = connection.connection.driver_connection
        with (
            _said(connection, statement),
            driver.cursor() as cursor,
            cursor.copy(statement) as copy,
        ):
            if types is not None:
                copy.set_types(types)
            for row in rows:
                copy.write_row(row)


@contextlib.contextmanager
def _said(connection: Connection, statement: str) -> Iterator[None]:
    """Errors of the driver as SQLAlchemy would raise them."""
    driver: Any = connection.connection.driver_connection
    try:
        yield
    except connection.dialect.loaded_dbapi.Error as error:
        lost = bool(driver.broken)
        raise DBAPIError(statement, None, error, True, connection_invalidated=lost) from error


def many(dialect: Dialect, connection: Connection, statement: str, rows: Sequence[Row]) -> None:
    """Like `Dialect.run_values`, for rows of equal length; does nothing without any."""
    if rows:
        values = list(chain.from_iterable(rows))
        dialect.run_values(connection, statement, values, len(rows[0]))


@lru_cache(maxsize=1024)
def _with_values(statement: str, columns: int, rows: int) -> str:
    row = f"({', '.join('?' * columns)})"
    return statement.replace(VALUES, f"VALUES {', '.join([row] * rows)}")


@lru_cache(maxsize=1024)
def _with_arrays(statement: str, types: tuple[str, ...]) -> str:
    arrays = ", ".join([f"?::{name}[]" for name in types])
    names = ", ".join([f"column{number}" for number in range(1, len(types) + 1)])
    return statement.replace(VALUES, f"SELECT * FROM unnest({arrays}) AS given({names})")


@lru_cache(maxsize=1024)
def _percent(statement: str) -> str:
    return statement.replace("?", "%s")


def dialect_of(name: str) -> Dialect:
    """The one of SQLAlchemy's name "sqlite" or "postgresql"."""
    return SqliteDialect() if name == "sqlite" else PostgresqlDialect()
