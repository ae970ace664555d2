"""The receiving side: what one host does with stanzas for its own domain (RFC 6121 §8.4, §8.5).

An inbound stanza passes SCREEN and STAMP, is delivered, and passes COPY, or FALLBACK where
nobody was reached.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, cast

from jabberd.core import delivery
from jabberd.core.delivery import Action, Target
from jabberd.core.eager import after, settle
from jabberd.core.keeper import Keeper
from jabberd.core.module import At, Flow, Outcome, Side
from jabberd.core.parcel import Parcel
from jabberd.core.ports import PresenceApi
from jabberd.core.registry import Registry, run, show
from jabberd.core.session import Session, Sessions
from jabberd.core.verdict import VERDICTS, Delivered, Dropped, Handled, Verdict
from jabberd.storage.log_api import Flag
from jabberd.xmpp.element import Element
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.payload import carbons, hints, sid
from jabberd.xmpp.stanza import Iq, Message, Presence, Stanza

_BY: Final = "delivery"
# Looking up a member of an Enum takes time that every message would pay.
_HERE: Final = delivery.Presence.HERE
_BARE: Final = Target.BARE
_MOST, _EXACT, _ALL = Action.MOST, Action.EXACT, Action.ALL
_AWAITING: Final = int(Flag.AWAITING)
_STRANGE: Final = frozenset({sid.STANZA_ID, carbons.SENT, carbons.RECEIVED})


@dataclass(frozen=True, slots=True)
class House:
    """What the receiving side asks of its host.

    Attributes:
        exists: whether there is such an account; asked only where no session proves it.
        answered: takes IQ results and errors for the host itself, or for it on behalf of an
            account; False where none was awaited.
        respond: sends an answer back the way its request came.
        trusted: whether a domain is one of this server's own services.
    """

    exists: Callable[[JID], Awaitable[bool]]
    answered: Callable[[Iq], bool]
    respond: Callable[[Stanza, Session | None], None]
    trusted: Callable[[str], bool]


class Receiver:
    """The receiving side of one host.

    Args:
        domain: of the host.
        registry: its modules' handlers.
        sessions: of this process.
        keeper: the log of the host's accounts.
        house: what it asks of its host.
    """

    def __init__(
        self,
        domain: JID,
        registry: Registry,
        sessions: Sessions,
        keeper: Keeper,
        house: House,
    ) -> None:
        self._domain = domain
        self._registry = registry
        self._stations = registry.received
        self._sessions = sessions
        self._exists = house.exists
        self._answered = house.answered
        self._respond = house.respond
        self._trusted = house.trusted
        self._keeper = keeper

    def receive(self, stanza: Stanza, origin: Session | None) -> Verdict | Awaitable[Verdict]:
        """Bring a stanza to the end of its way.

        The verdict is awaitable only where something has to be waited for.

        Raises:
            StanzaError: what its sender is to be told.
        """
        if isinstance(stanza, Message):
            return self._message(stanza, origin)
        if isinstance(stanza, Presence):
            return self._presence(stanza, origin)
        if isinstance(stanza, Iq):
            return self._iq(stanza, origin)
        raise TypeError(f"{type(stanza).__name__} is no stanza")

    # Messages

    def _message(self, message: Message, origin: Session | None) -> Verdict | Awaitable[Verdict]:
        to = _address(message)
        if not to.local:
            return self._to_host(message)
        if origin is None and self._keeper.crowded:  # who is read one by one waits before
            return self._when_uncrowded(message)
        if not _STRANGE.isdisjoint(message.children):
            message = self._cleaned(message)
        stations = self._stations.message
        if stations.concerns(message):
            outcome = run(stations.entry, message, Flow(Side.RECEIVED, to.bare, origin))
            if isinstance(outcome, VERDICTS):
                return outcome
            if outcome is not None:
                return self._screened(outcome, message, to, origin)
        return self._deliver(message, to, origin)

    async def _screened(
        self, coming: Awaitable[Outcome], message: Message, to: JID, origin: Session | None
    ) -> Verdict:
        """A message that a handler takes its time over before it is delivered."""
        if (outcome := await coming) is not None:
            return outcome
        return await settle(self._deliver(message, to, origin))

    def _deliver(
        self, message: Message, to: JID, origin: Session | None
    ) -> Verdict | Awaitable[Verdict]:
        account = to.bare
        sessions = self._sessions.of(account.text)
        here = delivery.non_negative(sessions)
        if here:
            presence = _HERE
        elif sessions:
            presence = delivery.absence_of(sessions)
        else:
            return self._nobody_here(message, to, origin)
        match, target = _match(to, sessions) if to.resource else ((), _BARE)
        action = delivery.decide(presence, target, message.kind)
        if action is _MOST:
            reached = delivery.most_available(here)
        elif action is _EXACT:
            reached = match
        elif action is _ALL:
            reached = here
        else:
            flow = Flow(Side.RECEIVED, account, origin)
            return self._undelivered(message, flow, presence, action)
        keeps = self._keeper.incoming(message, account)
        if not isinstance(keeps, int):
            return self._give_later(message, Flow(Side.RECEIVED, account, origin, reached), keeps)
        return self._give(message, account, origin, reached, keeps)

    async def _give_later(self, message: Message, flow: Flow, keeps: Awaitable[int]) -> Verdict:
        flags = await keeps
        given = self._give(message, flow.account, flow.origin, flow.reached, flags)
        return await settle(given)

    def _give(
        self,
        message: Message,
        account: JID,
        origin: Session | None,
        reached: tuple[Session, ...],
        keeps: int,
    ) -> Verdict | Awaitable[Verdict]:
        """Write it into the account's log, where it belongs there, and to these sessions."""
        parcel: Parcel | None = None
        alone = len(self._sessions.of(account.text)) <= len(reached)
        if keeps and not (keeps == _AWAITING and alone and _passes(origin, reached)):
            message, parcel = self._keeper.receive(message, account, keeps, origin)
        for session in reached:
            session.send(message, parcel)
        verdict = _delivered(reached)
        copy = self._stations.message.copies(message, alone=alone)
        if copy:
            flow = Flow(Side.RECEIVED, account, origin, reached, message, parcel)
            shown = show(copy, message, flow)
            if shown is not None:
                return after(shown, verdict)
        return verdict

    async def _when_uncrowded(self, message: Message) -> Verdict:
        await self._keeper.settled()
        return await settle(self._message(message, None))

    def _cleaned(self, message: Message) -> Message:
        """Take away what only this server may say: who believes it would be deceived.

        XEP-0359 §5 wants every `<stanza-id/>` removed that claims to be ours, and the wrappers of
        carbons (XEP-0280 §11) are never right in what comes in.
        """
        message = sid.strip(message, self._is_ours)
        return carbons.strip(message)

    def _is_ours(self, by: str) -> bool:
        return by.rpartition("@")[2].partition("/")[0] == self._domain.domain

    async def _nobody_here(self, message: Message, to: JID, origin: Session | None) -> Verdict:
        flow = Flow(Side.RECEIVED, to.bare, origin)
        absent = delivery.Presence.ABSENT
        presence = absent if await self._exists(flow.account) else delivery.Presence.UNKNOWN
        target = Target.NO_MATCH if to.resource else Target.BARE
        action = delivery.decide(presence, target, message.kind)
        return await self._undelivered(message, flow, presence, action)

    def _to_host(self, message: Message) -> Verdict | Awaitable[Verdict]:
        for name in message.children:
            handle = self._registry.host_messages.get(name)
            if handle is not None and message.type != "error":
                return handle(message)
        if message.type == "error":
            return Dropped(_BY, "an error for the server itself")
        raise StanzaError(Condition.SERVICE_UNAVAILABLE, "nobody reads messages at this address")

    async def _undelivered(
        self, message: Message, flow: Flow, presence: delivery.Presence, action: Action
    ) -> Verdict:
        if presence is delivery.Presence.UNKNOWN:
            if action is Action.IGNORE:
                return Dropped(_BY, f"{message.kind} for an account that does not exist")
            raise _unavailable("no such account")
        # XEP-0334 §4.4: a sender may ask to store what the table returns or ignores.
        if action is Action.STORE or hints.store(message):
            fallback = self._stations.message.fallback
            if (outcome := await settle(run(fallback, message, flow))) is not None:
                return outcome
        if action is Action.IGNORE:
            return Dropped(_BY, f"{message.kind}: {delivery.WORDS[presence]}")
        raise _unavailable(f"{message.kind}: {delivery.WORDS[presence]}")

    # Presence

    async def _presence(self, presence: Presence, origin: Session | None) -> Verdict:
        to = _address(presence)
        account = to.bare
        if not to.local:
            return Dropped(_BY, "the server itself takes no presence")
        sessions = self._sessions.of(account.text)
        if not sessions and not await self._exists(account):
            return self._nobody(presence, account)
        stations = self._stations.presence
        flow = Flow(Side.RECEIVED, account, origin)
        for steps in (stations.screen, stations.stamp, stations.deliver):
            if steps and (outcome := await settle(run(steps, presence, flow))) is not None:
                return outcome
        if presence.type not in {"", "unavailable", "error"}:
            return Dropped(_BY, f"nothing handles presence of type {presence.type!r}")
        match, target = _match(to, sessions)
        if target is Target.BARE:
            match = tuple(session for session in sessions if session.presence is not None)
        for session in match:
            session.send(presence)
        if not match:
            return Dropped(_BY, "no available resource")
        return _delivered(match)

    def _nobody(self, presence: Presence, account: JID) -> Verdict:
        # RFC 6121 §8.5.1. A probe gets what a stranger's probe of an existing account gets.
        if presence.type == "probe" and presence.from_ is not None:
            answer = Presence(to=presence.from_.bare, from_=account, type="unsubscribed")
            self._respond(answer, None)
            return Handled(_BY)
        return Dropped(_BY, "no such account")

    # IQ

    async def _iq(self, iq: Iq, origin: Session | None) -> Verdict:
        to = iq.to
        if to is not None and to.resource:
            return await self._routed(iq, to, origin)
        if not iq.is_request:
            if to is not None and self._answered(iq):
                return Handled("an answer that the server waited for")
            return Dropped(_BY, "an answer to no request")
        own = origin.jid.bare if origin else None
        if to is None or to == own:
            return await self._request(iq, At.OWN, origin)
        return await self._request(iq, At.USER if to.local else At.HOST, origin)

    async def _request(self, iq: Iq, at: At, origin: Session | None) -> Verdict:
        found = self._registry.request(iq, at)
        if found is None:
            raise self._unknown(iq, at)
        module, handle = found
        try:
            reply = await settle(handle(iq, origin))
        except StanzaError as error:
            error.by = error.by or module
            raise
        answer = iq.result()
        if isinstance(reply, Element):
            answer = iq.result(reply)
        elif reply is not None:
            answer.inner = reply
        self._respond(answer, origin)
        return Handled(module)

    def _unknown(self, iq: Iq, at: At) -> StanzaError:
        namespace = iq.children[0].rpartition(" ")[0]
        if at is not At.USER and namespace in self._registry.namespaces:
            return StanzaError(Condition.FEATURE_NOT_IMPLEMENTED)
        # RFC 6120 §8.3.3.19 and RFC 6121 §8.5.2.1.3, for accounts that do not exist as well.
        return StanzaError(Condition.SERVICE_UNAVAILABLE)

    async def _routed(self, iq: Iq, to: JID, origin: Session | None) -> Verdict:
        session = self._sessions.find(to) if to.local else None
        if session is None:
            if iq.is_request:
                raise _unavailable("no such resource")
            return Dropped(_BY, "the resource that asked is gone")
        screen = self._stations.iq.screen
        if screen:
            flow = Flow(Side.RECEIVED, to.bare, origin)
            if (outcome := await settle(run(screen, iq, flow))) is not None:
                return outcome
        if iq.is_request and not await self._may_ask(session, iq.from_):
            raise _unavailable("RFC 6121 §8.5.3.1: the sender may not see the presence")
        session.send(iq)
        return Delivered((session.jid.text,))

    async def _may_ask(self, session: Session, sender: JID | None) -> bool:
        # RFC 6121 §8.5.3.1: who does not see the user's presence must not learn it by asking
        # a full JID. The server's own services and other resources of the user may.
        if sender is None or sender.bare == session.jid.bare:
            return True
        if not sender.local and self._trusted(sender.domain):
            return True
        try:
            presence = self._registry.ports[PresenceApi]
        except KeyError:
            return True
        return await settle(cast("PresenceApi", presence).may_ask(session, sender))


