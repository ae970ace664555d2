"""What a user may use up in a day, on the disk: a restart or a new registration resets nothing."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from jabberd.storage.records import Record, Records

_SPACE: Final = "sms-count"
_KEPT_SECONDS: Final = 2 * 86_400.0


class Counters:
    """Counts by name and day (UTC).

    Args:
        records: of the gateway.
    """

    def __init__(self, records: Records) -> None:
        self._records = records
        self._lock = asyncio.Lock()

    async def take(self, name: str, amount: int, most: int, now: float) -> bool:
        """Count something; False, and nothing counted, where that makes more than `most`.

        Raises:
            StorageError: it cannot be kept.
        """
        async with self._lock:
            count = await self._count(name, now) + amount
            if count > most:
                return False
            await self._write(name, count, now)
            return True

    async def give_back(self, name: str, amount: int, now: float) -> None:
        """Take back what came to nothing.

        Raises:
            StorageError: it cannot be kept.
        """
        async with self._lock:
            await self._write(name, max(0, await self._count(name, now) - amount), now)

    async def prune(self, now: float) -> None:
        """Forget what is old."""
        while await self._records.prune(_SPACE, now - _KEPT_SECONDS, limit=1_000) == 1_000:
            pass

    async def _count(self, name: str, now: float) -> int:
        found = await self._records.get("", _SPACE, _key(name, now))
        return int(found.value) if found is not None else 0

    async def _write(self, name: str, count: int, now: float) -> None:
        await self._records.write([Record("", _SPACE, _key(name, now), str(count).encode(), now)])


def _key(name: str, now: float) -> str:
    return f"{time.strftime('%Y-%m-%d', time.gmtime(now))} {name}"
