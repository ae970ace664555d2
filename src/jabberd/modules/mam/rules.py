"""Which messages an account's archive keeps: XEP-0313 §6.1.1, and what XEP-0441 lets users say."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable
from typing import Final

from jabberd.core.module import Host
from jabberd.core.ports import RosterApi
from jabberd.core.session import Session
from jabberd.xmpp.element import Element, parse
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.payload import mam_prefs
from jabberd.xmpp.payload.keeping import archivable
from jabberd.xmpp.payload.mam_prefs import Default, Prefs
from jabberd.xmpp.stanza import Iq, Message

SPACE: Final = "mam"
"""Where the module keeps its values."""

_KEY: Final = "prefs"
_NOTHING: Final = Prefs(Default.NEVER)
_ALWAYS: Final = Default.ALWAYS  # looking up a member of an Enum takes time


class Rules:
    """`ArchiveRules`, with the preferences of accounts, and the requests that are about them.

    Args:
        host: whose accounts.
        default: for accounts that have said nothing.
        searchable: whether there is a full-text index.
        cache: how much is kept in memory: accounts, and addresses in their lists.
    """

    def __init__(self, host: Host, default: Default, *, searchable: bool, cache: int) -> None:
        self._host = host
        self._default = Prefs(default)
        self.searchable = searchable
        self._most = cache
        self._size = 0
        self._cache: OrderedDict[str, Prefs | None] = OrderedDict()
        self._temporary: set[str] = set()

    # Every message passes here, twice.

    def visible(self, message: Message, account: JID, *, outgoing: bool) -> bool | Awaitable[bool]:
        """See `ArchiveRules.visible`."""
        if not archivable(message, outgoing=outgoing):
            return False
        owner = account.text
        if owner in self._temporary:
            return False
        try:
            prefs = self._cache[owner]
        except KeyError:
            return self._visible_later(message, account, outgoing)
        self._cache.move_to_end(owner)
        return self._decide(prefs or self._default, message, account, outgoing)

    async def _visible_later(self, message: Message, account: JID, outgoing: bool) -> bool:
        decided = self._decide(await self.prefs(account), message, account, outgoing)
        return decided if isinstance(decided, bool) else await decided

    def _decide(
        self, prefs: Prefs, message: Message, account: JID, outgoing: bool
    ) -> bool | Awaitable[bool]:
        if prefs.default is _ALWAYS and not prefs.never:
            return True
        # XEP-0441 §2.3.2, §2.3.3.
        peer = (message.to if outgoing else message.from_) or self._host.domain
        wanted = prefs.archives(peer)
        return self._knows(account, peer.bare) if wanted is None else wanted

    def _knows(self, account: JID, contact: JID) -> bool | Awaitable[bool]:
        # Users are no contacts of theirs, but they know themselves: a note to oneself stays.
        return True if contact == account else self._has_contact(account, contact)

    async def _has_contact(self, account: JID, contact: JID) -> bool:
        try:
            roster = self._host.require(RosterApi)
        except LookupError:  # a host without rosters has no contacts
            return False
        item = await roster.item(account, contact)
        return item is not None and item.listed

    # Preferences

    async def prefs(self, account: JID) -> Prefs:
        """What an account wants, or the host's default where it has said nothing."""
        owner = account.text
        if owner in self._temporary:
            return _NOTHING
        if owner not in self._cache:
            data = await self._host.stores.keyvalue.get(owner, SPACE, _KEY)
            # What somebody has set in the meantime is newer.
            if owner not in self._cache:
                self._remember(owner, None if data is None else mam_prefs.read(parse(data)))
        return self._cache[owner] or self._default

    async def read(self, iq: Iq, _session: Session | None) -> Element:
        """The preferences of the account (XEP-0441 §2.1)."""
        return mam_prefs.write(await self.prefs(_asker(iq)))

    async def write(self, iq: Iq, _session: Session | None) -> Element:
        """Replace the preferences of the account (XEP-0441 §2.1).

        Raises:
            StanzaError: forbidden, where the account ends with its session; see also
                `mam_prefs.read`.
        """
        owner = _asker(iq).text
        if owner in self._temporary:
            raise StanzaError(Condition.FORBIDDEN, "nothing of this account is kept")
        prefs = mam_prefs.read(iq.request())
        written = mam_prefs.write(prefs)
        await self._host.stores.keyvalue.put(owner, SPACE, _KEY, written.to_bytes())
        self._remember(owner, prefs)
        return written

    def _remember(self, owner: str, prefs: Prefs | None) -> None:
        if owner in self._cache:
            self._size -= _size(self._cache.pop(owner))
        self._cache[owner] = prefs
        self._size += _size(prefs)
        while self._size > self._most and len(self._cache) > 1:
            self._size -= _size(self._cache.popitem(last=False)[1])

    # The lives of sessions and accounts

    async def bound(self, session: Session) -> None:
        """Know what the account wants before it sends its first message."""
        account = session.jid.bare
        if session.facts.temporary:
            self._temporary.add(account.text)
        else:
            await self.prefs(account)

    def closed(self, session: Session) -> None:
        """The session is gone; a temporary account goes with its last one."""
        if not self._host.sessions(session.jid.bare):
            self._temporary.discard(session.jid.bare_text)

    def deleting(self, account: JID) -> None:
        """The account goes, and what it wanted goes with it.

        Until then, and if it is made again, it wants nothing: what is read from the database in
        the meantime does not count.
        """
        self._remember(account.text, None)


def _size(prefs: Prefs | None) -> int:
    return 1 if prefs is None else 1 + len(prefs.always) + len(prefs.never)


def _asker(iq: Iq) -> JID:
    # The sender of a request to the own account, with or without an address (`At.OWN`).
    if iq.from_ is None:
        raise StanzaError(Condition.BAD_REQUEST, "whose archive?")
    return iq.from_.bare
