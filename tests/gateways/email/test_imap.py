"""Our IMAP client with Dovecot."""

from __future__ import annotations

import asyncio
import contextlib
import imaplib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest

from jabberd.gateways.email.imap import Imap, ImapLost, ImapRefused, open_imap
from jabberd.gateways.email.reach import Place, Security
from tests.gateways.email.conftest import Mailbox

_MAIL = b"From: a@b.example\r\nSubject: hi\r\n\r\n.\r\ntext\r\n"


def place(mailbox: Mailbox, security: Security = "starttls") -> Place:
    port = mailbox.server.tls_port if security == "tls" else mailbox.server.port
    return Place("localhost", port, security, anywhere=True, authorities=str(mailbox.authority))


async def connect(
    mailbox: Mailbox, security: Security = "starttls", password: str | None = None
) -> Imap:
    secret = mailbox.password if password is None else password
    return await open_imap(
        place(mailbox, security), mailbox.address, secret, mail_longest=1_000_000
    )


def put(mailbox: Mailbox, mail: bytes = _MAIL) -> None:
    """Another client puts a mail into INBOX."""
    with imaplib.IMAP4("127.0.0.1", mailbox.server.port) as other:
        other.authenticate("PLAIN", lambda _: f"\0{mailbox.address}\0{mailbox.password}".encode())
        assert other.append("INBOX", "", "", mail)[0] == "OK"


@pytest.mark.asyncio
@pytest.mark.parametrize("security", ["tls", "starttls", "none"])
async def test_a_login_each_way(mailbox: Mailbox, security: Security) -> None:
    imap = await connect(mailbox, security)
    assert "IDLE" in imap.capabilities
    assert (await imap.select("INBOX", read_only=True)).next_uid == 1
    await imap.logout()


@pytest.mark.asyncio
async def test_a_wrong_password(mailbox: Mailbox) -> None:
    with pytest.raises(ImapRefused) as refused:
        await connect(mailbox, password="wrong")
    assert refused.value.code == "AUTHENTICATIONFAILED"
    assert not refused.value.passing


@pytest.mark.asyncio
@pytest.mark.parametrize("security", ["tls", "starttls"])
async def test_a_certificate_that_nobody_trusts(mailbox: Mailbox, security: Security) -> None:
    port = mailbox.server.tls_port if security == "tls" else mailbox.server.port
    strict = Place("localhost", port, security, anywhere=True)
    with pytest.raises(ImapLost, match="certificate"):
        await open_imap(strict, mailbox.address, mailbox.password, mail_longest=1_000)


@pytest.mark.asyncio
async def test_a_server_inside_our_network_is_left_alone(mailbox: Mailbox) -> None:
    inside = Place("localhost", mailbox.server.port, "none")
    with pytest.raises(ImapLost, match="public internet"):
        await open_imap(inside, mailbox.address, mailbox.password, mail_longest=1_000)


@pytest.mark.asyncio
async def test_mails_are_found_fetched_and_marked(mailbox: Mailbox) -> None:
    imap = await connect(mailbox)
    first = await imap.select("INBOX", read_only=False)
    await asyncio.to_thread(put, mailbox)
    await asyncio.to_thread(put, mailbox, _MAIL + b"x" * 500_000)
    await imap.idle(30.0)
    assert await imap.after(0) == [1, 2]
    assert await imap.after(1) == [2]
    assert await imap.after(2) == []
    today = datetime.now(UTC).date()
    assert await imap.since(today - timedelta(days=1)) == [1, 2]
    assert await imap.since(today + timedelta(days=2)) == []
    assert await imap.mail(1) == _MAIL
    assert await imap.mail(2) == _MAIL + b"x" * 500_000
    assert await imap.mail(3) is None
    found = await imap.envelope(2)
    assert found is not None
    assert found.size == len(_MAIL) + 500_000
    assert abs(found.at - datetime.now(UTC).timestamp()) < 600
    assert await imap.envelope(3) is None
    await imap.seen(2)
    assert await imap.search(b"SEEN") == [2]
    assert first.validity == (await imap.select("INBOX", read_only=True)).validity
    await imap.logout()


