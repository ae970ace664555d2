"""Gajim, a desktop client, on a screen that nobody sees; told what to do by its remote control."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import shutil
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

WAIT: Final = 30.0
_PAUSE: Final = 0.05
_PROGRAMS: Final = ("gajim", "gajim-remote", "Xvfb", "dbus-daemon")
_ACCOUNT: Final = "test"
_SAID: Final = (
    "SELECT kind, message FROM logs JOIN jids USING (jid_id) "
    "WHERE jid = ? AND kind IN (4, 6) ORDER BY log_line_id"
)
_KINDS: Final = {4: "<", 6: ">"}


def missing() -> list[str]:
    """The programs of Debian's packages that are not there."""
    path = f"{os.environ.get('PATH', '')}:/usr/bin"
    return [name for name in _PROGRAMS if shutil.which(name, path=path) is None]


def _wait_until(there: Callable[[], bool], what: Callable[[], str]) -> None:
    # Neither tells others when it has come so far: files have to be looked at.
    until = time.monotonic() + WAIT
    while not there():
        assert time.monotonic() < until, f"not within {WAIT:g} s: {what()}"
        time.sleep(_PAUSE)


class Desktop:
    """A screen in memory and a message bus, for one user.

    Gajim refuses to run as root; then all of this runs as `nobody`.

    Attributes:
        folder: the user's home.
    """

    def __init__(self) -> None:
        # Not pytest's folder: that one is closed to the user that this runs as.
        self.folder = Path(tempfile.mkdtemp(prefix="jabberd-desktop-"))
        self._processes: list[subprocess.Popen[bytes]] = []
        self._as: list[str] = []
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
            self._as = [
                "setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}",
                "--clear-groups", "--",
            ]  # fmt: skip
        self._environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self.folder),
            "LC_ALL": "C.UTF-8",
            "NO_AT_BRIDGE": "1",
            # Whatever routes there are: loopback is network enough.
            "GIO_USE_NETWORK_MONITOR": "base",
        }
        try:
            bus = self._answer("bus", "dbus-daemon", "--session", "--nofork", "--print-address=1")
            screen = self._answer(
                "screen", "Xvfb", "-displayfd", "1", "-screen", "0", "1024x768x24",
                "-ac", "-nolisten", "unix",  # abstract sockets need no folder that root made
            )  # fmt: skip
        except BaseException:
            self.close()
            raise
        self._environment["DBUS_SESSION_BUS_ADDRESS"] = bus
        self._environment["DISPLAY"] = f":{screen}"

    def start(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        """Start a program; what it prints goes into files of this name."""
        out, err = self.folder / f"{name}.out", self.folder / f"{name}.err"
        with out.open("ab") as stdout, err.open("ab") as stderr:
            process = subprocess.Popen(
                [*self._as, *command],
                stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr,
                cwd=self.folder, env=self._environment,
            )  # fmt: skip
        self._processes.append(process)
        return process

    def log(self, name: str) -> str:
        """The end of what a program had to say about itself."""
        return (self.folder / f"{name}.err").read_text(errors="replace")[-2000:]

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a program to its end."""
        return subprocess.run(
            [*self._as, *command],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=WAIT, check=False,
            cwd=self.folder, env=self._environment,
        )  # fmt: skip

    def hand_over(self, path: Path) -> None:
        """Give a file or folder to the user."""
        owner = self.folder.stat()
        os.chown(path, owner.st_uid, owner.st_gid)

    def close(self) -> None:
        """End everything, and remove the user's home."""
        for process in reversed(self._processes):
            stop(process)
        shutil.rmtree(self.folder)

    def _answer(self, name: str, *command: str) -> str:
        """The first line that a program prints."""
        process = self.start(name, *command)
        out = self.folder / f"{name}.out"

        def there() -> bool:
            assert process.poll() is None, f"{command[0]} has ended: {self.log(name)}"
            return "\n" in out.read_text()

        _wait_until(there, lambda: f"{command[0]}: {self.log(name)}")
        return out.read_text().partition("\n")[0]


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a program, if it still runs."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


class Gajim:
    """One Gajim with one account; it logs in without TLS, so that one can listen.

    Args:
        desktop: where it runs.
        jid: the account.
        password: of the account.
        address: IP address and port of the server.
    """

    def __init__(self, desktop: Desktop, jid: str, password: str, address: tuple[str, int]) -> None:
        self._desktop = desktop
        self._folder = desktop.folder / "gajim"
        self._folder.mkdir(mode=0o700)
        desktop.hand_over(self._folder)
        name, _, domain = jid.partition("@")
        self._settings(
            {
                "name": name,
                "hostname": domain,
                "password": password,
                "resource": "gajim",
                "active": True,
                "use_custom_host": True,
                "custom_host": address[0],
                "custom_port": address[1],
                "custom_type": "PLAIN",
                "confirm_unencrypted_connection": False,
            }
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; it goes online by itself."""
        self._process = self._desktop.start(
            "gajim", "gajim", "--config-path", str(self._folder), "--loglevel", "gajim=INFO"
        )

    async def stop(self) -> None:
        """End it; it does not log out."""
        assert self._process is not None
        await asyncio.to_thread(stop, self._process)

    async def log_out(self) -> None:
        """Let it say that it is offline, and close its stream."""
        await self._told("change_status", "offline", "", _ACCOUNT)

    async def send(self, to: str, text: str) -> None:
        """Send a message."""
        await self._told("send_chat_message", to, text, _ACCOUNT)

    async def _told(self, *command: str) -> None:
        # Its remote control is there some seconds after its start.
        said = ""

        def done() -> bool:
            nonlocal said
            ended = self._desktop.run("gajim-remote", *command)
            said = ended.stdout + ended.stderr
            return ended.stdout.startswith("True")

        await asyncio.to_thread(_wait_until, done, lambda: said)

    async def history(self, contact: str, expected: list[str]) -> None:
        """Wait until its history with a contact is exactly this: `< received`, `> sent`."""
        await asyncio.to_thread(
            _wait_until,
            lambda: self._said(contact) == expected,
            lambda: f"{expected}, but {self._said(contact)}; {self._desktop.log('gajim')}",
        )

    def _said(self, contact: str) -> list[str]:
        path = self._folder / "logs.db"
        if not path.exists():
            return []
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=WAIT)) as database:
            try:
                rows = database.execute(_SAID, (contact,)).fetchall()
            except sqlite3.OperationalError:  # its tables are still being made
                return []
        return [f"{_KINDS[kind]} {message}" for kind, message in rows]

    def _settings(self, account: dict[str, object]) -> None:
        """Write what its dialogues would ask for."""
        path = self._folder / "settings.sqlite"
        everything = {
            "app": {"remote_control": True, "use_keyring": False, "check_for_update": False},
            "soundevents": {},
            "status_presets": {},
            "proxies": {},
            "plugins": {},
            "workspaces": {"first": {}},
        }
        with closing(sqlite3.connect(path)) as database:
            database.execute("CREATE TABLE settings (name TEXT UNIQUE, settings TEXT)")
            database.execute("CREATE TABLE account_settings (account TEXT UNIQUE, settings TEXT)")
            database.executemany(
                "INSERT INTO settings VALUES (?, ?)",
                [(name, json.dumps(value)) for name, value in everything.items()],
            )
            whole = {"account": account, "contact": {}, "group_chat": {}}
            database.execute(
                "INSERT INTO account_settings VALUES (?, ?)", (_ACCOUNT, json.dumps(whole))
            )
            database.execute("PRAGMA user_version = 5")
            database.commit()
        self._desktop.hand_over(path)
