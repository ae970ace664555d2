"""Removing what is old, and what the operator can see and do (`jabberd upload`)."""

from __future__ import annotations

import asyncio
from typing import Annotated, Final

import structlog

from jabberd.core.admin import parse_account, when
from jabberd.core.command import Command, CommandError, Doc, Table
from jabberd.core.module import Host
from jabberd.core.printable import printable
from jabberd.modules.http_upload.service import Uploads
from jabberd.modules.http_upload.usage import today, total
from jabberd.storage.api import StorageError

_log: Final = structlog.get_logger("jabberd.upload")
_FIRST: Final = 60.0  # seconds from the start of the server to the first round
_EVERY: Final = 3_600.0
_STEP: Final = 200  # files looked at together
_PAUSE: Final = 0.05  # seconds in which the disk is everybody else's
_Account = Annotated[str, Doc("the account, for example alice@localhost")]


class Care:
    """Looks after the files of a host."""

    def __init__(self, host: Host, uploads: Uploads) -> None:
        self._host = host
        self._uploads = uploads
        host.later(_FIRST, self._begin)

    def _begin(self) -> None:
        self._host.spawn("removing old uploads", self._rounds())

    async def _rounds(self) -> None:
        try:
            await self.round()
        except (StorageError, OSError) as error:
            _log.warning("old uploads could not be removed: later", reason=str(error))
        finally:
            self._host.later(_EVERY, self._begin)

    async def round(self) -> int:
        """Remove every file whose day is over; returns how many there were.

        Raises:
            StorageError: the database failed.
            OSError: the folder cannot be read.
        """
        removed = 0
        while True:
            now = self._host.now()
            old = await asyncio.to_thread(self._uploads.files.old, now, _STEP)
            for token, owner in old:
                await self._uploads.remove(owner, token)
            removed += len(old)
            if not old:
                return removed
            await asyncio.sleep(_PAUSE)

    # jabberd upload

    def commands(self) -> list[Command]:
        """The commands as values."""
        return [
            Command(("upload", "usage"), self.usage, online=True),
            Command(("upload", "list"), self.list, online=True),
            Command(("upload", "delete"), self.delete, online=True),
        ]

    async def usage(self, account: _Account) -> Table:
        """Show how much an account has uploaded, and how much it may."""
        options = self._uploads.options
        try:
            files = await self._uploads.used(parse_account(account).text)
            everybody = await self._uploads.total()
        except (StorageError, OSError) as error:
            raise CommandError(printable(str(error), 500)) from error
        recent = today(files, self._host.now())
        return Table(
            ("what", "bytes", "files", "most bytes"),
            [
                ("account", total(files), len(files), options.account_bytes),
                ("within 24 hours", total(recent), len(recent), options.account_day_bytes),
                ("whole host", everybody, None, options.host_bytes),
            ],
        )

    async def list(
        self,
        account: _Account,
        *,
        limit: Annotated[int, Doc("at most so many")] = 1000,
    ) -> Table:
        """List the files of an account, the newest first."""
        try:
            used = await self._uploads.used(parse_account(account).text)
        except StorageError as error:
            raise CommandError(printable(str(error), 500)) from error
        used = sorted(used, key=lambda one: -one.at)[: max(0, limit)]
        files = self._uploads.files
        found = await asyncio.to_thread(lambda: [(o.token, files.find(o.token)) for o in used])
        return Table(
            ("file", "name", "type", "bytes", "uploaded", "kept until"),
            [
                (
                    token,
                    printable(facts.name),
                    printable(facts.type),
                    facts.size,
                    when(facts.at),
                    "the end of the account" if facts.expires is None else when(facts.expires),
                )
                for token, one in found
                if one is not None
                for facts in (one[1],)
            ],
        )

    async def delete(
        self,
        account: _Account,
        file: Annotated[str | None, Doc("one file, as `upload list` names it")] = None,
        *,
        all_: Annotated[bool, Doc("every file of the account")] = False,
    ) -> str:
        """Remove a file of an account, or all of them."""
        owner = parse_account(account).text
        if (file is None) is not all_:
            raise CommandError("name a file, or say --all")
        try:
            if file is None:
                count, size = await self._uploads.erase(owner)
                return f"Files of {owner} removed: {count}, {size} bytes in all."
            if file not in {one.token for one in await self._uploads.used(owner)}:
                raise CommandError(f"{owner} has no file {printable(file, 200)}")
            size = await self._uploads.remove(owner, file)
        except StorageError as error:
            raise CommandError(printable(str(error), 500)) from error
        return f"The file is removed, {size} bytes."
