"""The files of the SMS Server Tools: some headers, an empty line, a text; pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from jabberd.gateways.sms.backend import Outcome, Outgoing
from jabberd.gateways.sms.text import Coding, clean, units

_REPORT: Final = "sms status report"
_CODECS: Final = {"ucs2": "utf-16-be", "ucs": "utf-16-be", "utf-8": "utf-8"}
_SENT: Final = 0
_STILL_TRYING: Final = 32
_GAVE_UP: Final = 64
_EMPTY_LINE: Final = re.compile(rb"\r?\n\r?\n")
_NOT_IN_A_HEADER: Final = re.compile(r"[\r\n\0]")


@dataclass(frozen=True, slots=True)
class Letter:
    """An SMS that came.

    Attributes:
        source: who sent it.
        destination: to which number; empty where the daemon does not say that.
        text: what it says.
    """

    source: str
    destination: str
    text: str


@dataclass(frozen=True, slots=True)
class Report:
    """A delivery report.

    Attributes:
        contact: to whom the SMS went.
        message_id: as the modem numbered it.
        outcome: what became of it.
        text: in the daemon's words.
    """

    contact: str
    message_id: str
    outcome: Outcome
    text: str


def write(sms: Outgoing) -> bytes:
    """The file that has an SMS sent.

    Raises:
        ValueError: a number does not fit in a header.
    """
    if _NOT_IN_A_HEADER.search(sms.source + sms.destination):
        raise ValueError("a number has a line end")
    coding, _ = units(sms.text)
    lines = [f"To: {sms.destination.removeprefix('+')}"]
    if sms.source:
        lines.append(f"From: {sms.source.removeprefix('+')}")
    lines.append("Report: yes" if sms.receipt else "Report: no")
    if coding is Coding.UCS2:
        lines.append("Alphabet: UCS")
        text = sms.text.encode("utf-16-be", "replace")
    else:
        lines.append("Alphabet: UTF-8")
        text = sms.text.encode()
    return "\n".join(lines).encode() + b"\n\n" + text


def read(data: bytes) -> Letter | Report | None:
    """A file that the daemon made; None where it is neither an SMS nor a report."""
    headers, body = _parted(data)
    source = headers.get("from", "")
    if not source:
        return None
    alphabet = headers.get("alphabet", "iso").lower()
    if alphabet == "binary":
        return None
    text = clean(body.decode(_CODECS.get(alphabet, "iso8859-15"), "replace"))
    found = _parted(body)[0]
    if _REPORT not in found:
        return Letter(source, headers.get("to", ""), text.rstrip("\n"))
    status = found.get("status", "")
    return Report(source, found.get("message_id", ""), _outcome(status), status[:100])


def read_name(data: bytes, name: str) -> str:
    """One header of a file; empty where it is not there."""
    return _parted(data)[0].get(name, "")


def _parted(data: bytes) -> tuple[dict[str, str], bytes]:
    head, *rest = _EMPTY_LINE.split(data, maxsplit=1)
    body = rest[0] if rest else b""
    headers: dict[str, str] = {}
    for line in head.decode("utf-8", "replace").splitlines():
        name, _, value = line.partition(":")
        headers.setdefault(name.strip().lower(), clean(value.strip()))
    return headers, body


def _outcome(status: str) -> Outcome:
    number = re.match(r"\d{1,3}", status)
    if number is None:
        return Outcome.PENDING
    code = int(number[0])
    if code < _STILL_TRYING:
        return Outcome.DELIVERED if code == _SENT else Outcome.PENDING
    return Outcome.PENDING if code < _GAVE_UP else Outcome.UNDELIVERABLE
