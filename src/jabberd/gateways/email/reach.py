"""Where a server is, and a connected socket to it: never one inside our own network unasked."""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from typing import Final, Literal

Security = Literal["tls", "starttls", "opportunistic", "none"]
"""TLS from the first byte; by STARTTLS, or else nothing; by STARTTLS where offered; none."""
_PATIENCE: Final = 30.0
_MOST: Final = 8


class Unreachable(Exception):  # noqa: N818 -- what became of it, read as such
    """There is no connection; says why."""


@dataclass(frozen=True, slots=True)
class Place:
    """A server to connect to.

    Attributes:
        host: a name in A-labels, or an address.
        port: the TCP port.
        security: how it is encrypted.
        verify: whether its certificate has to be good.
        anywhere: it may be at any address. Otherwise (a stranger or a user has named it) only at
            those of the whole internet, so that nobody looks around inside our network.
        authorities: PEM file of the authorities to trust; empty: those of the system.
    """

    host: str
    port: int
    security: Security = "opportunistic"
    verify: bool = True
    anywhere: bool = False
    authorities: str = ""

    def context(self) -> ssl.SSLContext:
        """How to speak TLS with it."""
        return _context(self.authorities, verify=self.verify)

    async def connect(self) -> socket.socket:
        """A connected socket, by the first of its addresses that answers.

        Raises:
            Unreachable: there is none.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_PATIENCE):
                found = await loop.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except TimeoutError:
            raise Unreachable("looking up its address takes too long") from None
        except (OSError, UnicodeError):
            raise Unreachable("it has no address") from None
        usable = [entry for entry in found if self.anywhere or _public(entry[4][0])]
        if not usable:
            raise Unreachable("its address is not one of the public internet")
        why = ""
        for family, kind, protocol, _, address in usable[:_MOST]:
            sock = socket.socket(family, kind, protocol)
            sock.setblocking(False)
            try:
                async with asyncio.timeout(_PATIENCE / 2):
                    await loop.sock_connect(sock, address)
            except (OSError, TimeoutError) as error:
                sock.close()
                why = str(error) or "it does not answer"
            except BaseException:
                sock.close()
                raise
            else:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                return sock
        raise Unreachable(why)


@lru_cache(maxsize=16)
def _context(authorities: str, *, verify: bool) -> ssl.SSLContext:
    # Shared: reading all authorities anew takes 20 ms and 800 KiB.
    context = ssl.create_default_context(cafile=authorities or None)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _public(address: object) -> bool:
    if not isinstance(address, str):
        return False
    found = ip_address(address.partition("%")[0])
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_global and not found.is_multicast
