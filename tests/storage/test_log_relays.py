"""The durable queue to other servers: what a log must do with it, on every back end."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import pytest
from sqlalchemy import Connection

from jabberd.storage.api import StorageError, StorageFull, Stores
from jabberd.storage.engine import make_engine, parse_url
from jabberd.storage.log_api import Entry, Journaled, Log, Relay, Restored, Saved, Unit, key_at
from jabberd.storage.sql_log import start
from tests.conftest import Cluster
from tests.storage.log_kit import AT, add, entry, keys
from tests.storage.test_sql import Hold, opened
from tests.storage.values import JULIET, ROMEO, commit

pytestmark = pytest.mark.asyncio
OURS = "capulet.example"
THEIRS = "montague.example"


def relay(log: Log, remote: str = THEIRS, at: float = AT) -> Relay:
    """A stanza for another server, with a new key."""
    key = log.next_key(at)
    return Relay(key, OURS, remote, at + 3600.5, b"<message id='%d'/>" % key)


async def send(log: Log, *relays: Relay) -> None:
    """Commit them in one unit."""
    await commit(log, Unit(relays=list(relays)))


def last_key(url: str) -> int:
    """The last key that a process would know of which finds the database as it is now."""
    engine = make_engine(parse_url(url, None), patience=5)
    try:
        return start(engine).shared.last
    finally:
        engine.dispose()


async def test_relays_come_back_as_they_were(stores: Stores) -> None:
    log = stores.log
    assert await log.relays() == []
    key = log.next_key(AT)
    rows = [
        Relay(key, "bücher.example", "☃.example.net", AT + 0.123456, b"<m>\x00\xff</m>"),
        Relay(2**63 - 1, "a", "", 0.0, b""),
        relay(log),
    ]
    await send(log, *rows)
    found = await log.relays()
    assert found == sorted(rows)
    assert type(found[0]) is Relay
    assert [type(value) for value in found[0]] == [int, str, str, float, bytes]


async def test_they_are_in_order_of_their_keys(stores: Stores) -> None:
    log = stores.log
    rows = [relay(log, f"r{number % 3}.example") for number in range(9)]
    await send(log, *rows[5:][::-1])
    await send(log, *rows[:5])
    assert await log.relays() == rows


async def test_those_that_have_arrived_are_gone(stores: Stores) -> None:
    log = stores.log
    rows = [relay(log) for _ in range(4)]
    await send(log, *rows)
    await commit(log, Unit(relayed=[rows[1].key, rows[1].key, rows[3].key, 5]))
    assert await log.relays() == [rows[0], rows[2]]
    await commit(log, Unit(relayed=[rows[1].key, rows[2].key, rows[0].key]))
    assert await log.relays() == []


async def test_what_arrives_in_the_unit_that_sends_it_is_gone(stores: Stores) -> None:
    log = stores.log
    one, two = relay(log), relay(log)
    await commit(log, Unit(relays=[one, two], relayed=[one.key]))
    assert await log.relays() == [two]


async def test_what_has_expired_is_still_told(stores: Stores) -> None:
    """Its sender has to be told."""
    old = relay(stores.log, at=1.0)
    await send(stores.log, old)
    assert await stores.log.relays() == [old]


async def test_a_unit_with_nothing_else_is_one() -> None:
    assert not Unit()
    assert Unit(relays=[Relay(1, OURS, THEIRS, AT, b"")])
    assert Unit(relayed=[1])


async def test_all_of_a_unit_is_written_together(stores: Stores) -> None:
    log = stores.log
    old, sent, new = relay(log), entry(log), relay(log)
    await send(log, old)
    journal = Journaled(1, 1, 1, b"")
    saved = Saved(1, JULIET, b"")
    await commit(
        log,
        Unit([sent], sessions={1: saved}, journal=[journal], relays=[new], relayed=[old.key]),
    )
    assert await log.relays() == [new]
    assert await keys(log) == [sent.key]
    assert await log.recover() == [Restored(saved, 0, (journal,))]


async def test_a_bad_unit_writes_nothing_and_hurts_nobody_else(stores: Stores) -> None:
    log = stores.log
    there, stays = entry(log), relay(log)
    await commit(log, Unit([there], relays=[stays]))
    twice = relay(log)
    bad = [
        Unit([entry(log)], relays=[relay(log), stays]),
        Unit([entry(log)], relays=[twice, twice]),
        Unit([entry(log)], relays=[relay(log), relay(log, "\0")]),
        Unit([entry(log)], relays=[relay(log)._replace(local="\ud800")]),
        Unit([entry(log), there], relays=[relay(log)], relayed=[stays.key]),
        Unit(relays=[relay(log), stays], relayed=[stays.key]),
    ]
    good = [relay(log) for _ in bad]
    done: list[asyncio.Future[None] | None] = []
    for one, other in zip(bad, good, strict=True):
        done += [log.commit(one), log.commit(Unit(relays=[other]))]
    ended = await asyncio.gather(
        *(asyncio.sleep(0) if one is None else one for one in done), return_exceptions=True
    )
    assert [type(one) for one in ended] == [StorageError, type(None)] * len(bad)
    assert await log.relays() == [stays, *good]
    assert await keys(log) == [there.key]


async def test_units_of_one_moment(stores: Stores) -> None:
    log = stores.log
    one, two, three = relay(log), relay(log), relay(log)
    units = [
        Unit(relays=[one]),
        Unit(relays=[two], relayed=[one.key]),
        Unit(relays=[one]),
        Unit(relays=[three], relayed=[two.key, three.key]),
    ]
    done = [log.commit(unit) for unit in units]
    await asyncio.gather(*(one for one in done if one is not None))
    assert await log.relays() == [one]


async def test_an_account_that_is_erased_has_sent_what_it_sent(stores: Stores) -> None:
    log = stores.log
    row = relay(log)._replace(stanza=f"<message from='{JULIET}' to='{ROMEO}'/>".encode())
    await commit(log, Unit([entry(log)], relays=[row]))
    await stores.erase(JULIET)
    assert await keys(log) == []
    assert await log.relays() == [row]


async def test_many_at_once(stores: Stores) -> None:
    log = stores.log
    rows = [relay(log, f"r{number % 100}.example") for number in range(10_000)]
    await send(log, *rows)
    assert await log.relays() == rows
    await commit(log, Unit(relayed=[row.key for row in rows[10:]]))
    assert await log.relays() == rows[:10]


async def test_whole_numbers_may_stand_among_the_times(stores: Stores) -> None:
    log = stores.log
    rows = [relay(log)._replace(expires=expires) for expires in (7, 7.5, 8)]
    await send(log, *rows)
    assert [row.expires for row in await log.relays()] == [7.0, 7.5, 8.0]


async def test_nothing_is_told_after_the_end(stores: Stores) -> None:
    await stores.close()
    with pytest.raises(StorageError, match="closed"):
        await stores.log.relays()


async def test_relays_survive_the_process(sql_url: str) -> None:
    async with opened(sql_url) as stores:
        rows = [relay(stores.log, f"r{number}.example") for number in range(5)]
        await send(stores.log, *rows)
        await commit(stores.log, Unit(relayed=[rows[2].key]))
    async with opened(sql_url) as stores:
        assert await stores.log.relays() == [*rows[:2], *rows[3:]]


async def test_relays_survive_a_kill(tmp_path: Path) -> None:
    path, copy = tmp_path / "a.sqlite", tmp_path / "b.sqlite"
    async with opened(f"sqlite:///{path}") as stores:
        rows = [relay(stores.log) for _ in range(3)]
        await send(stores.log, *rows)
        await commit(stores.log, Unit(relayed=[rows[0].key]))
        for name in ("", "-wal"):
            shutil.copyfile(f"{path}{name}", f"{copy}{name}")
    async with opened(f"sqlite:///{copy}") as stores:
        assert await stores.log.relays() == rows[1:]
        assert stores.log.next_key(AT) > rows[2].key


async def test_keys_never_come_again(sql_url: str) -> None:
    """Also where the process dies, and the clock steps back."""
    async with opened(sql_url) as stores:
        log = stores.log
        await add(log, entry(log))
        one = relay(log, at=AT + 10)
        await send(log, one)
        assert await asyncio.to_thread(last_key, sql_url) == one.key
        await commit(log, Unit(relayed=[one.key]))
        assert await asyncio.to_thread(last_key, sql_url) == one.key
        two = relay(log, at=AT + 20)
        await commit(log, Unit(relays=[two], relayed=[two.key]))
        assert await log.relays() == []
        assert await asyncio.to_thread(last_key, sql_url) == two.key
        three = relay(log, at=AT + 30)
        await send(log, three)
    async with opened(sql_url) as stores:
        assert stores.log.next_key(AT) == three.key + 1
        assert stores.log.next_key(AT + 86_400) >= key_at(AT + 86_400)


async def test_a_full_disk_and_room_again(tmp_path: Path) -> None:
    def bound(connection: Connection, pages: int) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}").all()

    async with opened(f"sqlite:///{tmp_path}/a.sqlite") as stores:
        log = stores.log
        small = relay(log)
        await send(log, small)
        await stores.database.write(bound, 90)
        big = relay(log)._replace(stanza=os.urandom(1_000_000))
        with pytest.raises(StorageFull, match="no room"):
            await commit(log, Unit([entry(log)], relays=[big], relayed=[small.key]))
        assert await log.relays() == [small]
        assert await keys(log) == []
        await stores.database.write(bound, 10_000)
        await commit(log, Unit(relays=[big], relayed=[small.key]))
        assert await log.relays() == [big]


async def test_a_connection_that_is_lost_loses_no_relay(cluster: Cluster) -> None:
    async with opened(cluster.new_url()) as stores:
        log = stores.log
        rows = [relay(log) for _ in range(4)]
        for row in rows:
            await send(log, row)
            cluster.sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'jabberd'"
            )
        assert await log.relays() == rows


async def test_units_with_relays_are_one_transaction(sql_url: str) -> None:
    async with opened(sql_url) as stores:
        log = stores.log
        hold = Hold()
        slow = asyncio.ensure_future(stores.database.write(hold, "SELECT 1"))
        await hold.begun()
        rows = [relay(log) for _ in range(20)]
        sent: list[Entry] = [entry(log) for _ in rows]
        done = [log.commit(Unit([one], relays=[row])) for one, row in zip(sent, rows, strict=True)]
        done.append(log.commit(Unit(relayed=[row.key for row in rows[::2]])))
        done.append(log.commit(Unit(relays=[rows[1]])))  # there already
        hold.release()
        await slow
        ended = await asyncio.gather(*done, return_exceptions=True)
        assert [type(one) for one in ended] == [*[type(None)] * 21, StorageError]
        assert await log.relays() == rows[1::2]
        assert await keys(log) == [one.key for one in sent]
