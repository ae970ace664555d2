"""Logins that end and begin while something is half-way, on a network and a server made up here."""

from __future__ import annotations

import asyncio

import pytest

from jabberd.gateways.events import Arrived, Online, Text
from jabberd.gateways.gateway import Gateway, Options
from jabberd.gateways.link import Far, Link
from jabberd.gateways.session import Session, State
from jabberd.gateways.transport import (
    Capability,
    Emit,
    Form,
    Login,
    Lost,
    Network,
    Site,
    Transport,
)
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Iq, Message, Presence, Stanza
from tests.gateways.email.site import MemoryRecords

pytestmark = pytest.mark.asyncio
GATEWAY, JULIET = JID.parse("gw.example"), JID.parse("juliet@example")
WAIT = 10.0


class SlowServer:
    """A link whose messages are taken only when the test says so."""

    def __init__(self) -> None:
        self.taken: list[Message] = []
        self.posted: list[Stanza] = []
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()
        self.server = JID.parse("example")

    async def send(self, stanza: Stanza) -> None:
        if isinstance(stanza, Message) and stanza.from_ is not None and stanza.from_.local:
            self.begun.set()
            await self.go_on.wait()
            self.taken.append(stanza)

    def post(self, stanza: Stanza) -> None:
        self.posted.append(stanza)

    async def ask(self, iq: Iq, wait: float = 30.0) -> Iq:
        raise StanzaError(Condition.SERVICE_UNAVAILABLE)


class Repeating(Transport):
    """Brings the same message at every login, until it is told that it was taken."""

    def __init__(self, network: RepeatingNetwork) -> None:
        self._network = network

    async def run(self, emit: Emit) -> None:
        self._network.logins += 1
        await emit(Online())
        if not self._network.confirmed.is_set():
            await emit(Arrived("romeo", "Juliet!", "m1"))
            self._network.confirmed.set()
        await asyncio.Event().wait()

    async def send_text(self, to: str, text: Text) -> str:
        raise Lost("never")


class RepeatingNetwork(Network):
    """See `Repeating`."""

    title, identity, prompt, example = "Repeating", "test", "Name", "romeo"
    capabilities = Capability.STANDING
    form = Form("", "")

    def __init__(self) -> None:
        self.logins = 0
        self.confirmed = asyncio.Event()

    def canonical(self, text: str) -> str:
        return text

    def transport(self, user: str, login: Login, site: Site) -> Transport:
        return Repeating(self)


async def begun() -> tuple[Gateway, SlowServer, RepeatingNetwork, Session]:
    link, network = SlowServer(), RepeatingNetwork()

    def connect(_far: Far) -> Link:
        return link

    options = Options(GATEWAY, frozenset({"example"}), bytes(32), "0")
    gateway = Gateway(
        network,
        options,
        MemoryRecords(),
        connect,
        lambda: 1_000.0,
        iter(map(str, range(99))).__next__,
    )
    await gateway.users.add(JULIET, Login("juliet"), manages=False, now=1.0)
    await gateway.start()
    session = Session(gateway._shared, next(iter(gateway.users)))
    return gateway, link, network, session


async def test_a_message_that_is_half_way_when_the_login_ends_is_there_once() -> None:
    gateway, link, network, session = await begun()
    session.begin()
    async with asyncio.timeout(WAIT):
        await link.begun.wait()
        ending = asyncio.create_task(session.end())
        await asyncio.sleep(0)
        session.begin()  # the user is back before the end is over
        await asyncio.sleep(0)
        link.go_on.set()
        await ending
        await network.confirmed.wait()
    assert network.logins == 2
    assert [message.body() for message in link.taken] == ["Juliet!"]
    assert session.state is State.ONLINE
    await session.end()
    await gateway.stop()
    last = [stanza for stanza in link.posted if isinstance(stanza, Presence)][-1]
    assert last.type == "unavailable"
