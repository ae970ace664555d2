"""Walking the way to another server, over real sockets: each step, and where it ends."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from jabberd.core.admin_s2s import Step
from jabberd.edge.peers import Peers, Policy
from jabberd.edge.probe import Ask, Probe
from jabberd.net.dns import Target
from tests.edge.pair import Directory, Server
from tests.net.authority import Authority, Files

pytestmark = pytest.mark.asyncio
HERE, THERE = "example.com", "example.net"
Make = Callable[..., Awaitable[Server]]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest_asyncio.fixture
async def make(tmp_path: Path, authority: Authority) -> AsyncIterator[Make]:
    directory = Directory()
    running: list[Server] = []

    async def begin(domain: str, files: Files | None = None, peers: Peers | None = None) -> Server:
        files = files or authority.sign(domain)
        server = Server(
            tmp_path, directory, domain, certificate=(files.certificate, files.key),
            authorities=authority.file, peers=peers,
        )  # fmt: skip
        await server.start()
        running.append(server)
        return server

    yield begin
    for server in running:
        await server.stop()


async def walk(server: Server, remote: str = THERE) -> Sequence[Step]:
    def ask(domain: str) -> Ask | None:
        return server.world.host.ask if domain == server.domain else None

    return await Probe(server.servers, server.directory, ask).check(server.domain, remote)


async def test_the_whole_way(make: Make) -> None:
    here, there = await make(HERE), await make(THERE)
    steps = {step.name: step for step in await walk(here)}
    assert list(steps) == ["dns", "connect", "tls", "certificate", "authentication", "ping"]
    assert all(step.ok for step in steps.values()), steps
    port = there.listener.address.port
    assert steps["connect"].found == f"127.0.0.1 port {port}"
    assert steps["tls"].found.startswith("TLSv1.3, ")
    assert steps["certificate"].found == f"29 days left, for {THERE}"
    assert steps["authentication"].found == "by EXTERNAL"


async def test_a_certificate_that_nobody_signed_is_told_and_does_not_stop(
    make: Make, authority: Authority
) -> None:
    here = await make(HERE)
    await make(THERE, authority.self_signed(THERE))
    steps = {step.name: step for step in await walk(here)}
    assert steps["certificate"].ok
    assert "signed by nobody whom this server trusts" in steps["certificate"].found
    assert steps["ping"].ok


async def test_a_certificate_of_others_stops_it(make: Make, authority: Authority) -> None:
    here = await make(HERE)
    await make(THERE, authority.sign("chat.example.net"))
    steps = await walk(here)
    assert [(step.name, step.ok) for step in steps] == [
        ("dns", True), ("connect", True), ("tls", True), ("certificate", False),
    ]  # fmt: skip
    assert steps[-1].found == f"{THERE} presents a certificate for chat.example.net"
    assert steps[-1].advice


async def test_a_name_that_does_not_exist(make: Make) -> None:
    (step,) = await walk(await make(HERE), "example.org")
    assert (step.name, step.ok) == ("dns", False)
    assert "does not exist" in step.found
    assert step.advice


async def test_a_port_that_is_closed(make: Make) -> None:
    here = await make(HERE)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        here.directory.places[THERE] = Target("127.0.0.1", closed.getsockname()[1])
        steps = await walk(here)
    assert [(step.name, step.ok) for step in steps] == [("dns", True), ("connect", False)]
    assert "connection refused" in steps[-1].found


async def test_a_server_that_we_do_not_talk_to(make: Make) -> None:
    here = await make(HERE, peers=Peers(peers={THERE: Policy.OFF}))
    await make(THERE)
    (step,) = await walk(here)
    assert (step.name, step.ok) == ("configuration", False)
    assert step.found == f"this server does not talk to {THERE}"


async def test_a_server_that_does_not_talk_to_us(make: Make) -> None:
    here = await make(HERE)
    await make(THERE, peers=Peers(deny=[HERE]))
    last = (await walk(here))[-1]
    assert (last.name, last.ok) == ("authentication", False)
    assert "is on the list of servers" in last.found
