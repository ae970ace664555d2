"""A server inside a program or a test: ``async with jabberd.Server(...) as server``."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from jabberd.app import Report, RunningServer
from jabberd.config import load
from jabberd.config.folder import locked
from jabberd.xmpp.jid import JID


class Server:
    """A real server on free loopback ports, for as long as the context lasts.

    ::

        async with jabberd.Server(domain="localhost", storage="memory") as server:
            await server.add_user("alice", "secret")
            ...  # connect a client to server.host, server.port

    Args:
        domain: the host that it serves; more by `config`.
        storage: as in the configuration: "memory", "sqlite:" or a "postgresql://" URL.
        data: the data folder; a throwaway one unless given.
        config: further settings, in the shape of the configuration file.

    Attributes:
        domain: the first host that it serves.
    """

    def __init__(
        self,
        domain: str = "localhost",
        *,
        storage: str = "memory",
        data: Path | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        self.domain = domain
        values: dict[str, Any] = {
            "storage": storage,
            "listen": {kind: ["127.0.0.1:0"] for kind in ("c2s", "c2s_tls", "http", "https")},
            "host": {domain: {}},
        }
        self._values = _merged(values, config or {})
        self._data = data
        self._throwaway: tempfile.TemporaryDirectory[str] | None = None
        self._lock: Any = None
        self._running: RunningServer | None = None
        self._report: Report | None = None

    async def __aenter__(self) -> Self:
        """Start it.

        Raises:
            StartError: the settings have an error, or a port or folder cannot be had.
        """
        if self._data is None:
            self._throwaway = tempfile.TemporaryDirectory(prefix="jabberd-")
        data = self._data or Path(self._throwaway.name if self._throwaway else ".")
        try:
            # Neither a file nor the environment: what a program embeds depends on it alone.
            config = load(data=data, values=self._values, environ={})
            self._lock = locked(config.data)
            self._lock.__enter__()
            try:
                self._running = RunningServer(config)
                self._report = await self._running.start()
            except BaseException:
                self._running = None
                self._lock.__exit__(None, None, None)
                raise
        except BaseException:
            self._cleanup()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop it: streams are closed with system-shutdown."""
        running, self._running = self._running, None
        try:
            if running is not None:
                await running.stop()
        finally:
            self._lock.__exit__(None, None, None)
            self._cleanup()

    def _cleanup(self) -> None:
        if self._throwaway is not None:
            self._throwaway.cleanup()
            self._throwaway = None

    @property
    def running(self) -> RunningServer:
        """The server itself, for whoever wants to look inside.

        Raises:
            RuntimeError: it is not running.
        """
        if self._running is None:
            raise RuntimeError("the server is not running")
        return self._running

    @property
    def host(self) -> str:
        """The IP address for clients."""
        return self._address("c2s")[0]

    @property
    def port(self) -> int:
        """The port for clients, with STARTTLS."""
        return self._address("c2s")[1]

    @property
    def tls_port(self) -> int:
        """The port for clients that begin with TLS (XEP-0368)."""
        return self._address("c2s_tls")[1]

    @property
    def http_port(self) -> int:
        """The port for HTTP in plain text."""
        return self._address("http")[1]

    @property
    def https_port(self) -> int:
        """The port for HTTP with TLS."""
        return self._address("https")[1]

    @property
    def component_port(self) -> int:
        """The port for external components, where `config` has one (XEP-0114)."""
        return self._address("component")[1]

    def _address(self, kind: str) -> tuple[str, int]:
        for found, listener in self.running.assembly.listeners:
            if found == kind:
                return listener.address.host, listener.address.port
        raise LookupError(f"the server does not listen for {kind}")

    async def add_user(self, name: str, password: str) -> JID:
        """Make an account.

        Args:
            name: a localpart, or a bare JID for another host than the first.
            password: in clear.

        Returns:
            Its bare JID.

        Raises:
            AccountError: the name is taken, or the name or password cannot be used.
        """
        jid = JID.parse(name if "@" in name else f"{name}@{self.domain}")
        await self.running.assembly.accounts.add(jid, password)
        return jid


def _merged(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, Mapping):
            merged[key] = _merged(old, value)
        else:
            merged[key] = value
    return merged
