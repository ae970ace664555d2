"""A gateway in memory, for networks to be tried on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from jabberd.gateways.events import Event, Trouble
from jabberd.gateways.transport import Login, NotDone
from jabberd.storage.records import Drop, Record

_PATIENCE = 30.0
E = TypeVar("E")


class MemoryRecords:
    """Records in a dict."""

    def __init__(self) -> None:
        self.all: dict[tuple[str, str, str], Record] = {}

    async def get(self, owner: str, space: str, key: str) -> Record | None:
        return self.all.get((owner, space, key))

    async def list(
        self, owner: str, space: str, *, after: str = "", limit: int = 100
    ) -> Sequence[Record]:
        found = [r for r in self._sorted(space) if r.owner == owner and r.key > after]
        return found[:limit]

    async def everyone(
        self, space: str, *, after: tuple[str, str] = ("", ""), limit: int = 100
    ) -> Sequence[Record]:
        found = [r for r in self._sorted(space) if r.owner and (r.owner, r.key) > after]
        return found[:limit]

    async def write(self, changes: Sequence[Record | Drop]) -> None:
        for change in changes:
            key = (change.owner, change.space, change.key)
            if isinstance(change, Drop):
                self.all.pop(key, None)
            else:
                self.all[key] = change

    async def prune(self, space: str, before: float, *, limit: int = 1_000) -> int:
        old = [key for key, r in self.all.items() if r.space == space and r.at < before][:limit]
        for key in old:
            del self.all[key]
        return len(old)

    async def erase(self, owner: str) -> None:
        for key in [key for key in self.all if key[0] == owner]:
            del self.all[key]

    def _sorted(self, space: str) -> Sequence[Record]:
        found = [record for record in self.all.values() if record.space == space]
        return sorted(found, key=lambda record: (record.owner, record.key))


class MemorySite:
    """See `Site`; what is emitted is kept."""

    domain = "mail.jabber.example"

    def __init__(self, files: Mapping[str, bytes] | None = None) -> None:
        self.records = MemoryRecords()
        self.logins: dict[str, Login] = {}
        self.events: list[tuple[str, Event]] = []
        self.files = dict(files or {})
        self.refuse: Callable[[str, Event], None] = lambda _user, _event: None
        """Raises what `emit` is to raise."""
        self.ahead = 0.0
        """So many seconds the site's clock is ahead."""
        self._more = asyncio.Condition()

    def now(self) -> float:
        return time.time() + self.ahead

    def login(self, user: str) -> Login | None:
        return self.logins.get(user)

    def user_of(self, name: str) -> str | None:
        return next((user for user, login in self.logins.items() if login.name == name), None)

    async def emit(self, user: str, event: Event) -> None:
        self.refuse(user, event)
        self.events.append((user, event))
        async with self._more:
            self._more.notify_all()

    async def fetch(self, url: str, most: int) -> bytes:
        if url not in self.files:
            raise NotDone(Trouble.NOT_ALLOWED, "it is not on this server")
        if len(self.files[url]) > most:
            raise NotDone(Trouble.TOO_LARGE)
        return self.files[url]

    async def next(self, user: str, kind: type[E]) -> E:
        """The first event of this kind for a user; it is taken out."""

        def found() -> E | None:
            for entry in self.events:
                if entry[0] == user and isinstance(entry[1], kind):
                    self.events.remove(entry)
                    return entry[1]
            return None

        async with asyncio.timeout(_PATIENCE), self._more:
            while (event := found()) is None:
                await self._more.wait()
            return event
