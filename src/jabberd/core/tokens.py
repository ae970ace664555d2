"""Tokens that clients log in with instead of a password (XEP-0484).

HT needs the token itself on both sides, so no hash of it would do: it is kept encrypted, by a key
that is not in the database, and opens only for the account, client and mechanism that it was made
for. With it is kept to which password it belongs: a new password leaves no token in force.
"""

from __future__ import annotations

import base64
import hmac
import json
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from jabberd.xmpp.sasl.keys import ScramKeys, strongest

_TOKEN_BYTES: Final = 32
_NONCE_BYTES: Final = 12  # NIST SP 800-38D §5.2.1.1
_PSEUDONYM_BYTES: Final = 10


@dataclass(frozen=True, slots=True)
class Issued:
    """A token, as it is kept.

    Attributes:
        id: its name; not secret.
        mechanism: the one that it is good for.
        made: when, in seconds since the epoch.
        expires: until when it is good; 0 for one that was withdrawn.
        password: to which password it belongs; see `mark_of`.
        box: the token, encrypted.
    """

    id: str
    mechanism: str
    made: int
    expires: int
    password: str
    box: bytes = field(repr=False)

    def good(self, keys: Sequence[ScramKeys], now: float) -> bool:
        """Whether somebody can log in with it to an account that has these keys."""
        return now < self.expires and stands(self.password, keys)

    def due(self, now: float) -> bool:
        """Whether it has lived for half of its time: a new one is given out then (§3.5)."""
        return now >= (self.made + self.expires) / 2


def mark_of(keys: Sequence[ScramKeys]) -> str:
    """A mark of the password that an account has: its strongest keys' salt; empty without one.

    Salts are random and never used again, so an old password's mark does not come back.
    """
    best = strongest(keys)
    return _mark(best) if best is not None else ""


def stands(mark: str, keys: Sequence[ScramKeys]) -> bool:
    """Whether a mark is of the password that an account has; keys may have been added since."""
    return mark in {_mark(one) for one in keys} if keys else not mark


def _mark(keys: ScramKeys) -> str:
    return base64.b64encode(keys.salt).decode("ascii")


@dataclass(frozen=True, slots=True)
class Slots:
    """The tokens of one client: never more than two (XEP-0484 §5.1).

    Attributes:
        current: was used last; None where there is none.
        new: was given out since then, and nobody knows whether it has arrived.
    """

    current: Issued | None = None
    new: Issued | None = None

    def __bool__(self) -> bool:
        """Whether there is any."""
        return self.current is not None or self.new is not None

    def all(self) -> tuple[Issued, ...]:
        """Those that there are, the newest first."""
        return tuple(token for token in (self.new, self.current) if token is not None)

    def used(self, name: str) -> Slots | None:
        """What is left when a token was used; None where it is not among them any more."""
        new, current = self.new, self.current
        if new is not None and new.id == name:
            return Slots(current=new)
        if current is None or current.id != name:
            return None
        # §3.5: those with an earlier expiry go, in whichever order they were made.
        keep = new is not None and new.expires >= current.expires
        return Slots(current, new if keep else None)

    def withdrawn(self) -> Slots:
        """The same, good for nothing: who has one is told that it has expired (§4.2)."""
        old, new = self.current, self.new
        return Slots(old and replace(old, expires=0), new and replace(new, expires=0))


@dataclass(frozen=True, slots=True)
class Place:
    """Where tokens belong.

    Attributes:
        owner: the account's bare JID.
        client: id of the installation.
    """

    owner: str
    client: str

    def bound_to(self, mechanism: str) -> bytes:
        """What a box is bound to, beside its key."""
        return json.dumps([self.owner, self.client, mechanism]).encode()


class Vault:
    """Makes tokens, and closes and opens their boxes.

    Args:
        key: 32 random bytes of this use only, kept outside of the database.
        random: makes so many random bytes.
    """

    def __init__(self, key: bytes, random: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self._cipher = AESGCM(key)
        self._names = hmac.digest(key, b"pseudonyms", "sha256")
        self._random = random

    def issue(
        self, place: Place, mechanism: str, password: str, now: float, seconds: float
    ) -> tuple[str, Issued]:
        """Make a token of 256 random bits.

        Args:
            place: for whom.
            mechanism: for which it is good.
            password: the mark of the account's password.
            now: seconds since the epoch.
            seconds: how long it is good.

        Returns:
            The token as the client gets it, and as it is kept.
        """
        token = _text(self._random(_TOKEN_BYTES))
        nonce = self._random(_NONCE_BYTES)
        box = nonce + self._cipher.encrypt(nonce, token.encode(), place.bound_to(mechanism))
        name = self._random(8).hex()
        return token, Issued(name, mechanism, int(now), int(now + seconds), password, box)

    def open(self, place: Place, token: Issued) -> str | None:
        """The token as the client has it; None where the box is not of this vault and place."""
        nonce, sealed = token.box[:_NONCE_BYTES], token.box[_NONCE_BYTES:]
        try:
            return self._cipher.decrypt(nonce, sealed, place.bound_to(token.mechanism)).decode()
        except (InvalidTag, ValueError):
            return None

    def pseudonym(self, *parts: str) -> str:
        """A name of letters and digits that stands for these parts, and does not tell them."""
        text = json.dumps(parts).encode()
        made = hmac.digest(self._names, text, "sha256")[:_PSEUDONYM_BYTES]
        return base64.b32encode(made).decode("ascii").lower()  # fit for a command line


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
