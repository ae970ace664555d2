"""Counting: bytes per second, failed attempts, open connections. Pure; the time is given."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable


class TokenBucket:
    """How fast bytes may come; what came too early is a debt that has to be waited for.

    Args:
        rate: bytes per second, more than 0.
        burst: bytes that may come at once after a rest.
        now: the time in seconds, of any monotonic clock.
    """

    __slots__ = ("_burst", "_level", "_rate", "_stamp")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        if rate <= 0 or burst <= 0:
            raise ValueError("rate and burst must be more than 0")
        self._rate = rate
        self._burst = burst
        self._level = float(burst)
        self._stamp = now

    def take(self, amount: int, now: float) -> float:
        """Count `amount` bytes; returns the seconds to wait before reading again (0: none)."""
        level = self._level + (now - self._stamp) * self._rate
        if level > self._burst:
            level = self._burst
        self._stamp = now
        self._level = level = level - amount
        return 0.0 if level >= 0 else -level / self._rate


class Attempts:
    """Failures per key, forgotten with time: the lock on a door that is tried too often.

    A key is blocked while its weight is above `allowed`. The weight grows by one with each
    failure and loses one per `forget_seconds`. Keep one object for (account, source) and one
    with a higher allowance for the source alone: a stranger must not be able to lock an
    account's owner out from elsewhere.

    Args:
        allowed: failures in a row before the key is blocked.
        forget_seconds: after how long one failure is forgiven.
        longest: the most seconds that a key stays blocked, however often it failed.
        size: keys kept; the least recently failing one is forgotten first.
    """

    __slots__ = ("_allowed", "_ceiling", "_forget", "_longest", "_size", "_weights")

    def __init__(
        self,
        allowed: int = 5,
        forget_seconds: float = 60.0,
        longest: float = 900.0,
        size: int = 20_000,
    ) -> None:
        if allowed < 1 or forget_seconds <= 0 or longest <= 0 or size < 1:
            raise ValueError("allowed, forget_seconds, longest and size must be more than 0")
        self._forget = forget_seconds
        self._longest = longest
        self.allow(allowed)
        self._size = size
        self._weights: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._weights)

    def allow(self, allowed: int) -> None:
        """Change how many failures in a row are allowed; those counted already stay."""
        self._allowed = allowed
        self._ceiling = allowed - 1 + self._longest / self._forget

    def blocked(self, key: Hashable, now: float) -> float:
        """Seconds until `key` may try again; 0 when it may try now."""
        excess = self._weight(key, now) - (self._allowed - 1)
        return excess * self._forget if excess > 0 else 0.0

    def failed(self, key: Hashable, now: float) -> None:
        """Count a failure of `key`."""
        weight = min(self._weight(key, now) + 1, self._ceiling)
        self._weights[key] = (weight, now)
        self._weights.move_to_end(key)
        self._expire(now)

    def succeeded(self, key: Hashable) -> None:
        """Forget the failures of `key`."""
        self._weights.pop(key, None)

    def _weight(self, key: Hashable, now: float) -> float:
        entry = self._weights.get(key)
        if entry is None:
            return 0.0
        weight, stamp = entry
        return max(0.0, weight - max(0.0, now - stamp) / self._forget)

    def _expire(self, now: float) -> None:
        """Drop the oldest while there are too many, and what has decayed to nothing."""
        while self._weights:
            key, (weight, stamp) = next(iter(self._weights.items()))
            decayed = now - stamp >= weight * self._forget
            if not decayed and len(self._weights) <= self._size:
                return
            del self._weights[key]


class Admission:
    """How many connections are open, in all and per source; one object for all listeners.

    Args:
        total: connections in all.
        per_source: connections per `Endpoint.source`.
    """

    __slots__ = ("_open", "_per_source", "_sources", "_total")

    def __init__(self, total: int = 20_000, per_source: int = 200) -> None:
        if total < 1 or per_source < 1:
            raise ValueError("total and per_source must be more than 0")
        self._total = total
        self._per_source = per_source
        self._open = 0
        self._sources: dict[str, int] = {}

    @property
    def open(self) -> int:
        """Connections counted now."""
        return self._open

    def limit(self, total: int, per_source: int) -> None:
        """Change the limits; connections above them stay."""
        if total < 1 or per_source < 1:
            raise ValueError("total and per_source must be more than 0")
        self._total = total
        self._per_source = per_source

    def enter(self, source: str | None) -> bool:
        """Count a connection; False (and not counted) when it is one too many.

        Args:
            source: `Endpoint.source`; None for a proxy's connection, whose source comes later.
        """
        if self._open >= self._total:
            return False
        if source is not None and not self.name(source):
            return False
        self._open += 1
        return True

    def name(self, source: str) -> bool:
        """Count the source of a connection that was entered without one."""
        count = self._sources.get(source, 0)
        if count >= self._per_source:
            return False
        self._sources[source] = count + 1
        return True

    def leave(self, source: str | None) -> None:
        """Count a connection off; `source` is None where none was counted."""
        self._open -= 1
        if source is None:
            return
        count = self._sources.get(source, 0)
        if count > 1:
            self._sources[source] = count - 1
        else:
            self._sources.pop(source, None)
