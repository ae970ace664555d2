"""The command line as a person runs it: in a process of its own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Jabberd = Callable[..., "subprocess.CompletedProcess[str]"]


def command_line(*words: str) -> list[str]:
    return [sys.executable, "-m", "jabberd.cli", *words]


def environment(tmp_path: Path, **extra: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JABBERD_")}
    return {**kept, "XDG_DATA_HOME": str(tmp_path / "share"), "COLUMNS": "200", **extra}


@pytest.fixture
def jabberd(tmp_path: Path) -> Jabberd:
    """Run `jabberd` with these words; its data folder is under `tmp_path`."""

    def run(*words: str, stdin: str = "", **extra: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command_line(*words),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=tmp_path,
            env=environment(tmp_path, **extra),
        )

    return run


async def in_thread(jabberd: Jabberd, *words: str, stdin: str = "") -> tuple[int, str, str]:
    """As `jabberd`, while the test's own loop serves."""
    done = await asyncio.to_thread(lambda: jabberd(*words, stdin=stdin))
    return done.returncode, done.stdout, done.stderr
