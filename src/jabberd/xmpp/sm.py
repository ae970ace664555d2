"""XEP-0198 Stream Management: the counters of a stream, and what is said about them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from jabberd.xmpp import lexical, ns
from jabberd.xmpp.element import Element, escape_attr
from jabberd.xmpp.error import Condition, StanzaError, StreamCondition, StreamError

T = TypeVar("T")

MODULUS: Final = 2**32
"""Counters are of the type xs:unsignedInt, and zero follows the highest (§4)."""

FEATURE: Final = f"<sm xmlns='{ns.SM}'/>".encode()
"""Among the stream features, and in the `<inline/>` of SASL2 (§2, §9.2)."""

ENABLE: Final = f"<enable xmlns='{ns.SM}'/>".encode()
"""The initiating side's wish for acknowledgements, without resumption (§3)."""

R: Final = f"<r xmlns='{ns.SM}'/>".encode()
"""The request for an acknowledgement (§4)."""

_A: Final = f"<a xmlns='{ns.SM}' h='%d'/>".encode()


class Outbound(Generic[T]):
    """What was sent on a stream and is not acknowledged yet, oldest first.

    It has no bound of its own: whoever pushes looks at the length and decides what too much is.

    Attributes:
        acknowledged: how many items the peer has handled, modulo 2^32.
    """

    __slots__ = ("_items", "acknowledged")

    def __init__(self) -> None:
        self.acknowledged = 0
        self._items: deque[T] = deque()

    @property
    def sent(self) -> int:
        """How many items were pushed, modulo 2^32."""
        return (self.acknowledged + len(self._items)) % MODULUS

    def push(self, item: T) -> None:
        """Count and keep one more item."""
        self._items.append(item)

    def acknowledge(self, h: int) -> list[T]:
        """Take the peer's count, and return the items that it covers and none before did.

        Args:
            h: how many items the peer has handled, from 0 to 2^32 - 1.

        Raises:
            StreamError: undefined-condition with `<handled-count-too-high/>` (§6), where that
                is more than was sent. A count that goes back is taken for one, since numbers
                that wrap around cannot be told apart from it; nothing is changed then.
        """
        items = self._items
        count = (h - self.acknowledged) % MODULUS
        if count == len(items):  # as it nearly always is
            covered = list(items)
            items.clear()
        elif count < len(items):
            covered = [items.popleft() for _ in range(count)]
        else:
            raise too_high(h, self.sent)
        self.acknowledged = h
        return covered

    def restore(self, base: int, items: Iterable[T]) -> None:
        """Become what another queue was: `base` items acknowledged, and these not."""
        self.acknowledged = base % MODULUS
        self._items = deque(items)

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[T]:
        return iter(self._items)


def too_high(h: int, sent: int) -> StreamError:
    """The error for who acknowledges more than was sent (§6)."""
    attrs = {"h": str(h), "send-count": str(sent)}
    return StreamError(
        StreamCondition.UNDEFINED_CONDITION,
        f"{h} stanzas were acknowledged, but {sent} were sent",
        Element(ns.SM, "handled-count-too-high", attrs),
    )


class Tag(Protocol):
    """What an `Element` and a `Nonza` have in common: requests come as either (§9)."""

    @property
    def attrs(self) -> Mapping[str, str]:
        """The attributes."""
        ...


@dataclass(frozen=True, slots=True)
class Enable:
    """A client's `<enable/>` (§3).

    Attributes:
        resume: whether it wants to resume the session later.
        max: for how many seconds, where it says so.
    """

    resume: bool
    max: int | None


@dataclass(frozen=True, slots=True)
class Resume:
    """A client's `<resume/>` (§5).

    Attributes:
        previd: the session's identifier, as `<enabled/>` gave it.
        h: how many stanzas the client has handled in that session.
    """

    previd: str
    h: int


def read_enable(tag: Tag) -> Enable:
    """What an `<enable/>` asks for. A `max` that is no positive number wishes for nothing.

    Raises:
        StanzaError: bad-request, where `resume` is not a boolean; to be told in `<failed/>`.
    """
    resume = lexical.boolean(tag.attrs.get("resume", "false"))
    if resume is None:
        raise StanzaError(Condition.BAD_REQUEST, "resume is true or false")
    return Enable(resume, lexical.unsigned(tag.attrs.get("max", ""), MODULUS - 1) or None)


def read_resume(tag: Tag) -> Resume:
    """What a `<resume/>` asks for.

    Raises:
        StanzaError: bad-request, where `previd` or a proper `h` is missing; to be told in
            `<failed/>`.
    """
    previd = tag.attrs.get("previd", "")
    h = lexical.unsigned(tag.attrs.get("h", ""), MODULUS - 1)
    if not previd or h is None:
        raise StanzaError(Condition.BAD_REQUEST, "to resume, say previd and h")
    return Resume(previd, h)


def read_a(tag: Tag) -> int:
    """The count in an `<a/>`, from 0 to 2^32 - 1.

    Raises:
        StreamError: bad-format, where it has none: there is nobody to tell otherwise, and what
            else the peer counts wrong nobody knows (§6: misuse may end the stream).
    """
    h = lexical.unsigned(tag.attrs.get("h", ""), MODULUS - 1)
    if h is None:
        raise StreamError(StreamCondition.BAD_FORMAT, "h is a number from 0 to 4294967295")
    return h


def a(h: int) -> bytes:
    """`<a/>`: so many stanzas were handled (§4)."""
    return _A % h


def enabled(
    id: str = "",  # noqa: A002 -- the attribute's name on the wire
    *,
    resume: bool = False,
    max: int | None = None,  # noqa: A002 -- the attribute's name on the wire
    location: str = "",
) -> bytes:
    """`<enabled/>` (§3, §5).

    Args:
        id: the session's identifier; needed to resume.
        resume: whether the session can be resumed.
        max: for how many seconds after its stream is gone.
        location: where to connect to for that: "host:port", "[IPv6]:port".
    """
    text = f"<enabled xmlns='{ns.SM}'"
    if id:
        text += f" id='{escape_attr(id)}'"
    if resume:
        text += " resume='true'"
    if max is not None:
        text += f" max='{max}'"
    if location:
        text += f" location='{escape_attr(location)}'"
    return f"{text}/>".encode()


def resumed(previd: str, h: int) -> bytes:
    """`<resumed/>`: the session goes on; so many stanzas were handled in it (§5)."""
    return f"<resumed xmlns='{ns.SM}' previd='{escape_attr(previd)}' h='{h}'/>".encode()


def failed(condition: Condition, h: int | None = None, text: str = "") -> bytes:
    """`<failed/>` (§6).

    Args:
        condition: why.
        h: how many stanzas were handled in a session that is over, where that is known (§5).
        text: plain words for a person, in English.
    """
    element = Element(ns.SM, "failed", {"h": None if h is None else str(h)})
    element.add(Element(ns.STANZA_ERRORS, condition.value))
    if text:
        element.add(Element(ns.STANZA_ERRORS, "text", {f"{ns.XML} lang": "en"}, [text]))
    return element.to_bytes()
