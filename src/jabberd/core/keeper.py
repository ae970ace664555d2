"""Writes the messages of one host's accounts into the durable log, and watches over them there.

Which messages are kept is not decided here: `ArchiveRules` (a module) says what is visible in an
archive, and `xmpp.payload.keeping` what waits for somebody who is not there.
"""

from __future__ import annotations

import html
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

from jabberd.core.archive_id import ArchiveIds
from jabberd.core.parcel import Parcel
from jabberd.core.ports import ArchiveRules
from jabberd.core.resent import Mark, Resent, unique_of
from jabberd.core.session import Session
from jabberd.core.turn import Turn
from jabberd.core.turns import Turns
from jabberd.storage.api import StorageError
from jabberd.storage.log_api import Doc, Entry, Flag, Log
from jabberd.xmpp import ns
from jabberd.xmpp.jid import JID
from jabberd.xmpp.payload.delay import delay
from jabberd.xmpp.payload.keeping import waits
from jabberd.xmpp.payload.sid import STANZA_ID, stanza_id
from jabberd.xmpp.stanza import Message, ParseError, read_stanza

Refuse = Callable[[Message, Session | None, StorageError], None]
_VISIBLE: Final = int(Flag.VISIBLE)
_AWAITING: Final = int(Flag.AWAITING)
_SENT: Final = int(Flag.SENT)
_COUNTS: Final = 10_000
_BODY: Final = re.compile(rb"<body>([^<]*)</body>")
_CHAR_REF: Final = b"&"
_PREFIXES: Final = 10_000
_ARRIVED: Final = 20_000
_ID_END: Final = b"'/>"
_SEARCHABLE: Final = 16_384  # characters of one message that can be searched
_new: Final = tuple.__new__  # a named tuple's own is a function, and costs twice as much
_PAST: Final = Turn()  # of every entry that was read from the log: nobody waits for it
_PAST.pending = False


class Ledger:
    """What the hosts of one server share: the log, its turns, and what was sent lately.

    Args:
        log: the store.
        now: seconds since the epoch.
    """

    def __init__(self, log: Log, now: Callable[[], float]) -> None:
        self.log = log
        self.now = now
        self.turns = Turns(log)
        self.ids = ArchiveIds(log.secret)
        self.resent = Resent()


class _Counting:
    """An account of which somebody is counting what waits.

    Attributes:
        readers: how many are counting.
        changes: how often the number has become another meanwhile.
    """

    __slots__ = ("changes", "readers")

    def __init__(self) -> None:
        self.readers = self.changes = 0


