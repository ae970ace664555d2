"""What a pump is given: how to treat its connection, and whom to tell."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from .tls import XMPP_CLIENT, TlsContexts
from .wire import Endpoint, Machine

if TYPE_CHECKING:
    from .pump import Pump


@dataclass(frozen=True, slots=True)
class Calling:
    """Who connects to whom, where it is us who connect.

    Attributes:
        host: which of ours; its certificate is presented where one is asked for.
        server_name: the domain that is wanted.
    """

    host: str
    server_name: str


@dataclass(frozen=True, slots=True)
class PumpOptions:
    """How connections are treated.

    Attributes:
        tls: the certificates; None where there is no TLS.
        calling: it is us who have connected; None: the far end has.
        peers: the far ends are servers, who are asked for their certificates.
        ask: clients are asked for their certificates, on hosts that have authorities for them.
        direct_tls: whether the handshake comes first (XEP-0368).
        alpn: what the listener speaks; see `TlsContexts.accept`.
        handshake_seconds: deadline of a TLS handshake.
        proxy_seconds: deadline of a PROXY header.
        close_seconds: how long a closed connection may take to flush and to be closed by the
            peer too; then it is aborted.
        high_water: `buffered` above which `Machine.drained` will be called.
        low_water: `buffered` below which it is called.
        rate: bytes per second read on average; 0 for no limit.
        burst: bytes read at once after a rest.
    """

    tls: TlsContexts | None = None
    calling: Calling | None = None
    peers: bool = False
    ask: bool = True
    direct_tls: bool = False
    alpn: tuple[bytes, ...] = (XMPP_CLIENT,)
    handshake_seconds: float = 10.0
    proxy_seconds: float = 5.0
    close_seconds: float = 5.0
    high_water: int = 256 * 1024
    low_water: int = 64 * 1024
    rate: int = 0
    burst: int = 65_536


class Owner(Protocol):
    """Who made the pump: a listener, or a dialler."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that everything runs on."""

    def machine(self) -> Machine:
        """Make what the connection drives, once it is ready for it."""

    def named(self, pump: Pump, peer: Endpoint) -> bool:
        """A proxy has named the far end; False refuses it."""

    def gone(self, pump: Pump, why: str | None) -> None:
        """The connection is no more; `why` if it failed before it had a machine."""

    def bug(self, error: Exception) -> None:
        """The machine raised; its connection is being aborted."""
