"""What tests of several folders share: a throwaway PostgreSQL cluster from Debian's packages."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

_START_SECONDS = 60.0
_ALONE = ("xmpp", "core", "modules", "config", "storage")
"""Folders whose tests share nothing with others: no ports, and each worker has its own cluster."""
_BESIDE = ("gateways", "hostile", "http", "scripts")
"""Folders with real far ends, on ports of their worker (`tests.ports`)."""


class Apart(LoadScopeScheduling):  # type: ignore[misc]  # pytest-xdist has no types
    """With several workers, tests that use the same addresses stay with one of them, in order.

    What has ports of its own goes to another, and the rest, file by file, to whoever has time.
    """

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        folder = path.split("/")[1]
        if folder in _ALONE:
            return path
        return "beside" if folder in _BESIDE else "real"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Asked by pytest-xdist who gets which test."""
    return Apart(config, log)


class Cluster:
    """A PostgreSQL server of our own, on a Unix socket only."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        # Not pytest's folder: that one is closed to the user that the server runs as.
        self.folder = Path(tempfile.mkdtemp(prefix="jabberd-pg-"))
        self._data = self.folder / "data"
        self._log = self.folder / "log"
        self._server: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)
        self._as: list[str] = []
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            user = pwd.getpwnam("postgres")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            self._as = [
                "setpriv",
                f"--reuid={user.pw_uid}",
                f"--regid={user.pw_gid}",
                "--clear-groups",
                "--",
            ]
        # ICU's English order, so that a listing which forgot to ask for code points is seen.
        self._run(
            "initdb", "-D", str(self._data), "-U", "jabberd", "-A", "trust", "-E", "UTF8",
            "--no-sync", "--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US",
        )  # fmt: skip
        self.start()

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        with self._log.open("ab") as log:
            self._server = subprocess.Popen(
                [
                    *self._as, str(self._programs / "postgres"), "-D", str(self._data),
                    "-k", str(self.folder), "-c", "listen_addresses=", "-c", "fsync=off",
                    "-c", "synchronous_commit=off", "-c", "full_page_writes=off",
                    "-c", "max_connections=60", "-c", "shared_buffers=16MB",
                ],
                stdout=log, stderr=log, cwd=self.folder,
            )  # fmt: skip
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if time.monotonic() > deadline or self._server.poll() is not None:
                raise RuntimeError(f"PostgreSQL did not start: {self._log.read_text()}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop the server; its data stays."""
        if self._server is not None:
            # SIGINT is PostgreSQL's "fast shutdown": it does not wait for its clients.
            self._server.send_signal(2)
            self._server.wait(timeout=_START_SECONDS)
            self._server = None

    def remove(self) -> None:
        """Stop the server and remove its data."""
        self.stop()
        shutil.rmtree(self.folder)

    def sql(self, statement: str) -> str:
        """Run a statement as the administrator; returns what psql prints."""
        return self._run(
            "psql", "-h", str(self.folder), "-U", "jabberd", "-d", "postgres", "-XAtqc", statement
        )

    def new_url(self) -> str:
        """A new, empty database."""
        name = f"test{next(self._numbers)}"
        self.sql(f"CREATE DATABASE {name}")
        return f"postgresql://jabberd@/{name}?host={self.folder}"

    def _answers(self) -> bool:
        try:
            self.sql("SELECT 1")
        except subprocess.CalledProcessError:
            return False
        return True

    def _run(self, program: str, *arguments: str) -> str:
        done = subprocess.run(
            [*self._as, str(self._programs / program), *arguments],
            check=True, capture_output=True, text=True, timeout=_START_SECONDS, cwd=self.folder,
        )  # fmt: skip
        return done.stdout.strip()


def _programs() -> Path | None:
    """The folder of the newest PostgreSQL of Debian's packages."""
    found = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    return max((path.parent for path in found), key=lambda at: float(at.parent.name), default=None)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A PostgreSQL server for the whole run."""
    programs = _programs()
    if programs is None:
        reason = "no /usr/lib/postgresql/*/bin/initdb: apt-get install postgresql"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    server = Cluster(programs)
    yield server
    server.remove()
