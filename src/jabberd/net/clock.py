"""The time, as a value that is handed to whoever needs it."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """A source of time; tests hand in one that they move by hand."""

    def now(self) -> float:
        """Wall-clock time: seconds since 1970-01-01 UTC. May step back."""

    def monotonic(self) -> float:
        """Seconds since some fixed moment. Never steps back."""


class SystemClock:
    """The clock of the operating system."""

    __slots__ = ()

    now = staticmethod(time.time)
    """Wall-clock time: seconds since 1970-01-01 UTC. May step back."""

    monotonic = staticmethod(time.monotonic)
    """Seconds since some fixed moment. Never steps back."""
