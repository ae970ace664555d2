"""What clients see of an archive's keys (XEP-0359 §5): unpredictable, and short.

A key counts time and entries, so a client that saw it would learn how much others write. It is
encrypted together with a check value: an identifier of ours can be read back without a look-up,
and a made-up one is recognised.
"""

from __future__ import annotations

import hmac
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

_CHECK: Final = b"\0\0jabberd"[-8:]


class ArchiveIds:
    """Turns keys into identifiers and back; the same for as long as the secret lives.

    One block of AES is a permutation: different keys have different identifiers, and who has not
    the secret cannot tell them from random ones.

    Args:
        secret: 16 bytes (`storage.log_api.Log.secret`).
    """

    def __init__(self, secret: bytes) -> None:
        # Single blocks that never repeat: here ECB is the plain permutation that is wanted.
        cipher = Cipher(algorithms.AES(secret), modes.ECB())  # noqa: S305 -- as said above
        self._encrypt = cipher.encryptor().update
        self._decrypt = cipher.decryptor().update

    def id_of(self, key: int) -> str:
        """The identifier of a key: 32 hexadecimal digits."""
        return self._encrypt(key.to_bytes(8) + _CHECK).hex()

    def key_of(self, text: str) -> int | None:
        """The key that an identifier was made of; None where it is none of ours."""
        try:
            block = bytes.fromhex(text)
        except ValueError:
            return None
        if len(block) != 16:
            return None
        plain = self._decrypt(block)
        return int.from_bytes(plain[:8]) if hmac.compare_digest(plain[8:], _CHECK) else None
