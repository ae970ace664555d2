"""Chat: pairs of accounts, one of each writes and the other one reads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from bench.load.archive import Archive, RefusedError
from bench.load.client import Client
from bench.load.many import login_all, percentile
from bench.load.pairs import ManagedPair, Pair, Run
from bench.load.proc import Meter
from bench.load.target import Result, Target

_DRAIN: Final = 120.0
"""Seconds that messages under way have to arrive after the last one was sent."""
_CHECKED: Final = 2
"""Pairs whose archives are read afterwards."""
ArchiveCheck = Literal["ignored", "complete", "refused"]


@dataclass(frozen=True, slots=True)
class ChatSettings:
    """What is sent.

    Attributes:
        pairs: senders; there are as many receivers.
        window: closed loop: messages under way per pair.
        rate: open loop, messages per second in all; 0 for the closed loop.
        body: bytes of the text.
        warmup: seconds before the measurement.
        duration: seconds of the measurement.
        managed: with stream management and carbons.
        archive: what the archives of some accounts must be in the end: "complete" has exactly
            what was sent, "refused" cannot be queried.
    """

    pairs: int = 50
    window: int = 8
    rate: float = 0.0
    body: int = 80
    warmup: float = 3.0
    duration: float = 10.0
    managed: bool = False
    archive: ArchiveCheck = "ignored"


async def paced(pairs: Sequence[Pair], rate: float) -> None:
    """The open loop: the senders take turns, whatever the receivers do."""
    start, done, turn = time.perf_counter(), 0, 0
    while True:
        due = int((time.perf_counter() - start) * rate)
        for _ in range(due - done):
            pairs[turn].send(1)
            turn = (turn + 1) % len(pairs)
        done = due
        await asyncio.sleep(0.002)


async def chat(target: Target, settings: ChatSettings) -> Result:
    """Measure CPU per delivered message and latency.

    CPU is counted from the end of the warm-up until `settle` seconds after the last message
    arrived, and divided by the messages delivered in that time.

    Raises:
        LoadError: an account cannot log in.
    """
    run = Run(settings.body)
    clients = await login_all(target, 2 * settings.pairs, run.acks if settings.managed else None)
    await asyncio.sleep(1)
    make = ManagedPair if settings.managed else Pair
    pairs = [make(tx, rx, run) for tx, rx in zip(clients[::2], clients[1::2], strict=True)]
    pacer: asyncio.Task[None] | None = None
    if settings.rate:
        pacer = asyncio.create_task(paced(pairs, settings.rate))
    else:
        run.closed_loop = True
        for pair in pairs:
            pair.send(settings.window)
    await asyncio.sleep(settings.warmup)
    del run.latencies[:], run.acks[:]
    before, meter = run.delivered, Meter(target.pids)
    await asyncio.sleep(settings.duration)
    in_window = run.delivered - before
    meter.read()
    wall, own, cores = meter.wall, meter.own, meter.cpu / meter.wall
    if pacer is not None:
        # What a server that cannot keep up delivers late must not be left out.
        pacer.cancel()
        await drain(pairs)
    latencies, acks = sorted(run.latencies), sorted(run.acks)
    run.closed_loop = False
    await drain(pairs)
    await asyncio.sleep(target.settle)
    meter.read()
    result = verdict(clients, pairs) | {
        "msgs_per_s": round(in_window / wall),
        "cpu_us_per_msg": round(meter.cpu / max(1, run.delivered - before) * 1e6, 2),
        "p50_ms": percentile(latencies, 0.5),
        "p99_ms": percentile(latencies, 0.99),
        "ack_p50_ms": percentile(acks, 0.5),
        "ack_p99_ms": percentile(acks, 0.99),
        "server_cores": round(cores, 2),
        "own_cores": round(own / wall, 2),
    }
    for client in clients:
        client.close()
    if settings.archive != "ignored":
        owners = [(target, 2 * number + side) for number in range(len(pairs)) for side in (0, 1)]
        result |= await archives(owners, pairs)
        result["correct"] = result["correct"] and result["archives"] == settings.archive
    return result


async def drain(pairs: Sequence[Pair]) -> None:
    """Wait until everything has arrived, or it has taken too long."""
    end = time.monotonic() + _DRAIN
    while (  # noqa: ASYNC110 -- the hot loop sets no events
        time.monotonic() < end and not all(pair.settled for pair in pairs)
    ):
        await asyncio.sleep(0.02)


def verdict(clients: Sequence[Client], pairs: Sequence[Pair]) -> Result:
    """Whether everything is as it must be, and what is not."""
    sent, got = sum(pair.sent for pair in pairs), sum(pair.got for pair in pairs)
    disorder = sum(pair.disorder for pair in pairs)
    errors = sum(pair.errors for pair in pairs)
    dropped = sum(client.closed for client in clients)
    unsettled = sum(not pair.settled for pair in pairs)
    return {
        "correct": sent > 0 and not unsettled and not disorder and not errors and not dropped,
        "sent": sent,
        "received": got,
        "unsettled_pairs": unsettled,
        "disorder": disorder,
        "errors": errors,
        "dropped_connections": dropped,
    }


async def archives(owners: Sequence[tuple[Target, int]], pairs: Sequence[Pair]) -> Result:
    """Read the archives of both sides of the first and the last pairs.

    Args:
        owners: sender and receiver of each pair in turn: server, and number of the account.
        pairs: what was sent.
    """
    chosen = {0, len(pairs) - 1} if len(pairs) > _CHECKED else set(range(len(pairs)))
    states: set[str] = set()
    rows = 0
    for number in sorted(chosen):
        for target, account in owners[2 * number : 2 * number + 2]:
            archive = Archive(target, account)
            await archive.open()
            try:
                found = await archive.numbers()
            except RefusedError:
                states.add("refused")
            else:
                exact = found == list(range(pairs[number].sent))
                states.add("complete" if exact else "not complete")
                rows += len(found)
            archive.close()
    return {"archives": " and ".join(sorted(states)), "archived_rows_checked": rows}
