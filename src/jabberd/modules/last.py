"""XEP-0012 Last Activity: since when the server runs, and since when somebody is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from jabberd.core.module import (
    AccountEvent,
    At,
    Flow,
    Host,
    IqGet,
    Module,
    OnAccount,
    OnIq,
    OnPresence,
    OnSession,
    Outcome,
    Phase,
    Reply,
    SessionEvent,
    Side,
    Xep,
)
from jabberd.core.ports import LastPresence, PresenceApi
from jabberd.core.session import Session, Slot
from jabberd.xmpp import ns
from jabberd.xmpp.element import Element
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Iq, Presence

XEP: Final = Xep(12, "2.0")
LEFT: Final[Slot[tuple[float, str] | None]] = Slot("last.left", None)

_SPACE: Final = "last"
_KEY: Final = "presence"
_TOGETHER: Final = 0.05  # seconds


@dataclass(frozen=True, slots=True)
class Options:
    """What is kept of the last words.

    Attributes:
        max_status: characters of the last status text that are kept.
    """

    max_status: int = 1000


class Last:
    """`LastPresence`, recorded when the last session of an account ends."""

    def __init__(self, host: Host, options: Options) -> None:
        self._host = host
        self._options = options
        self._started = host.now()
        # What is to be written, and what is being written just now.
        self._waiting: dict[str, bytes] = {}
        self._writing: dict[str, bytes] = {}
        self._at_work = False

    def uptime(self, _iq: Iq, _session: Session | None) -> Reply:
        """How long this host has been running."""
        return self._answer(self._started, "")

    async def activity(self, iq: Iq, session: Session | None) -> Reply:
        """How long ago the account was here last.

        Raises:
            StanzaError: forbidden, for who may not see the account's presence; item-not-found
                where nothing is known.
        """
        account, asker = _parties(iq, session)
        await self._check(account, asker)
        if self._host.sessions(account):
            return self._answer(self._host.now(), "")
        last = await self.last(account)
        if last is None:
            raise StanzaError(Condition.ITEM_NOT_FOUND, "nothing is known of the last activity")
        return self._answer(*last)

    async def screen(self, iq: Iq, flow: Flow) -> Outcome:
        """Let nobody ask a client who may not see its presence (XEP-0012 §4).

        Raises:
            StanzaError: forbidden.
        """
        if iq.type == "get" and iq.from_ is not None and iq.has(ns.LAST, "query"):
            await self._check(flow.account, iq.from_)
        return None

    def said(self, presence: Presence, flow: Flow) -> Outcome:
        """Remember with the session what it says as it leaves."""
        if presence.to is None and flow.origin is not None:
            left = (self._host.now(), self._status(presence)) if presence.type else None
            flow.origin.set(LEFT, left)
        return None

    def closed(self, session: Session) -> None:
        """Keep the last words of an account whose last session ended."""
        account = session.jid.bare
        if self._host.sessions(account):
            return
        at, status = session.get(LEFT) or (self._host.now(), "")
        self._waiting[account.text] = f"{at:.3f} {status}".encode()
        if not self._at_work:
            self._at_work = True
            self._host.spawn("last activity", self._write())

    async def _write(self) -> None:
        """Write what waits: those who leave at about the same time share one commit."""
        put = self._host.stores.keyvalue.put
        try:
            while self._waiting:
                await asyncio.sleep(_TOGETHER)
                self._writing, self._waiting = self._waiting, {}
                writes = (put(own, _SPACE, _KEY, said) for own, said in self._writing.items())
                await asyncio.gather(*writes)
        finally:
            self._writing, self._at_work = {}, False

    def deleting(self, account: JID) -> None:
        """Write nothing about an account that is about to be erased."""
        self._waiting.pop(account.text, None)

    async def last(self, account: JID) -> tuple[float, str] | None:
        """See `LastPresence.last`."""
        value = self._waiting.get(account.text) or self._writing.get(account.text)
        if value is None:
            value = await self._host.stores.keyvalue.get(account.text, _SPACE, _KEY)
        return None if value is None else _read(value)

    async def last_of(self, accounts: Sequence[JID]) -> Mapping[str, tuple[float, str]]:
        """See `LastPresence.last_of`."""
        owners = [account.text for account in accounts]
        values = await self._host.stores.keyvalue.get_many(owners, _SPACE, _KEY)
        known = {**values, **self._writing, **self._waiting}
        return {owner: _read(known[owner]) for owner in owners if owner in known}

    async def _check(self, account: JID, asker: JID) -> None:
        if not await self._host.require(PresenceApi).may_see(account, asker.bare):
            # The same for accounts that do not exist: nobody learns which do.
            raise StanzaError(Condition.FORBIDDEN, "this needs a presence subscription")

    def _answer(self, since: float, status: str) -> Element:
        seconds = str(max(0, int(self._host.now() - since)))
        return Element(ns.LAST, "query", {"seconds": seconds}, [status] if status else [])

    def _status(self, presence: Presence) -> str:
        element = presence.child(ns.CLIENT, "status")
        return "" if element is None else element.text[: self._options.max_status]


def _read(value: bytes) -> tuple[float, str]:
    at, _, status = value.decode().partition(" ")
    return float(at), status


def _parties(iq: Iq, session: Session | None) -> tuple[JID, JID]:
    # RFC 6120 §10.3.3: without an address a request means the sender's own account.
    asker = iq.from_ if session is None else session.jid
    account = iq.to or asker
    if account is None or asker is None:
        raise StanzaError(Condition.BAD_REQUEST, "the request has no address")
    return account.bare, asker


def load(host: Host, options: Options) -> Module:
    """The module's value for one host."""
    last = Last(host, options)
    return Module(
        features=[ns.LAST],
        account_features=[ns.LAST],
        handlers=[
            IqGet(ns.LAST, "query", last.uptime, At.HOST),
            IqGet(ns.LAST, "query", last.activity, At.ACCOUNT),
            OnIq(Side.RECEIVED, last.screen),
            OnPresence(Side.SENT, Phase.STAMP, frozenset({"", "unavailable"}), last.said),
            OnSession(SessionEvent.CLOSED, last.closed),
            OnAccount(AccountEvent.DELETING, last.deleting),
        ],
        provides={LastPresence: last},
    )
