"""The session of a client: with a connection, or waiting for its client to come back (XEP-0198)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol, TypeVar, cast

import structlog

from jabberd.core.host import LocalHost
from jabberd.core.module import SessionEvent
from jabberd.core.parcel import Parcel
from jabberd.core.session import SessionFacts, SessionState, Slot
from jabberd.core.turn import Turn
from jabberd.core.turns import Turns
from jabberd.edge.carrier import Carrier, Said, is_certain
from jabberd.edge.session_record import presence_of, saved
from jabberd.edge.sm import Bounds, StreamManagement
from jabberd.storage.log_api import Unit
from jabberd.xmpp import sm as wire
from jabberd.xmpp.error import Condition, StanzaError, StreamCondition, StreamError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.payload.keeping import is_fleeting
from jabberd.xmpp.stanza import (
    Iq,
    Message,
    ParseError,
    Presence,
    Stanza,
    error_reply,
    read_stanza,
)

T = TypeVar("T")
_log: Final = structlog.get_logger("jabberd.c2s")
_EXPECT_SECONDS: Final = 3.0  # longer than most clients on a bad line take to speak
_SILENT_SECONDS: Final = 30.0  # longer than a line stalls that is not given up
_EXPECT_MOST: Final = 32  # stanzas that are kept back for one that says nothing
_ASK_STANZAS: Final = 64  # are asked for at once
_ASK_SECONDS: Final = 0.25  # may see so many requests for fewer:
_ASK_OFTEN: Final = 3
_READY_SECONDS: Final = 30.0
_READY_LOOK: Final = 0.02
_READY_BYTES: Final = 131_072


class Keeping(Protocol):
    """What sessions share; `edge.resumption` implements it."""

    bounds: Bounds
    turns: Turns
    now: Callable[[], float]

    def remove(self, session: ClientSession) -> None:
        """The session is over."""


class ClientSession(SessionState):
    """The session of a client.

    Args:
        jid: its full JID.
        facts: how it came about.
        host: whose account it is.
        keeping: what sessions share.
        carrier: its connection; None while there is none.

    Attributes:
        sm: its stream management; None where the client has not asked for it.
        since: when the client was last connected, by the loop's clock.
        work: what is being done with its last stanza, if that takes time.
        expecting: ends the wait for its client's first words, see `expect`.
    """

    __slots__ = ("_carrier", "_host", "_keeping", "expecting", "since", "sm", "work")

    def __init__(
        self,
        jid: JID,
        facts: SessionFacts,
        host: LocalHost,
        keeping: Keeping,
        carrier: Carrier | None,
    ) -> None:
        super().__init__(jid, facts)
        self._host = host
        self._keeping = keeping
        self._carrier = carrier
        self.sm: StreamManagement | None = None
        self.since = 0.0
        self.work: asyncio.Task[object] | None = None
        self.expecting: asyncio.TimerHandle | None = None

    @property
    def connected(self) -> bool:
        """Whether a client is there now."""
        return self._carrier is not None

    @property
    def managed(self) -> bool:
        """Whether its client is told what was handled, and tells what it has (XEP-0198)."""
        return self.sm is not None

    @property
    def takes_at_once(self) -> bool:
        """Whether what is sent now has left when `send` returns, and is nobody's worry then."""
        carrier = self._carrier
        return self.sm is None and carrier is not None and carrier.takes and super().takes_at_once

    # The beginning

    def expect(self) -> None:
        """Keep back what comes until the client speaks, but not for long, and not much.

        Nearly every client says next whether it counts stanzas (XEP-0198 §3). What was written
        before that is covered by no count: a connection that breaks then takes it along. Messages
        that the log has lose nothing by waiting longer than the rest: that may be what the client
        waits for.
        """
        if self.sm is not None:  # it has said so at its login
            self.release()
        else:
            loop = asyncio.get_running_loop()
            self.expecting = loop.call_later(_EXPECT_SECONDS, self._says_nothing)

    def _says_nothing(self) -> None:
        """It may be one that listens only; or its line stalls, and breaks yet."""
        self.hold_messages()
        loop = asyncio.get_running_loop()
        self.expecting = loop.call_later(_SILENT_SECONDS - _EXPECT_SECONDS, self.begin)

    def begin(self) -> None:
        """The client has spoken, or is one that listens only."""
        timer, self.expecting = self.expecting, None
        if timer is not None:
            timer.cancel()
            self.release()

    # Out

    def write(self, stanza: Stanza) -> None:
        """Write a stanza to the client."""
        self.put(stanza)

    def put(self, stanza: Stanza) -> bool:
        """Write a stanza to the client; False where there is none."""
        carrier = self._carrier
        return carrier is not None and carrier.write(stanza.to_bytes())

    async def ready(self) -> bool:
        """Wait until the client has taken most of what was written.

        Without a client, or where it takes nothing for half a minute, there is no use in waiting.
        """
        loop = asyncio.get_running_loop()
        late = loop.time() + _READY_SECONDS
        while not self.ended and self._carrier is not None:
            sm = self.sm
            room = sm is None or sm.bytes <= self._keeping.bounds.bytes // 2
            if room and self._carrier.waiting <= _READY_BYTES:
                return True
            if loop.time() > late:
                return False
            await asyncio.sleep(_READY_LOOK)
        return False

    def send(self, stanza: Stanza, parcel: Parcel | None = None, *, ahead: bool = False) -> None:
        """Write a stanza to the client, unless it is held back."""
        held = self._held
        if held is not None and self.expecting is not None and len(held) >= _EXPECT_MOST:
            self.begin()
            held = None
        if not ahead and (held is not None or self._filter is not None):
            self._detour(stanza, parcel)
        elif parcel is None and self.sm is None and self._gate is None:  # as often: some calls less
            self.write(stanza)
        else:
            self._emit(stanza, parcel)

    def _emit(self, stanza: Stanza, parcel: Parcel | None) -> None:
        sm = self.sm
        if sm is None:
            super()._emit(stanza, parcel)
            return
        sm.push(stanza.to_bytes(), parcel)
        gate = self._gate
        if parcel is not None:
            parcel.holders += 1
            if not sm.durable:  # nothing else would know of it after a kill
                parcel.wait()
        if parcel is not None and parcel.turn.pending:
            if gate is None:
                gate = self._gate = deque()
            # The queue answers for the parcel; the gate only keeps the order.
            gate.append((parcel.turn, stanza, None))
            parcel.turn.gates[self] = None
        else:
            self._keeping.turns.later(self)
            if gate:
                gate.append((None, stanza, None))
            else:
                self.write(stanza)
        if self._carrier is None:
            self._host.undelivered(self, stanza)
        if not sm.within(self._keeping.bounds):
            self._overflow()

    def _overflow(self) -> None:
        # XEP-0198 has no rule for it. The session goes, not the server's memory; what is in the
        # log stays there.
        if self._carrier is not None:
            text = "too many stanzas are not acknowledged"
            self._carrier.close(StreamError(StreamCondition.POLICY_VIOLATION, text))
        else:
            asyncio.get_running_loop().call_soon(self.finish, "too much waits for its client")

    def committed(self, turn: Turn, /) -> None:
        """See `core.turn.Gate`."""
        sm = self.sm
        if sm is None:
            super().committed(turn)
            return
        if turn.failed is not None:
            self._errors_first(turn)
            sm.discard(turn)
            sm.changed = sm.durable
            sm.told = -1
            self._keeping.turns.later(self)
        else:
            sm.written()
        self._open_gate()
        if not self._gate:
            self._ask()

    def _open_gate(self) -> None:
        """Write what nothing holds back any more, in one piece."""
        gate = self._gate
        ready: list[bytes] = []
        # Of stanzas from before the stream was managed: no queue answers for them.
        parcels: list[Parcel] = []
        while gate:
            waited, stanza, parcel = gate[0]
            if waited is not None and waited.pending:
                break
            gate.popleft()
            # A count is told also where the commit failed: the client got errors for its stanzas.
            if waited is None or waited.failed is None or is_certain(stanza):
                ready.append(stanza.to_bytes())
                if parcel is not None:
                    parcels.append(parcel)
        if not gate:
            self._gate = None
        carrier = self._carrier
        given = bool(ready) and carrier is not None and carrier.write(b"".join(ready))
        for parcel in parcels:
            if given:
                parcel.arrive()
            else:
                parcel.drop()

    def _errors_first(self, turn: Turn) -> None:
        """Who is told that its stanzas were handled has been told by then which were refused."""
        gate = self._gate or deque()
        counts = [one for one in gate if one[0] is turn and is_certain(one[1])]
        if counts:
            self._gate = deque(one for one in gate if one not in counts)
            self._gate.extend((None, stanza, None) for _, stanza, _ in counts)

    # Acknowledgements (XEP-0198 §4)

    def manage(self, sm: StreamManagement) -> None:
        """Begin to count."""
        self.sm = sm
        self._keeping.turns.later(self)

    def count(self) -> None:
        """The client asks how many of its stanzas were handled: tell it when that is on disk."""
        sm = self.sm
        if sm is None:
            return
        turns = self._keeping.turns
        if sm.durable and sm.told != sm.handled:
            turn: Turn | None = turns.open()
            if turn is not None:
                turn.unit.handled[sm.number] = sm.told = sm.handled
        else:
            turn = turns.latest()
        self.say(wire.a(sm.handled), turn)

    def say(self, data: bytes, turn: Turn | None = None) -> None:
        """Write something that is no stanza, behind what was sent before it.

        Args:
            data: an element.
            turn: what has to be committed before.
        """
        count = cast("Stanza", Said(data, certain=True))
        if turn is not None:
            if self._gate is None:
                self._gate = deque()
            self._gate.append((turn, count, None))
            turn.gates[self] = None
        elif self._gate:
            self._gate.append((None, count, None))
        else:
            self.write(count)

    def acknowledged(self, h: int) -> None:
        """The client has handled everything up to its count.

        Raises:
            StreamError: undefined-condition, where that is more than was sent.
        """
        sm = self.sm
        if sm is None:
            return
        before = sm.base
        sm.acknowledge(h)
        sm.asked = 0.0
        self._keeping.turns.later(self)
        if sm.queue and sm.base != before:  # else a slow client would be asked for ever
            self._ask()

    def _ask(self) -> None:
        """Ask for an acknowledgement.

        Not at every stanza (XEP-0198 §8.2): each answer costs a client as much as a message of its
        own. In a burst the first ones are asked for together with them, the last ones soon after.
        """
        sm, carrier = self.sm, self._carrier
        if sm is None or carrier is None or not sm.queue or sm.asked:
            return
        now = self._keeping.now()
        if now >= sm.rest:
            sm.rest, sm.asks = now + _ASK_SECONDS, 0
        if sm.asks >= _ASK_OFTEN and len(sm.queue) < _ASK_STANZAS:
            self._keeping.turns.later(self)
            return
        sm.asked = now
        sm.asks += 1
        carrier.write(wire.R)

    def journal(self, unit: Unit) -> None:
        """See `core.turn.Gate`."""
        sm = self.sm
        if sm is None:
            return
        if sm.durable:
            if sm.told < 0:  # a commit has failed
                unit.handled[sm.number] = sm.told = sm.handled
            if sm.changed:
                sm.changed = False
                unit.sessions[sm.number] = saved(self, sm)
            sm.pack(unit)
        if not self._gate:
            self._ask()

    def set(self, slot: Slot[T], value: T) -> None:
        """Keep something here until the session ends."""
        super().set(slot, value)
        if slot.save is not None:
            self.changed()

    def appear(self, presence: Presence | None, priority: int = 0) -> None:
        """It has told everybody this presence; None: that it is unavailable."""
        super().appear(presence, priority)
        self.changed()

    def changed(self) -> None:
        """Something that outlives the process is another by now.

        What is said from now on waits until that is on the disk: who was told that copies are on
        (XEP-0280), or has seen its own presence, must not resume a session that knows neither.
        """
        sm = self.sm
        if sm is not None and sm.durable:
            sm.changed = True
            self.say(b"", self._keeping.turns.open())

    # Without a client, and with one again (XEP-0198 §5)

    def away(self) -> None:
        """The client is gone without a word, and may come back."""
        self._carrier = None
        self.since = self._keeping.now()
        if self.sm is not None:
            self.sm.asked = 0.0
        self._host.emit(SessionEvent.AWAY, self)

    def detach(self, error: StreamError | None) -> None:
        """Take the session away from its connection."""
        carrier = self._carrier
        if carrier is not None:
            self.away()
            carrier.release(error)

    def attach(self, carrier: Carrier) -> None:
        """Give the session to another connection, and write what its client has not got."""
        self._carrier = carrier
        sm = self.sm
        gate, self._gate = self._gate, None
        for _, _, parcel in gate or ():
            if parcel is not None:  # from before the stream was managed
                parcel.drop()
        for item in sm.queue if sm is not None else ():
            turn = item.parcel.turn if item.parcel is not None else None
            again = cast("Stanza", Said(item.data, certain=False))
            if turn is not None and turn.pending:
                if self._gate is None:
                    self._gate = deque()
                self._gate.append((turn, again, None))
                turn.gates[self] = None
            elif self._gate:
                self._gate.append((None, again, None))
            else:
                carrier.write(item.data)
        if sm is not None:
            sm.rest = 0.0
        self._ask()
        self._host.emit(SessionEvent.RESUMED, self)

    def become(self, data: dict[str, Any]) -> None:
        """Take over what `session_record.saved` wrote.

        Raises:
            KeyError, ValueError, TypeError: it did not.
        """
        self.presence = presence_of(data)
        self.priority = self.presence.priority() if self.presence is not None else 0
        self._stored = dict(data["slots"])
        self.since = self._keeping.now()

    # The end

    def close(self, error: StreamError | None = None) -> None:
        """End the stream, with an error if one is given, and the session."""
        if self._carrier is not None:
            self._carrier.close(error)
        else:
            self.end()

    def lose(self, why: str) -> None:
        """The connection does not answer: do as if it were broken."""
        _log.info("connection given up", jid=self.jid.text, reason=why)
        if self._carrier is not None:
            self._carrier.abort()

    def finish(self, why: str) -> None:
        """Nobody has come back: the session ends as if its client had left."""
        if self._carrier is None:
            _log.info("session ended", jid=self.jid.text, reason=why)
            self.end()

    def end(self) -> Awaitable[None] | None:
        """The session is over; awaitable until everybody has been told."""
        self._carrier = None
        return self._host.unbind(self)

    def abandon(self) -> None:
        """What the client has not got goes where it goes when nobody is there (§4)."""
        super().abandon()
        if self.expecting is not None:
            self.expecting.cancel()
            self.expecting = None
        self._keeping.remove(self)
        sm, self.sm = self.sm, None
        if sm is None:
            return
        for data, parcel in sm.queue:
            if parcel is not None:
                if parcel.turn.failed is None:
                    parcel.drop()
            elif not data.startswith(b"<presence"):
                self._return(data)

    def _return(self, data: bytes) -> None:
        """Tell the sender of what no log has that it has not arrived (RFC 6121 §8.5.3.2)."""
        try:
            stanza = read_stanza(data)
        except ParseError:
            return
        if stanza.from_ is None or stanza.from_.bare == self.jid.bare:
            return
        if isinstance(stanza, Iq):
            owed = stanza.is_request
        else:
            owed = isinstance(stanza, Message) and self._is_missed(stanza)
        if owed:
            self._host.route(error_reply(stanza, StanzaError(Condition.SERVICE_UNAVAILABLE)))

    def _is_missed(self, message: Message) -> bool:
        if message.type in {"error", "headline"} or is_fleeting(message):
            return False
        # What was for the account has been given to its other clients as well.
        others = any(other.presence for other in self._host.sessions(self.jid.bare))
        return message.to is None or not message.to.is_bare or not others

    def keys(self) -> frozenset[int]:
        """Keys of the log's entries that are on their way to this client."""
        found = super().keys()
        if self.sm is None:
            return found
        parcels = [item.parcel for item in self.sm.queue]
        return found.union(parcel.key for parcel in parcels if parcel is not None)
