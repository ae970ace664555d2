"""Pairs of accounts: one of each writes and the other one reads."""

from __future__ import annotations

import array
import collections
import re
import time
from typing import Final

from bench.load.client import Client
from bench.load.ledger import REQUEST, Ledger

_CLOSE: Final = b"</message>"
_TEXT: Final = "Well, this is what people write to each other most of the time, give or take. "


class Run:
    """What all pairs have in common; each body is `bNNNNNNNN ` and the same text.

    Args:
        body: bytes of a body.

    Attributes:
        find: all numbers of bodies that are as they must be.
        latencies: seconds from writing a message to reading it.
        acks: seconds from writing a request to reading the acknowledgement (XEP-0198).
        delivered: messages that arrived.
        closed_loop: what arrives is sent again.
    """

    def __init__(self, body: int) -> None:
        text = (_TEXT * (body // len(_TEXT) + 1))[: body - 10].rstrip().ljust(body - 10, ".")
        self.foot = f"{text}</body></message>"
        self.find = re.compile(rb"<body>b(\d{8}) " + re.escape(text.encode()) + rb"</body>").findall
        self.latencies = array.array("d")
        self.acks = array.array("d")
        self.delivered = 0
        self.closed_loop = False


class Pair:
    """A sender and a receiver; checks that everything arrives unaltered, once and in order.

    Args:
        tx: who writes.
        rx: who reads.
        run: what it is a part of.

    Attributes:
        sent: messages.
        got: of them.
        disorder: readings with something that should not have been there.
        errors: readings of the sender with something that should not have been there.
    """

    __slots__ = ("_head", "_run", "_tail", "_times", "_tx", "disorder", "errors", "got", "sent")

    def __init__(self, tx: Client, rx: Client, run: Run) -> None:
        self._tx, self._run = tx, run
        self._head = f"<message type='chat' to='{rx.jid.split('/')[0]}' id='"
        self._times: collections.deque[float] = collections.deque()
        self._tail = b""
        self.sent = self.got = self.disorder = self.errors = 0
        tx.hot = self._on_sender
        rx.hot = self._on_receiver

    @property
    def settled(self) -> bool:
        """Everything that was sent has arrived."""
        return self.got == self.sent

    def send(self, count: int) -> None:
        """Send the next messages, in one write."""
        first, head, foot, now = self.sent, self._head, self._run.foot, time.perf_counter()
        stanzas = "".join(
            [
                f"{head}m{number:08d}'><body>b{number:08d} {foot}"
                for number in range(first, first + count)
            ]
        )
        self.sent = first + count
        self._times.extend([now] * count)
        self._write(stanzas, count, now)

    def _write(self, stanzas: str, count: int, now: float) -> None:  # noqa: ARG002 -- for those who count
        self._tx.write(stanzas)

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


class ManagedPair(Pair):
    """With stream management: what is sent is asked for, and what comes is acknowledged."""

    __slots__ = ("_before", "_in", "_out", "_rx")

    def __init__(self, tx: Client, rx: Client, run: Run) -> None:
        if tx.ledger is None or rx.ledger is None:
            raise ValueError("both clients have to be logged in with stream management")
        self._out: Ledger = tx.ledger
        self._in: Ledger = rx.ledger
        self._before = tx.ledger.sent
        self._rx = rx
        super().__init__(tx, rx, run)

    @property
    def settled(self) -> bool:
        """Everything has arrived and is acknowledged, and no more than that."""
        return super().settled and self.acknowledged == self.sent and not self._out.overdone

    @property
    def acknowledged(self) -> int:
        """Messages that the server has acknowledged."""
        return max(0, self._out.acked - self._before)

    def _write(self, stanzas: str, count: int, now: float) -> None:
        self._out.sent += count
        self._out.asked(now)
        self._tx.write(stanzas + REQUEST)

    def _on_sender(self, data: bytes) -> None:
        super()._on_sender(data)
        self._out.acknowledge(data, time.perf_counter())
        if b"<r " in data or b"<r/>" in data:
            self._tx.answer()

    def _on_receiver(self, data: bytes) -> None:
        seam, before = self._tail[-3:] + data[:3], self.got
        super()._on_receiver(data)
        self._in.received += self.got - before
        # A request that was cut in two is found at the seam. To answer twice does no harm.
        if b"<r " in data or b"<r/>" in data or b"<r " in seam or b"<r/>" in seam:
            self._rx.answer()
