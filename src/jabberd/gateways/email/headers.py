"""Header fields of a mail, read so that nothing in them can fail (RFC 5322, RFC 2047, RFC 2231)."""

from __future__ import annotations

import binascii
import re
import string
from email.message import Message
from email.parser import BytesHeaderParser
from email.policy import Compat32
from email.utils import collapse_rfc2231_value, mktime_tz, parsedate_tz
from typing import Final

from jabberd.gateways.email.charset import clean, decode, unraw

LONGEST: Final = 32 * 1024
"""Characters of a field that are read."""

_LONGEST_HEAD: Final = 256 * 1024
_LONGEST_PARAMETERS: Final = 4 * 1024
_MOST_IDS: Final = 200
_LONGEST_ID: Final = 998

_FOLD: Final = re.compile(r"\r?\n(?=[ \t])|[\r\n\0]")
_WORD: Final = re.compile(r"=\?([^?*\s]{1,40})(?:\*[^?\s]{0,40})?\?([bBqQ])\?([^?\r\n]*)\?=")
_BETWEEN_WORDS: Final = re.compile(r"[ \t\r\n]+")
_QUOTED_BYTE: Final = re.compile(rb"=([0-9A-Fa-f]{2})")
_BASE64: Final = frozenset(string.ascii_letters + string.digits + "+/")
_NO_BASE64: Final = bytes(byte for byte in range(256) if chr(byte) not in _BASE64)
_TYPE: Final = re.compile(r"\s*([a-z0-9!#$&^_.+-]+/[a-z0-9!#$&^_.+-]+)")
_ID: Final = re.compile(r"<([^<>\s]{1,998})>")


class _Plain(Compat32):
    """Fields as they are, with undecoded bytes as surrogates."""

    def header_fetch_parse(self, name: str, value: str) -> str:  # noqa: ARG002 -- its interface
        return _FOLD.sub("", value)[:LONGEST]


_PARSER: Final = BytesHeaderParser(Message, policy=_Plain())
Headers = Message


def parse(head: bytes) -> Headers:
    """The fields of a header section; a line that is none ends it."""
    return _PARSER.parsebytes(head[:_LONGEST_HEAD])


def raw(headers: Headers, name: str) -> str:
    """The first field of this name as one line of text, words not decoded; empty if none."""
    return unraw(headers.get(name, "")).strip()


def raw_all(headers: Headers, name: str) -> list[str]:
    """All fields of this name, as for `raw`, the topmost first."""
    return [unraw(value).strip() for value in headers.get_all(name, [])]


def text(headers: Headers, name: str) -> str:
    """The first field of this name, decoded, as one line to show; empty if none."""
    return one_line(words(raw(headers, name)))


def words(value: str) -> str:
    """A text with its encoded words decoded, also where they should not be (RFC 2047 §6.2)."""
    parts: list[str] = []
    pending, charset = b"", ""  # characters may be cut between words of one charset
    position = 0
    for found in _WORD.finditer(value):
        between = value[position : found.start()]
        data = _word_bytes(found[2], found[3])
        adjacent = bool(pending) and not _BETWEEN_WORDS.sub("", between)
        if adjacent and charset == found[1].lower():
            pending += data
        else:
            parts.append(decode(pending, charset))
            if not adjacent:
                parts.append(between)
            pending, charset = data, found[1].lower()
        position = found.end()
    return "".join((*parts, decode(pending, charset), value[position:]))


def one_line(value: str) -> str:
    """A text without line ends and without spaces around it or in a row."""
    return " ".join(clean(value).split())


def ids(headers: Headers, name: str) -> tuple[str, ...]:
    """The message identifiers of a field, with their angle brackets, in order, each once."""
    found = dict.fromkeys(f"<{id_}>" for id_ in _ID.findall(clean(raw(headers, name))))
    return tuple(found)[-_MOST_IDS:]


def message_id(headers: Headers, name: str = "Message-ID") -> str:
    """The first message identifier of a field, with angle brackets; empty if there is none."""
    if found := ids(headers, name):
        return found[0]
    bare = clean(raw(headers, name)).strip("<> ")  # some forget the brackets
    return f"<{bare}>" if bare and " " not in bare and len(bare) <= _LONGEST_ID else ""


def date(headers: Headers) -> float | None:
    """When it was written, by the Date field; None where there is no sensible one."""
    try:
        parsed = parsedate_tz(raw(headers, "Date")[:200])
        if parsed is None:
            return None
        seconds = mktime_tz(parsed)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return float(seconds) if seconds > 0 else None


def media_type(headers: Headers) -> str:
    """The media type in lower case; empty where there is none that is valid."""
    found = _TYPE.match(raw(headers, "Content-Type").lower())
    return found[1] if found else ""


def parameter(headers: Headers, field: str, name: str) -> str:
    """A parameter of a structured field, decoded by RFC 2231; empty if there is none."""
    if len(headers.get(field, "")) > _LONGEST_PARAMETERS:  # its parser takes quadratic time
        return ""
    try:
        value = headers.get_param(name, "", header=field)
        if isinstance(value, tuple):
            charset, language, data = value
            plain = collapse_rfc2231_value((charset or "utf-8", language, data))
        else:
            plain = value
    except (ValueError, LookupError, TypeError):
        return ""
    return clean(unraw(plain))


def _word_bytes(encoding: str, encoded: str) -> bytes:
    data = encoded.encode("utf-8", "replace")
    if encoding in "qQ":
        return _QUOTED_BYTE.sub(
            lambda found: binascii.unhexlify(found[1]), data.replace(b"_", b" ")
        )
    return base64_bytes(data)


def base64_bytes(data: bytes) -> bytes:
    """What base64 stands for, without anything that is none (RFC 2045 §6.8)."""
    data = data.translate(None, _NO_BASE64)
    data = data[: len(data) - 1] if len(data) % 4 == 1 else data
    return binascii.a2b_base64(data + b"=" * (-len(data) % 4))
