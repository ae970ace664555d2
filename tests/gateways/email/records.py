"""Records in memory, for tests that need nothing of a database."""

from __future__ import annotations

from collections.abc import Sequence

from jabberd.storage.records import Drop, Record


class MemoryRecords:
    """What a service keeps, until the test ends."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str, str], Record] = {}

    async def get(self, owner: str, space: str, key: str) -> Record | None:
        return self.kept.get((owner, space, key))

    async def list(
        self, owner: str, space: str, *, after: str = "", limit: int = 100
    ) -> Sequence[Record]:
        found = [at for at in sorted(self.kept) if at[:2] == (owner, space) and at[2] > after]
        return [self.kept[at] for at in found[:limit]]

    async def everyone(
        self, space: str, *, after: tuple[str, str] = ("", ""), limit: int = 100
    ) -> Sequence[Record]:
        found = [at for at in sorted(self.kept) if at[1] == space and (at[0], at[2]) > after]
        return [self.kept[at] for at in found if at[0]][:limit]

    async def write(self, changes: Sequence[Record | Drop]) -> None:
        for change in changes:
            at = (change.owner, change.space, change.key)
            if isinstance(change, Record):
                self.kept[at] = change
            else:
                self.kept.pop(at, None)

    async def prune(self, space: str, before: float, *, limit: int = 1_000) -> int:
        old = [at for at, record in self.kept.items() if at[1] == space and record.at < before]
        for at in old[:limit]:
            del self.kept[at]
        return len(old[:limit])

    async def erase(self, owner: str) -> None:
        self.kept = {at: record for at, record in self.kept.items() if at[0] != owner}
