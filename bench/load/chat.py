"""Chat: pairs of accounts, one of each writes and the other one reads."""

from __future__ import annotations

import array
import asyncio
import collections
import re
import time
from dataclasses import dataclass
from typing import Final

from bench.load.client import Client
from bench.load.many import login_all, percentile
from bench.load.proc import Meter
from bench.load.target import Result, Target

_CLOSE: Final = b"</message>"
_TEXT: Final = "Well, this is what people write to each other most of the time, give or take. "
_DRAIN: Final = 60.0
"""Seconds that messages under way have to arrive after the last one was sent."""


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
    """

    pairs: int = 50
    window: int = 8
    rate: float = 0.0
    body: int = 80
    warmup: float = 3.0
    duration: float = 10.0


class _Run:
    """What all pairs have in common; each body is `bNNNNNNNN ` and the same text."""

    def __init__(self, body: int) -> None:
        text = (_TEXT * (body // len(_TEXT) + 1))[: body - 10].rstrip().ljust(body - 10, ".")
        self.foot = f"{text}</body></message>"
        self.find = re.compile(rb"<body>b(\d{8}) " + re.escape(text.encode()) + rb"</body>").findall
        self.latencies = array.array("d")
        self.delivered = 0
        self.closed_loop = False


class _Pair:
    """A sender and a receiver; checks that everything arrives unaltered, once and in order."""

    __slots__ = ("_head", "_run", "_tail", "_times", "_tx", "disorder", "errors", "got", "sent")

    def __init__(self, tx: Client, rx: Client, run: _Run) -> None:
        self._tx, self._run = tx, run
        self._head = f"<message type='chat' to='{rx.jid.split('/')[0]}' id='"
        self._times: collections.deque[float] = collections.deque()
        self._tail = b""
        self.sent = self.got = self.disorder = self.errors = 0
        tx.hot = self._on_sender
        rx.hot = self._on_receiver

    def send(self, count: int) -> None:
        """Send the next messages, in one write."""
        first, head, foot = self.sent, self._head, self._run.foot
        self._tx.write(
            "".join(
                [
                    f"{head}m{number:08d}'><body>b{number:08d} {foot}"
                    for number in range(first, first + count)
                ]
            )
        )
        self.sent = first + count
        self._times.extend([time.perf_counter()] * count)

    def _on_sender(self, data: bytes) -> None:
        # A sender gets nothing but errors here.
        if b"<message" in data or b"<stream:error" in data:
            self.errors += 1

    def _on_receiver(self, data: bytes) -> None:
        if self._tail:
            data = self._tail + data
        end = data.rfind(_CLOSE)
        if end < 0:
            self._tail = data
            return
        end += len(_CLOSE)
        self._tail = data[end:]
        run, expected = self._run, self.got
        found = run.find(data, 0, end)
        count, now = len(found), time.perf_counter()
        if [int(number) for number in found] != list(range(expected, expected + count)):
            self.disorder += 1
        if data.count(_CLOSE, 0, end) != count:  # an altered or a foreign message
            self.disorder += 1
        pop, add = self._times.popleft, run.latencies.append
        for _ in range(min(count, len(self._times))):
            add(now - pop())
        self.got = expected + count
        run.delivered += count
        if run.closed_loop and count:
            self.send(count)


async def _paced(pairs: list[_Pair], rate: float) -> None:
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
    clients = await login_all(target, 2 * settings.pairs)
    await asyncio.sleep(1)
    run = _Run(settings.body)
    pairs = [_Pair(tx, rx, run) for tx, rx in zip(clients[::2], clients[1::2], strict=True)]
    pacer: asyncio.Task[None] | None = None
    if settings.rate:
        pacer = asyncio.create_task(_paced(pairs, settings.rate))
    else:
        run.closed_loop = True
        for pair in pairs:
            pair.send(settings.window)
    await asyncio.sleep(settings.warmup)
    del run.latencies[:]
    before, meter = run.delivered, Meter(target.pids)
    await asyncio.sleep(settings.duration)
    in_window = run.delivered - before
    meter.read()
    wall, own, cores = meter.wall, meter.own, meter.cpu / meter.wall
    latencies = sorted(run.latencies)
    run.closed_loop = False
    if pacer is not None:
        pacer.cancel()
    end = time.monotonic() + _DRAIN
    while (  # noqa: ASYNC110 -- the hot loop sets no events
        time.monotonic() < end and any(pair.got < pair.sent for pair in pairs)
    ):
        await asyncio.sleep(0.02)
    await asyncio.sleep(target.settle)
    meter.read()
    result = _verdict(clients, pairs) | {
        "msgs_per_s": round(in_window / wall),
        "cpu_us_per_msg": round(meter.cpu / max(1, run.delivered - before) * 1e6, 2),
        "p50_ms": percentile(latencies, 0.5),
        "p99_ms": percentile(latencies, 0.99),
        "server_cores": round(cores, 2),
        "own_cores": round(own / wall, 2),
    }
    for client in clients:
        client.close()
    return result


def _verdict(clients: list[Client], pairs: list[_Pair]) -> Result:
    sent, got = sum(pair.sent for pair in pairs), sum(pair.got for pair in pairs)
    disorder = sum(pair.disorder for pair in pairs)
    errors = sum(pair.errors for pair in pairs)
    dropped = sum(client.closed for client in clients)
    return {
        "correct": sent > 0 and sent == got and not disorder and not errors and not dropped,
        "sent": sent,
        "received": got,
        "disorder": disorder,
        "errors": errors,
        "dropped_connections": dropped,
    }
