"""Mode "mailbox": a mailbox at Dovecot, with Postfix for what goes out."""

from __future__ import annotations

import asyncio
import imaplib
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from jabberd.gateways.email.network import Options, load
from jabberd.gateways.events import Arrived, Event, Failed, Notice, Online, Text, Trouble
from jabberd.gateways.transport import (
    Login,
    LoginRefused,
    Lost,
    Network,
    NotTaken,
    SignUpRefused,
)
from tests.gateways.email.conftest import Mailbox
from tests.gateways.email.post_office import arrived, letter, mails, said
from tests.gateways.email.servers import MAIL, Postfix
from tests.gateways.email.site import MemorySite
from tests.gateways.email.test_imap import put

pytestmark = pytest.mark.asyncio
ROMEO = "romeo@jabber.example"
_NUMBERS = itertools.count()


def text(body: str = "Hi", **more: Any) -> Text:
    return Text(f"m-{next(_NUMBERS)}", body, at=1_790_000_000.0, **more)


def answers(mailbox: Mailbox, postfix: Postfix, **more: str) -> dict[str, str]:
    return {
        "address": mailbox.address,
        "password": mailbox.password,
        "imap_host": "localhost",
        "imap_port": str(mailbox.server.port),
        "imap_security": "starttls",
        "smtp_host": "localhost",
        "smtp_port": str(postfix.port),
        "smtp_security": "starttls",
        "sent": "true",
        **more,
    }


@asynccontextmanager
async def started(
    site: MemorySite, mailbox: Mailbox, postfix: Postfix, answer: dict[str, str], **more: Any
) -> AsyncIterator[Network]:
    facts: dict[str, Any] = {
        "mode": "mailbox",
        "private_servers": True,
        "authorities": str(mailbox.authority),
        "hold_seconds": 0,
        **more,
    }
    network = load(Options(**facts))
    await network.start(site)
    try:
        known = {key: value for key, value in answer.items() if key != "address"}
        site.logins[ROMEO] = Login(mailbox.address, known)
        yield network
    finally:
        await network.stop()


