"""XEP-0160 Offline Messages: what waits in the log for whoever is not there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from jabberd.core.eager import settle
from jabberd.core.module import (
    Flow,
    Host,
    Module,
    OnMessage,
    OnSession,
    OnWaiting,
    Outcome,
    Phase,
    SessionEvent,
    Side,
    Xep,
)
from jabberd.core.ports import MessagesApi
from jabberd.core.session import READS_ARCHIVE, Session
from jabberd.core.verdict import Dropped, Stored
from jabberd.storage.log_api import Entry, Flag
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.payload.keeping import is_fleeting, waits
from jabberd.xmpp.stanza import Message, ParseError

XEPS: Final = (Xep(160, "1.0.1"), Xep(203, "2.0"))

_BY: Final = "offline"
_PAGE: Final = 100


@dataclass(frozen=True, slots=True)
class Options:
    """How much is kept.

    Attributes:
        keep: messages per account; past it senders get the error service-unavailable.
    """

    keep: int = 1000


class Offline:
    """Gives what waits in the log to the next session that takes messages."""

    def __init__(self, host: Host, options: Options) -> None:
        self._host = host
        self._options = options
        # Accounts whose messages are being delivered now, and whether more have come meanwhile.
        self._flushing: dict[JID, bool] = {}

    async def keep(self, message: Message, flow: Flow) -> Outcome:
        """Leave a message in the log that nobody is there to receive.

        Raises:
            StanzaError: service-unavailable, where the account's messages are too many.
        """
        if not waits(message):
            if message.kind in {"chat", "normal"} and is_fleeting(message):
                return Dropped(_BY, "XEP-0160 §3: there is nothing in it but a chat state")
            return None
        log = self._host.require(MessagesApi)
        flags = await settle(log.incoming(message, flow.account))
        # The bound is looked at before the message is written (XEP-0160 §3: the sender is told).
        if await log.waiting(flow.account) >= self._options.keep:
            raise StanzaError(
                Condition.SERVICE_UNAVAILABLE, "too many messages wait for the recipient"
            )
        log.store(message, flow.account, flow.origin, flags)
        return Stored(_BY)

    async def deliver(self, session: Session) -> None:
        """Hand over everything, oldest first, to a session that takes messages."""
        if not _takes(session):
            return
        owner = session.jid.bare
        if owner in self._flushing:
            self._flushing[owner] = True
            return
        log = self._host.require(MessagesApi)
        drained, self._flushing[owner] = False, True
        # What arrives meanwhile is younger than what waits: it may not overtake.
        session.hold()
        try:
            while self._flushing[owner] or session.missed:
                self._flushing[owner] = session.missed = False
                drained = not await log.waiting(owner) or await self._drain(session, log)
                if not drained:
                    break
        finally:
            del self._flushing[owner]
            session.missed = False
            session.release()
        if not drained:
            self.catch(owner, None)

    async def _drain(self, session: Session, log: MessagesApi) -> bool:
        # False where the session takes no more and the rest has to wait for another.
        owner = session.jid.bare
        store = self._host.stores.log
        after = 0
        await log.settled()
        while waiting := await store.waiting(owner.text, after=after, limit=_PAGE):
            if session not in self._host.sessions(owner) or not _takes(session):
                return False
            # What another session is being given, or this one already, is on its way.
            on_the_way = frozenset[int]().union(*(s.keys() for s in self._host.sessions(owner)))
            for entry in waiting:
                if entry.key in on_the_way or not self._wants(session, entry):
                    continue
                try:
                    log.hand_over(session, entry)
                except ParseError:
                    # Of no use to anybody, and it must not stop those behind it.
                    log.collected(owner, [entry.key])
            after = waiting[-1].key
            await log.settled()
        return True

    @staticmethod
    def _wants(session: Session, entry: Entry) -> bool:
        # XEP-0386: a client of this kind reads its archive; so only what is not there is for it.
        return not (session.get(READS_ARCHIVE) and entry.flags & Flag.VISIBLE)

    def catch(self, owner: JID, _message: Message | None) -> None:
        """Messages have begun to wait; somebody may have come meanwhile."""
        if owner in self._flushing:
            self._flushing[owner] = True
            return
        for session in self._host.sessions(owner):
            if _takes(session):
                self._host.spawn(f"offline messages of {owner}", self.deliver(session))
                return


def _takes(session: Session) -> bool:
    return session.presence is not None and session.priority >= 0


def load(host: Host, options: Options) -> Module:
    """The module's value for one host."""
    offline = Offline(host, options)
    return Module(
        features=["msgoffline"],
        handlers=[
            OnMessage(Side.RECEIVED, Phase.FALLBACK, offline.keep),
            OnSession(SessionEvent.AVAILABLE, offline.deliver),
            OnWaiting(offline.catch),
        ],
    )
