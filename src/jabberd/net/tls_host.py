"""What a host brings to TLS."""

from __future__ import annotations

from OpenSSL import SSL


class TlsHost:
    """Ready contexts of one host, and what goes with its certificate.

    Attributes:
        context: towards clients.
        peers: towards servers that connect to us: their certificate is asked for.
        connecting: towards servers that we connect to.
        end_point: the hash of the certificate (RFC 5929 §4).
        asks: whether certificates of clients are asked for.
        names: of the certificate.
    """

    __slots__ = ("asks", "connecting", "context", "end_point", "names", "peers")

    def __init__(
        self,
        context: SSL.Context,
        peers: SSL.Context,
        connecting: SSL.Context,
        end_point: bytes | None,
        *,
        asks: bool,
        names: tuple[str, ...],
    ) -> None:
        self.context = context
        self.peers = peers
        self.connecting = connecting
        self.end_point = end_point
        self.asks = asks
        self.names = names
