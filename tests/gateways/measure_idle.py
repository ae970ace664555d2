"""How much registered users cost who do nothing: `python -m tests.gateways.measure_idle`.

A server with the example gateway inside, in a process of its own, and the far end in another; each
user is logged in there. Prints memory and CPU of the server before and after, per user.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.load import proc

from jabberd.config import load
from jabberd.gateways.transport import Login
from jabberd.gateways.users import Users
from jabberd.gateways.vault import Vault
from jabberd.storage.open import open_stores
from jabberd.transports import key_of
from jabberd.xmpp.jid import JID
from tests.integration.process import Jabberd
from tests.ports import free_port

_CONFIG = """
data = "{folder}/data"
[listen]
c2s = ["127.0.0.1:{port}"]
c2s_tls = []
http = []
https = []
[gateway."gw.localhost"]
network = "example"
port = {far}
standing = true
"""


async def fill(file: Path, count: int) -> None:
    """Register users, as the gateway itself does it."""
    config = load(file, environ={})
    config.data.mkdir(exist_ok=True)
    stores = await open_stores(config.storage, data=config.data)
    name = "gw.localhost"
    users = Users(stores.records(name), Vault(key_of(config, name), name))
    for number in range(count):
        login = Login(f"User{number}", {"password": "secret"})
        await users.add(JID.parse(f"user{number}@localhost"), login, manages=True, now=time.time())
    await stores.close()


def settled(pid: int, wait: float) -> tuple[float, float]:
    """Memory in KiB, and CPU in percent of one core over some seconds."""
    before = proc.cpu_seconds([pid])
    time.sleep(wait)
    return proc.pss_kib([pid]), 100 * (proc.cpu_seconds([pid]) - before) / wait


def measure(folder: Path, count: int, seconds: float) -> None:
    """One server with so many users."""
    far_port = free_port()
    file = folder / "jabberd.toml"
    file.write_text(_CONFIG.format(folder=folder, port=free_port(), far=far_port))
    jabberd = Jabberd(folder)
    jabberd.out("user", "add", "someone@localhost", "--config", str(file), stdin="secret\n")
    results = []
    for number in (0, count):
        if number:
            asyncio.run(fill(file, number))
        far = far_end(folder, far_port)
        server = jabberd.start("run", "--config", str(file))
        until = time.monotonic() + 600
        while number and online(jabberd, file) < number:
            assert time.monotonic() < until, jabberd.out("gateway", "status", "--config", str(file))
            time.sleep(1)
        time.sleep(5)
        results.append(settled(server.pid, seconds))
        server.kill()
        far.kill()
        far.wait()
    (empty, idle), (full, busy) = results
    print(
        f"{count} users, idle: {(full - empty) / count:.1f} KiB each,"
        f" {full / 1024:.0f} MiB for the server in all"
    )
    print(f"CPU of one core: {busy:.2f} %, without users {idle:.2f} %")


def far_end(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """The network, in a process of its own."""
    command = [sys.executable, "-m", "jabberd.gateways.example.server", "--port", str(port)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=folder)


def online(jabberd: Jabberd, file: Path) -> int:
    """How many are logged in."""
    told = json.loads(
        jabberd.out(
            "gateway", "users", "gw.localhost", "--limit", "100000", "--json", "--config", str(file)
        )
    )
    return sum(row["state"] == "logged in" for row in told)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--users", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=30.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        measure(Path(temporary), given.users, given.seconds)
