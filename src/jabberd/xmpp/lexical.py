"""Numbers, truths and times as XML Schema and XEP-0082 write them."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

_SPACE: Final = " \t\r\n"  # XML Schema part 2 §4.3.6: collapsed before a value is read
_DIGITS: Final = 20  # more than any number of ours has, with some zeros in front
_TRUTHS: Final = {"1": True, "true": True, "0": False, "false": False}
_DATE_TIME: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})"
    r"(?:\.([0-9]{1,6})[0-9]*)?(Z|[+-][0-9]{2}:[0-9]{2})"
)


def unsigned(text: str, highest: int) -> int | None:
    """A whole number from 0 to `highest`, or None where the text is not one.

    `int` alone would take other scripts' digits and underscores.
    """
    if not (text.isdigit() and text.isascii()):
        text = text.strip(_SPACE).removeprefix("+")
        if not (text.isdigit() and text.isascii()):
            return None
    value = int(text) if len(text) <= _DIGITS else highest + 1
    return value if value <= highest else None


def boolean(text: str) -> bool | None:
    """An xs:boolean, or None where the text is not one."""
    return _TRUTHS.get(text.strip(_SPACE))


def date_time(text: str) -> float | None:
    """A DateTime of XEP-0082 in seconds since the epoch, or None where the text is not one.

    Fractions count to the microsecond. The years are those from 1 to 9999.
    """
    found = _DATE_TIME.fullmatch(text.strip(_SPACE))
    if found is None:
        return None
    whole, fraction, zone = found.groups()
    try:
        return datetime.fromisoformat(f"{whole}.{(fraction or '').ljust(6, '0')}{zone}").timestamp()
    except ValueError:  # the 30th of February, or 25 hours
        return None


__all__ = ["boolean", "date_time", "unsigned"]
