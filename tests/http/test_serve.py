"""HTTP connections: deadlines, proxies, the end, and certificates."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

import jabberd
from jabberd.config import ConfigError, StartError, load
from jabberd.http.app import make_app
from jabberd.http.serve import HttpServer
from jabberd.http.wire import WATER, Deadlines
from jabberd.net.certs import make_self_signed
from jabberd.net.listen import Listener, ListenOptions
from jabberd.net.owner import PumpOptions
from tests.http.kit import WAIT, House, Raw

pytestmark = pytest.mark.asyncio
GET = b"GET /who HTTP/1.1\r\nHost: x\r\n"


async def _who(request: Request) -> Response:
    client = request.client
    return PlainTextResponse(f"{client.host if client else '-'} {request.url.scheme}")


async def _endless(_request: Request) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 65_536
            await asyncio.sleep(0)

    return StreamingResponse(pieces())


async def _broken(_request: Request) -> Response:
    raise RuntimeError("a fault")


@asynccontextmanager
async def serving(
    deadlines: Deadlines | None = None, *, proxies: tuple[str, ...] = ()
) -> AsyncIterator[tuple[HttpServer, Listener]]:
    routes = [Route("/who", _who), Route("/endless", _endless), Route("/broken", _broken)]
    server = HttpServer(make_app(routes), deadlines)
    pump = PumpOptions(high_water=WATER, low_water=WATER)
    listener = Listener("127.0.0.1:0", server.machines(proxies), ListenOptions(pump))
    listener.start()
    try:
        yield server, listener
    finally:
        await server.stop(0.1)
        await listener.stop(0.1)


async def _gone(listener: Listener) -> None:
    async with asyncio.timeout(WAIT):
        while listener.pumps:  # noqa: ASYNC110 -- the listener tells nobody
            await asyncio.sleep(0.01)


async def _ask(listener: Listener, *headers: bytes) -> bytes:
    lines = b"".join(header + b"\r\n" for header in (*headers, b"Connection: close"))
    return await (await Raw.open(listener.address.port, GET + lines + b"\r\n")).rest()


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET /who HT", GET + b"\r\nGET /who", b"POST /who HTTP/1.1\r\nHost: x\r\n"],
)
async def test_a_head_that_does_not_come(sent: bytes) -> None:
    async with serving(Deadlines(head=0.1)) as (_, listener):
        connection = await Raw.open(listener.address.port, sent)
        await connection.rest()
        await _gone(listener)


async def test_a_body_that_nobody_wants_does_not_hold_a_connection() -> None:
    async with serving(Deadlines(head=0.1)) as (_, listener):
        head = b"POST /who HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nx"
        connection = await Raw.open(listener.address.port, head)
        assert b" 405 " in await connection.rest()
        await _gone(listener)


async def test_who_takes_nothing_is_given_up() -> None:
    async with serving(Deadlines(stalled=0.1)) as (server, listener):
        request = b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n"
        with socket.create_connection(("127.0.0.1", listener.address.port)) as silent:
            silent.sendall(request)
            await asyncio.sleep(0)
            await _gone(listener)
        async with asyncio.timeout(WAIT):
            while server._state.tasks:  # noqa: ASYNC110 -- uvicorn tells nobody
                await asyncio.sleep(0.01)


async def test_who_takes_it_slowly_gets_it() -> None:
    async with serving(Deadlines(stalled=0.5)) as (_, listener):
        connection = await Raw.open(
            listener.address.port, b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n"
        )
        async with asyncio.timeout(WAIT):
            await connection.reader.readexactly(20_000_000)
        connection.writer.transport.abort()
        await _gone(listener)


async def test_several_requests_on_one_connection() -> None:
    async with serving() as (_, listener):
        connection = await Raw.open(listener.address.port, (GET + b"\r\n") * 3)
        for _ in range(3):
            assert (await connection.until(b"127.0.0.1 http")).startswith(b"HTTP/1.1 200 ")
        connection.writer.close()


async def test_proxies_that_are_listed_are_believed() -> None:
    told = (b"X-Forwarded-For: 192.0.2.7", b"X-Forwarded-Proto: https")
    async with serving(proxies=("127.0.0.0/8",)) as (_, listener):
        assert (await _ask(listener, *told)).endswith(b"192.0.2.7 https")
        assert (await _ask(listener)).endswith(b"127.0.0.1 http")
    for others in ((), ("192.0.2.0/24",)):
        async with serving(proxies=others) as (_, listener):
            assert (await _ask(listener, *told)).endswith(b"127.0.0.1 http")


async def test_only_the_proxies_part_of_a_forwarded_address_is_believed() -> None:
    async with serving(proxies=("127.0.0.1",)) as (_, listener):
        lied = b"X-Forwarded-For: 10.9.9.9, 192.0.2.7"
        assert (await _ask(listener, lied)).endswith(b"192.0.2.7 http")


async def test_a_proxy_is_not_counted_as_one_client() -> None:
    config = {"limits": {"connections_per_address": 1}}
    listen = {"http": [{"address": "127.0.0.1:0", "proxy": ["127.0.0.1"]}], "https": []}
    for extra, count in ({"listen": listen}, 3), ({}, 1):
        async with jabberd.Server(config={**config, **extra}) as server:
            connections = [await Raw.open(server.http_port, GET + b"\r\n") for _ in range(3)]
            answers = [await connection.reader.read(9) for connection in connections]
            for connection in connections:
                connection.writer.close()
            assert sum(map(bool, answers)) == count


async def test_broken_requests() -> None:
    async with serving() as (_, listener):
        for request in (b"\x16\x03\x01\x02\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nBad\r\n\r\n"):
            answer = await (await Raw.open(listener.address.port, request)).rest()
            assert answer.startswith(b"HTTP/1.1 400 ")
        long = GET + b"X: " + b"x" * 40_000  # and it goes on
        answer = await (await Raw.open(listener.address.port, long)).rest()
        assert answer.startswith(b"HTTP/1.1 400 ")


async def test_a_fault_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as (_, listener):
        request = b"GET /broken HTTP/1.1\r\nHost: x\r\n\r\n"
        answer = await (await Raw.open(listener.address.port, request)).rest()
        assert answer.startswith(b"HTTP/1.1 500 ")
        assert answer.endswith(b"This is a fault of the server. It has been written down.\n")
        assert b"a fault\n" not in answer
    assert "RuntimeError: a fault" in caplog.text


async def test_the_end_waits_for_what_is_under_way_and_for_nothing_else() -> None:
    house = House()
    async with house:
        url = await house.slot(size=5)
        head = f"PUT {house.path(url)} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n"
        idle = await Raw.open(house.server.http_port, b"")
        busy = await Raw.open(house.server.http_port, head.encode())
        async with asyncio.timeout(WAIT):
            while not house.uploads._active:  # noqa: ASYNC110 -- it tells nobody
                await asyncio.sleep(0.01)
        stopping = asyncio.create_task(house.server.running.stop())
        assert await idle.rest() == b""
        busy.writer.write(b"fives")
        answer = await busy.rest()
        assert answer.startswith(b"HTTP/1.1 201 ")
        await stopping


async def test_the_end_does_not_wait_for_ever() -> None:
    async with serving() as (server, listener):
        connection = await Raw.open(
            listener.address.port, b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n"
        )
        await connection.until(b"xxx")
        async with asyncio.timeout(WAIT):
            await server.stop(0.05)
        assert not server._state.tasks
        connection.writer.close()


def _certificate(port: int) -> bytes:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", port), timeout=WAIT) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secured,
    ):
        return secured.getpeercert(binary_form=True) or b""


async def test_a_reload_brings_the_new_certificate() -> None:
    async with House() as house:
        before = await asyncio.to_thread(_certificate, house.server.https_port)
        folder = house.server.running.config.data / "certificates"
        make_self_signed(
            ["localhost"], folder / "localhost.crt", folder / "localhost.key", now=1.7e9
        )
        await house.server.running.reload()
        after = await asyncio.to_thread(_certificate, house.server.https_port)
        assert before
        assert after
        assert before != after


async def test_browsers_are_not_asked_for_certificates(tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    make_self_signed(["ca.example"], authority, tmp_path / "ca.key", now=1.7e9)
    host = {"localhost": {"client_ca": str(authority)}}
    async with jabberd.Server(config={"host": host}) as server:
        for port, asked in ((server.tls_port, True), (server.https_port, False)):
            assert await asyncio.to_thread(_asks, port) is asked


def _asks(port: int) -> bool:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    heard: list[object] = []
    _listen(context, heard.append)
    with (
        socket.create_connection(("127.0.0.1", port), timeout=WAIT) as plain,
        context.wrap_socket(plain, server_hostname="localhost"),
    ):
        return "CERTIFICATE_REQUEST" in heard


def _listen(context: ssl.SSLContext, hear: Callable[[object], None]) -> None:
    def told(_c: object, _d: object, _v: object, _t: object, kind: object, _data: object) -> None:
        hear(getattr(kind, "name", kind))

    context._msg_callback = told  # type: ignore[attr-defined] # of the standard library, undocumented


@pytest.mark.parametrize("kind", ["http", "https"])
async def test_a_taken_port_is_said_with_its_key(kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = {kind: [f"127.0.0.1:{taken.getsockname()[1]}"]}
        with pytest.raises(StartError, match=rf"listen\.{kind} sets the address"):
            async with jabberd.Server(config={"listen": listen}):
                pass


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({"http": {"url": "http://plain.example"}}, "http.url: .*expected a URL"),
        ({"http": {"url": "https://x.example/?a"}}, "http.url: .*expected a URL"),
        ({"listen": {"http": [{"address": "127.0.0.1:0", "legacy_auth": True}]}}, "legacy_auth"),
        ({"listen": {"https": [{"address": "[::1]:0", "starttls_required": True}]}}, "starttls"),
    ],
)
async def test_settings_that_make_no_sense(
    tmp_path: Path, values: dict[str, object], what: str
) -> None:
    with pytest.raises(ConfigError, match=what):
        load(data=tmp_path, values=values, environ={})
