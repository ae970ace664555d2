"""The state of one SMPP connection (ESME): bind, sequence numbers, window, timers; no I/O.

What came from the socket goes into `receive`, what is to be written comes out of `take`, and
`tick` is called when `deadline` has come. Times are seconds of any monotonic clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from jabberd.gateways.sms.smpp.bodies import Bind, BindResp, Data, Message, MessageResp
from jabberd.gateways.sms.smpp.pdu import (
    LAST_SEQUENCE,
    Command,
    Framer,
    Pdu,
    PduError,
    Tag,
    encode,
    response_to,
)
from jabberd.gateways.sms.smpp.status import Status, explain


class Mode(Enum):
    """What a connection is for, and how it is bound."""

    TRANSCEIVER = Command.BIND_TRANSCEIVER
    TRANSMITTER = Command.BIND_TRANSMITTER
    RECEIVER = Command.BIND_RECEIVER


@dataclass(frozen=True, slots=True)
class Timers:
    """How long things may take, in seconds.

    Attributes:
        bind: the answer to a bind.
        idle: without a sign of life, before the SMSC is asked for one.
        alive: the answer to that.
        response: the answer to a message.
        unbind: the answer to an unbind.
    """

    bind: float = 30.0
    idle: float = 30.0
    alive: float = 10.0
    response: float = 60.0
    unbind: float = 5.0


# What happens.


@dataclass(frozen=True, slots=True)
class Bound:
    """The SMSC let us in."""


@dataclass(frozen=True, slots=True)
class BindRefused:
    """It did not.

    Attributes:
        status: why.
    """

    status: int


@dataclass(frozen=True, slots=True)
class Answered:
    """It answered a message.

    Attributes:
        sequence: of the message.
        status: what became of it.
        message_id: its name there.
    """

    sequence: int
    status: int
    message_id: str


@dataclass(frozen=True, slots=True)
class Unanswered:
    """It did not answer a message in time: nobody knows what became of it."""

    sequence: int


@dataclass(frozen=True, slots=True)
class Came:
    """A deliver_sm or data_sm came, and waits for `Session.answer`."""

    pdu: Pdu


@dataclass(frozen=True, slots=True)
class Ended:
    """Nothing more is to come: close the connection when all is written.

    Attributes:
        why: in words.
    """

    why: str


Event = Bound | BindRefused | Answered | Unanswered | Came | Ended


class State(Enum):
    """Where the session stands."""

    BINDING = auto()
    BOUND = auto()
    UNBINDING = auto()
    ENDED = auto()


_FOR_US: Final = frozenset({Command.DELIVER_SM, Command.DATA_SM})


@dataclass(slots=True)
class Session:
    """One connection; it begins by binding.

    Attributes:
        mode: what it is for.
        bind: what it shows to be let in.
        now: when it began.
        window: messages that may be without an answer.
        timers: see there.
        state: where it stands.
    """

    mode: Mode
    bind: Bind
    now: float
    window: int = 10
    timers: Timers = field(default_factory=Timers)
    state: State = State.BINDING
    _out: bytearray = field(default_factory=bytearray, repr=False)
    _framer: Framer = field(default_factory=Framer, repr=False)
    _sequence: int = 0
    _pending: dict[int, float] = field(default_factory=dict)
    _asked: int = 0
    _until: float | None = None
    _heard: float = 0.0

    def __post_init__(self) -> None:
        self._heard = self.now
        self._until = self.now + self.timers.bind
        self._asked = self._next()
        self._write(Pdu(self.mode.value, self._asked, body=self.bind))

    @property
    def room(self) -> bool:
        """Whether a message may be sent now."""
        return self.state is State.BOUND and len(self._pending) < self.window

    def take(self) -> bytes:
        """What is to be written to the socket now."""
        data = bytes(self._out)
        self._out.clear()
        return data

    # What we do

    def submit(self, message: Message, now: float, tlvs: tuple[tuple[int, bytes], ...] = ()) -> int:
        """Send a message; there must be `room`.

        Returns:
            Its sequence number, by which `Answered` names it.

        Raises:
            FieldError: it does not fit SMPP.
        """
        sequence = self._next()
        self._write(Pdu(Command.SUBMIT_SM, sequence, body=message, tlvs=tlvs))
        self._pending[sequence] = now + self.timers.response
        return sequence

    def answer(self, pdu: Pdu, status: int) -> bool:
        """Say what became of a message that came; False where it is too late for that."""
        if self.state not in {State.BOUND, State.UNBINDING}:
            return False
        self._write(Pdu(response_to(pdu.command), pdu.sequence, status, MessageResp()))
        return True

    def unbind(self, now: float) -> None:
        """Take leave; `Ended` follows."""
        if self.state is State.BOUND:
            self.state = State.UNBINDING
            self._asked = self._next()
            self._until = now + self.timers.unbind
            self._write(Pdu(Command.UNBIND, self._asked))

    # What happens

    def receive(self, data: bytes, now: float) -> list[Event]:
        """Take what the SMSC has sent."""
        events: list[Event] = []
        self._framer.feed(data)
        while self.state is not State.ENDED:
            try:
                pdu = self._framer.next()
            except PduError as error:
                self._bad(error, now, events)
                continue
            if pdu is None:
                break
            self._heard = now
            self._pdu(pdu, events)
        return events

    def deadline(self) -> float | None:
        """When `tick` is to be called; None for never."""
        if self.state is State.ENDED:
            return None
        times = list(self._pending.values())
        if self._until is not None:
            times.append(self._until)
        else:
            times.append(self._heard + self.timers.idle)
        return min(times)

    def tick(self, now: float) -> list[Event]:
        """Some time has passed."""
        events: list[Event] = []
        for sequence in [one for one, until in self._pending.items() if until <= now]:
            del self._pending[sequence]
            events.append(Unanswered(sequence))
        if self.state is State.ENDED:
            return events
        if self._until is not None and self._until <= now:
            what = {State.BINDING: "the bind", State.UNBINDING: "the unbind"}
            asked = what.get(self.state, "whether it is still there")
            self._end(f"the SMSC did not answer {asked}", events)
        elif self._until is None and self._heard + self.timers.idle <= now:
            self._asked = self._next()
            self._until = now + self.timers.alive
            self._write(Pdu(Command.ENQUIRE_LINK, self._asked))
        return events

    # Inside

    def _next(self) -> int:
        self._sequence = 1 if self._sequence >= LAST_SEQUENCE else self._sequence + 1
        return self._sequence

    def _write(self, pdu: Pdu) -> None:
        self._out += encode(pdu)

    def _end(self, why: str, events: list[Event]) -> None:
        if self.state is not State.ENDED:
            self.state = State.ENDED
            self._until = None
            events.append(Ended(why))

    def _bad(self, error: PduError, now: float, events: list[Event]) -> None:
        """Something came that is no PDU to work with (§4.3)."""
        if error.fatal:
            self.unbind(now)
            self._end(str(error), events)
        elif not error.command & Command.GENERIC_NACK:
            self._write(Pdu(Command.GENERIC_NACK, error.sequence, error.status))

    def _pdu(self, pdu: Pdu, events: list[Event]) -> None:
        if pdu.is_response:
            self._response(pdu, events)
        elif pdu.command is Command.ENQUIRE_LINK:
            self._write(Pdu(Command.ENQUIRE_LINK_RESP, pdu.sequence))
        elif pdu.command is Command.UNBIND:
            self._write(Pdu(Command.UNBIND_RESP, pdu.sequence))
            self._end("the SMSC ended the session", events)
        elif pdu.command in _FOR_US and self.state in {State.BOUND, State.UNBINDING}:
            events.append(Came(pdu))
        elif pdu.command not in {Command.ALERT_NOTIFICATION, Command.OUTBIND}:
            # No SMSC asks for these; the two above have no answer (§4.1.7, §4.12).
            status = Status.INVALID_COMMAND_ID
            if pdu.command in _FOR_US:
                status = Status.WRONG_BIND_STATE
            self._write(Pdu(Command.GENERIC_NACK, pdu.sequence, status))

    def _response(self, pdu: Pdu, events: list[Event]) -> None:
        if self._until is not None and pdu.sequence == self._asked:
            self._asked_and_answered(pdu, events)
        elif self._pending.pop(pdu.sequence, None) is not None:
            name = pdu.body.message_id if isinstance(pdu.body, MessageResp) else ""
            status = pdu.status
            if pdu.command is Command.GENERIC_NACK and not status:
                status = Status.SYSTEM_ERROR
            events.append(Answered(pdu.sequence, status, name))
        elif pdu.command is Command.GENERIC_NACK:
            self._end(f"the SMSC lost track: {explain(pdu.status)}", events)

    def _asked_and_answered(self, pdu: Pdu, events: list[Event]) -> None:
        self._until = None
        if self.state is State.UNBINDING:
            self._end("unbound", events)
        elif self.state is State.BINDING:
            if pdu.status or not isinstance(pdu.body, BindResp):
                events.append(BindRefused(pdu.status or Status.BIND_FAILED))
                self._end(explain(pdu.status or Status.BIND_FAILED), events)
            else:
                self.state = State.BOUND
                events.append(Bound())


def message_of(pdu: Pdu) -> tuple[Message, bytes]:
    """What came, the same for deliver_sm and data_sm: the message, and its octets."""
    payload = pdu.tlv(Tag.MESSAGE_PAYLOAD)
    body = pdu.body
    if isinstance(body, Message):
        return body, body.short_message or payload or b""
    if isinstance(body, Data):
        message = Message(
            service_type=body.service_type,
            source=body.source,
            destination=body.destination,
            esm_class=body.esm_class,
            data_coding=body.data_coding,
        )
        return message, payload or b""
    raise TypeError(f"{pdu.command.name} brings no message")
