"""Logins, and connections that do nothing."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Final

from bench.load.client import Client
from bench.load.many import login_all, many, percentile
from bench.load.proc import Meter, cpu_seconds, pss_kib
from bench.load.target import Result, Target

_PRESENCE: Final = re.compile(rb"<presence\b[^>]*>")
_FROM: Final = re.compile(rb"\bfrom=['\"]([^'\"/]+)/")
_TYPE: Final = re.compile(rb"\btype=")


async def login(target: Target, accounts: int, logins: int) -> Result:
    """Log in and out, measured as CPU per login, the logout included.

    Every account logs in once before, so that the client's key derivation is cached and the
    server has seen the account.

    Raises:
        LoadError: a login fails.
    """
    latencies: list[float] = []

    async def one(number: int) -> None:
        start = time.perf_counter()
        client = Client(target, number % accounts)
        await client.login(f"load{number // accounts}")
        latencies.append(time.perf_counter() - start)
        client.close()

    await many(accounts, one, target.concurrency)
    await asyncio.sleep(target.settle)
    latencies.clear()
    meter = Meter(target.pids)
    start = time.perf_counter()
    await many(logins, one, target.concurrency)
    wall = time.perf_counter() - start
    await asyncio.sleep(target.settle)
    meter.read()
    latencies.sort()
    return {
        "correct": len(latencies) == logins,
        "logins": logins,
        "cpu_ms_per_login": round(meter.cpu / logins * 1e3, 3),
        "logins_per_s": round(logins / wall, 1),
        "p50_ms": percentile(latencies, 0.5),
        "p99_ms": percentile(latencies, 0.99),
        "own_cores": round(meter.own / wall, 2),
    }


def _seen(data: bytes, own: bytes) -> int:
    """How many other accounts' available presence is in the bytes."""
    found = set()
    for tag in _PRESENCE.findall(data):
        sender = _FROM.search(tag)
        if sender is not None and not _TYPE.search(tag) and sender[1] != own:
            found.add(sender[1])
    return len(found)


class _Listener:
    """Keeps what a client gets after its initial presence."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._data = client.take()
        client.hot = self._on

    def _on(self, data: bytes) -> None:
        self._data += data

    @property
    def seen(self) -> int:
        return _seen(self._data, self._client.jid.split("/")[0].encode())


async def idle(target: Target, accounts: int, contacts: int, rest: float) -> Result:
    """Log all accounts in and measure the memory `rest` seconds after the last one.

    Memory is that of the server's processes less what they had before the first login. Each
    account must have `contacts` mutual contacts and must have got the presence of all of them.

    Raises:
        LoadError: a login fails.
    """
    before, cpu = pss_kib(target.pids), cpu_seconds(target.pids)
    clients = await login_all(target, accounts)
    listeners = [_Listener(client) for client in clients]
    await asyncio.sleep(rest)
    after = pss_kib(target.pids)
    alive = sum(not client.closed for client in clients)
    login_cpu = cpu_seconds(target.pids) - cpu
    meter = Meter(target.pids)
    await asyncio.sleep(min(rest, 10.0))
    meter.read()
    presences = sum(listener.seen for listener in listeners)
    mutual = sum(client.contacts == contacts for client in clients)
    for client in clients:
        client.close()
    return {
        "correct": alive == mutual == accounts and presences == accounts * contacts,
        "connections": accounts,
        "alive": alive,
        "with_all_contacts": mutual,
        "presences": presences,
        "pss_before_kib": before,
        "pss_after_kib": after,
        "kib_per_connection": round((after - before) / accounts, 2),
        "idle_cores": round(meter.cpu / meter.wall, 4),
        "cpu_ms_per_login": round(login_cpu / accounts * 1e3, 3),
    }
