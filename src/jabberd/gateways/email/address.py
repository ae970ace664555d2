"""Mail addresses in one spelling, which is their legacy id (RFC 5321 §4.1.2, RFC 6531).

The domain is in lower case and readable (U-labels). The local part keeps its case, since only the
domain's own server knows whether it matters; it is quoted only where it has to be.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

import idna

from jabberd.gateways.transport import BadAddress
from jabberd.xmpp import prep

LONGEST_LOCAL: Final = 64
"""Octets of a local part (RFC 5321 §4.5.3.1.1)."""
LONGEST_DOMAIN: Final = 253
"""Octets of a domain (RFC 5321 §4.5.3.1.2, as DNS can carry it)."""

_LONGEST_TEXT: Final = 1_000
_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-\u00a1-\U0010ffff]+"
_DOT_STRING: Final = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_DOTS_AND_ATOMS: Final = re.compile(rf"(?:\.|{_ATOM})+")
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"')
_UNPRINTABLE: Final = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_NO_HOST: Final = re.compile(r"[\[\]:]|^[\d.]+$")


def canonical(text: str) -> str:
    """The address that a text names.

    Args:
        text: `user@domain`, `user%domain` as older gateways had it, or `Name <user@domain>`.

    Raises:
        BadAddress: it is no mail address, and why.
    """
    if len(text) > _LONGEST_TEXT:
        raise BadAddress("The address is too long.")
    bare = _bare(text.strip())
    local, at, domain = bare.rpartition("@")
    if not at:
        local, at, domain = bare.rpartition("%")
    if not at:
        raise BadAddress("A mail address has the form user@domain.")
    return f"{_local(local)}@{canonical_domain(domain)}"


def canonical_domain(text: str) -> str:
    """A domain in lower case, with U-labels.

    Raises:
        BadAddress: it is no domain name; address literals are none.
    """
    if _NO_HOST.search(text):
        raise BadAddress("The domain of the address must be a name.")
    try:
        domain = prep.domainpart(text)
        wire_domain(domain)
    except (prep.PrepError, UnicodeError):
        raise BadAddress("The domain of the address is not valid.") from None
    return domain


def split(address: str) -> tuple[str, str]:
    """Local part and domain of a canonical address."""
    local, _, domain = address.rpartition("@")
    return local, domain


def wire(address: str) -> str:
    """A canonical address as servers without SMTPUTF8 know it: its domain in A-labels."""
    local, domain = split(address)
    return f"{local}@{wire_domain(domain)}"


def wire_domain(domain: str) -> str:
    """A canonical domain in A-labels.

    Raises:
        UnicodeError: it is longer than DNS allows.
    """
    if domain.isascii():
        encoded = domain
    else:
        encoded = ".".join(
            label if label.isascii() else idna.alabel(label).decode() for label in domain.split(".")
        )
    if len(encoded) > LONGEST_DOMAIN:
        raise UnicodeError("domain too long")
    return encoded


def needs_smtputf8(address: str) -> bool:
    """Whether a canonical address can only be reached where SMTPUTF8 is offered (RFC 6531)."""
    return not split(address)[0].isascii()


def without_detail(local: str) -> tuple[str, str]:
    """A local part without its `+detail`, and the detail (RFC 5233 §1)."""
    base, plus, detail = local.partition("+")
    return (base, detail) if base and plus else (local, "")


def _bare(text: str) -> str:
    if text.endswith(">") and "<" in text:
        text = text[text.rindex("<") + 1 : -1].strip()
    if text[:7].lower() == "mailto:":
        text = text[7:]
    return text


def _local(text: str) -> str:
    if quoted := _QUOTED.fullmatch(text):
        text = re.sub(r"\\(.)", r"\1", quoted[1])
    elif not _DOTS_AND_ATOMS.fullmatch(text):  # too many dots: some providers gave such addresses
        raise BadAddress("The part before the @ is not valid.")
    text = unicodedata.normalize("NFC", text)
    if not text or any(unicodedata.category(char) in _UNPRINTABLE for char in text):
        raise BadAddress("The part before the @ has a character that is not allowed.")
    if not _DOT_STRING.fullmatch(text):
        text = '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'
    if len(text.encode()) > LONGEST_LOCAL:
        raise BadAddress("The part before the @ is too long.")
    return text
