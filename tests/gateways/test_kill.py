"""Gateway, server and far end are killed under load: what was acknowledged arrives, once."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from tests.client.prosody import Prosody
from tests.gateways.place import (
    GATEWAY,
    Person,
    beside_jabberd,
    beside_prosody,
    far_end,
    join,
    place,
)
from tests.integration.managed import REQUEST, SM, Client, body
from tests.integration.process import Jabberd
from tests.integration.slix import WAIT, Slix
from tests.integration.wire import CLIENT, StreamEnd
from tests.ports import free_port

pytestmark = pytest.mark.asyncio
MESSAGES = 150
ROMEO = f"romeo@{GATEWAY}"


async def heard(person: Person, last: str) -> list[str]:
    """What somebody on the network hears, up to a certain message."""
    texts: list[str] = []
    while last not in texts[-1:]:
        texts.append((await person.happened("message"))["text"])
    return texts


async def say(client: Slix, to: str, texts: Sequence[str]) -> None:
    """Say these, a few at a time."""
    for text in texts:
        client.write(to, text)
        await asyncio.sleep(0.002)


async def answer(person: Person, texts: Sequence[str]) -> None:
    """Say these on the network, each when it has the one before."""
    for text in texts:
        await person.line.ask("send", to="Juliet", id=f"a{text}", text=text)


async def read(client: Slix, last: str) -> list[str]:
    """What a client reads, up to a certain message; what the gateway itself says is left out."""
    texts: list[str] = []
    while last not in texts[-1:]:
        message = await client.event("message", lambda m: m["body"])
        if message["from"].bare != GATEWAY:
            texts.append(message["body"])
    return texts


async def test_the_gateway_is_killed_beside_jabberd(tmp_path: Path) -> None:
    texts = [str(number) for number in range(MESSAGES)]
    async with beside_jabberd(tmp_path) as here:
        romeo, juliet = await here.person("romeo"), await here.client()
        await join(juliet, "Juliet")
        assert here.gateway is not None
        talking = asyncio.gather(say(juliet, ROMEO, texts), answer(romeo, texts))
        for _ in range(2):
            await asyncio.sleep(0.1)
            await here.gateway.kill()
            await here.gateway.start()
        await talking
        assert await heard(romeo, texts[-1]) == texts
        assert await read(juliet, texts[-1]) == texts


async def test_the_gateway_is_killed_beside_prosody(tmp_path: Path) -> None:
    """XEP-0114 acknowledges nothing: what is on the line at that moment can be lost, once.

    What Prosody has written and the gateway has not stored is gone. Everything else arrives, or
    comes back to its sender.
    """
    if why := Prosody.missing():
        pytest.skip(why)
    async with beside_prosody(tmp_path) as here:
        romeo, juliet = await here.person("romeo"), await here.client()
        await join(juliet, "Juliet", by_privilege=False)
        assert here.gateway is not None
        before = [f"before {number}" for number in range(20)]
        await say(juliet, ROMEO, before)
        assert await heard(romeo, before[-1]) == before
        juliet.forget("presence_available")
        flying = [f"flying {number}" for number in range(20)]
        await say(juliet, ROMEO, flying[:10])
        await here.gateway.kill()
        await say(juliet, ROMEO, flying[10:])
        await here.gateway.start()
        await juliet.event("presence_available", lambda p: p["from"] == GATEWAY)
        after = [f"after {number}" for number in range(20)]
        await say(juliet, ROMEO, after)
        arrived = await heard(romeo, after[-1])
        assert arrived[-20:] == after
        came = arrived[:-20]
        assert came == [text for text in flying if text in came]  # in order, none twice
        # What was said while no gateway was there came back.
        returned = len(juliet.seen("message_error"))
        lost = len(flying) - len(came) - returned
        assert 0 <= lost <= 10


class FarProcess:
    """The far end as a process, which is killed, with a file."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "world.json"
        self.port = free_port()
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "jabberd.gateways.example.server",
            "--port", str(self.port), "--file", str(self._file),
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert self._process.stdout is not None
        async with asyncio.timeout(WAIT):
            assert b"is on port" in await self._process.stdout.readline()

    async def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        await self._process.wait()


@pytest_asyncio.fixture
async def far(tmp_path: Path) -> AsyncIterator[FarProcess]:
    process = FarProcess(tmp_path)
    await process.start()
    yield process
    await process.kill()


