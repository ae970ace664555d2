"""Where what is known of clients is kept: one value for each of an account's clients."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import Final

from jabberd.core.client_record import Record, read_record
from jabberd.core.locks import Locks
from jabberd.core.tokens import Place
from jabberd.storage.api import KeyValue, StorageError

_log: Final = logging.getLogger(__name__)
_SPACE: Final = "clients"
_BEHIND: Final = 10_000  # clients whose last visit is not written down yet
_TOGETHER: Final = 64


class ClientStore:
    """Records of clients, and when they were here last, which is written when there is time.

    Args:
        keyvalue: the store.

    Attributes:
        locks: by account: to be held by whoever changes a record.
    """

    def __init__(self, keyvalue: KeyValue) -> None:
        self.locks = Locks()
        self._keyvalue = keyvalue
        self._behind: dict[Place, float] = {}
        self._writer: asyncio.Task[None] | None = None

    async def names(self, owner: str) -> Sequence[str]:
        """The ids of an account's clients.

        Raises:
            StorageError: see there.
        """
        return await self._keyvalue.keys(owner, _SPACE)

    async def read(self, place: Place) -> Record | None:
        """One client; None where it is not known.

        Raises:
            StorageError: see there.
        """
        data = await self._keyvalue.get(place.owner, _SPACE, place.client)
        if data is None:
            return None
        try:
            return read_record(data)
        except ValueError as error:
            _log.error("what is kept of a client of %s is damaged: %s", place.owner, error)
            return None

    async def all(self, owner: str) -> dict[str, Record]:
        """Every client of an account, by its id.

        Raises:
            StorageError: see there.
        """
        found: dict[str, Record] = {}
        for client in await self.names(owner):
            place = Place(owner, client)
            record = await self.read(place)
            if record is not None:
                last = max(record.last, self._behind.get(place, 0.0))
                found[client] = replace(record, last=last)
        return found

    async def write(self, place: Place, record: Record | None) -> None:
        """Replace what is known of a client, or forget it with None.

        Raises:
            StorageError: see there.
        """
        self._behind.pop(place, None)
        data = None if record is None else record.to_bytes()
        await self._keyvalue.put(place.owner, _SPACE, place.client, data)

    def visited(self, place: Place, at: float) -> None:
        """A client was here at that time; nobody waits for this to be written."""
        if len(self._behind) >= _BEHIND and place not in self._behind:
            return
        self._behind[place] = at
        if self._writer is None:
            self._writer = asyncio.get_running_loop().create_task(self._catch_up())

    async def _catch_up(self) -> None:
        try:
            while self._behind:
                places = list(islice(self._behind, _TOGETHER))
                await asyncio.gather(*map(self._write_visit, places))
        except StorageError as error:
            _log.error("storage failed when a visit was to be written: %s", error)
        finally:
            self._writer = None

    async def _write_visit(self, place: Place) -> None:
        async with self.locks.of(place.owner):
            record = await self.read(place)
            at = self._behind.pop(place, None)
            if record is not None and at is not None and at > record.last:
                await self.write(place, replace(record, last=at))

    async def deleting(self, owner: str) -> None:
        """Write no visits of an account that is about to be erased."""
        async with self.locks.of(owner):  # behind the one that is being written
            for place in [place for place in self._behind if place.owner == owner]:
                del self._behind[place]

    async def settled(self) -> None:
        """Wait until everything is written, or cannot be."""
        if self._writer is not None:
            await asyncio.wait({self._writer})
