"""What is kept instead of a password: the keys of SCRAM (RFC 5802 §3).

Nothing here derives a key from a password; that is slow on purpose, and happens elsewhere.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

HASHES: Final = ("sha512", "sha256", "sha1")
"""hashlib's names of the hash functions that we speak, the strongest first."""

SALT_BYTES: Final = 16
"""The length of every salt we make.

Decoys have it too. An account needs a salt of its own for each hash function: decoys differ
from hash to hash, and equal salts would tell an account from a decoy.
"""


@dataclass(frozen=True, slots=True)
class ScramKeys:
    """What SCRAM keeps instead of a password (RFC 5802 §3).

    Attributes:
        hash: hashlib's name of the hash function: "sha1", "sha256" or "sha512".
        salt: random bytes.
        iterations: of PBKDF2.
        stored: StoredKey.
        server: ServerKey.
    """

    hash: str
    salt: bytes
    iterations: int
    stored: bytes = field(repr=False)
    server: bytes = field(repr=False)


def from_salted(algorithm: str, salt: bytes, iterations: int, salted: bytes) -> ScramKeys:
    """The keys that belong to a salted password.

    Args:
        algorithm: hashlib's name of the hash function.
        salt: that was used to derive `salted`.
        iterations: that were used to derive `salted`.
        salted: SaltedPassword: PBKDF2 with HMAC of this hash over the prepared password, as long
            as the hash's digest.
    """
    stored = digest(algorithm, client_key(algorithm, salted))
    return ScramKeys(algorithm, salt, iterations, stored, server_key(algorithm, salted))


def strongest(found: Iterable[ScramKeys]) -> ScramKeys | None:
    """Those of the strongest hash function; None where there are none."""
    known = [keys for keys in found if keys.hash in HASHES]
    return min(known, key=lambda keys: HASHES.index(keys.hash), default=None)


def verify(keys: ScramKeys, salted: bytes) -> bool:
    """Whether a salted password belongs to these keys; in constant time."""
    return hmac.compare_digest(digest(keys.hash, client_key(keys.hash, salted)), keys.stored)


def pick(keys: Iterable[ScramKeys], algorithm: str) -> ScramKeys | None:
    """The keys for one hash function, if there are any."""
    return next((found for found in keys if found.hash == algorithm), None)


def decoy(secret: bytes, domain: str, username: str, algorithm: str, iterations: int) -> ScramKeys:
    """Keys for an account that is not there, the same each time, and that no password has.

    Args:
        secret: of the server, and of this use only; whoever knows it can tell decoys.
        domain: the host, prepared.
        username: the localpart that was asked for, prepared.
        algorithm: hashlib's name of the hash function.
        iterations: what accounts made by this server have.
    """

    def made(use: bytes) -> bytes:
        # No prepared string has NUL, so the parts cannot run into each other.
        parts = (use, algorithm.encode(), domain.encode(), username.encode())
        return hmac.digest(secret, b"\0".join(parts), "sha512")

    size = hashlib.new(algorithm).digest_size
    salt, stored, server = made(b"salt"), made(b"stored"), made(b"server")
    return ScramKeys(algorithm, salt[:SALT_BYTES], iterations, stored[:size], server[:size])


def client_key(algorithm: str, salted: bytes) -> bytes:
    """ClientKey of a salted password."""
    return hmac.digest(salted, b"Client Key", algorithm)


def server_key(algorithm: str, salted: bytes) -> bytes:
    """ServerKey of a salted password."""
    return hmac.digest(salted, b"Server Key", algorithm)


def digest(algorithm: str, data: bytes) -> bytes:
    """H of RFC 5802 §2.2."""
    return hashlib.new(algorithm, data).digest()
