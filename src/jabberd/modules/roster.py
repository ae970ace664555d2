"""RFC 6121 §2: the roster, its pushes and its versions."""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, Final

from jabberd.core.module import (
    AccountEvent,
    At,
    Host,
    IqGet,
    IqSet,
    Module,
    OnAccount,
    Reply,
)
from jabberd.core.ports import PrivilegeApi, RosterApi, SubscriptionApi
from jabberd.core.session import Session, flag_slot
from jabberd.storage.api import RosterChange, RosterFull, RosterItem, RosterPage, Subscription
from jabberd.xmpp import ns
from jabberd.xmpp.element import Element
from jabberd.xmpp.error import Condition, ErrorType, StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.payload import roster as wire
from jabberd.xmpp.stanza import Iq, qname

RFC: Final = "6121 §2"
INTERESTED: Final = flag_slot("roster.interested")

_CHILDREN: Final = (qname(ns.ROSTER, "query"),)
_contact: Final = attrgetter("contact")
_SUBSCRIPTIONS: Final = {value.value: value for value in Subscription}


@dataclass(frozen=True, slots=True)
class Options:
    """How large rosters get.

    Attributes:
        max_items: contacts per account, subscription requests that wait for an answer included.
        cache: rosters of accounts with sessions that are kept in memory.
    """

    max_items: int = 1000
    cache: int = 5000


class _Cached:
    """A roster in memory, packed: it is looked at a few times a day, and there are many.

    As objects, the contacts of an idle session would take more room than the session.
    """

    __slots__ = ("_packed", "version")

    def __init__(self, version: int, items: Iterable[RosterItem]) -> None:
        self.version = version
        self._packed = json.dumps(
            [_pack(item) for item in sorted(items, key=_contact)], separators=(",", ":")
        )

    @property
    def items(self) -> tuple[RosterItem, ...]:
        """The contacts, as objects that are made now."""
        return tuple([_unpack(row) for row in json.loads(self._packed)])

    def find(self, contact: str) -> RosterItem | None:
        return next((item for item in self.items if item.contact == contact), None)

    def apply(self, contact: str, change: RosterChange) -> _Cached:
        """The roster after a change."""
        items = [item for item in self.items if item.contact != contact]
        if change.after is not None:
            items.append(change.after)
        return _Cached(change.version, items)


def _pack(item: RosterItem) -> list[object]:
    pending = None if item.pending_in is None else item.pending_in.decode()
    flags = item.ask | item.approved << 1 | item.listed << 2
    return [item.contact, item.name, item.groups, item.subscription.value, flags, pending]


def _unpack(row: Sequence[Any]) -> RosterItem:
    contact, name, groups, subscription, flags, pending = row
    return RosterItem(
        contact,
        name,
        tuple(groups),
        _SUBSCRIPTIONS[subscription],
        bool(flags & 1),
        None if pending is None else pending.encode(),
        bool(flags & 2),
        bool(flags & 4),
    )


