"""The door for mail, with clients that behave badly."""

from __future__ import annotations

import asyncio
import contextlib
import smtplib
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from jabberd.gateways.email.lmtp import Delivery, Door
from jabberd.gateways.email.refused import Refused
from jabberd.net.certs import make_self_signed

pytestmark = pytest.mark.asyncio
_LIMIT = 10_000


class Shelf:
    """Takes everything but what is for "no"; keeps it."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []

    def admit(self, sender: str, to: str) -> None:
        if to.startswith("no@"):
            raise Refused(550, "5.1.1", "There is no\r\nsuch address")

    async def take(self, delivery: Delivery) -> None:
        if delivery.to.startswith("later@"):
            raise Refused(450, "4.2.1", "Not now")
        if delivery.to.startswith("broken@"):
            raise KeyError(delivery.to)
        self.deliveries.append(delivery)


class Client:
    """Bytes to the door and back."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def say(self, data: bytes, lines: int = 1) -> list[bytes]:
        """Write something, and read so many answers."""
        self.writer.write(data)
        return [await self.answer() for _ in range(lines)]

    async def answer(self) -> bytes:
        """One answer, its last line."""
        async with asyncio.timeout(10):
            line = await self.reader.readline()
            while line[3:4] == b"-":
                line = await self.reader.readline()
            return line


@asynccontextmanager
async def door(
    shelf: Shelf, address: str = "127.0.0.1:0", *, lmtp: bool = True, most: int = 50,
    context: ssl.SSLContext | None = None,
) -> AsyncIterator[str]:  # fmt: skip
    made = Door(shelf, "mx.example", mail_longest=_LIMIT, connections=most, context=context)
    try:
        yield await made.listen(address, lmtp=lmtp)
    finally:
        await made.close()


@asynccontextmanager
async def client(where: str, *, hello: bytes = b"LHLO a\r\n") -> AsyncIterator[Client]:
    if "/" in where:
        reader, writer = await asyncio.open_unix_connection(where)
    else:
        host, _, port = where.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
    made = Client(reader, writer)
    try:
        await made.answer()
        if hello:
            assert (await made.say(hello))[0].startswith(b"250")
        yield made
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def envelope(*to: str) -> bytes:
    lines = [b"MAIL FROM:<>", *(f"RCPT TO:<{name}@x.example>".encode() for name in to), b"DATA"]
    return b"".join(line + b"\r\n" for line in lines)


async def test_an_answer_for_each_recipient(tmp_path: Path) -> None:
    shelf = Shelf()
    where = str(tmp_path / "lmtp")
    async with door(shelf, where) as bound, client(bound) as peer:
        answers = await peer.say(envelope("a", "no", "later", "broken", "b"), 7)
        assert [line[:3] for line in answers] == [
            b"250", b"250", b"550", b"250", b"250", b"250", b"354",
        ]  # fmt: skip
        assert answers[2] == b"550 5.1.1 There is no such address\r\n"
        answers = await peer.say(b"A: b\r\n\r\n..dot\r\n.\r\n", 4)
        assert [line[:9] for line in answers] == [
            b"250 2.0.0", b"450 4.2.1", b"451 4.3.0", b"250 2.0.0",
        ]  # fmt: skip
    assert shelf.deliveries == [
        Delivery("", "a@x.example", b"A: b\r\n\r\n.dot\r\n"),
        Delivery("", "b@x.example", b"A: b\r\n\r\n.dot\r\n"),
    ]
    assert not Path(where).exists()  # noqa: ASYNC240 -- it takes no time


@pytest.mark.parametrize("ending", [b"\n.\n", b"\n.\r\n", b"\r.\r\n", b"\r\n.\n", b"\r\n.\r"])
async def test_only_one_ending_of_a_mail(ending: bytes) -> None:
    shelf = Shelf()
    async with door(shelf) as where, client(where) as peer:
        await peer.say(envelope("a"), 3)
        smuggled = b"A: b\r\n\r\nHi" + ending + envelope("victim") + b"x\r\n.\r\n"
        assert (await peer.say(smuggled))[0].startswith(b"250 2.0.0")
    (delivery,) = shelf.deliveries
    assert delivery.to == "a@x.example"
    assert b"victim" in delivery.data


