"""The folders of the SMS Server Tools (smstools) as a way out: files in, files out.

`outgoing/` is where files to send go, `sent/` and `failed/` where the daemon puts them then, and
`incoming/` where it puts what came. Every file appears by a rename, so nobody sees half of one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from jabberd.gateways.events import Trouble
from jabberd.gateways.sms.backend import Handler, Incoming, Link, Outcome, Outgoing, Receipt
from jabberd.gateways.sms.numbers import Numbers
from jabberd.gateways.sms.segments import split
from jabberd.gateways.sms.spool_files import Letter, Report, read, read_name, write
from jabberd.gateways.transport import Lost, NotDone, NotTaken

_log: Final = structlog.get_logger("jabberd.sms")
_FOLDERS: Final = ("outgoing", "incoming", "sent", "failed")
_OURS: Final = "jabberd-"
_MOST_FILES: Final = 200
"""Files of one folder that are looked at in one go."""
_LARGEST: Final = 65_536
_KEPT_SECONDS: Final = 7 * 86_400.0
_EMIT_SECONDS: Final = 45.0


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the folders are.

    Attributes:
        folder: that they are in, usually /var/spool/sms.
        seconds: how often they are looked at.
        most_parts: of a text.
    """

    folder: Path
    seconds: float = 2.0
    most_parts: int = 10


class SpoolBackend:
    """See `Backend`.

    Args:
        settings: see there.
        numbers: their spelling.
    """

    def __init__(self, settings: Settings, numbers: Numbers) -> None:
        self.link = Link()
        self._settings = settings
        self._numbers = numbers
        self._task: asyncio.Task[None] | None = None

    async def start(self, handler: Handler) -> None:
        """See `Backend.start`."""
        missing = await asyncio.to_thread(self._missing)
        if missing:
            raise FileNotFoundError(f"{self._settings.folder} has no folder {missing}")
        self.link.up()
        self._task = asyncio.create_task(self._watch(handler))

    async def stop(self) -> None:
        """See `Backend.stop`."""
        self.link.down("stopped")
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def parts(self, text: str) -> int:
        """See `Backend.parts`."""
        return len(split(text, "udh8", ref=0, most=self._settings.most_parts))

    async def send(self, sms: Outgoing) -> tuple[str, ...]:
        """See `Backend.send`; the name is that of the file."""
        name = f"{_OURS}{secrets.token_hex(8)}"
        try:
            await asyncio.to_thread(self._put, name, write(sms))
        except OSError as error:
            raise Lost(f"the spool cannot be written: {error.strerror}") from None
        except ValueError as error:
            raise NotDone(Trouble.NOT_ACCEPTABLE, str(error)) from None
        return (name,)

    # Inside: files, in a thread

    def _path(self, folder: str, name: str = "") -> Path:
        return self._settings.folder / folder / name

    def _missing(self) -> str:
        return next((name for name in _FOLDERS if not self._path(name).is_dir()), "")

    def _put(self, name: str, data: bytes) -> None:
        fresh = self._settings.folder / f".{name}"
        try:
            with fresh.open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            fresh.chmod(0o660)  # for the daemon, which has a user of its own
            fresh.rename(self._path("outgoing", name))
        except OSError:
            fresh.unlink(missing_ok=True)
            raise

    def _names(self, folder: str, prefix: str = "") -> list[str]:
        found: list[str] = []
        with os.scandir(self._path(folder)) as entries:
            for entry in entries:
                if entry.name.startswith(prefix) and entry.is_file():
                    found.append(entry.name)
                if len(found) == _MOST_FILES:
                    break
        return sorted(found)

    def _read(self, folder: str, name: str) -> bytes:
        with self._path(folder, name).open("rb") as stream:
            return stream.read(_LARGEST)

    # Inside: what came

    async def _watch(self, handler: Handler) -> None:
        while True:
            try:
                await self._look(handler)
                if not self.link.is_up:
                    self.link.up()
            except OSError as error:
                self.link.down(f"the spool cannot be read: {error.strerror}")
                _log.warning("the spool cannot be read", why=str(error))
            await asyncio.sleep(self._settings.seconds)

    async def _look(self, handler: Handler) -> None:
        for name in await asyncio.to_thread(self._names, "incoming"):
            if not name.startswith("."):
                await self._came(handler, name)
        for name in await asyncio.to_thread(self._names, "failed", _OURS):
            await self._failed(handler, name)
        await asyncio.to_thread(self._tidy)

    async def _came(self, handler: Handler, name: str) -> None:
        data = await asyncio.to_thread(self._read, "incoming", name)
        found = read(data)
        try:
            async with asyncio.timeout(_EMIT_SECONDS):
                if isinstance(found, Letter):
                    source, to = self._numbers.sender(found.source), found.destination
                    to = self._numbers.sender(to) if to else ""
                    await handler.incoming(Incoming(source, to, found.text))
                elif found is not None:
                    await self._reported(handler, found)
        except (NotTaken, TimeoutError) as error:
            if not isinstance(error, NotTaken) or not error.lasting:
                return  # it stays where it is
            _log.warning("an SMS was refused", why=str(error))
        await asyncio.to_thread(self._path("incoming", name).unlink, missing_ok=True)

    async def _reported(self, handler: Handler, report: Report) -> None:
        contact = self._numbers.sender(report.contact)
        name = await asyncio.to_thread(self._file_of, report.message_id, contact)
        if name is None:
            _log.info("a delivery report of an SMS that is not known")
            return
        await handler.receipt(Receipt(name, report.outcome, report.text, contact))
        if report.outcome is not Outcome.PENDING:
            await asyncio.to_thread(self._path("sent", name).unlink, missing_ok=True)

    async def _failed(self, handler: Handler, name: str) -> None:
        reason = read_name(await asyncio.to_thread(self._read, "failed", name), "fail_reason")
        receipt = Receipt(name, Outcome.UNDELIVERABLE, reason)
        with contextlib.suppress(NotTaken, TimeoutError):
            async with asyncio.timeout(_EMIT_SECONDS):
                await handler.receipt(receipt)
            await asyncio.to_thread(self._path("failed", name).unlink, missing_ok=True)

    def _file_of(self, message_id: str, contact: str) -> str | None:
        """Our file that the daemon sent as this message: it has written that into the file."""
        for name in reversed(self._names("sent", _OURS)):
            data = self._read("sent", name)
            to = self._numbers.sender(read_name(data, "to"))
            if read_name(data, "message_id") == message_id and to == contact:
                return name
        return None

    def _tidy(self) -> None:
        """Remove what was sent long ago: no report is to come any more."""
        for name in self._names("sent", _OURS):
            path = self._path("sent", name)
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < time.time() - _KEPT_SECONDS:
                    path.unlink()
