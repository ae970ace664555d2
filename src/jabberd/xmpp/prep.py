"""The one preparation function per kind of string; every comparison uses it.

Localparts, resourceparts and passwords follow the stringprep profiles (RFC 3454: Nodeprep and
Resourceprep of RFC 6122, SASLprep of RFC 4013), because that is what clients and peers speak;
domainparts follow IDNA2008 after the mapping of UTS 46 (RFC 7622 §3.2). Why not PRECIS:
docs/decisions/0005-preparation.md.

Two ideas hold for every function here:

* Query and stored strings (RFC 3454 §7). A query, which is anything a peer sends, may have code
  points that Unicode 3.2 did not know; what is to be stored, a new account or a new password,
  may not: ask for it with ``stored=True``.
* Idempotence. A prepared string prepared again is itself, so prepared text can be compared,
  stored and sent without remembering whether it was prepared.
"""

from __future__ import annotations

import ipaddress
import re
import stringprep
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from typing import Final

import idna

MAX_BYTES: Final = 1023
"""RFC 7622 §3.1: the longest part of an address, in bytes of UTF-8, after preparation."""

# Longer text is refused before any work is done: 1,023 bytes can be written, fully decomposed,
# in at most 1,534 characters (two bytes for U+01D6, which is three characters).
_MAX_CHARS: Final = 2048

_MAX_IPV6: Final = len("[ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255]")

# RFC 8264 §7: apply the rules again until nothing changes, three more times at most.
_MAX_PASSES: Final = 4

_ucd = unicodedata.ucd_3_2_0

# The tables of RFC 3454 as character classes; tests compare them with the standard library's.
_B1: Final = "\u00ad\u034f\u1806\u180b-\u180d\u200b-\u200d\u2060\ufe00-\ufe0f\ufeff"
_C12: Final = "\u00a0\u1680\u2000-\u200b\u202f\u205f\u3000"
_C21: Final = "\x00-\x1f\x7f"
_C22: Final = (
    "\x80-\x9f\u06dd\u070f\u180e\u200c\u200d\u2028\u2029\u2060-\u2063\u206a-\u206f"
    "\ufeff\ufff9-\ufffc\U0001d173-\U0001d17a"
)
_C3: Final = "\ue000-\uf8ff\U000f0000-\U000ffffd\U00100000-\U0010fffd"
_C4: Final = "\ufdd0-\ufdef" + "".join(
    f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0, 0x110000, 0x10000)
)
_C5: Final = "\ud800-\udfff"
_C6: Final = "\ufff9-\ufffd"
_C7: Final = "\u2ff0-\u2ffb"
_C8: Final = "\u0340\u0341\u200e\u200f\u202a-\u202e\u206a-\u206f"
_C9: Final = "\U000e0001\U000e0020-\U000e007f"
_D1: Final = (
    "\u05be\u05c0\u05c3\u05d0-\u05ea\u05f0-\u05f4\u061b\u061f\u0621-\u063a\u0640-\u064a"
    "\u066d-\u066f\u0671-\u06d5\u06dd\u06e5\u06e6\u06fa-\u06fe\u0700-\u070d\u0710\u0712-\u072c"
    "\u0780-\u07a5\u07b1\u200f\ufb1d\ufb1f-\ufb28\ufb2a-\ufb36\ufb38-\ufb3c\ufb3e\ufb40\ufb41"
    "\ufb43\ufb44\ufb46-\ufbb1\ufbd3-\ufd3d\ufd50-\ufd8f\ufd92-\ufdc7\ufdf0-\ufdfc\ufe70-\ufe74"
    "\ufe76-\ufefc"
)

_NOTHING: Final = re.compile(f"[{_B1}]+")
_SPACES: Final = re.compile(f"[{_C12}]")
_RANDAL: Final = re.compile(f"[{_D1}]")

