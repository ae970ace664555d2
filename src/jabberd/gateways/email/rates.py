"""How often somebody may do something."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

_REMEMBERED: Final = 10_000


class Rate:
    """So many in so much time, for each of those who do it.

    Args:
        most: at once, and in each of these spans on average.
        seconds: how long a span is.
    """

    def __init__(self, most: int, seconds: float) -> None:
        self._most = most
        self._seconds = seconds
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allows(self, who: str, now: float) -> bool:
        """Whether it is allowed once more; counts it where it is."""
        left, at = self._left.pop(who, (float(self._most), now))
        left = min(self._most, left + max(0.0, now - at) * self._most / self._seconds)
        allowed = left >= 1.0
        self._left[who] = (left - 1.0 if allowed else left, now)
        if len(self._left) > _REMEMBERED:
            self._left.popitem(last=False)
        return allowed
