"""What became of a mail that we sent, as servers and clients report it (RFC 3464, RFC 8098)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from jabberd.gateways.email import body, mime
from jabberd.gateways.email import headers as fields
from jabberd.gateways.email.address import canonical
from jabberd.gateways.email.charset import clean
from jabberd.gateways.email.headers import Headers
from jabberd.gateways.email.mime import Part
from jabberd.gateways.events import Trouble
from jabberd.gateways.transport import BadAddress

LONGEST_DIAGNOSTIC: Final = 200
"""Characters of a diagnostic that are shown."""

_MOST_RECIPIENTS: Final = 50
_LONGEST_REPORT: Final = 64 * 1024
_STATUS: Final = re.compile(r"(?<![\d.])([245])\.(\d{1,3})\.(\d{1,3})(?![\d.])")
_CODE: Final = re.compile(r"(?<![\d.])([45]\d\d)(?=[ -]|$)")
_ADDRESS: Final = re.compile(r"<([^<>\s@]{1,64}@[^<>\s@]{1,253})>")


class Action(Enum):
    """What became of it (RFC 3464 §2.3.3; RFC 8098 §3.2.6.2 for the last two)."""

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    RELAYED = "relayed"
    EXPANDED = "expanded"
    DISPLAYED = "displayed"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a mail for one recipient.

    Attributes:
        message_id: of the mail, with angle brackets; empty where the report does not tell.
        recipient: canonical address; empty where the report does not tell.
        action: what became of it.
        status: enhanced status code (RFC 3463), such as "5.1.1"; may be empty.
        diagnostic: the words of the server that said it, on one line; may be empty.
    """

    message_id: str
    recipient: str
    action: Action
    status: str = ""
    diagnostic: str = ""

    @property
    def trouble(self) -> Trouble:
        """Why it failed."""
        return trouble(self.status, self.diagnostic)


def read(data: bytes) -> tuple[Report, ...]:
    """The reports that a mail has; for a mail of kind BOUNCE or DISPOSITION. Never fails.

    A bounce of no standard form gives one report with as much as can be found in its text.
    """
    mail = mime.split(data)
    original = _original(mail)
    reports: list[Report] = []
    for part in mail.walk():
        if part.media_type in {"message/delivery-status", "message/global-delivery-status"}:
            reports += _delivery(part, original)
        elif part.media_type in {
            "message/disposition-notification",
            "message/global-disposition-notification",
        }:
            reports += _disposition(part, original)
    if not reports and fields.parameter(mail.headers, "Content-Type", "report-type") == "":
        reports = [_free_form(mail, original)]
    return tuple(reports[:_MOST_RECIPIENTS])


def trouble(status: str, diagnostic: str = "") -> Trouble:
    """What a failure means for the user.

    Args:
        status: enhanced status code; may be empty, or as vague as "5.0.0".
        diagnostic: the reply of the server, which may name a code of its own.
    """
    for text in (status, diagnostic):
        for found in _STATUS.finditer(text):
            if known := _by_status(found[1], found[2], found[3]):
                return known
    if (code := _CODE.search(diagnostic)) and (known := _BY_CODE.get(code[1])):
        return known
    return Trouble.TIMEOUT if (status or diagnostic)[:1] == "4" else Trouble.UNREACHABLE


def is_our_fault(status: str, diagnostic: str = "") -> bool:
    """Whether the receiver does not believe our domain: something for the operator (RFC 7372)."""
    return bool(re.search(r"(?<![\d.])[45]\.7\.(?:2[0-9])(?![\d.])", f"{status} {diagnostic}"))


