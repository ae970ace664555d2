"""What a stream is made of, as the framer tells it, and how large it may be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from jabberd.xmpp.element import Element, ParseError, parse
from jabberd.xmpp.error import StreamCondition, StreamError
from jabberd.xmpp.stanza import AnyStanza, Iq, Message, Presence


@dataclass(frozen=True, slots=True)
class Limits:
    """What one first-level element may be. Crossing one closes the stream (policy-violation).

    Attributes:
        stanza_bytes: its size on the wire; also of the stream header.
        depth: nesting, counted from the stanza itself.
        elements: how many elements are inside, at all levels.
        attributes: how many one element may have.
        declarations: how many namespace declarations are inside.
        name_bytes: length of one name together with its namespace, in characters.
    """

    stanza_bytes: int = 262_144
    depth: int = 64
    elements: int = 10_000
    attributes: int = 64
    declarations: int = 1_000
    name_bytes: int = 1_024


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """The stream header.

    Attributes:
        namespace: the content namespace (the default namespace of the header).
        to: its `to`, as it came.
        from_: its `from`, as it came.
        id: its `id`.
        version: its `version`; None where it has none: a client from before XMPP 1.0.
        lang: its `xml:lang`.
    """

    namespace: str
    to: str
    from_: str
    id: str
    version: str | None
    lang: str


# An element with nothing but plain text in it. A ">" inside an attribute does not match: no
# end tag can follow it there.
_SIMPLE: Final = re.compile(rb"<[^<>&]++>([A-Za-z0-9+/=]*+)</[^<>]++>")


class Nonza:
    """A first-level element that is no stanza: `<starttls/>`, `<auth/>`, `<r/>` and the like."""

    __slots__ = ("attrs", "name", "ns", "raw", "scope")

    def __init__(
        self, namespace: str, name: str, attrs: Mapping[str, str], raw: bytes, scope: bytes
    ) -> None:
        self.ns = namespace
        self.name = name
        self.attrs = attrs
        self.raw = raw
        self.scope = scope  # the declarations of the stream header that it relies on

    def element(self) -> Element:
        """The element as a tree."""
        return parse_in_scope(self.raw, self.scope)

    @property
    def text(self) -> str:
        """The character data directly inside."""
        simple = _SIMPLE.fullmatch(self.raw)  # as SASL's always are
        return simple[1].decode() if simple else self.element().text

    def __repr__(self) -> str:
        return f"Nonza({self.ns!r}, {self.name!r}, {self.attrs!r})"


@dataclass(frozen=True, slots=True)
class BadAddress:
    """A stanza whose `to` or `from` is no JID; the stanza has None in its place.

    Attributes:
        stanza: everything else.
        attr: "to" or "from".
        why: what is wrong with the address, in plain words.
    """

    stanza: AnyStanza
    attr: str
    why: str


@dataclass(frozen=True, slots=True)
class StreamEnd:
    """The closing tag of the stream; what follows it is ignored."""


@dataclass(frozen=True, slots=True)
class Broken:
    """The stream cannot go on; always the last frame.

    Attributes:
        error: what to tell the peer.
    """

    error: StreamError


Frame = StreamOpened | Message | Presence | Iq | Nonza | BadAddress | StreamEnd | Broken


def parse_in_scope(raw: bytes, scope: bytes) -> Element:
    """One element as a tree, where `scope` holds the declarations around it."""
    try:
        outer = parse(b"<x%s>%s</x>" % (scope, raw))
    except ParseError as error:
        raise StreamError(StreamCondition.NOT_WELL_FORMED, str(error)) from None
    return next(iter(outer))
