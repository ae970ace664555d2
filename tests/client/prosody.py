"""Prosody from Debian's package, with components and, where wanted, a few users."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.ports import free_port

_START: Final = 30.0
_CONFIG: Final = """\
pidfile = "{folder}/prosody.pid"
data_path = "{folder}"
run_as_root = true
interfaces = {{ "127.0.0.1" }}; local_interfaces = {{ "127.0.0.1" }}
component_ports = {{ {port} }}; component_interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {clients} }}; c2s_interfaces = {{ "127.0.0.1" }}
c2s_require_encryption = false; allow_unencrypted_plain_auth = true
authentication = "internal_plain"
s2s_ports = {{}}; c2s_direct_tls_ports = {{}}; s2s_direct_tls_ports = {{}}
http_ports = {{}}; https_ports = {{}}
modules_enabled = {{ "ping"; "component"; "roster"; "saslauth"; "disco"; "carbons"; "presence" }}
modules_disabled = {{ "s2s"; "limits"; "tls" }}
log = {{ {{ levels = {{ min = "debug" }}, to = "file", filename = "{folder}/log" }} }}
VirtualHost "localhost"
"""
_COMPONENT: Final = 'Component "{domain}"\n  component_secret = "{secret}"\n'


class Prosody:
    """A server for components.

    Args:
        folder: for all that it keeps.
        domains: of the components.
        secret: of each.
        users: names of accounts at localhost; the password of each is "secret".

    Attributes:
        port: for components.
        clients: the port for users, without TLS.
    """

    def __init__(
        self, folder: Path, domains: Sequence[str], secret: str, users: Sequence[str] = ()
    ) -> None:
        self._folder = folder
        self.port = free_port()
        self.clients = free_port()
        text = _CONFIG.format(folder=folder, port=self.port, clients=self.clients)
        accounts = folder / "localhost" / "accounts"
        accounts.mkdir(parents=True, exist_ok=True)
        for user in users:
            (accounts / f"{user}.dat").write_text('return { ["password"] = "secret" };')
        text += "".join(_COMPONENT.format(domain=domain, secret=secret) for domain in domains)
        (folder / "prosody.cfg.lua").write_text(text)

    @classmethod
    def missing(cls) -> str:
        """What keeps it from running here; empty where nothing does."""
        return "" if shutil.which("prosody") else "Debian's package prosody is not installed"

    def __enter__(self) -> Self:
        with (self._folder / "output").open("wb") as output:
            self._process = subprocess.Popen(
                ["prosody", "-F", "--config", str(self._folder / "prosody.cfg.lua")],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=self._folder,
            )  # fmt: skip
        end = time.monotonic() + _START
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return self
            said = (self._folder / "output").read_text()
            assert self._process.poll() is None, said
            assert time.monotonic() < end, said
            time.sleep(0.05)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
