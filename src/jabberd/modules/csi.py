"""XEP-0352 Client State Indication: a client that nobody looks at is told less.

While a client is inactive, presence is held back, of each resource only the last; and so are chat
states, of each conversation only the last. Everything else goes on at once, behind what is held
back of the same sender: no message is delayed, and what one sender says keeps its order. Copies
(XEP-0280) count as what their conversation's other side says.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from jabberd.core.module import Host, Module, OnNonza, OnSession, SessionEvent, Xep
from jabberd.core.parcel import Parcel
from jabberd.core.ports import CsiApi
from jabberd.core.session import Session, Slot
from jabberd.xmpp import ns
from jabberd.xmpp.element import Element
from jabberd.xmpp.payload import carbons, csi
from jabberd.xmpp.stanza import Message, Presence, Stanza

XEP: Final = Xep(352, "1.0.0")

_NOTHING: Final = ""
_PRESENCE: Final = "presence"
_STATE: Final = "chat state"
_STATE_SENT: Final = "chat state of another client"


@dataclass(frozen=True, slots=True)
class Options:
    """What an inactive client is not told at once.

    Attributes:
        presence: hold presence back; of each resource, only the last is sent in the end.
        chat_states: hold chat states back; of each conversation, only the last is sent in the end.
        max_stanzas: so many are held back for one client; one more, and all are sent.
        max_bytes: so many bytes are held back for one client; beyond, all are sent.
    """

    presence: bool = True
    chat_states: bool = True
    max_stanzas: int = 500
    max_bytes: int = 262_144


class _Place(NamedTuple):
    """Where a stanza belongs.

    Attributes:
        sender: whose order it is part of: a full JID, or a bare one.
        kind: of what it is the last; empty: it is not held back.
    """

    sender: str
    kind: str


class _Held(NamedTuple):
    """A stanza, and which one it is of all that were held back."""

    number: int
    stanza: Stanza


class Inactive:
    """What is held back for one client.

    Args:
        session: whose.
        options: what is held back, and how much of it.
    """

    def __init__(self, session: Session, options: Options) -> None:
        self._session = session
        self._options = options
        self._held: dict[str, dict[str, _Held]] = {}  # by sender and kind
        self._came = 0
        self._count = 0
        self._bytes = 0

    def keep(self, stanza: Stanza, parcel: Parcel | None) -> bool:
        """Whether this stanza is held back; see `Session.filter`."""
        sender, kind = self._place(stanza)
        if kind and parcel is None:  # what is in the log is worth more than that
            self._hold(sender, kind, stanza)
            return True
        if self._held:
            if isinstance(stanza, Presence) and csi.is_own_in_room(stanza):
                # It says that all who were there before have been told of (XEP-0045 §7.2.2).
                self._flush_room(sender.partition("/")[0])
            elif sender in self._held:
                self._send(self._held.pop(sender).values())
        return False

    def flush(self) -> None:
        """Send everything, in the order in which it came."""
        held, self._held = self._held, {}
        self._send(one for kinds in held.values() for one in kinds.values())

    def _flush_room(self, room: str) -> None:
        names = [name for name in self._held if name.partition("/")[0] == room]
        kinds = [self._held.pop(name) for name in names]
        self._send(one for held in kinds for one in held.values())

    def _send(self, held: Iterable[_Held]) -> None:
        for one in sorted(held, key=_number):
            self._forget(one.stanza)
            self._session.send(one.stanza, ahead=True)

    def _forget(self, stanza: Stanza) -> None:
        self._count -= 1
        self._bytes -= len(stanza.to_bytes())

    def _hold(self, sender: str, kind: str, stanza: Stanza) -> None:
        kinds = self._held.setdefault(sender, {})
        before = kinds.get(kind)
        if before is not None:
            self._forget(before.stanza)
        self._came += 1
        self._count += 1
        self._bytes += len(stanza.to_bytes())
        kinds[kind] = _Held(self._came, stanza)
        if self._count > self._options.max_stanzas or self._bytes > self._options.max_bytes:
            self.flush()

    def _place(self, stanza: Stanza) -> _Place:
        sender = stanza.from_.text if stanza.from_ is not None else ""
        if isinstance(stanza, Presence):
            return _Place(sender, _PRESENCE if self._is_dull(stanza) else _NOTHING)
        if not isinstance(stanza, Message):
            return _Place(sender, _NOTHING)
        copied = carbons.inside(stanza)
        if copied is None:
            return _Place(sender, self._state(stanza, _STATE))
        # A copy belongs to the conversation with whom it came from or went to.
        message, sent = copied
        peer = message.to if sent else message.from_
        kind = self._state(message, _STATE_SENT if sent else _STATE)
        return _Place((peer.bare if sent else peer).text if peer is not None else "", kind)

    def _is_dull(self, presence: Presence) -> bool:
        # Requests of strangers are for the person; the own presence, and the own in a room, are
        # what the client waits for.
        return (
            self._options.presence
            and presence.type in {"", "unavailable"}
            and presence.from_ is not None
            and presence.from_ != self._session.jid
            and not csi.is_own_in_room(presence)
        )

    def _state(self, message: Message, kind: str) -> str:
        return kind if self._options.chat_states and csi.is_chat_state(message) else _NOTHING


def _number(held: _Held) -> int:
    return held.number


INACTIVE: Final[Slot[Inactive | None]] = Slot("csi.inactive", None)


class Csi:
    """`CsiApi`."""

    def __init__(self, options: Options) -> None:
        self._options = options

    def active(self, session: Session) -> None:
        """Somebody looks at the client, or it is treated so from now on."""
        self.set_active(session, True)

    def inactive(self, session: Session) -> None:
        """Nobody looks at the client."""
        self.set_active(session, False)

    def closed(self, session: Session) -> None:
        """The session is over: nobody needs what was held back."""
        if session.get(INACTIVE) is not None:
            session.set(INACTIVE, None)
            session.filter(None)

    def set_active(self, session: Session, active: bool) -> None:
        """See `CsiApi.set_active`."""
        before = session.get(INACTIVE)
        if not active and before is None:
            inactive = Inactive(session, self._options)
            session.set(INACTIVE, inactive)
            session.filter(inactive.keep)
        elif active and before is not None:
            session.set(INACTIVE, None)
            session.filter(None)
            before.flush()


def load(_host: Host, options: Options) -> Module:
    """The module's value for one host."""
    states = Csi(options)
    return Module(
        stream_features=[Element(ns.CSI, "csi")],
        handlers=[
            OnNonza(ns.CSI, "active", states.active),
            OnNonza(ns.CSI, "inactive", states.inactive),
            # §5.2: who resumes a stream is active. What was held back goes with what it gets then.
            OnSession(SessionEvent.AWAY, states.active),
            OnSession(SessionEvent.CLOSED, states.closed),
        ],
        provides={CsiApi: states},
    )
