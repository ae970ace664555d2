"""A session: one connected resource, as the spine and the modules see it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar, cast

from jabberd.core.parcel import Parcel
from jabberd.core.resent import Mark
from jabberd.core.turn import Turn
from jabberd.core.verdict import Delivered
from jabberd.storage.log_api import Unit
from jabberd.xmpp.error import Condition, StanzaError, StreamError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Presence, Stanza

T = TypeVar("T")
Keep = Callable[[Stanza, Parcel | None], bool]
"""Whether somebody keeps a stanza, with its parcel, to send it later."""
_MOST_HELD: Final = 1_000


class Slot(Generic[T]):
    """A typed place for a module's own data about a session.

    Args:
        name: "module.what", for people who debug; unique where the slot is kept.
        default: what `Session.get` answers until something was set.
        save: makes a JSON value of what is there, for a session that outlives the process
            (XEP-0198); without it the slot does not.
        load: the reverse.
    """

    __slots__ = ("default", "load", "name", "save")

    def __init__(
        self,
        name: str,
        default: T,
        *,
        save: Callable[[T], object] | None = None,
        load: Callable[[object], T] | None = None,
    ) -> None:
        self.name = name
        self.default = default
        self.save = save
        self.load = load

    def __repr__(self) -> str:
        return f"Slot({self.name!r})"


def flag_slot(name: str) -> Slot[bool]:
    """A slot for yes or no (no by default) that outlives the process."""
    return Slot(name, False, save=bool, load=bool)


READS_ARCHIVE: Final = flag_slot("session.reads-archive")
"""Whether its client has said that it fetches messages from the archive by itself (XEP-0386)."""

CLIENT_ID: Final = Slot("session.client-id", "", save=str, load=str)
"""By what a client names itself at each login (XEP-0388); empty where it does not."""


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """How a session came about, for operators and for modules that care.

    Attributes:
        address: the client's IP address.
        since: when it was bound, seconds since the epoch.
        mechanism: the SASL mechanism, or "jabber:iq:auth".
        tls: for example "TLSv1.3"; empty on a plain connection.
        temporary: the account was made for this session and ends with it (RFC 4505).
    """

    address: str
    since: float
    mechanism: str
    tls: str
    temporary: bool = False


class Session(Protocol):
    """One bound resource. `SessionState` implements all of it but `close`."""

    jid: JID
    """The full JID."""
    presence: Presence | None
    """The last available presence it broadcast, with `from_` set; None while unavailable."""
    priority: int
    """Of `presence`; meaningless while unavailable."""
    facts: SessionFacts
    delivered: Delivered
    """The verdict on a stanza that was written to this session alone."""
    mark: Mark
    """By what its messages are recognised when they are sent again by another stream."""
    missed: bool
    """While on hold, too much came: the newest messages wait in the log only."""

    @property
    def connected(self) -> bool:
        """Whether a client is there now; False while the session waits to be resumed."""

    @property
    def managed(self) -> bool:
        """Whether its client is told what was handled, and tells what it has (XEP-0198)."""

    @property
    def takes_at_once(self) -> bool:
        """Whether what is sent now has left when `send` returns, and is nobody's worry then."""

    def get(self, slot: Slot[T]) -> T:
        """What a module keeps here, or the slot's default."""

    def set(self, slot: Slot[T], value: T) -> None:
        """Keep something here until the session ends."""

    def appear(self, presence: Presence | None, priority: int = 0) -> None:
        """It has told everybody this presence; None: that it is unavailable."""

    def send(self, stanza: Stanza, parcel: Parcel | None = None, *, ahead: bool = False) -> None:
        """Write a stanza to the client. Never blocks and never raises.

        Args:
            stanza: what to write.
            parcel: which entry of the log it is, or carries; it is written when that is durable.
            ahead: write it now, also where others are held back or filtered.
        """

    def filter(self, keep: Keep | None) -> None:
        """Ask somebody about every stanza from now on; what `keep` says True to is not written.

        Whoever keeps a stanza sends it later, with its parcel and `ahead`. None ends it.
        """

    def hold(self) -> None:
        """Hold back what is sent from now on, so that older stanzas can go ahead of it."""

    def release(self) -> None:
        """Write what was held back, and hold back no more."""

    def keys(self) -> frozenset[int]:
        """Keys of the log's entries that are on their way to this client."""

    async def ready(self) -> bool:
        """Wait until the client has taken most of what was written; False where it does not."""

    def abandon(self) -> None:
        """The session is over: what its client has not got goes back to the log."""

    def close(self, error: StreamError | None = None) -> None:
        """End the stream, with an error if one is given."""


def client_of(session: Session | None) -> Session:
    """The client of this server that asks for something.

    Raises:
        StanzaError: not-allowed, where somebody else does.
    """
    if session is None:
        raise StanzaError(Condition.NOT_ALLOWED, "this is for clients of this server only")
    return session


