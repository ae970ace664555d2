"""What a text is found by: one rule for all databases, so that they find the same.

A word is a run of letters and digits, without regard to case, to accents and to how a character
is composed ("Ä", "ä", "a" are one). Chinese and Japanese have no spaces between words: there each
character is one, and so are two neighbours, so that a search for two or more characters finds
them side by side.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_MOST_TEXT: Final = 16_384
"""Only so many characters at the beginning of a text are looked at."""

_LONGEST: Final = 64
"""A longer word is cut to this length; PostgreSQL cannot hold words of any length."""

_MOST_ASKED: Final = 32
"""Only so many words of a search are looked at."""

_KEPT: Final = 20_000
# Marks above and below letters have classes from 10 on; those below 10 change what is said
# (voicing in Japanese, virama and nukta in Indian scripts).
_ACCENT: Final = 10
# Han with its extensions, Hiragana, Katakana.
_UNSPACED: Final = re.compile("[\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff]+")


def _fold(character: str) -> str:
    """What stands for one character: letters and digits, nothing for an accent, else a space."""
    parts = [
        part
        for part in unicodedata.normalize("NFKD", character)
        if unicodedata.combining(part) < _ACCENT
    ]
    return "".join(
        part if part.isalnum() or unicodedata.category(part)[0] == "M" else " "
        for part in unicodedata.normalize("NFC", "".join(parts))
    )


class _Folds(dict[int, str]):
    """For `str.translate`; bounded, since strangers choose the characters."""

    def __missing__(self, code: int) -> str:
        if len(self) >= _KEPT:
            self.clear()
        folded = self[code] = _fold(chr(code))
        return folded


# The same for ASCII, in small letters; for `bytes.translate`, which takes a third of the time.
_ASCII: Final = "".join(_fold(chr(code).lower()) for code in range(128)).encode() + bytes(128)
_FOLDS: Final = _Folds()


def _split(text: str) -> list[str]:
    text = text[:_MOST_TEXT]
    if text.isascii():
        return text.encode().translate(_ASCII).decode().split()
    return unicodedata.normalize("NFKC", text).casefold().translate(_FOLDS).split()


def words_of(text: str) -> list[str]:
    """The words by which a text is found, each once, in order of their first place."""
    words = dict.fromkeys(_split(text))
    if text.isascii() and max(map(len, words), default=0) <= _LONGEST:
        return list(words)
    found: dict[str, None] = {}
    for word in words:
        for run in (word[:_LONGEST],) if word.isascii() else _runs(word):
            parts = (*run, *_pairs(run)) if _UNSPACED.match(run) else (run,)
            found.update(dict.fromkeys(parts))
    return list(found)


def words_asked(text: str) -> list[str]:
    """The words that all have to be among `words_of` a text which is found."""
    asked: dict[str, None] = {}
    for word in _split(text):
        for run in (word[:_LONGEST],) if word.isascii() else _runs(word):
            asked.update(dict.fromkeys(_pairs(run) or (run,)))
    return list(asked)[:_MOST_ASKED]


def _runs(word: str) -> list[str]:
    """A word in pieces that are, or are not, of a script without spaces."""
    runs = []
    last = 0
    for match in _UNSPACED.finditer(word):
        runs += [word[last : match.start()][:_LONGEST], match.group()]
        last = match.end()
    runs.append(word[last:][:_LONGEST])
    return [run for run in runs if run]


def _pairs(run: str) -> list[str]:
    """Two neighbours each, of a run in a script without spaces; none for other runs."""
    if not _UNSPACED.match(run):
        return []
    return [run[at : at + 2] for at in range(len(run) - 1)]
