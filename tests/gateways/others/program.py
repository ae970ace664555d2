"""A program of somebody else, as a process with a log that tests can wait for."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import pytest

START: Final = 60.0
_STOP: Final = 3.0


class Program:
    """A process of a program.

    Args:
        folder: its working directory and home; its output goes there too.
        words: the command line.
        environment: all of it, but for the path.
        end: the signal that asks it to end.
    """

    def __init__(
        self,
        folder: Path,
        words: Sequence[str],
        environment: Mapping[str, str] | None = None,
        end: signal.Signals = signal.SIGTERM,
    ) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._words = words
        self._end = end
        self._environment = {
            "PATH": os.environ.get("PATH", ""), "HOME": str(folder), **(environment or {})
        }  # fmt: skip
        self._process: asyncio.subprocess.Process | None = None

    @property
    def log(self) -> str:
        """What it has printed since it was started last."""
        return (self._folder / "output").read_text(errors="replace")

    async def start(self, says: str = "") -> None:
        """Start it, and wait until it says this."""
        with (self._folder / "output").open("wb") as output:
            self._process = await asyncio.create_subprocess_exec(
                *self._words, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output,
                cwd=self._folder, env=self._environment,
            )  # fmt: skip
        async with asyncio.timeout(START):
            while says not in self.log:
                assert self._process.returncode is None, self.log
                await asyncio.sleep(0.02)

    async def stop(self) -> None:
        """Ask it to end, and see to it."""
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        for end in (self._end, self._end, signal.SIGKILL):
            process.send_signal(end)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), _STOP)
                return


@contextlib.asynccontextmanager
async def running(program: Program, says: str = "") -> AsyncIterator[Program]:
    """A program while it runs."""
    try:
        await program.start(says)
        yield program
    finally:
        await program.stop()


def need(*names: str) -> None:
    """Skip, or fail in continuous integration, where Debian's packages of these names miss."""
    missing = [name for name in names if not shutil.which(name, path=_path())]
    if not missing:
        return
    reason = f"not installed: apt-get install --no-install-recommends {' '.join(missing)}"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def where(name: str) -> str:
    """The path of an installed program."""
    found = shutil.which(name, path=_path())
    assert found is not None
    return found


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin"