class SessionState:
    """The part of a session that needs no socket; what connects it derives from this.

    What is sent goes through these stations, in this order: held back while older stanzas go
    ahead (`hold`); looked at by a filter (XEP-0352); kept until its entry in the log is durable
    (`committed`); written. A stanza never overtakes another one that was sent before it.
    """

    __slots__ = ("_filter", "_gate", "_held", "_log_only", "_slots", "_stored", "delivered",
                 "ended", "facts", "jid", "mark", "missed", "presence", "priority")  # fmt: skip

    def __init__(self, jid: JID, facts: SessionFacts) -> None:
        self.jid = jid
        self.facts = facts
        self.delivered = Delivered((jid.text,))
        self.presence: Presence | None = None
        self.priority = 0
        self.mark = Mark()
        self.missed = False  # messages of the log were left there while it was on hold
        self.ended = False  # whoever still sends to it finds nobody
        self._slots: dict[Slot[object], object] | None = None  # made when first needed
        self._stored: dict[str, object] | None = None  # slots of a former process, by name
        self._held: list[tuple[Stanza, Parcel | None]] | None = None
        self._log_only = False  # of what is held back: messages of the log alone
        self._filter: Keep | None = None
        self._gate: deque[tuple[Turn | None, Stanza, Parcel | None]] | None = None

    @property
    def connected(self) -> bool:
        """Whether a client is there now."""
        return True

    @property
    def managed(self) -> bool:
        """Whether its client is told what was handled, and tells what it has (XEP-0198)."""
        return False

    @property
    def takes_at_once(self) -> bool:
        """Whether what is sent now has left when `send` returns, and is nobody's worry then."""
        return self._held is None and self._filter is None and not self._gate and not self.ended

    def appear(self, presence: Presence | None, priority: int = 0) -> None:
        """It has told everybody this presence; None: that it is unavailable."""
        self.presence, self.priority = presence, priority

    def write(self, stanza: Stanza) -> None:
        """Write a stanza to whatever carries the session."""
        raise NotImplementedError(f"nothing carries {self.jid} to write {stanza!r} to")

    def put(self, stanza: Stanza) -> bool:
        """Write a stanza; whether it was taken by what carries the session."""
        self.write(stanza)
        return True

    async def ready(self) -> bool:
        """Wait until the client has taken most of what was written; False where it does not."""
        return True

    def send(self, stanza: Stanza, parcel: Parcel | None = None, *, ahead: bool = False) -> None:
        """Write a stanza to the client, unless it is held back."""
        if ahead or (self._held is None and self._filter is None):
            self._emit(stanza, parcel)
        else:
            self._detour(stanza, parcel)

    def _detour(self, stanza: Stanza, parcel: Parcel | None) -> None:
        held = self._held
        if parcel is None and self._log_only:
            held = None
        if held is None or (parcel is not None and parcel.sent and self.managed):
            # A copy of what the account itself sent overtakes nothing of its pair. Held back it
            # would be lost with this process: it does not wait in the log.
            if self._filter is None or not self._filter(stanza, parcel):
                self._emit(stanza, parcel)
        elif parcel is not None:
            self._hold(held, stanza, parcel)
        elif len(held) < _MOST_HELD:
            held.append((stanza, None))
        else:  # out of order is better than out of memory
            self._emit(stanza, None)

    def _hold(
        self, held: list[tuple[Stanza, Parcel | None]], stanza: Stanza, parcel: Parcel
    ) -> None:
        parcel.wait()
        if not self.missed and len(held) >= _MOST_HELD:
            # Whoever holds this session reads all of them from the log, in order.
            self.missed = True
            left = [entry for _, entry in held if entry is not None and not entry.sent]
            for entry in left:
                entry.holders -= 1
            held = [one for one in held if one[1] is None or one[1].sent]
            self._held = held
        if parcel.sent and len(held) >= _MOST_HELD:
            return  # a copy of what was sent: its client has an archive, or does without
        if not self.missed or parcel.sent:
            parcel.holders += 1
            held.append((stanza, parcel))

    def _emit(self, stanza: Stanza, parcel: Parcel | None) -> None:
        """Write it, now or when it is durable and nothing older waits."""
        if self.ended:
            if parcel is not None:
                parcel.holders += 1
                parcel.drop()
            return
        if parcel is None:
            if self._gate:
                self._gate.append((None, stanza, None))
            else:
                self.write(stanza)
            return
        parcel.holders += 1
        turn = parcel.turn
        if turn.pending:
            if self._gate is None:
                self._gate = deque()
            self._gate.append((turn, stanza, parcel))
            turn.gates[self] = None
        elif self._gate:
            self._gate.append((None, stanza, parcel))
        else:
            self._give(stanza, parcel)

    def _give(self, stanza: Stanza, parcel: Parcel | None) -> None:
        """Write it; what nobody is there for any more goes back."""
        given = self.put(stanza)
        if parcel is None:
            return
        if given:
            parcel.arrive()
        else:
            parcel.drop()

    def journal(self, unit: Unit) -> None:
        """See `core.turn.Gate`; there is nothing to remember of a stream without XEP-0198."""

    def committed(self, _turn: Turn, /) -> None:
        """See `core.turn.Gate`."""
        gate = self._gate
        while gate and (gate[0][0] is None or not gate[0][0].pending):
            waited, stanza, parcel = gate.popleft()
            if (
                waited is None or waited.failed is None
            ):  # else it is in no log, and its sender was told
                self._give(stanza, parcel)
        if gate is not None and not gate:
            self._gate = None

    def abandon(self) -> None:
        """The session is over: what could not be written goes back to where it came from."""
        self.ended = True
        gate, self._gate = self._gate, None
        held, self._held = self._held, None
        self._filter = None
        for waited, _, parcel in gate or ():
            if parcel is not None and (waited is None or waited.failed is None):
                parcel.drop()
        for _, parcel in held or ():
            if parcel is not None:
                parcel.drop()

    def filter(self, keep: Keep | None) -> None:
        """Ask somebody about every stanza from now on."""
        self._filter = keep

    def hold(self) -> None:
        """Hold back what is sent from now on."""
        if self._held is None:
            self._held = []

    def hold_messages(self) -> None:
        """Of what is held back, go on with messages of the log alone, and write the rest."""
        held = self._held or []
        self._held = [one for one in held if one[1] is not None]
        self._log_only = True
        for stanza, parcel in held:
            if parcel is None:
                self.send(stanza)

    def release(self) -> None:
        """Write what was held back, and hold back no more."""
        held, self._held = self._held, None
        self._log_only = False
        for stanza, parcel in held or ():
            if parcel is not None:
                parcel.holders -= 1  # `send` takes it again
                if parcel.turn.failed is not None:
                    continue  # it is in no log, and its sender was told
            self.send(stanza, parcel)

    def keys(self) -> frozenset[int]:
        """Keys of the log's entries that are on their way to this client."""
        on_the_way = [parcel for _, _, parcel in self._gate or ()]
        on_the_way += [parcel for _, parcel in self._held or ()]
        return frozenset(parcel.key for parcel in on_the_way if parcel is not None)

    def get(self, slot: Slot[T]) -> T:
        """What a module keeps here, or the slot's default."""
        slots = self._slots
        if slots is not None:
            key = cast("Slot[object]", slot)
            if key in slots:
                return cast("T", slots[key])
        if self._stored is not None and slot.load is not None and slot.name in self._stored:
            value = slot.load(self._stored.pop(slot.name))
            self.set(slot, value)
            return value
        return slot.default

    def set(self, slot: Slot[T], value: T) -> None:
        """Keep something here until the session ends."""
        if self._slots is None:
            self._slots = {}
        self._slots[cast("Slot[object]", slot)] = value

    def kept_slots(self) -> dict[str, object]:
        """The slots that outlive the process, as JSON values by name."""
        kept = dict(self._stored or {})
        for slot, value in (self._slots or {}).items():
            if slot.save is not None:
                kept[slot.name] = slot.save(value)
        return kept


