"""The server as people run it: a process of its own, in a folder of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

WAIT: Final = 20.0
_LISTENING: Final = re.compile(r"clients \(STARTTLS\): (127\.0\.0\.1):(\d+)")


class Jabberd:
    """Runs `jabberd` with nothing of this user's environment.

    Args:
        folder: the home folder and working directory.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            "PATH": os.environ.get("PATH", ""),
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            "HOME": str(folder),
            "COLUMNS": "200",
        }

    def command(self, *words: str) -> list[str]:
        """The command line."""
        return [sys.executable, "-m", "jabberd.cli", *words]

    def run(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            self.command(*words),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=WAIT,
            check=False,
            cwd=self.folder,
            env=self.environment,
        )

    def out(self, *words: str, stdin: str = "") -> str:
        """What a command prints that must work."""
        done = self.run(*words, stdin=stdin)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    def start(self, *words: str) -> Server:
        """Start a server; returns when it accepts logins."""
        return Server(self, words)


class Server:
    """A server in a process of its own.

    Attributes:
        pid: of the process.
        announced: what it printed when it was ready.
        host: the IP address for clients.
        port: the port for clients.
    """

    def __init__(self, jabberd: Jabberd, words: tuple[str, ...]) -> None:
        self._out = jabberd.folder / f"out-{time.monotonic_ns()}"
        self._err = self._out.with_name(self._out.name.replace("out", "err"))
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._process = subprocess.Popen(
                jabberd.command(*words),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=jabberd.folder,
                env=jabberd.environment,
            )
        self.pid = self._process.pid
        try:
            self.announced = self.printed("(Next: |Log in as: |data: .*\n)")
            found = _LISTENING.search(self.announced)
            assert found is not None, self.announced
        except BaseException:
            self.kill()
            raise
        self.host, self.port = found[1], int(found[2])

    def _until(self, path: Path, pattern: str) -> str:
        until = time.monotonic() + WAIT
        while True:
            text = path.read_text()
            if re.search(pattern, text):
                return text
            assert self._process.poll() is None or re.search(pattern, path.read_text()), (
                f"it has ended: {self._err.read_text()}"
            )
            assert time.monotonic() < until, f"no {pattern!r} in {text}{self._err.read_text()}"
            time.sleep(0.02)

    def printed(self, pattern: str) -> str:
        """Wait until its output has this; all of its output."""
        return self._until(self._out, pattern)

    def logged(self, pattern: str) -> str:
        """Wait until its log has this; all of its log."""
        return self._until(self._err, pattern)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def ended(self) -> int:
        """Wait for its end; the exit code."""
        return self._process.wait(WAIT)

    def kill(self) -> None:
        """End it if it still runs."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(10)
