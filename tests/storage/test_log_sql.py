"""What a log on a disk has to do beside the contract: survive, catch up, leave nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from jabberd.storage import log_docs, log_index, log_write, schema, sql_log
from jabberd.storage.api import StorageError, StorageFull
from jabberd.storage.engine import make_engine, parse_url
from jabberd.storage.log_api import ArchiveQuery, Journaled, Restored, Saved, Unit, key_at
from jabberd.storage.open import open_stores
from jabberd.storage.schema import CURRENT, Schema
from jabberd.storage.sql import SqlStores
from jabberd.storage.words import words_of
from tests.conftest import Cluster
from tests.storage.log_kit import AT, AWAITING, VISIBLE, add, entry, keys, message
from tests.storage.test_sql import Hold, opened, run
from tests.storage.values import JULIET, NURSE, ROMEO, commit

pytestmark = pytest.mark.asyncio

TABLES = (
    "log",
    "log_names",
    "log_erased",
    "log_sessions",
    "log_handled",
    "log_journal",
    "log_relays",
)


async def rows(stores: SqlStores, statement: str) -> Sequence[Sequence[Any]]:
    """What a statement gives."""

    def ask(connection: Connection, _: None) -> Sequence[Sequence[Any]]:
        return connection.execute(text(statement)).all()

    return await stores.database.write(ask, None)


async def left(stores: SqlStores) -> dict[str, int]:
    """How many rows there are, in tables that have any."""
    own = ("log_by_owner", "log_by_peer", "log_texts")
    docs = own if stores.log._dialect.own_index else ("log_docs",)
    counts = {
        table: (await rows(stores, f"SELECT count(*) FROM {table}"))[0][0]
        for table in (*TABLES, *docs)
    }
    return {table: count for table, count in counts.items() if count}


@contextlib.asynccontextmanager
async def killed(path: Path, folder: Path) -> AsyncIterator[SqlStores]:
    """The database as it is found after the process that has it open was killed."""
    await asyncio.to_thread(folder.mkdir)
    for name in ("", "-wal"):
        shutil.copyfile(f"{path}{name}", f"{folder / path.name}{name}")
    async with opened(f"sqlite:///{folder / path.name}") as stores:
        yield stores


async def test_everything_survives_the_process(sql_url: str) -> None:
    async with opened(sql_url) as stores:
        secret = stores.log.secret
        unit = message(stores.log, "hello")
        unit.sessions[1] = Saved(1, JULIET, b"\x00")
        unit.handled[1] = 5
        unit.journal.append(Journaled(1, 3, 2, b"\xff"))
        await commit(stores.log, unit)
    async with opened(sql_url) as stores:
        log = stores.log
        assert log.secret == secret
        assert await log.recover() == [
            Restored(Saved(1, JULIET, b"\x00"), 5, (Journaled(1, 3, 2, b"\xff"),))
        ]
        assert await log.unsettled() == [unit.entries[1].key]
        for owner, row in zip((JULIET, ROMEO), unit.entries, strict=True):
            assert (await log.page(owner, ArchiveQuery(text="hello"))).entries == (row,)


async def test_keys_never_come_again(sql_url: str) -> None:
    used: list[int] = []
    for _ in range(3):
        async with opened(sql_url) as stores:
            log = stores.log
            gone = [entry(log, flags=0), entry(log, NURSE), entry(log, ROMEO)]
            assert min(row.key for row in gone) > max(used, default=0)
            await add(log, *gone)
            await commit(log, Unit(delivered=[gone[0].key]))
            await log.prune(NURSE, AT + 1)
            await log.erase(ROMEO)
            used += [row.key for row in gone]
    async with opened(sql_url) as stores:
        # The clock steps back.
        assert stores.log.next_key(AT - 86_400) > max(used)
        assert stores.log.next_key(AT + 86_400) >= key_at(AT + 86_400)


async def test_keys_never_come_again_after_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    async with opened(f"sqlite:///{path}") as stores:
        log = stores.log
        first = entry(log, at=AT + 10, flags=AWAITING)
        await add(log, first)
        await commit(log, Unit(delivered=[first.key]))
        async with killed(path, tmp_path / "1") as other:
            assert other.log.next_key(AT) > first.key
        await add(log, second := entry(log, NURSE, at=AT + 20))
        async with killed(path, tmp_path / "2") as other:
            assert other.log.next_key(AT) == second.key + 1
        await log.prune(NURSE, AT + 30)
        async with killed(path, tmp_path / "3") as other:
            assert other.log.next_key(AT) > second.key
        await add(log, third := entry(log, at=AT + 40))
        await log.erase(JULIET)
        await log.swept()
        async with killed(path, tmp_path / "4") as other:
            assert other.log.next_key(AT) > third.key
        # The number of a session, which would get the journal of another one with it.
        number = log.next_key(AT + 50)
        await commit(log, Unit(sessions={number: Saved(number, JULIET, b"{}")}))
        async with killed(path, tmp_path / "5") as other:
            assert other.log.next_key(AT) > number


async def test_the_index_catches_up_after_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_index, "_MOST", 5)
    monkeypatch.setattr(log_index, "_STEP", 2)
    monkeypatch.setattr(log_docs, "_MOST", 4)
    path = tmp_path / "a.sqlite"
    async with opened(f"sqlite:///{path}") as stores:
        log = stores.log
        late = message(log, "late")
        units = [message(log, "hello", (JULIET, NURSE)[number % 2]) for number in range(6)]
        for number, unit in enumerate([*units, late]):
            await commit(log, unit)
            expected = [
                await log.page(owner, ArchiveQuery(peer=peer, text=words, count=True))
                for owner, peer in ((JULIET, ""), (JULIET, ROMEO), (ROMEO, NURSE))
                for words in ("", "hello", "late")
            ]
            async with killed(path, tmp_path / str(number)) as other:
                assert other.log._shared.recent == {}
                found = [
                    await other.log.page(owner, ArchiveQuery(peer=peer, text=words, count=True))
                    for owner, peer in ((JULIET, ""), (JULIET, ROMEO), (ROMEO, NURSE))
                    for words in ("", "hello", "late")
                ]
                assert found == expected
                count = len(await rows(other, "SELECT 1 FROM log"))
                assert count == 2 * (number + 1)
                assert len(await rows(other, "SELECT 1 FROM log_by_owner")) == count
                assert len(await rows(other, "SELECT 1 FROM log_by_peer")) == count
                check = "INSERT INTO log_docs (log_docs) VALUES ('integrity-check')"
                await other.database.write(run, check)
        assert stores.log._shared.recent != {}


async def test_an_entry_that_is_deleted_is_not_indexed_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_index, "_MOST", 6)
    async with opened(f"sqlite:///{tmp_path}/a.sqlite") as stores:
        log = stores.log
        gone = entry(log)
        await add(log, gone, entry(log, NURSE), entry(log))
        assert await log.prune(JULIET, AT + 1, limit=1) == 1
        hold = Hold()
        slow = asyncio.ensure_future(stores.database.write(hold, "SELECT 1"))
        await hold.begun()
        new = [entry(log, flags=flags) for flags in (0, VISIBLE, VISIBLE, VISIBLE, VISIBLE)]
        both = [log.commit(Unit(new)), log.commit(Unit(delivered=[new[0].key]))]
        hold.release()
        await asyncio.gather(slow, *both)
        await add(log, entry(log, NURSE))
        await add(log, entry(log, NURSE))
    async with opened(f"sqlite:///{tmp_path}/a.sqlite") as stores:
        orphans = "SELECT key FROM {} WHERE key NOT IN (SELECT key FROM log)"
        missing = "SELECT key FROM log WHERE key NOT IN (SELECT key FROM {})"
        for table in ("log_by_owner", "log_by_peer"):
            assert await rows(stores, orphans.format(table)) == []
            assert await rows(stores, missing.format(table)) == []


async def test_units_of_one_transaction_after_many_of_one_owner(sql_url: str) -> None:
    async with opened(sql_url) as stores:
        log = stores.log
        await add(log, *[entry(log) for _ in range(600)])
        hold = Hold()
        slow = asyncio.ensure_future(stores.database.write(hold, "SELECT 1"))
        await hold.begun()
        first = log.commit(Unit([entry(log)]))
        between = asyncio.ensure_future(stores.keyvalue.put(JULIET, "test", "a", b"1"))
        await asyncio.sleep(0)
        second = log.commit(Unit([entry(log)]))
        hold.release()
        await asyncio.gather(slow, first, between, second)
        assert await stores.keyvalue.keys(JULIET, "test") == ["a"]
        assert (await log.page(JULIET, ArchiveQuery(count=True))).count == 602
        # What readers see is right after the next transactions, too.
        await add(log, entry(log), entry(log, NURSE))
        assert (await log.page(JULIET, ArchiveQuery(count=True))).count == 603
        assert len(await keys(log, NURSE)) == 1
    async with opened(sql_url) as stores:
        assert (await stores.log.page(JULIET, ArchiveQuery(count=True))).count == 603


async def test_what_was_erased_is_deleted_step_by_step(
    sql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql_log, "_SWEPT", 3)
    async with opened(sql_url) as stores:
        log = stores.log
        for number in range(6):
            await commit(log, message(log, f"hello {number}", other=f"c{number}@example.net"))
        await add(log, entry(log, flags=AWAITING))
        await stores.erase(JULIET)
        assert await keys(log) == []
        new = entry(log)
        await add(log, new)
        await log.swept()
        assert await keys(log) == [new.key]
        assert (await left(stores))["log"] == 7
        for number in range(6):
            await log.erase(f"c{number}@example.net")
        await log.erase(JULIET)
        await log.swept()
    async with opened(sql_url) as stores:
        assert await left(stores) == {}
        await add(stores.log, one := entry(stores.log))
        assert await keys(stores.log) == [one.key]


async def test_an_erasure_goes_on_in_the_next_process(
    sql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql_log, "_SWEPT", 2)
    async with opened(sql_url) as stores:
        log = stores.log
        await add(log, *[entry(log) for _ in range(50)])
        await add(log, other := entry(log, ROMEO, NURSE))
        await log.erase(JULIET)
    async with opened(sql_url) as stores:
        assert await keys(stores.log) == []
        await stores.log.swept()
        assert (await left(stores))["log"] == 1
        assert await keys(stores.log, ROMEO) == [other.key]


async def test_names_that_nobody_has_are_dropped(
    sql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_write, "_LEAVING", 3)
    async with opened(sql_url) as stores:
        log = stores.log
        for number in range(8):
            spam = entry(log, peer=f"spam{number}@example.net", flags=AWAITING)
            await add(log, spam)
            await commit(log, Unit(delivered=[spam.key]))
            kept = entry(log, peer=f"spam{number % 2}@example.net")
            await add(log, kept)
            assert await log.get(JULIET, [kept.key]) == [kept]
        names = {row[0] for row in await rows(stores, "SELECT jid FROM log_names")}
        assert {JULIET, "spam0@example.net", "spam1@example.net"} <= names
        assert len(names) <= 6
        again = entry(log, peer="spam2@example.net")
        await add(log, again)
        assert await keys(log, peer="spam2@example.net") == [again.key]


async def test_a_name_never_gets_the_number_of_another(sql_url: str) -> None:
    async with opened(sql_url) as stores:
        await add(stores.log, entry(stores.log))
        numbers = {row[0] for row in await rows(stores, "SELECT id FROM log_names")}
        await stores.log.prune(JULIET, AT + 1)
    async with opened(sql_url) as stores:
        assert await rows(stores, "SELECT id FROM log_names") == []
        await add(stores.log, entry(stores.log, NURSE))
        assert numbers.isdisjoint(row[0] for row in await rows(stores, "SELECT id FROM log_names"))


async def test_names_are_not_kept_in_mind_without_bound(
    sql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_write, "_NAMES", 4)
    async with opened(sql_url) as stores:
        log = stores.log
        peers = [f"c{number}@example.net" for number in range(9)]
        rows = [entry(log, peer=peer) for peer in peers]
        for row in rows:
            await add(log, row)
            assert len(log._shared.names) <= 4
        assert await log.get(JULIET, [row.key for row in rows]) == rows
        assert await keys(log, peer=peers[0]) == [rows[0].key]


async def test_new_names_of_a_unit_that_failed(sql_url: str) -> None:
    async with opened(sql_url) as stores:
        log = stores.log
        bad = entry(log, NURSE, "new@example.net")
        with pytest.raises(StorageError):
            await commit(log, Unit([bad, bad]))
        good = entry(log, ROMEO, "other@example.net")
        await add(log, good)
        assert await keys(log, NURSE) == []
        assert await keys(log, NURSE, peer="other@example.net") == []
        assert await keys(log, ROMEO, peer="other@example.net") == [good.key]
        await add(log, again := entry(log, NURSE, "new@example.net"))
        assert await log.get(NURSE, [again.key]) == [again]


async def test_units_of_one_moment_are_one_transaction(sql_url: str) -> None:
    async with opened(sql_url) as stores:
        log = stores.log
        hold = Hold()
        slow = asyncio.ensure_future(stores.database.write(hold, "SELECT 1"))
        await hold.begun()
        units = [message(log, f"n{number}") for number in range(20)]
        bad = Unit([*message(log, "bad").entries, units[3].entries[0]])
        done = [log.commit(unit) for unit in [*units, bad]]
        hold.release()
        await slow
        ended = await asyncio.gather(*done, return_exceptions=True)
        assert [type(one) for one in ended] == [*[type(None)] * 20, StorageError]
        assert await keys(log) == [unit.entries[0].key for unit in units]
        assert await keys(log, text="bad") == []
        assert await keys(log, text="n7") == [units[7].entries[0].key]


async def test_disk_full_and_room_again(tmp_path: Path) -> None:
    def bound(connection: Connection, pages: int) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}").all()

    async with opened(f"sqlite:///{tmp_path}/a.sqlite") as stores:
        log = stores.log
        small = entry(log)
        await add(log, small)
        await stores.database.write(bound, 90)
        big = message(log, "big")
        big.entries[0] = big.entries[0]._replace(stanza=os.urandom(1_000_000))
        with pytest.raises(StorageFull, match="no room"):
            await commit(log, big)
        assert await keys(log) == [small.key]
        assert await keys(log, ROMEO, text="big") == []
        await stores.database.write(bound, 10_000)
        await commit(log, big)
        assert await keys(log) == [small.key, big.entries[0].key]
        assert await keys(log, ROMEO, text="big") == [big.entries[1].key]


async def test_a_lost_connection_loses_no_unit(cluster: Cluster) -> None:
    async with opened(cluster.new_url()) as stores:
        log = stores.log
        units = [message(log, "hello", other=f"c{number}@example.net") for number in range(4)]
        for unit in units:
            await commit(log, unit)
            cluster.sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'jabberd'"
            )
        assert await keys(log, text="hello") == [unit.entries[0].key for unit in units]


async def test_a_connection_lost_within_a_copy_is_replaced(cluster: Cluster) -> None:
    async with opened(cluster.new_url()) as stores:
        log = stores.log
        hold = Hold()
        slow = asyncio.ensure_future(stores.database.write(hold, "SELECT 1"))
        await hold.begun()
        lost: list[int] = []

        def lose_once(connection: Connection, _: None) -> None:
            if not lost:
                lost.append(connection.execute(text("SELECT pg_backend_pid()")).scalar_one())
                cluster.sql(f"SELECT pg_terminate_backend({lost[0]}, 5000)")

        losing = asyncio.ensure_future(stores.database.write(lose_once, None))
        await asyncio.sleep(0)
        unit = message(log, "hello")
        done = log.commit(unit)
        hold.release()
        await asyncio.gather(slow, losing, done)
        assert lost
        assert await keys(log, text="hello") == [unit.entries[0].key]


async def test_journals_without_a_session_go(sql_url: str) -> None:
    async with opened(sql_url) as stores:
        await commit(stores.log, Unit(handled={1: 1}, journal=[Journaled(2, 1, 1, b"")]))
        assert await stores.log.recover() == []
        assert await left(stores) == {}


async def test_the_words_of_a_text_are_the_index(sql_url: str) -> None:
    said = "Grüße, 'Größe' 東京 x_y @3 \\"
    async with opened(sql_url) as stores:
        await commit(stores.log, message(stores.log, said))
        if sql_url.startswith("sqlite"):
            ((words,),) = await rows(stores, "SELECT words FROM log_texts")
            found = set(words.split())
        else:
            ((words,),) = await rows(stores, "SELECT tsvector_to_array(words) FROM log_docs")
            found = set(words)
        assert {word for word in found if not word.startswith("@")} == set(words_of(said))
        assert sorted(word for word in found if word.startswith("@")) == ["@1", "@2"]


async def test_sqlite_without_full_text_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "_FTS5", "SELECT 1 WHERE 0")
    with pytest.raises(StorageError, match="FTS5"):
        await open_stores(f"sqlite:///{tmp_path}/a.sqlite")


async def test_the_queue_moves_into_the_log(sql_url: str) -> None:
    old = Schema(CURRENT.metadata, CURRENT.revisions[:1], CURRENT.scripts)
    engine = make_engine(parse_url(sql_url, None), patience=5)
    romeo = b"<message from='romeo@montague.example/orchard' to='juliet@capulet.example'/>"
    queued = [
        (JULIET, AT, romeo),
        (NURSE, AT + 1, b'<message from="romeo@montague.example"><body>&lt;</body></message>'),
        (JULIET, AT + 1, b"<message><body from='x'/></message>"),
        # The clock had stepped back.
        (JULIET, AT - 100, "<message from='ä@example.net/☃'><x:y xmlns:x='z'/></message>".encode()),
        (JULIET, AT, b"no stanza"),
    ]
    expected = [
        (ROMEO, "orchard"),
        (ROMEO, ""),
        (JULIET, ""),
        ("ä@example.net", "☃"),
        (JULIET, ""),
    ]
    from alembic import command
    from alembic.config import Config

    with engine.begin() as connection:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(old.scripts).replace("%", "%%"))
        command.upgrade(config, "0001")
        statement = text("INSERT INTO queue (owner, at, stanza) VALUES (:owner, :at, :stanza)")
        for owner, at, stanza in queued:
            connection.execute(statement, {"owner": owner, "at": at, "stanza": stanza})
    engine.dispose()
    async with opened(sql_url) as stores:
        log = stores.log
        found = sorted([*await log.waiting(JULIET), *await log.waiting(NURSE)])
        assert [(row.owner, row.at, row.stanza) for row in found] == queued
        assert [(row.peer, row.resource) for row in found] == expected
        assert {(row.flags, row.unique, row.doc) for row in found} == {(VISIBLE | AWAITING, "", 0)}
        assert all(row.key >= key_at(row.at) for row in found)
        of_juliet = [row.key for row in found if row.owner == JULIET]
        assert await keys(log) == of_juliet
        assert await keys(log, end=AT - 100) == [of_juliet[2]]
        assert await keys(log, peer=ROMEO) == of_juliet[:1]
        assert await log.unsettled() == []
        assert log.next_key(AT - 1000) > found[-1].key
        assert len(log.secret) == 16
        await commit(log, Unit(delivered=of_juliet))
        assert await log.unsettled() == []