_PROHIBITED: Final = f"{_C12}{_C21}{_C22}{_C3}{_C4}{_C5}{_C6}{_C7}{_C8}{_C9}"
_NOT_IN_RESOURCE: Final = re.compile(f"[{_PROHIBITED}]")  # and in passwords the same
_NOT_IN_LOCAL: Final = re.compile(f"[ \"&'/:<>@{_PROHIBITED}]")  # RFC 6122 §A.5, RFC 7622 §3.3.1
_NOT_IN_TRACE: Final = re.compile(f"[{_C21}{_C22}{_C3}{_C4}{_C5}{_C6}{_C8}{_C9}]")  # RFC 4505 §3

_ASCII_LOCAL: Final = re.compile(r"[!#-%(-.0-9;=?A-~]{1,1023}")
_ASCII_TEXT: Final = re.compile(r"[ -~]{1,1023}")

# A label of letters, digits and hyphens; underscores too, since names in use have them.
_LABEL: Final = r"(?!xn--)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_ASCII_LABEL: Final = re.compile(_LABEL)
_ASCII_DOMAIN: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")

# PRECIS (RFC 8264 §9): letters, digits and their marks; neither old jamo nor the ignorable vowels.
_PRECIS_CATEGORIES: Final = frozenset({"Ll", "Lo", "Lm", "Mn", "Mc", "Nd"})
_NOT_IN_PRECIS: Final = re.compile("[\u1100-\u11ff\u17b4\u17b5]")


class PrepError(ValueError):
    """The string is empty, too long or has a character that is not allowed there."""


def localpart(text: str, *, stored: bool = False) -> str:
    """Prepare a localpart (Nodeprep, RFC 6122 appendix A).

    Args:
        text: what a peer sent, or the name of an account.
        stored: whether an account is to be made of it. Then it must also be a name that PRECIS
            (RFC 7622 §3.3) would accept and leave as it is: letters, digits, and ASCII.

    Returns:
        The prepared localpart, of 1 to 1,023 bytes.

    Raises:
        PrepError: it is empty, too long, or has a character that is not allowed.
    """
    if _ASCII_LOCAL.fullmatch(text):
        return text.lower()
    prepared = _bounded(_stable(_nodeprep, text))
    if stored and not prepared.isascii():
        _demand_precis(prepared)
    return prepared


def domainpart(text: str) -> str:
    """Prepare a domainpart: a host name, or an IP literal (RFC 7622 §3.2).

    Names are mapped by UTS 46 and checked by IDNA2008; A-labels become U-labels. Labels of ASCII
    may have underscores. IPv6 literals stand in brackets and get their shortest form; they have
    no zone, which would mean something on one machine only.

    Returns:
        The prepared domainpart, of 1 to 1,023 bytes, without a trailing dot.

    Raises:
        PrepError: it is empty or too long, or a label is not valid.
    """
    if len(text) <= MAX_BYTES and _ASCII_DOMAIN.fullmatch(text):
        return text
    if text.startswith("["):
        return _ipv6(text)
    return _bounded(_stable(_hostname, text))


def resourcepart(text: str) -> str:
    """Prepare a resourcepart (Resourceprep, RFC 6122 appendix B).

    Code points that are unassigned in Unicode 3.2 are allowed, emoji among them.

    Returns:
        The prepared resourcepart, of 1 to 1,023 bytes.

    Raises:
        PrepError: it is empty, too long, or has a character that is not allowed.
    """
    if _ASCII_TEXT.fullmatch(text):
        return text
    return _bounded(_stable(_resourceprep, text))


def password(text: str, *, stored: bool = False) -> str:
    """Prepare a password (SASLprep, RFC 4013).

    Args:
        text: the password.
        stored: whether keys are to be made of it and kept (RFC 5802 §2.2).

    Returns:
        The prepared password, of 1 to 1,023 bytes.

    Raises:
        PrepError: it is empty, too long, or has a character that is not allowed. The message
            does not repeat any of it.
    """
    if _ASCII_TEXT.fullmatch(text):
        return text
    prepared = _bounded(_stable(_saslprep, text))
    if stored and any(_ucd.category(char) == "Cn" for char in prepared):
        raise PrepError("a character is not in Unicode 3.2")
    return prepared


def trace(text: str) -> str:
    """Check the trace information of ANONYMOUS (RFC 4505 §3), which is not changed.

    Raises:
        PrepError: it has a character that is not allowed, or is too long.
    """
    _demand_length(text)
    _demand(text, _NOT_IN_TRACE)
    return text


