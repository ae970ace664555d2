"""That a mail or a recipient is not taken, as SMTP says it."""

from __future__ import annotations


class Refused(Exception):  # noqa: N818 -- what became of it, read as such
    """Not taken.

    Args:
        code: of the answer: 4xx to try again, 5xx for good (RFC 5321 §4.2.1).
        status: the enhanced one (RFC 3463).
        text: why, for whoever sent it.
    """

    def __init__(self, code: int, status: str, text: str) -> None:
        super().__init__(f"{code} {status} {' '.join(text.split())[:200]}")
        self.code = code

    @property
    def lasting(self) -> bool:
        """Trying again is of no use."""
        return self.code >= 500
