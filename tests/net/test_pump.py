"""The pump over real sockets: plain, and what is the same with TLS."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import ssl
import time
from typing import Any

import pytest
from OpenSSL import SSL

from jabberd.net.tls_session import TlsError

from .kit import (
    Forge,
    Recorder,
    dial,
    exactly,
    on_both_loops,
    open_context,
    running,
    std_context,
    until,
)

to_thread = asyncio.to_thread
BIG = os.urandom(5 << 20)


def talk_big(stream: Any) -> bytes:
    """Send 5 MB and read them back, both at once, on one socket that blocks little."""
    stream.settimeout(0.02)
    view, got = memoryview(BIG), bytearray()
    while len(got) < len(BIG):
        try:
            if view:
                view = view[stream.send(view[:60_000]) :]
        except TimeoutError:
            pass
        try:
            while len(got) < len(BIG) - len(view):
                piece = stream.recv(262_144)
                if not piece:
                    return bytes(got)
                got += piece
                if len(piece) < 16_384:
                    break
        except TimeoutError:
            pass
    return bytes(got)


@on_both_loops
async def test_echo_and_end() -> None:
    async with running() as server:
        client = await to_thread(dial, server.pair)
        client.sendall(b"hello")
        assert await to_thread(exactly, client, 5) == b"hello"
        machine = server.machines[0]
        assert machine.wire is not None
        assert machine.wire.peer.port == client.getsockname()[1]
        assert (machine.wire.local.host, machine.wire.local.port) == server.pair
        assert machine.wire.tls is None
        assert not machine.wire.proxied
        client.close()
        await machine.over.wait()
        assert machine.calls == ["connected", "received", "ended"]
        assert machine.error is None
        machine.wire.write(b"into the void")
        machine.wire.close()
        machine.wire.abort()
        machine.wire.resume()
        assert machine.wire.buffered == 0
    assert machine.calls.count("ended") == 1


@on_both_loops
async def test_writes_of_a_turn_leave_together() -> None:
    async with running(machine=lambda: Recorder(echo=False)) as server:
        client = await to_thread(dial, server.pair)
        wire = (await server.machine()).wire
        assert wire is not None
        wire.write(b"a")
        wire.write(b"b")
        wire.write(b"")
        wire.write(b"c")
        assert wire.buffered == 3
        assert await to_thread(client.recv, 100) == b"abc"
        assert wire.buffered == 0
        client.close()


@on_both_loops
async def test_big_plain() -> None:
    async with running() as server:
        client = await to_thread(dial, server.pair)
        assert await to_thread(talk_big, client) == BIG
        client.close()


@on_both_loops
async def test_big_tls(forge: Forge) -> None:
    async with running(forge.contexts(), direct_tls=True) as server:

        def run() -> bytes:
            with std_context().wrap_socket(dial(server.pair)) as client:
                return talk_big(client)

        assert await to_thread(run) == BIG


@on_both_loops
async def test_starttls(forge: Forge) -> None:
    async with running(forge.contexts()) as server:

        def run() -> tuple[bytes, bytes, str | None]:
            client = dial(server.pair)
            client.sendall(b"STARTTLS")
            proceed = exactly(client, 7)
            with std_context().wrap_socket(client, server_hostname="localhost") as secure:
                secure.sendall(b"hello")
                return proceed, exactly(secure, 5), secure.version()

        assert await to_thread(run) == (b"PROCEED", b"hello", "TLSv1.3")
        machine = server.machines[0]
        await machine.over.wait()
        assert machine.calls == ["connected", "received", "secured", "received", "ended"]
        assert machine.facts is not None
        assert machine.facts.version == "TLSv1.3"
        assert machine.facts.server_name == "localhost"


@on_both_loops
async def test_plain_bytes_after_starttls_are_never_delivered(forge: Forge) -> None:
    async with running(forge.contexts()) as server:
        client = await to_thread(dial, server.pair)
        client.sendall(b"STARTTLS")
        assert await to_thread(exactly, client, 7) == b"PROCEED"
        client.sendall(b"<presence/>" * 20)
        machine = server.machines[0]
        await to_thread(exactly, client, 1000)
        client.close()
        await machine.over.wait()
        assert isinstance(machine.error, TlsError)
        assert bytes(machine.data) == b"STARTTLS"
        assert machine.calls == ["connected", "received", "ended"]


@on_both_loops
async def test_starttls_twice_is_a_fault_of_ours(forge: Forge) -> None:
    async with running(forge.contexts(), direct_tls=True) as server:

        def run() -> bytes:
            with std_context().wrap_socket(dial(server.pair)) as client:
                client.sendall(b"STARTTLS")
                try:
                    return exactly(client, 100)
                except (ssl.SSLError, OSError):
                    return b""

        await to_thread(run)
        assert [str(bug) for bug in server.bugs] != []


@on_both_loops
async def test_half_open_handshake_meets_its_deadline(forge: Forge) -> None:
    async with running(forge.contexts(), direct_tls=True, handshake_seconds=0.2) as server:
        client = await to_thread(dial, server.pair)
        client.sendall(b"\x16\x03\x01\x02\x00")
        with contextlib.suppress(ConnectionResetError):  # or an orderly end
            assert await to_thread(client.recv, 10) == b""
        client.close()
        await until(lambda: not server.listener.pumps)
        assert server.machines == []


@on_both_loops
async def test_half_open_starttls_ends_the_machine(forge: Forge) -> None:
    async with running(forge.contexts(), handshake_seconds=0.2) as server:
        client = await to_thread(dial, server.pair)
        client.sendall(b"STARTTLS")
        machine = await server.machine()
        await machine.over.wait()
        assert isinstance(machine.error, TimeoutError)
        client.close()


@on_both_loops
async def test_close_says_the_last_words_to_a_peer_that_still_sends(forge: Forge) -> None:
    async with running() as server:

        def run() -> bytes:
            client = dial(server.pair)
            client.sendall(b"CLOSE")
            time.sleep(0.05)
            client.sendall(b"x" * 3_000_000)
            said = exactly(client, 100)
            client.close()
            return said

        assert await to_thread(run) == b"BYE"
        machine = server.machines[0]
        await machine.over.wait()
        assert bytes(machine.data) == b"CLOSE"
        assert machine.calls == ["connected", "received", "ended"]


@on_both_loops
async def test_discarding_after_a_close_has_an_end() -> None:
    async with running(close_seconds=60) as server:

        def run() -> None:
            client = dial(server.pair)
            client.sendall(b"CLOSE")
            assert exactly(client, 3) == b"BYE"
            with contextlib.suppress(ConnectionError):
                for _ in range(400):
                    client.sendall(b"x" * 100_000)
            client.close()

        begin = time.monotonic()
        await to_thread(run)
        await server.machines[0].over.wait()
        assert time.monotonic() - begin < 20
        assert bytes(server.machines[0].data) == b"CLOSE"


@on_both_loops
async def test_close_over_tls_says_close_notify(forge: Forge) -> None:
    async with running(forge.contexts(), direct_tls=True) as server:

        def run() -> bytes:
            context = std_context()
            with context.wrap_socket(dial(server.pair), suppress_ragged_eofs=False) as client:
                client.sendall(b"CLOSE")
                return exactly(client, 100)

        assert await to_thread(run) == b"BYE"
        await server.machines[0].over.wait()


@on_both_loops
async def test_closed_connection_is_aborted_in_the_end() -> None:
    async with running(close_seconds=0.2) as server:
        client = await to_thread(dial, server.pair)
        client.sendall(b"CLOSE")
        machine = await server.machine()
        await machine.over.wait()  # though the client never closes
        client.close()


@on_both_loops
async def test_close_notify_of_the_peer_ends(forge: Forge) -> None:
    async with running(forge.contexts(), direct_tls=True) as server:

        def run() -> bytes:
            client = std_context().wrap_socket(dial(server.pair))
            client.sendall(b"last")
            exactly(client, 4)
            plain = client.unwrap()  # waits for the server's close_notify
            rest = plain.recv(10)
            plain.close()
            return rest

        assert await to_thread(run) == b""
        machine = server.machines[0]
        await machine.over.wait()
        assert bytes(machine.data) == b"last"
        assert machine.error is None


@on_both_loops
async def test_truncated_tls_ends(forge: Forge) -> None:
    async with running(forge.contexts(), direct_tls=True) as server:

        def run() -> None:
            client = std_context().wrap_socket(dial(server.pair))
            client.sendall(b"last")
            exactly(client, 4)
            socket.socket(fileno=client.detach()).close()

        await to_thread(run)
        machine = server.machines[0]
        await machine.over.wait()
        assert machine.calls.count("ended") == 1


@on_both_loops
async def test_tampered_record_ends_with_an_error(forge: Forge) -> None:
    async with running(forge.contexts(), direct_tls=True) as server:

        def run() -> None:
            client = std_context().wrap_socket(dial(server.pair))
            bare = socket.socket(fileno=client.detach())
            bare.settimeout(10)
            bare.sendall(b"\x17\x03\x03\x00\x20" + b"x" * 32)
            exactly(bare, 10_000)
            bare.close()

        await to_thread(run)
        machine = server.machines[0]
        await machine.over.wait()
        assert isinstance(machine.error, TlsError)
        assert "received" not in machine.calls


@on_both_loops
async def test_back_pressure() -> None:
    async with running(
        machine=lambda: Recorder(echo=False), high_water=100_000, low_water=10_000
    ) as server:
        client = await to_thread(dial, server.pair)
        machine = await server.machine()
        wire = machine.wire
        assert wire is not None
        wire.write(b"little")
        await asyncio.sleep(0.02)
        assert not machine.drains.is_set()
        total = 6
        while wire.buffered <= 1_000_000:
            wire.write(b"x" * 100_000)
            total += 100_000
            await asyncio.sleep(0)
        assert not machine.drains.is_set()
        reading = asyncio.create_task(to_thread(exactly, client, total))
        await machine.drains.wait()
        assert wire.buffered <= 10_000
        assert len(await reading) == total
        assert machine.calls.count("drained") == 1
        client.close()


@on_both_loops
async def test_drained_also_when_the_system_takes_all_at_once() -> None:
    async with running(
        machine=lambda: Recorder(echo=False), high_water=1000, low_water=100
    ) as server:
        client = await to_thread(dial, server.pair)
        machine = await server.machine()
        assert machine.wire is not None
        machine.wire.write(b"x" * 5000)
        await machine.drains.wait()
        assert len(await to_thread(exactly, client, 5000)) == 5000
        client.close()


@on_both_loops
async def test_pause_and_resume(forge: Forge) -> None:
    async with running() as server:
        client = await to_thread(dial, server.pair)
        machine = await server.machine()
        assert machine.wire is not None
        machine.wire.pause()
        machine.wire.pause()
        client.sendall(b"hello")
        await asyncio.sleep(0.05)
        assert machine.calls == ["connected"]
        machine.wire.resume()
        assert await to_thread(exactly, client, 5) == b"hello"
        client.close()


class Pauser(Recorder):
    """Pauses as soon as it is told that the connection is there."""

    def connected(self, wire: Any) -> None:
        super().connected(wire)
        wire.pause()


@on_both_loops
async def test_pause_holds_what_came_with_the_handshake(forge: Forge) -> None:
    async with running(forge.contexts(), direct_tls=True, machine=Pauser) as server:

        def run() -> socket.socket:
            """Send the client's Finished and the first data in one segment."""
            sock = dial(server.pair)
            client = SSL.Connection(open_context(), None)
            client.set_connect_state()
            while True:
                try:
                    client.do_handshake()
                    break
                except SSL.WantReadError:
                    sock.sendall(client.bio_read(65536))
                    client.bio_write(sock.recv(65536))
            client.send(b"early")
            client.send(b"bird")
            sock.sendall(client.bio_read(65536))
            return sock

        sock = await to_thread(run)
        machine = await server.machine()
        await asyncio.sleep(0.05)
        assert machine.calls == ["connected"]
        assert machine.wire is not None
        machine.wire.resume()
        await until(lambda: bytes(machine.data) == b"earlybird")
        sock.close()


