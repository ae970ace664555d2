"""Streams as documents: generators, and a full parser to compare the framer with."""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence
from typing import Any
from xml.parsers import expat

from hypothesis import strategies as st

from jabberd.xmpp.framer import Framer
from jabberd.xmpp.frames import BadAddress, Broken, Frame, Limits, Nonza
from jabberd.xmpp.scanner import Pool
from jabberd.xmpp.stanza import Stanza

STREAM = "http://etherx.jabber.org/streams"
LANG = "{http://www.w3.org/XML/1998/namespace}lang"
HEADER = (
    b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'"
    b" to='example.com' version='1.0'>"
)
END = b"</stream:stream>"
ROOMY = Limits(stanza_bytes=1_000_000)

# Generators. `p` and `jc` are declared on the header, `q` only on what happens to declare it:
# some of these documents are not namespace-well-formed, and the full parser says which.

TEXTS = st.sampled_from(
    ["", "hello", " ", "\n\t", "a>b", "&lt;&amp;&gt;", "&#65;&#x1F600;", "ä", "€", "😀", "\r\n",
     "]]", "<![CDATA[<not> a & tag ]]>", "<![CDATA[]]>", "p:x q:y", "\x7f\u0085\u2028"]
)  # fmt: skip
VALUES = st.sampled_from(
    ["", "1", "a>b", "/", "&lt;&quot;", "ä€😀", "&#10;&#9;", "two words", " xmlns:p=", "x='y'/>",
     "p:x", "  "]
)  # fmt: skip
SPACES = st.sampled_from(["", "", " ", "\n", " \t\r\n"])
DECLARATIONS = st.sampled_from(
    ["", "", "", " xmlns='urn:d'", " xmlns=''", " xmlns='jabber:client'", " xmlns:q='urn:q'",
     " xmlns:p='urn:other'", " xmlns:q='urn:q' xmlns='urn:e'", " xmlns:xml='http://www.w3.org/XML/1998/namespace'"]
)  # fmt: skip
NAMES = st.sampled_from(["body", "x", "p:x", "q:y", "jc:body", "é", "xml:x"])
ATTRS = st.sampled_from(["a", "b", "p:c", "q:d", "xml:space", "xml:lang", "é"])
HEADS = st.sampled_from(["message", "presence", "iq", "jc:message", "jc:iq", "r", "p:r"])
JIDS = st.sampled_from(["romeo@example.net", "example.net", "a@b.example/ä ö", "x@y.example/😀"])


@st.composite
def _attributes(draw: st.DrawFn) -> str:
    parts = []
    for name in draw(st.lists(ATTRS, max_size=3, unique=True)):
        quote = draw(st.sampled_from("'\""))
        value = (
            draw(VALUES).replace("<", "&lt;").replace(quote, "&#39;" if quote == "'" else "&#34;")
        )
        space = draw(SPACES)
        parts.append(f" {name}{space}={space}{quote}{value}{quote}")
    return "".join(parts)


def _element(draw: st.DrawFn, name: str, attrs: str, inside: str) -> str:
    space = draw(SPACES)
    if not inside and draw(st.booleans()):
        return f"<{name}{attrs}{space}/>"
    return f"<{name}{attrs}{space}>{inside}</{name}{space}>"


@st.composite
def _children(draw: st.DrawFn, depth: int = 0) -> str:
    parts = []
    for _ in range(draw(st.integers(0, 3 - depth))):
        parts.append(draw(TEXTS))
        attrs = draw(DECLARATIONS) + draw(_attributes())
        inside = draw(_children(depth + 1)) if depth < 2 else draw(TEXTS)
        parts.append(_element(draw, draw(NAMES), attrs, inside))
    parts.append(draw(TEXTS))
    return "".join(parts)


@st.composite
def stanzas(draw: st.DrawFn) -> str:
    """One first-level element."""
    attrs = ""
    for name in draw(st.lists(st.sampled_from(["to", "from"]), max_size=2, unique=True)):
        attrs += f" {name}='{draw(JIDS)}'"
    if draw(st.booleans()):
        attrs += " type='chat&apos;s' id=\"i>1\""
    attrs += draw(DECLARATIONS) + draw(_attributes())
    return _element(draw, draw(HEADS), attrs, draw(_children()))


