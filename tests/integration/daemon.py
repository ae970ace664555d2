"""A server in a process of its own that is stopped, restarted and killed under its clients."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Final, Literal

from tests.integration.process import Jabberd
from tests.ports import free_port

How = Literal["stop", "restart", "kill"]
_CONFIG: Final = """
[listen]
c2s = ["127.0.0.1:{port}"]
c2s_tls = []
http = []
https = []
[host."example.com"]
modules = {{ mam = {{ page = {page} }} }}
"""


class Daemon:
    """Serves example.com, always on the same port and with the same data.

    Args:
        folder: for its data and configuration.
        names: of the accounts; the password of each is its name.
        page: how many messages of an archive one query returns at most.

    Attributes:
        host: the IP address for clients.
        port: the port for clients.
    """

    def __init__(self, folder: Path, names: tuple[str, ...], page: int = 250) -> None:
        self._jabberd = Jabberd(folder)
        file = folder / "jabberd.toml"
        file.write_text(_CONFIG.format(port=0, page=page))
        self._where = ("--config", str(file))
        for name in names:
            self._jabberd.out("user", "add", f"{name}@example.com", *self._where, stdin=f"{name}\n")
        self.host = "127.0.0.1"
        self.port = free_port()  # as late as possible, for others look for one too
        file.write_text(_CONFIG.format(port=self.port, page=page))
        self._server = self._jabberd.start("run", *self._where)

    def again(self, how: How) -> None:
        """End the server and start it: in good order, by its own command, or by SIGKILL."""
        if how == "restart":
            self._jabberd.out("restart", *self._where)
            return
        if how == "kill":
            self._server.signal(signal.SIGKILL)
            self._server.ended()
        else:
            self._server.kill()
        self._server = self._jabberd.start("run", *self._where)

    def stop(self) -> None:
        """End it."""
        self._server.kill()
