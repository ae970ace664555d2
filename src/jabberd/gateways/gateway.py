"""A gateway: all the XMPP work between users and one foreign network (XEP-0100).

A stanza that comes is for the gateway itself or for a contact; it goes to the part that it is the
business of. `Site` is what the network sees of the gateway.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from jabberd.client.component import LinkLost
from jabberd.gateways import presence
from jabberd.gateways.acts import Acts
from jabberd.gateways.commands import Commands
from jabberd.gateways.contacts import refusal
from jabberd.gateways.desk import Desk, Grants
from jabberd.gateways.dialogue import Dialogue
from jabberd.gateways.events import Event
from jabberd.gateways.ids import Ids
from jabberd.gateways.incoming import Incoming
from jabberd.gateways.link import Connect
from jabberd.gateways.outgoing import Outgoing
from jabberd.gateways.queues import Queues, Work
from jabberd.gateways.requests import Requests
from jabberd.gateways.rules import Rules
from jabberd.gateways.session import Session, Shared, State
from jabberd.gateways.signup import SignUps
from jabberd.gateways.transport import Capability, Login, Lost, Network, NotDone, NotTaken
from jabberd.gateways.uploads import Uploads
from jabberd.gateways.users import User, Users
from jabberd.gateways.vault import Vault
from jabberd.storage.api import StorageError
from jabberd.storage.records import Records
from jabberd.xmpp import ns
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.payload import privilege
from jabberd.xmpp.stanza import Iq, Message, Presence, Stanza

_log: Final = structlog.get_logger("jabberd.gateway")
_SWEEP_SECONDS: Final = 600.0
_PROBES_PER_SECOND: Final = 50
_GRACE_SECONDS: Final = 60.0
"""How long after a connection nobody counts as gone who has not been heard of yet."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a gateway is made of.

    Attributes:
        domain: its address.
        allow: domains whose users may register.
        key: that logins are encrypted with (`vault.KEY_BYTES`).
        version: of this software, to show.
        rules: bounds.
        verify_uploads: whether the certificate of the upload service is checked.
        nearby: see `uploads.Uploads`.
    """

    domain: JID
    allow: frozenset[str]
    key: bytes
    version: str
    rules: Rules = field(default_factory=Rules)
    verify_uploads: bool = True
    nearby: Callable[[str], str] = str


class Gateway:
    """One gateway. Implements `link.Far` and `transport.Site`.

    Args:
        network: what it leads to.
        options: see there.
        records: durable state.
        connect: makes the link to the server.
        now: seconds since the epoch.
        token: makes unpredictable strings.
    """

    def __init__(
        self,
        network: Network,
        options: Options,
        records: Records,
        connect: Connect,
        now: Callable[[], float],
        token: Callable[[], str],
    ) -> None:
        self.network = network
        self.options = options
        self.users = Users(records, Vault(options.key, options.domain.domain))
        self._sessions: dict[str, Session] = {}
        self._works: set[asyncio.Task[None]] = set()
        self.desk = Desk(
            domain=options.domain,
            network=network,
            link=connect(self),
            records=records,
            users=self.users,
            ids=Ids(records),
            now=now,
            token=token,
            rules=options.rules,
        )
        self._queues = Queues(self.desk.link.post)
        self._uploads = Uploads(self.desk, options.verify_uploads, options.nearby)
        self._incoming = Incoming(self.desk, self._uploads)
        gate = asyncio.Semaphore(options.rules.logins)
        self._shared = Shared(self.desk, self._incoming, self, gate)
        self._acts = Acts(self.desk, self.session, self._remove)
        self._signups = SignUps(self.desk, self, self._registered, self._leaving)
        self._outgoing = Outgoing(self.desk)
        self._dialogue = Dialogue(self.desk, self._signups, self._acts)
        self._commands = Commands(self.desk, self._signups, self._acts)
        self._requests = Requests(
            self.desk, self._signups, self._acts, self._commands, options.version
        )

    # Its life

    async def start(self) -> None:
        """Read who is registered, and begin what all of them share.

        Raises:
            StorageError: that cannot be read.
        """
        await self.users.load()
        for user in self.users:
            self._sessions[user.jid.text] = Session(self._shared, user)
            await self._sessions[user.jid.text].outbox.load()
        await self.network.start(self)
        self._work("sweep", self._sweep())

    async def stop(self) -> None:
        """End every login, and what they share."""
        for work in list(self._works):
            work.cancel()
        await asyncio.gather(*self._works, return_exceptions=True)
        await self._queues.close()
        sessions = list(self._sessions.values())
        await asyncio.gather(*(session.end() for session in sessions), return_exceptions=True)
        await self.network.stop()

    def session(self, user: str) -> Session | None:
        """The session of a registered user, by the bare JID."""
        return self._sessions.get(user)

    def sessions(self) -> list[Session]:
        """All sessions, for the operator."""
        return list(self._sessions.values())

    # What the link says

    def up(self) -> None:
        """See `Far.up`: ask who is here, and log in those who always are."""
        self._outgoing.reconnected()
        for user in self.users:
            user.resources.clear()  # who left meanwhile has told nobody
        self._work("greet", self._greet())

    def down(self, why: str) -> None:
        """See `Far.down`."""
        _log.info("the server is out of reach", gateway=self.desk.domain.text, why=why)

    def receive(self, stanza: Stanza) -> Awaitable[None] | None:
        """See `Far.receive`."""
        if isinstance(stanza, Message):
            return self._message(stanza)
        if isinstance(stanza, Presence):
            self._queue(stanza, lambda: self._presence(stanza))
        elif isinstance(stanza, Iq) and stanza.is_request:
            self._queue(stanza, lambda: self._iq(stanza))
        return None

    def _queue(self, stanza: Stanza, work: Work) -> None:
        if stanza.from_ is not None:
            self._queues.put(stanza.from_.bare_text, stanza, work)

    # What the network sees (`transport.Site`)

    @property
    def domain(self) -> str:
        """See `Site.domain`."""
        return self.desk.domain.domain

    @property
    def records(self) -> Records:
        """See `Site.records`."""
        return self.desk.records

    def now(self) -> float:
        """See `Site.now`."""
        return self.desk.now()

    def login(self, user: str) -> Login | None:
        """See `Site.login`."""
        known = self.users.get(user)
        return self.users.login(known) if known is not None else None

    def user_of(self, name: str) -> str | None:
        """See `Site.user_of`."""
        return self.users.of_name(name)

    async def emit(self, user: str, event: Event) -> None:
        """See `Site.emit`."""
        session = self._sessions.get(user)
        if session is None:
            raise NotTaken("nobody is registered for this", lasting=True)
        await session.contacts.load()
        await self._incoming.take(session.user, session.contacts, event)

    async def fetch(self, url: str, most: int) -> bytes:
        """See `Site.fetch`."""
        return await self._uploads.fetch(url, most)

    # Stanzas

    async def _message(self, message: Message) -> None:
        to, sender = message.to, message.from_
        if to is None or sender is None or message.type == "error":
            return
        if not sender.local and sender == self.desk.link.server:
            self._granted(message)
            return
        if message.type == "groupchat":
            text = f"{self.desk.domain} has no rooms"
            raise StanzaError(Condition.SERVICE_UNAVAILABLE, text)
        if not to.local:
            self._queue(message, lambda: self._chat(sender, message))
            return
        said = self._outgoing.read(message)
        session = self._acts.of(sender.bare)
        contact = await self.desk.legacy(session.user, to)
        if said.typing is not None or said.read:
            self._queue(message, lambda: self._outgoing.pass_on(session, contact, said))
        await self._outgoing.keep(session, contact, message, said)

    async def _chat(self, sender: JID, message: Message) -> None:
        body = message.body()
        if not body or message.kind == "headline":
            return
        self._check_allowed(sender)
        answer = await self._dialogue.hear(sender.bare, body)
        await self.desk.say(sender, answer)

    def _granted(self, message: Message) -> None:
        """The server says what the gateway may do (XEP-0356 §4.1)."""
        granted = privilege.read_advertisement(message)
        if granted is not None:
            upload = granted.iq.get(ns.HTTP_UPLOAD) in privilege.READING
            self.desk.grants = Grants(
                granted.roster == "both", granted.message == "outgoing", upload
            )

    async def _presence(self, stanza: Presence) -> None:
        to, sender = stanza.to, stanza.from_
        if to is None or sender is None:
            return
        session = self._sessions.get(sender.bare_text)
        if session is None:
            self._stranger(stanza, sender, to)
            return
        if stanza.type in {"", "unavailable"}:
            if not to.local:
                await self._seen(session, sender, stanza)
            return
        await session.contacts.load()
        if stanza.type == "probe":
            self._acts.probed(session, to, sender)
        elif not to.local:
            await self._towards_gateway(session, stanza)
        else:
            await self._towards_contact(session, stanza, to)

    def _stranger(self, stanza: Presence, sender: JID, to: JID) -> None:
        # XEP-0100 §4.5: whoever is not registered has no contacts here.
        if stanza.type == "subscribe":
            self.desk.link.post(presence.of_type("unsubscribed", to.bare, sender.bare))
        elif stanza.type == "probe":
            self.desk.link.post(presence.of_type("unsubscribed", to.bare, sender))

    async def _seen(self, session: Session, sender: JID, stanza: Presence) -> None:
        """A client of a user came, changed or left (XEP-0100 §4.4 and §4.6)."""
        user = session.user
        if sender.is_bare:
            return  # servers say so of users who are not there, or who have not agreed yet
        fresh, was_here = sender.resource not in user.resources, user.here
        user.see(sender.resource, presence.read(stanza))
        if user.here:
            if session.state in {State.OFF, State.REFUSED} and fresh:
                session.begin()
            elif fresh:
                session.announce()
                session.contacts.show_all(sender)
            await session.shown()
        elif was_here and not self.desk.can(Capability.STANDING):
            await session.end()

    async def _towards_gateway(self, session: Session, stanza: Presence) -> None:
        user, link = session.user.jid, self.desk.link
        if stanza.type == "subscribe":
            link.post(presence.of_type("subscribed", self.desk.domain, user))
            session.announce()
        elif stanza.type == "unsubscribe":
            link.post(presence.of_type("unsubscribed", self.desk.domain, user))
            text = 'You are still registered. Write "unregister" to me if you want to end that.'
            await self.desk.say(user, text)

    async def _towards_contact(self, session: Session, stanza: Presence, to: JID) -> None:
        transport = session.transport
        try:
            if stanza.type == "subscribe":
                await session.contacts.subscribe(stanza, transport)
            elif stanza.type == "unsubscribe":
                await session.contacts.unsubscribe(to, transport)
            elif stanza.type in {"subscribed", "unsubscribed"}:
                allow = stanza.type == "subscribed"
                await session.contacts.answer(to, transport, allow=allow)
        except NotDone as error:
            raise refusal(error) from None
        except Lost as lost:
            raise StanzaError(Condition.REMOTE_SERVER_TIMEOUT, str(lost)) from None

    async def _iq(self, iq: Iq) -> None:
        sender = iq.from_
        if sender is None:
            return
        if iq.has(ns.REGISTER, "query") or iq.has(ns.COMMANDS, "command"):
            self._check_allowed(sender)
        answer = await self._requests.answer(iq)
        self.desk.link.post(iq.result(*([answer] if answer is not None else [])))

    def _check_allowed(self, sender: JID) -> None:
        if sender.domain not in self.options.allow:
            text = f"{self.desk.domain} is for users of {', '.join(sorted(self.options.allow))}"
            raise StanzaError(Condition.NOT_ALLOWED, text)

    # Registration

    async def _registered(self, user: User) -> None:
        old = self._sessions.get(user.jid.text)
        if old is not None:
            await old.end()
        session = Session(self._shared, user)
        if old is not None:
            await session.outbox.load()
        self._sessions[user.jid.text] = session
        await self.desk.say(
            user.jid,
            f"Welcome. You are registered with {self.network.title} as {user.name}. "
            'Write "help" to me at any time.',
        )
        session.begin()  # whoever registers is here, though nothing has said so yet

    async def _leaving(self, user: User) -> None:
        session = self._sessions.pop(user.jid.text, None)
        if session is not None:
            await session.end()

    async def _remove(self, jid: JID) -> None:
        session = self._acts.of(jid)
        await session.contacts.load()
        contacts = [known.jid.bare for known in session.contacts.all()]
        await self._signups.remove(session.user, contacts)

    async def forget(self, jid: JID) -> None:
        """A user's account is about to be erased.

        Raises:
            StorageError: what the gateway has of the user cannot be.
        """
        session = self._sessions.get(jid.text)
        if session is not None:
            await self._leaving(session.user)
            await self.users.remove(session.user)

    # Beside

    async def _greet(self) -> None:
        for number, session in enumerate(self.sessions()):
            link, user = self.desk.link, session.user.jid
            link.post(presence.of_type("probe", self.desk.domain, user))
            if self.desk.can(Capability.STANDING):
                session.begin()
            if number % _PROBES_PER_SECOND == _PROBES_PER_SECOND - 1:
                await asyncio.sleep(1.0)
        began = self.desk.now()
        await asyncio.sleep(_GRACE_SECONDS)
        for session in self.sessions():
            logged_in = session.state is not State.OFF and session.since < began
            if logged_in and not session.user.here and not self.desk.can(Capability.STANDING):
                await session.end()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            try:
                await self.desk.ids.prune(self.desk.now())
                for session in self.sessions():
                    await session.outbox.expire()
            except (StorageError, LinkLost, StanzaError) as error:
                _log.warning("sweeping failed", gateway=self.domain, why=str(error))

    def _work(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=name)
        self._works.add(task)
        task.add_done_callback(self._works.discard)
