"""Delivery reports of SMPP (SMPP 3.4 appendix B), and how they name an SMS; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from jabberd.gateways.sms.backend import Outcome, Receipt

_STATES: Final[Mapping[int, Outcome]] = {
    1: Outcome.PENDING,
    2: Outcome.DELIVERED,
    3: Outcome.EXPIRED,
    4: Outcome.REJECTED,
    5: Outcome.UNDELIVERABLE,
    6: Outcome.PENDING,
    7: Outcome.PENDING,
    8: Outcome.REJECTED,
}
_WORDS: Final[Mapping[str, int]] = {
    "ENROUTE": 1, "DELIVRD": 2, "EXPIRED": 3, "DELETED": 4, "UNDELIV": 5, "ACCEPTD": 6,
    "UNKNOWN": 7, "REJECTD": 8,
}  # fmt: skip
_FIELD: Final = re.compile(r"\b(id|stat|err)\s*:\s*([^\s:]{1,64})", re.IGNORECASE)
_LONGEST_ID: Final = 64
_HEXADECIMAL: Final = re.compile(r"[0-9a-f]{1,64}")


def read(
    text: str, *, name: str = "", state: int | None = None, contact: str = ""
) -> Receipt | None:
    """A delivery report; None where it names no SMS.

    Args:
        text: of the report.
        name: from the parameter receipted_message_id.
        state: from the parameter message_state.
        contact: to whom the SMS went.
    """
    # The text of the SMS follows at the end, and may look like anything.
    before = re.split(r"\btext\s*:", text, maxsplit=1, flags=re.IGNORECASE)[0]
    found: dict[str, str] = {}
    for key, value in _FIELD.findall(before):
        found.setdefault(key.lower(), value)
    name = (name or found.get("id", "")).strip()[:_LONGEST_ID]
    if not name:
        return None
    if state is None:
        state = _WORDS.get(found.get("stat", "").upper()[:7], 7)
    outcome = _STATES.get(state, Outcome.PENDING)
    word = found.get("stat", "").upper() or next((w for w, s in _WORDS.items() if s == state), "")
    error = found.get("err", "")
    why = f"{word}, error {error}" if error.strip("0") else word
    return Receipt(name, outcome, why, contact)


def normal(name: str) -> str:
    """A name of an SMS without what may differ between an answer and a report."""
    return name.strip().lower().lstrip("0") or "0"


def others(name: str) -> tuple[str, ...]:
    """The same name in other notations: some SMSCs answer in hexadecimal and report in decimal."""
    name = normal(name)
    if not _HEXADECIMAL.fullmatch(name):
        return ()
    found = [str(int(name, 16))]
    if name.isdecimal():
        found.append(f"{int(name):x}")
    return tuple(one for one in dict.fromkeys(found) if one != name)
