"""Pytest fixtures that come with the package; pytest finds them by itself."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

import pytest

from jabberd.embed import Server

T = TypeVar("T")


class ServerThread:
    """A server in a thread of its own, for tests of whatever kind: with a loop or without.

    Attributes:
        server: the server; only `run` may touch it.
        domain: the host that it serves.
        host: the IP address for clients.
        port: the port for clients, with STARTTLS.
        tls_port: the port for clients that begin with TLS.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.server = Server(storage="memory")
        self.run(self.server.__aenter__())
        self.domain = self.server.domain
        self.host, self.port = self.server.host, self.server.port
        self.tls_port = self.server.tls_port

    def run(self, work: Coroutine[Any, Any, T], wait: float = 30.0) -> T:
        """Run a coroutine on the server's loop and return its result.

        Args:
            work: for example `server.add_user(...)`.
            wait: in seconds.
        """
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(wait)

    def add_user(self, name: str, password: str) -> str:
        """Make an account, and return its bare JID."""
        return str(self.run(self.server.add_user(name, password)))

    def close(self) -> None:
        """Stop the server and its thread."""
        try:
            self.run(self.server.__aexit__(None, None, None))
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)
            self._loop.close()


@pytest.fixture
def jabberd_server() -> Iterator[ServerThread]:
    """A server for "localhost" on free loopback ports that forgets everything afterwards."""
    thread = ServerThread()
    try:
        yield thread
    finally:
        thread.close()
