"""XEP-0160 Offline Messages: what waits in the log for whoever is not there."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Final

from jabberd.core.eager import settle, start
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
_BYTES: Final = 262_144  # handed over at once


@dataclass(frozen=True, slots=True)
class Options:
    """How much is kept.

    Attributes:
        keep: messages per account; past it senders get the error service-unavailable.
    """

    keep: int = 1000


class _Flush:
    """The delivery of what waits for one account, while it lasts.

    Args:
        sessions: who takes it, in this order; all are on hold.

    """

    __slots__ = ("_again", "sessions")

    def __init__(self, sessions: list[Session]) -> None:
        self.sessions = sessions
        self._again = True

    def join(self, *sessions: Session) -> None:
        """More has begun to wait, or more sessions have come; they are on hold."""
        self._again = True
        self.sessions += [session for session in sessions if session not in self.sessions]

    def goes_on(self) -> bool:
        """Whether there may be more than what was delivered so far."""
        goes_on = self._again or any(session.missed for session in self.sessions)
        self._again = False
        for session in self.sessions:
            session.missed = False
        return goes_on


class Offline:
    """Gives what waits in the log to the next session that takes messages."""

    def __init__(self, host: Host, options: Options) -> None:
        self._host = host
        self._options = options
        self._flushes: dict[JID, _Flush] = {}

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
        # Somebody may have come while the bound was looked up. What is sent next must not
        # overtake, and this message is known to wait only once it is committed.
        self.catch(flow.account, message)
        return Stored(_BY)

    async def deliver(self, session: Session) -> None:
        """Hand over everything, oldest first, to a session that takes messages."""
        if not _takes(session):
            return
        # What arrives from now on is younger than what waits: it may not overtake.
        session.hold()
        owner = session.jid.bare
        flush = self._flushes.get(owner)
        if flush is not None:
            flush.join(session)
        else:
            await self._flush(owner, _Flush([session]))

    def resumed(self, session: Session) -> None:
        """What was too much for a client that was away can go on."""
        self.catch(session.jid.bare, None)

    async def _flush(self, owner: JID, flush: _Flush) -> None:
        """Deliver until nothing waits that one of these sessions, which are on hold, could take."""
        self._flushes[owner] = flush
        log = self._host.require(MessagesApi)
        try:
            while flush.goes_on():
                # Asked of the log itself: a number that is kept for a bound may be behind.
                for session in list(flush.sessions):
                    await self._drain(session, log)
        finally:
            del self._flushes[owner]
            for session in flush.sessions:
                session.release()

    async def _drain(self, session: Session, log: MessagesApi) -> None:
        owner = session.jid.bare
        store = self._host.stores.log
        after = size = 0
        await log.settled()
        while waiting := await store.waiting(owner.text, after=after, limit=_PAGE):
            here = self._host.sessions(owner)
            if session not in here or not _takes(session):
                return
            # What another session is being given, or this one already, is on its way.
            on_the_way = frozenset[int]().union(*(s.keys() for s in here))
            for entry in waiting:
                if entry.key in on_the_way or log.has_arrived(entry.key):
                    continue
                if not self._wants(session, entry):
                    continue
                if size >= _BYTES:
                    # The rest stays in the log until there is room for it on the way.
                    size = 0
                    if not await session.ready() or not _takes(session):
                        return
                size += len(entry.stanza)
                try:
                    log.hand_over(session, entry)
                except ParseError:
                    # Of no use to anybody, and it must not stop those behind it.
                    log.collected(owner, [entry.key])
            after = waiting[-1].key
            await log.settled()

    @staticmethod
    def _wants(session: Session, entry: Entry) -> bool:
        # XEP-0386: a client of this kind reads its archive; so only what is not there is for it.
        return not (session.get(READS_ARCHIVE) and entry.flags & Flag.VISIBLE)

    def catch(self, owner: JID, _message: Message | None) -> None:
        """Messages have begun to wait; somebody may have come meanwhile."""
        here = [session for session in self._host.sessions(owner) if _takes(session)]
        if not here:
            return
        flush = self._flushes.get(owner)
        for session in here:
            if flush is None or session not in flush.sessions:
                session.hold()
        if flush is not None:
            flush.join(*here)
            return
        # At once: from here on nothing may overtake what waits.
        work = start(self._flush(owner, _Flush(here)))
        if work is not None:
            self._host.spawn(f"offline messages of {owner}", _until(work))


async def _until(work: Awaitable[None]) -> None:
    await work


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
            OnSession(SessionEvent.RESUMED, offline.resumed),
            OnWaiting(offline.catch),
        ],
    )
