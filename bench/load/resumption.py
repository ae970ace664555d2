"""Sessions that are resumed: what they take, and what resuming one takes (XEP-0198)."""

from __future__ import annotations

import array
import asyncio
import time
from typing import Final

from bench.load.client import Client
from bench.load.many import login_all, many, percentile
from bench.load.proc import Meter, pss_kib
from bench.load.target import Result, Target

_ROUNDS: Final = 3
_PROBES: Final = 5
_PAUSE: Final = 0.5
_BODY: Final = "<body>Did this reach you once?</body>"


class _Keeper:
    """Counts what comes, and answers when the server asks."""

    def __init__(self, client: Client) -> None:
        self._client = client
        client.hot = self.on
        self.seen = b""

    def on(self, data: bytes) -> None:
        self.seen += data
        self._client.count(data)


async def _resume(client: Client) -> _Keeper | None:
    """Resume a session whose connection was dropped; None where the server lacks what was sent."""
    client.hot = None
    handled = await client.resume()
    came = client.take()
    keeper = _Keeper(client)
    keeper.seen = came
    return keeper if client.ledger is not None and handled == client.ledger.sent else None


async def resumable(target: Target, accounts: int, contacts: int, rest: float) -> Result:
    """Measure memory of sessions that can be resumed: connected, then without connections.

    Memory is that of the server's processes less what they had before the first login. In the
    end every session is resumed.

    Raises:
        LoadError: a login fails, or a session cannot be resumed.
    """
    before = pss_kib(target.pids)
    clients = [Client(target, number) for number in range(accounts)]

    async def enter(number: int) -> None:
        await clients[number].login_managed()
        _Keeper(clients[number])

    await many(accounts, enter, target.concurrency)
    await asyncio.sleep(rest)
    connected = pss_kib(target.pids)
    alive = sum(not client.closed for client in clients)
    mutual = sum(client.contacts == contacts for client in clients)
    await asyncio.gather(*(client.drop() for client in clients))
    await asyncio.sleep(rest)
    hibernated = pss_kib(target.pids)
    resumed = 0

    async def come_back(number: int) -> None:
        nonlocal resumed
        keeper = await _resume(clients[number])
        resumed += keeper is not None

    await many(accounts, come_back, target.concurrency)
    await asyncio.sleep(target.settle)
    for client in clients:
        client.close()
    return {
        "correct": alive == mutual == resumed == accounts,
        "sessions": accounts,
        "alive": alive,
        "with_all_contacts": mutual,
        "resumed": resumed,
        "pss_before_kib": before,
        "pss_connected_kib": connected,
        "pss_hibernated_kib": hibernated,
        "kib_connected": round((connected - before) / accounts, 2),
        "kib_hibernated": round((hibernated - before) / accounts, 2),
    }


async def _logins(target: Target, accounts: int) -> Result:
    """As `login` in `sessions.py`, but as clients of today do it."""
    latencies: list[float] = []
    trips: set[int] = set()

    async def one(number: int) -> None:
        start = time.perf_counter()
        client = Client(target, number % accounts)
        await client.login_managed(f"login{number // accounts}")
        latencies.append(time.perf_counter() - start)
        trips.add(client.trips)
        client.close()

    await many(accounts, one, target.concurrency)
    await asyncio.sleep(target.settle)
    latencies.clear()
    meter = Meter(target.pids)
    await many(_ROUNDS * accounts, one, target.concurrency)
    await asyncio.sleep(target.settle)
    meter.read()
    latencies.sort()
    return {
        "correct": len(latencies) == _ROUNDS * accounts,
        "logins": len(latencies),
        "cpu_ms_per_login": round(meter.cpu / len(latencies) * 1e3, 3),
        "trips_per_login": max(trips),
        "login_p50_ms": percentile(latencies, 0.5),
        "login_p99_ms": percentile(latencies, 0.99),
    }


async def _probe(clients: list[Client], number: int) -> bool:
    """Whether what is sent to a lost session reaches it once when it is resumed."""
    lost, friend = clients[number], clients[-1 - number]
    await lost.drop()
    to = lost.jid.split("/")[0]
    friend.send(f"<message type='chat' to='{to}' id='probe{number}'>{_BODY}</message>")
    await asyncio.sleep(_PAUSE)
    keeper = await _resume(lost)
    await asyncio.sleep(_PAUSE)
    return keeper is not None and keeper.seen.count(_BODY.encode()) == 1


async def resume(target: Target, accounts: int) -> Result:
    """Measure CPU, time and round trips of a full login, then of losing and resuming a session.

    The logout is part of the login, the loss of the connection part of the resumption.

    Raises:
        LoadError: the server does not play along.
    """
    full = await _logins(target, accounts)
    clients = await login_all(target, accounts, array.array("d"))
    await asyncio.sleep(target.settle)
    latencies: list[float] = []
    handled = 0

    async def one(number: int) -> None:
        nonlocal handled
        client = clients[number % accounts]
        await client.drop()
        start = time.perf_counter()
        keeper = await _resume(client)
        handled += keeper is not None
        latencies.append(time.perf_counter() - start)

    meter = Meter(target.pids)
    await many(_ROUNDS * accounts, one, target.concurrency)
    await asyncio.sleep(target.settle)
    meter.read()
    trips = {client.trips for client in clients}
    probes = [await _probe(clients, number) for number in range(_PROBES)]
    for client in clients:
        client.close()
    latencies.sort()
    return full | {
        "correct": full["correct"] and handled == _ROUNDS * accounts and all(probes),
        "resumptions": len(latencies),
        "cpu_ms_per_resumption": round(meter.cpu / len(latencies) * 1e3, 3),
        "trips_per_resumption": max(trips),
        "resume_p50_ms": percentile(latencies, 0.5),
        "resume_p99_ms": percentile(latencies, 0.99),
    }
