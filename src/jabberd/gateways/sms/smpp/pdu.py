"""SMPP 3.4 PDUs: header, body and TLVs (§3.2, §5); pure."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from jabberd.gateways.sms.smpp import bodies
from jabberd.gateways.sms.smpp.bodies import Body, Empty, read_body, write_body
from jabberd.gateways.sms.smpp.fields import FieldError, Reader
from jabberd.gateways.sms.smpp.status import Status

HEADER: Final = 16
LONGEST: Final = 65_536
"""Octets of a PDU that is taken; more is no SMPP."""
LAST_SEQUENCE: Final = 0x7FFFFFFF
_RESPONSE: Final = 0x80000000
_HEAD: Final = struct.Struct(">4I")
_TLV: Final = struct.Struct(">HH")


class Command(IntEnum):
    """command_id (§5.1.2.1)."""

    GENERIC_NACK = 0x80000000
    BIND_RECEIVER = 0x00000001
    BIND_RECEIVER_RESP = 0x80000001
    BIND_TRANSMITTER = 0x00000002
    BIND_TRANSMITTER_RESP = 0x80000002
    QUERY_SM = 0x00000003
    QUERY_SM_RESP = 0x80000003
    SUBMIT_SM = 0x00000004
    SUBMIT_SM_RESP = 0x80000004
    DELIVER_SM = 0x00000005
    DELIVER_SM_RESP = 0x80000005
    UNBIND = 0x00000006
    UNBIND_RESP = 0x80000006
    REPLACE_SM = 0x00000007
    REPLACE_SM_RESP = 0x80000007
    CANCEL_SM = 0x00000008
    CANCEL_SM_RESP = 0x80000008
    BIND_TRANSCEIVER = 0x00000009
    BIND_TRANSCEIVER_RESP = 0x80000009
    OUTBIND = 0x0000000B
    ENQUIRE_LINK = 0x00000015
    ENQUIRE_LINK_RESP = 0x80000015
    SUBMIT_MULTI = 0x00000021
    SUBMIT_MULTI_RESP = 0x80000021
    ALERT_NOTIFICATION = 0x00000102
    DATA_SM = 0x00000103
    DATA_SM_RESP = 0x80000103


class Tag(IntEnum):
    """Tags of TLVs that are used here (§5.3.2)."""

    RECEIPTED_MESSAGE_ID = 0x001E
    USER_MESSAGE_REFERENCE = 0x0204
    SAR_MSG_REF_NUM = 0x020C
    SAR_TOTAL_SEGMENTS = 0x020E
    SAR_SEGMENT_SEQNUM = 0x020F
    SC_INTERFACE_VERSION = 0x0210
    NETWORK_ERROR_CODE = 0x0423
    MESSAGE_PAYLOAD = 0x0424
    MORE_MESSAGES_TO_SEND = 0x0426
    MESSAGE_STATE = 0x0427


_BODIES: Final[Mapping[Command, type[Body]]] = {
    Command.BIND_RECEIVER: bodies.Bind,
    Command.BIND_RECEIVER_RESP: bodies.BindResp,
    Command.BIND_TRANSMITTER: bodies.Bind,
    Command.BIND_TRANSMITTER_RESP: bodies.BindResp,
    Command.BIND_TRANSCEIVER: bodies.Bind,
    Command.BIND_TRANSCEIVER_RESP: bodies.BindResp,
    Command.OUTBIND: bodies.Outbind,
    Command.SUBMIT_SM: bodies.Message,
    Command.SUBMIT_SM_RESP: bodies.MessageResp,
    Command.DELIVER_SM: bodies.Message,
    Command.DELIVER_SM_RESP: bodies.MessageResp,
    Command.SUBMIT_MULTI: bodies.MultiMessage,
    Command.SUBMIT_MULTI_RESP: bodies.MultiMessageResp,
    Command.DATA_SM: bodies.Data,
    Command.DATA_SM_RESP: bodies.MessageResp,
    Command.QUERY_SM: bodies.Query,
    Command.QUERY_SM_RESP: bodies.QueryResp,
    Command.CANCEL_SM: bodies.Cancel,
    Command.REPLACE_SM: bodies.Replace,
    Command.ALERT_NOTIFICATION: bodies.Alert,
}


class PduError(ValueError):
    """What came is no PDU that can be answered as one.

    Args:
        text: why.
        status: to answer with.
        sequence: of the PDU.
        command: its command_id, known or not.
        fatal: the stream cannot be followed any more.
    """

    def __init__(
        self, text: str, status: Status, sequence: int, command: int, *, fatal: bool = False
    ) -> None:
        super().__init__(text)
        self.status = status
        self.sequence = sequence
        self.command = command
        self.fatal = fatal


@dataclass(frozen=True, slots=True)
class Pdu:
    """One PDU.

    Attributes:
        command: what it is.
        sequence: of the request; an answer repeats it.
        status: of an answer; 0 in requests.
        body: what it says.
        tlvs: optional parameters: tag and value, in order.
    """

    command: Command
    sequence: int
    status: int = Status.OK
    body: Body = field(default_factory=Empty)
    tlvs: tuple[tuple[int, bytes], ...] = ()

    @property
    def is_response(self) -> bool:
        """Whether it answers one."""
        return bool(self.command & _RESPONSE)

    def tlv(self, tag: Tag) -> bytes | None:
        """The value of an optional parameter; None where it is not there."""
        return next((value for name, value in self.tlvs if name == tag), None)

    def number(self, tag: Tag) -> int | None:
        """The value of an optional parameter as a number; None where it is not there."""
        value = self.tlv(tag)
        return int.from_bytes(value, "big") if value else None


def response_to(command: Command) -> Command:
    """What answers a request; generic_nack for what has no answer of its own."""
    try:
        return Command(command | _RESPONSE)
    except ValueError:
        return Command.GENERIC_NACK


def encode(pdu: Pdu) -> bytes:
    """The octets of a PDU.

    Raises:
        FieldError: a value does not fit.
    """
    parts = [write_body(pdu.body)]
    for tag, value in pdu.tlvs:
        if len(value) >= LONGEST:
            raise FieldError(f"the parameter {tag:04X} is too long")
        parts += [_TLV.pack(tag, len(value)), value]
    data = b"".join(parts)
    if HEADER + len(data) > LONGEST:
        raise FieldError(f"a PDU of {HEADER + len(data)} octets is too long")
    return _HEAD.pack(HEADER + len(data), pdu.command, pdu.status, pdu.sequence) + data


def decode(data: bytes) -> Pdu:
    """A whole PDU.

    Raises:
        PduError: it is none, or none that is known.
    """
    _, number, status, sequence = _HEAD.unpack_from(data)
    try:
        command = Command(number)
    except ValueError:
        text = f"the command {number:08X} is not known"
        raise PduError(text, Status.INVALID_COMMAND_ID, sequence, number) from None
    if len(data) == HEADER:
        # Answers of failure have no body, and some SMSCs leave it out at others (§3.2).
        bare = bool(number & _RESPONSE) or command not in _BODIES
        body = _BODIES.get(command, Empty)() if bare else None
        if body is not None:
            return Pdu(command, sequence, status, body)
    reader = Reader(data[HEADER:])
    try:
        body = read_body(_BODIES.get(command, Empty), reader)
        return Pdu(command, sequence, status, body, _tlvs(reader))
    except FieldError as error:
        raise PduError(str(error), Status.INVALID_LENGTH, sequence, number) from None


def _tlvs(reader: Reader) -> tuple[tuple[int, bytes], ...]:
    found = []
    while reader.left:
        tag, length = reader.number(2), reader.number(2)
        found.append((tag, reader.take(length)))
    return tuple(found)


class Framer:
    """Cuts what a peer sends into PDUs; keeps no more than one that is not complete."""

    __slots__ = ("_data",)

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> None:
        """Take more octets."""
        self._data += data

    def next(self) -> Pdu | None:
        """The next PDU; None until there is a whole one.

        Raises:
            PduError: it is none; the one after it can be asked for, unless it is fatal.
        """
        if len(self._data) < HEADER:
            return None
        length, number, _, sequence = _HEAD.unpack_from(self._data)
        if not HEADER <= length <= LONGEST:
            text = f"a PDU has {length} octets"
            raise PduError(text, Status.INVALID_COMMAND_LENGTH, sequence, number, fatal=True)
        if len(self._data) < length:
            return None
        whole = bytes(self._data[:length])
        del self._data[:length]
        return decode(whole)
