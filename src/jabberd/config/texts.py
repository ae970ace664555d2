"""What single texts and numbers in the configuration stand for."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from jabberd.xmpp.jid import JID, InvalidJID

Positive = Annotated[int, Field(ge=1)]
PathText = Annotated[Path, Field(strict=False)]


def parse_address(text: str) -> tuple[str, int]:
    """Split "127.0.0.1:5222" or "[::1]:5222".

    Raises:
        ValueError: it is neither.
    """
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = ipaddress.ip_address(host[1:-1] if bracketed else host)
        if not colon or bracketed is not (address.version == 6):
            raise ValueError
        if not (port.isascii() and port.isdigit() and int(port) <= 65535):
            raise ValueError
    except ValueError:
        raise ValueError('expected an IP address and a port, as "[::1]:5222"') from None
    return str(address), int(port)


def parse_route(text: str) -> tuple[str, int, bool]:
    """Split "10.0.0.5:5269", "xmpp.example.net:5269" or "tls:[::1]:5270".

    Returns:
        The host, the port, and whether TLS comes with the first byte.

    Raises:
        ValueError: it is none of these.
    """
    direct = text.startswith("tls:")
    host, _, port = text.removeprefix("tls:").rpartition(":")
    try:
        if host.startswith("[") and host.endswith("]"):
            host = str(ipaddress.IPv6Address(host[1:-1]))
        elif host.rpartition(".")[2].isdigit():  # as in no host name there is
            host = str(ipaddress.IPv4Address(host))
        else:
            canonical = domain(host)
            host = host.lower() if host.isascii() else canonical  # A-labels stay what they are
        if not (port.isascii() and port.isdigit() and 0 < int(port) <= 65535):
            raise ValueError
    except ValueError:
        raise ValueError(
            'expected a host and a port, as "10.0.0.5:5269", or "tls:10.0.0.5:5270" for a port'
            " that wants TLS from the first byte"
        ) from None
    return host, int(port), direct


def check_network(text: str) -> str:
    """The same text, which is an IP address or a network.

    Raises:
        ValueError: it is neither.
    """
    try:
        ipaddress.ip_network(text)
    except ValueError:
        raise ValueError('expected an IP address or a network, as "192.0.2.0/24"') from None
    return text


def check_nameserver(text: str) -> str:
    """The same text: an IP address, with a port ("[::1]:53") or without ("::1").

    Raises:
        ValueError: it is none.
    """
    try:
        ipaddress.ip_address(text)
    except ValueError:
        try:
            parse_address(text)
        except ValueError:
            what = 'expected an IP address, as "127.0.0.1", with a port where it is not 53'
            raise ValueError(what) from None
    return text


def domain(text: str) -> str:
    """A domain in its canonical form.

    Raises:
        ValueError: it is none.
    """
    try:
        jid = JID.parse(text)
        if jid.local or jid.resource:
            raise InvalidJID("it has more than a domain")
    except InvalidJID as error:
        raise ValueError(f"expected a domain name: {error}") from None
    return jid.domain


def domains(text: str) -> str:
    """A domain, or "*." and the domain that all of them are below, in the canonical form.

    Raises:
        ValueError: it is neither.
    """
    below = "*." if text.startswith("*.") else ""
    try:
        return below + domain(text.removeprefix("*."))
    except ValueError as error:
        what = str(error).removeprefix("expected a domain name: ")
        raise ValueError(f'expected "example.net" or "*.example.net": {what}') from None


def check_route(text: str) -> str:
    """The same text, which `parse_route` can split.

    Raises:
        ValueError: see there.
    """
    parse_route(text)
    return text


def check_url(text: str) -> str:
    """The same URL without a slash at the end; an empty text stays.

    Raises:
        ValueError: it is none that others could be sent to.
    """
    parts = urlsplit(text)
    odd = parts.query or parts.fragment or parts.username is not None or not parts.hostname
    if text and (parts.scheme != "https" or odd or not text.isascii() or not text.isprintable()):
        raise ValueError('expected a URL like "https://chat.example.org"')
    return text.rstrip("/")


Domains = Annotated[str, AfterValidator(domains)]
Nameserver = Annotated[str, AfterValidator(check_nameserver)]
Network = Annotated[str, AfterValidator(check_network)]
HttpsUrl = Annotated[str, AfterValidator(check_url)]
RouteText = Annotated[str, AfterValidator(check_route)]
