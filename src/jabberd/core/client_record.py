"""What is kept of one client of an account, and how it is written down."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from jabberd.core.tokens import Issued, Slots, stands
from jabberd.xmpp.sasl import external
from jabberd.xmpp.sasl.keys import ScramKeys


@dataclass(frozen=True, slots=True)
class Record:
    """A client that has logged in by SASL2 and has an id.

    Attributes:
        first: when it logged in first, in seconds since the epoch.
        last: when it was here last.
        mechanism: how it logged in last.
        software: what it says it is; may be empty.
        device: where it says it runs; may be empty.
        password: the mark of the last password that it has shown; None where it never has.
        certificate: whether it has logged in by a certificate.
        slots: its tokens.
    """

    first: float
    last: float
    mechanism: str
    software: str = ""
    device: str = ""
    password: str | None = None
    certificate: bool = False
    slots: Slots = field(default_factory=Slots)

    def access(self, keys: Sequence[ScramKeys], now: float) -> tuple[str, ...]:
        """By what it can log in, as far as is known: "password", "certificate", "fast"."""
        ways = {
            "password": self.password is not None and stands(self.password, keys),
            "certificate": self.certificate,
            "fast": any(token.good(keys, now) for token in self.slots.all()),
        }
        return tuple(name for name, can in ways.items() if can)

    def to_bytes(self) -> bytes:
        """The record in the form in which it is stored."""
        data: dict[str, Any] = {
            "first": self.first,
            "last": self.last,
            "mechanism": self.mechanism,
            "software": self.software,
            "device": self.device,
            "password": self.password,
            "certificate": self.certificate,
            "current": _packed(self.slots.current),
            "new": _packed(self.slots.new),
        }
        return json.dumps(
            {name: value for name, value in data.items() if value is not None}
        ).encode()


def read_record(data: bytes) -> Record:
    """The reverse of `Record.to_bytes`.

    Raises:
        ValueError: it is something else.
    """
    try:
        found = json.loads(data)
        slots = Slots(_unpacked(found.pop("current", None)), _unpacked(found.pop("new", None)))
        return Record(**found, slots=slots)
    except (TypeError, AttributeError, KeyError) as error:
        raise ValueError(f"this is no client: {error}") from None


def way_of(mechanism: str, *, by_token: bool) -> str:
    """By what a login was: "password", "certificate" or "fast"."""
    if by_token:
        return "fast"
    return "certificate" if mechanism == external.NAME else "password"


def _packed(token: Issued | None) -> dict[str, Any] | None:
    if token is None:
        return None
    return {
        "id": token.id,
        "mechanism": token.mechanism,
        "made": token.made,
        "expires": token.expires,
        "password": token.password,
        "box": base64.b64encode(token.box).decode("ascii"),
    }


def _unpacked(data: dict[str, Any] | None) -> Issued | None:
    if data is None:
        return None
    return Issued(**{**data, "box": base64.b64decode(data["box"])})
