"""Small C libraries that stand between a process and its system, made when they are needed."""

from __future__ import annotations

import mmap
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Final

_SOURCES: Final = Path(__file__).parent
_WAIT: Final = 60.0


def missing() -> str:
    """Why nothing can be compiled here; empty where it can."""
    return "" if shutil.which("gcc") else "there is no gcc"


def build(name: str, folder: Path) -> Path:
    """Compile `name.c` of this folder to a library that LD_PRELOAD takes."""
    library = folder / f"{name}.so"
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", str(library),
         str(_SOURCES / f"{name}.c"), "-ldl", "-pthread"],
        check=True, timeout=_WAIT,
    )  # fmt: skip
    return library


class Clock:
    """A clock for other processes: the system's, and some seconds more or less.

    Args:
        folder: for the library and for the file by which it is told.

    Attributes:
        environment: variables for the processes whose clock it is.
    """

    def __init__(self, folder: Path) -> None:
        library = build("clock", folder)
        file = folder / "offset"
        file.write_bytes(bytes(8))
        with file.open("r+b") as opened:
            self._map = mmap.mmap(opened.fileno(), 8)
        self.environment = {"LD_PRELOAD": str(library), "JUMPING_CLOCK": str(file)}

    def jump(self, seconds: int) -> None:
        """Set it forward or, where this is negative, back."""
        (now,) = struct.unpack("q", self._map[:])
        self._map[:] = struct.pack("q", now + seconds)

    def close(self) -> None:
        """Let go of the file."""
        self._map.close()
