"""Stanzas: an addressed head, the raw bytes inside, and the names of the direct children.

A stanza is routed without its payload being parsed. `children` answers "is there a
``<private/>`` in it?", `payload` makes a tree when somebody really has to look. Stanzas are
values: change one by `replace`, never in place.

In memory the content namespace (``<body/>``, ``<show/>`` …) is always ``jabber:client``,
whatever stream the stanza came by: children inherit the default namespace of the stream that
they are written to (RFC 6120 §4.8.2).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import ClassVar, Final, Literal, Self, TypeVar, cast

from jabberd.xmpp import ns
from jabberd.xmpp.element import (
    Element,
    ParseError,
    escape_attr,
    escape_text,
    parse,
    parse_fragment,
)
from jabberd.xmpp.error import LEGACY_CODE, Condition, ErrorType, StanzaError
from jabberd.xmpp.jid import JID, InvalidJID

_S = TypeVar("_S", bound="Stanza")
_BYTE: Final = re.compile(r"[+-]?[0-9]{1,9}")
_KEEP: Final = cast("JID", object())  # "leave the address as it is", since None is an address


def qname(namespace: str, name: str) -> str:
    """The form in which `Stanza.children` holds names: ``"namespace name"``, as expat does."""
    return f"{namespace} {name}" if namespace else name


class Stanza:
    """What messages, presences and IQs share.

    Attributes:
        to: the recipient, or None where the sender named none.
        from_: the sender; set by the server that the sender is connected to.
        id: the identifier, or an empty string.
        type: the type attribute as it came, or an empty string.
        lang: the xml:lang in force, or an empty string.
        children: names of the direct children, each ``"namespace name"``.
        inner: the bytes between start and end tag, valid where the default namespace is the
            stream's content namespace.
        extra: further attributes and prefix declarations of the start tag, verbatim, with a
            space before each.
    """

    __slots__ = ("_wire", "children", "extra", "from_", "id", "inner", "lang", "to", "type")
    tag: ClassVar[str]
    _end: ClassVar[bytes]  # the end tag

    def __init_subclass__(cls) -> None:
        cls._end = f"</{cls.tag}>".encode()

    def __init__(  # noqa: PLR0913 -- the head of a stanza has these parts
        self,
        to: JID | None = None,
        from_: JID | None = None,
        id: str = "",  # noqa: A002 -- the attribute's name on the wire
        type: str = "",  # noqa: A002 -- the attribute's name on the wire
        lang: str = "",
        children: tuple[str, ...] = (),
        inner: bytes = b"",
        extra: bytes = b"",
    ) -> None:
        self.to = to
        self.from_ = from_
        self.id = id
        self.type = type
        self.lang = lang
        self.children = children
        self.inner = inner
        self.extra = extra
        self._wire: bytes | None = None

    @classmethod
    def build(
        cls,
        payload: Iterable[Element] = (),
        *,
        to: JID | None = None,
        from_: JID | None = None,
        id: str = "",  # noqa: A002 -- the attribute's name on the wire
        type: str = "",  # noqa: A002 -- the attribute's name on the wire
    ) -> Self:
        """A stanza made of trees, for what the server itself says."""
        elements = list(payload)
        return cls(
            to=to,
            from_=from_,
            id=id,
            type=type,
            children=tuple(qname(element.ns, element.name) for element in elements),
            inner=b"".join(element.to_bytes() for element in elements),
        )

    def replace(
        self, *, to: JID | None = _KEEP, from_: JID | None = _KEEP, lang: str | None = None
    ) -> Self:
        """A copy with another head; the payload is shared."""
        return type(self)(
            self.to if to is _KEEP else to,
            self.from_ if from_ is _KEEP else from_,
            self.id,
            self.type,
            self.lang if lang is None else lang,
            self.children,
            self.inner,
            self.extra,
        )

    def with_payload(self, inner: bytes, children: tuple[str, ...]) -> Self:
        """A copy with another payload under the same head."""
        copy = self.replace()
        copy.inner = inner
        copy.children = children
        return copy

    def with_child(self, element: Element) -> Self:
        """A copy with one more child at the end."""
        return self.with_tail(element.to_bytes(), qname(element.ns, element.name))

    def with_tail(self, data: bytes, name: str) -> Self:
        """A copy with one more child at the end, which is written already.

        Where this stanza has been written, its copy is made of the same bytes.

        Args:
            data: the child; it may rely on no prefix, and its default namespace is
                ``jabber:client``.
            name: its name as `children` holds it.
        """
        inner, wire = self.inner, self._wire
        names = (*self.children, name)
        copy = type(self)(
            self.to, self.from_, self.id, self.type, self.lang, names, inner + data, self.extra
        )
        if inner and wire is not None:
            end = self._end
            copy._wire = b"".join((wire[: -len(end)], data, end))  # noqa: SLF001 -- of this class
        return copy

    def has(self, namespace: str, name: str) -> bool:
        """Whether there is a direct child of this name."""
        return qname(namespace, name) in self.children

    def payload(self) -> list[Element]:
        """The direct child elements as trees, parsed now.

        Raises:
            ParseError: the payload uses a prefix that nothing declares (never after framing).
        """
        if not self.inner:
            return []
        if self.extra:
            # Prefixes declared on the stanza's own start tag are in scope inside it.
            wrapped = b"<x%s>%s</x>" % (self.extra, self.inner)
            outer = parse_fragment(wrapped)[0]
            return list(outer) if isinstance(outer, Element) else []
        return [child for child in parse_fragment(self.inner) if isinstance(child, Element)]

    def child(self, namespace: str, name: str) -> Element | None:
        """The first direct child of this name as a tree; parses only when there is one."""
        if not self.has(namespace, name):
            return None
        return next((c for c in self.payload() if c.name == name and c.ns == namespace), None)

    def to_bytes(self, content_ns: str = ns.CLIENT) -> bytes:
        """The stanza for a stream whose default namespace is `content_ns`."""
        # A payload that says xmlns='jabber:client' in so many words would keep its old
        # namespace on another stream: rewrite it through a tree. What says nothing inherits it.
        if content_ns != ns.CLIENT and (
            self.inner.find(b"jabber:client") >= 0 or self.extra.find(b"jabber:client") >= 0
        ):
            inner = b"".join(c.to_bytes(ns.CLIENT) for c in self.payload())
            return self.with_payload(inner, self.children).to_bytes()
        if self._wire is None:
            self._wire = self._serialise()
        return self._wire

    def in_namespace(self) -> bytes:
        """The stanza as a child of some other element: with its namespace declared on it."""
        wire, start = self.to_bytes(), len(self.tag) + len("<")
        return b"%s xmlns='jabber:client'%s" % (wire[:start], wire[start:])

    def _serialise(self) -> bytes:
        head = f"<{self.tag}"
        if self.from_ is not None:
            head += f" from='{self.from_.xml}'"
        if self.to is not None:
            head += f" to='{self.to.xml}'"
        # Most attributes have nothing to escape, which is quicker to see than to search.
        if value := self.type:
            head += f" type='{value if value.isalnum() else escape_attr(value)}'"
        if value := self.id:
            head += f" id='{value if value.isalnum() else escape_attr(value)}'"
        if value := self.lang:
            head += f" xml:lang='{value if value.isalnum() else escape_attr(value)}'"
        if not self.inner:
            return b"%s%s/>" % (head.encode(), self.extra)
        return b"".join((head.encode(), self.extra, b">", self.inner, self._end))

    def __repr__(self) -> str:
        return (
            f"<{self.tag} from={self.from_} to={self.to} type={self.type!r} id={self.id!r}"
            f" children={self.children}>"
        )


class Message(Stanza):
    """RFC 6121 §5."""

    __slots__ = ()
    tag = "message"
    TYPES: ClassVar = frozenset({"chat", "error", "groupchat", "headline", "normal"})

    @property
    def kind(self) -> str:
        """The type in force: absent and unknown ones mean "normal" (RFC 6121 §5.2.2)."""
        return self.type if self.type in self.TYPES else "normal"

    def body(self) -> str | None:
        """The text of the first body, if there is one."""
        element = self.child(ns.CLIENT, "body")
        return None if element is None else element.text


class Presence(Stanza):
    """RFC 6121 §4; type is empty for an available presence."""

    __slots__ = ()
    tag = "presence"
    TYPES: ClassVar = frozenset(
        {
            "",
            "error",
            "probe",
            "subscribe",
            "subscribed",
            "unavailable",
            "unsubscribe",
            "unsubscribed",
        }
    )
    SUBSCRIPTION_TYPES: ClassVar = frozenset(
        {"subscribe", "subscribed", "unsubscribe", "unsubscribed"}
    )

    def priority(self) -> int:
        """The priority between -128 and 127, 0 where absent (RFC 6121 §4.7.2.3).

        Raises:
            StanzaError: bad-request, where it is not such a number.
        """
        element = self.child(ns.CLIENT, "priority")
        if element is None:
            return 0
        text = element.text.strip()
        # xs:byte; `int` would take other scripts' digits, and underscores.
        value = int(text) if _BYTE.fullmatch(text) else 1000
        if not -128 <= value <= 127:
            raise StanzaError(Condition.BAD_REQUEST, "priority is a number from -128 to 127")
        return value


class Iq(Stanza):
    """RFC 6120 §8.2.3."""

    __slots__ = ()
    tag = "iq"
    TYPES: ClassVar = frozenset({"get", "set", "result", "error"})

    @property
    def is_request(self) -> bool:
        """Whether an answer is owed."""
        return self.type in {"get", "set"}

    def request(self) -> Element:
        """The one child of a request as a tree.

        Raises:
            StanzaError: bad-request, where there is none or more than one.
        """
        elements = self.payload()
        if len(elements) != 1:
            raise StanzaError(Condition.BAD_REQUEST, "an IQ request has exactly one child element")
        return elements[0]

    def result(self, *payload: Element) -> Iq:
        """The result that answers this request."""
        return Iq.build(payload, to=self.from_, from_=self.to, id=self.id, type="result")


AnyStanza = Message | Presence | Iq
Tag = Literal["message", "presence", "iq"]
_KINDS: Final[dict[str, type[AnyStanza]]] = {k.tag: k for k in (Message, Presence, Iq)}


def read_stanza(data: bytes) -> AnyStanza:
    """The stanza that `Stanza.to_bytes` once made these bytes of; for what was stored.

    Raises:
        ParseError: the bytes are not one stanza with valid addresses.
    """
    tree = parse(data)
    kind = _KINDS.get(tree.name)
    if kind is None or tree.ns != ns.CLIENT:
        raise ParseError(f"{tree.name[:50]!r} is no stanza")
    try:
        to, from_ = (JID.parse(text) if (text := tree.get(key)) else None for key in ("to", "from"))
    except InvalidJID as error:
        raise ParseError(str(error)) from None
    return kind(
        to=to,
        from_=from_,
        id=tree.get("id"),
        type=tree.get("type"),
        lang=tree.get(f"{ns.XML} lang"),
        children=tuple(qname(child.ns, child.name) for child in tree),
        inner=b"".join(
            escape_text(child).encode() if isinstance(child, str) else child.to_bytes()
            for child in tree.children
        ),
    )


def error_element(error: StanzaError, by: JID | None = None) -> Element:
    """The `<error/>` child (RFC 6120 §8.3.2), with the code that clients of 1999 read."""
    element = Element(
        ns.CLIENT,
        "error",
        {
            "type": error.type.value,
            "code": str(LEGACY_CODE[error.condition]),
            "by": by.text if by else None,
        },
        [Element(ns.STANZA_ERRORS, error.condition.value)],
    )
    if error.text:
        lang = f"{ns.XML} lang"
        element.add(Element(ns.STANZA_ERRORS, "text", {lang: "en"}, [error.text]))
    if error.app is not None:
        element.add(error.app)
    return element


def error_reply(stanza: _S, error: StanzaError, by: JID | None = None) -> _S:
    """The error stanza that returns `stanza` to its sender (RFC 6120 §8.3.1).

    The caller makes sure that `stanza` is not itself an error: errors are never answered.
    """
    return type(stanza).build(
        [error_element(error, by)], to=stanza.from_, from_=stanza.to, id=stanza.id, type="error"
    )


def read_error(stanza: Stanza) -> StanzaError:
    """The error that an error stanza carries; undefined-condition where it names none."""
    element = stanza.child(ns.CLIENT, "error")
    if element is None:
        return StanzaError(Condition.UNDEFINED_CONDITION)
    condition, text = Condition.UNDEFINED_CONDITION, ""
    for child in element:
        if child.ns != ns.STANZA_ERRORS:
            continue
        if child.name == "text":
            text = child.text
        else:
            try:
                condition = Condition(child.name)
            except ValueError:
                condition = Condition.UNDEFINED_CONDITION
    try:
        kind = ErrorType(element.get("type", "cancel"))
    except ValueError:
        kind = condition.usual_type
    return StanzaError(condition, text, kind)


__all__ = [
    "AnyStanza",
    "Iq",
    "Message",
    "ParseError",
    "Presence",
    "Stanza",
    "Tag",
    "error_element",
    "error_reply",
    "qname",
    "read_error",
    "read_stanza",
]
