"""What the load is directed at, and how a scenario reports."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Any, Literal

Result = dict[str, Any]
"""What a scenario measured: a JSON object."""

Tls = Literal["plain", "starttls", "direct"]


class LoadError(Exception):
    """The server did not do what the scenario needs."""


def client_context() -> ssl.SSLContext:
    """TLS 1.3 with key exchange by X25519; the certificate is not verified.

    The group is pinned because a bigger one (ML-KEM hybrids) costs memory and time, and the
    servers' libraries prefer different ones.

    Raises:
        LoadError: neither can the group be pinned nor is it the library's first choice.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.set_ecdh_curve("X25519")
    except ssl.SSLError as error:
        # The ssl module of early 3.11 only knows older curves. Before OpenSSL 3.5 it hardly
        # matters: X25519 is the one group that a client sends a key share of, unasked.
        if ssl.OPENSSL_VERSION_INFO >= (3, 5):
            raise LoadError("this Python cannot choose X25519 for TLS; use a newer one") from error
    return context


@dataclass(frozen=True, slots=True)
class Target:
    """A server and the accounts to use on it.

    Attributes:
        port: of the server.
        domain: the host it serves.
        pids: server processes; their descendants are found.
        tls: how to connect.
        prefix: accounts are PREFIX0, PREFIX1, ... with passwords p0, p1, ...
        concurrency: logins or registrations under way at once.
        settle: seconds after the load whose CPU time is still charged to it (deferred work).
        host: its address, of this machine.
    """

    port: int
    domain: str = "bench.test"
    pids: tuple[int, ...] = ()
    tls: Tls = "plain"
    prefix: str = "u"
    concurrency: int = 16
    settle: float = 2.0
    host: str = "127.0.0.1"
    context: ssl.SSLContext = field(default_factory=client_context)

    def account(self, number: int) -> tuple[str, str]:
        """Localpart and password of an account."""
        return f"{self.prefix}{number}", f"p{number}"
