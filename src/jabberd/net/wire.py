"""What the edge sees of a connection, and what a connection sees of the edge."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An IP address and port.

    Attributes:
        host: the address in text; see `plain_host`.
        port: 0 to 65535.
    """

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether the address is in 127.0.0.0/8 or is ::1 (also written as mapped IPv4)."""
        return _facts(self.host)[0]

    @property
    def source(self) -> str:
        """What limits are counted by: the IPv4 address, or the IPv6 /64."""
        return _facts(self.host)[1]


def plain_host(host: str) -> str:
    """An address as text without a zone, and ::ffff:a.b.c.d as a.b.c.d (RFC 4291 §2.5.5.2).

    Who comes by IPv4 to a socket of both kinds has such an address; it is the same far end.
    """
    host = host.partition("%")[0]
    return str(_unmapped(host)) if host.startswith("::ffff:") else host


@lru_cache(maxsize=1024)  # asked for several times per login
def _facts(host: str) -> tuple[bool, str]:
    address = _unmapped(host)
    if isinstance(address, IPv4Address):
        return address.is_loopback, str(address)
    return address.is_loopback, str(IPv6Network((int(address) >> 64 << 64, 64)))


def _unmapped(host: str) -> IPv4Address | IPv6Address:
    """Parse an address; ::ffff:a.b.c.d is a.b.c.d (RFC 4291 §2.5.5.2)."""
    address = ip_address(host)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


class Wire(Protocol):
    """One connection, as the edge uses it. Never blocks; everything happens on the loop."""

    @property
    def peer(self) -> Endpoint:
        """The far end; the original one where a trusted proxy named it."""

    @property
    def local(self) -> Endpoint:
        """Our end; the original one where a trusted proxy named it."""

    @property
    def proxied(self) -> bool:
        """Whether a PROXY protocol header was used."""

    @property
    def buffered(self) -> int:
        """Bytes accepted by `write` that the operating system has not taken yet."""

    @property
    def tls(self) -> TlsFacts | None:
        """What TLS settled; None on a plain connection."""

    def write(self, data: bytes) -> None:
        """Queue bytes; everything of one turn of the loop leaves in one joined write."""

    def pause(self) -> None:
        """Read no more from the socket until `resume`. Counted once, not nested."""

    def resume(self) -> None:
        """Read again."""

    def start_tls(self, host: str | None = None) -> None:
        """Flush, forget every unread plain byte, then do the handshake in our role.

        `Machine.secured` is called when it is done, `Machine.ended` when it fails.

        Args:
            host: whose certificate to send if the client names no host by SNI.
        """

    def close(self) -> None:
        """Flush what is queued (with a deadline), close_notify, then close."""

    def abort(self) -> None:
        """Close now and forget what is queued."""


class TlsFacts(Protocol):
    """What a finished handshake offers to authentication."""

    @property
    def version(self) -> str:
        """For example "TLSv1.3"."""

    @property
    def cipher(self) -> str:
        """OpenSSL's name of the cipher suite."""

    @property
    def server_name(self) -> str | None:
        """The host that the client asked for by SNI."""

    def exporter(self) -> bytes | None:
        """tls-exporter (RFC 9266): 32 bytes on TLS 1.3; None on older versions."""

    def server_end_point(self) -> bytes | None:
        """tls-server-end-point (RFC 5929 §4): the hash of the server's certificate."""

    def peer_certificate(self) -> bytes | None:
        """The far end's certificate as DER, where it sent one; neither validated nor read."""

    def peer_chain(self) -> tuple[bytes, ...]:
        """What the far end sent as DER, its own certificate first; nothing of it is validated."""

    def peer_certificate_valid(self) -> bool:
        """Whether the client's certificate chained to the configured authority."""


class Machine(Protocol):
    """What a connection drives: a stream at the edge. One call at a time, on the loop."""

    def connected(self, wire: Wire) -> None:
        """The connection is open (and secured, on a direct-TLS port)."""

    def received(self, data: bytes) -> None:
        """Decrypted bytes have arrived."""

    def secured(self) -> None:
        """The handshake that `Wire.start_tls` began is done."""

    def ended(self, error: Exception | None) -> None:
        """The far end closed, or the connection broke. Called exactly once, and last."""

    def drained(self) -> None:
        """`buffered` has fallen below the low-water mark after being above the high one."""
