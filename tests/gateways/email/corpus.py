"""Mails as real programs write them, one file each in `mails/`."""

from __future__ import annotations

from pathlib import Path

from jabberd.gateways.email.mail import Mail
from jabberd.gateways.email.parse import read

FOLDER = Path(__file__).parent / "mails"
NAMES = sorted(path.stem for path in FOLDER.glob("*.eml"))


def data(name: str) -> bytes:
    """A mail as it comes over the wire, lines ended by CRLF."""
    raw = (FOLDER / f"{name}.eml").read_bytes()
    return raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def mail(name: str) -> Mail:
    """The same, read by us."""
    return parsed(data(name))


def parsed(raw: bytes) -> Mail:
    """Bytes, read as if we were mail.example."""
    return read(raw, own_domain="mail.example", authserv_id="mail.example")