@asynccontextmanager
async def logged_in(site: MemorySite, network: Network) -> AsyncIterator[asyncio.Task[None]]:
    """A login that has come as far as being online."""

    async def emit(event: Event) -> None:
        await site.emit(ROMEO, event)

    task = asyncio.create_task(network.transport(ROMEO, site.logins[ROMEO], site).run(emit))
    online = asyncio.create_task(site.next(ROMEO, Online))
    try:
        await asyncio.wait({task, online}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        yield task
    finally:
        for each in (task, online):
            each.cancel()
        await asyncio.gather(task, online, return_exceptions=True)


def mail(subject: str, body: str = "Hi") -> bytes:
    return letter("Nurse <nurse@b.example>", "me@mail.example", subject, body).as_bytes()


async def test_only_what_comes_after_the_registration(mailbox: Mailbox, postfix: Postfix) -> None:
    site = MemorySite()
    await asyncio.to_thread(put, mailbox, mail("Old"))
    async with started(site, mailbox, postfix, answers(mailbox, postfix)) as network:
        async with logged_in(site, network):
            await asyncio.to_thread(put, mailbox, mail("New"))
            assert (await site.next(ROMEO, Arrived)).subject == "New"
            await asyncio.to_thread(put, mailbox, mail("Newer"))
            assert (await site.next(ROMEO, Arrived)).subject == "Newer"
        # What comes while nobody is logged in waits in the mailbox.
        await asyncio.to_thread(put, mailbox, mail("Meanwhile"))
        async with logged_in(site, network):
            event = await site.next(ROMEO, Arrived)
            assert (event.subject, event.contact) == ("Meanwhile", "nurse@b.example")
    assert site.events == []
    assert await asyncio.to_thread(_seen, mailbox) == []


async def test_seen_where_the_user_wants_it(mailbox: Mailbox, postfix: Postfix) -> None:
    site = MemorySite()
    answer = answers(mailbox, postfix, seen="true")
    async with (
        started(site, mailbox, postfix, answer) as network,
        logged_in(site, network),
    ):
        await asyncio.to_thread(put, mailbox, mail("One"))
        await site.next(ROMEO, Arrived)
        async with asyncio.timeout(30):
            while await asyncio.to_thread(_seen, mailbox) != [1]:  # noqa: ASYNC110 -- it is Dovecot's
                await asyncio.sleep(0.05)


def _seen(mailbox: Mailbox) -> list[int]:
    with imaplib.IMAP4("127.0.0.1", mailbox.server.port) as client:
        client.authenticate("PLAIN", lambda _: f"\0{mailbox.address}\0{mailbox.password}".encode())
        client.select("INBOX", readonly=True)
        return [int(number) for number in client.search(None, "SEEN")[1][0].split()]


async def test_what_is_not_taken_comes_again(mailbox: Mailbox, postfix: Postfix) -> None:
    site = MemorySite()
    async with started(site, mailbox, postfix, answers(mailbox, postfix)) as network:

        def refuse(_user: str, event: Event) -> None:
            if isinstance(event, Arrived):
                raise NotTaken("the server is down", lasting=event.subject == "Unwanted")

        async with logged_in(site, network) as login:
            site.refuse = refuse
            await asyncio.to_thread(put, mailbox, mail("Unwanted"))
            await asyncio.to_thread(put, mailbox, mail("Again"))
            with pytest.raises(Lost, match="the server is down"):
                await asyncio.wait_for(asyncio.shield(login), 30)
        site.refuse = lambda _user, _event: None
        async with logged_in(site, network):
            assert (await site.next(ROMEO, Arrived)).subject == "Again"
        assert site.events == []


async def test_a_mailbox_with_new_numbers(mailbox: Mailbox, postfix: Postfix) -> None:
    site = MemorySite()
    await asyncio.to_thread(put, mailbox, mail("Old"))
    await asyncio.sleep(1.1)  # servers say when a mail came in whole seconds
    async with started(site, mailbox, postfix, answers(mailbox, postfix)) as network:
        async with logged_in(site, network):
            await asyncio.to_thread(put, mailbox, mail("One"))
            first = await site.next(ROMEO, Arrived)
        await asyncio.to_thread(put, mailbox, mail("Two"))
        mailbox.server.forget_numbers(mailbox.name)
        async with logged_in(site, network):
            # The last one before comes again, and is recognised by its identifier.
            found = [await site.next(ROMEO, Arrived) for _ in range(2)]
            assert {event.subject for event in found} <= {"One", "Two", ""}
            assert {event.id for event in found} >= {first.id}
            await asyncio.to_thread(put, mailbox, mail("Three"))
            assert (await site.next(ROMEO, Arrived)).subject == "Three"
    assert site.events == []


async def test_a_server_that_restarts(mailbox: Mailbox, postfix: Postfix) -> None:
    site = MemorySite()
    async with started(site, mailbox, postfix, answers(mailbox, postfix)) as network:
        async with logged_in(site, network) as login:
            await asyncio.to_thread(mailbox.server.stop)
            with pytest.raises(Lost):
                await asyncio.wait_for(asyncio.shield(login), 30)
        try:
            with pytest.raises(Lost):
                async with logged_in(site, network):
                    pass
        finally:
            await asyncio.to_thread(mailbox.server.start)
        async with logged_in(site, network):
            await asyncio.to_thread(put, mailbox, mail("Back"))
            assert (await site.next(ROMEO, Arrived)).subject == "Back"


async def test_a_password_that_was_changed(mailbox: Mailbox, postfix: Postfix) -> None:
    site = MemorySite()
    answer = answers(mailbox, postfix, password="wrong")
    async with started(site, mailbox, postfix, answer) as network:
        with pytest.raises(LoginRefused, match="does not let you in"):
            async with logged_in(site, network):
                pass


async def test_a_mail_out_with_a_copy_in_sent(mailbox: Mailbox, postfix: Postfix) -> None:
    site = MemorySite()
    async with started(site, mailbox, postfix, answers(mailbox, postfix)) as network:
        transport = network.transport(ROMEO, site.logins[ROMEO], site)
        id_ = await transport.send_text(mailbox.address, text("To myself"))
        found = await arrived(mailbox.server, mailbox.name, mailbox.password)
        copies = await arrived(mailbox.server, mailbox.name, mailbox.password, folder="Gesendet")
        for each in (*found, *copies):
            assert (each["Message-ID"], said(each)) == (id_, "To myself\n")
        assert found[0]["Return-Path"] == f"<{mailbox.address}>"


async def test_a_bounce_in_the_mailbox(mailbox: Mailbox, postfix: Postfix) -> None:
    site = MemorySite()
    answer = answers(mailbox, postfix, sent="false")
    async with (
        started(site, mailbox, postfix, answer) as network,
        logged_in(site, network),
    ):
        transport = network.transport(ROMEO, site.logins[ROMEO], site)
        id_ = await transport.send_text(f"unknown3@{MAIL}", text())
        event = await site.next(ROMEO, Failed)
        assert (event.contact, event.id) == (f"unknown3@{MAIL}", id_)
        assert event.trouble is Trouble.NO_SUCH_CONTACT
        assert (
            await asyncio.to_thread(
                mails, mailbox.server, mailbox.name, mailbox.password, "Gesendet"
            )
            == []
        )


async def test_a_mail_that_is_too_large_is_told_of(mailbox: Mailbox, postfix: Postfix) -> None:
    site = MemorySite()
    answer = answers(mailbox, postfix)
    async with (
        started(site, mailbox, postfix, answer, mail_bytes=65_536) as network,
        logged_in(site, network),
    ):
        await asyncio.to_thread(put, mailbox, mail("Large", "x\n" * 40_000))
        assert "too large" in (await site.next(ROMEO, Notice)).text
        await asyncio.to_thread(put, mailbox, mail("Small"))
        assert (await site.next(ROMEO, Arrived)).subject == "Small"


async def test_signing_up(mailbox: Mailbox, postfix: Postfix) -> None:
    site = MemorySite()
    good = answers(mailbox, postfix, name="Romeo", unknown="x")
    async with started(site, mailbox, postfix, good) as network:
        login = await network.sign_up(ROMEO, good, {}, site)
        assert isinstance(login, Login)
        assert login.name == mailbox.address
        assert login.data["name"] == "Romeo"
        assert "unknown" not in login.data
        assert mailbox.password not in repr(login)

        for wrong, why in [
            ({"password": "wrong"}, "wrong_password"),
            ({"imap_port": "1"}, "timeout"),
            ({"smtp_port": "1"}, "timeout"),
            ({"smtp_password": "wrong"}, "wrong_password"),
        ]:
            with pytest.raises(SignUpRefused) as refused:
                await network.sign_up(ROMEO, {**good, **wrong}, {}, site)
            assert refused.value.wrong_password == (why == "wrong_password"), wrong
            assert refused.value.timeout == (why == "timeout"), wrong
        for wrong in [
            {"address": "nobody"},
            {"imap_port": "ten"},
            {"imap_port": "70000"},
            {"imap_security": "quantum"},
            {"imap_host": "a b"},
        ]:
            with pytest.raises(SignUpRefused) as refused:
                await network.sign_up(ROMEO, {**good, **wrong}, {}, site)
            assert not refused.value.wrong_password
            assert not refused.value.timeout


async def test_nobody_looks_around_in_our_network(mailbox: Mailbox, postfix: Postfix) -> None:
    site = MemorySite()
    good = answers(mailbox, postfix)
    async with started(site, mailbox, postfix, good, private_servers=False) as network:
        with pytest.raises(SignUpRefused, match="public internet"):
            await network.sign_up(ROMEO, good, {}, site)
