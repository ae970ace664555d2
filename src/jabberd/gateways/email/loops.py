"""Who must never be answered, and which mails go round in circles (RFC 3834, RFC 5321 §6.3)."""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Final

from jabberd.gateways.email import headers as fields
from jabberd.gateways.email.address import split
from jabberd.gateways.email.headers import Headers
from jabberd.gateways.email.mail import Kind, Mail

HEADER: Final = "X-Loop"
"""The field that has `mark` in mails that we write."""
MOST_HOPS: Final = 50
"""Received fields of a mail that is not yet believed to go round in circles."""

_LISTS: Final = ("List-Id", "List-Post", "List-Unsubscribe", "List-Help", "Mailing-List")
_ROBOT_FIELDS: Final = ("X-Autoreply", "X-Autorespond", "X-AutoRespond", "X-Auto-Response-From")
_BULK: Final = {"bulk", "junk", "list", "auto_reply"}
_ROBOTS: Final = re.compile(
    r"mailer-daemon|postmaster|no-?reply|do-?not-?reply|bounces?|(?:.*-)?(?:request|owner|bounces?)"
    r"|owner-.*|listserv|majordomo|mailman|daemon|nobody|root|(?:.*[._-])?no-?reply",
    re.IGNORECASE,
)
_REPORTER: Final = re.compile(r"mailer-daemon|postmaster", re.IGNORECASE)


def kind(headers: Headers, sender: str) -> Kind:
    """Why a mail was written, by its header.

    Args:
        headers: of the mail.
        sender: canonical address of From; may be empty.
    """
    if fields.media_type(headers) == "multipart/report":
        match fields.parameter(headers, "Content-Type", "report-type").lower():
            case "delivery-status":
                return Kind.BOUNCE
            case "disposition-notification":
                return Kind.DISPOSITION
    if _is_bounce(headers, sender):
        return Kind.BOUNCE
    precedence = _word(headers, "Precedence")
    if precedence == "list" or any(name in headers for name in _LISTS):
        return Kind.LIST
    robot = any(name in headers for name in _ROBOT_FIELDS)
    return Kind.AUTOMATIC if robot or _automatic(headers) or precedence in _BULK else Kind.NORMAL


def answerable(headers: Headers, sender: str) -> bool:
    """Whether a program may answer a mail (RFC 3834 §2), by its header."""
    if not sender or _ROBOTS.fullmatch(split(sender)[0]):
        return False
    if "X-Auto-Response-Suppress" in headers or fields.raw(headers, "Return-Path") == "<>":
        return False
    return kind(headers, sender) is Kind.NORMAL


def may_answer(mail: Mail, envelope_sender: str) -> bool:
    """Whether a program may send something because of this mail.

    Args:
        mail: that came.
        envelope_sender: to whom the mail server would report; empty for the null sender.
    """
    if not envelope_sender or _ROBOTS.fullmatch(split(envelope_sender)[0]):
        return False
    return mail.answerable and refusal(mail, "") is None


def refusal(mail: Mail, own_mark: str) -> str | None:
    """Why a mail is one that goes round in circles; None where it is not.

    Args:
        mail: that came.
        own_mark: of the user for whom it is (`mark`).
    """
    if mail.received > MOST_HOPS:
        return "too many hops"
    if own_mark and own_mark in mail.loop_marks:
        return "the recipient has sent this mail"
    return None


def mark(key: bytes, user: str) -> str:
    """What stands in `HEADER` of all mails of a user; who reads it learns nothing from it."""
    return hmac.new(key, b"loop\0" + user.encode(), hashlib.sha256).hexdigest()[:24]


def _is_bounce(headers: Headers, sender: str) -> bool:
    if "X-Failed-Recipients" in headers:  # as some servers have it
        return True
    if not _REPORTER.fullmatch(split(sender)[0]):
        return False
    return sender.lower().startswith("mailer-daemon@") or (
        _automatic(headers) or fields.raw(headers, "Return-Path") == "<>"
    )


def _automatic(headers: Headers) -> bool:
    return _word(headers, "Auto-Submitted") not in {"", "no"}


def _word(headers: Headers, name: str) -> str:
    """The first word of a field, without parameters and comments, in lower case."""
    return re.split(r"[;(\s]", fields.raw(headers, name).lower(), maxsplit=1)[0]
