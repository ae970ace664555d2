"""Bytes inside a stream → frames, with expat: the hot path of the server.

expat checks every byte for well-formedness and namespaces, but no tree is built: a stanza keeps
the raw slice of its payload, and only the head's attributes and the names of the direct
children are looked at. Restricted XML (RFC 6120 §11.1) and everything above the limits is
refused while it is being parsed.

A parser takes about 10 KiB and holds nothing of its stream between two stanzas, so streams
share a small pool of them: a stream owns one only while a stanza has partly arrived.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from xml.parsers import expat

from jabberd.xmpp import ns, quick, sm
from jabberd.xmpp.element import Element, escape_text
from jabberd.xmpp.error import StreamCondition, StreamError
from jabberd.xmpp.frames import (
    BadAddress,
    Frame,
    Limits,
    Nonza,
    StreamEnd,
    StreamOpened,
    parse_in_scope,
)
from jabberd.xmpp.header import Header
from jabberd.xmpp.jid import InvalidJID, parse_jid
from jabberd.xmpp.parser import from_expat, make_parser
from jabberd.xmpp.stanza import AnyStanza, Message, qname

SPACE: Final = b" \t\r\n"
LANG: Final = f"{ns.XML} lang"
# A start tag that expat has accepted; ">" is legal inside attribute values. Possessive, so that
# it cannot backtrack.
TAG: Final = re.compile(rb"""<([^\s>/]++)(?:[^>"']++|"[^"]*+"|'[^']*+')*+>""")
_ATTR: Final = re.compile(rb"""([^\s=<]++)\s*+=\s*+("[^"]*+"|'[^']*+')""")
_HEAD: Final = frozenset({b"to", b"from", b"id", b"type", b"xml:lang"})
_HEAD_KEYS: Final = frozenset({"to", "from", "id", "type", LANG})

# expat scans an unfinished tag again from its beginning at every call. Below `_HOLD` bytes that
# is cheap; above, bytes that cannot finish a tag are held back, and the sum of what is scanned
# again is bounded (CVE-2023-52425 is this attack).
_HOLD: Final = 16 * 1024
_RESCAN_FACTOR: Final = 256

# expat keeps every name that it has seen until it is freed.
_RECYCLE_AFTER: Final = 4 * 1024 * 1024
_POOL_HEADERS: Final = 16
_POOL_DEPTH: Final = 8
_OPENINGS: Final = 256  # stream headers whose meaning is kept

# What ends nearly everything that a client with XEP-0198 writes: an element that needs no parser,
# since it declares what it uses.
_REQUESTS: Final = (sm.R, sm.R.replace(b"'", b'"'))
_LONGEST_OPENING: Final = 512


class Scanner:
    """An expat parser inside a stream whose header it has been fed."""

    __slots__ = (
        "_fits", "_judged", "_parts", "attrs", "base", "begin", "children", "data",
        "declarations", "depth", "done", "elements", "end", "frames", "header", "held", "kind",
        "lang", "limits", "name", "parser", "plain", "rescanned", "single", "total",
    )  # fmt: skip

    def __init__(self, header: Header) -> None:
        self.header = header
        self.limits = Limits()
        self.lang = ""
        self.depth = 0
        self.done = False
        self.elements = 0
        self.declarations = 0
        self.name = ""
        self.attrs: Mapping[str, str] = {}
        self.children: list[str] = []
        self.begin = 0
        self.frames: list[Frame] = []
        self.rescanned = 0
        self.single = False
        self.kind: type[AnyStanza] | None = None  # of the stanza under way, if it is one
        self.plain = False  # the stanza under way needs nothing but its address
        self._judged: Limits | None = None  # the limits of which `_fits` tells
        self._fits = False
        self._parts: list[bytes] = []  # held back, not fed to expat yet
        self.held = 0  # bytes in them
        self.parser = make_parser()
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.StartNamespaceDeclHandler = self._declare
        self.data = header.start
        self.base = 0  # expat's index of self.data[0]
        self.end = 0  # expat's index behind the last whole frame
        self.parser.Parse(header.start, False)
        self.end = self.total = len(header.start)
        self.declarations = 0
        self.data = b""
        self.base = self.total

    def feed(self, data: bytes) -> bool:
        """Parse; whole frames are appended to `frames`. True when the scanner is idle again."""
        if self.single:
            return self._parse(data)
        idle = self.depth == 1 and not self.data and not self.held
        if idle:
            place = self._skim(data)
            if place == len(data):
                return True
            data = data[place:]
        if not data.endswith(_REQUESTS):
            return self._parse(data)
        if not self._parse(data[: -len(sm.R)]):
            # It is inside of something, and perhaps only looks like one.
            return self._parse(data[-len(sm.R) :])
        self._skim(data[-len(sm.R) :])
        return True

    def _skim(self, data: bytes) -> int:
        """Take what needs no parser, from the beginning of bytes between two stanzas on.

        Returns:
            How much that was.
        """
        header, limits, frames = self.header, self.limits, self.frames
        if limits is not self._judged:
            self._judged, self._fits = limits, quick.fits(limits)
        fits = self._fits and header.is_quick
        place, size = 0, len(data)
        while place < size:
            if data.startswith(_REQUESTS, place):
                end = place + len(sm.R)
                frames.append(Nonza(ns.SM, "r", {}, data[place:end], header.scope))
                place = end
                continue
            found = quick.message_at(data, place) if fits else None
            if found is None:
                break
            to, from_, id_, type_, lang, children, inner, end = found
            if end - place > limits.stanza_bytes:
                break
            for word in header.avoided:
                if inner.find(word) >= 0:
                    return place
            language = self.lang if lang is None else lang
            message = Message(None, None, id_, type_, language, children, inner)
            frames.append(_sent(message, to, from_))
            place = end
        return place

    def _parse(self, data: bytes) -> bool:
        pending = len(self.data)
        if pending > _HOLD:
            self._parts.append(data)
            self.held += len(data)
            if b">" not in data:
                self._check_size(self.held + pending)
                return False
            data = b"".join(self._parts)
            self._parts.clear()
            self.held = 0
            self.rescanned += pending
            if self.rescanned > _RESCAN_FACTOR * self.limits.stanza_bytes:
                raise StreamError(
                    StreamCondition.POLICY_VIOLATION, "the stanza arrives in too many pieces"
                )
        self.data = self.data + data if pending else data
        self.total += len(data)
        try:
            self.parser.Parse(data, False)
        except expat.ExpatError as error:
            place = self.parser.ErrorByteIndex - self.base
            raise from_expat(error, self.data[place : place + 4]) from None
        rest = self.total - self.end
        if not rest:
            self.data = b""
        else:
            self.data = self.data[self.end - self.base :]
            if self.depth == 1 and not self.data.strip(SPACE):
                # White space between stanzas keeps connections alive (RFC 6120 §4.6.1).
                self.data = b""
                self.end = self.total
                rest = 0
            else:
                self._check_size(rest)
        self.base = self.end
        return not rest

    def renewed(self) -> Scanner:
        """A scanner in the same place whose parser has forgotten the names of earlier stanzas.

        expat keeps every name that it has seen; who always has a part of the next stanza under
        way would never give the parser back. The scanner itself where there is no need.
        """
        if self.total - len(self.data) < _RECYCLE_AFTER or self.held:
            return self
        new = Scanner(self.header)
        new.limits, new.lang, new.frames = self.limits, self.lang, self.frames
        new.feed(self.data)
        return new

    def _check_size(self, size: int) -> None:
        if size > self.limits.stanza_bytes:
            raise StreamError(
                StreamCondition.POLICY_VIOLATION,
                f"a stanza may have {self.limits.stanza_bytes} bytes",
            )

    def _declare(self, _prefix: str | None, uri: str | None) -> None:
        self.declarations += 1
        if self.declarations > self.limits.declarations:
            raise StreamError(StreamCondition.POLICY_VIOLATION, "too many namespace declarations")
        if uri is not None and len(uri) > self.limits.name_bytes:
            raise StreamError(StreamCondition.POLICY_VIOLATION, "a namespace is too long")

    def _start(self, name: str, attrs: Mapping[str, str]) -> None:
        depth = self.depth = self.depth + 1
        if depth == 2:
            self.name = name
            self.attrs = attrs
            self.children = []
            self.elements = 0
            self.begin = self.parser.CurrentByteIndex
            if self.begin != self.end:
                self._check_between()
            self.kind = self.header.kinds.get(name)
            if self.kind is not None and attrs.keys() <= _HEAD_KEYS:
                # Nothing declared here, nor by the header: then the tag has no prefix either.
                self.plain = self.header.is_plain and not self.declarations
                self.elements = 1
                return
            self.plain = False
        elif depth == 3:
            self.children.append(name)
        elif depth == 1:
            return  # the header, with limits of its own
        limits = self.limits
        self.elements += 1
        if (
            depth - 1 > limits.depth
            or self.elements > limits.elements
            or len(name) > limits.name_bytes
        ):
            self._refuse(name, attrs)
        if attrs:
            if len(attrs) > limits.attributes:
                self._refuse(name, attrs)
            for key in attrs:
                if len(key) > limits.name_bytes:
                    self._refuse(key, {})

    def _refuse(self, name: str, attrs: Mapping[str, str]) -> None:
        limits = self.limits
        if self.depth - 1 > limits.depth:
            why = f"elements may be nested {limits.depth} deep"
        elif self.elements > limits.elements:
            why = f"a stanza may have {limits.elements} elements"
        elif len(name) > limits.name_bytes:
            why = f"a name may have {limits.name_bytes} characters"
        else:
            why = f"an element may have {limits.attributes} attributes, not {len(attrs)}"
        raise StreamError(StreamCondition.POLICY_VIOLATION, why)

    def _check_between(self) -> None:
        between = self.data[self.end - self.base : self.begin - self.base]
        if between.strip(SPACE):
            raise StreamError(StreamCondition.BAD_FORMAT, "text between stanzas")

    def _end(self, _name: str) -> None:
        depth = self.depth = self.depth - 1
        if depth > 1:
            return
        index = self.parser.CurrentByteIndex
        if depth == 0:
            self.begin = index
            self._check_between()
            self.frames.append(StreamEnd())
            self.done = True
            raise FrameRead(b"")  # what follows is nobody's business
        data = self.data
        begin = self.begin - self.base
        if self.plain and ">" not in "".join(self.attrs.values()):
            inner = data.index(b">", begin) + 1
        else:
            tag = TAG.match(data, begin)
            if tag is None:  # expat has accepted the tag, so the expression does
                raise StreamError(StreamCondition.INTERNAL_SERVER_ERROR)
            inner = tag.end()
        if data[inner - 2] == 0x2F:  # "/": an empty-element tag has no end tag
            close = stop = inner
        else:
            close = index - self.base
            stop = data.index(b">", close) + 1
        if stop - begin > self.limits.stanza_bytes:
            self._check_size(stop - begin)
        self.end = stop + self.base
        self.declarations = 0
        self.rescanned = 0
        kind = self.kind
        if kind is not None:
            content = data[inner:close]
            # `find`, since `in` first tries, and fails, to take the bytes for a number.
            if self.plain and content.find(self.header.prefixes[0][0]) < 0:
                found = _addressed(kind, self.attrs, self.lang, tuple(self.children), content, b"")
            else:
                found = self._scoped(kind, data[begin:inner], data[begin:stop], content)
            self.frames.append(found)
        else:
            self._nonza(data[begin:stop])
        if self.single and stop < len(data):
            raise FrameRead(data[stop:])

    def _nonza(self, raw: bytes) -> None:
        namespace, _, local = self.name.rpartition(" ")
        self.frames.append(Nonza(namespace, local, self.attrs, raw, self.header.scope))
        if namespace == ns.STREAM and local == "error":
            # RFC 6120 §4.9.1.1: a stream error ends the stream of whoever sends it.
            self.done = True
            raise FrameRead(b"")

    def _scoped(self, kind: type[AnyStanza], start: bytes, raw: bytes, inner: bytes) -> Frame:
        """A stanza with more in its start tag than an address, or that uses the header's words."""
        if b":" in start.split(None, 1)[0]:
            return self._rewritten(kind, raw)
        attrs = self.attrs
        children = tuple(self.children)
        extra = b""
        own: frozenset[bytes] = _HEAD
        if b"xmlns" in start or not attrs.keys() <= _HEAD_KEYS:
            found = _ATTR.findall(start)
            own = frozenset(name for name, _ in found)
            extra = b"".join(
                b" %s=%s" % (name, value)
                for name, value in found
                if name not in _HEAD and name != b"xmlns"
            )
        for prefix, name, declaration in self.header.prefixes:
            # Names, not text: a value may look like a declaration.
            if (prefix in inner or prefix in extra) and name not in own:
                extra += declaration
        if self.header.content != ns.CLIENT:
            children = _as_client(children, self.header.content)
        return _addressed(kind, attrs, self.lang, children, inner, extra)

    def _rewritten(self, kind: type[AnyStanza], raw: bytes) -> Frame:
        # RFC 6120 §4.8.5 lets a sender prefix its stanzas; inside this server they never are.
        tree = parse_in_scope(raw, self.header.scope)
        attrs = {key: value for key, value in tree.attrs.items() if key in _HEAD_KEYS}
        content = self.header.content
        inner = b"".join(_child_bytes(child, content) for child in tree.children)
        others = {key: value for key, value in tree.attrs.items() if key not in _HEAD_KEYS}
        extra = Element(ns.CLIENT, "x", others).to_bytes()[len("<x") : -len("/>")]
        children = _as_client(tuple(qname(child.ns, child.name) for child in tree), content)
        return _addressed(kind, attrs, self.lang, children, inner, extra)


def _child_bytes(child: Element | str, content: str) -> bytes:
    if isinstance(child, str):
        return escape_text(child).encode()
    return child.to_bytes(content)


def _as_client(children: tuple[str, ...], content: str) -> tuple[str, ...]:
    start = f"{content} "
    return tuple(
        f"{ns.CLIENT} {name[len(start) :]}" if name.startswith(start) else name for name in children
    )


def _addressed(
    kind: type[AnyStanza],
    attrs: Mapping[str, str],
    lang: str,
    children: tuple[str, ...],
    inner: bytes,
    extra: bytes,
) -> Frame:
    get = attrs.get
    # RFC 6120 §8.1.5: the stream's language is the default.
    stanza = kind(
        None, None, get("id", ""), get("type", ""), get(LANG, lang), children, inner, extra
    )
    return _sent(stanza, get("to"), get("from"))


def _sent(stanza: AnyStanza, to: str | None, from_: str | None) -> Frame:
    """The stanza with its addresses."""
    bad: BadAddress | None = None
    if to is not None:
        try:
            stanza.to = parse_jid(to)
        except InvalidJID as error:
            bad = BadAddress(stanza, "to", str(error))
    if from_ is not None:
        try:
            stanza.from_ = parse_jid(from_)
        except InvalidJID as error:
            bad = bad or BadAddress(stanza, "from", str(error))
    return bad or stanza


class FrameRead(Exception):  # noqa: N818 -- no error: it makes expat stop behind a frame
    """One frame is whole, and it may change how the bytes behind it are to be read."""

    def __init__(self, rest: bytes) -> None:
        super().__init__()
        self.rest = rest


class Pool:
    """The stream headers in use and, with each, idle scanners. Used by one thread."""

    def __init__(self) -> None:
        self._headers: dict[bytes, Header] = {}
        self._idle: dict[Header, list[Scanner]] = {}
        self.openings: dict[bytes, tuple[StreamOpened, Header]] = {}

    def header(self, tag: bytes, content: str, declared: Mapping[str, str]) -> Header:
        """The header with these declarations, the same one for all streams that have it."""
        header = Header(tag, content, declared)
        known = self._headers.get(header.start)
        if known is not None:
            return known
        # Headers are the peers' words: share and keep parsers for a few of them only.
        if len(self._headers) >= _POOL_HEADERS:
            self._idle.pop(self._headers.pop(next(iter(self._headers))))
        self._headers[header.start] = header
        self._idle[header] = []
        return header

    def remember(self, data: bytes, rest: int, opened: StreamOpened, header: Header) -> None:
        """Keep what a stream header meant; `rest` is the length of what follows it in `data`."""
        start = data[: len(data) - rest]
        if len(start) <= _LONGEST_OPENING and not start.endswith(b"/>"):
            if len(self.openings) >= _OPENINGS:
                self.openings.pop(next(iter(self.openings)))
            self.openings[start] = (opened, header)

    def take(self, header: Header) -> Scanner:
        """A scanner inside a stream of this header."""
        idle = self._idle.get(header)
        return idle.pop() if idle else Scanner(header)

    def give(self, scanner: Scanner) -> None:
        """Take an idle scanner back; it is kept where there is room."""
        idle = self._idle.get(scanner.header)
        if idle is not None and scanner.total <= _RECYCLE_AFTER and len(idle) < _POOL_DEPTH:
            idle.append(scanner)
