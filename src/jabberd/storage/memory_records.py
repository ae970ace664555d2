"""The records of services in the memory of the process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from jabberd.storage.records import Drop, Record

Rows: TypeAlias = dict[tuple[str, str, str], Record]
"""The records of one service, by owner, space and key."""


class MemoryRecords:
    """`Records` in a dict.

    Args:
        rows: of the service; shared by all objects for it.
        check: refuses calls after the end, and texts that no database takes.
    """

    def __init__(self, rows: Rows, check: Callable[..., None]) -> None:
        self._rows = rows
        self._check = check

    async def get(self, owner: str, space: str, key: str) -> Record | None:
        """See `Records.get`."""
        self._check(owner, space, key)
        return self._rows.get((owner, space, key))

    async def list(
        self, owner: str, space: str, *, after: str = "", limit: int = 100
    ) -> Sequence[Record]:
        """See `Records.list`."""
        self._check(owner, space, after)
        found = [
            record
            for record in self._rows.values()
            if (record.owner, record.space) == (owner, space) and record.key > after
        ]
        return sorted(found, key=lambda record: record.key)[: max(limit, 0)]

    async def everyone(
        self, space: str, *, after: tuple[str, str] = ("", ""), limit: int = 100
    ) -> Sequence[Record]:
        """See `Records.everyone`."""
        self._check(space, *after)
        found = [
            record
            for record in self._rows.values()
            if record.space == space and record.owner and (record.owner, record.key) > after
        ]
        return sorted(found, key=lambda record: (record.owner, record.key))[: max(limit, 0)]

    async def write(self, changes: Sequence[Record | Drop]) -> None:
        """See `Records.write`."""
        for change in changes:
            self._check(change.owner, change.space, change.key)
        for change in changes:
            where = (change.owner, change.space, change.key)
            if isinstance(change, Record):
                self._rows[where] = change
            else:
                self._rows.pop(where, None)

    async def prune(self, space: str, before: float, *, limit: int = 1_000) -> int:
        """See `Records.prune`."""
        self._check(space)
        old = [
            where
            for where, record in self._rows.items()
            if record.space == space and record.at < before
        ][: max(limit, 0)]
        for where in old:
            del self._rows[where]
        return len(old)

    async def erase(self, owner: str) -> None:
        """See `Records.erase`."""
        self._check(owner)
        erase_records(self._rows, owner)


def erase_records(rows: Rows, owner: str) -> None:
    """Remove what a service has of an owner."""
    for where in [where for where in rows if where[0] == owner]:
        del rows[where]
