"""Texts to search in: every message has others, and it is known which words are in which."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import Final

RARE: Final = "heliotrope"
"""In one message of a thousand."""
COMMON: Final = "breakfast"
"""In one message of ten."""
_EVERY_RARE: Final = 1000
_EVERY_COMMON: Final = 10
_WORDS: Final = 12
_VOCABULARY: Final = 4096
"""All that can be made of the letters below."""
_STARTS: Final = "bdfghklmnprstvwz"
_MIDDLES: Final = "aeio"
_ENDS: Final = "lnrs"


def bodies(count: int) -> Iterator[str]:
    """So many bodies, always the same: `bNNNNNNNN ` and twelve words, some 80 bytes.

    Few words are frequent and many are rare, as in languages.
    """
    chance = random.Random(1)
    draw = chance.random
    words = _vocabulary()
    for number in range(count):
        chosen = [words[int(_VOCABULARY * draw() ** 3)] for _ in range(_WORDS)]
        if number % _EVERY_COMMON == 3:
            chosen[1] = COMMON
        if number % _EVERY_RARE == 777:
            chosen[4] = RARE
        yield f"b{number:08d} {' '.join(chosen)}"


def _vocabulary() -> list[str]:
    syllables = [start + middle for start in _STARTS for middle in _MIDDLES]
    ends = itertools.cycle(_ENDS)
    return [first + second + next(ends) for first in syllables for second in syllables]
