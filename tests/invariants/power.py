"""Simulated power cuts: what a process wrote and synced is recorded, and a disk is made of it.

The model is that of a disk with a cache behind a page cache. What was written to a file before it
was last synced is there. Of what was written after, each sector of 512 bytes has any one of the
contents that it has had since, sectors being independent of each other: writes are lost, torn, and
done out of order. A file's size is any one that it has had. What was done to names since the folder
was last synced is there up to any point, in order.
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from random import Random
from typing import Final

_SECTOR: Final = 512
_HEADER: Final = struct.Struct("<cHqq")
_MARKS: Final = "marks"
_WAIT: Final = 60.0


@dataclass(frozen=True, slots=True)
class Op:
    """One thing done to a file of the folder.

    Attributes:
        kind: "C" made, "U" removed, "R" renamed, "W" written, "T" cut, "S" synced.
        name: of the file in the folder; empty for the folder itself.
        offset: where it was written, or the size to which it was cut.
        data: what was written, or the new name.
    """

    kind: str
    name: str
    offset: int = 0
    data: bytes = b""


def record(subject: str, folder: Path, shim: Path, *, careless: bool = False) -> list[Op]:
    """Run a subject (see `power_child`) on a new folder; what it did to the disk.

    Args:
        subject: its name.
        folder: for the data and the record.
        shim: `disk.c`, compiled.
        careless: have SQLite not sync at commits, to see that the loss is seen.
    """
    data, log = folder / "data", folder / "record"
    data.mkdir()
    words = [sys.executable, "-m", "tests.invariants.power_child", subject, str(data)]
    subprocess.run(
        [*words, *(["--careless"] if careless else [])],
        check=True, timeout=_WAIT,
        env={**os.environ, "LD_PRELOAD": str(shim), "RECORDED_FOLDER": str(data),
             "RECORD": str(log)},
    )  # fmt: skip
    return list(_read(log.read_bytes(), os.path.realpath(data)))


def _read(log: bytes, folder: str) -> Iterator[Op]:
    at = 0
    while at < len(log):
        kind, path_length, offset, length = _HEADER.unpack_from(log, at)
        at += _HEADER.size
        path = log[at : at + path_length].decode()
        at += path_length
        data = log[at : at + length]
        at += length
        yield Op(kind.decode(), path[len(folder) :].lstrip("/"), offset, data)


def marks(ops: Sequence[Op]) -> list[str]:
    """What the process noted of its own progress, as lines."""
    return (
        b"".join(op.data for op in ops if op.name == _MARKS and op.kind == "W")
        .decode()
        .split("\n")[:-1]
    )


class Keep(Enum):
    """What the disk has of what was not synced."""

    NOTHING = "nothing"
    EVERYTHING = "everything"
    SOME = "some writes"
    TORN = "some sectors of writes"


@dataclass(slots=True)
class _File:
    synced: bytes = b""
    since: list[Op] = field(default_factory=list)


class Disk:
    """A folder on a disk."""

    def __init__(self) -> None:
        self._names: dict[str, _File] = {}
        self._synced: dict[str, _File] = {}
        self._renamings: list[dict[str, _File]] = []  # the names after each change since

    def apply(self, op: Op) -> None:
        """Do one thing."""
        if op.name == _MARKS:
            return
        if op.kind in "CUR":
            self._rename(op)
        elif op.kind == "S" and not op.name:
            self._synced = dict(self._names)
            self._renamings.clear()
        elif op.kind == "S":
            file = self._names[op.name]
            file.synced, file.since = _content(file, len(file.since)), []
        else:
            self._names[op.name].since.append(op)

    def _rename(self, op: Op) -> None:
        if op.kind == "C":
            self._names[op.name] = _File()
        else:
            file = self._names.pop(op.name)
            if op.kind == "R":
                self._names[Path(op.data.decode()).name] = file
        self._renamings.append(dict(self._names))

    def after_cut(self, keep: Keep, random: Random) -> dict[str, bytes]:
        """What is in the folder when the power is back."""
        states = [self._synced, *self._renamings]
        if keep is Keep.NOTHING:
            names = states[0]
        elif keep is Keep.EVERYTHING:
            names = states[-1]
        else:
            names = random.choice(states)
        return {name: _survives(file, keep, random) for name, file in names.items()}


def _content(file: _File, ops: int) -> bytes:
    """A file after so many of the things done to it since it was synced."""
    content = bytearray(file.synced)
    for op in file.since[:ops]:
        _do(content, op)
    return bytes(content)


def _do(content: bytearray, op: Op) -> None:
    if op.kind == "T":
        del content[op.offset :]
        content.extend(bytes(op.offset - len(content)))
    else:
        content.extend(bytes(max(0, op.offset - len(content))))
        content[op.offset : op.offset + len(op.data)] = op.data


def _survives(file: _File, keep: Keep, random: Random) -> bytes:
    if keep is Keep.NOTHING or not file.since:
        return file.synced
    if keep is Keep.EVERYTHING:
        return _content(file, len(file.since))
    kept = [random.random() < 0.5 for _ in file.since]
    content = bytearray(file.synced)
    sizes = [len(content)]
    chosen: dict[int, bytes] = {}  # by sector
    versions: dict[int, int] = {}
    for op, is_kept in zip(file.since, kept, strict=True):
        before = len(content)
        _do(content, op)
        if keep is Keep.TORN or is_kept:
            sizes.append(len(content))
        for sector in _touched(op, before):
            # The page cache has the whole sector: what is kept has what came before as well.
            versions[sector] = versions.get(sector, 1) + 1
            take = is_kept if keep is Keep.SOME else random.random() < 1 / versions[sector]
            if take:
                chosen[sector] = bytes(content[sector * _SECTOR : (sector + 1) * _SECTOR])
    size = sizes[-1] if keep is Keep.SOME else random.choice(sizes)
    disk = bytearray(file.synced.ljust(max(len(file.synced), size), b"\0"))
    for sector, data in chosen.items():
        start = sector * _SECTOR
        disk.extend(bytes(max(0, start + _SECTOR - len(disk))))
        disk[start : start + _SECTOR] = data.ljust(_SECTOR, b"\0")
    return bytes(disk[:size])


def _touched(op: Op, before: int) -> range:
    """The sectors that an operation changes, in a file that had this size before."""
    end = max(before, op.offset) if op.kind == "T" else op.offset + len(op.data)
    start = min(op.offset, before)
    return range(start // _SECTOR, -(-end // _SECTOR))


@dataclass(frozen=True, slots=True)
class Cut:
    """The power is cut.

    Attributes:
        at: before which operation.
        keep: what the disk has of what was not synced.
        files: what is in the folder when the power is back.
        marks: what the process had noted by then.
    """

    at: int
    keep: Keep
    files: dict[str, bytes]
    marks: list[str]


def cuts(ops: Sequence[Op], random: Random, most: int) -> Iterator[Cut]:
    """Cut the power at some of the moments that matter: at syncs and when calls have returned."""
    matter = [
        place
        for number, op in enumerate(ops)
        for place in (number, number + 1)
        if op.kind == "S" or (op.name == _MARKS and place > number)
    ]
    anywhere = [random.randrange(len(ops) + 1) for _ in range(most // 4)]
    places = {*random.sample(matter, min(most - len(anywhere), len(matter))), *anywhere}
    disk = Disk()
    for number, op in enumerate((*ops, Op("S", ""))):
        if number in places:
            for keep in (Keep.NOTHING, random.choice((Keep.EVERYTHING, Keep.SOME)), Keep.TORN):
                yield Cut(number, keep, disk.after_cut(keep, random), marks(ops[:number]))
        disk.apply(op)
