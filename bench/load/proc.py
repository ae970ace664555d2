"""Figures from /proc: CPU time and memory of process trees (Linux only)."""

from __future__ import annotations

import collections
import os
import socket
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_TICK: Final = os.sysconf("SC_CLK_TCK")
_PROC: Final = Path("/proc")
_ESTABLISHED: Final = "01"


def _stat(pid: int) -> tuple[int, list[int]]:
    """Parent, and utime, stime, cutime, cstime in ticks."""
    text = (_PROC / str(pid) / "stat").read_bytes()
    fields = text[text.rindex(b")") + 2 :].split()
    return int(fields[1]), [int(ticks) for ticks in fields[11:15]]


def tree(pids: Iterable[int]) -> list[int]:
    """The processes and all their living descendants."""
    children: dict[int, list[int]] = collections.defaultdict(list)
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            try:
                children[_stat(int(entry.name))[0]].append(int(entry.name))
            except (OSError, ValueError):  # it has ended meanwhile
                continue
    found: list[int] = []
    todo = list(pids)
    while todo:
        pid = todo.pop()
        if pid not in found:
            found.append(pid)
            todo += children[pid]
    return found


def name(pid: int) -> str:
    """The short name of a process; empty if it has ended."""
    try:
        return (_PROC / str(pid) / "comm").read_text().strip()
    except OSError:
        return ""


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time of process trees: every thread, and reaped children."""
    ticks = 0
    for pid in tree(pids):
        try:
            ticks += sum(_stat(pid)[1])
        except OSError:  # it has ended; its parent's cutime has its time
            continue
    return ticks / _TICK


def pss_kib(pids: Iterable[int]) -> int:
    """Proportional set size of process trees in KiB: shared pages count by their share."""
    total = 0
    for pid in tree(pids):
        try:
            lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total


def connections(port: int, addresses: Iterable[str]) -> int:
    """Established TCP connections to a port of some addresses (IPv4) of this machine."""
    wanted = {f"{_hex(address)}:{port:04X}" for address in addresses}
    lines = (_PROC / "net/tcp").read_text().splitlines()[1:]
    # The side that listened has the port as its own; the other one would count it twice.
    return sum(
        fields[1] in wanted and fields[3] == _ESTABLISHED for fields in map(str.split, lines)
    )


def _hex(address: str) -> str:
    return f"{int.from_bytes(socket.inet_aton(address), sys.byteorder):08X}"


class Meter:
    """CPU of the server and of this process, and wall clock, since it was made.

    Attributes:
        wall: seconds; this and the next two are set by `read`.
        cpu: seconds of CPU of the server's processes.
        own: seconds of CPU of this process.
    """

    def __init__(self, pids: tuple[int, ...]) -> None:
        self._pids = pids
        self._cpu = cpu_seconds(pids)
        self._own = time.process_time()
        self._start = time.perf_counter()
        self.wall = self.cpu = self.own = 0.0

    def read(self) -> None:
        """Take a reading; more than one can be taken."""
        self.wall = time.perf_counter() - self._start
        self.own = time.process_time() - self._own
        self.cpu = cpu_seconds(self._pids) - self._cpu


def calibrate() -> float:
    """CPU milliseconds of a fixed piece of work: tells runs on a slowed host apart."""
    best = float("inf")
    for _ in range(5):
        start, value = time.process_time(), 0
        for number in range(100_000):
            value += number * number % 7
        best = min(best, time.process_time() - start)
    return round(best * 1e3, 2)
