"""What differs between SQLite and PostgreSQL: connecting, settings, and what errors mean."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from jabberd.storage.api import StorageBusy, StorageError, StorageFull

Durability: TypeAlias = Literal["power", "process"]

FILE = "jabberd.sqlite"
"""The name of the database in the data folder."""

_AUTOCOMMIT = "AUTOCOMMIT"
# A commit that finds so many pages in the write-ahead log moves them into the database: with more
# it takes longer (at four times as many, three times as long), with fewer it is done more often.
_CHECKPOINT_PAGES = 1000
# After a checkpoint the write-ahead log is cut to this size, bytes.
_LOG_KEPT = 64 * 1024 * 1024
_CONNECT_SECONDS = 5
# SQLite looks at the deadline of a statement after so many steps: some milliseconds.
_STEPS = 100_000
_WAL_RETRY = 0.02
# SQLite's extended error codes hold the primary one in their low byte.
_PRIMARY = 0xFF
_SCHEMES = {"sqlite", "postgresql", "postgres"}

# Every question of ours has an index and a small answer. Where PostgreSQL expects a large one, it
# starts helpers, compiles, or reads the whole table, each of which takes longer than the answer.
_SMALL_ANSWERS = "-c jit=off -c max_parallel_workers_per_gather=0 -c enable_seqscan=off"

# PostgreSQL's SQLSTATEs: what is worth another try, and what a full disk says.
_PG_BUSY = frozenset({"55P03", "57014", "40001", "40P01"})
_PG_FULL = frozenset({"53100"})


def parse_url(url: str, data: Path | None) -> URL:
    """Turn the configuration's URL into SQLAlchemy's.

    Args:
        url: "sqlite:", "sqlite:///path" or "postgresql://…".
        data: the data folder, for "sqlite:".

    Raises:
        StorageError: it is none of these, or needs something that is missing.
    """
    scheme = url.partition(":")[0]
    if scheme not in _SCHEMES:
        raise StorageError("storage must be memory:, sqlite:, sqlite:///PATH or postgresql://…")
    if url == "sqlite:":
        if data is None:
            raise StorageError("storage sqlite: needs a data folder")
        return URL.create("sqlite", database=str(data / FILE))
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:  # the text would show a password
        raise StorageError(f"the {scheme} URL of the storage cannot be read") from error
    if scheme == "sqlite":
        if parsed.database in {None, "", ":memory:"} or parsed.query:
            raise StorageError("write sqlite:///PATH; for a database in memory, memory:")
        return parsed.set(drivername="sqlite")
    return parsed.set(drivername="postgresql+psycopg")


def make_engine(url: URL, *, patience: float, durability: Durability = "power") -> Engine:
    """Make an engine whose every wait has a deadline; it keeps no connections of its own.

    Args:
        url: from `parse_url`.
        patience: how long to wait for a lock, seconds.
        durability: what a commit survives; see `open.open_stores`.

    Raises:
        StorageError: the driver is not installed.
    """
    if url.get_backend_name() == "sqlite":
        engine = create_engine(
            url,
            poolclass=NullPool,
            hide_parameters=True,
            connect_args={"timeout": patience, "check_same_thread": False},
        )
        event.listen(engine, "connect", partial(_on_sqlite_connect, patience, durability))
        event.listen(engine, "begin", _on_sqlite_begin)
        return engine
    try:
        return create_engine(
            url,
            poolclass=NullPool,
            hide_parameters=True,
            connect_args=_postgresql_arguments(url, patience, durability),
        )
    except ImportError as error:
        raise StorageError(
            "PostgreSQL needs its driver: pip install 'jabberd[postgresql]'"
        ) from error


def _on_sqlite_connect(
    patience: float, durability: Durability, connection: Any, _record: object
) -> None:
    """Take over transactions from the driver, and make them durable when they return."""
    connection.isolation_level = None
    try:
        _use_wal(connection, time.monotonic() + patience)
        for pragma in (
            f"synchronous = {'FULL' if durability == 'power' else 'NORMAL'}",
            f"wal_autocheckpoint = {_CHECKPOINT_PAGES}",
            f"journal_size_limit = {_LOG_KEPT}",
            "temp_store = MEMORY",
            "trusted_schema = OFF",
        ):
            connection.execute(f"PRAGMA {pragma}").fetchall()
    except sqlite3.Error:
        connection.close()
        raise


def _use_wal(connection: sqlite3.Connection, deadline: float) -> None:
    """Turn the write-ahead log on, which a file remembers.

    Where two processes make a file at once, SQLite refuses one of them without the usual wait.
    """
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchall()
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & _PRIMARY == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() > deadline:
                raise
            time.sleep(_WAL_RETRY)
        else:
            return


def _on_sqlite_begin(connection: Connection) -> None:
    """Take the write lock first: a lock that is upgraded later fails without waiting."""
    if connection.get_execution_options().get("isolation_level") != _AUTOCOMMIT:
        driver: Any = connection.connection.driver_connection
        driver.execute("BEGIN IMMEDIATE")


def _postgresql_arguments(url: URL, patience: float, durability: Durability) -> dict[str, Any]:
    """Deadlines for connecting, statements, locks and a network that went away.

    What the URL says itself wins over these.
    """
    milliseconds = max(1, int(patience * 1000))
    arguments: dict[str, Any] = {
        "application_name": "jabberd",
        "connect_timeout": _CONNECT_SECONDS,
        "keepalives_idle": 10,
        "keepalives_interval": 3,
        "keepalives_count": 3,
        "tcp_user_timeout": 15_000,
        "options": f"-c lock_timeout={milliseconds} -c statement_timeout={4 * milliseconds}"
        f" -c idle_in_transaction_session_timeout={8 * milliseconds} {_SMALL_ANSWERS}",
    }
    chosen = {name: value for name, value in arguments.items() if name not in url.query}
    if durability == "process":
        options = url.query.get("options", arguments["options"])
        chosen["options"] = f"{options} -c synchronous_commit=off"
    return chosen


def for_reading(engine: Engine, due: Callable[[], float] | None = None) -> Connection:
    """Connect for single statements, each of which sees the last commit.

    Args:
        engine: of the database.
        due: until when the statement that is running may take, by the monotonic clock; PostgreSQL
            has a deadline of its own.
    """
    connection = engine.connect().execution_options(isolation_level=_AUTOCOMMIT)
    if due is not None and engine.dialect.name == "sqlite":
        driver: Any = connection.connection.driver_connection
        driver.set_progress_handler(lambda: time.monotonic() > due(), _STEPS)
    return connection


def is_lost(error: Exception) -> bool:
    """Whether the connection is gone, so that another one may do better."""
    return isinstance(error, DBAPIError) and error.connection_invalidated


def explain(error: Exception) -> Exception:
    """The error that a caller sees, in plain words and without values.

    Errors that are not the database's (a defect in a transition, for one) stay what they are.
    """
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, sqlite3.Error):
        return _explain_sqlite(cause)
    if not isinstance(error, SQLAlchemyError):
        return error
    state = getattr(cause, "sqlstate", None)
    if state in _PG_FULL:
        return StorageFull("the database server has no room left on its disk")
    if state in _PG_BUSY:
        return StorageBusy("the database was held by somebody else for too long")
    if isinstance(error, DBAPIError) and (error.connection_invalidated or state is None):
        return StorageError(f"the database server is out of reach ({_first_line(cause)})")
    return StorageError(f"the database refused: {_first_line(cause)} ({state})")


def _explain_sqlite(cause: sqlite3.Error) -> StorageError:
    code = getattr(cause, "sqlite_errorcode", 0) & _PRIMARY
    if code == sqlite3.SQLITE_FULL:
        return StorageFull("no room left on the disk for the database")
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return StorageBusy("another process holds the database for too long")
    if code == sqlite3.SQLITE_INTERRUPT:
        return StorageBusy("the answer took the database too long")
    if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return StorageError(f"the database file is damaged, or is none: {_first_line(cause)}")
    if code in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM}:
        return StorageError(f"the database file cannot be opened or written: {_first_line(cause)}")
    if code == sqlite3.SQLITE_IOERR:
        return StorageError(f"reading or writing the database file failed: {_first_line(cause)}")
    return StorageError(f"the database refused: {_first_line(cause)}")


def _first_line(cause: object) -> str:
    """The first line only: PostgreSQL's further lines (DETAIL) quote values."""
    lines = str(cause).strip().splitlines()
    return lines[0] if lines else type(cause).__name__
