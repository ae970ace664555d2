"""A DNS server of our own for servers under test (dnsmasq), each on its own loopback address."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

PORT: Final = 5269
_WAIT: Final = 10.0


def network() -> str:
    """The first three bytes of loopback addresses for one run: runs beside it have others."""
    for attempt in range(200):
        number = os.getpid() + attempt * 7
        prefix = f"127.{20 + number % 200}.{number // 200 % 250}"
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind((f"{prefix}.53", PORT))
            return prefix
    raise OSError("no loopback network is free")


class Names:
    """The DNS for one run.

    Args:
        folder: for its configuration.
        address: where it listens, on the usual port.
    """

    def __init__(self, folder: Path, address: str) -> None:
        self.address = address
        self._file = folder / "dnsmasq.conf"
        self._process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def missing() -> str:
        """What keeps it from running here; empty where nothing does."""
        if shutil.which("dnsmasq") is None and not Path("/usr/sbin/dnsmasq").exists():
            return "Debian's package dnsmasq-base is not installed"
        return "" if os.geteuid() == 0 else "only root may have a DNS server on port 53"

    def start(self, places: Mapping[str, str], more: Sequence[str] = ()) -> None:
        """Answer for these domains, each with its address and an SRV record.

        Args:
            places: addresses by domain.
            more: lines of the configuration.
        """
        lines = [
            "no-resolv",
            "no-hosts",
            "bind-interfaces",
            "keep-in-foreground",
            f"listen-address={self.address}",
            "local=/example/",
            "user=root",
            "group=root",
            *more,
        ]
        for domain, address in places.items():
            lines += [
                f"host-record={domain},127.255.255.254",  # SRV is what counts
                # An address in place of a name: ejabberd asks the system's resolver about names,
                # which cannot be told to ask here.
                f"srv-host=_xmpp-server._tcp.{domain},{address},{PORT}",
            ]
        self._file.write_text("\n".join(lines) + "\n")
        binary = shutil.which("dnsmasq") or "/usr/sbin/dnsmasq"
        self._process = subprocess.Popen(
            [binary, f"--conf-file={self._file}", "--pid-file="],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until = time.monotonic() + _WAIT
        while time.monotonic() < until:
            with contextlib.suppress(OSError):
                socket.create_connection((self.address, 53), timeout=1).close()
                return
            time.sleep(0.05)
        raise TimeoutError("dnsmasq does not start")

    def stop(self) -> None:
        """End it; it must have been there until now."""
        process, self._process = self._process, None
        if process is None:
            return
        status = process.poll()
        process.kill()
        process.wait(_WAIT)
        # Else servers could not find each other any more, and the tests would blame them.
        assert status is None, f"dnsmasq has ended before the tests: {status}"
