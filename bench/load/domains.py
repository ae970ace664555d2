"""Domains: one client writes to a thousand other domains; then to one, beside dead ones."""

from __future__ import annotations

import asyncio
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.load.client import Client
from bench.load.fake import Seen, fake_servers
from bench.load.many import percentile
from bench.load.places import DEAD, FULL_HOST, LIVE_HOST, MOST, PORT, SILENT_HOST, dead, live
from bench.load.proc import Meter, pss_kib
from bench.load.target import LoadError, Result, Target

_SLACK: Final = 4
"""Connections to the fake beside those that count."""
_DEADLINE: Final = 60.0


@dataclass(frozen=True, slots=True)
class DomainsSettings:
    """What is sent.

    Attributes:
        network: the first three bytes of the loopback addresses of all servers.
        others: live domains.
        rate: messages per second to one of them, and as many to the dead ones.
        warmup: seconds at that rate before each measurement.
        duration: seconds of each measurement.
        rest: seconds before memory is read.
    """

    network: str
    others: int = MOST
    rate: float = 200.0
    warmup: float = 1.0
    duration: float = 10.0
    rest: float = 10.0


async def domains(target: Target, settings: DomainsSettings) -> Result:
    """Measure memory per stream, and the latency of a live domain without and with dead ones.

    Memory is read before the first stream and some time after a message has crossed each one.

    Raises:
        LoadError: the client cannot log in, or a message to a live domain does not arrive.
    """
    others, where = settings.others, f"{settings.network}.{LIVE_HOST}:{PORT}"
    with tempfile.TemporaryDirectory() as name, dead_servers(settings.network):
        async with fake_servers(where, Path(name), others + _SLACK) as seen:
            await Client(target, 0).register()
            client = Client(target, 0)
            await client.login()
            client.hot = _ignore  # errors of dead domains
            await asyncio.sleep(target.settle)
            before, meter = pss_kib(target.pids), Meter(target.pids)
            for number in range(others):
                client.write(_message(live(number), number))
            await seen.all_of(range(others), _DEADLINE)
            meter.read()
            await asyncio.sleep(settings.rest)
            after, streams = pss_kib(target.pids), seen.streams
            alone = await _latencies(client, seen, settings, beside=False)
            beside = await _latencies(client, seen, settings, beside=True)
            lost = client.closed
            client.close()
    return {
        "correct": streams == others and not lost and not seen.repeated,
        "streams": streams,
        "repeated": seen.repeated,
        "kib_per_stream": round((after - before) / others, 2),
        "cpu_ms_per_stream": round(meter.cpu / others * 1e3, 3),
        "seconds_for_all": round(meter.wall, 2),
        "p50_ms": percentile(alone, 0.5),
        "p99_ms": percentile(alone, 0.99),
        "dead_p50_ms": percentile(beside, 0.5),
        "dead_p99_ms": percentile(beside, 0.99),
    }


def _message(domain: str, number: int) -> str:
    return f"<message to='x@{domain}' type='chat'><body>{number}</body></message>"


def _ignore(data: bytes) -> None:
    del data


@contextmanager
def dead_servers(network: str) -> Iterator[None]:
    """Two sockets: connections to one get no word, those to the other one are not even made.

    Args:
        network: the first three bytes of their addresses.
    """
    with ExitStack() as stack:
        silent, full, *fillers = (stack.enter_context(socket.socket()) for _ in range(4))
        for listener, host, waiting in ((silent, SILENT_HOST, DEAD * 4), (full, FULL_HOST, 0)):
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((f"{network}.{host}", PORT))
            listener.listen(waiting)
        for filler in fillers:  # nobody accepts, and the kernel drops what comes after these
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        yield


async def _latencies(
    client: Client, seen: Seen, settings: DomainsSettings, *, beside: bool
) -> list[float]:
    """Seconds from the client's write to the fake's read, sorted."""
    first = max(seen.times) + 1
    skipped = int(settings.warmup * settings.rate)
    count = skipped + int(settings.duration * settings.rate)
    sent: list[float] = []
    start = time.perf_counter()
    while len(sent) < count:
        due = min(count, int((time.perf_counter() - start) * settings.rate))
        for step in range(len(sent), due):
            sent.append(time.perf_counter())
            client.write(_message(live(0), first + step))
            if beside:
                client.write(_message(dead(step % DEAD), first + step))
        if client.closed:
            raise LoadError("the server has closed the client's connection")
        await asyncio.sleep(0.002)
    await seen.all_of(range(first, first + count), _DEADLINE)
    return sorted(seen.times[first + step] - sent[step] for step in range(skipped, count))
