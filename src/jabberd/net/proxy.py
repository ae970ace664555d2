"""The PROXY protocol, versions 1 and 2: who the far end was before a proxy (HAProxy's document).

Only the receiving side. A header is believed only when it comes from a named proxy, and then it
is required: the caller sees to both.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from .wire import Endpoint, plain_host

_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_V1_LONGEST = 107
"""Bytes of the longest version 1 header, with CRLF (§2.1)."""
_V2_LONGEST = 4096
"""Bytes of addresses and TLVs taken in version 2; the field could say 65535."""
_V1_FIELDS = 6


class ProxyError(Exception):
    """The bytes are not a PROXY protocol header; the connection must not be served."""


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """A complete header.

    Attributes:
        peer: the original far end; None where the proxy speaks for itself or does not know.
        local: the end that the original connection came to; None as `peer`.
        size: bytes that the header takes; what follows belongs to the stream.
    """

    peer: Endpoint | None
    local: Endpoint | None
    size: int


def parse(data: bytes) -> ProxyHeader | None:
    """Read a header at the start of `data`.

    Returns:
        The header, or None while it is incomplete. An incomplete header is at most about
        4 KiB long, so a caller that appends and tries again is bounded.

    Raises:
        ProxyError: these bytes cannot become a valid header.
    """
    start = data[: len(_SIGNATURE)]
    if _SIGNATURE.startswith(start):
        return _parse_v2(data)
    if data.startswith(b"PROXY ") or b"PROXY ".startswith(data):
        return _parse_v1(data)
    raise ProxyError("no PROXY protocol header")


def _parse_v1(data: bytes) -> ProxyHeader | None:
    end = data.find(b"\r\n", 0, _V1_LONGEST)
    if end < 0:
        if len(data) >= _V1_LONGEST:
            raise ProxyError("version 1 header without end of line")
        return None
    try:
        fields = data[:end].decode("ascii").split(" ")
    except UnicodeDecodeError:
        raise ProxyError("version 1 header is not ASCII") from None
    if fields[1] == "UNKNOWN":
        return ProxyHeader(None, None, end + 2)
    if len(fields) != _V1_FIELDS:
        raise ProxyError("version 1 header has the wrong number of fields")
    _, family, source, destination, source_port, destination_port = fields
    return ProxyHeader(
        _endpoint_v1(family, source, source_port),
        _endpoint_v1(family, destination, destination_port),
        end + 2,
    )


def _endpoint_v1(family: str, host: str, port: str) -> Endpoint:
    kinds: dict[str, type[IPv4Address | IPv6Address]] = {
        "TCP4": IPv4Address,
        "TCP6": IPv6Address,
    }
    kind = kinds.get(family)
    if kind is None:
        raise ProxyError("version 1 header names an unknown family")
    try:
        address = kind(host)
    except AddressValueError:
        raise ProxyError("version 1 header has a bad address") from None
    if "%" in host or not port.isdecimal() or len(port) > 5 or int(port) > 0xFFFF:
        raise ProxyError("version 1 header has a bad address or port")
    return Endpoint(plain_host(str(address)), int(port))


def _parse_v2(data: bytes) -> ProxyHeader | None:
    if len(data) < 16:
        return None
    version, command = data[12] >> 4, data[12] & 15
    family, protocol = data[13] >> 4, data[13] & 15
    length = int.from_bytes(data[14:16], "big")
    if version != 2 or command > 1:
        raise ProxyError("version 2 header has an unknown version or command")
    if length > _V2_LONGEST:
        raise ProxyError("version 2 header is too long")
    size = 16 + length
    if len(data) < size:
        return None
    if command == 0 or family == 0 or protocol == 0:  # LOCAL, or nothing that we could use
        return ProxyHeader(None, None, size)
    if protocol != 1 or family not in (1, 2):
        raise ProxyError("version 2 header is not about TCP over IP")
    width = 4 if family == 1 else 16
    if length < 2 * width + 4:
        raise ProxyError("version 2 header is too short for its addresses")
    kind = IPv4Address if family == 1 else IPv6Address
    body = data[16:size]
    ports = body[2 * width : 2 * width + 4]
    return ProxyHeader(
        Endpoint(plain_host(str(kind(body[:width]))), int.from_bytes(ports[:2], "big")),
        Endpoint(plain_host(str(kind(body[width : 2 * width]))), int.from_bytes(ports[2:], "big")),
        size,
    )
