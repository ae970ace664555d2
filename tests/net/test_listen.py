"""The listener: limits, PROXY headers, running out of descriptors, a port that is taken."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
import subprocess
import sys
import textwrap
from ipaddress import ip_network
from pathlib import Path

import pytest

from jabberd.net.holder import BindError, who_listens
from jabberd.net.limits import Admission
from jabberd.net.listen import Listener, parse_address, parse_network
from jabberd.net.proxy import parse as parse_proxy
from jabberd.net.wire import Endpoint, plain_host

from .kit import Forge, Recorder, dial, exactly, on_both_loops, running, std_context, until

to_thread = asyncio.to_thread
NAME = Path("/proc/self/comm").read_text().strip()
LOCAL = (ip_network("127.0.0.0/8"),)


def ask(pair: tuple[str, int], data: bytes) -> bytes:
    """Send, and read what comes within a moment or before the end."""
    with dial(pair) as client:
        client.settimeout(0.5)
        try:
            client.sendall(data)
            return client.recv(1000)
        except (TimeoutError, ConnectionError):
            return b""


@on_both_loops
async def test_ipv6_and_its_endpoint() -> None:
    async with running(address="[::1]:0") as server:
        assert server.listener.address.port > 0
        assert await to_thread(ask, server.pair, b"hello") == b"hello"
        wire = server.machines[0].wire
        assert wire is not None
        assert wire.peer.host == "::1"


@on_both_loops
async def test_cap_per_source_and_total() -> None:
    async with running(admission=Admission(total=3, per_source=2)) as server:
        kept = [await to_thread(dial, server.pair) for _ in range(2)]
        for client in kept:
            client.sendall(b"x")
            assert await to_thread(exactly, client, 1) == b"x"
        assert await to_thread(ask, server.pair, b"x") == b""
        kept[0].close()
        await until(lambda: server.admission.open == 1)
        assert await to_thread(ask, server.pair, b"x") == b"x"
        kept[1].close()


@on_both_loops
async def test_total_is_shared_by_listeners() -> None:
    admission = Admission(total=1, per_source=10)
    async with (
        running(admission=admission) as one,
        running(admission=admission) as two,
    ):
        client = await to_thread(dial, one.pair)
        await one.machine()
        assert await to_thread(ask, two.pair, b"x") == b""
        client.close()
        await until(lambda: admission.open == 0)
        assert await to_thread(ask, two.pair, b"x") == b"x"
        await until(lambda: admission.open == 0)


V1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 5222\r\n"
FOUR = ("192.0.2.7", "198.51.100.1")
V2 = (
    b"\r\n\r\n\x00\r\nQUIT\n\x21\x21"
    + struct.pack(">H", 36 + 4)
    + socket.inet_pton(socket.AF_INET6, "2001:db8::7")
    + socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    + struct.pack(">HH", 56324, 5223)
    + b"\x04\x00\x01x"
)


@pytest.mark.parametrize(
    ("header", "peer", "local"),
    [
        (V1, Endpoint("192.0.2.7", 56324), Endpoint("198.51.100.1", 5222)),
        (V2, Endpoint("2001:db8::7", 56324), Endpoint("2001:db8::1", 5223)),
    ],
)
@on_both_loops
async def test_proxy_header(header: bytes, peer: Endpoint, local: Endpoint) -> None:
    async with running(proxies=LOCAL) as server:
        assert await to_thread(ask, server.pair, header + b"hello") == b"hello"

        def slowly() -> bytes:
            with dial(server.pair) as client:
                for byte in header + b"hi":
                    client.sendall(bytes([byte]))
                return exactly(client, 2)

        assert await to_thread(slowly) == b"hi"
        for machine in server.machines:
            assert machine.wire is not None
            assert machine.wire.proxied
            assert machine.wire.peer == peer
            assert machine.wire.local == local


@pytest.mark.parametrize(
    "header", [b"PROXY UNKNOWN\r\n", b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"]
)
@on_both_loops
async def test_proxy_that_speaks_for_itself(header: bytes) -> None:
    async with running(proxies=LOCAL) as server:
        assert await to_thread(ask, server.pair, header + b"hello") == b"hello"
        wire = server.machines[0].wire
        assert wire is not None
        assert wire.proxied
        assert wire.peer.host == "127.0.0.1"


@on_both_loops
async def test_proxy_header_before_direct_tls(forge: Forge) -> None:
    async with running(forge.contexts(), proxies=LOCAL, direct_tls=True) as server:

        def run() -> bytes:
            sock = dial(server.pair)
            sock.sendall(V1)
            with std_context().wrap_socket(sock) as client:
                client.sendall(b"hello")
                return exactly(client, 5)

        assert await to_thread(run) == b"hello"
        wire = server.machines[0].wire
        assert wire is not None
        assert wire.peer.host == "192.0.2.7"


@pytest.mark.parametrize(
    "data",
    [
        b"<stream:stream>",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 56324\r\nhello",
        b"PROXY TCP4 192.0.2.777 198.51.100.1 1 2\r\nhello",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 1 65536\r\nhello",
        b"PROXY TCP6 192.0.2.7 198.51.100.1 1 2\r\nhello",
        b"PROXY " + b"x" * 200,
        V2[:12] + b"\x31" + V2[13:],
        V2[:14] + b"\x00\x04" + V2[16:],
        V2[:14] + b"\xff\xff" + V2[16:],
    ],
)
@on_both_loops
async def test_bad_proxy_header_is_not_served(data: bytes) -> None:
    async with running(proxies=LOCAL) as server:
        assert await to_thread(ask, server.pair, data) == b""
        await until(lambda: not server.listener.pumps)
        assert server.machines == []


@on_both_loops
async def test_proxy_header_has_a_deadline() -> None:
    async with running(proxies=LOCAL, proxy_seconds=0.1) as server:
        client = await to_thread(dial, server.pair)
        client.sendall(b"PROXY TCP4 ")
        await until(lambda: server.admission.open == 1)
        await until(lambda: server.admission.open == 0)
        assert server.machines == []
        client.close()


@on_both_loops
async def test_header_from_others_is_only_bytes() -> None:
    async with running(proxies=(ip_network("192.0.2.0/24"),)) as server:
        assert await to_thread(ask, server.pair, V1) == V1
        wire = server.machines[0].wire
        assert wire is not None
        assert not wire.proxied
        assert wire.peer.host == "127.0.0.1"


@on_both_loops
async def test_cap_counts_whom_the_proxy_named() -> None:
    async with running(proxies=LOCAL, admission=Admission(10, per_source=1)) as server:
        first = await to_thread(dial, server.pair)
        first.sendall(V1 + b"x")
        assert await to_thread(exactly, first, 1) == b"x"
        assert await to_thread(ask, server.pair, V1 + b"x") == b""
        assert await to_thread(ask, server.pair, V2 + b"x") == b"x"
        first.close()


@on_both_loops
async def test_stop_closes_all_and_aborts_the_slow() -> None:
    async with running(close_seconds=30) as server:
        good = await to_thread(dial, server.pair)
        stubborn = await to_thread(dial, server.pair)
        await server.machine(1)
        stopping = asyncio.create_task(server.listener.stop(0.3))
        assert await to_thread(good.recv, 10) == b""
        good.close()
        await stopping
        assert not server.listener.pumps
        assert all(machine.calls[-1] == "ended" for machine in server.machines)
        with pytest.raises(ConnectionRefusedError):
            await to_thread(dial, server.pair)
        stubborn.close()


@on_both_loops
async def test_taken_port_says_by_whom() -> None:
    async with running() as server:
        second = Listener(server.listener.address, Recorder)
        with pytest.raises(BindError) as caught:
            second.start()
        host, port = server.pair
        assert caught.value.errno == errno.EADDRINUSE
        assert (caught.value.host, caught.value.port) == server.pair
        assert str(caught.value) == (
            f"cannot listen on {host}:{port}: the port is taken by {NAME} (process {os.getpid()})"
        )


def test_holder_of_ipv6_and_of_nothing() -> None:
    with socket.socket(socket.AF_INET6) as listening:
        listening.bind(("::1", 0))
        port = listening.getsockname()[1]
        assert who_listens("::1", port) is None
        listening.listen()
        assert f"(process {os.getpid()})" in (who_listens("::1", port) or "")


@on_both_loops
async def test_bugs_are_logged_where_nobody_else_wants_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.clear()
    machine = Recorder(fail_on="received")
    listener = Listener("127.0.0.1:0", lambda: machine)
    listener.start()
    address = (listener.address.host, listener.address.port)
    assert await to_thread(ask, address, b"hello") == b""
    await machine.over.wait()
    await listener.stop()
    assert [record.levelname for record in caplog.records] == ["ERROR"]


@on_both_loops
async def test_address_of_another_machine() -> None:
    with pytest.raises(BindError, match=r"192\.0\.2\.1:0: this machine has no such address"):
        Listener("192.0.2.1:0", Recorder).start()


def test_permission_denied_is_said_in_words() -> None:
    error = BindError("::1", 80, PermissionError(errno.EACCES, "Permission denied"))
    assert "[::1]:80: permission denied" in str(error)


def test_addresses() -> None:
    assert parse_address("127.0.0.1:5222") == Endpoint("127.0.0.1", 5222)
    assert parse_address("[::]:0") == Endpoint("::", 0)
    for bad in ("5222", "localhost:5222", "::1:5222", "[127.0.0.1]:1", "1.2.3.4:65536", "[::1]:"):
        with pytest.raises(ValueError, match="is not an address and port"):
            parse_address(bad)
    assert parse_network("10.0.0.1") == ip_network("10.0.0.1/32")
    with pytest.raises(ValueError, match="host bits set"):
        parse_network("10.0.0.1/8")


@pytest.mark.parametrize(
    ("host", "plain"),
    [
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::ffff:c000:201", "192.0.2.1"),
        ("::ffff:0:1", "0.0.0.1"),
        ("fe80::1%eth0", "fe80::1"),
        ("::ffff", "::ffff"),
        ("::1", "::1"),
        ("192.0.2.1", "192.0.2.1"),
    ],
)
def test_plain_hosts(host: str, plain: str) -> None:
    assert plain_host(host) == plain


def test_mapped_addresses_in_a_proxy_header_are_plain() -> None:
    v1 = parse_proxy(b"PROXY TCP6 ::ffff:192.0.2.7 ::ffff:c633:6401 56324 5222\r\n")
    mapped = [socket.inet_pton(socket.AF_INET6, f"::ffff:{end}") for end in FOUR]
    v2 = parse_proxy(V2[:14] + b"\x00\x24" + b"".join(mapped) + V2[48:52])
    for header, ports in ((v1, (56324, 5222)), (v2, (56324, 5223))):
        assert header is not None
        assert (header.peer, header.local) == tuple(map(Endpoint, FOUR, ports))


def test_endpoints() -> None:
    assert Endpoint("127.8.0.1", 1).is_loopback
    assert Endpoint("::1", 1).is_loopback
    assert Endpoint("::ffff:127.0.0.1", 1).is_loopback
    assert not Endpoint("::ffff:192.0.2.1", 1).is_loopback
    assert not Endpoint("2001:db8::1", 1).is_loopback
    assert Endpoint("192.0.2.1", 1).source == "192.0.2.1"
    assert Endpoint("::ffff:192.0.2.1", 1).source == "192.0.2.1"
    assert Endpoint("2001:db8:1:2:3:4:5:6", 1).source == "2001:db8:1:2::/64"
    assert Endpoint("2001:db8:1:2::9", 7).source == "2001:db8:1:2::/64"


DESCRIPTORS = textwrap.dedent("""
    import asyncio, logging, resource, socket, sys, time
    import uvloop
    from jabberd.net.listen import Listener

    class Echo:
        def connected(self, wire): self.wire = wire
        def received(self, data): self.wire.write(data)
        def secured(self): pass
        def ended(self, error): pass
        def drained(self): pass

    async def main():
        logged = []
        class Keep(logging.Handler):
            def emit(self, record): logged.append(record.getMessage())
        logging.getLogger("jabberd.net.listen").addHandler(Keep())
        listener = Listener("127.0.0.1:0", Echo)
        listener.start()
        pair = (listener.address.host, listener.address.port)
        clients = [socket.create_connection(pair) for _ in range(20)]
        while len(listener.pumps) < 20:
            await asyncio.sleep(0.01)
        # From here the server can open nothing: the clients' own descriptors are there already.
        late = socket.socket()
        resource.setrlimit(resource.RLIMIT_NOFILE, (late.fileno() + 1, 4096))
        late.connect(pair)
        begin = time.process_time()
        await asyncio.sleep(2.2)
        burnt = time.process_time() - begin
        assert len(listener.pumps) == 20, len(listener.pumps)
        assert burnt < 0.3, burnt
        assert len(logged) == 1, logged
        clients[0].sendall(b"x")
        await asyncio.sleep(0.1)
        assert clients[0].recv(1) == b"x"
        for client in clients[10:]:
            client.close()
        late.sendall(b"y")
        late.setblocking(False)
        assert await asyncio.get_running_loop().sock_recv(late, 1) == b"y"
        assert len(logged) == 2, logged
        print(round(burnt, 3))
        late.close()
        for client in clients[:10]:
            client.close()
        await listener.stop(1)

    with asyncio.Runner(loop_factory=getattr({"asyncio": asyncio, "uvloop": uvloop}[sys.argv[1]],
                                             "new_event_loop")) as runner:
        runner.run(main())
""")


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_out_of_descriptors_pauses_without_spinning(loop: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DESCRIPTORS, loop],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 0.3
