"""The sending side: what one host does with the stanzas of its own clients.

An outbound stanza passes SCREEN and STAMP of its sender, goes its way, and passes COPY. What
has no address is for the sender's own account (RFC 6120 §10.3, RFC 6121 §8.2).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from jabberd.core.eager import settle
from jabberd.core.keeper import Keeper
from jabberd.core.module import Flow, Side
from jabberd.core.registry import Registry, run
from jabberd.core.session import Session
from jabberd.core.verdict import VERDICTS, Dropped, Verdict
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Iq, Message, Presence, Stanza

Forward = Callable[[Stanza, Session | None], Verdict | Awaitable[Verdict]]


class Sender:
    """The sending side of one host.

    Args:
        registry: the handlers of its modules.
        forward: brings a stanza to the domain of its address.
        keeper: the log of the host's accounts.
    """

    def __init__(self, registry: Registry, forward: Forward, keeper: Keeper) -> None:
        self._stations = registry.sent
        self._keeper = keeper
        self._forward = forward

    def send(self, stanza: Stanza, session: Session) -> Verdict | Awaitable[Verdict]:
        """Bring a client's stanza to the end of its way; `from_` is set already.

        The verdict is awaitable only where something has to be waited for.

        Raises:
            StanzaError: what the client is to be told.
        """
        if isinstance(stanza, Message):
            return self._message(stanza, session)
        if isinstance(stanza, Presence):
            return self._presence(stanza, session)
        if isinstance(stanza, Iq):
            return self._iq(stanza, session)
        raise TypeError(f"{type(stanza).__name__} is no stanza")

    def _message(self, message: Message, session: Session) -> Verdict | Awaitable[Verdict]:
        if message.to is None:
            message = message.replace(to=session.jid.bare)
        keeper = self._keeper
        if keeper.crowded:
            return self._when_uncrowded(message, session)
        if keeper.again(message, session, session.mark):
            return Dropped("resent", "it is in the log already, and was sent again")
        try:
            verdict = self._out(message, session)
        except StanzaError:
            keeper.forget_sent(message, session)
            raise
        if isinstance(verdict, VERDICTS):
            return verdict
        return self._watched(verdict, message, session)

    async def _when_uncrowded(self, message: Message, session: Session) -> Verdict:
        await self._keeper.settled()
        return await settle(self._message(message, session))

    async def _watched(
        self, coming: Awaitable[Verdict], message: Message, session: Session
    ) -> Verdict:
        try:
            return await coming
        except BaseException:
            self._keeper.forget_sent(message, session)
            raise

    def _out(self, message: Message, session: Session) -> Verdict | Awaitable[Verdict]:
        stations = self._stations.message
        account = session.jid.bare
        keeps = self._keeper.outgoing(message, account)
        to = message.to
        if to is not None and to.bare == account:
            keeps = False  # a note to oneself is one entry, that of the receiving side
        if stations.screen or stations.stamp or stations.copy or not isinstance(keeps, bool):
            return self._accompanied(message, session, keeps)
        verdict = self._forward(message, session)
        if not keeps:
            return verdict
        if isinstance(verdict, VERDICTS):
            self._keeper.send(message, account)
            return verdict
        return self._kept(verdict, message, account)

    async def _kept(self, coming: Awaitable[Verdict], message: Message, account: JID) -> Verdict:
        # After the other side, and without a wait between them: both are in one unit, so that
        # a message that is in the sender's archive is in the recipient's as well.
        verdict = await coming
        self._keeper.send(message, account)
        return verdict

    async def _accompanied(
        self, message: Message, session: Session, keeps: bool | Awaitable[bool]
    ) -> Verdict:
        """A message that handlers look at on its way out."""
        stations = self._stations.message
        flow = Flow(Side.SENT, session.jid.bare, session)
        for steps in (stations.screen, stations.stamp):
            if steps and (outcome := await settle(run(steps, message, flow))) is not None:
                return outcome
        keep = await settle(keeps)
        verdict: Verdict = await settle(self._forward(message, session))
        flow.copy = message
        if keep:
            key = self._keeper.send(message, flow.account)
            if stations.copy:
                flow.copy, flow.parcel = self._keeper.copy(message, flow.account, key)
        if stations.copy:
            await settle(run(stations.copy, message, flow))
        return verdict

    async def _presence(self, presence: Presence, session: Session) -> Verdict:
        account = session.jid.bare
        if presence.type not in Presence.TYPES:
            raise StanzaError(Condition.BAD_REQUEST, "no such type of presence")
        if presence.type in Presence.SUBSCRIPTION_TYPES:
            if presence.to is None:
                raise StanzaError(Condition.BAD_REQUEST, "a subscription needs an address")
            # RFC 6121 §3.1.2: subscriptions are between bare JIDs, and the server says so.
            presence = presence.replace(to=presence.to.bare, from_=account)
        flow = Flow(Side.SENT, account, session)
        stations = self._stations.presence
        for steps in (stations.screen, stations.stamp, stations.deliver):
            if steps and (outcome := await settle(run(steps, presence, flow))) is not None:
                return outcome
        if presence.to is None:
            raise StanzaError(Condition.BAD_REQUEST, "this type of presence needs an address")
        return await settle(self._forward(presence, session))

    async def _iq(self, iq: Iq, session: Session) -> Verdict:
        screen = self._stations.iq.screen
        if screen and iq.to is not None:
            flow = Flow(Side.SENT, session.jid.bare, session)
            if (outcome := await settle(run(screen, iq, flow))) is not None:
                return outcome
        return await settle(self._forward(iq, session))
