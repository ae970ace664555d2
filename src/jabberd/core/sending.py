"""The sending side: what one host does with the stanzas of its own clients.

An outbound stanza passes SCREEN and STAMP of its sender, goes its way, and passes COPY. What
has no address is for the sender's own account (RFC 6120 §10.3, RFC 6121 §8.2).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from jabberd.core.eager import settle
from jabberd.core.module import Flow, Side
from jabberd.core.registry import Registry, run
from jabberd.core.session import Session
from jabberd.core.verdict import Verdict
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.stanza import Iq, Message, Presence, Stanza

Forward = Callable[[Stanza, Session | None], Verdict | Awaitable[Verdict]]


class Sender:
    """The sending side of one host.

    Args:
        registry: the handlers of its modules.
        forward: brings a stanza to the domain of its address.
    """

    def __init__(self, registry: Registry, forward: Forward) -> None:
        self._stations = registry.sent
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
        stations = self._stations.message
        if not (stations.screen or stations.stamp or stations.copy):
            return self._forward(message, session)
        return self._accompanied(message, session)

    async def _accompanied(self, message: Message, session: Session) -> Verdict:
        """A message that handlers look at on its way out."""
        stations = self._stations.message
        flow = Flow(Side.SENT, session.jid.bare, session)
        for steps in (stations.screen, stations.stamp):
            if steps and (outcome := await settle(run(steps, message, flow))) is not None:
                return outcome
        verdict: Verdict = await settle(self._forward(message, session))
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
