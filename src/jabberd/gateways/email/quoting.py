"""What is new in the text of a mail: without the history that it quotes, and the signature."""

from __future__ import annotations

import re
from typing import Final

_FORWARDED: Final = re.compile(
    r"(?i)\s*(?:\[[^\]]*\]\s*)?(?:fwd?|wg|tr|rv|enc|i|vs|vb|doorst|pd|tov|ilt|yml|转发|轉寄|転送)\s*[:\uff1a]"
)


def is_forwarded(subject: str) -> bool:
    """Whether a subject says that the mail passes on another one, whose text then matters."""
    return bool(_FORWARDED.match(subject))


def strip(text: str) -> str:
    """The new text of a mail; all of it where nothing would be left.

    Args:
        text: lines ended by LF.
    """
    return text.partition("\n-- \n")[0].strip() or text.strip()
