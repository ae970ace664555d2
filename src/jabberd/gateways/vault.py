"""Credentials of users, encrypted at rest.

A key outside the database encrypts them: who has a copy of the database has no passwords.
"""

from __future__ import annotations

import json
import secrets
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from jabberd.gateways.transport import Login

_NONCE: Final = 12  # bytes (NIST SP 800-38D §8.2)
KEY_BYTES: Final = 32
"""How long a key is."""


class WrongKey(Exception):  # noqa: N818 -- a fact about what was read
    """A login was encrypted with another key, or for another user."""


class Vault:
    """Encrypts logins, each bound to its user and gateway.

    Args:
        key: `KEY_BYTES` unpredictable bytes.
        service: the gateway's domain.
    """

    def __init__(self, key: bytes, service: str) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a key has {KEY_BYTES} bytes")
        self._cipher = AESGCM(key)
        self._service = service

    def lock(self, user: str, login: Login) -> bytes:
        """A login, encrypted."""
        nonce = secrets.token_bytes(_NONCE)
        plain = json.dumps({"name": login.name, "data": dict(login.data)}).encode()
        return nonce + self._cipher.encrypt(nonce, plain, self._bound_to(user))

    def unlock(self, user: str, data: bytes) -> Login:
        """What `lock` was given.

        Raises:
            WrongKey: see there.
        """
        try:
            plain = self._cipher.decrypt(data[:_NONCE], data[_NONCE:], self._bound_to(user))
        except (InvalidTag, ValueError):
            raise WrongKey(f"the login of {user} was encrypted with another key") from None
        read = json.loads(plain)
        return Login(read["name"], read["data"])

    def _bound_to(self, user: str) -> bytes:
        return f"{self._service}\0{user}".encode()
