"""jabberd in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from jabberd.config import load
from jabberd.core.accounts import AccountService
from jabberd.core.derive import Deriver
from jabberd.storage.api import Account
from jabberd.storage.open import open_stores
from tests.hostile.kit import PASSWORD, WAIT

USERS: Final = ("watcher", "alice", "bob", "carol", *(f"user{number}" for number in range(40)))
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_LISTENS: Final = re.compile(r"(clients \((?:STARTTLS|TLS)\)): 127\.0\.0\.1:(\d+)")


class Server:
    """`jabberd run` in a process of its own.

    Args:
        folder: for its configuration, log and data.
        settings: TOML that is added to the configuration.
        data: the data folder; under `folder` unless given.
        prepare: run in the child before it becomes the server (limits of the process).

    Attributes:
        data: the data folder.
        port: for clients, with STARTTLS.
        tls_port: for clients, with TLS at once.
    """

    def __init__(
        self,
        folder: Path,
        settings: str = "",
        *,
        data: Path | None = None,
        prepare: Callable[[], None] | None = None,
    ) -> None:
        self.data = data or folder / "data"
        self.config = folder / "jabberd.toml"
        self._log = folder / "log"
        self._seen = 0
        self._prepare = prepare
        self.port = self.tls_port = 0
        listen = (
            '[listen]\nc2s = ["127.0.0.1:0"]\nc2s_tls = ["127.0.0.1:0"]\nhttp = []\nhttps = []\n'
        )
        if "[listen]" in settings:
            listen = ""
        self.config.write_text(f'data = "{self.data}"\n{listen}{settings}')
        self._process: subprocess.Popen[str] | None = None

    @property
    def process(self) -> subprocess.Popen[str]:
        """The process, once started."""
        assert self._process is not None
        return self._process

    def populate(self) -> None:
        """Make the accounts, before the first start."""
        asyncio.run(_populate(self.config))

    def start(self) -> Server:
        """Start it, and wait until it listens."""
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                command("run", "--config", str(self.config)),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                preexec_fn=self._prepare,  # noqa: PLW1509 -- this process has no threads
                env=environment(),
            )
        ports: dict[str, int] = {}
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if found := _LISTENS.search(line):
                ports[found[1]] = int(found[2])
            if line.startswith("  data:"):
                break
        assert self.process.poll() is None, self._log.read_text()
        self.port, self.tls_port = ports["clients (STARTTLS)"], ports["clients (TLS)"]
        return self

    def stop(self) -> None:
        """End it as an operator does; it must obey."""
        if self._process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            assert self.process.wait(30) == 0
        finally:
            self.process.kill()
            assert self.process.stdout is not None
            self.process.stdout.close()

    def new_log(self) -> list[dict[str, object]]:
        """The entries since the last call; each must be one line of JSON that is safe to show."""
        text = self._log.read_text()[self._seen :]
        text = text[: text.rfind("\n") + 1]
        self._seen += len(text)
        entries = []
        for line in text.splitlines():
            assert not _CONTROL.search(line), f"control characters in the log: {line!r}"
            assert line.startswith("{"), f"not a log entry: {line!r}"
            entries.append(json.loads(line))
            assert not _CONTROL.search(str(entries[-1].get("event"))), line
        return entries

    def check(self, expected: Iterable[str] = ()) -> list[dict[str, object]]:
        """It is the same process, and its log tells of no fault of its own.

        Args:
            expected: beginnings of events of level error that this case is about.
        """
        assert self.process.poll() is None, f"the server is gone: {self._log.read_text()}"
        entries = self.new_log()
        for entry in entries:
            assert not {"exception", "exc_info", "stack"} & entry.keys(), entry
            assert "Traceback" not in str(entry), entry
            if entry["level"] in {"error", "critical"}:
                assert str(entry["event"]).startswith(tuple(expected)), entry
        return entries

    def cpu(self) -> float:
        """Seconds of processor time that it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def jabberd(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run an administration command against it."""
        return run_jabberd(*words, "--config", str(self.config))


async def _populate(config: Path) -> None:
    loaded = load(config, environ={})
    stores = await open_stores(loaded.storage, data=loaded.data)
    deriver = Deriver()
    service = AccountService(stores, deriver, loaded.host, now=time.time)
    keys = await service.keys(PASSWORD)
    for name in USERS:
        await stores.accounts.create(Account(f"{name}@localhost", keys, 0.0))
    deriver.close()
    await stores.close()


def command(*words: str) -> list[str]:
    """`jabberd`, as this Python runs it."""
    return [sys.executable, "-m", "jabberd.cli", *words]


def environment() -> dict[str, str]:
    """Of the child: nothing of the caller's that means something to jabberd."""
    return {name: value for name, value in os.environ.items() if not name.startswith("JABBERD_")}


def run_jabberd(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        command(*words), capture_output=True, text=True, timeout=60, check=False, env=environment()
    )


@contextmanager
def running(server: Server) -> Iterator[Server]:
    """A server with accounts, until the end of the block."""
    server.populate()
    try:
        yield server.start()
    finally:
        server.stop()


def until(done: Callable[[], bool], seconds: float = WAIT) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