_BY_STATUS: Final = {
    "1.0": Trouble.NO_SUCH_CONTACT,
    "1.1": Trouble.NO_SUCH_CONTACT,
    "1.2": Trouble.NO_SUCH_SERVER,
    "1.3": Trouble.NO_SUCH_CONTACT,
    "1.6": Trouble.GONE,
    "1.10": Trouble.NO_SUCH_CONTACT,
    "2.1": Trouble.UNREACHABLE,
    "2.2": Trouble.FULL,
    "2.3": Trouble.TOO_LARGE,
    "3.4": Trouble.TOO_LARGE,
    "4.4": Trouble.NO_SUCH_SERVER,
    "4.7": Trouble.TIMEOUT,
}
_BY_SUBJECT: Final = {
    "4": Trouble.UNREACHABLE,
    "5": Trouble.NOT_ACCEPTABLE,
    "6": Trouble.NOT_ACCEPTABLE,
    "7": Trouble.FORBIDDEN,
}
_BY_CODE: Final = {
    "421": Trouble.TIMEOUT,
    "450": Trouble.TIMEOUT,
    "451": Trouble.TIMEOUT,
    "452": Trouble.FULL,
    "550": Trouble.NO_SUCH_CONTACT,
    "551": Trouble.GONE,
    "552": Trouble.TOO_LARGE,
    "553": Trouble.NO_SUCH_CONTACT,
    "554": Trouble.FORBIDDEN,
}


def _by_status(kind: str, subject: str, detail: str) -> Trouble | None:
    if known := _BY_STATUS.get(f"{subject}.{detail}"):
        return known
    if kind == "4" and subject == "4":
        return Trouble.TIMEOUT
    return _BY_SUBJECT.get(subject) if kind == "5" else None


def _original(mail: Part) -> str:
    """The identifier of the mail that a report is about."""
    for part in mail.walk():
        if part.media_type in {"text/rfc822-headers", "message/global-headers"}:
            headers = fields.parse(part.content)
        elif part.media_type in {"message/rfc822", "message/global"} and part.parts:
            headers = part.parts[0].headers
        else:
            continue
        if found := fields.message_id(headers):
            return found
    return ""


def _blocks(part: Part) -> Iterator[Headers]:
    text = part.content[:_LONGEST_REPORT].replace(b"\r\n", b"\n").strip(b"\n")
    for block in re.split(rb"\n[ \t]*\n+", text, maxsplit=_MOST_RECIPIENTS):
        yield fields.parse(block + b"\n")


def _delivery(part: Part, original: str) -> Iterator[Report]:
    for block in _blocks(part):
        original = original or fields.message_id(block, "X-Original-Message-ID")
        status = _status(fields.raw(block, "Status"))
        action = _action(fields.raw(block, "Action"), status)
        if action is None:
            continue
        recipient = _address(block, "Original-Recipient") or _address(block, "Final-Recipient")
        diagnostic = _said(fields.raw(block, "Diagnostic-Code"))
        yield Report(original, recipient, action, status, diagnostic)


def _disposition(part: Part, original: str) -> Iterator[Report]:
    for block in _blocks(part):
        words = fields.raw(block, "Disposition").rpartition(";")[2].strip().lower()
        action = _action(re.split(r"[/\s]", words, maxsplit=1)[0], "")
        if action is not None:
            about = fields.message_id(block, "Original-Message-ID") or original
            yield Report(about, _address(block, "Final-Recipient"), action)


def _free_form(mail: Part, original: str) -> Report:
    text = body.read(mail).text[:_LONGEST_REPORT]
    status = _status(text)
    lines = text.split("\n")
    telling = next((line for line in lines if _STATUS.search(line) or _CODE.search(line)), "")
    recipient = _first_address(fields.raw(mail.headers, "X-Failed-Recipients"))
    if not recipient and (found := _ADDRESS.search(text)):
        recipient = _first_address(found[1])
    original = original or fields.message_id(mail.headers, "In-Reply-To")
    action = Action.DELAYED if status.startswith("4") else Action.FAILED
    return Report(original, recipient, action, status, _said(telling))


def _action(word: str, status: str) -> Action | None:
    try:
        return Action(word.strip().lower())
    except ValueError:
        return Action.FAILED if status.startswith("5") else None


def _status(text: str) -> str:
    found = _STATUS.search(text)
    return found[0] if found else ""


def _address(block: Headers, name: str) -> str:
    """An address with its type before it (RFC 3464 §2.1.2)."""
    return _first_address(fields.raw(block, name).rpartition(";")[2])


def _first_address(text: str) -> str:
    try:
        return canonical(text.partition(",")[0].strip())
    except BadAddress:
        return ""


def _said(diagnostic: str) -> str:
    kind, semicolon, text = diagnostic.partition(";")
    text = text if semicolon and " " not in kind.strip() else diagnostic
    return fields.one_line(clean(text))[:LONGEST_DIAGNOSTIC]
