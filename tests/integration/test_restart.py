"""Sessions and messages outlive the server: stopped, restarted, or killed under its clients."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.integration.managed import SM, Client, body
from tests.integration.process import WAIT, Jabberd, Server
from tests.integration.wire import stream_error
from tests.ports import free_port

pytestmark = pytest.mark.asyncio
CONFIG = """
[listen]
c2s = ["127.0.0.1:{port}"]
c2s_tls = []
http = []
https = []
[host."example.com"]
"""


class Machine:
    """A server that is started again and again, on the same port and the same data."""

    def __init__(self, folder: Path) -> None:
        self.jabberd = Jabberd(folder)
        self.port = free_port()
        self.clients: list[Client] = []
        self.file = folder / "jabberd.toml"
        self.file.write_text(CONFIG.format(port=self.port))
        for name in ("alice", "bob"):
            self.jabberd.out("user", "add", f"{name}@example.com", *self.where, stdin=f"{name}\n")
        self.server = self.start()

    @property
    def where(self) -> tuple[str, ...]:
        return ("--config", str(self.file))

    def start(self) -> Server:
        self.server = self.jabberd.start("run", *self.where)
        return self.server

    def stop(self) -> None:
        """In good order."""
        self.server.kill()

    def kill(self) -> None:
        """As a power failure would, but for the disk's own cache."""
        self.server.signal(signal.SIGKILL)
        self.server.ended()

    async def client(self) -> Client:
        async with asyncio.timeout(WAIT):
            while True:  # as clients do
                try:
                    client = await Client.connect("127.0.0.1", self.port)
                    break
                except ConnectionRefusedError:
                    await asyncio.sleep(0.1)
        self.clients.append(client)
        return client


@pytest_asyncio.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    machine = Machine(tmp_path)
    yield machine
    for client in machine.clients:
        await client.cut()
    machine.stop()


async def broken(client: Client) -> None:
    """The connection breaks; the stream is not closed, so that it can be resumed."""
    assert not (await client.ended()).clean


async def again(machine: Machine, old: Client) -> Client:
    """Come back to a session, which must be there."""
    client = await machine.client()
    resumed = await client.resume(old)
    assert resumed.tag == f"{SM}resumed"
    return client


@pytest.mark.parametrize("how", ["stop", "restart", "kill"])
async def test_clients_resume_after_a_restart_with_nothing_lost_or_doubled(
    machine: Machine, how: str
) -> None:
    alice, bob = await machine.client(), await machine.client()
    await alice.arrive("alice", "desk")
    await bob.arrive("bob", "phone")
    await alice.write("bob@example.com", "one")
    assert body(await bob.stanza()) == "one"
    await alice.write("bob@example.com", "two")
    assert await alice.count() == 3
    # Nobody says to the server that "one" and "two" have arrived, and only "one" has.
    if how == "stop":
        machine.stop()
        machine.start()
    elif how == "restart":
        machine.jabberd.out("restart", *machine.where)
        await broken(alice)
    else:
        machine.kill()
        machine.start()
    alice = await again(machine, alice)
    bob = await again(machine, bob)
    assert body(await bob.stanza()) == "two"
    await alice.write("bob@example.com", "three")
    assert body(await bob.stanza()) == "three"
    await bob.write("alice@example.com", "four")
    assert body(await alice.stanza()) == "four"
    assert await alice.count() == 4
    await bob.nothing()


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_what_was_acknowledged_waits_for_who_was_away(machine: Machine, how: str) -> None:
    alice = await machine.client()
    await alice.arrive("alice", "desk")
    for number in range(20):
        await alice.write("bob@example.com", f"m{number}")
    assert await alice.count() == 21
    if how == "stop":
        machine.stop()
    else:
        machine.kill()
    machine.start()
    bob = await machine.client()
    await bob.arrive("bob", "phone")
    assert [body(await bob.stanza()) for _ in range(20)] == [f"m{n}" for n in range(20)]
    await bob.acknowledge()
    await bob.nothing()
    await bob.close()
    bob = await machine.client()
    await bob.arrive("bob", "phone")
    await bob.nothing()
    await bob.close()


async def test_a_session_that_went_away_before_the_restart_can_come_back(machine: Machine) -> None:
    alice, bob = await machine.client(), await machine.client()
    await alice.arrive("alice", "desk")
    await bob.arrive("bob", "phone")
    await bob.cut()
    for number in range(5):
        await alice.write("bob@example.com", f"m{number}")
    assert await alice.count() == 6
    machine.kill()
    machine.start()
    alice = await again(machine, alice)
    await alice.write("bob@example.com", "m5")
    assert await alice.count() == 7
    machine.kill()
    machine.start()
    bob = await again(machine, bob)
    assert [body(await bob.stanza()) for _ in range(6)] == [f"m{n}" for n in range(6)]
    await bob.acknowledge()
    await bob.nothing()
    await bob.close()


async def test_a_client_without_stream_management_is_told_of_the_shutdown(
    machine: Machine,
) -> None:
    bob = await machine.client()
    await bob.login("bob@example.com", "bob", "phone")
    machine.server.signal(signal.SIGTERM)
    assert stream_error(await bob.next()) == "system-shutdown"
    assert (await bob.ended()).clean
    machine.server.ended()
