"""The receiving half of stream management (XEP-0198) on streams that carry many people."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

from jabberd.core.turn import Turn
from jabberd.core.turns import Turns
from jabberd.edge.senders import SenderQueues
from jabberd.storage.log_api import Unit
from jabberd.xmpp import sm

_MOST_WAITING: Final = 10
"""Requests of one stream that wait for what stands before them."""


class Acknowledgements:
    """Tells a peer how much of what it has sent is done, and on the disk (`core.turn.Gate`).

    Args:
        queues: of the stream: what has its verdict.
        turns: of the durable log.
        write: to the peer.

    Attributes:
        on: the peer's stanzas are counted.
    """

    __slots__ = ("_before", "_due", "_queues", "_turns", "_waiting", "_write", "on")

    def __init__(self, queues: SenderQueues, turns: Turns, write: Callable[[bytes], None]) -> None:
        self._queues = queues
        self._turns = turns
        self._write = write
        self._before = 0  # so many stanzas came before counting began
        self._due: list[tuple[Turn, int]] = []  # counts to be told once a turn is committed
        self._waiting: set[asyncio.Task[None]] = set()
        self.on = False

    def begin(self) -> None:
        """Count what comes from now on."""
        self.on = True
        self._before = self._queues.count

    def asked(self) -> None:
        """The peer has sent `<r/>` (§4)."""
        if not self.on:
            return
        queues = self._queues
        handled, count = queues.handled, queues.count
        self._tell(handled)
        if handled < count and len(self._waiting) < _MOST_WAITING:
            # More is told once it is true: the peer waits with what it sends.
            task = asyncio.get_running_loop().create_task(queues.reach(count))
            self._waiting.add(task)
            task.add_done_callback(partial(self._reached, count))

    def _reached(self, count: int, task: asyncio.Task[None]) -> None:
        self._waiting.discard(task)
        if not task.cancelled():
            self._tell(count)

    def end(self) -> None:
        """The stream is gone."""
        self.on = False
        self._due.clear()
        for task in self._waiting:
            task.cancel()

    def _tell(self, count: int) -> None:
        """Write a count when all that it covers is on the disk."""
        if not self.on:
            return
        turn = self._turns.latest()
        if turn is None:
            self._write(sm.a((count - self._before) % sm.MODULUS))
        else:
            self._due.append((turn, count))
            turn.gates[self] = None

    def journal(self, unit: Unit) -> None:
        """See `core.turn.Gate`: these streams do not outlive the process."""

    def committed(self, _turn: Turn, /) -> None:
        """See `core.turn.Gate`; where the commit failed, the senders were told."""
        told = None
        while self._due and not self._due[0][0].pending:
            told = self._due.pop(0)[1]  # there are seldom two
        if told is not None:
            self._write(sm.a((told - self._before) % sm.MODULUS))
