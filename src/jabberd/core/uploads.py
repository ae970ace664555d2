"""How the request for a slot and the upload by HTTP meet (XEP-0363): types of `core.ports`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

from jabberd.storage.files import FileFacts


class Refused(Enum):
    """Why an upload is not taken."""

    UNKNOWN = "There is no such slot: it was used, or its time is over. Ask for a new one."
    SIZE = "The size is not the one that the slot was asked for."
    TYPE = "The content type is not the one that the slot was asked for."
    BUSY = "Too many uploads are under way: try again soon."
    FULL = "There is no room for this file at present."


class UploadRefused(Exception):  # noqa: N818 -- what was said to who uploads
    """An upload is not taken.

    Attributes:
        why: the reason.
    """

    def __init__(self, why: Refused) -> None:
        super().__init__(why.value)
        self.why = why


@dataclass(frozen=True, slots=True)
class Stored:
    """A file that can be served.

    Attributes:
        path: where it is.
        facts: what is known of it.
    """

    path: Path
    facts: FileFacts


class Upload(Protocol):
    """A file on its way in. Whoever has one finishes or abandons it."""

    @property
    def size(self) -> int:
        """How many bytes it will have."""

    async def write(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            UploadRefused: there are more than announced, or there is no room.
        """

    async def finish(self) -> None:
        """All bytes are there: serve the file from now on.

        Raises:
            UploadRefused: bytes are missing, the account is gone, or there is no room.
        """

    async def abandon(self) -> None:
        """Forget it; harmless after `finish`."""