def _stable(once: Callable[[str], str], text: str) -> str:
    # stringprep does not promise to be idempotent: what normalizing brings together, mapping could
    # change again. Such text would get further passes, or be refused.
    _demand_length(text)
    for _ in range(_MAX_PASSES):
        prepared = once(text)
        if prepared == text:
            return prepared
        text = prepared
    raise PrepError("the text has no stable form")


def _demand_length(text: str) -> None:
    if len(text) > _MAX_CHARS:
        raise PrepError("too long")


def _bounded(prepared: str) -> str:
    if not prepared:
        raise PrepError("empty")
    if len(prepared.encode()) > MAX_BYTES:
        raise PrepError(f"longer than {MAX_BYTES} bytes")
    return prepared


def _nodeprep(text: str) -> str:
    mapped = "".join(map(_fold, _NOTHING.sub("", text)))
    return _demand(_ucd.normalize("NFKC", mapped), _NOT_IN_LOCAL)


def _resourceprep(text: str) -> str:
    return _demand(_ucd.normalize("NFKC", _NOTHING.sub("", text)), _NOT_IN_RESOURCE)


def _saslprep(text: str) -> str:
    # U+200B is in both tables of RFC 4013 §2.1; as elsewhere, it is a space first.
    mapped = _NOTHING.sub("", _SPACES.sub(" ", text))
    return _demand(_ucd.normalize("NFKC", mapped), _NOT_IN_RESOURCE)


@lru_cache(maxsize=8192)
def _fold(char: str) -> str:
    # Table B.2. The standard library folds by the Unicode of today where the table is silent;
    # only what Unicode 3.2 knew on both sides is in the table.
    if _ucd.category(char) == "Cn":
        return char
    folded = stringprep.map_table_b2(char)
    return folded if all(_ucd.category(part) != "Cn" for part in folded) else char


def _demand(text: str, prohibited: re.Pattern[str]) -> str:
    if found := prohibited.search(text):
        raise PrepError(f"U+{ord(found[0]):04X} is not allowed")
    # RFC 3454 §6: text that runs right to left has no left-to-right letters, and both ends of it
    # are right-to-left letters.
    if _RANDAL.search(text):
        if any(_ucd.bidirectional(char) == "L" for char in text):
            raise PrepError("letters of both directions")
        if not (_RANDAL.match(text[0]) and _RANDAL.match(text[-1])):
            raise PrepError("right-to-left text that does not begin and end with such a letter")
    return text


def _demand_precis(prepared: str) -> None:
    if _NOT_IN_PRECIS.search(prepared) or any(
        char > "\x7f" and _ucd.category(char) not in _PRECIS_CATEGORIES for char in prepared
    ):
        raise PrepError("a character is neither a letter nor a digit")
    # What newer versions of Unicode fold or decompose would be another name to a PRECIS peer.
    if unicodedata.normalize("NFKC", prepared.lower()) != prepared:
        raise PrepError("a character has another form in today's Unicode")


def _hostname(text: str) -> str:
    try:
        mapped = idna.uts46_remap(text, std3_rules=False)  # other full stops become dots
        return ".".join(_label(label) for label in mapped.removesuffix(".").split("."))
    except UnicodeError:  # IDNAError is one; its message repeats the text
        raise PrepError("not a valid internationalized domain name") from None


def _label(label: str) -> str:
    if _ASCII_LABEL.fullmatch(label):
        return label
    if not label.isascii():
        idna.alabel(label)  # checks the code points and the 63 bytes that DNS allows
        return label
    if label.startswith("xn--"):
        unicode_label = idna.ulabel(label)
        idna.alabel(unicode_label)
        return unicode_label
    raise PrepError("a label is empty, too long, or has a character that is not allowed")


def _ipv6(text: str) -> str:
    try:
        if len(text) > _MAX_IPV6 or not text.endswith("]") or "%" in text:
            raise PrepError("not an IPv6 literal")
        return f"[{ipaddress.IPv6Address(text[1:-1]).compressed}]"
    except ipaddress.AddressValueError:
        raise PrepError("not an IPv6 literal") from None
