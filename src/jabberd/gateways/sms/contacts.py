"""Who wrote last to whom: by that, an answer to a number that users share finds its user."""

from __future__ import annotations

from typing import Final

from jabberd.storage.records import Record, Records

_SPACE: Final = "sms-last"
KEPT_SECONDS: Final = 7 * 86_400.0


class LastContacts:
    """The table of one gateway.

    Args:
        records: of the gateway.
    """

    def __init__(self, records: Records) -> None:
        self._records = records

    async def wrote(self, user: str, contact: str, now: float) -> None:
        """A user writes to a contact.

        Raises:
            StorageError: it cannot be kept.
        """
        await self._records.write([Record("", _SPACE, contact, user.encode(), now)])

    async def of(self, contact: str, now: float) -> str | None:
        """Whom an answer of the contact is for; None where nobody wrote lately.

        Raises:
            StorageError: that cannot be read.
        """
        found = await self._records.get("", _SPACE, contact)
        if found is None or found.at < now - KEPT_SECONDS:
            return None
        return found.value.decode()

    async def prune(self, now: float) -> None:
        """Forget what is old."""
        while await self._records.prune(_SPACE, now - KEPT_SECONDS, limit=1_000) == 1_000:
            pass
