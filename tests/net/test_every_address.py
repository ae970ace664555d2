"""`[::]`: every address of the machine, those of IPv4 as well."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_network

import pytest

from jabberd.net.holder import BindError
from jabberd.net.limits import Admission
from jabberd.net.listen import Listener
from jabberd.net.wire import Endpoint

from .kit import Recorder, dial, exactly, on_both_loops, running

to_thread = asyncio.to_thread


def echoed(pair: tuple[str, int], data: bytes) -> bytes:
    """Send, and read as much, or what comes before the end."""
    with dial(pair) as client:
        try:
            client.sendall(data)
            return exactly(client, len(data))
        except ConnectionError:
            return b""


@on_both_loops
async def test_every_address_takes_ipv4_as_well_and_shows_it_plainly() -> None:
    async with running(address="[::]:0", admission=Admission(10, per_source=1)) as server:
        port = server.listener.address.port
        assert server.listener.address == Endpoint("::", port)
        for number, host in enumerate(("127.0.0.1", "::1")):
            with dial((host, port)) as client:
                wire = (await server.machine(number)).wire
                assert wire is not None
                assert wire.peer == Endpoint(*client.getsockname()[:2])
                assert wire.local == Endpoint(host, port)
                assert wire.peer.is_loopback
                # Counted by the plain address: no /64 that all of IPv4 would share.
                assert await to_thread(echoed, (host, port), b"x") == b""


@on_both_loops
async def test_proxy_is_known_by_its_plain_address() -> None:
    async with running(address="[::]:0", proxies=(ip_network("127.0.0.0/8"),)) as server:
        address = ("127.0.0.1", server.listener.address.port)
        with dial(address) as client:
            client.sendall(b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 5222\r\nhello")
            assert await to_thread(exactly, client, 5) == b"hello"
        wire = server.machines[0].wire
        assert wire is not None
        assert wire.peer.host == "192.0.2.7"


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1"])
@on_both_loops
async def test_every_address_is_ipv6_where_we_have_the_port_by_ipv4(host: str) -> None:
    async with running(address=f"{host}:0") as four:
        port = four.listener.address.port
        async with running(address=f"[::]:{port}") as six:
            assert await to_thread(echoed, ("127.0.0.1", port), b"x") == b"x"
            assert await to_thread(echoed, ("::1", port), b"y") == b"y"
            assert [bytes(machine.data) for machine in four.machines] == [b"x"]
            assert [bytes(machine.data) for machine in six.machines] == [b"y"]


HOLD = """
import socket
with socket.create_server(("127.0.0.1", 0)) as listening:
    print(listening.getsockname()[1], flush=True)
    input()
"""


@contextmanager
def stranger() -> Iterator[tuple[int, int]]:
    """Another process that listens by IPv4; its id and port."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process.pid, int(process.stdout.readline())
        process.communicate("", timeout=10)


@on_both_loops
async def test_every_address_is_refused_where_a_stranger_has_the_port_by_ipv4() -> None:
    with stranger() as (process, port), pytest.raises(BindError) as caught:
        Listener(f"[::]:{port}", Recorder).start()
    assert str(caught.value).startswith(f"cannot listen on [::]:{port}: the port is taken by ")
    assert f"(process {process})" in str(caught.value)


@on_both_loops
async def test_a_machine_without_ipv6_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    # AF_UNSPEC is of no kind, which a system without IPv6 says of AF_INET6.
    monkeypatch.setattr(socket, "AF_INET6", socket.AF_UNSPEC)
    with pytest.raises(BindError, match=r"\[::\]:0: this machine has no IPv6; 0\.0\.0\.0 stands"):
        Listener("[::]:0", Recorder).start()
