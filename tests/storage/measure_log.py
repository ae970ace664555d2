"""What the log costs: run `python -m tests.storage.measure_log --help`; it is not a test.

CPU is that of all threads, and with PostgreSQL that of its processes as well. Rows are both copies
of messages between accounts that talk in pairs.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import random
import resource
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import accumulate
from pathlib import Path

from sqlalchemy import Connection

from jabberd.storage.log_api import ArchiveQuery, Doc, Entry, Flag, Journaled, Log, Saved, Unit
from jabberd.storage.open import open_stores
from jabberd.storage.sql import SqlStores

BIG = "archive@example.org"
SENT = int(Flag.VISIBLE | Flag.SENT)
SEEN = int(Flag.VISIBLE)
_IN_FLIGHT = 2


class Load:
    """Makes units as the server's turns would."""

    def __init__(self, log: Log, pairs: int, *, docs: bool, sessions: bool) -> None:
        self.log = log
        self.docs = docs
        self.sessions = sessions
        self.random = random.Random(1)
        self.vocabulary = [f"w{number * 2654435761 % 2**24:x}" for number in range(20_000)]
        self.weights = list(accumulate(1 / (number + 5) for number in range(20_000)))
        self.texts = [self.text() for _ in range(2_000)]
        self.pairs = [
            (f"user{2 * number}@example.org", f"user{2 * number + 1}@example.org")
            for number in range(pairs)
        ]
        self.handled = 0

    def text(self) -> str:
        """Ten words, some of them frequent."""
        return " ".join(self.random.choices(self.vocabulary, cum_weights=self.weights, k=10))

    def message(self, unit: Unit, one: str, other: str, text: str) -> None:
        """Both copies of a message."""
        at = time.time()
        sent, seen = self.log.next_key(at), self.log.next_key(at)
        name = f"{sent:x}-0123-4567-89ab-{seen:x}"
        stanza = (
            f"<message from='{one}/phone.1234567' to='{other}' type='chat' id='{name}'>"
            f"<body>{text}</body><origin-id xmlns='urn:xmpp:sid:0' id='{name}'/>"
            "<request xmlns='urn:xmpp:receipts'/></message>"
        ).encode()
        doc = sent if self.docs else 0
        unit.entries += (
            Entry(sent, one, other, "", at, SENT, name, doc, stanza),
            Entry(seen, other, one, "phone.1234567", at, SEEN, name, doc, stanza),
        )
        if doc:
            unit.docs.append(Doc(doc, text))

    def unit(self, rows: int) -> Unit:
        """What one turn decides."""
        unit = Unit()
        for _ in range(rows // 2):
            number = self.random.randrange(len(self.pairs))
            self.message(unit, *self.pairs[number], self.random.choice(self.texts))
            if self.sessions:
                self.handled += 1
                unit.handled[2 * number + 1] = self.handled
                unit.journal.append(Journaled(2 * number + 2, self.handled, 1, b"0123456789ab"))
                unit.forget[2 * number + 2] = self.handled - 50
        unit.checkpoint = unit.entries[-1].key - 1000
        return unit


def cpu(others: str | None) -> float:
    """Seconds of this process, and of all processes whose command has this name."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    total = used.ru_utime + used.ru_stime
    if others is None:
        return total
    for folder in Path("/proc").iterdir():
        try:
            fields = (folder / "stat").read_text().rpartition(")")
        except OSError:
            continue
        if folder.name.isdigit() and fields[0].endswith(f"({others}"):
            user, system = fields[2].split()[11:13]
            total += (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
    return total


def _waited(waits: list[float], since: float, _done: object) -> None:
    waits.append(time.perf_counter() - since)


async def commit(load: Load, rows: int, total: int, others: str | None) -> str:
    """Commit units, a few of them in flight."""
    units = [load.unit(rows) for _ in range(total // rows)]
    gc.collect()
    gc.freeze()  # the units are there beforehand only to be measured
    flying: set[asyncio.Future[None]] = set()
    began, used, waits = time.perf_counter(), cpu(others), list[float]()
    for unit in units:
        if len(flying) >= _IN_FLIGHT:
            _, flying = await asyncio.wait(flying, return_when=asyncio.FIRST_COMPLETED)
        since = time.perf_counter()
        done = load.log.commit(unit)
        if done is not None:
            done.add_done_callback(partial(_waited, waits, since))
            flying.add(done)
    if flying:
        await asyncio.wait(flying)
    took, used = time.perf_counter() - began, cpu(others) - used
    gc.unfreeze()
    waits.sort()
    slow = (
        f"{waits[len(waits) * 99 // 100] * 1e3:.1f}, worst {waits[-1] * 1e3:.1f}" if waits else ""
    )
    return f"{total / took:9.0f} rows/s {used / total * 1e6:6.2f} µs CPU/row   commit p99 {slow} ms"


async def trickle(load: Load, rate: int, seconds: float, others: str | None) -> str:
    """Commit one message at a time, so many in a second: how long each takes."""
    waits: list[float] = []
    flying: set[asyncio.Future[None]] = set()
    units = [load.unit(2) for _ in range(int(rate * seconds))]
    began, used = time.perf_counter(), cpu(others)
    for number, unit in enumerate(units):
        await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
        done = load.log.commit(unit)
        if done is not None:
            done.add_done_callback(partial(_waited, waits, time.perf_counter()))
            flying.add(done)
    if flying:
        await asyncio.wait(flying)
    used = cpu(others) - used
    waits.sort()
    at = {share: waits[len(waits) * share // 100] * 1e3 for share in (50, 99)} if waits else {}
    return (
        f"{rate} messages/s, each alone: {used / len(units) * 1e6:.0f} µs CPU,"
        f" p50 {at.get(50, 0):.2f}, p99 {at.get(99, 0):.2f}, worst {waits[-1] * 1e3:.2f} ms"
    )


async def fill(load: Load, total: int) -> None:
    """An archive of one account with so many messages, most of them with few contacts."""
    contacts = [f"contact{number}@example.net" for number in range(300)]
    unit = Unit()
    for number in range(total):
        one = contacts[min(int(load.random.expovariate(0.05)), 299)]
        load.message(unit, one, BIG, load.text())
        unit.entries.pop(-2)
        unit.entries[-1] = unit.entries[-1]._replace(doc=unit.docs[-1].key if load.docs else 0)
        if number % 500 == 499 or number == total - 1:
            done = load.log.commit(unit)
            if done is not None:
                await done
            unit = Unit()


async def ask(name: str, call: Callable[[], Awaitable[object]], others: str | None) -> None:
    """Ask thirty times; the median of the time, and the CPU."""
    times = []
    used = cpu(others)
    for _ in range(30):
        began = time.perf_counter()
        found = await call()
        times.append(time.perf_counter() - began)
    used = (cpu(others) - used) / 30
    entries = len(getattr(found, "entries", ()))
    times.sort()
    print(
        f"{name:44} {times[15] * 1e3:7.2f} ms, worst {times[-1] * 1e3:7.2f},"
        f" CPU {used * 1e3:6.2f} ms, {entries} entries",
        flush=True,
    )


async def questions(load: Load, others: str | None) -> None:
    """Pages and searches in the archive of `fill`."""
    log = load.log
    bounds = await log.bounds(BIG)
    assert bounds is not None
    middle = (bounds[0].key + bounds[1].key) // 2
    rare, often = load.vocabulary[15_000], load.vocabulary[0]
    for name, query in {
        "last 50": ArchiveQuery(backwards=True),
        "last 100": ArchiveQuery(backwards=True, limit=100),
        "last 50, counted": ArchiveQuery(backwards=True, count=True),
        "50 in the middle": ArchiveQuery(after=middle),
        "50 in the middle by time": ArchiveQuery(start=(bounds[0].at + bounds[1].at) / 2),
        "last 50 of a frequent contact": ArchiveQuery(peer="contact0@example.net", backwards=True),
        "last 50 of a rare contact": ArchiveQuery(peer="contact150@example.net", backwards=True),
        "last 50 of a stranger": ArchiveQuery(peer="x@example.net", backwards=True),
        "one frequent word": ArchiveQuery(text=often, backwards=True),
        "two frequent words": ArchiveQuery(text=f"{often} {load.vocabulary[1]}", backwards=True),
        "one rare word": ArchiveQuery(text=rare, backwards=True),
        "a rare and a frequent word": ArchiveQuery(text=f"{rare} {often}", backwards=True),
        "a frequent word, a rare contact": ArchiveQuery(
            text=often, peer="contact150@example.net", backwards=True
        ),
        "one frequent word, counted": ArchiveQuery(text=often, backwards=True, count=True),
        "no such word": ArchiveQuery(text="nothing", backwards=True),
    }.items():
        await ask(name, partial(log.page, BIG, query), others)
    await ask("waiting", lambda: log.waiting(BIG), others)
    await ask(
        "find, not there", lambda: log.find(BIG, "contact0@example.net", "x", sent=False), others
    )
    await ask("recently sent, 10,000", lambda: log.recently_sent(0, 10_000), others)


def _analyze(connection: Connection, _asked: None) -> None:
    connection.exec_driver_sql("ANALYZE")


async def measure(options: argparse.Namespace, url: str) -> None:
    """All of it."""
    others = "postgres" if url.startswith("postgres") else None
    stores = await open_stores(url)
    load = Load(stores.log, options.pairs, docs=True, sessions=False)
    if options.fill:
        began, used = time.perf_counter(), cpu(others)
        await fill(load, options.fill)
        took, used = time.perf_counter() - began, cpu(others) - used
        print(f"filled with {options.fill}: {took:.0f} s, {used / options.fill * 1e6:.1f} µs each")
    many = Unit()
    for number in range(1, 2 * options.pairs + 1):
        many.sessions[number] = Saved(number, f"user{number}@example.org", bytes(200))
    done = stores.log.commit(many)
    if done is not None:
        await done
    for rows in options.rows:
        for docs, sessions in ((False, False), (False, True), (True, False), (True, True)):
            load.docs, load.sessions = docs, sessions
            await commit(load, rows, 20 * rows, others)
            line = await commit(load, rows, options.total, others)
            what = f"{rows} rows{', docs' if docs else ''}{', sessions' if sessions else ''}"
            print(f"{what:28} {line}", flush=True)
    for docs in (False, True):
        load.docs = docs
        print(f"{'docs' if docs else '    '} {await trickle(load, 500, 5.0, others)}", flush=True)
    if isinstance(stores, SqlStores) and others:
        await stores.database.write(_analyze, None)  # as its autovacuum does after a minute
    if options.fill or options.ask:
        await questions(load, others)
    await stores.close()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", nargs="?", help="a database; SQLite in a new folder without it")
    parser.add_argument("--rows", type=int, nargs="*", default=[50, 100, 500], help="in a unit")
    parser.add_argument("--total", type=int, default=50_000, help="rows of one measurement")
    parser.add_argument("--pairs", type=int, default=50, help="accounts that talk")
    parser.add_argument("--fill", type=int, default=0, help="messages of one big archive first")
    parser.add_argument("--ask", action="store_true", help="ask the archive that is there already")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(options, options.url or f"sqlite:///{folder}/jabberd.sqlite"))


if __name__ == "__main__":
    main()
