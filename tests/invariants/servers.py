"""Servers to be tested, each a process with a folder that outlives it: jabberd and Prosody."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from jabberd.config import load
from jabberd.core.accounts import AccountService
from jabberd.core.derive import Deriver
from jabberd.storage.api import Account
from jabberd.storage.open import open_stores
from tests.integration import process
from tests.invariants.stream import DOMAIN, PASSWORD
from tests.ports import free_port
from tests.scripts.stages import installed

_WAIT: Final = 30.0


class Server(ABC):
    """A server with accounts, its clients without TLS on a port of 127.0.0.1.

    Its methods wait for the process and so must not be called on an event loop, except `shoot`.

    Args:
        folder: for everything that it keeps.
        environment: variables for the process, added to the usual ones.

    Attributes:
        folder: see there.
        port: where it listens; another one at each start.
    """

    name: str

    def __init__(self, folder: Path, environment: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.port = 0
        self._environment = environment or {}

    @abstractmethod
    def prepare(self, accounts: Sequence[str]) -> None:
        """Write the configuration and make the accounts, before the first start."""

    @abstractmethod
    def start(self) -> None:
        """Start it; returns when it accepts connections."""

    @abstractmethod
    def shoot(self) -> None:
        """Send SIGKILL, and return at once."""

    @abstractmethod
    def kill(self) -> None:
        """Send SIGKILL, and wait for the end."""

    @abstractmethod
    def stop(self) -> None:
        """Send SIGTERM, and wait for the end."""

    def complaints(self) -> list[str]:
        """What it wrote into its log that no server should."""
        return []

    def fill(self) -> None:
        """Let its database have no room to grow."""
        raise NotImplementedError

    def free(self) -> None:
        """Undo `fill`."""
        raise NotImplementedError

    def lock(self) -> None:
        """Hold its database as another process would."""
        raise NotImplementedError

    def unlock(self) -> None:
        """Undo `lock`."""
        raise NotImplementedError


class Jabberd(Server):
    """jabberd as people run it, on SQLite.

    Args:
        folder: for everything that it keeps.
        environment: variables for the process, added to the usual ones.
        settings: TOML that is added to its configuration.
    """

    name = "jabberd"

    def __init__(
        self, folder: Path, environment: dict[str, str] | None = None, settings: str = ""
    ) -> None:
        super().__init__(folder, environment)
        self._settings = settings
        self._program = process.Jabberd(folder)
        self._program.environment |= self._environment
        self._server: process.Server | None = None
        self._other: sqlite3.Connection | None = None

    def prepare(self, accounts: Sequence[str]) -> None:
        """Write the configuration and make the accounts, before the first start."""
        config = self.folder / "jabberd.toml"
        config.write_text(
            'data = "data"\n[listen]\nc2s = ["127.0.0.1:0"]\nc2s_tls = []\nhttp = []\nhttps = []\n'
            f"[limits]\nconnections_per_address = 2000\n{self._settings}"
        )
        asyncio.run(_populate(config, accounts))

    def start(self) -> None:
        """Start it; returns when it accepts connections."""
        self._server = self._program.start("run", "--config", "jabberd.toml")
        self.port = self._server.port

    def shoot(self) -> None:
        """Send SIGKILL, and return at once."""
        self._running.signal(signal.SIGKILL)

    def kill(self) -> None:
        """Send SIGKILL, and wait for the end."""
        server, self._server = self._running, None
        server.signal(signal.SIGKILL)
        server.ended()

    def stop(self) -> None:
        """Send SIGTERM, and wait for the end, which must be a good one."""
        if self._server is not None:
            server, self._server = self._server, None
            server.signal(signal.SIGTERM)
            try:
                assert server.ended() == 0
            finally:
                server.kill()

    @property
    def _running(self) -> process.Server:
        assert self._server is not None
        return self._server

    def complaints(self) -> list[str]:
        """Errors and tracebacks."""
        found = []
        for path in sorted(self.folder.glob("err-*")):
            for line in path.read_text().splitlines():
                with suppress(ValueError):
                    if json.loads(line).get("level") not in {"error", "critical"}:
                        continue
                found.append(line)
        return found

    def fill(self) -> None:
        """Let its database have no room to grow: its write-ahead log must not (EFBIG)."""
        largest = (self.folder / "data" / "jabberd.sqlite-wal").stat().st_size
        resource.prlimit(
            self._running.pid, resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY)
        )

    def free(self) -> None:
        """Undo `fill`."""
        unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(self._running.pid, resource.RLIMIT_FSIZE, unlimited)

    def lock(self) -> None:
        """Hold its database as another process would."""
        file = self.folder / "data" / "jabberd.sqlite"
        self._other = sqlite3.connect(
            file, isolation_level=None, check_same_thread=False, timeout=10
        )
        self._other.execute("BEGIN IMMEDIATE")

    def unlock(self) -> None:
        """Undo `lock`."""
        if self._other is not None:
            self._other.execute("ROLLBACK")
            self._other.close()
            self._other = None


async def _populate(config: Path, accounts: Sequence[str]) -> None:
    loaded = load(config, environ={})
    stores = await open_stores(loaded.storage, data=loaded.data)
    deriver = Deriver()
    service = AccountService(stores, deriver, loaded.host, now=time.time)
    keys = await service.keys(PASSWORD)
    for name in accounts:
        await stores.accounts.create(Account(f"{name}@{DOMAIN}", keys, 0.0))
    deriver.close()
    await stores.close()


# Sessions that are away for longer than this many seconds are not to be resumed.
_PROSODY_HIBERNATION: Final = 4
_PROSODY: Final = """\
pidfile = "{folder}/prosody.pid"
data_path = "{folder}/data"
run_as_root = true
daemonize = false
interfaces = {{ "127.0.0.1" }}; local_interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {port} }}; c2s_direct_tls_ports = {{}}
s2s_ports = {{}}; http_ports = {{}}; https_ports = {{}}
c2s_require_encryption = false
authentication = "internal_plain"
storage = "internal"
storage_archive_item_limit = 1000000
smacks_hibernation_time = {hibernation}
archive_expires_after = "never"
log = {{ {{ levels = {{ min = "warn" }}, to = "file", filename = "{folder}/log" }} }}
modules_enabled = {{ "roster"; "saslauth"; "disco"; "ping"; "posix"; "smacks"; "mam"; "carbons"; "csi" }}
modules_disabled = {{ "s2s"; "limits"; "tls" }}
VirtualHost "localhost"
"""  # noqa: E501 -- a list of modules is one line of Lua


class Prosody(Server):
    """Prosody of Debian's package, with its default storage (files)."""

    name = "prosody"
    _process: subprocess.Popen[bytes] | None = None

    def prepare(self, accounts: Sequence[str]) -> None:
        """Make the accounts, before the first start."""
        (self.folder / "certs").mkdir()  # it complains where there is none
        folder = self.folder / "data" / DOMAIN / "accounts"
        folder.mkdir(parents=True)
        for name in accounts:
            (folder / f"{name}.dat").write_text(f'return {{ ["password"] = "{PASSWORD}" }};\n')

    def start(self) -> None:
        """Start it on a port of its own choice; returns when it accepts connections."""
        program = installed()
        assert program is not None, "Debian's package prosody is not installed"
        until = time.monotonic() + _WAIT
        while time.monotonic() < until:
            self.port = free_port()
            config = self.folder / "prosody.cfg.lua"
            config.write_text(
                _PROSODY.format(
                    folder=self.folder, port=self.port, hibernation=_PROSODY_HIBERNATION
                )
            )
            with (self.folder / "output").open("ab") as output:
                self._process = subprocess.Popen(
                    [program, "--config", str(config), "-F"],
                    stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=self.folder,
                    env={**os.environ, "HOME": str(self.folder), **self._environment},
                )  # fmt: skip
            if self._listens(until):
                return
            self.kill()
        raise AssertionError((self.folder / "log").read_text())

    def _listens(self, until: float) -> bool:
        while time.monotonic() < until and self._running.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return True
            time.sleep(0.02)
        return False

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def shoot(self) -> None:
        """Send SIGKILL, and return at once."""
        self._running.kill()

    def kill(self) -> None:
        """Send SIGKILL, and wait for the end."""
        self._running.kill()
        self._running.wait(_WAIT)

    def stop(self) -> None:
        """Send SIGTERM, and wait for the end."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_WAIT)
        except subprocess.TimeoutExpired:
            self.kill()

    def complaints(self) -> list[str]:
        """Its errors."""
        log = self.folder / "log"
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        return [line for line in lines if "error" in line]


SERVERS: Final = {"jabberd": Jabberd, "prosody": Prosody}


def available(name: str) -> str:
    """Why this server cannot be started here; empty where it can."""
    if name == "prosody" and (installed() is None or shutil.which("prosody") is None):
        return "Debian's package prosody is not installed"
    return ""
