"""A small XML tree, for payloads that somebody has to look into.

Stanzas are routed as raw slices (`framer`); a tree is made on demand and thrown away.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final
from xml.parsers import expat

from jabberd.xmpp import ns

_PREDEFINED: Final = {ns.XML: "xml"}  # Namespaces in XML §3: bound without a declaration
_XML_CHAR: Final = "\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff"
_SPECIAL: Final = re.compile("[&<>\r]")
_SPECIAL_ATTR: Final = re.compile("[&<>\"'\r\n\t]")
# Nearly every string needs no change: one search decides that.
_SUSPECT: Final = re.compile(f"[&<>\"'\r\n\t]|[^{_XML_CHAR}]").search
_ENTITY: Final = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    '"': "&quot;",
    "'": "&apos;",
    "\r": "&#13;",
    "\n": "&#10;",
    "\t": "&#9;",
}
# XML 1.0 §2.2: characters that no escape can carry. One invalid character that we let into a
# stream costs the reader its whole stream.
_INVALID: Final = re.compile(f"[^{_XML_CHAR}]")


class ParseError(ValueError):
    """The bytes are not one balanced, namespace-well-formed fragment of XML."""


def escape_text(text: str) -> str:
    """Escape character data; characters that XML cannot carry become U+FFFD."""
    if _SUSPECT(text) is None:
        return text
    text = _INVALID.sub("\ufffd", text)
    return _SPECIAL.sub(lambda match: _ENTITY[match[0]], text)


def escape_attr(text: str) -> str:
    """Escape an attribute value for either kind of quotes."""
    if _SUSPECT(text) is None:
        return text
    text = _INVALID.sub("\ufffd", text)
    return _SPECIAL_ATTR.sub(lambda match: _ENTITY[match[0]], text)


class Element:
    """An XML element.

    Attributes:
        ns: its namespace, or an empty string.
        name: its local name.
        attrs: attributes; a namespaced one is keyed ``"namespace name"`` (one space).
        children: elements and character data in document order.
    """

    __slots__ = ("attrs", "children", "name", "ns")

    def __init__(
        self,
        namespace: str,
        name: str,
        attrs: Mapping[str, str | None] | None = None,
        children: Iterable[Element | str] = (),
    ) -> None:
        """Attributes whose value is None are left out, which saves callers a branch."""
        self.ns = namespace
        self.name = name
        self.attrs = {key: value for key, value in (attrs or {}).items() if value is not None}
        self.children: list[Element | str] = list(children)

    def __repr__(self) -> str:
        return f"Element({self.ns!r}, {self.name!r}, {self.attrs!r}, {self.children!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Element):
            return NotImplemented
        return (self.ns, self.name, self.attrs, self.children) == (
            other.ns,
            other.name,
            other.attrs,
            other.children,
        )

    __hash__ = None  # type: ignore[assignment]  # mutable: must not be a key

    def __iter__(self) -> Iterator[Element]:
        """The child elements, without character data."""
        return (child for child in self.children if isinstance(child, Element))

    def get(self, attr: str, default: str = "") -> str:
        """An attribute's value, or `default`."""
        return self.attrs.get(attr, default)

    def find(self, namespace: str, name: str) -> Element | None:
        """The first child element of this name."""
        return next((c for c in self if c.name == name and c.ns == namespace), None)

    def find_all(self, namespace: str, name: str) -> list[Element]:
        """Every child element of this name."""
        return [c for c in self if c.name == name and c.ns == namespace]

    @property
    def text(self) -> str:
        """The character data directly inside, joined."""
        return "".join(child for child in self.children if isinstance(child, str))

    def child_text(self, namespace: str, name: str) -> str | None:
        """The text of the first child of this name; None where there is no such child."""
        child = self.find(namespace, name)
        return None if child is None else child.text

    def add(self, *children: Element | str) -> Element:
        """Append children and return this element, so that trees can be written in place."""
        self.children.extend(children)
        return self

    def to_bytes(self, default_ns: str = ns.CLIENT) -> bytes:
        """Serialise for a place where `default_ns` is the default namespace."""
        parts: list[str] = []
        _write(self, default_ns, parts.append)
        return "".join(parts).encode()


def _write(element: Element, default_ns: str, emit: Callable[[str], object]) -> None:
    tag, inside = element.name, element.ns
    if inside in _PREDEFINED:  # may be bound to no other prefix, nor be the default
        tag, inside = f"{_PREDEFINED[inside]}:{tag}", default_ns
    emit(f"<{tag}")
    if inside != default_ns:
        emit(f" xmlns='{escape_attr(element.ns)}'")
    for index, (key, value) in enumerate(element.attrs.items()):
        namespace, space, name = key.rpartition(" ")
        if not space:
            emit(f" {key}='{escape_attr(value)}'")
        elif namespace in _PREDEFINED:
            emit(f" {_PREDEFINED[namespace]}:{name}='{escape_attr(value)}'")
        else:
            emit(
                f" xmlns:a{index}='{escape_attr(namespace)}' a{index}:{name}='{escape_attr(value)}'"
            )
    if not element.children:
        emit("/>")
        return
    emit(">")
    for child in element.children:
        if isinstance(child, str):
            emit(escape_text(child))
        else:
            _write(child, inside, emit)
    emit(f"</{tag}>")


class _Builder:
    """Collects expat's calls into a tree; the outermost element is the caller's wrapper."""

    def __init__(self) -> None:
        self.stack: list[Element] = []
        self.root: Element | None = None

    def start(self, name: str, attrs: list[str]) -> None:
        namespace, _, local = name.rpartition(" ")
        element = Element(namespace, local)
        element.attrs = dict(zip(attrs[::2], attrs[1::2], strict=True))
        if self.stack:
            self.stack[-1].children.append(element)
        else:
            self.root = element
        self.stack.append(element)

    def end(self, _name: str) -> None:
        self.stack.pop()

    def text(self, data: str) -> None:
        self.stack[-1].children.append(data)


def _refuse(*_args: object) -> None:
    # RFC 6120 §11.1; storage and embedding code meet the same parser rules as streams do.
    raise ParseError("comments, processing instructions and DTDs are not XMPP")


def parse_fragment(data: bytes, default_ns: str = ns.CLIENT) -> list[Element | str]:
    """Parse the inside of an element whose default namespace is `default_ns`.

    Raises:
        ParseError: the bytes are not balanced, well-formed, restricted XML.
    """
    parser = expat.ParserCreate("utf-8", " ")
    parser.buffer_text = True
    parser.ordered_attributes = True
    builder = _Builder()
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.text
    parser.CommentHandler = _refuse
    parser.ProcessingInstructionHandler = _refuse
    parser.StartDoctypeDeclHandler = _refuse
    opening = f"<x xmlns='{escape_attr(default_ns)}'>".encode()
    try:
        parser.Parse(b"".join((opening, data, b"</x>")), True)
    except expat.ExpatError as error:
        raise ParseError(str(error)) from None
    root = builder.root
    if root is None or builder.stack:
        raise ParseError("unbalanced fragment")
    return root.children


def parse(data: bytes, default_ns: str = ns.CLIENT) -> Element:
    """Parse one element.

    Raises:
        ParseError: the bytes are not exactly one well-formed element.
    """
    children = parse_fragment(data, default_ns)
    elements = [child for child in children if isinstance(child, Element)]
    if len(elements) != 1 or any(isinstance(c, str) and c.strip() for c in children):
        raise ParseError("expected exactly one element")
    return elements[0]
