"""A server of ours, and slidge beside it as a component."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from jabberd.embed import Server
from tests.gateways.others.program import Program, running
from tests.integration.slix import Slix

GATEWAY: Final = "slidge.localhost"
ECHO: Final = f"echo@{GATEWAY}"
TWIN: Final = f"twin@{GATEWAY}"
STARTED: Final = "Slidge has successfully started"
PLUGINS: Final = ("xep_0030", "xep_0050", "xep_0077", "xep_0199", "xep_0280", "xep_0313")
_PLUGIN: Final = Path(__file__).with_name("plugin")
# On SIGTERM slidge raises what its handlers of events swallow if that interrupts them, and goes on
# then; SIGINT ends it always, where the process that started the tests has not turned it off.
_MAIN: Final = """
import signal
from slidge.main import main
signal.signal(signal.SIGINT, signal.default_int_handler)
main()
"""
_SECRET: Final = "between us"
_PUBSUB: Final = "http://jabber.org/protocol/pubsub"
# What slidge's documentation asks for.
_PRIVILEGES: Final = {
    "roster": "both",
    "message": "outgoing",
    "iq": {_PUBSUB: "both", f"{_PUBSUB}#owner": "set", "urn:xmpp:http:upload:0": "get"},
}


@dataclass
class SlidgePlace:
    """Both together.

    Attributes:
        server: ours.
        slidge: the process.
        clients: that were logged in.
    """

    server: Server
    slidge: Program
    clients: list[Slix] = field(default_factory=list)

    async def client(self, name: str, resource: str = "one") -> Slix:
        """A user's client, online with carbons."""
        client = Slix(self.server, f"{name}@localhost/{resource}", "secret", plugins=PLUGINS)
        self.clients.append(client)
        await client.online()
        await client.client.plugin["xep_0280"].enable()
        return client


@contextlib.asynccontextmanager
async def slidge_place(python: Path, folder: Path) -> AsyncIterator[SlidgePlace]:
    """A server with juliet on it, and slidge.

    Args:
        python: that has slidge.
        folder: for what slidge keeps.
    """
    values: dict[str, Any] = {
        "listen": {"component": ["127.0.0.1:0"]},
        "component": {GATEWAY: {"secret": _SECRET, "privileges": _PRIVILEGES}},
    }
    async with Server(config=values) as server:
        await server.add_user("juliet", "secret")
        program = Program(
            folder / "slidge",
            [
                str(python), "-c", _MAIN, "--legacy-module", "echo_network",
                "--jid", GATEWAY, "--secret", _SECRET, "--server", "127.0.0.1",
                "--port", str(server.component_port), "--home-dir", str(folder / "slidge"),
            ],
            {"PYTHONPATH": str(_PLUGIN), "SLIDGE_CONF_DIR": str(folder / "no-configuration")},
            signal.SIGINT,
        )  # fmt: skip
        here = SlidgePlace(server, program)
        try:
            async with running(program, STARTED):
                yield here
        finally:
            for client in here.clients:
                await client.leave()
