"""The data folder: made private, locked against a second process, keeper of our secrets."""

from __future__ import annotations

import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from jabberd.config.problems import StartError

_LOCK: Final = "lock"


class FolderError(StartError):
    """The data folder cannot be used; the text says why and what to do."""


class FolderInUse(FolderError):  # noqa: N818 -- a kind of FolderError, read as one
    """Another process works on it.

    Args:
        folder: the data folder.
        pid: of that process; None where it is not known.
    """

    def __init__(self, folder: Path, pid: int | None) -> None:
        who = f"process {pid}" if pid else "another process"
        super().__init__(f"the data folder {folder} is in use by {who}")
        self.pid = pid


def prepare(folder: Path) -> None:
    """Make the folder if there is none, for its owner only.

    Raises:
        FolderError: it cannot be made, is somebody else's, or others can look into it.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        facts = folder.stat()
        if facts.st_uid != os.geteuid():
            raise FolderError(f"the data folder {folder} belongs to user number {facts.st_uid}")
        if stat.S_IMODE(facts.st_mode) & 0o077:
            _tighten(folder)
    except OSError as error:
        raise FolderError(f"cannot use the data folder {folder}: {error.strerror}") from None


def _tighten(folder: Path) -> None:
    """Close a folder to others, but only one that is ours alone: never somebody's home."""
    if any(folder.iterdir()) and not (folder / _LOCK).exists():
        raise FolderError(
            f"others can look into {folder}, and it has files that are not ours: "
            f"name a folder of its own, or close this one by: chmod 700 {folder}"
        )
    folder.chmod(0o700)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Prepare the folder and hold its lock meanwhile; the system lets go when we die.

    Raises:
        FolderInUse: another process holds it.
        FolderError: as `prepare`.
    """
    prepare(folder)
    try:
        handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise FolderError(f"cannot lock the data folder {folder}: {error.strerror}") from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderInUse(folder, holder(folder)) from None
        try:
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            text = f"cannot write to the data folder {folder}: {error.strerror}"
            raise FolderError(text) from None
        yield
        os.ftruncate(handle, 0)
    finally:
        os.close(handle)


def holder(folder: Path) -> int | None:
    """The process that wrote itself into the lock last; it may be gone since."""
    try:
        text = (folder / _LOCK).read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None


def secret(folder: Path, name: str, size: int = 32) -> bytes:
    """A random secret of this server that lasts, made when first asked for (mode 0600).

    Args:
        folder: the data folder; its lock must be held.
        name: of the file under ``secrets``.
        size: in bytes.

    Raises:
        FolderError: it cannot be read or written, or has another size.
    """
    path = folder / "secrets" / name
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        if not path.exists():
            # Written aside and renamed: a crash leaves no half of a secret behind.
            fresh = path.with_suffix(".new")
            handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(handle, "wb") as stream:
                stream.write(secrets.token_bytes(size))
                stream.flush()
                os.fsync(stream.fileno())
            fresh.replace(path)
        value = path.read_bytes()
    except OSError as error:
        raise FolderError(f"cannot keep a secret in {path}: {error.strerror}") from None
    if len(value) != size:
        raise FolderError(f"{path} is damaged: it has {len(value)} bytes, expected {size}")
    return value
