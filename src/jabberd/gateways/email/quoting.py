"""What is new in the text of a mail: without the history that it quotes, and the signature.

In doubt it stays: a line too many can be skipped by who reads it, a line too few cannot.
"""

from __future__ import annotations

import re
from typing import Final

from jabberd.gateways.email import phrases
from jabberd.gateways.email.flowed import SIGNATURE

_MOST_LINES: Final = 5_000
_LONGEST_LINE: Final = 500
_LONGEST_SIGNATURE: Final = 25
_LONGEST_SLOPPY_SIGNATURE: Final = 10  # after "--" without its space
_ATTRIBUTION_LINES: Final = 4
_HEADER_LINES: Final = 8
_TIME: Final = re.compile(r"\d{1,2}[:.h]\d{2}")
_ADDRESS: Final = re.compile(r"[^\s<>@]@[^\s<>@]+\.")
_DIGIT: Final = re.compile(r"\d")


def is_forwarded(subject: str) -> bool:
    """Whether a subject says that the mail passes on another one, whose text then matters."""
    return bool(phrases.FORWARDED.match(subject))


def strip(text: str) -> str:
    """The new text of a mail; all of it where nothing would be left.

    Quotes between which somebody has written stay.

    Args:
        text: lines ended by LF.
    """
    lines = text.split("\n")
    if len(lines) > _MOST_LINES:
        return text.strip()
    for step in (_above, _without_quotes, _without_signature, _without_quotes):
        shorter = step(lines)
        if any(line.strip() for line in shorter):
            lines = shorter
    return "\n".join(lines).strip()


def _above(lines: list[str]) -> list[str]:
    """The lines above the first mark from which on everything is history."""
    for at, line in enumerate(lines):
        if len(line) <= _LONGEST_LINE and _is_mark(lines, at):
            return lines[:at]
    return lines


def _is_mark(lines: list[str], at: int) -> bool:
    line = lines[at]
    if phrases.ORIGINAL.fullmatch(line) or phrases.REPLY_ABOVE.fullmatch(line):
        return True
    if phrases.RULE.fullmatch(line):
        following = _next(lines, at + 1)
        return following < len(lines) and _is_header(lines, following)
    return _is_header(lines, at) or _is_certain_attribution(lines, at)


def _is_header(lines: list[str], at: int) -> bool:
    """Whether a From line begins here, with the others that Outlook writes below it."""
    if not phrases.FROM_LABEL.match(lines[at]):
        return False
    below = [line for line in lines[at + 1 : at + _HEADER_LINES] if len(line) <= _LONGEST_LINE]
    return any(map(phrases.SENT_LABEL.match, below)) and any(map(phrases.MORE_LABEL.match, below))


def _is_certain_attribution(lines: list[str], at: int) -> bool:
    """Whether somebody "wrote:" what follows here, which is not marked as a quote."""
    if not phrases.BEGINS_WROTE.match(lines[at]):
        return False
    for end in range(at + 1, min(at + _ATTRIBUTION_LINES, len(lines)) + 1):
        joined = _joined(lines[at:end])
        if not lines[end - 1].strip() or len(joined) > _LONGEST_LINE:
            return False
        if joined.endswith((":", "\uff1a")):
            following = _next(lines, end)
            quoted = following < len(lines) and _is_quote(lines[following])
            certain = _TIME.search(joined) or _ADDRESS.search(joined)
            return bool(not quoted and certain and phrases.WROTE.search(joined))
    return False


def _without_quotes(lines: list[str]) -> list[str]:
    """Without a quote at the end, or the one at the beginning if it is the only one."""
    lines = _without_last_quote(lines)
    quoted = [at for at, line in enumerate(lines) if _is_quote(line)]
    if not quoted:
        return lines
    first, last = quoted[0], quoted[-1]
    whole = all(_is_quote(line) or not line.strip() for line in lines[first:last])
    above = lines[: first - _attribution_before(lines, first)]
    if whole and not any(line.strip() for line in above):
        return lines[last + 1 :]
    return lines


def _without_last_quote(lines: list[str]) -> list[str]:
    end = len(lines)
    while end and (_is_quote(lines[end - 1]) or not lines[end - 1].strip()):
        end -= 1
    if not any(map(_is_quote, lines[end:])):
        return lines
    first = next(at for at in range(end, len(lines)) if _is_quote(lines[at]))
    return lines[: first - _attribution_before(lines, first)]


def _attribution_before(lines: list[str], quote: int) -> int:
    """How many lines before a quote say who wrote it, empty ones included."""
    end = quote
    while end and not lines[end - 1].strip():
        end -= 1
    if not end or not lines[end - 1].rstrip().endswith((":", "\uff1a")):
        return 0
    likely = 0
    for start in range(end - 1, max(end - _ATTRIBUTION_LINES, 0) - 1, -1):
        joined = _joined(lines[start:end])
        if not lines[start].strip() or _is_quote(lines[start]) or len(joined) > _LONGEST_LINE:
            break
        if not (phrases.WROTE.search(joined) or _ADDRESS.search(joined)):
            continue
        if phrases.BEGINS_WROTE.match(lines[start]):
            return quote - start
        if not likely and _DIGIT.search(joined):
            likely = quote - start
    if not likely and phrases.WROTE.search(lines[end - 1]):
        likely = quote - end + 1
    return likely


def _without_signature(lines: list[str]) -> list[str]:
    for at, line in enumerate(lines):
        below = len(lines) - at - 1
        if line == SIGNATURE and below <= _LONGEST_SIGNATURE:
            return lines[:at]
        if line == SIGNATURE.rstrip() and below <= _LONGEST_SLOPPY_SIGNATURE:
            return lines[:at]
        if phrases.RULE.fullmatch(line) and below <= _LONGEST_SLOPPY_SIGNATURE:
            following = _next(lines, at + 1)
            if following < len(lines) and phrases.LIST_FOOTER.search(lines[following]):
                return lines[:at]
    return _without_mobile(lines)


def _without_mobile(lines: list[str]) -> list[str]:
    end = len(lines)
    while end and not lines[end - 1].strip():
        end -= 1
    last = lines[end - 1].strip() if end else ""
    if len(last) <= _LONGEST_LINE and phrases.MOBILE.fullmatch(last):
        return lines[: end - 1]
    return lines


def _next(lines: list[str], at: int) -> int:
    """The next line that is not empty."""
    while at < len(lines) and not lines[at].strip():
        at += 1
    return at


def _is_quote(line: str) -> bool:
    return line.startswith(">")


def _joined(lines: list[str]) -> str:
    return " ".join(line.strip() for line in lines)
