"""The sending side: what one host does with the stanzas of its own clients.

An outbound stanza passes SCREEN and STAMP of its sender, goes its way, and passes COPY. What
has no address is for the sender's own account (RFC 6120 §10.3, RFC 6121 §8.2).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from jabberd.core.module import Flow, Phase, Side
from jabberd.core.registry import Registry, run
from jabberd.core.session import Session
from jabberd.core.verdict import Verdict
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.stanza import Iq, Message, Presence, Stanza

Forward = Callable[[Stanza, Session | None], Awaitable[Verdict]]
_BEFORE: Final = (Phase.SCREEN, Phase.STAMP)


class Sender:
    """The sending side of one host.

    Args:
        registry: the handlers of its modules.
        forward: brings a stanza to the domain of its address.
    """

    def __init__(self, registry: Registry, forward: Forward) -> None:
        self._registry = registry
        self._forward = forward

    async def send(self, stanza: Stanza, session: Session) -> Verdict:
        """Bring a client's stanza to the end of its way; `from_` is set already.

        Raises:
            StanzaError: what the client is to be told.
        """
        if isinstance(stanza, Message):
            return await self._message(stanza, session)
        if isinstance(stanza, Presence):
            return await self._presence(stanza, session)
        if isinstance(stanza, Iq):
            return await self._iq(stanza, session)
        raise TypeError(f"{type(stanza).__name__} is no stanza")

    async def _message(self, message: Message, session: Session) -> Verdict:
        account = session.jid.bare
        if message.to is None:
            message = message.replace(to=account)
        steps = self._registry.steps
        flow = Flow(Side.SENT, account, session)
        for phase in _BEFORE:
            handlers = steps.get((Message, Side.SENT, phase))
            if handlers and (outcome := await run(handlers, message, flow)) is not None:
                return outcome
        verdict = await self._forward(message, session)
        handlers = steps.get((Message, Side.SENT, Phase.COPY))
        if handlers:
            await run(handlers, message, flow)
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
        for phase in (*_BEFORE, Phase.DELIVER):
            handlers = self._registry.steps.get((Presence, Side.SENT, phase))
            if handlers and (outcome := await run(handlers, presence, flow)) is not None:
                return outcome
        if presence.to is None:
            raise StanzaError(Condition.BAD_REQUEST, "this type of presence needs an address")
        return await self._forward(presence, session)

    async def _iq(self, iq: Iq, session: Session) -> Verdict:
        handlers = self._registry.steps.get((Iq, Side.SENT, Phase.SCREEN))
        if handlers and iq.to is not None:
            flow = Flow(Side.SENT, session.jid.bare, session)
            if (outcome := await run(handlers, iq, flow)) is not None:
                return outcome
        return await self._forward(iq, session)
