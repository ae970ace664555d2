"""Ports on loopback for servers of tests that have to be told one."""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Iterator
from typing import Final

# Below what the system gives to those who ask for any port, or an outgoing connection may have it.
_FIRST: Final = 20_000
_SHARE: Final = 6_000


def _candidates() -> Iterator[int]:
    """The ports of this worker of pytest-xdist: no other looks among them."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
    first = _FIRST + _SHARE * (int(worker.removeprefix("gw")) % 2)
    # From some other one each time: a run that was stopped may have left servers behind.
    begin = int.from_bytes(os.urandom(2), "big") % _SHARE
    return itertools.cycle(first + (begin + number) % _SHARE for number in range(_SHARE))


_PORTS: Final = _candidates()


def free_port() -> int:
    """A port that nobody uses, by TCP or UDP; none is given twice until all were."""
    for _ in range(_SHARE):
        port = next(_PORTS)
        try:
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                with socket.socket(type=kind) as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return port
    raise OSError("no port is free")
