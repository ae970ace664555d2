"""XEP-0357 Push Notifications: clients that are not there are told that something came.

Each client is told for itself, also where another one has got the message: when the message is
kept for its session until it comes back (XEP-0198), and when it waits in the log for whoever
comes. What counts as a message is decided by `xmpp.payload.push.worth`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

from jabberd.core.module import (
    AccountEvent,
    At,
    Flow,
    Host,
    IqSet,
    Module,
    OnAccount,
    OnMessage,
    OnSession,
    OnUndelivered,
    OnWaiting,
    Outcome,
    Phase,
    SessionEvent,
    Side,
    Xep,
)
from jabberd.core.ports import MessagesApi, PushApi, PushDevice
from jabberd.core.session import CLIENT_ID, Session, client_of
from jabberd.core.verdict import Handled
from jabberd.modules.push.backlog import Backlog
from jabberd.modules.push.notify import Notifier
from jabberd.modules.push.options import Options
from jabberd.modules.push.registrations import News, Registration, Registrations
from jabberd.storage.log_api import Entry
from jabberd.xmpp import ns
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.payload import push
from jabberd.xmpp.stanza import Iq, Message, ParseError, Stanza, read_stanza

__all__ = ["XEP", "Options", "Push", "load"]

XEP: Final = Xep(357, "0.4.1")

_BY: Final = "push"
_TEST_SECONDS: Final = 10.0
_LONGEST_BODY: Final = 500  # characters
_AT_ONCE: Final = 100  # entries of the log that are looked at
_MOST_EARLY: Final = 50  # messages of one account, before its registrations are read
_MOST_READ: Final = 5_000  # accounts whose registrations are to be read

Wanted = Callable[[Registration], bool]


class Push:
    """`PushApi`, the requests of clients, and what makes their bells ring.

    Args:
        host: whose accounts'.
        options: see there.
    """

    def __init__(self, host: Host, options: Options) -> None:
        self._host = host
        self._options = options
        self._registrations = Registrations(host)
        self._notifier = Notifier(host, options, self._registrations)
        self._backlog = Backlog(host)
        # What comes before an account's registrations are read.
        self._early: dict[JID, deque[tuple[News, Wanted]]] = {}

    # Requests (§5, §6)

    async def enable(self, iq: Iq, session: Session | None) -> None:
        """A client names whom to notify when it is not here.

        Raises:
            StanzaError: see `push.read`; not-allowed for clients of others; resource-constraint
                where the account has too many.
        """
        session = client_of(session)
        wanted = push.read(iq.request())
        if not isinstance(wanted, push.Enable):
            raise StanzaError(Condition.BAD_REQUEST)
        account = session.jid.bare
        registrations = await self._registrations.of(account)
        options = "" if wanted.options is None else wanted.options.to_bytes().decode()
        for device in registrations:
            if (device.service, device.node) == (wanted.service, wanted.node):
                break
        else:
            self._make_room(registrations)
            device = Registration(wanted.service, wanted.node, "", "", "", 0.0)
            registrations.append(device)
        device.options = options
        device.resource, device.client = session.jid.resource, session.get(CLIENT_ID)
        device.since = self._host.now()
        device.recover()
        self._notifier.here(device)
        await self._registrations.save(account)

    async def disable(self, iq: Iq, session: Session | None) -> None:
        """A client wants nobody to be notified any more; harmless where nobody is.

        Raises:
            StanzaError: see `push.read`; not-allowed for clients of others.
        """
        session = client_of(session)
        wanted = push.read(iq.request())
        registrations = await self._registrations.of(session.jid.bare)
        registrations[:] = [
            device
            for device in registrations
            if device.service != wanted.service or (wanted.node and device.node != wanted.node)
        ]
        await self._registrations.save(session.jid.bare)

    def _make_room(self, registrations: list[Registration]) -> None:
        """Let the longest silent one go, if there is no room for one more.

        Raises:
            StanzaError: resource-constraint, where none is silent.
        """
        if len(registrations) < self._options.max_devices:
            return
        silent = [device for device in registrations if device.off_at is not None]
        if not silent:
            text = f"an account can have {self._options.max_devices} push registrations"
            raise StanzaError(Condition.RESOURCE_CONSTRAINT, text)
        registrations.remove(min(silent, key=lambda device: device.off_at or 0.0))

    async def _end(self, message: Message, account: JID) -> Outcome:
        node = push.read_end(message, account)
        for device in await self._registrations.of(account):
            if device.service == message.from_ and device.node == node:
                device.mark("the service has ended it", self._host.now(), off=True)
                await self._registrations.save(account)
                return Handled(_BY)
        return None

    def ended(self, message: Message, flow: Flow) -> Outcome | Awaitable[Outcome]:
        """A service says that it takes no more notifications (§8); that is for us."""
        return self._end(message, flow.account)

    def deleting(self, account: JID) -> None:
        """The account is about to be erased."""
        self._registrations.erase(account)

    # What makes bells ring

    def undelivered(self, session: Session, stanza: Stanza) -> None:
        """A message is kept for a client that is not there."""
        if isinstance(stanza, Message):
            self._tell(stanza, session.jid.bare, lambda device: device.of(session))

    def waiting(self, account: JID, message: Message | None) -> None:
        """Messages have begun to wait for whoever comes."""
        if message is not None:
            self._tell(message, account, lambda device: self._absent(account, device))
        elif self._may_have_some(account):
            self._backlog.add(("what waits", account), partial(self._look, account))

    def away(self, session: Session) -> None:
        """A client is gone without a word: perhaps it has not got what was sent to it last."""
        keys = session.keys()
        if keys and self._may_have_some(session.jid.bare):
            work = partial(self._look_after, session, sorted(keys)[-_AT_ONCE:])
            self._backlog.add(("what it has not got", session.jid), work)

    def here(self, session: Session) -> None:
        """A client is here."""
        for device in self._registrations.known(session.jid.bare) or ():
            if device.of(session):
                self._notifier.here(device)

    def _may_have_some(self, account: JID) -> bool:
        return self._registrations.known(account) != []

    def _absent(self, account: JID, device: Registration) -> bool:
        return not any(
            session.connected and device.of(session) for session in self._host.sessions(account)
        )

    def _tell(self, message: Message, account: JID, wanted: Wanted) -> None:
        """Ring the bells of those who are `wanted` for a message, if it is worth it."""
        if not self._may_have_some(account):
            return
        worth = push.worth(message, account)
        if worth is None:
            return
        news = self._news(worth)
        registrations = self._registrations.known(account)
        if registrations is not None:
            self._ring(registrations, account, wanted, [news])
            return
        early = self._early.get(account)
        if early is None:
            if len(self._early) >= _MOST_READ:
                return
            early = self._early[account] = deque(maxlen=_MOST_EARLY)
        early.append((news, wanted))
        self._backlog.add(("who it is for", account), partial(self._catch_up, account))

    async def _catch_up(self, account: JID) -> None:
        try:
            registrations = await self._registrations.of(account)
        finally:
            early = self._early.pop(account, ())
        for news, wanted in early:
            self._ring(registrations, account, wanted, [news])

    def _ring(
        self,
        registrations: Sequence[Registration],
        account: JID,
        wanted: Wanted,
        news: Sequence[News],
    ) -> None:
        for device in registrations:
            # What a service says because it was notified must not make it be notified again.
            told = [one for one in news if not _is_of(device.service, one.sender)]
            if told and wanted(device):
                self._notifier.ring(account, device, told[-1], len(told))

    def _news(self, message: Message) -> News:
        body = message.body() if self._options.include_body else None
        return News(message.from_, (body or "")[:_LONGEST_BODY])

    async def _look(self, account: JID) -> None:
        """Tell of what waits those who have been told of nothing yet."""
        registrations = await self._registrations.of(account)
        if registrations:
            await self._host.require(MessagesApi).settled()
            waiting = await self._host.stores.log.waiting(account.text, limit=_AT_ONCE)
            self._ring(
                registrations,
                account,
                lambda device: device.bell.rung is None and self._absent(account, device),
                self._worth(waiting, account),
            )

    async def _look_after(self, session: Session, keys: Sequence[int]) -> None:
        account = session.jid.bare
        registrations = await self._registrations.of(account)
        if not any(device.of(session) for device in registrations):
            return
        await self._host.require(MessagesApi).settled()
        entries = await self._host.stores.log.get(account.text, keys)
        if not session.connected:
            news = self._worth(entries, account)
            self._ring(registrations, account, lambda device: device.of(session), news)

    def _worth(self, entries: Sequence[Entry], account: JID) -> list[News]:
        found: list[News] = []
        for entry in entries:
            try:
                stanza = read_stanza(entry.stanza)
            except ParseError:
                continue
            if isinstance(stanza, Message) and (message := push.worth(stanza, account)):
                found.append(self._news(message))
        return found

    # PushApi

    async def devices(self, account: JID) -> Sequence[PushDevice]:
        """See `PushApi.devices`."""
        return [device.shown() for device in await self._registrations.of(account)]

    async def test(self, account: JID) -> Sequence[PushDevice]:
        """See `PushApi.test`."""
        registrations = list(await self._registrations.of(account))
        notify = self._notifier.notify
        await asyncio.gather(*(notify(account, device, _TEST_SECONDS) for device in registrations))
        return [device.shown() for device in registrations]


def _is_of(service: JID, sender: JID | None) -> bool:
    """Whether a message is of a push service: one without a localpart is a whole domain."""
    if sender is None:
        return False
    return sender.bare == service.bare if service.local else sender.domain == service.domain


def load(host: Host, options: Options) -> Module:
    """The module's value for one host."""
    service = Push(host, options)
    return Module(
        account_features=[ns.PUSH],
        handlers=[
            IqSet(ns.PUSH, "enable", service.enable, At.OWN),
            IqSet(ns.PUSH, "disable", service.disable, At.OWN),
            OnMessage(Side.RECEIVED, Phase.SCREEN, service.ended, wants=[(ns.PUBSUB, "pubsub")]),
            OnUndelivered(service.undelivered),
            OnWaiting(service.waiting),
            OnSession(SessionEvent.AWAY, service.away),
            OnSession(SessionEvent.BOUND, service.here),
            OnSession(SessionEvent.RESUMED, service.here),
            OnAccount(AccountEvent.DELETING, service.deleting),
        ],
        provides={PushApi: service},
    )
