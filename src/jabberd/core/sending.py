"""The sending side: what one host does with the stanzas of its own clients.

An outbound stanza passes SCREEN and STAMP of its sender, goes its way, and passes COPY. What
has no address is for the sender's own account (RFC 6120 §10.3, RFC 6121 §8.2).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from jabberd.core.eager import after, settle
from jabberd.core.keeper import Keeper
from jabberd.core.module import Flow, Outcome, Side
from jabberd.core.registry import Registry, run, show
from jabberd.core.resent import unique_of
from jabberd.core.session import Session, Sessions
from jabberd.core.verdict import VERDICTS, Dropped, Handled, Stored, Verdict
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.payload import sid
from jabberd.xmpp.stanza import Iq, Message, Presence, Stanza

Forward = Callable[[Stanza, Session | None], Verdict | Awaitable[Verdict]]


def _name(message: Message, session: Session) -> tuple[str, str, str]:
    to = message.to.bare_text if message.to is not None else ""
    return session.jid.bare_text, to, unique_of(message)[0]


class Sender:
    """The sending side of one host.

    Args:
        registry: the handlers of its modules.
        forward: brings a stanza to the domain of its address.
        keeper: the log of the host's accounts.
        sessions: of this process.
    """

    def __init__(
        self, registry: Registry, forward: Forward, keeper: Keeper, sessions: Sessions
    ) -> None:
        self._stations = registry.sent
        self._sessions = sessions
        # Messages that take their time, by sender, recipient and identifier.
        self._under_way: dict[tuple[str, str, str], asyncio.Future[None]] = {}
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

    async def send_for(self, message: Message, *, deliver: bool) -> Verdict:
        """Send a message of an account, which none of its clients has sent.

        Args:
            message: `from_` is the bare JID of the account.
            deliver: bring it to its recipient, who has it otherwise.

        Raises:
            StanzaError: what its sender is to be told.
        """
        account, to = message.from_, message.to
        if account is None or to is None:
            raise StanzaError(Condition.BAD_REQUEST, "no address")
        message = sid.strip(message, lambda by: by == account.text)
        flow = Flow(Side.SENT, account, None)
        if (outcome := await settle(run(self._stations.message.entry, message, flow))) is not None:
            return outcome
        other = to.bare_text != account.text
        keeps = other and await settle(self._keeper.outgoing(message, account))
        verdict: Verdict = Handled("it was delivered before it came here")
        if deliver:
            verdict = await settle(self._forward(message, None))
        kept = self._keep(message, account, None, keeps)
        if kept is not None:
            await kept
        return verdict

    def _message(self, message: Message, session: Session) -> Verdict | Awaitable[Verdict]:
        if message.to is None:
            message = message.replace(to=session.jid.bare)
        if sid.STANZA_ID in message.children:
            # XEP-0359 §3, rule 2: what messages are called in the archive, the server says alone.
            account = session.jid.bare_text
            message = sid.strip(message, lambda by: by == account)
        keeper = self._keeper
        if keeper.crowded:
            return self._when_uncrowded(message, session)
        if keeper.again(message, session, session.mark):
            return self._again(message, session)
        return self._once(message, session)

    def _again(self, message: Message, session: Session) -> Verdict | Awaitable[Verdict]:
        """A message that was sent before: was it written, too?"""
        first = self._under_way.get(_name(message, session))
        if first is not None or self._keeper.busy:
            return self._again_later(message, session, first)
        return Dropped("resent", "it is in the log already, and was sent again")

    async def _again_later(
        self, message: Message, session: Session, first: asyncio.Future[None] | None
    ) -> Verdict:
        # Where the first one fails, now or at its commit, it is forgotten.
        if first is not None:
            await first
        await self._keeper.settled()
        if self._keeper.again(message, session, session.mark):
            return Dropped("resent", "it is in the log already, and was sent again")
        return await settle(self._once(message, session))

    def _once(self, message: Message, session: Session) -> Verdict | Awaitable[Verdict]:
        keeper = self._keeper
        try:
            verdict = self._out(message, session)
        except Exception:
            keeper.forget_sent(message, session)
            raise
        if isinstance(verdict, VERDICTS):
            return verdict
        over = asyncio.get_running_loop().create_future()
        self._under_way[_name(message, session)] = over
        return self._watched(verdict, message, session, over)

    async def _when_uncrowded(self, message: Message, session: Session) -> Verdict:
        await self._keeper.settled()
        return await settle(self._message(message, session))

    async def _watched(
        self,
        coming: Awaitable[Verdict],
        message: Message,
        session: Session,
        over: asyncio.Future[None],
    ) -> Verdict:
        try:
            verdict = await coming
            if isinstance(verdict, Stored) and not session.managed:
                # Nothing but the answer to what it sends next tells such a client that it was kept.
                await self._keeper.settled()
            return verdict
        except BaseException:
            self._keeper.forget_sent(message, session)
            raise
        finally:
            name = _name(message, session)
            if self._under_way.get(name) is over:
                del self._under_way[name]
            over.set_result(None)

    def _out(self, message: Message, session: Session) -> Verdict | Awaitable[Verdict]:
        stations = self._stations.message
        if stations.concerns(message):
            outcome = run(stations.entry, message, Flow(Side.SENT, session.jid.bare, session))
            if isinstance(outcome, VERDICTS):
                return outcome
            if outcome is not None:
                return self._screened(outcome, message, session)
        return self._on(message, session)

    async def _screened(
        self, coming: Awaitable[Outcome], message: Message, session: Session
    ) -> Verdict:
        """A message that a handler takes its time over before it leaves."""
        if (outcome := await coming) is not None:
            return outcome
        return await settle(self._on(message, session))

    def _on(self, message: Message, session: Session) -> Verdict | Awaitable[Verdict]:
        """It goes to the other side, and then into the sender's own archive."""
        jid, to = session.jid, message.to
        # A note to oneself is one entry, that of the receiving side.
        other = to is None or to.bare_text != jid.bare_text
        keeps = other and self._keeper.outgoing(message, jid.bare)
        if isinstance(keeps, bool):
            return self._out_and_kept(message, session, keeps)
        return self._when_known(keeps, message, session)

    async def _when_known(
        self, keeps: Awaitable[bool], message: Message, session: Session
    ) -> Verdict:
        return await settle(self._out_and_kept(message, session, await keeps))

    def _out_and_kept(
        self, message: Message, session: Session, keeps: bool
    ) -> Verdict | Awaitable[Verdict]:
        verdict = self._forward(message, session)
        if not isinstance(verdict, VERDICTS):
            return self._forwarded(verdict, message, session, keeps)
        kept = self._keep(message, session.jid.bare, session, keeps)
        return verdict if kept is None else after(kept, verdict)

    async def _forwarded(
        self, coming: Awaitable[Verdict], message: Message, session: Session, keeps: bool
    ) -> Verdict:
        # After the other side, and without a wait between them: both are in one unit, so that
        # a message that is in the sender's archive is in the recipient's as well.
        verdict = await coming
        kept = self._keep(message, session.jid.bare, session, keeps)
        if kept is not None:
            await kept
        return verdict

    def _keep(
        self, message: Message, account: JID, origin: Session | None, keeps: bool
    ) -> Awaitable[None] | None:
        """Write it into the sender's log, and show it to who makes copies."""
        keeper = self._keeper
        alone = len(self._sessions.of(account.text)) < (1 if origin is None else 2)
        copy = self._stations.message.copies(message, alone=alone)
        if not copy:
            if keeps:
                keeper.enter_sent(message, account)
            return None
        parcel = keeper.send(message, account) if keeps else None
        own: Message | Callable[[], Message] = message
        if parcel is not None:
            own = partial(keeper.stamped, message, account, parcel.key)
        return show(copy, message, Flow(Side.SENT, account, origin, (), own, parcel))

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
