"""The bodies of SMPP PDUs (SMPP 3.4 §4) as values, and what their fields are on the wire; pure."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Final

from jabberd.gateways.sms.smpp.fields import (
    Address,
    AddressOf,
    Destinations,
    Number,
    Octets,
    Reader,
    String,
    Unsuccessful,
)

_NOBODY: Final = Address()
# What the fields of bodies are on the wire: metadata of the fields of the classes below.
_U8: Final = {"kind": Number()}
_STRING_6: Final = {"kind": String(6)}
_STRING_9: Final = {"kind": String(9)}
_STRING_13: Final = {"kind": String(13)}
_STRING_16: Final = {"kind": String(16)}
_STRING_65: Final = {"kind": String(65)}
_TIME: Final = {"kind": String(17)}
_OCTETS: Final = {"kind": Octets()}
_ADDRESS: Final = {"kind": AddressOf()}
_LONG_ADDRESS: Final = {"kind": AddressOf(65)}
_RANGE: Final = {"kind": AddressOf(41)}
_DESTINATIONS: Final = {"kind": Destinations()}
_UNSUCCESSFUL: Final = {"kind": Unsuccessful()}


@dataclass(frozen=True, slots=True)
class Empty:
    """No body: unbind, enquire_link, generic_nack and most that answer."""


@dataclass(frozen=True, slots=True)
class Bind:
    """bind_receiver, bind_transmitter, bind_transceiver (§4.1)."""

    system_id: str = field(default="", metadata=_STRING_16)
    password: str = field(default="", repr=False, metadata=_STRING_9)
    system_type: str = field(default="", metadata=_STRING_13)
    interface_version: int = field(default=0x34, metadata=_U8)
    range: Address = field(default=_NOBODY, metadata=_RANGE)


@dataclass(frozen=True, slots=True)
class BindResp:
    """The answers to them."""

    system_id: str = field(default="", metadata=_STRING_16)


@dataclass(frozen=True, slots=True)
class Outbind:
    """outbind (§4.1.7): an SMSC asks to be bound to."""

    system_id: str = field(default="", metadata=_STRING_16)
    password: str = field(default="", repr=False, metadata=_STRING_9)


@dataclass(frozen=True, slots=True)
class Message:
    """submit_sm (§4.4) and deliver_sm (§4.6)."""

    service_type: str = field(default="", metadata=_STRING_6)
    source: Address = field(default=_NOBODY, metadata=_ADDRESS)
    destination: Address = field(default=_NOBODY, metadata=_ADDRESS)
    esm_class: int = field(default=0, metadata=_U8)
    protocol_id: int = field(default=0, metadata=_U8)
    priority: int = field(default=0, metadata=_U8)
    schedule: str = field(default="", metadata=_TIME)
    validity: str = field(default="", metadata=_TIME)
    registered_delivery: int = field(default=0, metadata=_U8)
    replace_if_present: int = field(default=0, metadata=_U8)
    data_coding: int = field(default=0, metadata=_U8)
    default_msg_id: int = field(default=0, metadata=_U8)
    short_message: bytes = field(default=b"", repr=False, metadata=_OCTETS)


@dataclass(frozen=True, slots=True)
class MessageResp:
    """submit_sm_resp, deliver_sm_resp and data_sm_resp: the name of the message."""

    message_id: str = field(default="", metadata=_STRING_65)


@dataclass(frozen=True, slots=True)
class MultiMessage:
    """submit_multi (§4.5)."""

    service_type: str = field(default="", metadata=_STRING_6)
    source: Address = field(default=_NOBODY, metadata=_ADDRESS)
    destinations: tuple[Address | str, ...] = field(default=(), metadata=_DESTINATIONS)
    esm_class: int = field(default=0, metadata=_U8)
    protocol_id: int = field(default=0, metadata=_U8)
    priority: int = field(default=0, metadata=_U8)
    schedule: str = field(default="", metadata=_TIME)
    validity: str = field(default="", metadata=_TIME)
    registered_delivery: int = field(default=0, metadata=_U8)
    replace_if_present: int = field(default=0, metadata=_U8)
    data_coding: int = field(default=0, metadata=_U8)
    default_msg_id: int = field(default=0, metadata=_U8)
    short_message: bytes = field(default=b"", repr=False, metadata=_OCTETS)


@dataclass(frozen=True, slots=True)
class MultiMessageResp:
    """submit_multi_resp: the name of the message, and where it failed."""

    message_id: str = field(default="", metadata=_STRING_65)
    unsuccessful: tuple[tuple[Address, int], ...] = field(default=(), metadata=_UNSUCCESSFUL)


@dataclass(frozen=True, slots=True)
class Data:
    """data_sm (§4.7); its text is the TLV message_payload."""

    service_type: str = field(default="", metadata=_STRING_6)
    source: Address = field(default=_NOBODY, metadata=_LONG_ADDRESS)
    destination: Address = field(default=_NOBODY, metadata=_LONG_ADDRESS)
    esm_class: int = field(default=0, metadata=_U8)
    registered_delivery: int = field(default=0, metadata=_U8)
    data_coding: int = field(default=0, metadata=_U8)


@dataclass(frozen=True, slots=True)
class Query:
    """query_sm (§4.8)."""

    message_id: str = field(default="", metadata=_STRING_65)
    source: Address = field(default=_NOBODY, metadata=_ADDRESS)


@dataclass(frozen=True, slots=True)
class QueryResp:
    """query_sm_resp."""

    message_id: str = field(default="", metadata=_STRING_65)
    final_date: str = field(default="", metadata=_TIME)
    message_state: int = field(default=0, metadata=_U8)
    error_code: int = field(default=0, metadata=_U8)


@dataclass(frozen=True, slots=True)
class Cancel:
    """cancel_sm (§4.9)."""

    service_type: str = field(default="", metadata=_STRING_6)
    message_id: str = field(default="", metadata=_STRING_65)
    source: Address = field(default=_NOBODY, metadata=_ADDRESS)
    destination: Address = field(default=_NOBODY, metadata=_ADDRESS)


@dataclass(frozen=True, slots=True)
class Replace:
    """replace_sm (§4.10)."""

    message_id: str = field(default="", metadata=_STRING_65)
    source: Address = field(default=_NOBODY, metadata=_ADDRESS)
    schedule: str = field(default="", metadata=_TIME)
    validity: str = field(default="", metadata=_TIME)
    registered_delivery: int = field(default=0, metadata=_U8)
    default_msg_id: int = field(default=0, metadata=_U8)
    short_message: bytes = field(default=b"", repr=False, metadata=_OCTETS)


@dataclass(frozen=True, slots=True)
class Alert:
    """alert_notification (§4.12): somebody can be reached again."""

    source: Address = field(default=_NOBODY, metadata=_LONG_ADDRESS)
    esme: Address = field(default=_NOBODY, metadata=_LONG_ADDRESS)


Body = (
    Empty
    | Bind
    | BindResp
    | Outbind
    | Message
    | MessageResp
    | MultiMessage
    | MultiMessageResp
    | Data
    | Query
    | QueryResp
    | Cancel
    | Replace
    | Alert
)


def read_body(kind: type[Body], reader: Reader) -> Body:
    """A body of this kind.

    Raises:
        FieldError: it is cut off or wrong.
    """
    values = [one.metadata["kind"].read(reader) for one in fields(kind)]
    return kind(*values)


def write_body(body: Body) -> bytes:
    """Its octets.

    Raises:
        FieldError: a value does not fit its field.
    """
    parts = [one.metadata["kind"].write(getattr(body, one.name)) for one in fields(body)]
    return b"".join(parts)
