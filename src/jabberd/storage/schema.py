"""Brings a database to the schema of this version, before anything else uses it.

A new database is made at once and marked with the newest revision. An older one is migrated by
Alembic, in one transaction, after a copy has been made (SQLite). Alembic is imported only then:
it would add 0.1 to 0.2 s to every cold start.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path

import structlog
from sqlalchemy import Connection, Engine, MetaData, insert, inspect, select, text

from jabberd.storage import engine as dialects
from jabberd.storage.api import SchemaTooNew, StorageError
from jabberd.storage.tables import METADATA, REVISION, REVISIONS

_FTS5 = "SELECT 1 FROM pragma_module_list WHERE name = 'fts5'"
# Any number that nobody else locks: "jabberd" as bytes.
_ADVISORY_LOCK = 0x6A616262657264
# Alembic runs migrations through a global, one at a time.
_ALEMBIC = threading.Lock()


@dataclass(frozen=True, slots=True)
class Schema:
    """A schema and how to come to it.

    Attributes:
        metadata: the tables.
        revisions: all of them, oldest first; the last one is `metadata`.
        scripts: Alembic's folder.
    """

    metadata: MetaData
    revisions: tuple[str, ...]
    scripts: Path

    @property
    def head(self) -> str:
        """The newest revision."""
        return self.revisions[-1]


CURRENT = Schema(METADATA, REVISIONS, Path(__file__).parent / "migrations")
"""The schema of this version of the server."""


def prepare(engine: Engine, schema: Schema = CURRENT) -> None:
    """Make or migrate the tables, as needed. Blocks.

    Raises:
        SchemaTooNew: a newer version of the server wrote this database.
        StorageError: it cannot be opened, copied or migrated; it is as it was before.
    """
    try:
        _prepare(engine, schema)
    except Exception as error:
        said = dialects.explain(error)
        if said is error:
            raise
        raise said from error


def _prepare(engine: Engine, schema: Schema) -> None:
    if engine.dialect.name == "sqlite":
        _make_file(Path(str(engine.url.database)))
    with dialects.for_reading(engine) as connection:
        if engine.dialect.name == "sqlite":
            _look_for_fts5(connection)
        if _revision(connection, schema) == schema.head:
            return
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            _lock_postgresql(connection)
        found = _revision(connection, schema)
        if found is None:
            _create(connection, schema)
        elif found != schema.head:
            copy = _copy(engine, schema)
            _migrate(connection, schema)
            structlog.get_logger(__name__).info(
                "storage.migrated",
                before=found,
                after=schema.head,
                copy=str(copy) if copy else "none: the server does not copy PostgreSQL",
            )


def _make_file(path: Path) -> None:
    """Make an empty file for its owner only; SQLite gives its companions the same mode."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error


def _look_for_fts5(connection: Connection) -> None:
    if not connection.exec_driver_sql(_FTS5).all():
        raise StorageError(
            "this Python's SQLite was built without full-text search (FTS5); install another one,"
            " or use PostgreSQL"
        )


def _lock_postgresql(connection: Connection) -> None:
    """Keep other processes out, and let a long migration take its time."""
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
    connection.execute(text("SET LOCAL statement_timeout = 0"))


def _revision(connection: Connection, schema: Schema) -> str | None:
    """The revision that a database is marked with; None for an empty database."""
    inspector = inspect(connection)
    if not inspector.has_table(REVISION.name):
        strange = sorted(set(schema.metadata.tables) & set(inspector.get_table_names()))
        if strange:
            raise StorageError(
                f"the database has tables of the same names ({', '.join(strange)})"
                " which are not jabberd's"
            )
        return None
    found = connection.execute(select(REVISION.c.version_num)).scalars().all()
    if len(found) != 1:
        raise StorageError("the database is not marked with one revision; restore a copy")
    if found[0] not in schema.revisions:
        raise SchemaTooNew(
            f"the database has the schema {found[0]!r}, this version of the server knows"
            f" {schema.head!r} and older: install a newer jabberd, or restore a copy"
        )
    return str(found[0])


def _create(connection: Connection, schema: Schema) -> None:
    schema.metadata.create_all(connection, checkfirst=False)
    REVISION.create(connection)
    connection.execute(insert(REVISION), {"version_num": schema.head})


def _copy(engine: Engine, schema: Schema) -> Path | None:
    """Copy a SQLite database beside itself; the caller holds the write lock.

    PostgreSQL is not copied: its operator has better means (pg_dump, base backups), and the
    migration is one transaction.
    """
    if engine.dialect.name != "sqlite":
        return None
    path = Path(str(engine.url.database))
    copy = path.with_name(f"{path.name}.before-{schema.head}")
    part = path.with_name(f"{copy.name}.part")
    part.unlink(missing_ok=True)
    _make_file(part)
    with (
        contextlib.closing(sqlite3.connect(path)) as source,
        contextlib.closing(sqlite3.connect(part)) as target,
    ):
        source.backup(target)
        target.execute("PRAGMA journal_mode = DELETE").fetchall()
    part.replace(copy)
    return copy


def _migrate(connection: Connection, schema: Schema) -> None:
    from alembic import command  # noqa: PLC0415 -- slow to import and rarely needed
    from alembic.config import Config  # noqa: PLC0415 -- as above

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(schema.scripts).replace("%", "%%"))
    with _ALEMBIC:
        command.upgrade(config, schema.head)
