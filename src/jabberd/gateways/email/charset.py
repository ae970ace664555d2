"""Bytes of a mail as text, whatever they claim to be (RFC 2045 §5.2, and what is common)."""

from __future__ import annotations

import re
from typing import Final

_USUAL: Final = "cp1252"  # what a wrong or absent name most often stands for

# Names that Python does not know, and those under which more is sent than they have: the superset.
_ALIASES: Final = {
    "us-ascii": "ascii",
    "ansi_x3.4-1968": "ascii",
    "iso-8859-1": "cp1252",
    "latin1": "cp1252",
    "latin-1": "cp1252",
    "iso-8859-9": "cp1254",
    "iso-8859-8-i": "iso-8859-8",
    "iso-8859-8-e": "iso-8859-8",
    "iso-8859-6-i": "iso-8859-6",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "x-gbk": "gb18030",
    "big5": "cp950",
    "shift_jis": "cp932",
    "shift-jis": "cp932",
    "sjis": "cp932",
    "x-sjis": "cp932",
    "windows-31j": "cp932",
    "euc-kr": "cp949",
    "ks_c_5601-1987": "cp949",
    "ks_c_5601": "cp949",
    "windows-874": "cp874",
    "tis-620": "cp874",
    "unicode-1-1-utf-7": "utf-7",
    "unicode-1-1-utf-8": "utf-8",
    "utf8mb4": "utf-8",
    "cp-1252": "cp1252",
}
# Codecs of Python that are no charsets of mail; some take very long.
_NO_CHARSET: Final = re.compile(
    r"(?i)idna|punycode|.*escape.*|undefined|mbcs|oem|unknown.*|x-unknown|default|binary"
)
_UNPRINTABLE: Final = re.compile("[^\t\n\r\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LONGEST_NAME: Final = 40


def decode(data: bytes, charset: str) -> str:
    """Bytes as text; never fails, since what fits nowhere is replaced.

    Args:
        data: any.
        charset: as declared; may be empty or unknown.
    """
    name = charset.strip().lower()
    name = _ALIASES.get(name, name)
    if not name or len(name) > _LONGEST_NAME or _NO_CHARSET.fullmatch(name):
        return _guessed(data)
    try:
        return data.decode(name)
    except (LookupError, ValueError):  # no such charset, or not true; UnicodeError is a ValueError
        pass
    if name in {"ascii", _USUAL, "utf-8", "utf8"}:
        return _guessed(data)
    try:
        return data.decode(name, "replace")
    except (LookupError, ValueError):
        return _guessed(data)


def unraw(text: str) -> str:
    """A header as the parser gives it, with undecoded bytes as surrogates, as proper text."""
    if text.isascii():
        return text
    return _guessed(
        text.encode("ascii", "surrogateescape")
        if _is_raw(text)
        else text.encode("utf-8", "replace")
    )


def clean(text: str) -> str:
    """Text without what XML cannot carry and nobody can see; one kind of line end."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _UNPRINTABLE.sub("", text.replace("\f", "\n").replace("\v", "\n"))


def _is_raw(text: str) -> bool:
    return all(char < "\x80" or "\udc80" <= char <= "\udcff" for char in text)


def _guessed(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        pass
    # A text in UTF-8 with one broken character is still UTF-8: it has others that are whole.
    lenient = data.decode("utf-8", "replace")
    if any(char > "\x7f" and char != "\ufffd" for char in lenient):
        return lenient
    return data.decode(_USUAL, "replace")