class Keeper:
    """The log, for one host. Implements `core.ports.MessagesApi` and `core.parcel.Custodian`.

    Args:
        domain: of the host.
        ledger: shared by the hosts of the server.
        now: seconds since the epoch.
        refuse: tells a sender that a message could not be stored after all.
        waiting: called when messages of an account have begun to wait, with the newest where
            it is known.
    """

    def __init__(
        self,
        domain: JID,
        ledger: Ledger,
        now: Callable[[], float],
        refuse: Refuse,
        waiting: Callable[[JID, Message | None], None],
    ) -> None:
        self._domain = domain
        self._log = ledger.log
        self._turns = ledger.turns
        self._ids = ledger.ids
        self._resent = ledger.resent
        self._now = now
        self._refuse = refuse
        self._tell_waiting = waiting
        self._counts: OrderedDict[str, int] = OrderedDict()  # of what waits, by account
        self._counting: dict[str, _Counting] = {}  # by account, while it is being counted
        self._arrived: OrderedDict[int, None] = OrderedDict()  # the last entries that did
        self._last: Message | None = None
        self._unique = ("", False)  # of `_last`
        self._prefixes: dict[str, bytes] = {}  # of stanza-ids, by account
        self.rules: ArchiveRules | None = None

    # What is to be kept

    def incoming(self, message: Message, account: JID) -> int | Awaitable[int]:
        """The flags of the entry that the recipient's log gets; 0 where it gets none."""
        rules = self.rules
        if rules is not None:
            visible = rules.visible(message, account, outgoing=False)
            if visible is True:
                return _VISIBLE
            if visible is not False:
                return self._incoming_later(message, visible)
        return _AWAITING if waits(message) else 0

    async def _incoming_later(self, message: Message, visible: Awaitable[bool]) -> int:
        if await visible:
            return _VISIBLE
        return _AWAITING if waits(message) else 0

    def outgoing(self, message: Message, account: JID) -> bool | Awaitable[bool]:
        """Whether the sender's archive gets the message."""
        rules = self.rules
        return rules is not None and rules.visible(message, account, outgoing=True)

    def again(self, message: Message, session: Session, mark: Mark) -> bool:
        """Whether a client sends a message again that is in the log already."""
        to = message.to
        return to is not None and self._resent.again(
            session.jid.bare_text, to.bare_text, self._unique_of(message), message.inner, mark
        )

    def forget_sent(self, message: Message, session: Session) -> None:
        """A message was refused: its sender may try again."""
        if message.to is not None:
            unique = self._unique_of(message)
            self._resent.forget(session.jid.bare_text, message.to.bare_text, unique)

    def _unique_of(self, message: Message) -> tuple[str, bool]:
        """See `unique_of`; a message passes here several times in a row."""
        if message is not self._last:
            self._last = message
            self._unique = unique_of(message)
        return self._unique

    @property
    def crowded(self) -> bool:
        """Whether messages should wait until the disk has caught up."""
        return self._turns.crowded

    @property
    def busy(self) -> bool:
        """Whether something is not committed yet."""
        return self._turns.latest() is not None

    # Into the log

    def receive(
        self, message: Message, account: JID, flags: int, origin: Session | None
    ) -> tuple[Message, Parcel]:
        """Write a message into the log of its recipient.

        Returns:
            The message as the recipient gets it, and the parcel to send with it.
        """
        peer = message.from_ or self._domain
        turn = self._turns.open()
        turn.refused.append((self._refuse, message, origin))
        key = self._enter(turn, message, account.text, peer, flags)
        if flags & _VISIBLE:
            message = self.stamped(message, account, key)
        return message, Parcel(account.text, key, message.to_bytes(), turn, flags, self)

    def send(self, message: Message, account: JID) -> Parcel:
        """Write a message into the log of its sender.

        Returns:
            The parcel for copies to the sender's other clients; `stamped` makes what they hold.
        """
        key = self.enter_sent(message, account)
        turn = self._turns.open()
        return Parcel(account.text, key, b"", turn, _VISIBLE | _SENT, self)

    def enter_sent(self, message: Message, account: JID) -> int:
        """As `send`, where there is nobody to send copies to; returns the key of the entry."""
        peer = message.to or account
        return self._enter(self._turns.open(), message, account.text, peer, _VISIBLE | _SENT)

    def _enter(self, turn: Turn, message: Message, owner: str, peer: JID, flags: int) -> int:
        now = turn.at
        if not now:
            now = turn.at = self._now()
        key = self._log.next_key(now)
        wire = message.to_bytes()
        rules = self.rules
        if flags & _VISIBLE and rules is not None and rules.searchable:
            doc = self._index(turn, message, key)
        else:
            doc = 0
        unique = self._unique_of(message)[0]
        row = (key, owner, peer.bare_text, peer.resource, now, flags, unique, doc, wire)
        turn.unit.entries.append(_new(Entry, row))
        turn.bytes += len(wire)
        if flags & _AWAITING:
            self._count(owner, 1)
        return key

    @staticmethod
    def _index(turn: Turn, message: Message, key: int) -> int:
        """Have the text of a message indexed, once for both sides of it.

        Returns:
            The key of the text; 0 where there is none.
        """
        wire = message.to_bytes()
        if turn.wire is not wire:
            turn.wire = wire
            text = _text(message)
            turn.doc = key if text else 0
            if text:
                turn.unit.docs.append(Doc(key, text))
        return turn.doc

    def stamped(self, message: Message, account: JID, key: int) -> Message:
        """The message with its identifier in an account's archive (XEP-0359 §3.3)."""
        prefix = self._prefixes.get(account.text)
        if prefix is None:
            prefix = stanza_id(account, "").removesuffix(_ID_END)
            if len(self._prefixes) >= _PREFIXES:
                self._prefixes.clear()
            self._prefixes[account.text] = prefix
        return message.with_tail(prefix + self._ids.id_of(key).encode() + _ID_END, STANZA_ID)

    # MessagesApi

    async def settled(self) -> None:
        """See `MessagesApi.settled`."""
        await self._turns.settled()

    def id_of(self, key: int) -> str:
        """See `MessagesApi.id_of`."""
        return self._ids.id_of(key)

    def key_of(self, text: str) -> int | None:
        """See `MessagesApi.key_of`."""
        return self._ids.key_of(text)

    async def waiting(self, account: JID) -> int:
        """See `MessagesApi.waiting`."""
        owner = account.text
        known = self._counts.get(owner)
        if known is not None:
            return known
        counting = self._counting.setdefault(owner, _Counting())
        counting.readers += 1
        changes = counting.changes
        try:
            await self._turns.settled()
            counted = await self._log.count_waiting(owner)
        finally:
            counting.readers -= 1
            if not counting.readers:
                del self._counting[owner]
        if counting.changes == changes:  # else it is right for now, and nothing to build on
            self._counts[owner] = counted
            if len(self._counts) > _COUNTS:
                self._counts.popitem(last=False)
        return counted

    def store(self, message: Message, account: JID, origin: Session | None, flags: int) -> None:
        """See `MessagesApi.store`."""
        peer = message.from_ or self._domain
        turn = self._turns.open()
        turn.refused.append((self._refuse, message, origin))
        self._enter(turn, message, account.text, peer, flags | _AWAITING)
        turn.after.append(partial(self._tell_waiting, account, message))

    def hand_over(self, session: Session, entry: Entry) -> None:
        """See `MessagesApi.hand_over`."""
        message = self._message(entry)
        if not message.has(ns.DELAY, "delay"):
            message = message.with_child(delay(entry.at, self._domain, "Offline storage"))
        if entry.flags & _VISIBLE:
            message = self.stamped(message, session.jid.bare, entry.key)
        parcel = self._parcel(entry, message.to_bytes())
        # The session remembers it before it is sent: else, after a kill, a client that resumes
        # would get it again as something that still waits.
        parcel.turn = self._turns.open()
        session.send(message, parcel, ahead=True)

    def parcel_of(self, entry: Entry) -> tuple[bytes, Parcel]:
        """An entry as it was sent to its owner before, and a parcel for it.

        Raises:
            ParseError: it is not what this class writes.
        """
        message = self._message(entry)
        if entry.flags & _VISIBLE:
            message = self.stamped(message, JID.parse(entry.owner), entry.key)
        data = message.to_bytes()
        return data, self._parcel(entry, data)

    def _message(self, entry: Entry) -> Message:
        message = read_stanza(entry.stanza)
        if not isinstance(message, Message):
            raise ParseError(f"the log has a <{message.tag}/> in it")
        return message

    def _parcel(self, entry: Entry, data: bytes) -> Parcel:
        parcel = Parcel(entry.owner, entry.key, data, _PAST, entry.flags, self)
        parcel.done = bool(entry.flags & Flag.SEEN)
        return parcel

    def collected(self, account: JID, keys: Sequence[int]) -> None:
        """See `MessagesApi.collected`."""
        if keys:
            self._turns.open().unit.delivered.extend(keys)
            self._remember(keys)
            self._recount(account.text)

    def copy_parcel(self, entry: Entry) -> Parcel:
        """See `MessagesApi.copy_parcel`."""
        # Without the stanza: what is journaled by the key of its entry is the entry.
        return Parcel(entry.owner, entry.key, b"", _PAST, entry.flags, _Copies(self))

    def has_arrived(self, key: int) -> bool:
        """See `MessagesApi.has_arrived`."""
        return key in self._arrived

    def _remember(self, keys: Sequence[int]) -> None:
        for key in keys:
            self._arrived[key] = None
        while len(self._arrived) > _ARRIVED:
            self._arrived.popitem(last=False)

    def look(self, account: JID) -> None:
        """Messages may wait for an account that has sessions; they belong before newer ones."""
        self._tell_waiting(account, None)

    def recount(self, account: JID) -> None:
        """The log is not what was decided: it was erased, or a commit failed."""
        self._recount(account.text)

    # Custodian

    def arrived(self, parcel: Parcel) -> None:
        """A message that waited has come to its owner."""
        key = parcel.key
        self._turns.open().unit.delivered.append(key)
        if parcel.flags & _AWAITING:
            if key in self._arrived:  # by the archive as well: it is counted no more
                self._recount(parcel.account)
            else:
                self._count(parcel.account, -1)
        self._remember((key,))

    def waits(self, parcel: Parcel) -> None:
        """A session holds a message back."""
        self._turns.open().unit.awaiting.append(parcel.key)
        self._count(parcel.account, 1)

    def returned(self, parcel: Parcel) -> None:
        """A message has not come to its owner."""
        turn = self._turns.open()
        if not parcel.flags & _AWAITING:
            parcel.flags |= _AWAITING
            turn.unit.awaiting.append(parcel.key)
            self._count(parcel.account, 1)
        turn.after.append(partial(self._tell_waiting, JID.parse(parcel.account), None))

    def _recount(self, owner: str) -> None:
        self._counts.pop(owner, None)
        self._count_again(owner)

    def _count(self, owner: str, change: int) -> None:
        known = self._counts.get(owner)
        if known is not None:
            self._counts[owner] = max(0, known + change)
        else:
            self._count_again(owner)

    def _count_again(self, owner: str) -> None:
        """What is being counted for this account just now comes too late."""
        counting = self._counting.get(owner)
        if counting is not None:
            counting.changes += 1


class _Copies:
    """Custodian of copies: more than one of them may arrive, so that counting would go wrong."""

    __slots__ = ("_keeper",)

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper

    def arrived(self, parcel: Parcel) -> None:
        """The owner has the message."""
        self._keeper.collected(JID.parse(parcel.account), (parcel.key,))

    def waits(self, parcel: Parcel) -> None:
        """It waits anyway."""

    def returned(self, parcel: Parcel) -> None:
        """The copy has not come to the owner: the message itself is for somebody else."""
        self._keeper.returned(parcel)


def _text(message: Message) -> str:
    """What can be searched of a message: its body."""
    found = _BODY.search(message.inner)
    if found is not None and message.inner.count(b"<body") == 1:
        raw = found[1]
        text = raw.decode()
        return html.unescape(text)[:_SEARCHABLE] if _CHAR_REF in raw else text[:_SEARCHABLE]
    return (message.body() or "")[:_SEARCHABLE]
