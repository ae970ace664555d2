"""RFC 6121 §3: presence subscriptions, by the tables of `core.subscription`."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Final

from jabberd.core.module import (
    AccountEvent,
    Flow,
    Host,
    Module,
    OnAccount,
    OnPresence,
    OnSession,
    Outcome,
    Phase,
    SessionEvent,
    Side,
)
from jabberd.core.ports import PresenceApi, RosterApi, SubscriptionApi
from jabberd.core.session import Session, flag_slot
from jabberd.core.subscription import Step, inbound, outbound
from jabberd.core.verdict import Delivered, Dropped, Handled, Stored, Verdict
from jabberd.storage.api import RosterChange, RosterItem, Subscription
from jabberd.xmpp import ns
from jabberd.xmpp.element import Element
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import ParseError, Presence, read_stanza

RFC: Final = "6121 §3"
ASKED: Final = flag_slot("subscription.asked")

_BY: Final = "subscription"


@dataclass(frozen=True, slots=True)
class Options:
    """What is kept of subscription requests.

    Attributes:
        max_request: bytes of a request that are kept until it is answered; of a larger one only
            the request itself is kept, without what is inside.
    """

    max_request: int = 10_000


class Subscriptions:
    """Both sides of every subscription stanza, and `SubscriptionApi`."""

    def __init__(self, host: Host, options: Options) -> None:
        self._host = host
        self._options = options

    async def sent(self, presence: Presence, flow: Flow) -> Outcome:
        """The user's part (§3.1.2, §3.1.5, §3.2.2, §3.3.2, §3.4.2).

        Raises:
            StanzaError: bad-request without an address; resource-constraint with a full roster.
        """
        account, kind = flow.account, presence.type
        if presence.to is None:
            raise StanzaError(Condition.BAD_REQUEST, f"whom does {kind!r} mean?")
        contact = presence.to.bare
        if contact == account:
            return Dropped(_BY, "everybody sees their own presence")
        stanza = presence.replace(to=contact, from_=account)
        routed: list[Awaitable[Verdict] | Verdict] = []
        steps: list[Step] = []

        def first(change: RosterChange) -> None:
            step = outbound(change.before, contact.text, kind)
            steps.append(step)
            if step.revoked:
                # §3.2.2: unavailable while the contact is subscribed still.
                self._host.require(PresenceApi).withdraw(account, contact)
            if step.passes:
                routed.append(self._host.route(stanza))

        roster = self._host.require(RosterApi)
        await roster.change(
            account, contact, lambda item: outbound(item, contact.text, kind).item, first=first
        )
        verdict = await _ready(routed[0]) if routed else Handled(_BY)
        if steps[0].granted:
            # §3.1.5: after the approval, presence.
            self._host.require(PresenceApi).announce(account, contact)
        return verdict

    async def received(self, presence: Presence, flow: Flow) -> Outcome:
        """The server's part for the recipient (§3.1.3, §3.1.6, §3.2.3, §3.3.3)."""
        account, kind = flow.account, presence.type
        if presence.from_ is None or presence.from_.bare == account:
            return Dropped(_BY, "everybody sees their own presence")
        if self._missed(presence, account):
            return Dropped(_BY, "RFC 6121 §8.5.3.2.2: no such resource")
        contact = presence.from_.bare
        stanza = presence.replace(to=account, from_=contact)
        kept = self._kept(stanza) if kind == "subscribe" else b""
        steps: list[Step] = []
        reached: list[Session] = []

        def first(change: RosterChange) -> None:
            step = inbound(change.before, contact.text, kind, kept)
            steps.append(step)
            if step.passes:
                # §3.1.6, §3.2.3, §3.3.3: before the push.
                reached.extend(self._deliver(stanza, account))
            if step.revoked:
                self._host.require(PresenceApi).withdraw(account, contact)

        roster = self._host.require(RosterApi)
        try:
            await roster.change(
                account,
                contact,
                lambda item: inbound(item, contact.text, kind, kept).item,
                first=first,
                foreign=True,
            )
        except StanzaError:
            # An error would tell a stranger that the account exists.
            return Dropped(_BY, "the roster of the recipient is full")
        step = steps[0]
        if step.reply:
            await self._answer(account, contact, step.reply, presence.id)
        return _verdict(step, reached)

    async def ask(self, session: Session) -> None:
        """Deliver the requests that wait for an answer to a new resource (§3.1.3)."""
        if session.get(ASKED):
            return
        session.set(ASKED, True)
        for item in await self._host.require(RosterApi).items(session.jid.bare):
            if item.pending_in is None:
                continue
            try:
                session.send(read_stanza(item.pending_in))
            except ParseError:
                # Unreadable after an upgrade, say: the request itself is still true.
                session.send(_bare(JID.parse(item.contact), session.jid.bare, "subscribe"))

    def left(self, presence: Presence, flow: Flow) -> Outcome:
        """A resource becomes unavailable: when it comes back, it is asked again."""
        if presence.to is None and flow.origin is not None:
            flow.origin.set(ASKED, False)
        return None

    async def deleting(self, account: JID) -> None:
        """Tell every contact of an account that it is about to be erased."""
        for item in await self._host.require(RosterApi).items(account):
            if item.pending_in is not None:
                contact = JID.parse(item.contact)
                self._host.route(_bare(account, contact, "unsubscribed"))
            self.sever(account, item)

    def sever(self, account: JID, item: RosterItem) -> None:
        """See `SubscriptionApi.sever`."""
        contact = JID.parse(item.contact)
        both = item.subscription is Subscription.BOTH
        if both or item.subscription is Subscription.TO or item.ask:
            self._host.route(_bare(account, contact, "unsubscribe"))
        if both or item.subscription is Subscription.FROM:
            self._host.require(PresenceApi).withdraw(account, contact)
            self._host.route(_bare(account, contact, "unsubscribed"))

    def _missed(self, presence: Presence, account: JID) -> bool:
        # §8.5.3.2.2: all but a request are ignored where the resource is not there.
        to = presence.to
        if to is None or to.is_bare or presence.type == "subscribe":
            return False
        return all(session.jid != to for session in self._host.sessions(account))

    def _kept(self, stanza: Presence) -> bytes:
        data = stanza.to_bytes()
        if len(data) <= self._options.max_request:
            return data
        return stanza.with_payload(b"", ()).to_bytes()

    def _deliver(self, stanza: Presence, account: JID) -> list[Session]:
        # §2.2: requests go to available resources, all the others to interested ones.
        if stanza.type == "subscribe":
            sessions = [s for s in self._host.sessions(account) if s.presence is not None]
        else:
            sessions = list(self._host.require(RosterApi).interested(account))
        for session in sessions:
            session.send(stanza)
        return sessions

    async def _answer(self, account: JID, contact: JID, kind: str, name: str) -> None:
        await _ready(self._host.route(_bare(account, contact, kind, name)))
        if kind == "subscribed":
            # Who had to ask for what they have already has lost our presence, too.
            self._host.require(PresenceApi).announce(account, contact)