@on_both_loops
async def test_rate_limit_slows_and_loses_nothing() -> None:
    async with running(rate=200_000, burst=20_000, machine=lambda: Recorder(echo=False)) as server:
        payload = os.urandom(100_000)
        client = await to_thread(dial, server.pair)
        begin = time.monotonic()
        await to_thread(client.sendall, payload)
        machine = await server.machine()
        client.shutdown(socket.SHUT_WR)
        await machine.over.wait()
        assert bytes(machine.data) == payload
        client.close()
        assert time.monotonic() - begin < 20


@on_both_loops
async def test_rate_limit_delays() -> None:
    async with running(rate=100_000, burst=1000) as server:
        client = await to_thread(dial, server.pair)
        begin = time.monotonic()
        client.sendall(b"x" * 31_000)
        await to_thread(exactly, client, 31_000)
        client.sendall(b"y")
        assert await to_thread(exactly, client, 1) == b"y"
        assert time.monotonic() - begin >= 0.28
        client.close()


@pytest.mark.parametrize("where", ["connected", "received", "ended"])
@on_both_loops
async def test_bug_in_the_machine_ends_only_its_connection(where: str) -> None:
    made: list[Recorder] = []

    def machine() -> Recorder:
        made.append(Recorder(fail_on=where if not made else None))
        return made[-1]

    async with running(machine=machine) as server:
        first = await to_thread(dial, server.pair)
        first.sendall(b"hello")
        if where == "ended":
            await to_thread(exactly, first, 5)
            first.close()
        await (await server.machine()).over.wait()
        await until(lambda: bool(server.bugs))
        first.close()
        second = await to_thread(dial, server.pair)
        second.sendall(b"hello")
        assert await to_thread(exactly, second, 5) == b"hello"
        second.close()
        assert [str(bug) for bug in server.bugs] == [where]
        assert made[0].calls.count("ended") == 1