class Sessions:
    """Every session of this process, by account. Sessions of other nodes are not in here."""

    def __init__(self) -> None:
        self._accounts: dict[str, tuple[Session, ...]] = {}

    def of(self, owner: str) -> tuple[Session, ...]:
        """The sessions of an account (bare JID as text), oldest first."""
        return self._accounts.get(owner, ())

    def find(self, jid: JID) -> Session | None:
        """The session with this full JID."""
        for session in self._accounts.get(jid.bare_text, ()):
            if session.jid.resource == jid.resource:
                return session
        return None

    def add(self, session: Session) -> None:
        """Register a session; its full JID must be free."""
        owner = session.jid.bare_text
        self._accounts[owner] = (*self._accounts.get(owner, ()), session)

    def remove(self, session: Session) -> bool:
        """Forget a session; False where it was not registered."""
        owner = session.jid.bare_text
        before = self._accounts.get(owner, ())
        rest = tuple(other for other in before if other is not session)
        if rest:
            self._accounts[owner] = rest
        else:
            self._accounts.pop(owner, None)
        return len(rest) < len(before)

    def all(self) -> list[Session]:
        """A snapshot of every session."""
        return [session for sessions in self._accounts.values() for session in sessions]

    def __len__(self) -> int:
        return sum(map(len, self._accounts.values()))