async def test_a_mail_that_is_too_large_for_each() -> None:
    shelf = Shelf()
    async with door(shelf) as where, client(where) as peer:
        for large in (b"x" * 70 + b"\r\n") * 200, b"x" * (_LIMIT + 1) + b"\r\n":
            await peer.say(envelope("a", "b"), 4)
            answers = await peer.say(large + b".\r\n", 2)
            assert [line[:9] for line in answers] == [b"552 5.3.4"] * 2
        await peer.say(envelope("a"), 3)
        assert (await peer.say(b"x" * (_LIMIT - 2) + b"\r\n.\r\n"))[0].startswith(b"250")
    assert [len(delivery.data) for delivery in shelf.deliveries] == [_LIMIT]


async def test_a_line_that_does_not_end() -> None:
    async with door(Shelf()) as where, client(where) as peer:
        await peer.say(envelope("a"), 3)
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(10):
                while not peer.reader.at_eof():
                    peer.writer.write(b"x" * 65_536)
                    await peer.writer.drain()
                    await asyncio.sleep(0)


async def test_many_mails_at_once() -> None:
    shelf = Shelf()
    mail = b"x" * 60 + b"\r\n"
    made = Door(shelf, "mx.example", mail_longest=_LIMIT)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(made.close)
        where = await made.listen("127.0.0.1:0", lmtp=True)
        peers = [await stack.enter_async_context(client(where)) for _ in range(11)]
        for peer in peers:
            await peer.say(envelope("a"), 3)
            peer.writer.write(mail * 160)  # nearly all that one may have
            await peer.writer.drain()
        async with asyncio.timeout(10):
            while made.bytes_held < made.bytes_most - len(mail):  # noqa: ASYNC110 -- no event
                await asyncio.sleep(0.01)
        answers = [(await peer.say(b".\r\n"))[0][:9] for peer in reversed(peers)]
        assert set(answers) == {b"250 2.0.0", b"452 4.3.1"}
        # There is room again.
        await peers[0].say(envelope("a"), 3)
        assert (await peers[0].say(mail * 160 + b".\r\n"))[0].startswith(b"250")


async def test_one_recipient_at_a_time_by_smtp() -> None:
    shelf = Shelf()
    async with door(shelf, lmtp=False) as where, client(where, hello=b"EHLO a\r\n") as peer:
        answers = await peer.say(envelope("a", "b"), 4)
        assert [line[:9] for line in answers] == [
            b"250 OK\r\n", b"250 2.1.5", b"452 4.5.3", b"354 End w",
        ]  # fmt: skip
        assert (await peer.say(b"Hi\r\n.\r\n"))[0].startswith(b"250 2.0.0")
    assert [delivery.to for delivery in shelf.deliveries] == ["a@x.example"]


async def test_encryption_by_smtp(tmp_path: Path) -> None:
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    make_self_signed(["mx.example"], certificate, key, now=time.time())
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    shelf = Shelf()
    trusting = ssl.create_default_context(cafile=certificate)
    trusting.check_hostname = False

    def hand_over(port: int) -> None:
        with smtplib.SMTP("127.0.0.1", port) as peer:
            peer.starttls(context=trusting)
            peer.ehlo()
            assert not peer.has_extn("auth")
            peer.sendmail("a@b.example", ["a@x.example"], b"Hi\r\n")

    async with door(shelf, lmtp=False, context=context) as where:
        await asyncio.to_thread(hand_over, int(where.rpartition(":")[2]))
    assert [delivery.data for delivery in shelf.deliveries] == [b"Hi\r\n"]


async def test_too_many_connections() -> None:
    async with door(Shelf(), most=1) as where, client(where):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(where.rpartition(":")[2]))
        async with asyncio.timeout(10):
            assert b"421 4.3.2" in await reader.read()
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (b"DATA\r\n", b"503 5.5.1"),
        (b"MAIL FROM:<a@b.example> SIZE=10001\r\n", b"552"),
        (b"EHLO a\r\n", b"500"),
        (b"AUTH PLAIN AAAA\r\n", b"5"),
    ],
)
async def test_commands_out_of_place(command: bytes, answer: bytes) -> None:
    async with door(Shelf()) as where, client(where) as peer:
        assert (await peer.say(command))[0].startswith(answer)
