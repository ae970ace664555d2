"""Uploaded files of one host: in folders by the day on which they may go.

::

    partial/<token>            under way; nothing of it is served, and a start removes it
    20270131/<token>           whole; goes when that day (UTC) is over
    20270131/<token>.json      what is known of it
    kept/<token>               goes with its account only

A file's token begins with its folder's name, so a file is found without a database, and what is old
is found without looking at what is not. Everything here blocks: call it in a thread.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

KEPT: Final = "kept"
_PARTIAL: Final = "partial"
_FACTS: Final = ".json"
_TOKEN: Final = re.compile(rf"({KEPT}|[0-9]{{8}})-[0-9a-f]{{40}}")
_DAY: Final = re.compile("[0-9]{8}")


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What is known of a file.

    Attributes:
        owner: the bare JID, or the domain of a component, that it belongs to.
        name: for people; never a path.
        type: its media type; empty where nobody said.
        size: in bytes.
        at: when it was complete, seconds since the epoch.
        expires: when it is served no more; None: when its owner goes.
    """

    owner: str
    name: str
    type: str
    size: int
    at: float
    expires: float | None


def token_of(expires: float | None, random: str) -> str:
    """The token of a file.

    Args:
        expires: as in `FileFacts`.
        random: 160 unpredictable bits, as 40 hexadecimal digits.
    """
    bucket = KEPT if expires is None else f"{datetime.fromtimestamp(expires, UTC):%Y%m%d}"
    return f"{bucket}-{random}"


def is_token(text: str) -> bool:
    """Whether this may be a token; nothing else ever becomes part of a path."""
    return _TOKEN.fullmatch(text) is not None


class Files:
    """The files of one host.

    Args:
        folder: of the host; made when it is needed.
        durable: a file that is kept survives a power cut.
    """

    def __init__(self, folder: Path, *, durable: bool) -> None:
        self._folder = folder
        self._durable = durable

    def prepare(self) -> None:
        """Make the folder, and remove what was under way when the last process ended.

        Raises:
            OSError: it cannot be made or emptied.
        """
        partial = self._folder / _PARTIAL
        partial.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in partial.iterdir():
            left.unlink()

    def begin(self, token: str) -> int:
        """Open a new partial file; returns its descriptor.

        Raises:
            OSError: there is no room, or the folder is gone.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        return os.open(self._folder / _PARTIAL / token, flags, 0o600)

    def describe(self, token: str, handle: int, facts: FileFacts) -> None:
        """Bring a partial file to the disk, and what is known of it; it is not served yet.

        Raises:
            OSError: there is no room.
        """
        os.utime(handle, (facts.at, facts.at))
        folder = self._path(token).parent
        folder.mkdir(mode=0o700, exist_ok=True)
        with (folder / (token + _FACTS)).open("w", encoding="utf-8") as stream:
            json.dump(asdict(facts), stream)
            stream.flush()
            if self._durable:
                os.fsync(stream.fileno())
                os.fsync(handle)

    def keep(self, token: str) -> None:
        """Make a partial file one that is served.

        Raises:
            OSError: it is not there.
        """
        path = self._path(token)
        (self._folder / _PARTIAL / token).replace(path)
        if self._durable:
            for folder in (path.parent, self._folder):
                self._sync(folder)

    def abandon(self, token: str) -> None:
        """Remove a partial file, and what was said of it."""
        for path in (self._folder / _PARTIAL / token, self._path(token).with_suffix(_FACTS)):
            with contextlib.suppress(OSError):
                path.unlink()

    def find(self, token: str) -> tuple[Path, FileFacts] | None:
        """A whole file; None where there is none of this token."""
        if not is_token(token):
            return None
        path = self._path(token)
        facts = self._facts(path) if path.exists() else None
        return None if facts is None else (path, facts)

    def size_and_time(self, token: str) -> tuple[int, float] | None:
        """How large a whole file is, and when it was written; None where there is none."""
        if not is_token(token):
            return None
        try:
            found = self._path(token).stat()
        except OSError:
            return None
        return found.st_size, found.st_mtime

    def remove(self, token: str) -> int:
        """Remove a whole file; returns how large it was, 0 where there was none."""
        if not is_token(token):
            return 0
        path = self._path(token)
        try:
            size = path.stat().st_size
            path.unlink()
        except OSError:
            size = 0
        with contextlib.suppress(OSError):
            path.with_suffix(_FACTS).unlink()
        return size

    def total(self) -> int:
        """How many bytes all files have that are whole."""
        names = (path.name for folder in self._buckets() for path in folder.iterdir())
        found = (self.size_and_time(name) for name in names)  # some may go meanwhile
        return sum(facts[0] for facts in found if facts is not None)

    def old(self, now: float, limit: int) -> list[tuple[str, str]]:
        """Tokens and owners of files whose day is over, and no more than `limit` of them.

        A folder that has none left is removed on the way.
        """
        today = f"{datetime.fromtimestamp(now, UTC):%Y%m%d}"
        found: list[tuple[str, str]] = []
        for folder in self._buckets():
            if not _DAY.fullmatch(folder.name) or folder.name >= today:
                continue
            tokens = [path for path in folder.iterdir() if is_token(path.name)]
            if not tokens:
                shutil.rmtree(folder, ignore_errors=True)
            for path in tokens[: limit - len(found)]:
                facts = self._facts(path)
                found.append((path.name, facts.owner if facts else ""))
            if len(found) >= limit:
                break
        return found

    def _buckets(self) -> Iterator[Path]:
        if self._folder.is_dir():
            for folder in sorted(self._folder.iterdir()):
                if folder.name != _PARTIAL and folder.is_dir():
                    yield folder

    def _path(self, token: str) -> Path:
        return self._folder / token.partition("-")[0] / token

    def _facts(self, path: Path) -> FileFacts | None:
        try:
            text = path.with_suffix(_FACTS).read_text(encoding="utf-8")
            return FileFacts(**json.loads(text))
        except (OSError, ValueError, TypeError):  # gone meanwhile, or damaged
            return None

    def _sync(self, folder: Path) -> None:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
