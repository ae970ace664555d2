"""What an invitation says, in a few lines (RFC 5545)."""

from __future__ import annotations

import re
from typing import Final

_LINE: Final = re.compile(r"([A-Z-]+)(?:;[^:\n]*)?:(.*)")
_SHOWN: Final = {"SUMMARY": "", "DTSTART": "", "DTEND": "- ", "LOCATION": "", "DESCRIPTION": ""}
_TIME: Final = re.compile(r"(\d{4})(\d\d)(\d\d)(?:T(\d\d)(\d\d)\d\d(Z?))?")
_LONGEST: Final = 2_000


def summary(text: str) -> str:
    """What, when and where of the first event; empty where there is none.

    Args:
        text: iCalendar, lines ended by LF.
    """
    _, _, event = text.replace("\n ", "").replace("\n\t", "").partition("BEGIN:VEVENT")
    event = event.partition("END:VEVENT")[0].partition("BEGIN:VALARM")[0]
    found: dict[str, str] = {}
    for line in event.split("\n"):
        if (said := _LINE.fullmatch(line)) and said[1] in _SHOWN:
            found.setdefault(said[1], _plain(said[2]))
    lines = [mark + found[name] for name, mark in _SHOWN.items() if found.get(name)]
    return "\n".join(lines)[:_LONGEST]


def _plain(value: str) -> str:
    if time := _TIME.fullmatch(value):
        day = f"{time[1]}-{time[2]}-{time[3]}"
        return f"{day} {time[4]}:{time[5]}{' UTC' if time[6] else ''}" if time[4] else day
    return re.sub(r"\\(.)", lambda char: "\n" if char[1] in "nN" else char[1], value).strip()
