"""Slots, and the files that come in by them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from jabberd.core.uploads import Refused, UploadRefused
from jabberd.storage.files import Files


@dataclass(slots=True)
class Slot:
    """Somebody may upload one file.

    Attributes:
        token: names it; unpredictable.
        owner: for whom, a bare JID or a component's domain.
        name: of the file.
        size: in bytes.
        type: its media type; empty where the client did not say.
        expires: when the file is served no more; None: it is kept.
        asked: when the slot was given out.
        until: until when the upload must have begun.
        dropped: the owner is gone.
    """

    token: str
    owner: str
    name: str
    size: int
    type: str
    expires: float | None
    asked: float
    until: float
    dropped: bool = False


class Incoming:
    """A file on its way in. Implements `core.uploads.Upload`.

    Args:
        slot: that it uses.
        files: where it goes.
        handle: of the partial file.
        commit: makes the file one that is served.
        ended: told once, when it is finished or abandoned.
    """

    def __init__(
        self,
        slot: Slot,
        files: Files,
        handle: int,
        commit: Callable[[Slot, int], Awaitable[None]],
        ended: Callable[[Slot], None],
    ) -> None:
        self._slot = slot
        self._files = files
        self._handle = handle
        self._commit = commit
        self._ended = ended
        self._taken = 0
        self._work: asyncio.Future[None] | None = None
        self._kept = False
        self._over = False

    @property
    def size(self) -> int:
        """How many bytes it will have."""
        return self._slot.size

    async def write(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            UploadRefused: there are more than announced, or there is no room.
        """
        self._taken += len(data)
        if self._taken > self._slot.size:
            raise UploadRefused(Refused.SIZE)
        # Shielded: a thread that writes must be done before its descriptor is closed.
        self._work = asyncio.ensure_future(asyncio.to_thread(_write, self._handle, data))
        try:
            await asyncio.shield(self._work)
        except OSError:
            raise UploadRefused(Refused.FULL) from None

    async def finish(self) -> None:
        """All bytes are there: serve the file from now on.

        Raises:
            UploadRefused: bytes are missing, the account is gone, or there is no room.
        """
        if self._taken != self._slot.size:
            raise UploadRefused(Refused.SIZE)
        try:
            self._work = asyncio.ensure_future(self._keep())
            await asyncio.shield(self._work)
        except OSError:
            raise UploadRefused(Refused.FULL) from None

    async def _keep(self) -> None:
        await self._commit(self._slot, self._handle)
        self._kept = True

    async def abandon(self) -> None:
        """Forget it; harmless after `finish`."""
        if self._over:
            return
        self._over = True
        work = self._work
        try:
            if work is not None:
                await asyncio.wait({work})
                work.exception()  # who waited for it knows; who was cut off needs not
        finally:
            os.close(self._handle)
            self._ended(self._slot)
        if not self._kept:
            await asyncio.to_thread(self._files.abandon, self._slot.token)


def _write(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]
