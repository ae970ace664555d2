"""What all servers have in common: a process of our own on loopback ports."""

from __future__ import annotations

import abc
import contextlib
import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

DOMAIN: Final = "bench.test"
_START_DEADLINE: Final = 60.0
_STOP_DEADLINE: Final = 30.0
_REST: Final = 2.0
"""Seconds after the port is open, for what a server still does then."""


class ServerError(Exception):
    """A server cannot be run here, or does not start."""


@dataclass(frozen=True, slots=True)
class Setting:
    """Where a server works.

    Attributes:
        folder: of its own, empty at first.
        port: free, as are the two after it; below the ephemeral ports.
        certificate: PEM file with the certificate.
        key: PEM file with its key.
    """

    folder: Path
    port: int
    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Mode:
    """What a server does in a run.

    Attributes:
        busy_wait: it may poll for work where its virtual machine does so by default.
        managed: stream management, carbons and client states are offered.
        archive: messages are archived for both sides.
        search: the archive has a full-text index, where the server has such a thing.
    """

    busy_wait: bool = True
    managed: bool = False
    archive: bool = False
    search: bool = False


class Server(abc.ABC):
    """A server that can be started and stopped again.

    Args:
        setting: where it works.

    Attributes:
        name: on the command line and in the table.
        promise: what its acknowledgement of a message says, and how that is known.
        sqlite: everything is kept in SQLite, not in the default store.
    """

    name: ClassVar[str]
    promise: ClassVar[str]
    sqlite: ClassVar[bool] = False

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.state = setting.folder / "state"
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    @abc.abstractmethod
    def version(cls) -> str:
        """The version of it that is installed.

        Raises:
            ServerError: it is not installed, or cannot be run by this user.
        """

    @abc.abstractmethod
    def configure(self, mode: Mode) -> None:
        """Write the configuration; data belong into `state`."""

    @abc.abstractmethod
    def command(self) -> Sequence[str]:
        """What runs it in the foreground."""

    def environment(self) -> Mapping[str, str]:
        """The environment for it."""
        return os.environ

    @property
    def log(self) -> Path:
        """What it printed."""
        return self.setting.folder / "output.log"

    def last_words(self) -> str:
        """The end of the log."""
        return self.log.read_text(errors="replace")[-1500:] if self.log.exists() else ""

    @property
    def pid(self) -> int:
        """The root of its process tree.

        Raises:
            ServerError: it does not run.
        """
        if self._process is None:
            raise ServerError(f"{self.name} does not run")
        return self._process.pid

    def main_pid(self) -> int:
        """The process that is asked to end; the root unless that is a mere wrapper."""
        return self.pid

    def start(self, mode: Mode, state: Path) -> None:
        """Start it and wait until it accepts connections.

        Args:
            mode: what it has to do.
            state: the folder of its data, below that of the server; made where there is none.

        Raises:
            ServerError: it does not come up.
        """
        self.state = state
        state.mkdir(parents=True, exist_ok=True)
        self.configure(mode)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                env=dict(self.environment()),
                cwd=self.setting.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=raise_descriptors,  # noqa: PLW1509 -- this program has no threads
            )
        end = time.monotonic() + _START_DEADLINE
        while not (self._accepts() and self.ready()):
            if self._process.poll() is not None or time.monotonic() > end:
                self.stop()
                raise ServerError(f"{self.name} did not start:\n{self.last_words()}")
            time.sleep(0.1)
        time.sleep(_REST)

    def ready(self) -> bool:
        """Whether it can serve those whom it accepts."""
        return True

    def _accepts(self) -> bool:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.setting.port), timeout=1).close()
            return True
        return False

    def fill(self, count: int, state: Path) -> None:  # noqa: ARG002 -- most servers cannot
        """Put messages into the archives of the first two accounts, past the network.

        Args:
            count: of messages that the first one sent to the second one.
            state: the folder of its data; the server does not run.

        Raises:
            ServerError: this server cannot be filled.
        """
        raise ServerError(f"the archive of {self.name} can only be filled over the wire")

    def stop(self) -> None:
        """Stop it, by force if it does not end by itself."""
        process, main = self._process, self.main_pid() if self._process else 0
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(main, signal.SIGTERM)
        try:
            process.wait(_STOP_DEADLINE)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(_STOP_DEADLINE)
        self._process = None


def raise_descriptors() -> None:
    """Let this process, and those that it starts, have as many files open as the system allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def package_version(package: str) -> str:
    """The version of an installed Debian package; empty if there is none."""
    try:
        shown = subprocess.run(
            ["dpkg-query", "--show", "--showformat=${Version}", package],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return ""
    return shown.stdout.strip() if shown.returncode == 0 else ""


def free_ports(start: int, count: int) -> int:
    """The first of `count` free ports in a row, from `start` on, below the ephemeral ones.

    Raises:
        ServerError: there are none.
    """
    for first in range(start, 32768 - count, count):
        if all(_is_free(first + offset) for offset in range(count)):
            return first
    raise ServerError(f"no {count} free ports between {start} and 32767")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate with an ECDSA P-256 key, and the key.

    Raises:
        ServerError: there is no openssl command.
    """
    certificate, key = folder / "cert.pem", folder / "key.pem"
    names = f"subjectAltName=DNS:{DOMAIN},DNS:conference.{DOMAIN}"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt"]
    command += ["ec_paramgen_curve:prime256v1", "-nodes", "-days", "30", "-keyout", str(key)]
    command += ["-out", str(certificate), "-subj", f"/CN={DOMAIN}", "-addext", names]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        raise ServerError(f"openssl could not make a certificate: {error}") from error
    # ejabberd runs as another user; the key is worth nothing.
    key.chmod(0o644)
    return certificate, key
