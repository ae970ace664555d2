"""Text that peers chose, made safe for a terminal or a log."""

from __future__ import annotations


def printable(text: str, limit: int = 0) -> str:
    r"""Escape every character that does not simply show itself.

    Control characters (C0, C1, escape sequences, line ends), bidirectional overrides, other
    invisible format characters and lone surrogates become ``\x1b``, ``\u202e`` and so on, so
    that one entry stays one line and reads in the order in which it was written.

    Args:
        text: anything.
        limit: cut after so many characters (an ellipsis says so); 0 does not cut.
    """
    if limit and len(text) > limit:
        text = text[:limit] + "…"
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def printable_lines(text: str) -> str:
    """As `printable`, but line ends stay; for text of our own that quotes escaped text."""
    return "\n".join(printable(line) for line in text.split("\n"))
