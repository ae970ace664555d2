"""A session: one connected resource, as the spine and the modules see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar, cast

from jabberd.core.verdict import Delivered
from jabberd.xmpp.error import StreamError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Presence, Stanza

T = TypeVar("T")
_MOST_HELD: Final = 1_000


class Slot(Generic[T]):
    """A typed place for a module's own data about a session.

    Args:
        name: "module.what", for people who debug.
        default: what `Session.get` answers until something was set.
    """

    __slots__ = ("default", "name")

    def __init__(self, name: str, default: T) -> None:
        self.name = name
        self.default = default

    def __repr__(self) -> str:
        return f"Slot({self.name!r})"


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

    def get(self, slot: Slot[T]) -> T:
        """What a module keeps here, or the slot's default."""

    def set(self, slot: Slot[T], value: T) -> None:
        """Keep something here until the session ends."""

    def send(self, stanza: Stanza, *, ahead: bool = False) -> None:
        """Write a stanza to the client. Never blocks and never raises.

        Args:
            stanza: what to write.
            ahead: write it now, also where others are held back.
        """

    def hold(self) -> None:
        """Hold back what is sent from now on, so that older stanzas can go ahead of it."""

    def release(self) -> None:
        """Write what was held back, and hold back no more."""

    def close(self, error: StreamError | None = None) -> None:
        """End the stream, with an error if one is given."""


class SessionState:
    """The part of a session that needs no socket; what connects it derives from this."""

    __slots__ = ("_held", "_slots", "delivered", "facts", "jid", "presence", "priority")

    def __init__(self, jid: JID, facts: SessionFacts) -> None:
        self.jid = jid
        self.facts = facts
        self.delivered = Delivered((jid.text,))
        self.presence: Presence | None = None
        self.priority = 0
        self._slots: dict[Slot[object], object] | None = None  # made when first needed
        self._held: list[Stanza] | None = None

    def write(self, stanza: Stanza) -> None:
        """Write a stanza to whatever carries the session."""
        raise NotImplementedError(f"nothing carries {self.jid} to write {stanza!r} to")

    def send(self, stanza: Stanza, *, ahead: bool = False) -> None:
        """Write a stanza to the client, unless it is held back."""
        if self._held is None or ahead:
            self.write(stanza)
        elif len(self._held) < _MOST_HELD:
            self._held.append(stanza)
        else:  # out of order is better than out of memory
            self.write(stanza)

    def hold(self) -> None:
        """Hold back what is sent from now on."""
        if self._held is None:
            self._held = []

    def release(self) -> None:
        """Write what was held back, and hold back no more."""
        held, self._held = self._held, None
        for stanza in held or ():
            self.write(stanza)

    def get(self, slot: Slot[T]) -> T:
        """What a module keeps here, or the slot's default."""
        if self._slots is None:
            return slot.default
        return cast("T", self._slots.get(cast("Slot[object]", slot), slot.default))

    def set(self, slot: Slot[T], value: T) -> None:
        """Keep something here until the session ends."""
        if self._slots is None:
            self._slots = {}
        self._slots[cast("Slot[object]", slot)] = value


class Sessions:
    """Every session of this process, by account. Sessions of other nodes are not in here."""

    def __init__(self) -> None:
        self._accounts: dict[str, tuple[Session, ...]] = {}

    def of(self, owner: str) -> tuple[Session, ...]:
        """The sessions of an account (bare JID as text), oldest first."""
        return self._accounts.get(owner, ())

    def find(self, jid: JID) -> Session | None:
        """The session with this full JID."""
        for session in self._accounts.get(jid.bare.text, ()):
            if session.jid.resource == jid.resource:
                return session
        return None

    def add(self, session: Session) -> None:
        """Register a session; its full JID must be free."""
        owner = session.jid.bare.text
        self._accounts[owner] = (*self._accounts.get(owner, ()), session)

    def remove(self, session: Session) -> bool:
        """Forget a session; False where it was not registered."""
        owner = session.jid.bare.text
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
