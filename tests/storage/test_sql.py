"""What only a database on a disk or behind a socket can do: fill up, lock, go away."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import stat
import threading
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection, event, text

from jabberd.storage import worker
from jabberd.storage.api import (
    RosterItem,
    StorageBusy,
    StorageError,
    StorageFull,
)
from jabberd.storage.engine import make_engine, parse_url
from jabberd.storage.open import open_stores
from jabberd.storage.schema import prepare
from jabberd.storage.sql import SqlStores
from jabberd.storage.sql_log import start
from tests.conftest import Cluster
from tests.storage.values import FULL_ITEM, JULIET, JULIETS, ROMEO, append, becomes, waiting

pytestmark = pytest.mark.asyncio


@contextlib.asynccontextmanager
async def opened(url: str, *, patience: float = 5.0) -> AsyncIterator[SqlStores]:
    """SQL stores, with the type that shows their database."""
    stores = await open_stores(url, patience=patience)
    assert isinstance(stores, SqlStores)
    try:
        yield stores
    finally:
        await stores.close()


class Hold:
    """A work that occupies the writer until it is let go."""

    def __init__(self) -> None:
        self._began = threading.Event()
        self._let_go = threading.Event()

    async def begun(self) -> None:
        assert await asyncio.to_thread(self._began.wait, 10)

    def release(self) -> None:
        self._let_go.set()

    def __call__(self, connection: Connection, statement: str) -> None:
        connection.execute(text(statement))
        self._began.set()
        assert self._let_go.wait(10)


def run(connection: Connection, statement: str) -> None:
    connection.execute(text(statement))


async def test_writes_survive_the_process(sql_url: str) -> None:
    async with opened(sql_url) as stores:
        await stores.accounts.create(JULIETS)
        await stores.roster.change(JULIET, ROMEO, becomes(FULL_ITEM))
    async with opened(sql_url) as stores:
        assert await stores.accounts.get(JULIET) == JULIETS
        assert await stores.roster.item(JULIET, ROMEO) == FULL_ITEM


async def test_one_failed_statement_hurts_nobody_else(sql_url: str) -> None:
    async with opened(sql_url) as stores:
        statements = [
            f"INSERT INTO rosters (owner, version, floor) VALUES ('o{number}', 1, {value})"
            for number in range(20)
            for value in ("1", "NULL")
        ]
        done = await asyncio.gather(
            *(stores.database.write(run, statement) for statement in statements),
            append(stores, b"x"),
            return_exceptions=True,
        )
        assert [type(one) for one in done[:-1]] == [type(None), StorageError] * 20
        assert done[-1] is True
        assert await stores.log.count_waiting(JULIET) == 1
        assert (await stores.roster.get("o19")).version == 1


async def test_a_defect_in_a_work_hurts_nobody_else(sql_url: str) -> None:
    def fail(_connection: Connection, argument: str) -> None:
        raise LookupError(argument)

    async with opened(sql_url) as stores:
        done = await asyncio.gather(
            append(stores, b"1"),
            stores.database.write(fail, "one"),
            append(stores, b"2"),
            stores.database.write(fail, "two"),
            return_exceptions=True,
        )
        assert [repr(one) for one in done] == [
            "True",
            "LookupError('one')",
            "True",
            "LookupError('two')",
        ]
        assert await waiting(stores) == [b"1", b"2"]


async def test_writes_that_wait_together_are_committed_together(sql_url: str) -> None:
    url = parse_url(sql_url, None)
    engine = make_engine(url, patience=5)
    await asyncio.to_thread(prepare, engine)
    begun = await asyncio.to_thread(start, engine)
    commits: list[object] = []
    event.listen(engine, "commit", commits.append)
    stores = SqlStores(engine, begun, patience=5)
    hold = Hold()
    slow = asyncio.ensure_future(stores.database.write(hold, "SELECT 1"))
    await hold.begun()
    stanzas = [b"%d" % number for number in range(200)]
    appends = [asyncio.ensure_future(append(stores, stanza)) for stanza in stanzas]
    await asyncio.sleep(0)
    hold.release()
    await asyncio.gather(slow, *appends)
    assert len(commits) == 2
    assert await waiting(stores) == stanzas
    await stores.close()


async def test_two_servers_on_one_database_lose_no_change(sql_url: str) -> None:
    def longer(before: RosterItem | None) -> RosterItem:
        return RosterItem(ROMEO, (before.name if before else "") + "x")

    async with opened(sql_url) as one, opened(sql_url) as two:
        done = await asyncio.gather(
            *(
                stores.roster.change(JULIET, ROMEO, longer)
                for _ in range(50)
                for stores in (one, two)
            )
        )
        assert len({change.version for change in done}) == 100
        item = await one.roster.item(JULIET, ROMEO)
        assert item is not None
        assert item.name == "x" * 100
        assert await two.roster.item(JULIET, ROMEO) == item


async def test_the_loop_runs_while_the_database_works(sql_url: str) -> None:
    async with opened(sql_url) as stores:
        await append(stores, b"x")
        hold = Hold()
        busy = asyncio.ensure_future(stores.database.write(hold, "DELETE FROM log"))
        await hold.begun()
        # A read is answered while the writer is busy, and sees what is committed.
        assert await stores.log.count_waiting(JULIET) == 1
        assert not busy.done()
        hold.release()
        await busy
        assert await stores.log.count_waiting(JULIET) == 0


async def test_sqlite_files_are_the_owners_only(tmp_path: Path) -> None:
    data = tmp_path / "data"
    stores = await open_stores("sqlite:", data=data)
    await append(stores, b"x")
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in data.iterdir()}
    assert modes == dict.fromkeys(
        ("jabberd.sqlite", "jabberd.sqlite-wal", "jabberd.sqlite-shm"), 0o600
    )
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    await stores.close()
    assert [file.name for file in data.iterdir()] == ["jabberd.sqlite"]


async def test_sqlite_is_durable_by_default(tmp_path: Path) -> None:
    def ask(connection: Connection, pragma: str) -> object:
        return connection.exec_driver_sql(f"PRAGMA {pragma}").scalar()

    async with opened(f"sqlite:///{tmp_path}/a.sqlite") as stores:
        assert await stores.database.write(ask, "journal_mode") == "wal"
        assert await stores.database.write(ask, "synchronous") == 2


async def test_durability_may_be_given_up(sql_url: str) -> None:
    def ask(connection: Connection, question: str) -> object:
        return connection.exec_driver_sql(question).scalar()

    question, power, process = {
        "sqlite": ("PRAGMA synchronous", 2, 1),
        "postgresql": ("SHOW synchronous_commit", "on", "off"),
    }[sql_url.partition(":")[0]]
    with_options = "options=-c%20synchronous_commit%3Don%20-c%20geqo%3Doff"
    url = sql_url if sql_url.startswith("sqlite") else f"{sql_url}&{with_options}"
    for durability, expected in (("power", power), ("process", process)):
        stores = await open_stores(url, durability=durability)  # type: ignore[arg-type]
        assert isinstance(stores, SqlStores)
        assert await stores.database.write(ask, question) == expected
        if url.startswith("postgresql"):
            assert await stores.database.write(ask, "SHOW geqo") == "off"
        await stores.close()


async def test_disk_full_and_room_again(tmp_path: Path) -> None:
    def bound(connection: Connection, pages: int) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}").all()

    async with opened(f"sqlite:///{tmp_path}/a.sqlite") as stores:
        await stores.database.write(bound, 60)
        done = await asyncio.gather(
            append(stores, b"small"),
            stores.keyvalue.put(JULIET, "vcard", "", bytes(1_000_000)),
            stores.roster.change(JULIET, ROMEO, becomes(FULL_ITEM)),
            return_exceptions=True,
        )
        assert [isinstance(one, StorageFull) for one in done] == [False, True, False]
        with pytest.raises(StorageFull, match="no room"):
            await stores.keyvalue.put(JULIET, "vcard", "", bytes(1_000_000))
        assert await stores.keyvalue.get(JULIET, "vcard", "") is None
        assert await stores.roster.item(JULIET, ROMEO) == FULL_ITEM
        await stores.database.write(bound, 10_000)
        await stores.keyvalue.put(JULIET, "vcard", "", bytes(1_000_000))
        assert await stores.log.count_waiting(JULIET) == 1


async def test_locked_sqlite_is_busy_and_recovers(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    async with opened(f"sqlite:///{path}", patience=0.3) as stores:
        await append(stores, b"before")
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            began = time.monotonic()
            calls = [append(stores, b"x") for _ in range(20)]
            done = await asyncio.gather(*calls, return_exceptions=True)
            assert {type(one) for one in done} == {StorageBusy}
            assert len({id(one) for one in done}) == 20
            assert time.monotonic() - began < 5
            assert await stores.log.count_waiting(JULIET) == 1
            other.execute("ROLLBACK")
        assert await append(stores, b"after")
        assert await waiting(stores) == [b"before", b"after"]


async def test_an_answer_that_takes_too_long_is_given_up(sql_url: str) -> None:
    def count(connection: Connection, most: int) -> object:
        numbers = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < :most)"
        statement = text(f"{numbers} SELECT count(*) FROM n")
        return connection.execute(statement, {"most": most}).scalar()

    async with opened(sql_url, patience=0.25) as stores:
        assert await stores.database.read(count, 10) == 10
        with pytest.raises(StorageBusy):
            await stores.database.read(count, 10**9)
        assert await stores.database.read(count, 10) == 10


async def test_locked_postgresql_is_busy_and_recovers(cluster: Cluster) -> None:
    url = cluster.new_url()
    async with opened(url) as holder, opened(url, patience=0.3) as stores:
        await stores.roster.change(JULIET, ROMEO, becomes(FULL_ITEM))
        hold = Hold()
        held = asyncio.ensure_future(
            holder.database.write(hold, "UPDATE rosters SET floor = floor")
        )
        await hold.begun()
        with pytest.raises(StorageBusy):
            await stores.roster.change(JULIET, ROMEO, becomes(None))
        assert await stores.roster.item(JULIET, ROMEO) == FULL_ITEM
        hold.release()
        await held
        await stores.roster.change(JULIET, ROMEO, becomes(None))
        assert await stores.roster.item(JULIET, ROMEO) is None


async def test_a_long_line_has_a_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_WAITING", 2)
    async with opened(f"sqlite:///{tmp_path}/a.sqlite", patience=0.2) as stores:
        put = partial(stores.keyvalue.put, JULIET, "test")
        hold = Hold()
        slow = asyncio.ensure_future(stores.database.write(hold, "SELECT 1"))
        await hold.begun()
        late = asyncio.ensure_future(put("late", b""))
        await asyncio.sleep(0)
        with pytest.raises(StorageBusy, match="too many calls"):
            await put("outside", b"")
        hold.release()
        with pytest.raises(StorageBusy, match="waited too long"):
            await late
        await slow
        await put("again", b"")
        assert await stores.keyvalue.keys(JULIET, "test") == ["again"]


async def test_units_in_line_have_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_SUBMITTED", 2)
    async with opened(f"sqlite:///{tmp_path}/a.sqlite") as stores:
        hold = Hold()
        slow = asyncio.ensure_future(stores.database.write(hold, "SELECT 1"))
        await hold.begun()
        taken = [asyncio.ensure_future(append(stores, b"%d" % number)) for number in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(StorageBusy, match="too many calls"):
            await append(stores, b"outside")
        hold.release()
        await asyncio.gather(slow, *taken)
        await append(stores, b"again")
        assert await waiting(stores) == [b"0", b"1", b"again"]


async def test_lost_postgresql_connections_are_replaced(cluster: Cluster) -> None:
    url = cluster.new_url()
    async with opened(url) as stores:
        for number in range(5):  # reads and writes, on every thread's connection
            await append(stores, b"%d" % number)
            counts = await asyncio.gather(*(stores.log.count_waiting(JULIET) for _ in range(8)))
            assert counts == [number + 1] * 8
            cluster.sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'jabberd'"
            )


async def test_stopped_postgresql_is_an_error_and_recovers(cluster: Cluster) -> None:
    url = cluster.new_url()
    async with opened(url) as stores:
        await append(stores, b"1")
        cluster.stop()
        try:
            with pytest.raises(StorageError, match="out of reach"):
                await append(stores, b"lost")
            with pytest.raises(StorageError, match="out of reach"):
                await stores.log.count_waiting(JULIET)
            with pytest.raises(StorageError, match="out of reach"):
                await open_stores(url)
        finally:
            cluster.start()
        assert await append(stores, b"2")
        assert await waiting(stores) == [b"1", b"2"]


async def test_errors_show_no_values(cluster: Cluster) -> None:
    def twice(connection: Connection, owner: str) -> None:
        statement = text("INSERT INTO rosters (owner, version, floor) VALUES (:o, 1, 1)")
        connection.execute(statement, {"o": owner})
        connection.execute(statement, {"o": owner})

    async with opened(cluster.new_url()) as stores:
        with pytest.raises(StorageError) as caught:
            await stores.database.write(twice, "secret-value")
        assert "secret-value" not in str(caught.value)


async def test_what_fails_in_the_commit_hurts_nobody_else(cluster: Cluster) -> None:
    async with opened(cluster.new_url()) as stores:
        unique = "CREATE TABLE late (x INTEGER UNIQUE DEFERRABLE INITIALLY DEFERRED)"
        await stores.database.write(run, unique)
        done = await asyncio.gather(
            append(stores, b"1"),
            stores.database.write(run, "INSERT INTO late VALUES (1), (1)"),
            append(stores, b"2"),
            return_exceptions=True,
        )
        assert [type(one) for one in done] == [bool, StorageError, bool]
        assert await waiting(stores) == [b"1", b"2"]


async def test_a_work_that_kills_its_connection_hurts_nobody_else(cluster: Cluster) -> None:
    async with opened(cluster.new_url()) as stores:
        done = await asyncio.gather(
            append(stores, b"1"),
            stores.database.write(run, "SELECT pg_terminate_backend(pg_backend_pid())"),
            append(stores, b"2"),
            return_exceptions=True,
        )
        assert [type(one) for one in done] == [bool, StorageError, bool]
        assert await waiting(stores) == [b"1", b"2"]


async def test_a_connection_lost_in_the_commit_is_not_tried_again(cluster: Cluster) -> None:
    ran: list[str] = []

    def lose(connection: Connection, owner: str) -> None:
        ran.append(owner)
        pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        connection.execute(text("DELETE FROM log"))
        cluster.sql(f"SELECT pg_terminate_backend({pid}, 5000)")

    async with opened(cluster.new_url()) as stores:
        await append(stores, b"1")
        with pytest.raises(StorageError, match="may or may not"):
            await stores.database.write(lose, JULIET)
        assert ran == [JULIET]
        assert await stores.log.count_waiting(JULIET) == 1
        assert await append(stores, b"2")
