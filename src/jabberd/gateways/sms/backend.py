"""What a way out has to offer: to an operator, a provider or a modem."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from jabberd.gateways.sms.segments import Part


@dataclass(frozen=True, slots=True)
class Fragment:
    """One part of a text that came in several.

    Attributes:
        part: which one.
        data: its octets; a character can begin in one part and end in the next.
        coding: data_coding.
    """

    part: Part
    data: bytes
    coding: int


@dataclass(frozen=True, slots=True)
class Incoming:
    """An SMS for a user.

    Attributes:
        source: who sent it: a number as "+49…", a short code, or a name.
        destination: to which number.
        text: what it says; empty where it is a part.
        fragment: where it is a part of a text.
    """

    source: str
    destination: str
    text: str = ""
    fragment: Fragment | None = None


class Outcome(Enum):
    """What a delivery report says (SMPP 3.4 §5.2.28)."""

    DELIVERED = "delivered"
    EXPIRED = "expired"
    UNDELIVERABLE = "undeliverable"
    REJECTED = "rejected"
    PENDING = "pending"
    """Nothing is known yet, or never will be."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """A delivery report.

    Attributes:
        id: of the SMS, as `Backend.send` returned it, or in another notation.
        outcome: what became of it.
        text: why, in the network's words; may be empty.
        contact: to whom the SMS went, where the report says so.
    """

    id: str
    outcome: Outcome
    text: str = ""
    contact: str = ""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A text to be sent.

    Attributes:
        source: the sender to show: a number as "+49…", a short code, or a name; empty for what
            the other side has set.
        destination: a number as "+49…".
        text: what to say.
        receipt: whether its delivery is to be reported; its failure always is, where that can
            be had.
    """

    source: str
    destination: str
    text: str
    receipt: bool = False


class Handler(Protocol):
    """Takes what comes in."""

    async def incoming(self, sms: Incoming) -> None:
        """An SMS came; it may be confirmed when this returns.

        Raises:
            NotTaken: it may not: it should come again later, unless that is lasting.
        """

    async def receipt(self, receipt: Receipt) -> None:
        """A delivery report came.

        Raises:
            NotTaken: as for `incoming`.
        """


class Backend(Protocol):
    """A way out.

    Attributes:
        link: whether it can be used now.
    """

    link: Link

    async def start(self, handler: Handler) -> None:
        """Begin; it need not be usable when this returns.

        Raises:
            OSError: it never will be: a file or a folder is missing.
        """

    async def stop(self) -> None:
        """End; what is under way is brought to its end, within seconds."""

    def parts(self, text: str) -> int:
        """How many SMS a text takes.

        Raises:
            TooLong: more than are allowed.
        """

    async def send(self, sms: Outgoing) -> tuple[str, ...]:
        """Send a text.

        Returns:
            The names of its parts on the other side; empty where it has none.

        Raises:
            NotDone: it failed for good, or nobody knows what became of it.
            Lost: nothing of it was sent, and it may be tried again.
        """


class Link:
    """Whether a way out can be used; who wants to know when that changes can wait.

    Attributes:
        problem: why not, in words.
    """

    def __init__(self) -> None:
        self.problem = "not started"
        self._up = asyncio.Event()
        self._down = asyncio.Event()
        self._down.set()

    @property
    def is_up(self) -> bool:
        """Whether it can be used now."""
        return self._up.is_set()

    def up(self) -> None:
        """It can be used now."""
        self.problem = ""
        self._down.clear()
        self._up.set()

    def down(self, problem: str) -> None:
        """It cannot, and why."""
        self.problem = problem
        self._up.clear()
        self._down.set()

    async def wait_up(self) -> None:
        """Wait until it can be used."""
        await self._up.wait()

    async def wait_down(self) -> None:
        """Wait until it cannot be used any more."""
        await self._down.wait()
