"""What an account asks of its archive (XEP-0313 §4, §5): pages of messages, and where it ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from jabberd.core.module import Host
from jabberd.core.ports import MessagesApi
from jabberd.core.session import READS_ARCHIVE, Session
from jabberd.modules.mam.wish import Wish, wish_of
from jabberd.storage.log_api import Entry, Flag
from jabberd.xmpp.element import Element
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.payload import mam, rsm
from jabberd.xmpp.stanza import Iq, Message

_VISIBLE: Final = int(Flag.VISIBLE)
_AWAITING: Final = int(Flag.AWAITING)
_TOGETHER: Final = 100  # entries that are read at once
_BYTES: Final = 524_288  # of the messages of one page; a larger one is shorter than was asked
_START: Final = b"<message"
_RESULT: Final = (mam.RESULT,)


@dataclass(slots=True)
class _Found:
    """A page.

    Attributes:
        entries: oldest first.
        complete: there are no more in its direction.
        count: of all that match; None where unknown.
    """

    entries: list[Entry]
    complete: bool
    count: int | None


class Archive:
    """Answers the queries of accounts about their own archives.

    Args:
        host: whose accounts.
        page: how many messages one query returns at most.
        searchable: whether texts can be searched.
    """

    def __init__(self, host: Host, page: int, *, searchable: bool) -> None:
        self._host = host
        self._page = page
        self._searchable = searchable

    def form(self, _iq: Iq, _session: Session | None) -> Element:
        """Which fields a query may have (§4.1.5)."""
        return mam.form(fulltext=self._searchable)

    def refuse(self, _iq: Iq, _session: Session | None) -> None:
        """An archive is its owner's alone (§8.1); the same for accounts that do not exist.

        Raises:
            StanzaError: forbidden.
        """
        raise StanzaError(Condition.FORBIDDEN, "this archive is not yours")

    async def metadata(self, iq: Iq, session: Session | None) -> Element:
        """The first and the last message (§5)."""
        owner = _asking(iq, session).jid.bare
        messages = self._host.require(MessagesApi)
        await messages.settled()
        ends = await self._host.stores.log.bounds(owner.text)
        if ends is None:
            return mam.metadata(None)
        first, last = (mam.End(messages.id_of(entry.key), entry.at) for entry in ends)
        return mam.metadata((first, last))

    async def query(self, iq: Iq, session: Session | None) -> Element | None:
        """Send a page of messages, and say where it begins and ends (§4.2, §4.3).

        Raises:
            StanzaError: item-not-found for a message that is not in the archive, and what
                `mam.read` and `wish_of` say.
        """
        session = _asking(iq, session)
        messages = self._host.require(MessagesApi)
        asked = mam.read(iq.request(), fulltext=self._searchable)
        wish = wish_of(asked, messages.key_of, self._page)
        owner = session.jid.bare
        # A client finds in the archive whatever it has sent, or was sent, before it asked.
        await messages.settled()
        await self._check(owner, wish.named)
        found = await self._read(owner, wish)
        if wish.synchronises and session.get(READS_ARCHIVE):
            await self._advance(owner, wish.has)
        if session not in self._host.sessions(owner):
            return None  # it is gone: what was read for it has arrived nowhere
        self._send(session, found.entries, wish, messages)
        return _end(found, wish, messages)

    async def _check(self, owner: JID, named: Sequence[int]) -> None:
        """Every message that the query names has to be in the archive (§4.1.3, §4.3.2)."""
        log = self._host.stores.log
        for at in range(0, len(named), _TOGETHER):
            some = named[at : at + _TOGETHER]
            entries = await log.get(owner.text, some)
            if sum(entry.flags & _VISIBLE for entry in entries) < len(some):
                raise StanzaError(Condition.ITEM_NOT_FOUND, "there is no such message")

    async def _read(self, owner: JID, wish: Wish) -> _Found:
        """The page that is wished for, in steps: one message may be large."""
        log, query = self._host.stores.log, wish.query
        found = _Found([], complete=False, count=None)
        size = 0
        while True:
            some = min(_TOGETHER, query.limit - len(found.entries))
            page = await log.page(owner.text, replace(query, limit=some))
            entries, size = _fitting(page.entries, query.backwards, size)
            if query.count:
                found.count = page.count
            if query.backwards:
                found.entries[:0] = entries
            else:
                found.entries += entries
            if len(entries) < len(page.entries):
                return found
            if page.complete or len(found.entries) >= query.limit:
                found.complete = page.complete
                return found
            if query.backwards:
                query = replace(query, before=found.entries[0].key, count=False)
            else:
                query = replace(query, after=found.entries[-1].key, count=False)

    async def _advance(self, owner: JID, has: int) -> None:
        """A client that lives by the archive has everything up to a message: it waits no more.

        It need not have been sent by this archive: its client may have got it before its
        connection broke, and could not say so.
        """
        messages, log = self._host.require(MessagesApi), self._host.stores.log
        after = 0
        while has:
            waiting = await log.waiting(owner.text, after=after, limit=_TOGETHER)
            known = [one.key for one in waiting if one.flags & _VISIBLE and one.key <= has]
            messages.collected(owner, known)
            if len(waiting) < _TOGETHER or waiting[-1].key >= has:
                return
            after = waiting[-1].key

    def _send(
        self, session: Session, entries: list[Entry], wish: Wish, messages: MessagesApi
    ) -> None:
        # Made of bytes, and past whatever holds stanzas back: they are an answer, and nothing
        # of them may come behind the one that ends it.
        to, account = session.jid, session.jid.bare
        for entry in reversed(entries) if wish.flipped else entries:
            stanza = b"<message xmlns='jabber:client'" + entry.stanza[len(_START) :]
            data = mam.result(wish.queryid, messages.id_of(entry.key), entry.at, stanza)
            # Who reads the archive as it is gets no offline messages for what was in it
            # (§6.1.1), as soon as the result has reached the client.
            collects = wish.synchronises and entry.flags & _AWAITING
            parcel = messages.copy_parcel(entry) if collects else None
            message = Message(to, account, children=_RESULT, inner=data)
            session.send(message, parcel, ahead=True)


def _fitting(entries: Sequence[Entry], backwards: bool, size: int) -> tuple[Sequence[Entry], int]:
    """As many of these entries as fit into a page that has so many bytes already; one always."""
    fitting = 0
    for entry in reversed(entries) if backwards else entries:
        size += len(entry.stanza)
        if size > _BYTES and (fitting or size > len(entry.stanza)):
            break
        fitting += 1
    return (entries[len(entries) - fitting :] if backwards else entries[:fitting]), size


def _end(found: _Found, wish: Wish, messages: MessagesApi) -> Element:
    entries = found.entries
    everything = wish.whole and found.complete
    count = len(entries) if everything else found.count
    if not entries:
        return mam.fin(rsm.result(count=count), complete=found.complete)
    ends = [messages.id_of(entry.key) for entry in (entries[0], entries[-1])]
    first, last = reversed(ends) if wish.descending else ends
    index = 0 if everything or (wish.whole and not wish.from_end) else None
    return mam.fin(rsm.result(first, last, index=index, count=count), complete=found.complete)


def _asking(iq: Iq, session: Session | None) -> Session:
    # Requests to one's own account come from its clients.
    if session is None:
        raise StanzaError(Condition.FORBIDDEN, f"{iq.from_} has no archive here")
    return session
