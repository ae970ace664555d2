"""What a client has said and the server has not taken on yet (XEP-0198 §4 and §5)."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from tests.invariants.history import Said

_WRAP: Final = 2**32


class Wrong(Exception):  # noqa: N818 -- a finding about the server
    """The server acknowledged what it cannot have handled, or took an acknowledgement back."""


@dataclass(slots=True)
class Item:
    """A stanza on its way to the server.

    Attributes:
        xml: the stanza.
        said: the message that it carries; None for what means something in its session only.
        claimed: how many of the server's stanzas the client had acknowledged when it wrote this.
    """

    xml: str
    said: Said | None = None
    claimed: int = 0


class Outbox:
    """A queue in two parts: written and not acknowledged, and not written yet.

    Attributes:
        handled: the server's `h`, as far as it is known.
    """

    def __init__(self) -> None:
        self._written: deque[Item] = deque()
        self._waiting: deque[Item] = deque()
        self.handled = 0

    def __len__(self) -> int:
        """How many messages the server has not taken on."""
        return sum(item.said is not None for item in (*self._written, *self._waiting))

    @property
    def unacknowledged(self) -> bool:
        """Whether anything was written that the server has not acknowledged."""
        return bool(self._written)

    def add(self, item: Item) -> None:
        """Queue a stanza at the end."""
        self._waiting.append(item)

    def waiting(self) -> list[Item]:
        """What was not written in this session."""
        return list(self._waiting)

    def write(self) -> list[Item]:
        """What waits; from now on it counts as written."""
        items = list(self._waiting)
        self._waiting.clear()
        self._written += items
        return items

    def write_now(self, item: Item) -> None:
        """Count a stanza as written that goes before what waits."""
        self._written.append(item)

    def acknowledge(self, handled: int) -> list[Item]:
        """Take the server's `h`; returns what it covers.

        Raises:
            Wrong: it covers more than was written, or less than it did before.
        """
        news = (handled - self.handled) % _WRAP
        if news > len(self._written):
            raise Wrong(
                f"the server's h went from {self.handled} to {handled}"
                f" with {len(self._written)} stanzas unacknowledged"
            )
        self.handled = handled
        return [self._written.popleft() for _ in range(news)]

    def again(self) -> list[Item]:
        """What has to be written again after a resumption, still unacknowledged."""
        return list(self._written)

    def renew(self) -> None:
        """Begin a session: its messages are those that no former session had acknowledged."""
        self._waiting = deque(
            item for item in (*self._written, *self._waiting) if item.said is not None
        )
        self._written.clear()
        self.handled = 0

    def refused(self, said: Said) -> None:
        """An error came for a message: it is not written again in another session."""
        for item in self._written:
            if item.said is said:
                item.said = None
        self._waiting = deque(item for item in self._waiting if item.said is not said)
