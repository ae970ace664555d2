"""Long texts in several parts (3GPP TS 23.040 §9.2.3.24, SMPP 3.4 §5.3.2.22 to §5.3.2.24); pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from jabberd.gateways.sms.text import Alphabet, Coding, units

Way = Literal["udh8", "udh16", "sar", "payload"]
"""How parts are told to belong together; "payload" leaves the splitting to the SMSC."""
_WHOLE: Final = {Coding.DEFAULT: 160, Coding.UCS2: 140}
"""Octets of a text in one part. Septets are sent one in each octet."""
_PART: Final = {
    ("udh8", Coding.DEFAULT): 153,
    ("udh8", Coding.UCS2): 134,
    ("udh16", Coding.DEFAULT): 152,
    ("udh16", Coding.UCS2): 132,
}
_MOST_PARTS: Final = 255
_CONCAT_8: Final = 0x00
_CONCAT_16: Final = 0x08
_PORTS: Final = frozenset({0x04, 0x05})


@dataclass(frozen=True, slots=True)
class Part:
    """Which part of which text.

    Attributes:
        ref: of the text; the same for all its parts.
        total: how many there are.
        number: which one, from 1.
    """

    ref: int
    total: int
    number: int

    @property
    def valid(self) -> bool:
        """Whether the numbers fit together."""
        return 1 <= self.number <= self.total <= _MOST_PARTS


@dataclass(frozen=True, slots=True)
class Segment:
    """One SMS of a text.

    Attributes:
        coding: its data_coding.
        data: its octets, without header.
        part: which one it is; None where it is the only one.
    """

    coding: Coding
    data: bytes
    part: Part | None = None

    def header(self, way: Way) -> bytes:
        """Its user data header; empty where it needs none."""
        part = self.part
        if part is None or way not in {"udh8", "udh16"}:
            return b""
        if way == "udh8":
            return bytes([5, _CONCAT_8, 3, part.ref & 0xFF, part.total, part.number])
        ref = (part.ref & 0xFFFF).to_bytes(2, "big")
        return bytes([6, _CONCAT_16, 4]) + ref + bytes([part.total, part.number])


class TooLong(ValueError):  # noqa: N818 -- a fact about a text
    """A text takes more parts than are allowed; the message says how many.

    Args:
        parts: that it would take.
    """

    def __init__(self, parts: int) -> None:
        super().__init__(f"it takes {parts} SMS")
        self.parts = parts


def split(text: str, way: Way, *, ref: int, most: int, alphabet: Alphabet = "gsm") -> list[Segment]:
    """The SMS that a text takes; no character is split.

    Args:
        text: what to say.
        way: how the parts are told to belong together. By "payload" they are counted only.
        ref: of the text.
        most: parts.
        alphabet: what the SMSC means by coding 0.

    Raises:
        TooLong: it takes more than `most`.
    """
    coding, each = units(text, alphabet)
    if sum(map(len, each)) <= _WHOLE[coding]:
        return [Segment(coding, b"".join(each))]
    header = "udh16" if way == "udh16" else "udh8"
    chunks = _chunks(each, _PART[header, coding])
    if len(chunks) > min(most, _MOST_PARTS):
        raise TooLong(len(chunks))
    total = len(chunks)
    return [Segment(coding, data, Part(ref, total, at)) for at, data in enumerate(chunks, 1)]


def _chunks(each: Sequence[bytes], most: int) -> list[bytes]:
    chunks = [bytearray()]
    for unit in each:
        if len(chunks[-1]) + len(unit) > most:
            chunks.append(bytearray())
        chunks[-1] += unit
    return [bytes(chunk) for chunk in chunks]


@dataclass(frozen=True, slots=True)
class Header:
    """A user data header.

    Attributes:
        part: where it tells that the text has several.
        ports: it is for a program on the phone: no text.
        rest: what follows the header.
    """

    part: Part | None
    ports: bool
    rest: bytes


def read_header(data: bytes) -> Header:
    """Take the user data header off; what is wrong in it is passed over."""
    if not data:
        return Header(None, ports=False, rest=b"")
    length = data[0]
    header, rest = data[1 : 1 + length], data[1 + length :]
    part, ports, at = None, False, 0
    while at + 2 <= len(header):
        name, size = header[at], header[at + 1]
        value = header[at + 2 : at + 2 + size]
        at += 2 + size
        if len(value) < size:
            break
        if name == _CONCAT_8 and size == 3:
            part = Part(value[0], value[1], value[2])
        elif name == _CONCAT_16 and size == 4:
            part = Part(int.from_bytes(value[:2], "big"), value[2], value[3])
        ports = ports or name in _PORTS
    return Header(part if part is not None and part.valid else None, ports=ports, rest=rest)
