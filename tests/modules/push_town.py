"""A host with an account, its phones, and push services (XEP-0357)."""

from __future__ import annotations

import asyncio

from jabberd.core.eager import settle
from jabberd.core.module import SessionEvent
from jabberd.core.ports import PushApi, PushDevice
from jabberd.core.session import CLIENT_ID, Session
from jabberd.core.verdict import Relayed, Verdict
from jabberd.modules import offline, presence, push, roster
from jabberd.xmpp.element import Element
from jabberd.xmpp.error import StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Iq, Stanza, error_reply, read_stanza
from tests.modules.host import RecordingSession, World

USER, JULIET = "user@example.com", "juliet@capulet.example/balcony"
SERVICE, NODE = "push-5.client.example", "yxs32uqsflafdk3iuqo"
ENABLE = f"<enable xmlns='urn:xmpp:push:0' jid='{SERVICE}' node='{NODE}'/>"
FORM = (
    "<x xmlns='jabber:x:data' type='submit'>"
    "<field var='FORM_TYPE'><value>http://jabber.org/protocol/pubsub#publish-options</value></field>"
    "<field var='secret'><value>eruio234vzxc2kla-91</value></field></x>"
)
DISABLE = f"<disable xmlns='urn:xmpp:push:0' jid='{SERVICE}'/>"
ROMEO = "<body>Wherefore art thou, Romeo?</body>"


class Service:
    """A push service, which takes what it gets unless it is told otherwise."""

    def __init__(self, world: World, name: str = SERVICE) -> None:
        self._world = world
        self.name = name
        self.asked: list[Iq] = []
        self.errors: list[StanzaError] = []
        self.hold: asyncio.Event | None = None
        world.router.add(name, self)

    async def receive(self, stanza: Stanza, origin: Session | None) -> Verdict:
        """Take a notification."""
        if isinstance(stanza, Iq) and stanza.is_request:
            self.asked.append(stanza)
            if self.hold is not None:
                await self.hold.wait()
            answer = error_reply(stanza, self.errors.pop(0)) if self.errors else stanza.result()
            self._world.host.route(answer)
        return Relayed("test")

    def knows(self, account: str) -> bool:
        """None of its accounts are ours."""
        return False

    def take(self) -> list[tuple[str, int]]:
        """Node and message count of each notification since the last call."""
        found = [(node_of(iq), int(summary_of(iq)["message-count"])) for iq in self.asked]
        self.asked.clear()
        return found


def _publish(iq: Iq) -> Element:
    publish = iq.request().find("http://jabber.org/protocol/pubsub", "publish")
    assert publish is not None
    return publish


def node_of(iq: Iq) -> str:
    """The node that a notification is for."""
    return _publish(iq).get("node")


def summary_of(iq: Iq) -> dict[str, str]:
    """What a notification tells."""
    (item,) = _publish(iq)
    (notification,) = item
    assert (notification.ns, notification.name) == ("urn:xmpp:push:0", "notification")
    (form,) = notification
    assert (form.ns, form.name) == ("jabber:x:data", "x")
    fields = {field.get("var"): field.child_text("jabber:x:data", "value") or "" for field in form}
    assert fields.pop("FORM_TYPE") == "urn:xmpp:push:summary"
    return fields


class Phone(RecordingSession):
    """A client whose connection comes and goes."""

    here = True
    unacknowledged: frozenset[int] = frozenset()

    @property
    def connected(self) -> bool:
        """Whether it is here."""
        return self.here

    def keys(self) -> frozenset[int]:
        """What it has not acknowledged."""
        return self.unacknowledged


class Town:
    """A host with an account, its phone, and a push service."""

    def __init__(self, options: push.Options | None = None) -> None:
        self.world = world = World()
        self.service = Service(world)
        world.load("offline", offline.load(world.host, offline.Options()))
        world.load("roster", roster.load(world.host, roster.Options()))
        world.load("presence", presence.load(world.host, presence.Options()))
        self.module = push.load(world.host, options or push.Options())
        world.load("push", self.module)
        api = world.host.require(PushApi)
        assert isinstance(api, push.Push)
        self.push = api

    async def phone(self, resource: str = "mobile", client: str = "") -> Phone:
        """A client of the account."""
        phone = Phone(JID.parse(f"{USER}/{resource}"), self.world.clock())
        if client:
            phone.set(CLIENT_ID, client)
        await settle(self.world.host.bind(phone))
        return phone

    async def asks(self, session: RecordingSession, request: str) -> str:
        """A client asks for something; the answer."""
        await self.world.says(session, f"<iq type='set' id='x42'>{request}</iq>")
        (answer,) = session.take()
        return answer

    async def enabled(
        self, resource: str = "mobile", node: str = NODE, client: str = "", service: str = SERVICE
    ) -> Phone:
        """A client that wants to be notified."""
        phone = await self.phone(resource, client)
        request = f"<enable xmlns='urn:xmpp:push:0' jid='{service}' node='{node}'/>"
        assert "type='result'" in await self.asks(phone, request)
        return phone

    async def sleeps(self, phone: Phone) -> None:
        """The connection of a client breaks; its session waits for it."""
        phone.here = False
        await settle(self.world.host.emit(SessionEvent.AWAY, phone))
        await self.world.quiet()

    async def resumes(self, phone: Phone) -> None:
        """The client is back."""
        phone.here = True
        await settle(self.world.host.emit(SessionEvent.RESUMED, phone))

    async def misses(self, phone: Phone, inside: str = ROMEO, from_: str = JULIET) -> None:
        """A message is kept for a session whose client is not there."""
        stanza = f"<message from='{from_}' to='{phone.jid}' type='chat'>{inside}</message>"
        self.world.host.undelivered(phone, read_stanza(stanza.encode()))
        await self.world.quiet()

    async def comes(self, inside: str = ROMEO, from_: str = JULIET) -> Verdict:
        """A message for the account comes."""
        text = f"<message from='{from_}' to='{USER}' type='chat'>{inside}</message>"
        return await self.world.arrives(text)

    async def later(self, seconds: float) -> None:
        """Time passes, and what is due then happens."""
        self.world.clock.pass_(seconds)
        self.push._notifier.due()
        await self.world.quiet()

    async def only(self) -> PushDevice:
        """The one registration."""
        (device,) = await self.push.devices(JID.parse(USER))
        return device

    async def again(self) -> Town:
        """The server after a restart, with the same database and clock."""
        town = Town.__new__(Town)
        town.world = world = World()
        world.stores = world.host.stores = self.world.stores
        world.host.now = world.clock = self.world.clock
        town.service = Service(world)
        town.module = push.load(world.host, push.Options())
        world.load("push", town.module)
        town.push = world.host.require(PushApi)  # type: ignore[assignment]
        return town