@st.composite
def headers(draw: st.DrawFn) -> str:
    """A stream header."""
    text = draw(
        st.sampled_from(
            ["", "<?xml version='1.0'?>", "\n<?xml version=\"1.0\" encoding='UTF-8'?>\n"]
        )
    )
    lang = draw(st.sampled_from(["", " xml:lang='de'"]))
    return (
        f"{text}<stream:stream xmlns='jabber:client' xmlns:stream='{STREAM}' xmlns:p='urn:p'"
        f" xmlns:jc=\"jabber:client\"{lang} to='example.com' a='>'>"
    )


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    """A whole stream."""
    parts = [draw(headers())]
    for _ in range(draw(st.integers(0, 4))):
        parts += [draw(SPACES), draw(stanzas())]
    parts += [draw(SPACES), "</stream:stream>"]
    return "".join(parts).encode()


NASTY = st.sampled_from(
    [b"<!-- c -->", b"<?pi x?>", b"<!DOCTYPE x>", b"<!DOCTYPE x [<!ENTITY e 'f'>]>", b"&e;",
     b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xc0\x80", b"<", b">", b"&", b"]]>",
     b"\0", b"\x01", b"'", b'"', b"/", b"=", b"text", b"<z:z/>", b"</body>", b"</message>", b"<a",
     b" a='1' a='1'", b" xmlns:p=''", b" xmlns:xml='urn:x'", b"<![CDATA[", b"\xef\xbf\xbe", b"&#0;",
     b"&#xD800;", b"&#32;", b"\xef\xbb\xbf", b"<?xml version='1.0'?>", END, b"\r"]
)  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A stream in which something is wrong, most of the time."""
    data = draw(documents())
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        if draw(st.booleans()):
            data = data[:at] + draw(NASTY) + data[at:]
        else:
            data = data[:at] + data[at + draw(st.integers(1, 8)) :]
    return data


CUTS = st.lists(st.floats(0, 1, exclude_max=True), max_size=12)


def cut(data: bytes, places: Sequence[float]) -> list[bytes]:
    """The data in pieces."""
    edges = [0, *sorted(int(place * len(data)) for place in places), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


def every_byte(data: bytes) -> list[bytes]:
    """The data in the smallest pieces."""
    return [data[at : at + 1] for at in range(len(data))]


# The framer at work


def shown(frame: Frame) -> object:
    """A frame as a value that can be compared; of an error only what the peer can rely on."""
    if isinstance(frame, Broken):
        return ("broken", frame.error.condition)
    if isinstance(frame, Nonza):
        return (frame.ns, frame.name, dict(frame.attrs), frame.raw, frame.scope)
    if isinstance(frame, BadAddress):
        return ("bad", frame.attr, shown(frame.stanza))
    if isinstance(frame, Stanza):
        return (frame.to_bytes(), frame.children, frame.inner, frame.extra)
    return frame


def frames_of(pieces: Iterable[bytes], limits: Limits = ROOMY) -> list[Frame]:
    """What a new framer makes of the pieces."""
    framer = Framer(limits, Pool())
    return [frame for piece in pieces for frame in framer.feed(piece)]


def shown_of(pieces: Iterable[bytes], limits: Limits = ROOMY) -> list[object]:
    """The same, to be compared."""
    return [shown(frame) for frame in frames_of(pieces, limits)]


# The full parser


def tree_of(data: bytes) -> ET.Element | None:
    """The document as a tree with its comments and PIs; None where it is not well-formed."""
    builder = ET.TreeBuilder(insert_comments=True, insert_pis=True)
    try:
        return ET.fromstring(data, ET.XMLParser(target=builder))
    except (ET.ParseError, ValueError, LookupError):
        return None


def has_doctype(data: bytes) -> bool:
    """Whether a well-formed document has a document type declaration."""
    found: list[object] = []
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = lambda *args: found.append(args)
    parser.Parse(data, True)
    return bool(found)


def is_restricted(tree: ET.Element) -> bool:
    """Whether there are comments or PIs in it: their tags are functions."""
    return any(not isinstance(element.tag, str) for element in tree.iter())


def plain(element: ET.Element, lang: str = "") -> Any:
    """An element as nested tuples; `lang` is what it has where it says nothing itself."""
    attrs = dict(element.attrib)
    if lang:
        attrs.setdefault(LANG, lang)
    inside: list[Any] = [element.text or ""]
    for child in element:
        inside += [plain(child), child.tail or ""]
    return (element.tag, attrs, inside)