@pytest.mark.asyncio
async def test_a_mail_larger_than_allowed_ends_the_connection(mailbox: Mailbox) -> None:
    await asyncio.to_thread(put, mailbox, _MAIL + b"x" * 1_200_000)
    imap = await connect(mailbox)
    await imap.select("INBOX", read_only=True)
    with pytest.raises(ImapLost, match="too large"):
        await imap.mail(1)
    await imap.close()


@pytest.mark.asyncio
async def test_waiting_ends_after_its_time_or_with_a_mail(mailbox: Mailbox) -> None:
    imap = await connect(mailbox)
    await imap.select("INBOX", read_only=True)
    await imap.idle(0.0)
    assert await imap.after(0) == []
    waiting = asyncio.create_task(imap.idle(30.0))
    await asyncio.to_thread(put, mailbox)
    await asyncio.wait_for(waiting, 30.0)
    assert await imap.after(0) == [1]
    await imap.logout()


@pytest.mark.asyncio
async def test_a_sent_mail_goes_where_the_server_says(mailbox: Mailbox) -> None:
    imap = await connect(mailbox)
    assert await imap.sent_mailbox() == "Gesendet"
    await imap.append("Gesendet", _MAIL)
    await imap.append("A new one", _MAIL * 1_000)
    await imap.select("A new one", read_only=True)
    assert await imap.mail(1) == _MAIL * 1_000
    assert await imap.search(b"SEEN") == [1]
    with pytest.raises(ImapRefused):
        await imap.select("None of these", read_only=True)
    await imap.logout()


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def served(serve: Serve) -> AsyncIterator[Place]:
    """A server that does this with each connection."""
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(cast("asyncio.Task[None]", asyncio.current_task()))
        with contextlib.suppress(ConnectionError):
            await serve(reader, writer)
            await reader.read()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(connected, "127.0.0.1")
    try:
        yield Place("127.0.0.1", server.sockets[0].getsockname()[1], "none", anywhere=True)
    finally:
        server.close()
        await asyncio.wait_for(asyncio.gather(*tasks), 10.0)


def scripted(*steps: bytes) -> AbstractAsyncContextManager[Place]:
    """A server that says this: the greeting, then one step after each line that it gets."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number, step in enumerate(steps):
            tag = b"" if not number else (await reader.readline()).partition(b" ")[0]
            writer.write(step.replace(b"TAG", tag))

    return served(serve)


@pytest.mark.asyncio
async def test_words_before_tls_are_no_answer() -> None:
    async with scripted(
        b"* OK hello\r\n", b"TAG OK begin\r\n* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n"
    ) as where:
        encrypted = Place(where.host, where.port, "starttls", anywhere=True)
        with pytest.raises(ImapLost, match="between STARTTLS and TLS"):
            await open_imap(encrypted, "a", "b", mail_longest=1_000)


@pytest.mark.asyncio
async def test_a_login_without_sasl_sends_strings() -> None:
    said: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"* OK [CAPABILITY IMAP4rev1] hello\r\n")
        tag = b""
        while line := await reader.readline():
            said.append(line)
            tag = tag or line.split()[0]
            if line.endswith(b"}\r\n"):
                writer.write(b"+ go on\r\n")
            else:
                writer.write(tag + b" NO [AUTHENTICATIONFAILED] no\r\n")

    async with served(serve) as where:
        with pytest.raises(ImapRefused):
            await open_imap(where, "a b", "ö", mail_longest=1_000)
    assert said[0].partition(b" ")[2] == b'LOGIN "a b" {2}\r\n'
    assert said[1] == "ö\r\n".encode()


@pytest.mark.asyncio
async def test_a_refusal_for_the_moment() -> None:
    async with scripted(
        b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] hello\r\n",
        b"TAG NO [UNAVAILABLE] later\r\n",
    ) as where:
        with pytest.raises(ImapRefused) as refused:
            await open_imap(where, "a", "b", mail_longest=1_000)
        assert refused.value.passing


@pytest.mark.asyncio
@pytest.mark.parametrize("greeting", [b"* BYE full\r\n", b"220 smtp\r\n", b""])
async def test_a_greeting_that_is_none(greeting: bytes) -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        writer.write_eof()

    async with served(serve) as where:
        with pytest.raises(ImapLost):
            await open_imap(where, "a", "b", mail_longest=1_000)
