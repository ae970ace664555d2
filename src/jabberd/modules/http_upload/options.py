"""What an operator can choose about uploaded files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

_Bytes = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, slots=True)
class Options:
    """Uploads by HTTP; they need `listen.https`, or a proxy and `http.url`.

    Attributes:
        max_file_bytes: the largest file; told to clients.
        account_bytes: how much one account can have here.
        account_day_bytes: how much one account can upload within 24 hours.
        profile_bytes: how much one account can have of files for its profile, avatars for
            example, which stay until newer ones need the room.
        host_bytes: how much all accounts of the host can have together.
        keep_days: how long files are kept that are uploaded from now on; 0: as long as the account.
        slot_seconds: how long a client may wait between asking for a slot and uploading.
        slots: how many slots an account can have that are not used yet, or in use.
        uploads: how many uploads of the host may be under way at a time.
        allow: domains of this server's own components that may upload as well; each of them
            has the limits of one account.
    """

    max_file_bytes: _Bytes = 52_428_800
    account_bytes: _Bytes = 1_073_741_824
    account_day_bytes: _Bytes = 536_870_912
    profile_bytes: _Bytes = 10_485_760
    host_bytes: _Bytes = 10_737_418_240
    keep_days: Annotated[int, Field(ge=0, le=36_500)] = 30
    slot_seconds: Annotated[int, Field(ge=10, le=86_400)] = 300
    slots: Annotated[int, Field(ge=1, le=1000)] = 20
    uploads: Annotated[int, Field(ge=1, le=1000)] = 50
    allow: tuple[str, ...] = ()

    @property
    def largest(self) -> int:
        """The largest file that can be taken at all."""
        return min(self.max_file_bytes, self.account_bytes, self.account_day_bytes, self.host_bytes)
