"""Paragraphs as lines that other programs can fold and unfold (RFC 3676)."""

from __future__ import annotations

import re
from typing import Final

WIDTH: Final = 72
"""Characters of a line, without the space that says that it goes on (§4.2)."""
SIGNATURE: Final = "-- "
"""The line before a signature, which is never part of a paragraph (§4.3)."""

_DEEPEST: Final = 20
_DEPTH: Final = re.compile(rf">{{0,{_DEEPEST}}}")
_QUOTES: Final = re.compile(r"(?:> ?)*")
_STUFFED: Final = re.compile(r"[ >]|From ")


def fold(text: str) -> str:
    """Text as lines of format=flowed with delsp=yes, ended by CRLF.

    Lines that begin with `>` are quotes. Spaces at the end of lines are lost.
    """
    lines: list[str] = []
    for line in text.split("\n"):
        if line == SIGNATURE:
            lines.append(line)
            continue
        depth, content = _quoted(line)
        mark = ">" * depth
        pieces = _pieces(content.rstrip(" "), max(WIDTH - depth, WIDTH // 2))
        for at, piece in enumerate(pieces):
            stuffing = " " if depth or _STUFFED.match(piece) else ""
            more = " " if at + 1 < len(pieces) else ""
            lines.append(f"{mark}{stuffing}{piece}{more}" if piece else mark)
    return "\r\n".join(lines) + "\r\n"


def unfold(text: str, *, delsp: bool) -> str:
    """Text of format=flowed with its paragraphs as one line each.

    Args:
        text: lines ended by LF.
        delsp: the space at the end of a line that goes on is not part of the text (§4.5).
    """
    paragraphs: list[str] = []
    pending: list[str] = []
    pending_depth = 0
    for line in text.split("\n"):
        found = _DEPTH.match(line)
        depth = found.end() if found else 0
        content = line[depth:].removeprefix(" ")
        if pending and (depth != pending_depth or content == SIGNATURE):
            paragraphs.append(_paragraph(pending, pending_depth))
            pending = []
        if content.endswith(" ") and content != SIGNATURE:
            pending.append(content[:-1] if delsp else content)
            pending_depth = depth
        else:
            paragraphs.append(_paragraph([*pending, content], depth))
            pending = []
    if pending:
        paragraphs.append(_paragraph(pending, pending_depth))
    return "\n".join(paragraphs)


def _quoted(line: str) -> tuple[int, str]:
    """How deep a line is quoted, and what it says."""
    found = _QUOTES.match(line)
    if not found or not found.end():
        return 0, line
    depth = min(found[0].count(">"), _DEEPEST)
    return depth, line[found.end() :]


def _paragraph(pieces: list[str], depth: int) -> str:
    content = "".join(pieces)
    return f"{'>' * depth} {content}".rstrip(" ") if depth else content


def _pieces(content: str, width: int) -> list[str]:
    """A paragraph in lines of at most this many characters, cut behind spaces if there are any."""
    pieces: list[str] = []
    start = 0
    while len(content) - start > width:
        cut = content.rfind(" ", start, start + width) + 1
        if cut <= start or not content[start:cut].strip(" "):
            cut = start + width
        pieces.append(content[start:cut])
        start = cut
    pieces.append(content[start:])
    return pieces
