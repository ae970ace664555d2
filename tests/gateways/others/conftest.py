"""slidge in a virtual environment of its own: its licence keeps it apart from the server."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

_VERSION: Final = "0.4.2"
_INSTALL_SECONDS: Final = 300.0


def _cache() -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return base / "jabberd-tests" / f"slidge-{_VERSION}-python{python}"


@pytest.fixture(scope="session")
def slidge() -> Path:
    """The Python that has slidge; installed once, and kept for the next run."""
    folder = _cache()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run may be installing it
        if not (folder / "installed").exists():
            _install(folder)
    return folder / "bin" / "python"


def _install(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True)
    command = [
        str(folder / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check",
        "--no-input", "--retries", "1", "--only-binary", ":all:", f"slidge=={_VERSION}",
    ]  # fmt: skip
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"slidge {_VERSION} could not be installed: the registry is too slow")
    if "connection broken" in done.stderr:
        pytest.skip(f"slidge {_VERSION} could not be installed: the registry cannot be reached")
    assert done.returncode == 0, done.stderr
    (folder / "installed").touch()
