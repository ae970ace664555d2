"""A server with the example gateway inside, the example network, and somebody on it."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from slixmpp.exceptions import IqError
from slixmpp.xmlstream import ET

from jabberd.core.accounts import AccountTaken
from jabberd.embed import Server
from jabberd.gateways.example.server import Server as FarEnd
from jabberd.gateways.example.server import World
from jabberd.gateways.example.wire import Line, Thing, WireError
from tests.client.prosody import Prosody
from tests.integration.slix import WAIT, Slix

GATEWAY: Final = "example.localhost"
SECRET: Final = "between us"
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


class Address(NamedTuple):
    """Where a server listens for clients."""

    host: str
    port: int


@dataclass
class Place:
    """Everything together.

    Attributes:
        far: the network.
        address: of the server, for clients.
        server: with the gateway, where it is one of ours.
        tls: whether clients use it.
        gateway: its process, where it has one of its own.
        clients: that were logged in.
        people: that were logged in.
    """

    far: FarEnd
    address: Address
    inside: Server | None = None
    tls: bool = True
    gateway: GatewayProcess | None = None
    clients: list[Slix] = field(default_factory=list)
    people: list[Person] = field(default_factory=list)

    @property
    def server(self) -> Server:
        """The server, which is one of ours."""
        assert self.inside is not None
        return self.inside

    async def client(self, name: str = "juliet", resource: str = "one") -> Slix:
        """A user's client, online; the account is made where there is none."""
        if self.inside is not None:
            with contextlib.suppress(AccountTaken):
                await self.inside.add_user(name, "secret")
        jid = f"{name}@localhost/{resource}"
        client = Slix(self.address, jid, "secret", plugins=PLUGINS, tls=self.tls)
        self.clients.append(client)
        await client.online()
        return client

    async def person(self, name: str) -> Person:
        """Somebody on the network."""
        person = await Person.log_in(self.far.port, name)
        self.people.append(person)
        return person

    async def leave(self) -> None:
        """Log everybody out."""
        for client in self.clients:
            await client.leave()
        for person in self.people:
            await person.close()


@contextlib.asynccontextmanager
async def far_end() -> AsyncIterator[FarEnd]:
    """The network."""
    far = FarEnd(World())
    await far.start("127.0.0.1", 0)
    try:
        yield far
    finally:
        await far.stop()


@contextlib.asynccontextmanager
async def place(
    folder: Path | None = None, *, storage: str = "memory", **more: Any
) -> AsyncIterator[Place]:
    """A server with the gateway inside."""
    async with far_end() as far:
        table = {"network": "example", "port": far.port, **more}
        values = {"gateway": {GATEWAY: table}}
        async with Server(storage=storage, data=folder, config=values) as server:
            here = Place(far, Address(server.host, server.port), server)
            try:
                yield here
            finally:
                await here.leave()


@contextlib.asynccontextmanager
async def beside_jabberd(folder: Path) -> AsyncIterator[Place]:
    """A server, and the gateway as a process of its own."""
    values = {
        "listen": {"component": ["127.0.0.1:0"]},
        "component": {
            GATEWAY: {
                "secret": SECRET,
                "privileges": {"roster": "both", "message": "outgoing"},
            }
        },
    }
    async with (
        far_end() as far,
        Server(config=values) as server,
        process(folder, far, server.component_port) as gateway,
    ):
        here = Place(far, Address(server.host, server.port), server, gateway=gateway)
        try:
            yield here
        finally:
            await here.leave()


@contextlib.asynccontextmanager
async def beside_prosody(folder: Path) -> AsyncIterator[Place]:
    """Prosody, and the gateway as a process of its own."""
    home = folder / "prosody"
    home.mkdir()
    with Prosody(home, [GATEWAY], SECRET, ["juliet", "nurse"]) as prosody:
        async with far_end() as far, process(folder, far, prosody.port) as gateway:
            here = Place(far, Address("127.0.0.1", prosody.clients), tls=False, gateway=gateway)
            try:
                yield here
            finally:
                await here.leave()


@contextlib.asynccontextmanager
async def process(folder: Path, far: FarEnd, port: int) -> AsyncIterator[GatewayProcess]:
    """The gateway as a process of its own, connected or about to be."""
    running = GatewayProcess(folder, far, port)
    await running.start()
    try:
        yield running
    finally:
        await running.stop()


class GatewayProcess:
    """`jabberd gateway example.localhost`.

    Args:
        folder: for its data.
        far: the network.
        port: of the server, for components.
    """

    def __init__(self, folder: Path, far: FarEnd, port: int) -> None:
        self._file = folder / "gateway.toml"
        self._file.write_text(
            f'data = "{folder}/gateway"\n[gateway."{GATEWAY}"]\nnetwork = "example"\n'
            f'port = {far.port}\nserver = "127.0.0.1:{port}"\nsecret = "{SECRET}"\n'
        )
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it; returns when it says that it runs."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "jabberd.cli", "gateway", GATEWAY, "--config", str(self._file),
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert self._process.stdout is not None
        async with asyncio.timeout(WAIT):
            said = await self._process.stdout.readline()
        assert b"connects to" in said, said

    async def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    async def stop(self) -> None:
        """SIGTERM, and wait."""
        if self._process is None or self._process.returncode is not None:
            return
        self._process.terminate()
        async with asyncio.timeout(WAIT):
            assert await self._process.wait() == 0


async def register(
    client: Slix,
    name: str,
    password: str | None = None,
    *,
    manage: bool = True,
    gateway: str = GATEWAY,
) -> None:
    """Register with a gateway by a data form (XEP-0077)."""
    answers = {
        "username": name,
        "password": name if password is None else password,
        "manage-roster": "1" if manage else "0",
    }
    async with asyncio.timeout(WAIT):
        while True:
            try:
                await _ask_to_register(client, gateway, answers)
                return
            except IqError as error:
                if error.iq["error"]["condition"] != "remote-server-timeout":
                    raise
            await asyncio.sleep(0.05)  # a process of its own connects a moment after it began


async def _ask_to_register(client: Slix, gateway: str, answers: dict[str, str]) -> None:
    iq = client.client.make_iq_set(ito=gateway)
    query = ET.SubElement(iq.xml, "{jabber:iq:register}query")
    x = ET.SubElement(query, "{jabber:x:data}x", {"type": "submit"})
    for var, value in answers.items():
        one = ET.SubElement(x, "{jabber:x:data}field", {"var": var})
        ET.SubElement(one, "{jabber:x:data}value").text = value
    await iq.send(timeout=WAIT)


async def approve(client: Slix, whom: str) -> None:
    """Let somebody who asks see the presence, and ask for theirs."""
    await client.event("presence_subscribe", lambda p: p["from"].bare == whom)
    client.client.send_presence(pto=whom, ptype="subscribed")
    client.client.send_presence(pto=whom, ptype="subscribe")


async def join(client: Slix, name: str, *, by_privilege: bool = True) -> None:
    """Register, and be logged in.

    The gateway puts itself into the roster, or asks where it may not.
    """
    await register(client, name)
    if not by_privilege:
        await approve(client, GATEWAY)
    await client.event(
        "presence_available", lambda p: p["from"] == GATEWAY and p["type"] == "available"
    )


async def add(client: Slix, name: str) -> None:
    """Add a contact, and let it see the presence."""
    client.client.send_presence(pto=f"{name}@{GATEWAY}", ptype="subscribe")
    await client.event("presence_subscribed", lambda p: p["from"].bare == f"{name}@{GATEWAY}")
