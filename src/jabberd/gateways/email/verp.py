"""Envelope senders by which a bounce is recognised, whatever it looks like: `romeo+b=token`."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass, field
from typing import Final

from jabberd.gateways.email.address import LONGEST_LOCAL, split

_LENGTH: Final = 12  # characters of either half: 60 bits, too many to be guessed by mail
_MARK: Final = "+b="
_HALF: Final = f"([a-z2-7]{{{_LENGTH}}})"
_TOKEN: Final = re.compile(rf"(.+)\+b={_HALF}{_HALF}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Verp:
    """Makes and recognises them.

    Attributes:
        key: secret, of the installation.
    """

    key: bytes = field(repr=False)

    def create(self, address: str, message_id: str) -> str:
        """The envelope sender of a mail.

        Args:
            address: of the user who sends it.
            message_id: of the mail.

        Returns:
            The address with a token; as it is where it would become too long.
        """
        local, domain = split(address)
        name = reference(message_id)
        marked = f"{local}{_MARK}{name}{self._proof(local, domain, name)}"
        return address if len(marked.encode()) > LONGEST_LOCAL else f"{marked}@{domain}"

    def recognise(self, address: str) -> tuple[str, str] | None:
        """The user's address and the `reference` of the mail; None where it is no token of ours.

        Args:
            address: canonical, to which something came.
        """
        local, domain = split(address)
        found = _TOKEN.fullmatch(local)
        if found is None:
            return None
        base, name, proof = found[1], found[2].lower(), found[3].lower()
        if not hmac.compare_digest(proof, self._proof(base, domain, name)):
            return None
        return f"{base}@{domain}", name

    def _proof(self, local: str, domain: str, name: str) -> str:
        said = f"verp\0{local.lower()}@{domain}\0{name}".encode()
        return _short(hmac.new(self.key, said, hashlib.sha256).digest())


def reference(message_id: str) -> str:
    """A short name of a mail, which the token has."""
    return _short(hashlib.sha256(message_id.encode()).digest())


def _short(digest: bytes) -> str:
    return base64.b32encode(digest).decode().lower()[:_LENGTH]
