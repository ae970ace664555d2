"""E-mail as users have it: a server with the gateway inside, Postfix, Dovecot, real clients."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final
from urllib.request import urlopen

import pytest
import pytest_asyncio
from slixmpp.xmlstream import ET

from jabberd.embed import Server
from tests.gateways.email.conftest import Mailbox
from tests.gateways.email.post_office import arrived, letter, said, send
from tests.gateways.email.servers import OURS, Postfix
from tests.integration import mcabber
from tests.integration.mcabber import Mcabber
from tests.integration.slix import WAIT, Slix

pytestmark = pytest.mark.asyncio
GATEWAY: Final = "mail.localhost"


@pytest_asyncio.fixture
async def server(postfix: Postfix) -> AsyncIterator[Server]:
    table = {
        "network": "email",
        "mail_domain": OURS,
        "lmtp": f"127.0.0.1:{postfix.lmtp_port}",
        "relay": f"127.0.0.1:{postfix.port}",
        "relay_security": "none",
        "hold_seconds": 0,
    }
    values = {
        "gateway": {GATEWAY: table},
        "listen": {"http": ["127.0.0.1:0"], "https": []},
        "http": {"url": "https://files.example"},
    }
    async with Server(config=values) as running:
        for name in ("romeo", "juliet"):
            await running.add_user(name, "secret")
        yield running


def contact(mailbox: Mailbox) -> str:
    return mailbox.address.replace("@", r"\40") + f"@{GATEWAY}"


async def log_in(server: Server, name: str) -> Slix:
    client = Slix(server, f"{name}@localhost/one", "secret", plugins=("xep_0030", "xep_0077"))
    await client.online()
    return client


async def register(client: Slix, **answers: str) -> None:
    iq = client.client.make_iq_set(ito=GATEWAY)
    query = ET.SubElement(iq.xml, "{jabber:iq:register}query")
    x = ET.SubElement(query, "{jabber:x:data}x", {"type": "submit"})
    for var, value in answers.items():
        one = ET.SubElement(x, "{jabber:x:data}field", {"var": var})
        ET.SubElement(one, "{jabber:x:data}value").text = value
    await iq.send(timeout=WAIT)


async def test_a_thread_with_an_attachment(
    server: Server, postfix: Postfix, mailbox: Mailbox
) -> None:
    romeo = await log_in(server, "romeo")
    await register(romeo, name="Romeo")
    await romeo.event("presence_available", lambda p: p["from"] == GATEWAY)
    message = romeo.client.make_message(contact(mailbox), "Wilt thou?", mtype="chat")
    message["subject"] = "The balcony"
    message["thread"] = "balcony"
    message.send()
    (mail,) = await arrived(mailbox.server, mailbox.name, mailbox.password)
    assert (mail["From"], mail["Subject"]) == (f"Romeo <romeo@{OURS}>", "The balcony")
    answer = letter(
        f"Nurse <{mailbox.address}>", f"romeo@{OURS}", "Re: The balcony",
        "I will.\n\nOn Monday, Romeo wrote:\n> Wilt thou?\n",
        In_Reply_To=mail["Message-ID"], References=mail["Message-ID"],
    )  # fmt: skip
    answer.add_attachment(b"\x89PNG picture", maintype="image", subtype="png", filename="me.png")
    await asyncio.to_thread(send, postfix, mailbox.address, f"romeo@{OURS}", answer)
    text = await romeo.event("message", lambda m: m["from"].bare == contact(mailbox))
    assert (text["body"], text["thread"]) == ("I will.", "balcony")
    file = await romeo.event("message", lambda m: m["from"].bare == contact(mailbox))
    url = file.xml.findtext("{jabber:x:oob}x/{jabber:x:oob}url")
    assert url == file["body"]
    assert url.startswith("https://files.example/")
    assert url.endswith("/me.png")
    local = url.replace("https://files.example", f"http://127.0.0.1:{server.http_port}")
    assert await asyncio.to_thread(_got, local) == b"\x89PNG picture"
    # And on with it: the same thread there.
    romeo.client.send_message(contact(mailbox), "Tonight.", mtype="chat")
    _, second = await arrived(mailbox.server, mailbox.name, mailbox.password, 2)
    assert answer["Message-ID"] in second["References"]
    assert said(second).startswith("Tonight.")
    await romeo.leave()


def _got(url: str) -> Any:
    with urlopen(url, timeout=WAIT) as answer:
        return answer.read()


async def test_what_is_left_out_can_be_had(
    server: Server, postfix: Postfix, mailbox: Mailbox
) -> None:
    romeo = await log_in(server, "romeo")
    await register(romeo, name="Romeo")
    old = "".join(f"> {number} of what others have said\n" for number in range(20))
    text = f"See below.\n\nOn Monday, somebody wrote:\n{old}"
    mail = letter(mailbox.address, f"romeo@{OURS}", "Re: It", text)
    await asyncio.to_thread(send, postfix, mailbox.address, f"romeo@{OURS}", mail)
    said_ = await romeo.event("message", lambda m: m["from"].bare == contact(mailbox))
    assert said_["body"] == "See below."
    file = await romeo.event("message", lambda m: m["from"].bare == contact(mailbox))
    local = file["body"].replace("https://files.example", f"http://127.0.0.1:{server.http_port}")
    assert b"19 of what others have said" in await asyncio.to_thread(_got, local)
    await romeo.leave()


async def test_a_bounce_comes_back_to_the_message(server: Server) -> None:
    romeo = await log_in(server, "romeo")
    await register(romeo, name="Romeo")
    message = romeo.client.make_message(rf"nobody\40mail.example@{GATEWAY}", "Hi", mtype="chat")
    message["id"] = "lost"
    message.send()
    error = await romeo.event("message_error")
    assert (error["id"], error["error"]["condition"]) == ("lost", "item-not-found")
    await romeo.leave()


async def test_a_console_client_without_forms(
    server: Server, postfix: Postfix, mailbox: Mailbox, tmp_path: Path
) -> None:
    if mcabber.installed() is None:
        pytest.skip("Debian's package mcabber is not installed")
    client = Mcabber(tmp_path / "mcabber", "juliet@localhost", "secret", (server.host, server.port))
    try:
        await client.logged("juliet@localhost/mcabber")
        for line in ("register", "Juliet", "-", "-", "-", "-"):
            await client.command(f"/say_to {GATEWAY} {line}")
        # What is shown as the default is what "-" stands for, however a network writes it.
        await client.history(GATEWAY, 'Write "-" for: yes')
        await client.history(GATEWAY, "You are registered as juliet@")
        # A backslash means something to mcabber; the old spelling with % does as well.
        old = mailbox.address.replace("@", "%")
        await client.command(f"/say_to {old}@{GATEWAY} Good night")
        (mail,) = await arrived(mailbox.server, mailbox.name, mailbox.password)
        assert mail["From"] == f"Juliet <juliet@{OURS}>"
        answer = letter(mailbox.address, f"juliet@{OURS}", "Re: Good night", "A thousand times!")
        await asyncio.to_thread(send, postfix, mailbox.address, f"juliet@{OURS}", answer)
        await client.history(contact(mailbox), "A thousand times!")
    finally:
        await client.stop()
