"""slixmpp, a client library of today, uploads a file, and another of its clients fetches it."""

from __future__ import annotations

import asyncio
import io
import json
import re
import signal
from functools import partial
from pathlib import Path

import aiohttp
import pytest
from slixmpp.plugins.xep_0363 import http_upload

from tests.http.kit import WAIT, House, Raw
from tests.integration.process import Jabberd, Server
from tests.integration.slix import Slix

pytestmark = pytest.mark.asyncio
URL = "https://files.example.org"
CONFIG = f"""\
data = "data"
[listen]
c2s = ["127.0.0.1:0"]
c2s_tls = []
http = ["127.0.0.1:0"]
https = []
[http]
url = "{URL}"
"""


async def test_they_exchange_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    body = bytes(range(256)) * 5_000
    async with House() as house:
        # The certificate is self-signed, and slixmpp has no setting for that.
        trusting = partial(aiohttp.TCPConnector, ssl=house.context)
        monkeypatch.setattr(
            http_upload,
            "ClientSession",
            lambda **more: aiohttp.ClientSession(connector=trusting(), **more),
        )
        alice, bob = (
            Slix(house.server, f"{name}@localhost/x", f"{name}spassword", plugins=["xep_0363"])
            for name in ("alice", "bob")
        )
        await alice.online()
        await bob.online()
        plugin = alice.client.plugin["xep_0363"]
        url = await plugin.upload_file("très cool.bin", input_file=io.BytesIO(body), timeout=20)
        assert plugin.upload_service == "localhost"  # found by discovery, without another name
        assert plugin.max_file_size == 52_428_800
        alice.write("bob@localhost", url)
        heard = (await bob.message())["body"]
        assert heard == url
        for one in (heard, house.plain(heard)):
            assert (await house.ask("GET", one)).body == body
        for purpose in ("profile", "ephemeral"):
            assert purpose in plugin._upload_service_purposes
        with pytest.raises(http_upload.FileTooBig):
            await plugin.upload_file("b", size=52_428_801, input_file=io.BytesIO(), timeout=20)
        await alice.leave()
        await bob.leave()


async def test_a_server_that_is_killed_serves_nothing_of_half_a_file(tmp_path: Path) -> None:
    jabberd = Jabberd(tmp_path)
    (tmp_path / "jabberd.toml").write_text(CONFIG)
    server = jabberd.start("run", "--config", "jabberd.toml")
    try:
        jabberd.out("user", "add", "alice@localhost", "--data", "data", stdin="secret\n")
        half, whole = await _slots(server, 1_000_000, 4)
        done = await Raw.open(_http(server), _put(whole, 4) + b"body")
        await done.until(b" 201 Created\r\n")
        under_way = await Raw.open(_http(server), _put(half, 1_000_000) + b"x" * 500_000)
        async with asyncio.timeout(WAIT):
            while not _sizes(tmp_path):  # noqa: ASYNC110 -- a folder tells nobody
                await asyncio.sleep(0.01)
        server.signal(signal.SIGKILL)
        server.ended()
        for connection in (done, under_way):
            await connection.rest()
    finally:
        server.kill()
    assert _sizes(tmp_path)  # it goes when the server starts again
    server = jabberd.start("run", "--config", "jabberd.toml")
    try:
        assert not _sizes(tmp_path)
        assert (await _get(server, half)).startswith(b"HTTP/1.1 404 ")
        answer = await _get(server, whole)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.endswith(b"\r\n\r\nbody")
        table = jabberd.out("upload", "usage", "alice@localhost", "--data", "data", "--json")
        assert [row["bytes"] for row in json.loads(table)] == [4, 4, 4]
        removed = jabberd.out("upload", "delete", "alice@localhost", "--all", "--data", "data")
        assert removed == "Files of alice@localhost removed: 1, 4 bytes in all.\n"
        assert (await _get(server, whole)).startswith(b"HTTP/1.1 404 ")
    finally:
        server.kill()


async def _slots(server: Server, *sizes: int) -> list[str]:
    """Paths of slots that a client asked for."""
    alice = Slix(server, "alice@localhost/x", "secret", plugins=["xep_0363"])
    await alice.online()
    plugin = alice.client.plugin["xep_0363"]
    answers = [await plugin.request_slot("localhost", "a", size, timeout=WAIT) for size in sizes]
    await alice.leave()
    urls = [answer["http_upload_slot"]["put"]["url"] for answer in answers]
    assert all(url.startswith(f"{URL}/upload/localhost/") for url in urls)
    return [url.removeprefix(URL) for url in urls]


def _http(server: Server) -> int:
    found = re.search(r"HTTP: 127\.0\.0\.1:(\d+)", server.announced)
    assert found is not None, server.announced
    return int(found[1])


async def _get(server: Server, path: str) -> bytes:
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    return await (await Raw.open(_http(server), request.encode())).rest()


def _put(path: str, size: int) -> bytes:
    return (
        f"PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n"
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode()


def _sizes(folder: Path) -> list[int]:
    """Sizes of what is under way."""
    partial_ = folder / "data" / "uploads" / "localhost" / "partial"
    return [path.stat().st_size for path in partial_.iterdir() if path.stat().st_size]
