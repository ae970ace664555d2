"""mcabber, a console client, in a terminal of its own; told what to do through its FIFO."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import shutil
import struct
import subprocess
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

WAIT: Final = 20.0
_PAUSE: Final = 0.02


def installed() -> str | None:
    """The program, if there is one."""
    return shutil.which("mcabber")


def _wait_until(there: Callable[[], bool], what: str = "FIFO") -> None:
    # mcabber tells nobody when it has written something: its files have to be looked at.
    until = time.monotonic() + WAIT
    while not there():
        assert time.monotonic() < until, f"no {what} within {WAIT:g} s"
        time.sleep(_PAUSE)


class Mcabber:
    """One running mcabber; it requires STARTTLS and accepts a self-signed certificate.

    Args:
        folder: its home folder, made here; its settings and logs are in it.
        jid: the account.
        password: of the account.
        address: IP address and port of the server.
    """

    def __init__(self, folder: Path, jid: str, password: str, address: tuple[str, int]) -> None:
        self._folder = folder
        self._histories = folder / "history"
        self._trace = folder / "trace"
        self._fifo = folder / "fifo"
        self._commands: int | None = None
        folder.mkdir(mode=0o700)
        settings = folder / "mcabberrc"
        settings.write_text(
            f"set jid = {jid}\n"
            f"set password = {password}\n"
            f"set server = {address[0]}\n"
            f"set port = {address[1]}\n"
            "set resource = mcabber\n"
            "set disable_random_resource = 1\n"
            "set tls = 1\n"
            "set ssl_ignore_checks = 1\n"
            "set logging = 1\n"
            f"set logging_dir = {self._histories}\n"
            "set tracelog_level = 3\n"
            f"set tracelog_file = {self._trace}\n"
            f"set fifo_name = {self._fifo}\n"
            "module load fifo\n"
        )
        settings.chmod(0o600)
        self._screen, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
        try:
            self._process = subprocess.Popen(
                [str(installed()), "-f", str(settings)],
                stdin=theirs,
                stdout=theirs,
                stderr=theirs,
                cwd=folder,
                env={
                    "PATH": os.environ.get("PATH", ""),
                    "HOME": str(folder),
                    "TERM": "xterm",
                    "LC_ALL": "C.UTF-8",
                },
                start_new_session=True,
            )
        finally:
            os.close(theirs)
        # Somebody has to read what is drawn, or it waits.
        asyncio.get_running_loop().add_reader(self._screen, self._drawn)

    def _drawn(self) -> None:
        try:
            data = os.read(self._screen, 65536)
        except OSError:  # it has closed its terminal
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._screen)

    async def command(self, line: str) -> None:
        """Give a command as if it were typed: `/say_to bob@localhost hi`."""
        if self._commands is None:
            await asyncio.to_thread(_wait_until, self._fifo.exists)
            # Opened once: mcabber opens it anew whenever the last writer leaves, and what is
            # written meanwhile is lost.
            self._commands = os.open(self._fifo, os.O_WRONLY | os.O_NONBLOCK)
        os.write(self._commands, f"{line}\n".encode())

    async def logged(self, text: str) -> None:
        """Wait until its log window, or what goes over its connection, has this text."""
        await self._appears(self._trace, text)

    async def history(self, contact: str, text: str) -> None:
        """Wait until its history of a conversation has this: messages and presence."""
        await self._appears(self._histories / contact, text)

    async def _appears(self, path: Path, text: str) -> None:
        def there() -> bool:
            return path.exists() and text in path.read_text(encoding="utf-8", errors="replace")

        await asyncio.to_thread(_wait_until, there, f"{text!r} in {path.name}")

    async def stop(self) -> None:
        """Let it log out and end; returns when it is gone."""
        if self._process.poll() is None:
            with contextlib.suppress(OSError, TimeoutError):
                await self.command("/quit")
        try:
            await asyncio.to_thread(self._process.wait, 10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        finally:
            asyncio.get_running_loop().remove_reader(self._screen)
            os.close(self._screen)
            if self._commands is not None:
                os.close(self._commands)
