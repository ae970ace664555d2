"""Two servers of ours, each a process that can be killed, with a table instead of DNS."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
from pathlib import Path
from typing import Any, Final, Self

from tests.integration.managed import ENABLE, SM, Client
from tests.integration.process import WAIT, Jabberd, Server
from tests.net.authority import Authority
from tests.ports import free_port

_CONFIG: Final = """
[listen]
c2s = ["127.0.0.1:{c2s}"]
c2s_tls = []
http = []
https = []
s2s = ["127.0.0.1:{s2s}"]
[federation]
authorities = "{authorities}"
{federation}
[route]
"{other}" = "127.0.0.1:{other_s2s}"
[host."{domain}"]
{certificate}
"""


class Machine:
    """One of them.

    Args:
        folder: for its data and configuration; made.
        domain: its host.
    """

    def __init__(self, folder: Path, domain: str) -> None:
        folder.mkdir()
        self.domain = domain
        self.jabberd = Jabberd(folder)
        self.file = folder / "jabberd.toml"
        self.c2s = self.s2s = 0
        self.clients: list[Client] = []
        self.server: Server | None = None

    @property
    def where(self) -> tuple[str, str]:
        """What a command has to be told."""
        return ("--config", str(self.file))

    def start(self) -> Self:
        """Start it."""
        self.server = self.jabberd.start("run", *self.where)
        return self

    def kill(self) -> None:
        """As a power failure would, but for the disk's own cache."""
        assert self.server is not None
        self.server.signal(signal.SIGKILL)
        self.server.ended()

    def restart(self) -> None:
        """In good order."""
        self.jabberd.out("restart", *self.where)

    def stop(self) -> None:
        """End it."""
        if self.server is not None:
            self.server.kill()

    def add(self, *names: str) -> None:
        """Make accounts; the password of each is its name."""
        for name in names:
            address = f"{name}@{self.domain}"
            self.jabberd.out("user", "add", address, *self.where, stdin=f"{name}\n")

    def streams(self) -> list[dict[str, Any]]:
        """What `jabberd s2s` says."""
        table = json.loads(self.jabberd.out("s2s", "--json", *self.where))
        rows: list[dict[str, Any]] = table
        return rows

    async def login(self, name: str, resource: str = "desk") -> Client:
        """A client with stream management."""
        async with asyncio.timeout(WAIT):
            while True:  # as clients do
                try:
                    client = await Client.connect("127.0.0.1", self.c2s)
                    break
                except ConnectionRefusedError:
                    await asyncio.sleep(0.1)
        self.clients.append(client)
        client.account = f"{name}@{self.domain}"
        await client.login(client.account, name, resource)
        await client.send(ENABLE)
        enabled = await client.next()
        assert enabled.tag == f"{SM}enabled"
        client.session = enabled.get("id", "")
        return client


def two(
    folder: Path, *, certificates: bool = True, federation: str = ""
) -> tuple[Machine, Machine]:
    """Two servers that know each other; they are not started.

    Args:
        folder: for everything.
        certificates: whether an authority that both trust has signed theirs; else they are
            self-signed.
        federation: more of that table.
    """
    authority = Authority(folder)
    machines = Machine(folder / "a", "example.com"), Machine(folder / "b", "example.net")
    ports = iter(_ports(4))
    for machine in machines:
        machine.c2s, machine.s2s = next(ports), next(ports)
    for machine, other in (machines, machines[::-1]):
        certificate = ""
        if certificates:
            files = authority.sign(machine.domain)
            certificate = f'certificate = "{files.certificate}"\nkey = "{files.key}"'
        machine.file.write_text(
            _CONFIG.format(
                c2s=machine.c2s,
                s2s=machine.s2s,
                authorities=authority.file,
                federation=federation,
                other=other.domain,
                other_s2s=other.s2s,
                domain=machine.domain,
                certificate=certificate,
            )
        )
    return machines


def _ports(count: int) -> list[int]:
    """Free ports of loopback, all different."""
    with contextlib.ExitStack() as stack:
        ports = []
        for _ in range(count):
            ports.append(free_port())
            taken = stack.enter_context(socket.socket())
            taken.bind(("127.0.0.1", ports[-1]))
        return ports
