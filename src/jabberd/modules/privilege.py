"""XEP-0356 Privileged Entity: services that the configuration lets act for users."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from jabberd.core.module import (
    At,
    Flow,
    Host,
    IqGet,
    IqSet,
    Module,
    OnHostMessage,
    OnPresence,
    OnSession,
    Outcome,
    Phase,
    Reply,
    SessionEvent,
    Side,
    Xep,
)
from jabberd.core.ports import PresenceApi, PrivilegeApi, RosterApi, SubscriptionApi
from jabberd.core.session import Session
from jabberd.core.verdict import Verdict
from jabberd.storage.api import RosterItem, Subscription
from jabberd.xmpp import ns
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.payload import privilege
from jabberd.xmpp.payload import roster as wire
from jabberd.xmpp.payload.privilege import READING, WRITING, Privileges
from jabberd.xmpp.stanza import Iq, Message, Presence

XEP = Xep(356, "0.4.1", "No roster pushes to the service.")
_SHOWN: Final = frozenset({"", "unavailable"})
_SEEN: Final = frozenset({Subscription.FROM, Subscription.BOTH})
_SUBSCRIPTIONS: Final = {one.value: one for one in Subscription}


@dataclass(frozen=True, slots=True)
class Options:
    """Services get their privileges where they are configured, not here."""


class Privilege:
    """`PrivilegeApi`, and what services do with their privileges."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._services: dict[str, Privileges] = {}
        self._present: dict[Session, None] = {}

    # PrivilegeApi

    def grant(self, service: str, privileges: Privileges | None) -> None:
        """See `PrivilegeApi.grant`."""
        if privileges:
            self._services[service] = privileges
        else:
            self._services.pop(service, None)

    def advertise(self, service: str) -> None:
        """See `PrivilegeApi.advertise`."""
        granted = self._services.get(service)
        if granted is None:
            return
        to = JID.parse(service)
        self._host.route(privilege.advertisement(granted, self._host.domain, to))
        if granted.presence != "none":
            for session in self._present:
                if session.presence is not None:
                    self._host.route(session.presence.replace(to=to, from_=session.jid))

    async def roster_get(self, iq: Iq) -> Reply:
        """See `PrivilegeApi.roster_get`."""
        account = await self._managed(iq, READING)
        items = await self._host.require(RosterApi).items(account)
        return wire.query([_written(item) for item in items if item.listed], "")

    async def roster_set(self, iq: Iq) -> None:
        """See `PrivilegeApi.roster_set`."""
        account = await self._managed(iq, WRITING)
        request = iq.request()
        wanted = wire.read_set(request)
        if wanted.contact == account:
            raise StanzaError(Condition.NOT_ALLOWED, "nobody is in their own roster")
        # Only about its own contacts can a service say who agreed to what; for all others it says
        # no more than a client.
        own = wanted.contact.domain == _service(iq)
        named = next(iter(request)).get("subscription")
        subscription = _SUBSCRIPTIONS.get(named) if own else None

        def update(item: RosterItem | None) -> RosterItem | None:
            if wanted.remove:
                return None
            old = item or RosterItem(wanted.contact.text)
            fresh = replace(old, name=wanted.name, groups=wanted.groups, listed=True)
            if subscription is None:
                return fresh
            return replace(fresh, subscription=subscription, ask=False, pending_in=None)

        change = await self._host.require(RosterApi).change(account, wanted.contact, update)
        if wanted.remove and change.before is not None and not own:
            self._host.require(SubscriptionApi).sever(account, change.before)
        before = change.before is not None and change.before.subscription in _SEEN
        after = change.after is not None and change.after.subscription in _SEEN
        if after and not before:
            self._host.require(PresenceApi).announce(account, wanted.contact)

    # Messages and requests in the name of users

    async def message(self, message: Message) -> Verdict:
        """Send a message in the name of a user (§5.3).

        Raises:
            StanzaError: forbidden, where the service may not, or the user is not one of ours.
        """
        service = _service(message)
        granted = self._services.get(service)
        if granted is None or granted.message != "outgoing":
            raise StanzaError(Condition.FORBIDDEN, "no such privilege was granted")
        inner = privilege.read_outgoing(message)
        if inner is None or inner.to is None:
            raise StanzaError(Condition.BAD_REQUEST, "there is no message with addresses in it")
        sender = inner.from_
        if sender is None or sender.resource or not await self._is_user(sender):
            text = "a message is sent in the name of a user, by the bare JID"
            raise StanzaError(Condition.FORBIDDEN, text)
        # What the service itself answers for was sent there already, as the service knows.
        return await self._host.send_for(inner, deliver=inner.to.domain != service)

    async def iq(self, iq: Iq, _session: Session | None) -> Reply:
        """Ask for something in the name of a user (§6.3).

        Raises:
            StanzaError: forbidden, where the service may not; or what the answer is.
        """
        inner = privilege.read_iq(iq)
        account = iq.to.bare if iq.to is not None else None
        if inner is None or account is None or inner.type != iq.type:
            # §6.3: a wrong namespace or type is forbidden, rather than bad.
            raise StanzaError(Condition.FORBIDDEN, "there is no such request in it")
        if len(inner.children) != 1:
            raise StanzaError(Condition.BAD_REQUEST, "a request has one child")
        granted = self._services.get(_service(iq))
        namespace = inner.children[0].rpartition(" ")[0]
        kind = granted.iq.get(namespace) if granted is not None else None
        if kind not in {iq.type, "both"}:
            raise StanzaError(Condition.FORBIDDEN, "no such privilege was granted")
        if inner.from_ not in {None, account} or not await self._is_user(account):
            raise StanzaError(Condition.FORBIDDEN, "this is no user of the server")
        answer = await self._host.ask(inner.replace(to=inner.to or account), account=account)
        return privilege.answer(answer.replace(to=account))

    # Presence

    def shown(self, presence: Presence, flow: Flow) -> Outcome:
        """Pass on the presence of a user (§7.1)."""
        if presence.to is None and flow.origin is not None:
            self._tell(presence.replace(from_=flow.origin.jid), "managed_entity")
        return None

    def seen(self, presence: Presence, _flow: Flow) -> Outcome:
        """Pass on the presence of a user's contact (§7.4)."""
        self._tell(presence, "roster")
        return None

    def bound(self, session: Session) -> None:
        """Somebody has come."""
        self._present[session] = None

    def closed(self, session: Session) -> None:
        """Somebody has gone, perhaps without a word."""
        self._present.pop(session, None)
        if session.presence is not None:
            self._tell(Presence(from_=session.jid, type="unavailable"), "managed_entity")

    # Inside

    def _tell(self, presence: Presence, kind: str) -> None:
        sender = presence.from_
        for service, granted in self._services.items():
            told = granted.presence == kind or granted.presence == "roster"
            if told and sender is not None and sender.domain != service:
                self._host.route(presence.replace(to=JID.parse(service)))

    async def _managed(self, iq: Iq, kinds: frozenset[str]) -> JID:
        """The account whose roster a service may touch.

        Raises:
            StanzaError: forbidden.
        """
        granted = self._services.get(_service(iq))
        if granted is None or granted.roster not in kinds or iq.to is None:
            raise StanzaError(Condition.FORBIDDEN, "this is the roster of somebody else")
        if not await self._is_user(iq.to.bare):
            raise StanzaError(Condition.ITEM_NOT_FOUND, "there is no such account")
        return iq.to.bare

    async def _is_user(self, jid: JID) -> bool:
        if not jid.local or jid.domain != self._host.domain.domain:
            return False
        if self._host.sessions(jid):
            return True
        return await self._host.stores.accounts.get(jid.text) is not None


def _service(stanza: Message | Iq) -> str:
    """The service that sends a stanza; a user of one is not meant by its privileges."""
    sender = stanza.from_
    return sender.domain if sender is not None and not sender.local else ""


def _written(item: RosterItem) -> str:
    return wire.item(
        item.contact,
        name=item.name,
        groups=item.groups,
        subscription=item.subscription.value,
        ask=item.ask,
        approved=item.approved,
    )


def load(host: Host, _options: Options) -> Module:
    """The module's value for one host."""
    own = Privilege(host)
    presences: Sequence[OnPresence] = (
        OnPresence(Side.SENT, Phase.STAMP, _SHOWN, own.shown),
        OnPresence(Side.RECEIVED, Phase.STAMP, _SHOWN, own.seen),
    )
    return Module(
        handlers=[
            OnHostMessage(ns.PRIVILEGE, "privilege", own.message),
            IqGet(ns.PRIVILEGE, "privileged_iq", own.iq, At.USER),
            IqSet(ns.PRIVILEGE, "privileged_iq", own.iq, At.USER),
            *presences,
            OnSession(SessionEvent.BOUND, own.bound),
            OnSession(SessionEvent.CLOSED, own.closed),
        ],
        provides={PrivilegeApi: own},
    )