def _unavailable(why: str) -> StanzaError:
    # The reason is for the journal alone: the sender must not learn who exists or is here.
    error = StanzaError(Condition.SERVICE_UNAVAILABLE)
    error.by = f"{_BY} ({why})"
    return error


def _delivered(to: tuple[Session, ...]) -> Delivered:
    if len(to) == 1:
        return to[0].delivered
    return Delivered(tuple([session.jid.text for session in to]))


def _passes(origin: Session | None, reached: tuple[Session, ...]) -> bool:
    """Whether a message that no archive has needs no disk on its way from client to client.

    Its sender is told nothing about it (XEP-0198), so nothing is promised; and it has left before
    anything else can happen.
    """
    if origin is None or origin.managed:
        return False
    for session in reached:  # noqa: SIM110 -- every such message passes here
        if not session.takes_at_once:
            return False
    return True


def _address(stanza: Stanza) -> JID:
    if stanza.to is None:  # the router gives every stanza but an IQ to the own account one
        raise StanzaError(Condition.BAD_REQUEST, "no address")
    return stanza.to


def _match(to: JID, sessions: tuple[Session, ...]) -> tuple[tuple[Session, ...], Target]:
    if not to.resource:
        return (), Target.BARE
    for session in sessions:
        if session.jid.resource == to.resource:
            return (session,), Target.MATCH
    return (), Target.NO_MATCH
