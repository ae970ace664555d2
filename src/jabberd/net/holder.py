"""Why an address cannot be bound, in words: who has the port already."""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

_LISTENING = "0A"
_PROC = Path("/proc")
_COLUMNS = 10
_WILDCARDS = {"00000000", "0" * 32}


class BindError(Exception):
    """An address could not be bound; the message says which, why, and who has it.

    Attributes:
        host: the address.
        port: the port.
        errno: the operating system's error number.
    """

    def __init__(self, host: str, port: int, error: OSError) -> None:
        self.host = host
        self.port = port
        self.errno = error.errno or 0
        super().__init__(f"cannot listen on {where(host, port)}: {_why(host, port, error)}")


def where(host: str, port: int) -> str:
    """An address and port as one writes them: IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _why(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        holder = who_listens(host, port)
        return (
            f"the port is taken by {holder}" if holder else "the port is taken by another process"
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return "permission denied (ports below 1024 need a privilege)"
    if error.errno in (errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT) and ":" in host:
        return "this machine has no IPv6; 0.0.0.0 stands for all of its IPv4 addresses"
    if error.errno == errno.EADDRNOTAVAIL:
        return "this machine has no such address"
    return error.strerror or str(error)


def who_listens(host: str, port: int) -> str | None:
    """Which process listens on a port, as "name (process 123)"; None where it cannot be seen.

    Only Linux tells, and only of processes that we may look into. A process on the same
    address goes before one on another.
    """
    inodes = _inodes(host, port)
    for process in _processes() if inodes else ():
        with suppress(OSError):
            if _has(process, inodes):
                return _name(process)
    return None


def ours(port: int) -> bool:
    """Whether this process listens on a port by IPv4; False on systems that do not tell."""
    inodes = _listeners("net/tcp", port)
    with suppress(OSError):
        return bool(inodes) and _has(_PROC / "self", inodes)
    return False


def _has(process: Path, inodes: Collection[str]) -> bool:
    """Whether a process has one of these sockets.

    Raises:
        OSError: we may not look into it, or it is gone.
    """
    with os.scandir(process / "fd") as descriptors:
        for descriptor in descriptors:
            with suppress(OSError):
                if _inode(str(Path(descriptor.path).readlink())) in inodes:
                    return True
    return False


def _processes() -> list[Path]:
    return [path for path in _PROC.iterdir() if path.name.isdecimal()]


def _inode(target: str) -> str:
    """The inode in "socket:[123]"; empty for other things."""
    return target[8:-1] if target.startswith("socket:[") else ""


def _name(process: Path) -> str:
    name = (process / "comm").read_text(errors="replace").strip()
    printable = "".join(letter if letter.isprintable() else "?" for letter in name)
    return f"{printable} (process {process.name})"


def _inodes(host: str, port: int) -> set[str]:
    """The sockets that listen on this port and can be in the way of this address."""
    found = {**_listeners("net/tcp", port), **_listeners("net/tcp6", port)}
    wanted = _kernel_form(host)
    exact = {inode for inode, address in found.items() if address == wanted}
    wide = {inode for inode, address in found.items() if address in _WILDCARDS}
    return exact or wide or set(found)


def _listeners(table: str, port: int) -> dict[str, str]:
    """The sockets of one table that listen on this port: inode and address."""
    found: dict[str, str] = {}
    with suppress(OSError):
        for line in (_PROC / table).read_text().splitlines()[1:]:
            columns = line.split()
            if len(columns) < _COLUMNS or columns[3] != _LISTENING:
                continue
            address, _, hexport = columns[1].rpartition(":")
            if int(hexport, 16) == port:
                found[columns[9]] = address
    return found


def _kernel_form(host: str) -> str:
    """An address as /proc/net/tcp writes it: 32-bit words in the machine's own byte order."""
    packed = socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
    words = (packed[i : i + 4] for i in range(0, len(packed), 4))
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words)
