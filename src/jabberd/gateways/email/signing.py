"""DKIM signatures (RFC 6376), where no mail server of ours makes them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from jabberd.gateways.email.outbound import Courier, Envelope

_SIGNED: Final = tuple(
    name.encode()
    for name in (
        "from", "to", "subject", "date", "message-id", "in-reply-to", "references",
        "mime-version", "content-type", "content-transfer-encoding",
    )
)  # fmt: skip
"""Those of RFC 6376 §5.4.1 that we write."""


class Signer:
    """Signs each mail, and has it brought on.

    Args:
        courier: who does.
        domain: in A-labels, of the senders.
        selector: the name below `_domainkey` where the public key is.
        key: PEM.
    """

    def __init__(self, courier: Courier, domain: str, selector: str, key: bytes) -> None:
        self._courier = courier
        self._domain = domain.encode()
        self._selector = selector.encode()
        self._key = key

    async def deliver(self, envelope: Envelope) -> None:
        """See `Courier`."""
        import dkim  # type: ignore[import-untyped]  # noqa: PLC0415 -- no types; only this needs it

        signature = dkim.sign(
            envelope.data, self._selector, self._domain, self._key,
            canonicalize=(b"relaxed", b"relaxed"), include_headers=_SIGNED,
        )  # fmt: skip
        await self._courier.deliver(replace(envelope, data=signature + envelope.data))


def load_key(file: Path) -> bytes:
    """The key of a PEM file, in the form that dkimpy reads.

    Raises:
        ValueError: there is no RSA key in it.
    """
    try:
        key = load_pem_private_key(file.read_bytes(), None)
    except (OSError, ValueError, TypeError):
        raise ValueError(f"{file} cannot be read as a key") from None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError(f"{file} has no RSA key")
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
