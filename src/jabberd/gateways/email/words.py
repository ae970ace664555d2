"""Header fields of mails that we write: nothing in a value can begin another field."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

from jabberd.gateways.email.headers import one_line

_WIDTH: Final = 76
_LONGEST_ASCII: Final = 70  # a longer word is cut by encoding it
_WORD_BYTES: Final = 42  # 56 characters of base64, and 12 around them (RFC 2047 §2)
_PLAIN: Final = re.compile(r"[\x20-\x7e]*")
_ATOMS: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]*")
_FILE_NAME: Final = re.compile(r"[A-Za-z0-9 ._()+,-]{1,60}")
_CHUNK: Final = 50


def field(name: str, pieces: Iterable[str]) -> str:
    """A field with its line end, folded between the pieces (RFC 5322 §2.2.3).

    Args:
        name: of the field.
        pieces: without line ends.
    """
    lines = [f"{name}:"]
    for piece in pieces:
        if len(lines[-1]) + 1 + len(piece) > _WIDTH and lines[-1] != f"{name}:":
            lines.append("")
        lines[-1] += f" {piece}"
    return "\r\n".join(lines) + "\r\n"


def unstructured(text: str) -> list[str]:
    """The pieces of a text to show (RFC 2047 §5, rule 1)."""
    line = one_line(text)
    pieces = line.split(" ")
    if not _PLAIN.fullmatch(line) or "=?" in line or max(map(len, pieces)) > _LONGEST_ASCII:
        return encoded(line)
    return pieces


def mailbox(address: str, name: str) -> list[str]:
    """The pieces of an address with a name (RFC 5322 §3.4).

    Args:
        address: valid.
        name: may be empty.
    """
    line = one_line(name)
    if not line:
        return [address]
    if not _PLAIN.fullmatch(line) or "=?" in line or len(line) > _LONGEST_ASCII:
        return [*encoded(line), f"<{address}>"]
    if not _ATOMS.fullmatch(line):
        line = '"' + re.sub(r'(["\\])', r"\\\1", line) + '"'
    return [line, f"<{address}>"]


def encoded(text: str) -> list[str]:
    """A text as encoded words, cut between characters (RFC 2047 §5)."""
    chunks = [b""]
    for char in text:
        data = char.encode("utf-8", "replace")
        if len(chunks[-1]) + len(data) > _WORD_BYTES:
            chunks.append(b"")
        chunks[-1] += data
    return [f"=?utf-8?b?{base64.b64encode(chunk).decode()}?=" for chunk in chunks]


def parameter(name: str, value: str) -> list[str]:
    """The pieces of a parameter, to be joined by semicolons (RFC 2231 §3, §4).

    Args:
        name: of the parameter.
        value: any text.
    """
    line = one_line(value)
    if _FILE_NAME.fullmatch(line):
        return [f'{name}="{line}"']
    data = quote(line.encode("utf-8", "replace"), safe="")
    chunks = re.findall(rf"(?:%..|.){{1,{_CHUNK // 3}}}", "utf-8''" + data)
    if len(chunks) == 1:
        return [f"{name}*={chunks[0]}"]
    return [f"{name}*{at}*={chunk}" for at, chunk in enumerate(chunks)]
