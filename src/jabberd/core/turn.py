"""What one turn of the event loop decides, and who waits for it; see `core.turns`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from jabberd.storage.api import StorageError
from jabberd.storage.log_api import Unit


class Gate(Protocol):
    """A session that keeps something back until a turn is committed."""

    def journal(self, unit: Unit) -> None:
        """Add what the session has to remember; called once, right before the commit."""

    def committed(self, turn: Turn, /) -> None:
        """The turn is over, well or not: write what may be written."""


class Turn:
    """What is decided in one turn of the loop.

    Attributes:
        unit: what is to be committed.
        pending: not committed yet; what belongs to it must not leave.
        failed: why nothing of it was written; None where all was, or nothing is known yet.
        gates: who waits for it.
        at: when it began, seconds since the epoch; 0 until somebody asked.
        refused: called with the two values beside it, and the error, where it failed; before
            the gates are.
        after: called where it is committed, after the gates.
        bytes: of the stanzas in the unit.
        wire: the stanza of the newest entry: the other side's copy is the same object.
        doc: the key of its text in the full-text index; 0 where it has none.
    """

    __slots__ = ("after", "at", "bytes", "doc", "failed", "gates", "pending", "refused", "unit",
                 "waiters", "wire")  # fmt: skip

    def __init__(self) -> None:
        self.unit = Unit()
        self.pending = True
        self.failed: StorageError | None = None
        self.gates: dict[Gate, None] = {}
        self.at = 0.0
        self.refused: list[tuple[Callable[..., None], object, object]] = []
        self.after: list[Callable[[], None]] = []
        self.waiters: list[asyncio.Future[None]] = []
        self.bytes = 0
        self.wire = b""
        self.doc = 0
