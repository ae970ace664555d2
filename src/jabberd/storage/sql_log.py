"""The log in SQL: what the event loop sees of it."""

# ruff: noqa: S608 -- statements are made of constants; whatever comes from outside is an argument

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import structlog
from sqlalchemy import Connection, Engine

from jabberd.storage import engine as engines
from jabberd.storage import limits
from jabberd.storage.api import StorageError
from jabberd.storage.log_api import (
    LOOK,
    ArchivePage,
    ArchiveQuery,
    Entry,
    Flag,
    Relay,
    Restored,
    Unit,
    key_at,
)
from jabberd.storage.log_dialects import Dialect, dialect_of
from jabberd.storage.log_docs import index_texts
from jabberd.storage.log_index import catch_up, read_recent
from jabberd.storage.log_read import LogReader
from jabberd.storage.log_relays import read_relays
from jabberd.storage.log_sessions import recover
from jabberd.storage.log_shared import Shared
from jabberd.storage.log_write import Commit, LogWriter
from jabberd.storage.worker import Database

_SWEPT: Final = 200
_MOST_SENT: Final = 2**32
_ERASED: Final = "SELECT owner, upto FROM log_erased"
_SETTLED: Final = int(Flag.AWAITING | Flag.SENT | Flag.SEEN)


@dataclass(frozen=True, slots=True)
class Start:
    """The log as the last process left it.

    Attributes:
        dialect: how to speak to the database.
        secret: see `Log.secret`.
        shared: what was committed.
        texts: all texts up to this key are in the full-text index.
    """

    dialect: Dialect
    secret: bytes
    shared: Shared
    texts: int


def start(engine: Engine) -> Start:
    """Look at the log, and put into the index what the last process did not. Blocks.

    Raises:
        StorageError: the database failed.
    """
    dialect = dialect_of(engine.dialect.name)
    try:
        with engine.begin() as connection:
            return _start(dialect, connection)
    except Exception as error:
        said = engines.explain(error)
        if said is error:
            raise
        raise said from error


def _start(dialect: Dialect, connection: Connection) -> Start:
    dialect.run(
        connection,
        "INSERT INTO log_state (id, secret, floor, checkpoint, indexed, texts, late, apart)"
        " VALUES (1, ?, 0, 0, 0, 0, 0, 0) ON CONFLICT (id) DO NOTHING",
        (secrets.token_bytes(16),),
    )
    ((secret, floor, indexed, late, apart),) = dialect.rows(
        connection, "SELECT secret, floor, indexed, late, apart FROM log_state"
    )
    last = _greatest(dialect, connection, "log", "key")
    # The numbers of sessions are keys as well.
    number = _greatest(dialect, connection, "log_sessions", "number")
    relay = _greatest(dialect, connection, "log_relays", "key")
    texts = 0
    if dialect.own_index:
        if last > indexed:
            catch_up(dialect, connection, indexed)
        texts = index_texts(dialect, connection)
    erased = [(row[0], row[1]) for row in dialect.rows(connection, _ERASED)]
    shared = Shared(
        erased=dict(erased),
        late=late,
        apart=apart,
        last=max(last, floor, number, relay),
    )
    return Start(dialect, bytes(secret), shared, texts)


def _greatest(dialect: Dialect, connection: Connection, table: str, column: str) -> int:
    statement = f"SELECT coalesce(max({column}), 0) FROM {table}"
    return int(dialect.rows(connection, statement)[0][0])


