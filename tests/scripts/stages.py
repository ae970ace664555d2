"""Servers to play on: jabberd in this process, and Prosody where it is installed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from jabberd.net.certs import make_self_signed
from tests.ports import free_port
from tests.scripts.player import ACTORS, Stage

DOMAIN: Final = "localhost"
_START: Final = 20.0  # seconds
# How the plays want a server to be; Prosody's own names for it.
_MODULES: Final = (
    "smacks",
    "roster", "saslauth", "tls", "disco", "ping", "version", "time", "lastactivity", "vcard",
    "private", "uptime", "mam", "carbons", "csi", "csi_simple",
)  # fmt: skip


def installed() -> str | None:
    """Prosody's program, if there is one."""
    return shutil.which("prosody", path=f"{os.environ.get('PATH', '')}:/usr/bin:/usr/sbin")


@contextmanager
def prosody(folder: Path, plays: list[str]) -> Iterator[Stage]:
    """Run Prosody in a folder, with accounts for every play."""
    port = free_port()
    program = installed()
    assert program is not None
    make_self_signed([DOMAIN], folder / "cert.pem", folder / "key.pem", now=time.time())
    accounts = folder / "data" / DOMAIN / "accounts"
    accounts.mkdir(parents=True)
    for play in plays:
        for actor in ACTORS:
            name = f"{actor}{play}"
            (accounts / f"{name}.dat").write_text(f'return {{ ["password"] = "{name}" }};\n')
    config = folder / "prosody.cfg.lua"
    config.write_text(_configuration(folder, port))
    with (folder / "output.log").open("w") as output:
        process = subprocess.Popen(
            [program, "--config", str(config), "-F"],
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            cwd=folder,
            env={**os.environ, "HOME": str(folder)},
        )
    try:
        _wait_for(port, process, folder)
        yield Stage("prosody", DOMAIN, "127.0.0.1", port)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def _wait_for(port: int, process: subprocess.Popen[bytes], folder: Path) -> None:
    until = time.monotonic() + _START
    while time.monotonic() < until and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(f"Prosody does not start: {(folder / 'output.log').read_text()}")


def _configuration(folder: Path, port: int) -> str:
    modules = "; ".join(f'"{module}"' for module in _MODULES)
    return f"""
pidfile = "{folder}/prosody.pid"
data_path = "{folder}/data"
run_as_root = true
daemonize = false
interfaces = {{ "127.0.0.1" }}; local_interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {port} }}; c2s_direct_tls_ports = {{}}
s2s_ports = {{}}; http_ports = {{}}; https_ports = {{}}
authentication = "internal_plain"
storage = "internal"
log = {{ info = "{folder}/prosody.log" }}
modules_enabled = {{ {modules} }}
modules_disabled = {{ "s2s", "limits", "posix" }}
ssl = {{ certificate = "{folder}/cert.pem"; key = "{folder}/key.pem" }}
VirtualHost "{DOMAIN}"
"""