async def test_the_far_end_is_killed(far: FarProcess) -> None:
    texts = [str(number) for number in range(MESSAGES)]
    async with place(port=far.port) as here:
        juliet = await here.client()
        await join(juliet, "Juliet")
        talking = asyncio.create_task(say(juliet, ROMEO, texts))
        romeo = await Person.log_in(far.port, "romeo")
        await asyncio.sleep(0.1)
        await romeo.close()
        await far.kill()
        await far.start()
        await talking
        romeo = await Person.log_in(far.port, "romeo")
        try:
            there = await heard(romeo, texts[-1])
            # He may have read some before; none comes twice, and none is missing.
            assert there == texts[-len(there) :]
            await answer(romeo, texts)
            assert await read(juliet, texts[-1]) == texts
        finally:
            await romeo.close()


class Juliet:
    """A user with stream management, whose server is killed.

    Attributes:
        read: texts that came.
        written: texts that were sent.
        acknowledged: how many of them the server has taken responsibility for.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._client: Client | None = None
        self.read: list[str] = []
        self.written: list[str] = []
        self.acknowledged = 0
        self._before = 0
        self._entries: set[str | None] = set()

    @property
    def client(self) -> Client:
        assert self._client is not None
        return self._client

    async def arrive(self) -> None:
        """Log in; what was not acknowledged is not said again."""
        if self._client is not None:
            await self._client.cut()
        self._client = await Client.connect("127.0.0.1", self._port)
        await self._client.arrive("juliet", "one")
        self._before = len(self.written)

    async def say(self, text: str) -> None:
        await self.client.write(ROMEO_HERE, text)
        self.written.append(text)

    async def settle(self) -> None:
        """Ask what has been taken."""
        await self.client.send(REQUEST)
        while not await self._next():
            pass

    async def hear(self, last: str) -> None:
        """Read up to a certain message."""
        while last not in self.read[-1:]:
            await self._next()

    async def _next(self) -> bool:
        found = await self.client.next()
        if found.tag == f"{SM}a":
            self.acknowledged = self._before + int(found.get("h", "")) - self._others
            return True
        if found.tag == f"{CLIENT}message" and ROMEO_HERE in (found.get("from") or ""):
            # What a client has not acknowledged in time it gets again: it is the same entry.
            entry = found.find("{urn:xmpp:sid:0}stanza-id")
            assert entry is not None
            if entry.get("id") not in self._entries:
                self.read.append(body(found))
            self._entries.add(entry.get("id"))
        if found.tag.startswith(CLIENT):
            self.client.handled += 1
            await self.client.acknowledge()
        return False

    _others = 1
    """Stanzas before the messages: the presence."""


async def test_the_server_with_its_gateway_is_killed(tmp_path: Path) -> None:
    async with far_end() as far:
        jabberd = Jabberd(tmp_path)
        port = free_port()
        file = tmp_path / "jabberd.toml"
        file.write_text(
            f'[listen]\nc2s = ["127.0.0.1:{port}"]\nc2s_tls = []\nhttp = []\nhttps = []\n'
            '[host."example.com"]\n'
            f'[gateway."gw.example.com"]\nnetwork = "example"\nport = {far.port}\n'
        )
        where = ("--config", str(file))
        jabberd.out("user", "add", "juliet@example.com", *where, stdin="juliet\n")
        server = jabberd.start("run", *where)
        romeo = await Person.log_in(far.port, "romeo")
        juliet = Juliet(port)
        try:
            await juliet.arrive()
            await juliet.client.send(REGISTER)
            await juliet.settle()
            answering = asyncio.create_task(answer(romeo, [str(n) for n in range(MESSAGES)]))
            taken: list[str] = []
            for turn in range(3):
                await juliet.arrive()
                with contextlib.suppress(StreamEnd, OSError):
                    for number in range(20):
                        await juliet.say(f"{turn}-{number}")
                        if number == 10:
                            await juliet.settle()
                            taken += juliet.written[juliet.acknowledged - 11 : juliet.acknowledged]
                server.signal(signal.SIGKILL)
                server.ended()
                server = jabberd.start("run", *where)
            await answering
            await juliet.arrive()
            await juliet.hear(str(MESSAGES - 1))
            await juliet.say("end")
            there = await heard(romeo, "end")
            assert len(taken) == 33
            assert [text for text in taken if text not in there] == []
            assert len(there) == len(set(there))
            assert sorted(juliet.read, key=int) == [str(number) for number in range(MESSAGES)]
            await juliet.client.cut()
        finally:
            await romeo.close()
            server.kill()


ROMEO_HERE = "romeo@gw.example.com"
REGISTER = (
    "<iq type='set' id='register' to='gw.example.com'><query xmlns='jabber:iq:register'>"
    "<username>Juliet</username><password>Juliet</password></query></iq>"
)
