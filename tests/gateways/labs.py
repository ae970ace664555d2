"""Each network with a real far end, in the same shape, for what all networks must do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest

from jabberd.gateways.email.network import Options as EmailOptions
from jabberd.gateways.email.network import load as load_email
from jabberd.gateways.example import ExampleNetwork
from jabberd.gateways.example import Options as ExampleOptions
from jabberd.gateways.example.server import Server, World
from jabberd.gateways.sms import load as load_sms
from jabberd.gateways.transport import Login, Network
from tests.gateways.email import post_office
from tests.gateways.email.conftest import Mailbox
from tests.gateways.email.servers import OURS, Postfix
from tests.gateways.email.site import MemorySite
from tests.gateways.email.test_mailbox import answers
from tests.gateways.place import Person
from tests.gateways.sms import site as sms
from tests.gateways.sms import smsc as npm

USER = "juliet@localhost"


@dataclass
class Lab:
    """One network, begun, with a user who is registered.

    Attributes:
        network: it.
        site: what it is offered.
        login: of the user.
        peer: legacy id of somebody there.
        spellings: other ways to write the peer.
        nobody: texts that are no address.
        heard: the next text that the peer gets.
        say: has the peer say something to the user.
        wrong: a login that is refused; None where there is none.
    """

    network: Network
    site: MemorySite
    login: Login
    peer: str
    spellings: tuple[str, ...]
    nobody: tuple[str, ...]
    heard: Callable[[], Awaitable[str]]
    say: Callable[[str], Awaitable[None]]
    wrong: Login | None = None


@contextlib.asynccontextmanager
async def started(network: Network, login: Login) -> AsyncIterator[MemorySite]:
    site = MemorySite()
    site.logins[USER] = login
    await network.start(site)
    try:
        yield site
    finally:
        await network.stop()


@contextlib.asynccontextmanager
async def example(_request: pytest.FixtureRequest) -> AsyncIterator[Lab]:
    far = Server(World())
    await far.start("127.0.0.1", 0)
    peer = await Person.log_in(far.port, "Romeo")
    far.world.log_in("Juliet", "hers")
    network, login = (
        ExampleNetwork(ExampleOptions(port=far.port)),
        Login("Juliet", {"username": "Juliet", "password": "hers"}),
    )

    async def heard() -> str:
        return str((await peer.happened("message"))["text"])

    async def say(text: str) -> None:
        await peer.line.ask("send", to="Juliet", id=text, text=text)

    try:
        async with started(network, login) as site:
            yield Lab(
                network, site, login, "Romeo", (" Romeo ",), ("", "12!", "a" * 80), heard, say,
                Login("Juliet", {"password": "wrong"}),
            )  # fmt: skip
    finally:
        await peer.close()
        await far.stop()


@contextlib.asynccontextmanager
async def domain(request: pytest.FixtureRequest) -> AsyncIterator[Lab]:
    postfix: Postfix = request.getfixturevalue("postfix")
    mailbox: Mailbox = request.getfixturevalue("mailbox")
    options = EmailOptions(
        mail_domain=OURS, lmtp=f"127.0.0.1:{postfix.lmtp_port}",
        relay=f"127.0.0.1:{postfix.port}", relay_security="none", hold_seconds=0,
    )  # fmt: skip
    login = Login(f"juliet@{OURS}", {"name": "Juliet"})
    async with started(network := load_email(options), login) as site:
        yield _mail(network, site, login, mailbox, postfix, f"juliet@{OURS}")


@contextlib.asynccontextmanager
async def elsewhere(request: pytest.FixtureRequest) -> AsyncIterator[Lab]:
    postfix: Postfix = request.getfixturevalue("postfix")
    own: Mailbox = request.getfixturevalue("mailbox")
    other = Mailbox("user39", own.password, own.server, own.authority)
    options = EmailOptions(
        mode="mailbox", private_servers=True, authorities=str(own.authority), hold_seconds=0
    )
    data = {key: value for key, value in answers(own, postfix).items() if key != "address"}
    login = Login(own.address, data)
    async with started(network := load_email(options), login) as site:
        lab = _mail(network, site, login, other, postfix, own.address)
        lab.wrong = Login(own.address, {**data, "password": "wrong"})
        yield lab


def _mail(
    network: Network,
    site: MemorySite,
    login: Login,
    peer: Mailbox,
    postfix: Postfix,
    ours: str,
) -> Lab:
    before = len(post_office.mails(peer.server, peer.name, peer.password))
    count = before

    async def heard() -> str:
        nonlocal count
        count += 1
        found = await post_office.arrived(peer.server, peer.name, peer.password, count)
        return post_office.said(found[count - 1]).partition("\n")[0]

    async def say(text: str) -> None:
        mail = post_office.letter(peer.address, ours, text, text)
        await asyncio.to_thread(post_office.send, postfix, peer.address, ours, mail)

    spellings = (peer.address.replace("@", "%"), f"Nurse <{peer.address}>")
    return Lab(network, site, login, peer.address, spellings, ("", "nurse", "a@", "@b"), heard, say)


@contextlib.asynccontextmanager
async def short_messages(request: pytest.FixtureRequest) -> AsyncIterator[Lab]:
    hers, his = "+491700000001", "+491711234567"
    login = Login(hers, {"phone": hers})
    async with npm.running(request.getfixturevalue("modules")) as smsc:

        async def heard() -> str:
            return str((await smsc.happened("submit"))["text"])

        async def say(text: str) -> None:
            await smsc.tell("message", source=his[1:], destination=hers[1:], text=text, coding=0)

        async with started(network := load_sms(sms.options(smsc.port)), login) as site:
            yield Lab(
                network, site, login, his, ("0171 1234567", "+49 171 123-4567"),
                ("", "112", "+1 212"), heard, say,
            )  # fmt: skip


LABS = {
    "example": example,
    "email domain": domain,
    "email mailbox": elsewhere,
    "sms": short_messages,
}
