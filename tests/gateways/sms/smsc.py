"""A real SMSC to talk to, as a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

WAIT: Final = 20.0
Said = dict[str, Any]


def install(folder: Path) -> Path:
    """The npm package smpp; skips the test where it cannot be had."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    done = subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), "smpp@0.5.1"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"npm cannot install smpp: {done.stderr[-300:]}")
    return folder / "node_modules"


class Smsc:
    """One SMSC.

    Args:
        process: it.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._seen: list[Said] = []
        self._news = asyncio.Event()
        self._reading = asyncio.create_task(self._read())
        self.port = 0

    @classmethod
    async def start(cls, command: Sequence[str], env: dict[str, str]) -> Smsc:
        """Start one, and wait until it listens."""
        process = await asyncio.create_subprocess_exec(
            *command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env
        )
        smsc = cls(process)
        smsc.port = (await smsc.happened("listening"))["port"]
        return smsc

    async def tell(self, do: str, **what: Any) -> None:
        """Have it do something."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **what}).encode() + b"\n")
        await self._process.stdin.drain()

    async def happened(self, on: str, wants: Callable[[Said], bool] = lambda _: True) -> Said:
        """Wait until something happens there; it is returned once."""
        async with asyncio.timeout(WAIT):
            while True:
                for said in self._seen:
                    if said["on"] == on and wants(said):
                        self._seen.remove(said)
                        return said
                self._news.clear()
                await self._news.wait()

    def all(self, on: str) -> list[Said]:
        """What has happened there and was not asked for yet."""
        return [said for said in self._seen if said["on"] == on]

    async def kill(self) -> None:
        """Let it die without a word."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await self._reading

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            self._seen.append(json.loads(line))
            self._news.set()


@contextlib.asynccontextmanager
async def running(modules: Path, **options: Any) -> AsyncIterator[Smsc]:
    """An SMSC of the npm package."""
    smsc = await start(modules, **options)
    try:
        yield smsc
    finally:
        await smsc.kill()


async def start(modules: Path, **options: Any) -> Smsc:
    """An SMSC of the npm package, to be killed by whoever asked for it."""
    node = shutil.which("node") or ""
    script = str(Path(__file__).with_name("smsc.js"))
    return await Smsc.start([node, script, json.dumps(options)], {"NODE_PATH": str(modules)})