@on_both_loops
async def test_nothing_waits_for_the_garbage_collector(forge: Forge) -> None:
    """OpenSSL's objects are freed with the connection, also of handshakes that failed."""
    contexts = forge.contexts(forge.host("localhost", client_ca=True))
    async with running(contexts, direct_tls=True, handshake_seconds=0.2) as server:

        def whole() -> None:
            with std_context().wrap_socket(dial(server.pair), server_hostname="localhost") as one:
                one.sendall(b"x")
                exactly(one, 1)

        def broken(data: bytes) -> None:
            with dial(server.pair) as one, contextlib.suppress(ConnectionError):
                one.sendall(data)
                exactly(one, 1000)

        await to_thread(whole)
        gc.collect()
        gc.disable()
        try:
            before = len(SSL.Connection._reverse_mapping)
            for _ in range(3):
                await to_thread(whole)
                await to_thread(broken, b"\x16\x03\x01\x00\x05")
                await to_thread(broken, b"GET / HTTP/1.1")
            server.machines.clear()
            await until(lambda: len(SSL.Connection._reverse_mapping) <= before)
        finally:
            gc.enable()


@on_both_loops
async def test_abort() -> None:
    async with running() as server:
        client = await to_thread(dial, server.pair)
        machine = await server.machine()
        assert machine.wire is not None
        machine.wire.write(b"never seen")
        machine.wire.abort()
        await machine.over.wait()
        assert await to_thread(client.recv, 100) == b""
        client.close()
