"""How fast messages may go out, and slower where the SMSC asks for that. Pure."""

from __future__ import annotations

from typing import Final

_PAUSE: Final = 1.0  # seconds without any message after the SMSC has asked for fewer
_SLOWEST: Final = 64  # the rate never falls below a 64th of what it was
_RECOVERY: Final = 0.02  # of the full rate, with each message that is taken


class Pace:
    """A token bucket whose rate halves when the SMSC is throttling, and recovers.

    Args:
        rate: messages per second, more than 0.
        now: seconds of any monotonic clock.
    """

    __slots__ = ("_full", "_level", "_rate", "_silent_until", "_stamp")

    def __init__(self, rate: float, now: float) -> None:
        if rate <= 0:
            raise ValueError("rate must be more than 0")
        self._full = rate
        self._rate = rate
        self._level = self._burst
        self._stamp = now
        self._silent_until = now

    @property
    def rate(self) -> float:
        """Messages per second, as of now."""
        return self._rate

    def take(self, now: float) -> float:
        """Count one message; or else the seconds to wait before asking again (more than 0)."""
        if now < self._silent_until:
            return self._silent_until - now
        self._level = min(self._burst, self._level + (now - self._stamp) * self._rate)
        self._stamp = now
        if self._level < 1.0 - 1e-9:
            return (1.0 - self._level) / self._rate
        self._level -= 1.0
        return 0.0

    def throttled(self, now: float) -> None:
        """The SMSC wants fewer: a pause, and half the rate; once per pause."""
        if now < self._silent_until:
            return
        self._rate = max(self._rate / 2, self._full / _SLOWEST)
        self._silent_until = now + _PAUSE
        self._stamp = self._silent_until
        self._level = min(self._level, self._burst)

    def taken(self) -> None:
        """The SMSC took a message: a little faster from now on, up to the full rate."""
        self._rate = min(self._full, self._rate + self._full * _RECOVERY)

    @property
    def _burst(self) -> float:
        return max(1.0, self._rate)