def _bare(from_: JID, to: JID, kind: str, name: str = "") -> Presence:
    return Presence(from_=from_, to=to, type=kind, id=name)


async def _ready(verdict: Awaitable[Verdict] | Verdict) -> Verdict:
    return await verdict if isinstance(verdict, Awaitable) else verdict


def _verdict(step: Step, reached: list[Session]) -> Verdict:
    if reached:
        return Delivered(tuple(session.jid.text for session in reached))
    if step.item is not None and step.item.pending_in is not None and step.passes:
        return Stored(_BY)
    if step.reply or step.after is not step.before:
        return Handled(_BY)
    return Dropped(_BY, f"RFC 6121 Appendix A: nothing to do in state {step.before.value!r}")


def load(host: Host, options: Options) -> Module:
    """The module's value for one host."""
    subscriptions = Subscriptions(host, options)
    kinds = Presence.SUBSCRIPTION_TYPES
    return Module(
        handlers=[
            OnPresence(Side.SENT, Phase.DELIVER, kinds, subscriptions.sent),
            OnPresence(Side.RECEIVED, Phase.DELIVER, kinds, subscriptions.received),
            OnPresence(Side.SENT, Phase.STAMP, frozenset({"unavailable"}), subscriptions.left),
            OnSession(SessionEvent.AVAILABLE, subscriptions.ask),
            OnAccount(AccountEvent.DELETING, subscriptions.deleting),
        ],
        stream_features=[Element(ns.PRE_APPROVAL, "sub")],
        provides={SubscriptionApi: subscriptions},
    )
