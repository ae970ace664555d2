"""The way out by folders of the SMS Server Tools, on a real file system."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from jabberd.gateways.events import Arrived, Failed, Received
from jabberd.gateways.sms.backend import Outcome
from jabberd.gateways.sms.hub import Hub, Rules
from jabberd.gateways.sms.numbers import Numbers
from jabberd.gateways.sms.spool import Settings, SpoolBackend
from jabberd.gateways.sms.spool_files import Letter, Report, read
from jabberd.gateways.transport import Lost, NotTaken
from tests.gateways.sms.site import Place, text

JULIET = "juliet@example.org"
HERS = "+491700000001"
ROMEO = "+491711234567"
HEAD = b"From: 491711234567\nFrom_TOA: 91 international\nSent: 26-01-01 12:00:00\n"
REPORT = (
    HEAD + b"Alphabet: ISO\nUDH: false\n\nSMS STATUS REPORT\nMessage_id: %s\n"
    b"Discharge_timestamp: 26-01-01 12:00:00\nStatus: %s\n"
)


def spool(folder: Path) -> Path:
    for name in ("outgoing", "incoming", "sent", "failed"):
        (folder / name).mkdir()
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def put(folder: Path, name: str, data: bytes) -> Path:
    """A file as the daemon makes one: by a rename."""
    fresh = folder / f".{name}"
    fresh.write_bytes(data)
    return fresh.rename(folder / name)


@asynccontextmanager
async def running(folder: Path, here: Place) -> AsyncIterator[Hub]:
    numbers = Numbers("DE")
    backend = SpoolBackend(Settings(folder, seconds=0.01), numbers)
    made = Hub(here, backend, Rules(numbers, HERS, 10))
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


def place() -> Place:
    here = Place()
    here.register(JULIET, HERS)
    return here


@pytest.mark.asyncio
async def test_a_message_and_its_delivery(tmp_path: Path) -> None:
    here, folder = place(), spool(tmp_path)
    async with running(folder, here) as made:
        name = await made.send(JULIET, HERS, ROMEO, text("Grüße"))
        assert names(folder / "outgoing") == [name]
        data = (folder / "outgoing" / name).read_bytes()
        assert data == (
            "To: 491711234567\nFrom: 491700000001\nReport: yes\nAlphabet: UTF-8\n\nGrüße".encode()
        )
        head, body = data.split(b"\n\n")
        (folder / "outgoing" / name).unlink()
        put(folder / "sent", name, head + b"\nModem: GSM1\nMessage_id: 117\n\n" + body)
        put(folder / "incoming", "GSM1.a", REPORT % (b"118", b"0,Ok"))  # of another program
        put(folder / "incoming", "GSM1.b", REPORT % (b"117", b"48,Temporary error"))
        put(folder / "incoming", "GSM1.c", REPORT % (b"117", b"0,Ok,short message received"))
        assert await here.told(Received) == (JULIET, Received(ROMEO, name))
        await gone(folder / "incoming", folder / "sent")
        put(folder / "incoming", "GSM1.d", HEAD + b"\nwhere are you?\n")  # a modem has one number
        assert await here.told(Arrived) == (JULIET, Arrived(ROMEO, "where are you?"))


@pytest.mark.asyncio
async def test_a_message_that_fails(tmp_path: Path) -> None:
    here, folder = place(), spool(tmp_path)
    async with running(folder, here) as made:
        name = await made.send(JULIET, HERS, ROMEO, text("жук", receipt=False))
        path = folder / "outgoing" / name
        assert path.read_bytes().endswith(b"Alphabet: UCS\n\n" + "жук".encode("utf-16-be"))
        failed = path.read_bytes().replace(b"\n\n", b"\nFail_reason: Unknown number\n\n", 1)
        put(folder / "failed", "of-another-program", failed)
        put(folder / "failed", name, failed)
        _, event = await here.told(Failed)
        assert (event.id, event.contact) == (name, ROMEO)
        assert "Unknown number" in event.text
        await here_is(folder / "failed", ["of-another-program"])


@pytest.mark.asyncio
async def test_messages_that_come_in(tmp_path: Path) -> None:
    here, folder = place(), spool(tmp_path)
    here.refuse = [NotTaken("away"), None, NotTaken("blocked", lasting=True)]
    async with running(folder, here):
        # U+0D0A is no line end.
        body = "ഊ жук".encode("utf-16-be")
        put(folder / "incoming", "GSM1.1", HEAD + b"To: 491700000001\nAlphabet: UCS2\n\n" + body)
        assert await here.told(Arrived) == (JULIET, Arrived(ROMEO, "ഊ жук"))
        put(folder / "incoming", "GSM1.2", HEAD + b"To: 491700000001\n\nunwanted\n")
        put(folder / "incoming", "GSM1.3", HEAD + b"To: 491700000099\n\nfor nobody\n")
        put(folder / "incoming", "GSM1.4", b"rubbish")
        await gone(folder / "incoming")
    assert here.events == []


async def gone(*folders: Path) -> None:
    for folder in folders:
        await here_is(folder, [])


async def here_is(folder: Path, expected: list[str]) -> None:
    """Wait until a folder has these files."""
    async with asyncio.timeout(20):
        while names(folder) != expected:  # noqa: ASYNC110 -- nothing tells of files
            await asyncio.sleep(0.01)


@pytest.mark.asyncio
async def test_folders_that_are_not_there(tmp_path: Path) -> None:
    here = place()
    with pytest.raises(FileNotFoundError, match="no folder outgoing"):
        async with running(tmp_path, here):
            pass
    folder = spool(tmp_path)
    async with running(folder, here) as made:
        (folder / "outgoing").rmdir()
        with pytest.raises(Lost, match="cannot be written"):
            await made.send(JULIET, HERS, ROMEO, text("x"))
        assert names(folder) == ["failed", "incoming", "sent"]
        (folder / "incoming").rmdir()
        async with asyncio.timeout(20):
            await made.backend.link.wait_down()
        (folder / "incoming").mkdir()
        async with asyncio.timeout(20):
            await made.backend.link.wait_up()


def test_files() -> None:
    assert read(b"From: 49\r\nTo: 1\r\n\r\nhi\r\n") == Letter("49", "1", "hi")
    assert read(b"From: 49\nAlphabet: binary\n\n\x00") is None
    expected = Report("491711234567", "5", Outcome.UNDELIVERABLE, "64,Multiple attempts")
    assert read(REPORT % (b"5", b"64,Multiple attempts")) == expected
