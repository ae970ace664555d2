"""XEP-0160 Offline Messages: kept for whoever is not there, delivered when they come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from jabberd.core.module import (
    Flow,
    Host,
    Module,
    OnMessage,
    OnSession,
    Outcome,
    Phase,
    SessionEvent,
    Side,
    Xep,
)
from jabberd.core.session import Session
from jabberd.core.verdict import Dropped, Stored
from jabberd.xmpp import ns
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.payload.delay import delay
from jabberd.xmpp.stanza import Message, ParseError, qname, read_stanza

XEPS: Final = (Xep(160, "1.0.1"), Xep(203, "2.0"))

_BY: Final = "offline"
_PAGE: Final = 100
_KNOWN: Final = 10_000  # accounts whose queue is known to be empty
_CHAT_STATE: Final = f"{ns.CHAT_STATES} "
_NO_STORE: Final = qname(ns.HINTS, "no-store")


@dataclass(frozen=True, slots=True)
class Options:
    """How much is kept.

    Attributes:
        keep: messages per account; past it senders get the error service-unavailable.
    """

    keep: int = 1000


class Offline:
    """Keeps messages in the queue store and gives them to the next session that takes messages."""

    def __init__(self, host: Host, options: Options) -> None:
        self._host = host
        self._options = options
        # Accounts whose queue is being delivered now, and whether more came in meanwhile.
        self._flushing: dict[JID, bool] = {}
        # Accounts for whom nothing waits: nobody else writes into their queues.
        self._empty: dict[JID, None] = {}

    async def keep(self, message: Message, flow: Flow) -> Outcome:
        """Store what nobody is there to receive.

        Raises:
            StanzaError: service-unavailable, where the account's messages are too many.
        """
        if not _keepable(message):
            return None
        if not _worthwhile(message):
            return Dropped(_BY, "XEP-0160 §3: there is nothing in it but a chat state")
        now, owner = self._host.now(), flow.account
        stamped = message.with_child(delay(now, self._host.domain, "Offline storage"))
        queue = self._host.stores.queue
        self._empty.pop(owner, None)
        if not await queue.append(owner.text, stamped.to_bytes(), now, limit=self._options.keep):
            raise StanzaError(
                Condition.SERVICE_UNAVAILABLE, "too many messages wait for the recipient"
            )
        self._empty.pop(owner, None)  # somebody may have looked while it was on its way
        self._catch(owner)
        return Stored(_BY)

    async def deliver(self, session: Session) -> None:
        """Hand over everything, oldest first, to a session that takes messages."""
        if not _takes(session):
            return
        owner = session.jid.bare
        if owner in self._empty:
            return
        if owner in self._flushing:
            self._flushing[owner] = True
            return
        drained, self._flushing[owner] = False, True
        # What arrives meanwhile is younger than what waits: it may not overtake.
        session.hold()
        try:
            while self._flushing[owner]:
                self._flushing[owner] = False
                drained = await self._drain(session)
        finally:
            del self._flushing[owner]
            session.release()
        if not drained:
            self._catch(owner)
            return
        self._empty[owner] = None
        if len(self._empty) > _KNOWN:
            del self._empty[next(iter(self._empty))]

    async def _drain(self, session: Session) -> bool:
        # False where the session takes no more and the rest has to wait for another.
        owner = session.jid.bare
        queue = self._host.stores.queue
        while waiting := await queue.read(owner.text, limit=_PAGE):
            if session not in self._host.sessions(owner) or not _takes(session):
                return False
            for entry in waiting:
                try:
                    session.send(read_stanza(entry.stanza), ahead=True)
                except ParseError:
                    # Of no use to anybody, and it must not stop those behind it.
                    continue
            await queue.discard(owner.text, waiting[-1].id)
        return True

    def _catch(self, owner: JID) -> None:
        # Somebody may have come while the message was on its way into the queue.
        if owner in self._flushing:
            self._flushing[owner] = True
            return
        for session in self._host.sessions(owner):
            if _takes(session):
                self._host.spawn(f"offline messages of {owner}", self.deliver(session))
                return


def _takes(session: Session) -> bool:
    return session.presence is not None and session.priority >= 0


def _keepable(message: Message) -> bool:
    # RFC 6121 table 1: chat is kept, normal only where it was not meant for one resource.
    if _NO_STORE in message.children or message.to is None:
        return False
    return message.kind == "chat" or (message.kind == "normal" and message.to.is_bare)


def _worthwhile(message: Message) -> bool:
    return any(not name.startswith(_CHAT_STATE) for name in message.children)


def load(host: Host, options: Options) -> Module:
    """The module's value for one host."""
    offline = Offline(host, options)
    return Module(
        features=["msgoffline"],
        handlers=[
            OnMessage(Side.RECEIVED, Phase.FALLBACK, offline.keep),
            OnSession(SessionEvent.AVAILABLE, offline.deliver),
        ],
    )
