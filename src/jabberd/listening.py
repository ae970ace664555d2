"""Where a server listens, and how it treats the connections of each kind of listener."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import structlog

from jabberd.config import Config, StartError
from jabberd.config import Listener as ListenerConfig
from jabberd.net.holder import BindError
from jabberd.net.limits import Admission
from jabberd.net.listen import Listener, ListenOptions, parse_network
from jabberd.net.owner import PumpOptions
from jabberd.net.tls import XMPP_SERVER, TlsContexts
from jabberd.net.wire import Machine

if TYPE_CHECKING:  # HTTP is imported only where something listens for it
    from jabberd.web import Web

_log: Final = structlog.get_logger("jabberd")
_NO_IPV6: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
BETWEEN_SERVERS: Final = ("s2s", "s2s_tls")
"""Kinds of listeners for other servers."""
WEB: Final = ("http", "https")
"""Kinds of listeners for HTTP."""


class Listening:
    """The listeners of a server.

    Args:
        config: of the server.
        tls: the certificates.
        admission: counts connections.

    Attributes:
        listeners: kind and listener, as they come to be.
        web: HTTP; None where nothing listens for it.
    """

    def __init__(self, config: Config, tls: TlsContexts, admission: Admission) -> None:
        self._config = config
        self._tls = tls
        self._admission = admission
        self.listeners: list[tuple[str, Listener]] = []
        self.web: Web | None = None

    def open(self, kind: str, address: ListenerConfig, machine: Callable[[], Machine]) -> None:
        """Accept connections at one address.

        Args:
            kind: a key of `[listen]`.
            address: where.
            machine: makes what a connection is handed to.

        Raises:
            StartError: the port cannot be had; the message says why.
        """
        if self.web is not None and kind in WEB:
            options = self.web.options(kind, address)
        else:
            proxies = tuple(parse_network(network) for network in address.proxy)
            options = ListenOptions(pump=self._pump(kind), proxies=proxies)
        listener = Listener(
            address.address,
            machine,
            options,
            admission=self._admission,
            on_bug=lambda error: _log.error("a connection failed", exc_info=error),
        )
        try:
            listener.start()
        except BindError as error:
            if address.host == "::1" and error.errno in _NO_IPV6:
                _log.info("this machine has no IPv6", address=address.address)
                return
            raise StartError(f"{error} (listen.{kind} sets the address)") from None
        self.listeners.append((kind, listener))

    def apply(self, config: Config) -> None:
        """Treat connections as a new configuration says, those that come from now on."""
        self._config = config
        for kind, listener in self.listeners:
            listener.options = replace(listener.options, pump=self._pump(kind))

    def stop_accepting(self) -> None:
        """Take no more connections."""
        for _, listener in self.listeners:
            listener.stop_accepting()

    async def stop(self, which: Callable[[str], bool]) -> None:
        """End the connections of some kinds of listeners."""
        await asyncio.gather(*(one.stop() for kind, one in self.listeners if which(kind)))

    def _pump(self, kind: str) -> PumpOptions:
        if self.web is not None and kind in WEB:
            return self.web.pump_options(kind)
        if kind == "component":
            # A component speaks for many: its senders' queues push back, not a byte rate.
            return PumpOptions()
        if kind in BETWEEN_SERVERS:
            return PumpOptions(
                tls=self._tls,
                peers=True,
                direct_tls=kind == "s2s_tls",
                alpn=(XMPP_SERVER,),
                rate=self._config.federation.bytes_per_second,
                burst=self._config.federation.burst_bytes,
            )
        limits = self._config.limits
        return PumpOptions(
            tls=self._tls,
            direct_tls=kind == "c2s_tls",
            rate=limits.bytes_per_second,
            burst=limits.burst_bytes,
        )
