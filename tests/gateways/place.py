"""A server with the example gateway inside, the example network, and somebody on it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from slixmpp.xmlstream import ET

from jabberd.embed import Server
from jabberd.gateways.example.server import Server as FarEnd
from jabberd.gateways.example.server import World
from jabberd.gateways.example.wire import Line, Thing, WireError
from tests.integration.slix import WAIT, Slix

GATEWAY: Final = "example.localhost"
PLUGINS: Final = (
    "xep_0030", "xep_0050", "xep_0077", "xep_0085", "xep_0184", "xep_0280", "xep_0333",
    "xep_0308", "xep_0444",
)  # fmt: skip


@dataclass
class Person:
    """Somebody on the example network, with a program of the network's own.

    Attributes:
        line: to the network.
        seen: what happened, oldest first.
    """

    line: Line
    seen: list[Thing] = field(default_factory=list)
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _reading: asyncio.Task[None] | None = None
    _confirming: set[asyncio.Task[Thing]] = field(default_factory=set)

    @classmethod
    async def log_in(cls, port: int, name: str) -> Person:
        """Log in; messages are confirmed as they come."""
        person = cls(await Line.connect("127.0.0.1", port))
        person._reading = asyncio.create_task(person._read())
        await person.line.ask("login", name=name, password=name)
        await person.line.ask("presence", show="", status="here")
        return person

    async def happened(self, on: str, wants: Callable[[Thing], bool] = lambda _: True) -> Thing:
        """Wait for an event."""
        async with asyncio.timeout(WAIT):
            while True:
                for thing in self.seen:
                    if thing["on"] == on and wants(thing):
                        self.seen.remove(thing)
                        return thing
                self._news.clear()
                await self._news.wait()

    async def close(self) -> None:
        """Log out."""
        self.line.close()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, *self._confirming, return_exceptions=True)

    async def _read(self) -> None:
        async def happened(thing: Thing) -> None:
            self.seen.append(thing)
            self._news.set()
            if thing["on"] == "message":
                confirming = asyncio.create_task(self.line.ask("got", id=thing["id"]))
                self._confirming.add(confirming)
                confirming.add_done_callback(self._confirming.discard)

        with contextlib.suppress(WireError):
            await self.line.read(happened)


@dataclass
class Place:
    """Everything together.

    Attributes:
        server: with the gateway.
        far: the network.
        clients: that were logged in.
        people: that were logged in.
    """

    server: Server
    far: FarEnd
    clients: list[Slix] = field(default_factory=list)
    people: list[Person] = field(default_factory=list)

    async def client(self, name: str = "juliet", resource: str = "one") -> Slix:
        """A user's client, online; the account is made where there is none."""
        with contextlib.suppress(Exception):
            await self.server.add_user(name, "secret")
        client = Slix(self.server, f"{name}@localhost/{resource}", "secret", plugins=PLUGINS)
        self.clients.append(client)
        await client.online()
        return client

    async def person(self, name: str) -> Person:
        """Somebody on the network."""
        person = await Person.log_in(self.far.port, name)
        self.people.append(person)
        return person


def config(far: FarEnd, **more: Any) -> dict[str, Any]:
    """The configuration of such a server."""
    table = {"network": "example", "port": far.port, **more}
    return {"gateway": {GATEWAY: table}}


@contextlib.asynccontextmanager
async def place(
    folder: Path | None = None, *, storage: str = "memory", **more: Any
) -> AsyncIterator[Place]:
    """A place, and its end."""
    far = FarEnd(World())
    await far.start("127.0.0.1", 0)
    try:
        async with Server(storage=storage, data=folder, config=config(far, **more)) as server:
            here = Place(server, far)
            try:
                yield here
            finally:
                for client in here.clients:
                    await client.leave()
                for person in here.people:
                    await person.close()
    finally:
        await far.stop()


async def register(
    client: Slix, name: str, password: str | None = None, *, manage: bool = True
) -> None:
    """Register with the gateway by a data form (XEP-0077)."""
    iq = client.client.make_iq_set(ito=GATEWAY)
    query = ET.SubElement(iq.xml, "{jabber:iq:register}query")
    x = ET.SubElement(query, "{jabber:x:data}x", {"type": "submit"})
    answers = {
        "username": name,
        "password": name if password is None else password,
        "manage-roster": "1" if manage else "0",
    }
    for var, value in answers.items():
        one = ET.SubElement(x, "{jabber:x:data}field", {"var": var})
        ET.SubElement(one, "{jabber:x:data}value").text = value
    await iq.send(timeout=WAIT)


async def approve(client: Slix, whom: str) -> None:
    """Let somebody who asks see the presence, and ask for theirs."""
    await client.event("presence_subscribe", lambda p: p["from"].bare == whom)
    client.client.send_presence(pto=whom, ptype="subscribed")
    client.client.send_presence(pto=whom, ptype="subscribe")


async def join(client: Slix, name: str) -> None:
    """Register, and be logged in; the gateway puts itself into the roster."""
    await register(client, name)
    await client.event(
        "presence_available", lambda p: p["from"] == GATEWAY and p["type"] == "available"
    )


async def add(client: Slix, name: str) -> None:
    """Add a contact, and let it see the presence."""
    client.client.send_presence(pto=f"{name}@{GATEWAY}", ptype="subscribe")
    await client.event("presence_subscribed", lambda p: p["from"].bare == f"{name}@{GATEWAY}")
