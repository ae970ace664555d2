"""The alphabets of SMS: GSM 03.38 (3GPP TS 23.038) and UCS-2, and their codings; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import IntEnum
from typing import Final, Literal

Alphabet = Literal["gsm", "latin-1"]
"""What an SMSC means by data_coding 0."""

_BASIC: Final = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENSION: Final[Mapping[int, str]] = {
    0x0A: "\f", 0x14: "^", 0x28: "{", 0x29: "}", 0x2F: "\\", 0x3C: "[", 0x3D: "~", 0x3E: "]",
    0x40: "|", 0x65: "€",
}  # fmt: skip
_ESCAPE: Final = 0x1B
_TO_GSM: Final[Mapping[str, bytes]] = {
    **{char: bytes([code]) for code, char in enumerate(_BASIC) if code != _ESCAPE},
    **{char: bytes([_ESCAPE, code]) for code, char in _EXTENSION.items()},
}
_NOT_XML: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff\ud800-\udfff]")
_CONTROLS: Final = re.compile(rb"[\x00-\x09\x0b\x0c\x0e-\x1f]")


class Coding(IntEnum):
    """data_coding (SMPP 3.4 §5.2.19)."""

    DEFAULT = 0x00
    ASCII = 0x01
    BINARY = 0x02
    LATIN_1 = 0x03
    BINARY_TOO = 0x04
    CYRILLIC = 0x06
    HEBREW = 0x07
    UCS2 = 0x08


_BINARY: Final = frozenset({Coding.BINARY, Coding.BINARY_TOO})
_CODECS: Final[Mapping[int, str]] = {
    Coding.LATIN_1: "iso8859-1",
    Coding.CYRILLIC: "iso8859-5",
    Coding.HEBREW: "iso8859-8",
    Coding.UCS2: "utf-16-be",
}


def units(text: str, alphabet: Alphabet = "gsm") -> tuple[Coding, list[bytes]]:
    """A text for SMS: its coding, and the octets of each character, which stay together.

    Args:
        text: what to say.
        alphabet: what the SMSC means by coding 0.
    """
    text = text.replace("\r\n", "\n")
    septets = [_TO_GSM.get(char) for char in text]
    found = [one for one in septets if one is not None]
    if len(found) == len(septets):
        if alphabet == "gsm":
            return Coding.DEFAULT, found
        single = [char.encode("latin-1", "ignore") for char in text]
        if all(single) and all(len(one) == 1 for one in found):
            return Coding.DEFAULT, single
    return Coding.UCS2, [char.encode("utf-16-be", "replace") for char in text]


def decode(data: bytes, coding: int, alphabet: Alphabet = "gsm") -> str | None:
    """What a message says, fit for XML; None where it is no text.

    Args:
        data: its octets, all parts joined.
        coding: data_coding.
        alphabet: what the SMSC means by coding 0.
    """
    text = _decode(data, coding, alphabet)
    return None if text is None else clean(text)


def clean(text: str) -> str:
    """A text with the line ends of XML, and without what XML does not have."""
    return _NOT_XML.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def decode_gsm(data: bytes) -> str:
    """Unpacked septets: one in each octet."""
    chars = []
    at = 0
    while at < len(data):
        code = data[at] & 0x7F
        at += 1
        if code != _ESCAPE:
            chars.append(_BASIC[code])
        elif at < len(data):
            # What the table does not have is shown as in the basic one (TS 23.038 §6.2.1.1).
            chars.append(_EXTENSION.get(data[at] & 0x7F, _BASIC[data[at] & 0x7F]))
            at += 1
    return "".join(chars)


def _decode(data: bytes, coding: int, alphabet: Alphabet) -> str | None:
    coding = _without_class(coding)
    if coding == Coding.DEFAULT:
        return decode_gsm(data) if alphabet == "gsm" else data.decode("latin-1")
    if coding == Coding.ASCII:
        # Some send the SMS alphabet under this name; there, @ and $ are control characters.
        return decode_gsm(data) if _CONTROLS.search(data) else data.decode("latin-1")
    if coding in _BINARY:
        return None
    if coding in _CODECS:
        return data.decode(_CODECS[coding], "replace")
    if len(data) % 2 == 0 and b"\0" in data[::2]:
        return data.decode("utf-16-be", "replace")
    return data.decode("latin-1")


def _without_class(coding: int) -> int:
    """The plain coding of one with a message class or a waiting message (TS 23.038 §4)."""
    group = coding >> 4
    if group == 0xF:
        return Coding.BINARY_TOO if coding & 0x4 else Coding.DEFAULT
    if group in {0xC, 0xD}:
        return Coding.DEFAULT
    if group == 0xE:
        return Coding.UCS2
    if group == 1:
        return {0: Coding.DEFAULT, 4: Coding.BINARY_TOO, 8: Coding.UCS2}.get(coding & 0xC, coding)
    return coding