class SqlLog:
    """`Log` in tables. Belongs to the running loop.

    Args:
        begun: of `start`.
        writer: does its work in the thread of `database`, which tells it of each end.
        database: of the same engine.
    """

    def __init__(self, begun: Start, writer: LogWriter, database: Database) -> None:
        self._database = database
        self._shared = begun.shared
        self._secret = begun.secret
        self._dialect = begun.dialect
        self._writer = writer
        self._reader = LogReader(begun.dialect, begun.shared)
        self._write = writer.commit
        self._at = 0.0
        self._least = 0  # the smallest key of this time
        self._sweeper: asyncio.Task[None] | None = None
        self.sweep()

    @property
    def secret(self) -> bytes:
        """See `Log.secret`."""
        return self._secret

    def next_key(self, at: float) -> int:
        """See `Log.next_key`."""
        if at != self._at:  # as many entries have the same time as a turn has
            self._at = at
            self._least = key_at(at)
        shared = self._shared
        key = shared.last + 1
        if key < self._least:
            key = self._least
        shared.last = key
        return key

    def commit(self, unit: Unit) -> asyncio.Future[None]:
        """See `Log.commit`."""
        try:
            late = limits.check_unit(unit)
        except StorageError as error:
            failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            failed.set_exception(error)
            return failed
        return self._database.submit(self._write, Commit(unit, late))

    async def recover(self) -> Sequence[Restored]:
        """See `Log.recover`."""
        return await self._database.write(recover, self._dialect)

    async def relays(self) -> Sequence[Relay]:
        """See `Log.relays`."""
        return await self._database.read(read_relays, self._dialect)

    async def unsettled(self) -> Sequence[int]:
        """See `Log.unsettled`."""
        return await self._database.read(self._unsettled, None)

    async def waiting(self, owner: str, *, after: int = 0, limit: int = 100) -> Sequence[Entry]:
        """See `Log.waiting`."""
        limits.check_text(owner)
        what = (owner, limits.clamp(after), limits.clamp(limit))
        return await self._database.read(self._reader.waiting, what)

    async def count_waiting(self, owner: str) -> int:
        """See `Log.count_waiting`."""
        limits.check_text(owner)
        return await self._database.read(self._reader.count_waiting, owner)

    async def page(self, owner: str, query: ArchiveQuery) -> ArchivePage:
        """See `Log.page`."""
        limits.check_text(owner, query.peer, query.resource)
        return await self._database.read(self._reader.page, (owner, query))

    async def get(self, owner: str, keys: Sequence[int]) -> Sequence[Entry]:
        """See `Log.get`."""
        limits.check_text(owner)
        return await self._database.read(self._reader.get, (owner, keys))

    async def bounds(self, owner: str) -> tuple[Entry, Entry] | None:
        """See `Log.bounds`."""
        limits.check_text(owner)
        return await self._database.read(self._reader.bounds, owner)

    async def find(self, owner: str, peer: str, unique: str, *, sent: bool) -> Entry | None:
        """See `Log.find`."""
        limits.check_text(owner, peer, unique)
        if not unique:
            return None
        return await self._database.read(self._reader.find, (owner, peer, unique, sent))

    async def replace(self, owner: str, key: int, stanza: bytes) -> bool:
        """See `Log.replace`."""
        limits.check_text(owner)
        return await self._database.write(self._writer.replace, (owner, limits.clamp(key), stanza))

    async def recently_sent(self, since: float, limit: int) -> Sequence[Entry]:
        """See `Log.recently_sent`."""
        return await self._database.read(self._recently_sent, (since, limits.clamp(limit)))

    async def owners(self, domain: str, *, after: str = "", limit: int = 100) -> Sequence[str]:
        """See `Log.owners`."""
        limits.check_text(domain, after)
        return await self._database.read(self._owners, (domain, after, limits.clamp(limit)))

    async def prune(self, owner: str, before: float, *, limit: int = 500) -> int:
        """See `Log.prune`."""
        limits.check_text(owner)
        return await self._database.write(self._prune, (owner, before, limits.clamp(limit)))

    async def erase(self, owner: str) -> None:
        """See `Log.erase`; what is erased is gone at once, and deleted step by step."""
        limits.check_text(owner)
        if await self._database.write(self._writer.erase, owner):
            self.sweep()

    def sweep(self) -> None:
        """Delete what was erased, in the background and in small steps."""
        if self._shared.erased and (self._sweeper is None or self._sweeper.done()):
            self._sweeper = asyncio.get_running_loop().create_task(self._sweep())

    async def swept(self) -> None:
        """Wait until everything that was erased has been deleted."""
        if self._sweeper is not None:
            await asyncio.wait((self._sweeper,))

    async def close(self) -> None:
        """Finish, before the database is closed."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.wait((self._sweeper,))
        with contextlib.suppress(StorageError):  # then the next start has more to do
            await self._database.write(self._writer.finish, None)

    async def _sweep(self) -> None:
        while self._shared.erased:
            owner = next(iter(self._shared.erased))
            began = time.monotonic()
            try:
                await self._database.write(self._writer.sweep, (owner, _SWEPT))
            except StorageError as error:  # the next erasure or the next start goes on
                structlog.get_logger(__name__).warning("storage.not_swept", reason=str(error))
                return
            # The other half of the writer's time is everybody else's.
            await asyncio.sleep(time.monotonic() - began)

    def _unsettled(self, connection: Connection, _asked: None) -> list[int]:
        rows = self._dialect.rows(
            connection,
            "SELECT key, owner FROM log WHERE key > (SELECT checkpoint FROM log_state)"
            f" AND flags & {_SETTLED} = 0 ORDER BY key",
        )
        erased = self._shared.erased
        return [key for key, owner in rows if key > erased.get(owner, 0)]

    def _recently_sent(self, connection: Connection, asked: tuple[float, int]) -> list[Entry]:
        since, limit = asked
        rows = self._dialect.rows(
            connection,
            "SELECT l.key, o.jid, p.jid, l.resource, l.at, l.flags, l.mark, l.doc, l.stanza"
            " FROM (SELECT * FROM log WHERE key >= ? ORDER BY key DESC LIMIT ?) AS l"
            " CROSS JOIN log_names AS o CROSS JOIN log_names AS p"
            " WHERE l.at >= ? AND l.mark <> '' AND o.id = l.owner AND p.id = l.peer"
            f" AND (l.flags & {int(Flag.SENT)} <> 0 OR l.owner = l.peer)"
            " AND l.key > coalesce((SELECT upto FROM log_erased AS e WHERE e.owner = l.owner), 0)"
            " ORDER BY l.key DESC LIMIT ?",
            (limits.clamp(key_at(since)), LOOK * min(limit, _MOST_SENT), since, limit),
        )
        return [Entry(*row) for row in reversed(rows)]

    def _owners(self, connection: Connection, asked: tuple[str, str, int]) -> list[str]:
        domain, after, limit = asked
        by_owner = "log_by_owner" if self._dialect.own_index else "log"
        erased = self._shared.erased
        recent = [
            owner
            for owner, values in list(self._shared.recent.items())
            if any(key > erased.get(owner, 0) for key, _, _ in read_recent(values))
        ]
        rows = self._dialect.rows(
            connection,
            "SELECT n.jid FROM log_names AS n WHERE n.domain = ? AND n.jid > ? AND"
            f" (n.id IN (SELECT value FROM {self._dialect.each}) OR"
            f" EXISTS (SELECT 1 FROM {by_owner} AS i WHERE i.owner = n.id AND i.key >"
            " coalesce((SELECT upto FROM log_erased AS e WHERE e.owner = n.id), 0)))"
            " ORDER BY n.jid LIMIT ?",
            (domain, after, self._dialect.numbers(recent), limit),
        )
        return [row[0] for row in rows]

    def _prune(self, connection: Connection, asked: tuple[str, float, int]) -> int:
        keys = self._reader.oldest(connection, asked)
        return self._writer.delete(connection, keys) if keys else 0
