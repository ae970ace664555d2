"""SCRAM-SHA-1, client side (RFC 5802), with the key derivation cached between logins."""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import secrets

from bench.load.target import LoadError


@functools.lru_cache(maxsize=10_000)
def _keys(password: str, salt: bytes, iterations: int) -> tuple[bytes, bytes, bytes]:
    salted = hashlib.pbkdf2_hmac("sha1", password.encode(), salt, iterations)
    client = hmac.digest(salted, b"Client Key", "sha1")
    return client, hashlib.sha1(client).digest(), hmac.digest(salted, b"Server Key", "sha1")


class Scram:
    """One login.

    Args:
        user: the localpart, free of `,` and `=`.
        password: in clear.

    Attributes:
        first: the first message, in Base64.
    """

    def __init__(self, user: str, password: str) -> None:
        self._password = password
        self._nonce = secrets.token_urlsafe(18)
        self._bare = f"n={user},r={self._nonce}"
        self._signature = b""
        self.first = base64.b64encode(f"n,,{self._bare}".encode()).decode()

    def respond(self, challenge: bytes) -> str:
        """The final message for the server's first one; both in Base64.

        Raises:
            LoadError: the nonce is not ours.
        """
        server_first = base64.b64decode(challenge).decode()
        fields = dict(part.split("=", 1) for part in server_first.split(","))
        if not fields["r"].startswith(self._nonce):
            raise LoadError("the server's nonce does not begin with ours")
        client, stored, server = _keys(
            self._password, base64.b64decode(fields["s"]), int(fields["i"])
        )
        final = "c=biws,r=" + fields["r"]
        signed = f"{self._bare},{server_first},{final}".encode()
        proof = bytes(
            a ^ b for a, b in zip(client, hmac.digest(stored, signed, "sha1"), strict=True)
        )
        self._signature = base64.b64encode(hmac.digest(server, signed, "sha1"))
        return base64.b64encode(f"{final},p={base64.b64encode(proof).decode()}".encode()).decode()

    def verify(self, outcome: bytes) -> None:
        """Check the data of `<success/>`, in Base64.

        Raises:
            LoadError: the server does not know the password either.
        """
        if b"v=" + self._signature not in base64.b64decode(outcome):
            raise LoadError("wrong server signature")
