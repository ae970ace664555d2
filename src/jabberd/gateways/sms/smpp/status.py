"""command_status (SMPP 3.4 §5.1.3), and what it means for a message; pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Final

from jabberd.gateways.events import Trouble


class Status(IntEnum):
    """Those that are told apart here."""

    OK = 0x00
    INVALID_LENGTH = 0x01
    INVALID_COMMAND_LENGTH = 0x02
    INVALID_COMMAND_ID = 0x03
    WRONG_BIND_STATE = 0x04
    ALREADY_BOUND = 0x05
    SYSTEM_ERROR = 0x08
    INVALID_SOURCE = 0x0A
    INVALID_DESTINATION = 0x0B
    BIND_FAILED = 0x0D
    INVALID_PASSWORD = 0x0E
    INVALID_SYSTEM_ID = 0x0F
    QUEUE_FULL = 0x14
    SUBMIT_FAILED = 0x45
    THROTTLED = 0x58
    TEMPORARY = 0x64
    PERMANENT = 0x65
    REJECTED = 0x66
    DELIVERY_FAILURE = 0xFE


REFUSALS: Final = frozenset({Status.INVALID_PASSWORD, Status.INVALID_SYSTEM_ID})
"""Answers to a bind after which another try is of no use."""
BUSY: Final = frozenset({Status.THROTTLED, Status.QUEUE_FULL})
"""The SMSC wants it later, and slower."""
PASSING: Final = frozenset({Status.SYSTEM_ERROR, Status.SUBMIT_FAILED, Status.TEMPORARY})
"""Another try may succeed."""
_VENDOR: Final = 0x400

_TEXTS: Final[Mapping[int, str]] = {
    Status.INVALID_LENGTH: "the SMSC finds the message's length wrong",
    Status.INVALID_COMMAND_LENGTH: "the SMSC finds the command's length wrong",
    Status.INVALID_COMMAND_ID: "the SMSC does not know the command",
    Status.WRONG_BIND_STATE: "the SMSC does not allow this with this kind of bind",
    Status.ALREADY_BOUND: "the SMSC says that this account is bound already",
    Status.SYSTEM_ERROR: "the SMSC has an error of its own",
    Status.INVALID_SOURCE: "the SMSC does not allow this sender",
    Status.INVALID_DESTINATION: "there is no such number",
    Status.BIND_FAILED: "the SMSC does not let this account bind",
    Status.INVALID_PASSWORD: "the SMSC does not accept the password",
    Status.INVALID_SYSTEM_ID: "the SMSC does not know this system_id",
    Status.QUEUE_FULL: "the queue of the SMSC is full",
    Status.SUBMIT_FAILED: "the SMSC could not take the message",
    Status.THROTTLED: "the SMSC wants fewer messages",
    Status.TEMPORARY: "the SMSC cannot take the message now",
    Status.PERMANENT: "the SMSC does not take the message",
    Status.REJECTED: "the SMSC rejected the message",
    Status.DELIVERY_FAILURE: "the message could not be delivered",
}
_TROUBLES: Final[Mapping[int, Trouble]] = {
    Status.SYSTEM_ERROR: Trouble.TIMEOUT,
    Status.TEMPORARY: Trouble.TIMEOUT,
    Status.INVALID_SOURCE: Trouble.NOT_ALLOWED,
    Status.INVALID_DESTINATION: Trouble.NO_SUCH_CONTACT,
    Status.REJECTED: Trouble.FORBIDDEN,
    Status.PERMANENT: Trouble.FORBIDDEN,
}


def explain(status: int) -> str:
    """A status in words, with its number for those who look it up."""
    text = _TEXTS.get(status)
    if text is None:
        whose = "of its vendor" if status >= _VENDOR else "of SMPP"
        text = f"the SMSC answered with an error {whose}"
    return f"{text} ({status:#04x})"


def trouble(status: int) -> Trouble:
    """What a status means for who sent the message."""
    return _TROUBLES.get(status, Trouble.NOT_ACCEPTABLE)
