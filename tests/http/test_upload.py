"""Files by HTTP: what is taken, what is served, and how."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from jabberd.http.upload import inline_type
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.jid import JID
from tests.http.kit import House, Raw

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def house() -> AsyncIterator[House]:
    async with House() as house:
        yield house


async def _until(house: House, count: int) -> None:
    async with asyncio.timeout(20):
        while len(house.kept()) != count:  # noqa: ASYNC110 -- a folder tells nobody
            await asyncio.sleep(0.01)


async def test_a_file_comes_back_as_it_was_over_both_ports(house: House) -> None:
    body = bytes(range(256)) * 2_000
    url = await house.put(body)
    for one in (url, house.plain(url)):
        answer = await house.ask("GET", one)
        assert (answer.status, answer.body) == (200, body)
        assert answer.headers["content-type"] == "image/png"
        assert answer.headers["content-disposition"] == 'inline; filename="a.png"'
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"] == (
            "default-src 'none'; frame-ancestors 'none'; sandbox"
        )
        assert answer.headers["access-control-allow-origin"] == "*"
        assert answer.headers["cache-control"].endswith(", immutable")


async def test_a_url_tells_nothing_of_its_owner_and_cannot_be_guessed(house: House) -> None:
    first, second = await house.put(b"1"), await house.put(b"1")
    assert "alice" not in first
    random = [url.split("/")[-2].split("-")[1] for url in (first, second)]
    assert random[0] != random[1]
    assert {len(text) for text in random} == {40}  # 160 bits


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        ("text/html", "application/octet-stream"),
        ("image/svg+xml", "application/octet-stream"),
        ("application/pdf", "application/octet-stream"),
        ("text/plain", "text/plain; charset=utf-8"),
        ("VIDEO/MP4; codecs=x", "video/mp4"),
        ("image/png", "image/png"),
    ],
)
async def test_only_what_cannot_run_is_shown(house: House, kind: str, shown: str) -> None:
    url = await house.put(b"<script>alert(1)</script>", "x.html", kind)
    answer = await house.ask("GET", url)
    assert answer.headers["content-type"] == shown
    how = "attachment" if shown == "application/octet-stream" else "inline"
    assert answer.headers["content-disposition"].startswith(f"{how};")
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_types_that_are_none() -> None:
    for kind in ("", "image", "video/", "video/x\r\nSet-Cookie: a", "audio/x y", "image/svg"):
        assert inline_type(kind) == ""


async def test_part_of_a_file(house: House) -> None:
    url = await house.put(b"0123456789")
    part = await house.ask("GET", url, Range="bytes=2-4")
    assert (part.status, part.body) == (206, b"234")
    assert part.headers["content-range"] == "bytes 2-4/10"
    end = await house.ask("GET", url, Range="bytes=-3")
    assert (end.status, end.body) == (206, b"789")
    assert (await house.ask("GET", url, Range="bytes=10-")).status == 416
    whole = await house.ask("GET", url, Range="bytes=0-1", If_Range='"other"')
    assert (whole.status, whole.body) == (200, b"0123456789")


async def test_only_the_head(house: House) -> None:
    url = await house.put(b"0123456789")
    head = await house.ask("HEAD", url)
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == "10"


async def test_pages_from_elsewhere_may_use_it(house: House) -> None:
    url = await house.slot()
    asked = {"Access-Control-Request-Method": "PUT", "Origin": "https://web.example"}
    answer = await house.ask("OPTIONS", url, **asked)
    assert answer.status == 204
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "PUT" in answer.headers["access-control-allow-methods"]
    assert "Content-Type" in answer.headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in answer.headers
    refused = await house.ask("PUT", url, b"too long")
    assert refused.headers["access-control-allow-origin"] == "*"  # or the page sees no reason


async def test_a_slot_is_good_for_one_upload(house: House) -> None:
    url = await house.put(b"first")
    again = await house.ask("PUT", url, b"other")
    assert again.status == 404
    assert b"Ask for a new one" in again.body
    assert (await house.ask("GET", url)).body == b"first"


async def test_the_size_is_what_was_said(house: House) -> None:
    url = await house.slot(size=5)
    assert (await house.ask("PUT", url, b"four")).status == 413
    assert (await house.ask("PUT", url, b"sixsix")).status == 413
    assert (await house.ask("GET", url)).status == 404

    async def unsaid() -> AsyncIterator[bytes]:
        yield b"fives"

    assert (await house.ask("PUT", url, unsaid())).status == 411
    assert (await house.ask("PUT", url, b"fives")).status == 201


async def test_the_type_is_what_was_said(house: House) -> None:
    url = await house.slot(size=4, kind="image/png")
    assert (await house.ask("PUT", url, b"four", content_type="text/html")).status == 415
    answer = await house.ask("PUT", url, b"four", content_type="IMAGE/PNG; a=b")
    assert answer.status == 201
    assert (await house.ask("GET", url)).headers["content-type"] == "image/png"


async def test_a_type_that_nobody_announced_is_the_uploads(house: House) -> None:
    url = await house.slot(size=4)
    assert (await house.ask("PUT", url, b"four", content_type="audio/ogg")).status == 201
    assert (await house.ask("GET", url)).headers["content-type"] == "audio/ogg"


async def test_a_slot_does_not_wait_for_ever(house: House) -> None:
    url = await house.slot()
    (slot,) = house.uploads._slots.values()
    slot.until = slot.asked
    assert (await house.ask("PUT", url, b"fives")).status == 404


@pytest.mark.parametrize(
    ("name", "becomes"),
    [
        ("tr\u00e8s cool.jpg", "tr%C3%A8s%20cool.jpg"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\a\\b.png", "b.png"),
        ("a?b#c%2F.png", "a%3Fb%23c%252F.png"),
        ("\u202egnp.exe", "gnp.exe"),
    ],
)
async def test_names(house: House, name: str, becomes: str) -> None:
    url = await house.put(b"body", name)
    assert url.rpartition("/")[2] == becomes
    assert (await house.ask("GET", url)).body == b"body"


@pytest.mark.parametrize(
    "path",
    [
        "/upload/localhost/../../secrets/tokens",
        "/upload/localhost/..%2f..%2fsecrets/tokens",
        "/upload/../secrets/tokens",
        "/upload/localhost/kept-%2e%2e%2fx/a.png",
        "/upload/localhost/partial/a.png",
        "/upload/localhost/",
        "/upload/",
        "//etc/passwd",
        "/upload/other.example/kept-0000000000000000000000000000000000000000/a",
    ],
)
async def test_there_is_no_way_out_of_the_folder(house: House, path: str) -> None:
    await house.put(b"body")
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answer = await (await Raw.open(house.server.http_port, request.encode())).rest()
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert answer.endswith(b"There is nothing here.\n")


async def test_the_name_belongs_to_the_url(house: House) -> None:
    url = await house.put(b"body", "photo.png")
    assert (await house.ask("GET", url.replace("photo.png", "virus.exe"))).status == 404


async def test_nothing_else_can_be_done(house: House) -> None:
    url = await house.put(b"body")
    for method in ("DELETE", "POST", "PATCH"):
        answer = await house.ask(method, url)
        assert (answer.status, answer.body) == (405, b"This cannot be done here.\n")
    assert (await house.ask("GET", url)).status == 200


async def test_half_a_file_is_none(house: House) -> None:
    url = await house.slot(size=1_000_000)
    head = f"PUT {house.path(url)} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
    connection = await Raw.open(house.server.http_port, head.encode() + b"x" * 500_000)
    await _until(house, 1)
    assert (await house.ask("GET", url)).status == 404
    connection.writer.transport.abort()
    await _until(house, 0)
    assert not house.uploads._active
    assert (await house.ask("PUT", url, b"x" * 1_000_000)).status == 404


async def test_a_file_that_does_not_come_in_time(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jabberd.http.upload._SILENCE", 0.05)
    url = await house.slot(size=1_000_000)
    head = f"PUT {house.path(url)} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
    answer = await (await Raw.open(house.server.http_port, head.encode() + b"x")).rest()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert house.kept() == []


async def test_no_room(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    url = await house.slot()

    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("jabberd.modules.http_upload.incoming.os.write", full)
    assert (await house.ask("PUT", url, b"fives")).status == 507
    assert house.kept() == []


async def test_too_many_at_a_time() -> None:
    async with House({"uploads": 1}) as house:
        slow, other = await house.slot(), await house.slot()
        head = f"PUT {house.path(slow)} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n"
        connection = await Raw.open(house.server.http_port, head.encode())
        await _until(house, 1)
        busy = await house.ask("PUT", other, b"fives")
        assert (busy.status, busy.headers["retry-after"]) == (503, "10")
        connection.writer.write(b"fives")
        assert b" 201 " in await connection.until(b"\r\n")
        connection.writer.close()
        assert (await house.ask("PUT", other, b"fives")).status == 201


async def test_files_go_with_their_account(house: House) -> None:
    url, other = await house.put(b"body"), await house.put(b"bobs", who="bob")
    waiting, under_way = await house.slot(), await house.slot()
    head = f"PUT {house.path(under_way)} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n"
    connection = await Raw.open(house.server.http_port, head.encode())
    await _until(house, 5)
    accounts = house.server.running.assembly.accounts
    await accounts.delete(JID.parse("alice@localhost"))
    connection.writer.write(b"fives")
    assert b" 404 " in await connection.until(b"\r\n")
    connection.writer.close()
    await _until(house, 2)
    assert (await house.ask("GET", url)).status == 404
    assert (await house.ask("PUT", waiting, b"fives")).status == 404
    assert (await house.ask("GET", other)).body == b"bobs"
    store = house.server.running.assembly.stores.keyvalue
    assert await store.keys("alice@localhost", "upload") == []


async def test_the_log_does_not_tell_where_files_are(house: House) -> None:
    with capture_logs() as logs:
        url = await house.put(b"body", "private.png")
        await house.ask("GET", url)
        await house.ask("GET", url + "x")
    text = repr(logs)
    assert "http request" in text
    assert url.split("/")[-2] not in text
    assert "private" not in text


async def test_a_module_that_is_off_serves_nothing() -> None:
    async with House(host={"localhost": {"modules": {"http_upload": False}}}) as house:
        answer = await house.ask(
            "GET", f"http://127.0.0.1:{house.server.http_port}/upload/localhost/a/b"
        )
        assert answer.status == 404


async def test_no_https_no_slots() -> None:
    async with House(listen={"http": ["127.0.0.1:0"], "https": []}) as house:
        with pytest.raises(LookupError):
            _ = house.uploads


async def test_a_url_of_its_own() -> None:
    async with House(http={"url": "https://files.example.org/chat/"}) as house:
        assert (await house.slot()).startswith("https://files.example.org/chat/upload/localhost/")


async def test_the_server_refuses_what_is_too_large_for_it() -> None:
    async with House({"max_file_bytes": 4}) as house:
        with pytest.raises(StanzaError) as refused:
            await house.slot(size=5)
        assert refused.value.condition is Condition.NOT_ACCEPTABLE
