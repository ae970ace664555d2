"""What a gateway offers to its network, in memory (`gateways.transport.Site`)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from jabberd.gateways.events import Event, Online, Text
from jabberd.gateways.sms.network import Options, SmsNetwork, load
from jabberd.gateways.sms.transport import SmsTransport
from jabberd.gateways.transport import Login, NotTaken, Transport
from jabberd.storage.records import Drop, Record

WAIT: Final = 20.0
T = TypeVar("T", bound=Event)


@dataclass
class Memory:
    """Records in memory (`storage.records.Records`)."""

    kept: dict[tuple[str, str, str], Record] = field(default_factory=dict)

    async def get(self, owner: str, space: str, key: str) -> Record | None:
        return self.kept.get((owner, space, key))

    async def list(
        self, owner: str, space: str, *, after: str = "", limit: int = 100
    ) -> Sequence[Record]:
        found = [r for r in self.kept.values() if (r.owner, r.space) == (owner, space)]
        return sorted((r for r in found if r.key > after), key=lambda r: r.key)[:limit]

    async def everyone(
        self, space: str, *, after: tuple[str, str] = ("", ""), limit: int = 100
    ) -> Sequence[Record]:
        found = [r for r in self.kept.values() if r.space == space and r.owner]
        behind = [r for r in found if (r.owner, r.key) > after]
        return sorted(behind, key=lambda r: (r.owner, r.key))[:limit]

    async def write(self, changes: Sequence[Record | Drop]) -> None:
        await asyncio.sleep(0)  # others get their turn, as with a database
        for change in changes:
            name = (change.owner, change.space, change.key)
            if isinstance(change, Record):
                self.kept[name] = change
            else:
                self.kept.pop(name, None)

    async def prune(self, space: str, before: float, *, limit: int = 1_000) -> int:
        old = [n for n, r in self.kept.items() if r.space == space and r.at < before][:limit]
        for name in old:
            del self.kept[name]
        return len(old)

    async def erase(self, owner: str) -> None:
        for name in [name for name in self.kept if name[0] == owner]:
            del self.kept[name]

    def spaces(self) -> set[str]:
        """Those that have records."""
        return {space for _, space, _ in self.kept}


@dataclass
class Place:
    """A site with some users.

    Attributes:
        records: durable state.
        logins: by user.
        events: what users were told, in order.
        clock: seconds since the epoch.
        refuse: raised for the next events, the first one first; None takes one.
    """

    records: Memory = field(default_factory=Memory)
    logins: dict[str, Login] = field(default_factory=dict)
    events: list[tuple[str, Event]] = field(default_factory=list)
    clock: float = 1_800_000_000.0
    refuse: list[NotTaken | None] = field(default_factory=list)
    domain: str = "sms.example"
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def now(self) -> float:
        return self.clock

    def login(self, user: str) -> Login | None:
        return self.logins.get(user)

    def user_of(self, name: str) -> str | None:
        return next((user for user, login in self.logins.items() if login.name == name), None)

    async def emit(self, user: str, event: Event) -> None:
        if user not in self.logins:
            raise NotTaken("nobody is registered for this", lasting=True)
        refused = self.refuse.pop(0) if self.refuse else None
        if refused is not None:
            raise refused
        await asyncio.sleep(0)
        self.events.append((user, event))
        self._news.set()

    async def fetch(self, url: str, most: int) -> bytes:
        raise NotImplementedError

    # What tests do

    def register(self, user: str, number: str = "") -> Login:
        """Somebody with a number, or who shares one."""
        login = Login(number, {"phone": number}) if number else Login(user)
        self.logins[user] = login
        return login

    async def told(
        self, kind: type[T], wants: Callable[[T], bool] = lambda _: True
    ) -> tuple[str, T]:
        """Wait until somebody is told something of this kind; it is returned once."""
        async with asyncio.timeout(WAIT):
            while True:
                for user, event in self.events:
                    if isinstance(event, kind) and wants(event):
                        self.events.remove((user, event))
                        return user, event
                self._news.clear()
                await self._news.wait()


@dataclass
class Session:
    """A login that runs, as a gateway does it.

    Attributes:
        transport: of the user.
        online: set while it is logged in.
        ended: what `run` raised.
    """

    transport: Transport
    online: asyncio.Event = field(default_factory=asyncio.Event)
    ended: Exception | None = None
    _task: asyncio.Task[None] | None = None

    def begin(self) -> Session:
        self._task = asyncio.create_task(self._run())
        return self

    async def wait_online(self) -> Session:
        async with asyncio.timeout(WAIT):
            await self.online.wait()
        return self

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self.transport.close()

    async def _run(self) -> None:
        try:
            await self.transport.run(self._emit)
        except Exception as error:
            self.ended = error
        finally:
            self.online.clear()

    async def _emit(self, event: Event) -> None:
        assert isinstance(event, Online)
        self.online.set()


async def log_in(network: SmsNetwork, place: Place, user: str) -> SmsTransport:
    """A user's transport, when the way out can be used."""
    transport = network.transport(user, place.logins[user], place)
    assert isinstance(transport, SmsTransport)
    async with asyncio.timeout(WAIT):
        await network.hub.backend.link.wait_up()
    return transport


def text(body: str, *, receipt: bool = True, subject: str = "", id: str = "t1") -> Text:  # noqa: A002
    """A message of a user."""
    return Text(id, body, subject=subject, receipt=receipt)


def options(port: int, **more: object) -> Options:
    """Options for the SMSC of the tests."""
    given: dict[str, object] = {
        "host": "127.0.0.1", "port": port, "system_id": "gateway", "password": "secret",
        "country": "DE", "rate": 1_000.0, **more,
    }  # fmt: skip
    return Options(**given)  # type: ignore[arg-type]  # what a test gives fits


@contextlib.asynccontextmanager
async def started(port: int, place: Place, **more: object) -> AsyncIterator[SmsNetwork]:
    """The network, with the SMSC of the tests."""
    network = load(options(port, **more))
    assert isinstance(network, SmsNetwork)
    await network.start(place)
    try:
        yield network
    finally:
        await network.stop()