class Rosters:
    """`RosterApi` over the store, with the rosters of accounts that are online in memory."""

    def __init__(self, host: Host, options: Options) -> None:
        self._host = host
        self._options = options
        self._cache: OrderedDict[str, _Cached] = OrderedDict()
        self._turns: dict[str, tuple[asyncio.Lock, int]] = {}
        self._pushes = 0

    async def items(self, account: JID) -> Sequence[RosterItem]:
        """See `RosterApi.items`."""
        return (await self.roster(account)).items

    async def item(self, account: JID, contact: JID) -> RosterItem | None:
        """See `RosterApi.item`."""
        cached = self._cache.get(account.text)
        if cached is not None:
            return cached.find(contact.text)
        return await self._host.stores.roster.item(account.text, contact.text)

    async def change(
        self,
        account: JID,
        contact: JID,
        transition: Callable[[RosterItem | None], RosterItem | None],
        *,
        first: Callable[[RosterChange], None] | None = None,
        foreign: bool = False,
    ) -> RosterChange:
        """See `RosterApi.change`."""
        limit = self._options.max_items
        if foreign:
            limit = max(1, limit - limit // 10)
        # §2.6.3: pushes occur in the order of the changes.
        async with self._turn(account.text):
            try:
                change = await self._host.stores.roster.change(
                    account.text, contact.text, transition, limit=limit
                )
            except RosterFull as error:
                text = "the roster is full"
                raise StanzaError(Condition.RESOURCE_CONSTRAINT, text) from error
            cached = self._cache.get(account.text)
            if cached is not None and change.before != change.after:
                self._cache[account.text] = cached.apply(contact.text, change)
            if first is not None:
                first(change)
            before, after = _shown(change.before), _shown(change.after)
            if before != after:
                pushed = after or wire.item(contact.text, subscription="remove")
                for session in self.interested(account):
                    self.push(session, pushed, str(change.version))
        return change

    def interested(self, account: JID) -> list[Session]:
        """See `RosterApi.interested`."""
        return [s for s in self._host.sessions(account) if s.get(INTERESTED)]

    def push(self, session: Session, item: str, version: str) -> None:
        """Send a roster push (§2.1.6)."""
        self._pushes += 1
        inner = wire.query((item,), version)
        name = f"push{self._pushes}"
        session.send(
            Iq(to=session.jid, id=name, type="set", children=_CHILDREN, inner=inner),
        )

    async def roster(self, account: JID) -> _Cached:
        """The whole roster, from memory where it is there."""
        owner = account.text
        cached = self._cache.get(owner)
        if cached is not None:
            self._cache.move_to_end(owner)
            return cached
        # In turn with changes, so that none is lost between reading and keeping.
        async with self._turn(owner):
            cached = self._cache.get(owner)
            if cached is not None:
                return cached
            page = await self._host.stores.roster.get(owner)
            cached = _Cached(page.version, page.items)
            if self._host.sessions(account):
                self._cache[owner] = cached
                if len(self._cache) > self._options.cache:
                    self._cache.popitem(last=False)
        return cached

    def forget(self, account: JID) -> None:
        """Drop an account's roster from memory."""
        self._cache.pop(account.text, None)

    @asynccontextmanager
    async def _turn(self, owner: str) -> AsyncIterator[None]:
        # One lock per account, there only while somebody holds or awaits it.
        lock, users = self._turns.get(owner) or (asyncio.Lock(), 0)
        self._turns[owner] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._turns[owner]
            if users > 1:
                self._turns[owner] = (lock, users - 1)
            else:
                del self._turns[owner]


class RosterQueries:
    """Answers `jabber:iq:roster`."""

    def __init__(self, host: Host, rosters: Rosters) -> None:
        self._host = host
        self._rosters = rosters

    async def get(self, iq: Iq, session: Session | None) -> Reply:
        """Answer a roster get (§2.1.3), with versions (§2.6).

        Raises:
            StanzaError: the roster is somebody else's, or the request has items.
        """
        if session is None:
            return await self._privileged(iq).roster_get(iq)
        account = _own(iq, session)
        request = iq.request()
        if any(True for _ in request):
            raise StanzaError(Condition.BAD_REQUEST, "a roster get has no items")
        session.set(INTERESTED, True)
        since = _number(request.attrs.get("ver"))
        roster = await self._rosters.roster(account)
        if since is not None and since != roster.version:
            page = await self._host.stores.roster.get(account.text, since=since)
            # An unlisted item means a change that its owner need not know of: start afresh.
            if not page.whole and all(item.listed for item in page.items):
                work = self._catch_up(session, account, since, page)
                self._host.spawn(f"roster pushes of {session.jid}", work)
                return None
        elif since is not None:
            return None
        items = [text for item in roster.items if (text := _shown(item)) is not None]
        return wire.query(items, str(roster.version))

    async def set(self, iq: Iq, session: Session | None) -> Reply:
        """Do what a roster set says (§2.3 to §2.5).

        Raises:
            StanzaError: as §2.3.3 and §2.5.3 say.
        """
        if session is None:
            await self._privileged(iq).roster_set(iq)
            return None
        account = _own(iq, session)
        wanted = wire.read_set(iq.request())
        if wanted.contact == account:
            raise StanzaError(Condition.NOT_ALLOWED, "nobody is in their own roster")
        if wanted.remove:
            await self._remove(account, wanted.contact)
            return None

        def update(item: RosterItem | None) -> RosterItem:
            old = item or RosterItem(wanted.contact.text)
            return replace(old, name=wanted.name, groups=wanted.groups, listed=True)

        await self._rosters.change(account, wanted.contact, update)
        return None

    def _privileged(self, iq: Iq) -> PrivilegeApi:
        """What decides about requests of services (XEP-0356).

        Raises:
            StanzaError: it is no service that asks.
        """
        if iq.from_ is None or iq.from_.local:
            raise _forbidden()
        try:
            return self._host.require(PrivilegeApi)
        except LookupError:  # the module is switched off
            raise _forbidden() from None

    async def _remove(self, account: JID, contact: JID) -> None:
        change = await self._rosters.change(account, contact, _without)
        if change.before is None or not change.before.listed:
            text = "there is no such item in the roster"
            raise StanzaError(Condition.ITEM_NOT_FOUND, text, ErrorType.MODIFY)
        self._host.require(SubscriptionApi).sever(account, change.before)

    async def _catch_up(self, session: Session, account: JID, since: int, page: RosterPage) -> None:
        # §2.6.3: each version is unique. A client that got some of these pushes and then lost
        # its stream comes back with "since.n" and is given all of them again.
        contacts = [item.contact for item in page.items] + list(page.removed)
        roster = await self._rosters.roster(account)
        for count, contact in enumerate(contacts, 1):
            item = _shown(roster.find(contact)) or wire.item(contact, subscription="remove")
            last = count == len(contacts)
            self._rosters.push(session, item, str(page.version) if last else f"{since}.{count}")


def _own(iq: Iq, session: Session) -> JID:
    # §2.1.5: a request may be addressed to any account; only one's own roster is in reach.
    if iq.to is not None and iq.to.bare != session.jid.bare:
        raise _forbidden()
    return session.jid.bare


def _forbidden() -> StanzaError:
    return StanzaError(Condition.FORBIDDEN, "this is the roster of somebody else")


def _number(version: str | None) -> int | None:
    number = (version or "").partition(".")[0]
    return int(number) if number.isascii() and number.isdigit() and len(number) < 19 else None


def _without(item: RosterItem | None) -> RosterItem | None:
    # §3.1.3: the contact's own request is remembered until it is answered.
    if item is None or item.pending_in is None:
        return None
    return RosterItem(item.contact, pending_in=item.pending_in, listed=False)


def _shown(item: RosterItem | None) -> str | None:
    if item is None or not item.listed:
        return None
    return wire.item(
        item.contact,
        name=item.name,
        groups=item.groups,
        subscription=item.subscription.value,
        ask=item.ask,
        approved=item.approved,
    )


def load(host: Host, options: Options) -> Module:
    """The module's value for one host."""
    rosters = Rosters(host, options)
    queries = RosterQueries(host, rosters)
    return Module(
        handlers=[
            IqGet(ns.ROSTER, "query", queries.get, At.ACCOUNT),
            IqSet(ns.ROSTER, "query", queries.set, At.ACCOUNT),
            OnAccount(AccountEvent.DELETING, rosters.forget),
        ],
        stream_features=[Element(ns.ROSTER_VERSIONING, "ver")],
        provides={RosterApi: rosters},
    )
