"""How a stanza ended. The router makes exactly one verdict for every stanza."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from jabberd.xmpp.error import StanzaError


def _in(phase: str) -> str:
    return f" in phase {phase}" if phase else ""


@dataclass(frozen=True, slots=True)
class Delivered:
    """Written to sessions of this server.

    Attributes:
        to: the full JIDs that it was written to, as text.
    """

    to: tuple[str, ...]

    def __str__(self) -> str:
        return "delivered to " + ", ".join(self.to)


@dataclass(frozen=True, slots=True)
class Relayed:
    """Handed on to something that answers for another domain.

    Attributes:
        via: what took it, for example "component sms.example.org".
    """

    via: str

    def __str__(self) -> str:
        return f"relayed via {self.via}"


@dataclass(frozen=True, slots=True)
class Handled:
    """The server itself was the recipient.

    Attributes:
        by: the module that answered or acted.
        phase: in which phase, where a handler decided.
    """

    by: str
    phase: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"handled by {self.by}{_in(self.phase)}"


@dataclass(frozen=True, slots=True)
class Stored:
    """Kept until the recipient comes back.

    Attributes:
        by: the module that keeps it.
        phase: in which phase, where a handler decided.
    """

    by: str
    phase: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"stored by {self.by}{_in(self.phase)}"


@dataclass(frozen=True, slots=True)
class Bounced:
    """Returned to its sender with an error.

    Attributes:
        by: the module or table that decided, and the phase where a handler did.
        error: what the sender was told.
    """

    by: str
    error: StanzaError

    def __str__(self) -> str:
        return f"returned by {self.by}: {self.error}"


@dataclass(frozen=True, slots=True)
class Dropped:
    """Discarded without an answer, because a rule says so.

    Attributes:
        by: the module or table that decided.
        why: the rule, in plain words.
        phase: in which phase, where a handler decided.
    """

    by: str
    why: str
    phase: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"dropped by {self.by}{_in(self.phase)}: {self.why}"


Verdict = Delivered | Relayed | Handled | Stored | Bounced | Dropped
VERDICTS: Final = (Delivered, Handled, Stored, Relayed, Bounced, Dropped)
"""Tells a verdict from one that has to be waited for, the likely ones first."""
