"""Relay: pairs of accounts at two servers; one of each writes and the other one reads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from bench.load.chat import ArchiveCheck, ChatSettings, archives, drain, paced, verdict
from bench.load.client import Client
from bench.load.many import login_all, many, percentile
from bench.load.pairs import Pair, Run
from bench.load.places import PORT
from bench.load.proc import Meter, connections
from bench.load.target import LoadError, Result, Target

_READY: Final = 30.0
"""Seconds that a server may take from its first connection until it serves it."""


async def relay(here: Target, there: Target, settings: ChatSettings) -> Result:
    """Measure CPU per message that crosses, of both servers, and latency.

    Accounts are made first. CPU is counted as in `chat`; the stream between the servers, with its
    DNS, TLS and proofs, is there before anything counts, and it must be one in the end.

    Args:
        here: the senders' server.
        there: the receivers' server.
        settings: what is sent; stream management is not used.

    Raises:
        LoadError: an account cannot be made or log in, or nothing crosses.
    """
    run = Run(settings.body)
    senders = await _clients(here, settings.pairs)
    receivers = await _clients(there, settings.pairs)
    pairs = [Pair(tx, rx, run) for tx, rx in zip(senders, receivers, strict=True)]
    await asyncio.sleep(1)
    pairs[0].send(1)
    await drain(pairs[:1])
    if not pairs[0].settled:
        raise LoadError(f"nothing comes from {here.domain} to {there.domain}")
    result = await _measure(here, there, pairs, run, settings)
    streams = connections(PORT, (here.host, there.host))
    result |= verdict([*senders, *receivers], pairs) | {"streams_between": streams}
    for client in (*senders, *receivers):
        client.close()
    if settings.archive != "ignored":
        owners = [(at, number) for number in range(settings.pairs) for at in (here, there)]
        result |= await archives(owners, pairs)
    return result | {"correct": as_it_must_be(result, settings.archive)}


def as_it_must_be(result: Result, archive: ArchiveCheck) -> bool:
    """Whether all came as it was sent, on one stream, and the archives are as they must be."""
    kept = archive == "ignored" or result["archives"] == archive
    return bool(result["correct"]) and kept and result["streams_between"] == 1


async def _clients(target: Target, count: int) -> list[Client]:
    await _ready(target)

    async def one(number: int) -> None:
        await Client(target, number).register()

    await many(count, one, target.concurrency)
    return await login_all(target, count)


async def _ready(target: Target) -> None:
    """Wait: a server may accept connections before it serves anybody."""
    end = time.monotonic() + _READY
    while True:
        client = Client(target, 0)
        try:
            await client.connect()
        except (LoadError, OSError):
            if time.monotonic() > end:
                raise
            await asyncio.sleep(0.5)
        else:
            client.close()
            return


async def _measure(
    here: Target, there: Target, pairs: Sequence[Pair], run: Run, settings: ChatSettings
) -> Result:
    pacer: asyncio.Task[None] | None = None
    if settings.rate:
        pacer = asyncio.create_task(paced(pairs, settings.rate))
    else:
        run.closed_loop = True
        for pair in pairs:
            pair.send(settings.window)
    await asyncio.sleep(settings.warmup)
    del run.latencies[:]
    before, meters = run.delivered, [Meter(here.pids), Meter(there.pids)]
    await asyncio.sleep(settings.duration)
    in_window = run.delivered - before
    for meter in meters:
        meter.read()
    wall, own = meters[0].wall, meters[0].own
    cores = sum(meter.cpu for meter in meters) / wall
    if pacer is not None:
        # What servers that cannot keep up deliver late must not be left out.
        pacer.cancel()
        await drain(pairs)
    latencies = sorted(run.latencies)
    run.closed_loop = False
    await drain(pairs)
    await asyncio.sleep(here.settle)
    for meter in meters:
        meter.read()
    each = [meter.cpu / max(1, run.delivered - before) * 1e6 for meter in meters]
    return {
        "msgs_per_s": round(in_window / wall),
        "cpu_us_per_msg": round(sum(each), 2),
        "cpu_us_sending": round(each[0], 2),
        "cpu_us_receiving": round(each[1], 2),
        "p50_ms": percentile(latencies, 0.5),
        "p99_ms": percentile(latencies, 0.99),
        "server_cores": round(cores, 2),
        "own_cores": round(own / wall, 2),
    }
