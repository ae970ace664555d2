"""A way out that is all in memory, for tests of what is behind it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from jabberd.gateways.sms.backend import Fragment, Handler, Incoming, Link, Outgoing
from jabberd.gateways.sms.hub import Hub, Rules
from jabberd.gateways.sms.numbers import Numbers
from jabberd.gateways.sms.segments import Part, split
from tests.gateways.sms.site import Place


@dataclass
class Far:
    """See `Backend`.

    Attributes:
        sent: what was sent.
        trouble: raised by the next `send`.
    """

    link: Link = field(default_factory=Link)
    sent: list[Outgoing] = field(default_factory=list)
    trouble: Exception | None = None
    named: Callable[[int], str] = str
    _names: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    async def start(self, handler: Handler) -> None:
        self.link.up()

    async def stop(self) -> None:
        self.link.down("stopped")

    def parts(self, text: str) -> int:
        return len(split(text, "udh8", ref=0, most=3))

    async def send(self, sms: Outgoing) -> tuple[str, ...]:
        trouble, self.trouble = self.trouble, None
        if trouble is not None:
            raise trouble
        self.sent.append(sms)
        return tuple(self.named(next(self._names)) for _ in range(self.parts(sms.text)))


async def hub(place: Place, far: Far, *, shared: str = "", per_day: int = 10) -> Hub:
    """A hub that was started."""
    made = Hub(place, far, Rules(Numbers("DE"), shared, per_day, 3_600.0))
    await made.start()
    return made


def part(
    number: int,
    total: int,
    data: bytes,
    *,
    ref: int = 7,
    coding: int = 0,
    to: str = "+491700000001",
) -> Incoming:
    """A part of a text from Romeo."""
    fragment = Fragment(Part(ref, total, number), data, coding)
    return Incoming("+491711234567", to, fragment=fragment)
