"""RFC 6121 §4: presence is broadcast, probed, directed and withdrawn."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Final, cast

from jabberd.core.module import (
    Flow,
    Host,
    Module,
    OnPresence,
    OnSession,
    Outcome,
    Phase,
    SessionEvent,
    Side,
)
from jabberd.core.ports import LastPresence, PresenceApi, RosterApi
from jabberd.core.session import Session, Slot
from jabberd.core.verdict import Dropped, Handled
from jabberd.storage.api import RosterItem, StorageError, Subscription
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.payload.delay import delay
from jabberd.xmpp.stanza import Presence

RFC: Final = "6121 §4"
DIRECTED: Final[Slot[set[JID] | None]] = Slot(
    "presence.directed",
    None,
    save=lambda directed: sorted(jid.text for jid in directed or ()),
    load=lambda kept: {JID.parse(text) for text in cast("list[str]", kept)},
)

_BY: Final = "presence"


@dataclass(frozen=True, slots=True)
class Options:
    """What is remembered of directed presence.

    Attributes:
        max_directed: addresses per session that were sent presence directly, rooms for example;
            one more is refused, since nobody would tell it that the session is gone.
    """

    max_directed: int = 1000


class Presences:
    """`PresenceApi`, and what the server does with its users' presence."""

    def __init__(self, host: Host, options: Options) -> None:
        self._host = host
        self._options = options

    async def sent(self, presence: Presence, flow: Flow) -> Outcome:
        """A client says that it is available or unavailable, to all or to one address.

        Raises:
            StanzaError: bad-request for a priority that is none; resource-constraint for too
                many addresses of directed presence.
        """
        session = flow.origin
        if session is None:
            return None
        if presence.to is not None:
            self._direct(session, presence, presence.to)
            return None
        if presence.type:
            return await self._leave(session, presence)
        return await self._arrive(session, presence)

    async def probed(self, presence: Presence, flow: Flow) -> Outcome:
        """Answer a probe on behalf of the account (§4.3.2, §4.6.6)."""
        asker, to, account = presence.from_, presence.to, flow.account
        if asker is None or to is None:
            return Dropped(_BY, "a probe has two addresses")
        if not await self.may_see(account, asker.bare):
            self._answer_stranger(asker, to, account, presence.id)
        elif to.resource:
            # Only that resource, and only whether it is there.
            there = any(s.presence for s in self._host.sessions(account) if s.jid == to)
            kind = "" if there else "unavailable"
            self._host.route(Presence(from_=to, to=asker, type=kind))
        else:
            shown = [s.presence for s in self._host.sessions(account) if s.presence]
            for one in shown:
                self._host.route(one.replace(to=asker))
            if not shown:
                self._host.route(await self._absent(account, asker, presence.id))
        return Handled(_BY)

    def lost(self, presence: Presence, flow: Flow) -> Outcome:
        """Who is unavailable or answers with an error gets no directed presence (§4.6.1)."""
        sender, to = presence.from_, presence.to
        if sender is None or to is None:
            return None
        for session in self._host.sessions(flow.account):
            directed = session.get(DIRECTED)
            if directed and (to.is_bare or session.jid == to):
                directed.discard(sender)
        return None

    async def closed(self, session: Session) -> None:
        """Say on behalf of a session that it is gone (§4.5.2)."""
        presence = Presence(from_=session.jid, type="unavailable")
        subscribers = await self._subscribers(session)
        others = self._host.sessions(session.jid.bare)
        if any(other.jid == session.jid and other.presence for other in others):
            # A new session has this address by now, and has said so to the subscribers.
            self._tell_directed(session, presence, subscribers)
        else:
            self._depart(session, presence, subscribers)

    def announce(self, account: JID, contact: JID) -> None:
        """See `PresenceApi.announce`."""
        for session in self._host.sessions(account):
            if session.presence is not None:
                self._tell(session.presence, contact)

    def withdraw(self, account: JID, contact: JID) -> None:
        """See `PresenceApi.withdraw`."""
        for session in self._host.sessions(account):
            directed = session.get(DIRECTED) or set()
            told = {jid for jid in directed if jid.bare == contact}
            directed -= told
            if session.presence is not None or told:
                self._tell(Presence(from_=session.jid, type="unavailable"), contact)

    async def probe(self, account: JID, contact: JID, session: Session) -> None:
        """See `PresenceApi.probe`."""
        self._probe(account, contact, session)

    def may_ask(self, session: Session, sender: JID) -> bool | Awaitable[bool]:
        """See `PresenceApi.may_ask`."""
        directed = session.get(DIRECTED)
        if directed:
            # Occupants of a room share an address: presence was directed to one of them.
            bare = sender.bare
            if sender in directed or any(jid.bare == bare for jid in directed):
                return True
        return self.may_see(session.jid.bare, sender)

    async def may_see(self, account: JID, contact: JID) -> bool:
        """See `PresenceApi.may_see`."""
        if contact.bare == account:
            return True
        item = await self._host.require(RosterApi).item(account, contact.bare)
        return item is not None and _sees_us(item)

    async def _arrive(self, session: Session, presence: Presence) -> Outcome:
        priority = presence.priority()
        account = session.jid.bare
        items = await self._host.require(RosterApi).items(account)
        sessions = self._host.sessions(account)
        if session not in sessions:
            return Dropped(_BY, "the session ended meanwhile")
        initial = session.presence is None
        willing = session.priority < 0 <= priority
        session.appear(presence, priority)
        own = presence.replace(to=account)
        for other in sessions:
            if other.presence is not None:
                other.send(own)
                if initial and other is not session:
                    session.send(other.presence.replace(to=account))
        for item in items:
            if _sees_us(item):
                self._tell(presence, JID.parse(item.contact))
        absent = []
        if initial:
            contacts = [JID.parse(item.contact) for item in items if _seen_by_us(item)]
            for contact in contacts:
                self._probe(account, contact, session)
            absent = [contact for contact in contacts if self._offline_here(contact)]
        if initial or willing:
            done = self._host.emit(SessionEvent.AVAILABLE, session)
            if done is not None:
                await done
        if absent:
            await self._last_seen(session, absent)
        return Handled(_BY)

    async def _last_seen(self, session: Session, contacts: Sequence[JID]) -> None:
        """Tell a new session since when contacts of this host are gone (§4.3.2 rule 3).

        No probe is routed to them, which would read each contact's roster: both ends of the
        subscription are ours, and where the account has its end, the contact has the other. One
        read is for them all, after everything that does not wait for it. Of whom no time is
        known, nothing is said.
        """
        try:
            lasts = await self._host.require(LastPresence).last_of(contacts)
        except (LookupError, StorageError):
            return  # they look absent all the same
        for contact in contacts:
            last = lasts.get(contact.text)
            # Who has come meanwhile has said so.
            if last is not None and self._offline_here(contact):
                gone = Presence(from_=contact, to=session.jid, type="unavailable")
                session.send(gone.with_child(delay(last[0])))

    async def _leave(self, session: Session, presence: Presence) -> Outcome:
        subscribers = await self._subscribers(session)
        if session not in self._host.sessions(session.jid.bare):
            return Dropped(_BY, "the session ended meanwhile")
        self._depart(session, presence, subscribers)
        session.appear(None)
        session.set(DIRECTED, None)
        return Handled(_BY)

    async def _subscribers(self, session: Session) -> Sequence[str]:
        # Nobody was told of a session that has never been available.
        if session.presence is None:
            return ()
        items = await self._host.require(RosterApi).items(session.jid.bare)
        return [item.contact for item in items if _sees_us(item)]

    def _depart(self, session: Session, presence: Presence, subscribers: Sequence[str]) -> None:
        account = session.jid.bare
        if session.presence is not None:
            own = presence.replace(to=account)
            for other in self._host.sessions(account):
                if other.presence is not None:
                    other.send(own)
            for contact in subscribers:
                self._tell(presence, JID.parse(contact))
        self._tell_directed(session, presence, subscribers)

    def _tell_directed(
        self, session: Session, presence: Presence, subscribers: Sequence[str]
    ) -> None:
        # §4.6.3 rule 2; whoever is a subscriber has been told already.
        directed = session.get(DIRECTED)
        if not directed:
            return
        told = frozenset(subscribers)
        for jid in directed:
            if jid.bare_text not in told:
                self._host.route(presence.replace(to=jid))

    def _direct(self, session: Session, presence: Presence, to: JID) -> None:
        directed = session.get(DIRECTED)
        if presence.type:
            if directed is not None:
                directed.discard(to)
                session.set(DIRECTED, directed)
            return
        if directed is None:
            directed = set()
        if to not in directed and len(directed) >= self._options.max_directed:
            text = f"directed presence goes to at most {self._options.max_directed} addresses"
            raise StanzaError(Condition.RESOURCE_CONSTRAINT, text)
        directed.add(to)
        session.set(DIRECTED, directed)

    def _tell(self, presence: Presence, contact: JID) -> None:
        # §8.5.2.2.2: presence for those who are not there is not kept.
        if not self._offline_here(contact):
            self._host.route(presence.replace(to=contact))

    def _probe(self, account: JID, contact: JID, session: Session) -> None:
        if contact.domain != self._host.domain.domain:
            self._host.route(Presence(from_=account, to=contact, type="probe"))
        elif not self._offline_here(contact):
            # Here nobody minds the full JID, and the answer reaches this resource alone.
            self._host.route(Presence(from_=session.jid, to=contact, type="probe"))

    def _offline_here(self, jid: JID) -> bool:
        return (
            jid.domain == self._host.domain.domain
            and bool(jid.local)
            and not self._host.sessions(jid.bare)
        )

    def _answer_stranger(self, asker: JID, to: JID, account: JID, name: str) -> None:
        known = [
            session.jid
            for session in self._host.sessions(account)
            if asker in (session.get(DIRECTED) or ()) and (to.is_bare or to == session.jid)
        ]
        for jid in known:
            self._host.route(Presence(from_=jid, to=asker))
        if not known:
            reply = Presence(from_=account, to=asker.bare, type="unsubscribed", id=name)
            self._host.route(reply)

    async def _absent(self, account: JID, asker: JID, name: str) -> Presence:
        presence = Presence(from_=account, to=asker, type="unavailable", id=name)
        try:
            last = await self._host.require(LastPresence).last(account)
        except LookupError:
            last = None
        return presence if last is None else presence.with_child(delay(last[0]))


def _sees_us(item: RosterItem) -> bool:
    return item.subscription is Subscription.FROM or item.subscription is Subscription.BOTH


def _seen_by_us(item: RosterItem) -> bool:
    return item.subscription is Subscription.TO or item.subscription is Subscription.BOTH


def load(host: Host, options: Options) -> Module:
    """The module's value for one host."""
    presences = Presences(host, options)
    return Module(
        handlers=[
            OnPresence(Side.SENT, Phase.DELIVER, frozenset({"", "unavailable"}), presences.sent),
            OnPresence(Side.RECEIVED, Phase.DELIVER, frozenset({"probe"}), presences.probed),
            OnPresence(
                Side.RECEIVED, Phase.STAMP, frozenset({"unavailable", "error"}), presences.lost
            ),
            OnSession(SessionEvent.CLOSED, presences.closed),
        ],
        provides={PresenceApi: presences},
    )
