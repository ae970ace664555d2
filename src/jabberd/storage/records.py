"""What a service keeps for its users: small records in spaces of its own.

A service is a gateway, by its domain. Owners are bare JIDs, or "" for the service as a whole.
Other than with `KeyValue`, several records change in one transaction, they are listed in order,
and those of some age can be dropped together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Record:
    """One record.

    Attributes:
        owner: whose.
        space: which kind; the service's own name for it.
        key: its name in the space; records of a space are in order of their keys.
        value: what it has.
        at: seconds since the epoch that it counts from when records are pruned.
    """

    owner: str
    space: str
    key: str
    value: bytes
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Drop:
    """The removal of one record; it need not be there."""

    owner: str
    space: str
    key: str


class Records(Protocol):
    """The records of one service. Each write is durable when it returns.

    Every method may raise `storage.api.StorageError`.
    """

    async def get(self, owner: str, space: str, key: str) -> Record | None:
        """One record."""

    async def list(
        self, owner: str, space: str, *, after: str = "", limit: int = 100
    ) -> Sequence[Record]:
        """Records of one owner in order of their keys, those behind `after` only."""

    async def everyone(
        self, space: str, *, after: tuple[str, str] = ("", ""), limit: int = 100
    ) -> Sequence[Record]:
        """Records of all owners in order of owner and key, those behind `after` only.

        `after` is owner and key of the last one that is known. Records of the owner "" are left
        out.
        """

    async def write(self, changes: Sequence[Record | Drop]) -> None:
        """Make these changes, all or none; a record replaces the one that is in its place."""

    async def prune(self, space: str, before: float, *, limit: int = 1_000) -> int:
        """Drop records of all owners that are older than a time; returns how many.

        At most `limit` in one go: call it again while that many went.
        """

    async def erase(self, owner: str) -> None:
        """Remove everything of this owner at this service."""
