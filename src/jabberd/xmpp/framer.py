"""The receiving half of one XML stream: whatever bytes arrive → frames."""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from collections.abc import Mapping
from typing import Final
from xml.parsers import expat

from jabberd.xmpp import ns
from jabberd.xmpp.error import LocalError, StreamCondition, StreamError
from jabberd.xmpp.frames import Broken, Frame, Limits, StreamOpened
from jabberd.xmpp.header import Header
from jabberd.xmpp.parser import from_expat, make_parser
from jabberd.xmpp.scanner import (
    LANG,
    SPACE,
    TAG,
    FrameRead,
    Pool,
    Scanner,
)

_HEADER_BYTES: Final = 16 * 1024
# What a stream header looks like that has no ">" inside an attribute.
_WHOLE: Final = re.compile(rb"(?:<\?xml[^<>]*+>\s*+)?<[^<>]*+>")


class Framer:
    """The receiving half of one XML stream.

    Feed it whatever arrives; how the bytes were cut makes no difference. `limits` may be
    replaced at any time.

    Args:
        limits: for what comes first.
        pool: parsers shared with other streams of the same thread; its own unless given.
    """

    __slots__ = ("_header", "_lang", "_opening", "_over", "_pool", "_scanner", "limits")

    def __init__(self, limits: Limits, pool: Pool | None = None) -> None:
        self.limits = limits
        self._pool = pool or Pool()
        self._opening: _Opening | None = None
        self._header: Header | None = None
        self._lang = ""
        self._scanner: Scanner | None = None
        self._over = False

    def restart(self) -> None:
        """Expect a new stream header; everything of the former stream is forgotten."""
        self._opening = None
        self._header = None
        self._scanner = None

    @property
    def is_idle(self) -> bool:
        """Whether nothing has partly arrived."""
        return self._scanner is None and self._opening is None

    def feed(self, data: bytes) -> list[Frame]:
        """Take bytes and return the frames that they complete, in order.

        A fault of the peer ends the list with `Broken`; afterwards everything is ignored.
        """
        return self._feed(data, False)[0]

    def feed_one(self, data: bytes) -> tuple[list[Frame], bytes]:
        """Take bytes up to the end of the next frame, and return the bytes behind it too.

        For negotiation, where a frame may begin a new stream or change who reads the bytes.
        """
        return self._feed(data, True)

    def _feed(self, data: bytes, single: bool) -> tuple[list[Frame], bytes]:
        frames: list[Frame] = []
        if self._over or not data:
            return frames, b""
        try:
            if self._header is None:
                data = self._open(data, frames)
                if not data or single:
                    return frames, data
            scanner = self._scanner or self._take()
            scanner.limits = self.limits
            scanner.frames = frames
            scanner.single = single
            if scanner.feed(data):
                self._scanner = None
                self._pool.give(scanner)
            else:
                self._scanner = scanner.renewed()
        except FrameRead as stop:
            self._scanner = None
            self._over = scanner.done
            return frames, stop.rest
        except StreamError as error:
            frames.append(Broken(error))
        else:
            return frames, b""
        self._over = True
        self._scanner = None
        return frames, b""

    def _take(self) -> Scanner:
        if self._header is None:
            raise LocalError("no stream header yet")
        scanner = self._pool.take(self._header)
        scanner.lang = self._lang
        return scanner

    def _open(self, data: bytes, frames: list[Frame]) -> bytes:
        """Parse the stream header; returns the bytes behind it."""
        if self._opening is None:
            # A keep-alive may still be under way when the stream starts anew.
            data = data.lstrip(SPACE)
            if not data:
                return b""
            # Clients of one kind begin alike, three times per login: a header that was accepted
            # once need not be parsed again.
            found = _WHOLE.match(data)
            known = self._pool.openings.get(found[0]) if found else None
            if known is not None and found is not None:
                self._begin(*known, frames)
                return data[found.end() :]
            self._opening = _Opening(self._pool)
        opening = self._opening
        opening.feed(data, self.limits)
        if opening.header is None or opening.opened is None:
            return b""
        self._opening = None
        self._pool.remember(opening.data, len(opening.rest), opening.opened, opening.header)
        self._begin(opening.opened, opening.header, frames)
        return opening.rest

    def _begin(self, opened: StreamOpened, header: Header, frames: list[Frame]) -> None:
        self._header = header
        self._lang = opened.lang
        frames.append(opened)


class _HeaderRead(Exception):  # noqa: N818 -- no error: it makes expat stop behind the header
    """The stream header is whole; a scanner takes over."""


class _Opening:
    """The stream header while it arrives."""

    __slots__ = ("data", "declared", "header", "limits", "opened", "parser", "pool", "rest")

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.data = b""
        self.declared: dict[str, str] = {}
        self.opened: StreamOpened | None = None
        self.header: Header | None = None
        self.rest = b""
        self.limits = Limits()
        self.parser = make_parser()
        self.parser.XmlDeclHandler = self._declaration
        self.parser.StartNamespaceDeclHandler = self._declare
        self.parser.StartElementHandler = self._start

    def feed(self, data: bytes, limits: Limits) -> None:
        self.limits = limits
        self.data += data
        self._check_encoding()
        try:
            self.parser.Parse(data, False)
        except _HeaderRead:
            return
        except expat.ExpatError as error:
            place = self.parser.ErrorByteIndex
            raise from_expat(error, self.data[place : place + 4]) from None
        self._check_size(len(self.data))

    def _check_encoding(self) -> None:
        # RFC 6120 §11.6. Whatever encoding expat is told, it obeys a byte order mark, and takes
        # a zero for half of a character of UTF-16.
        start = self.data[:3]
        if start[:1] in {b"\xfe", b"\xff"} or 0 in start[:2]:
            raise StreamError(StreamCondition.UNSUPPORTED_ENCODING, "streams are UTF-8")
        if start == BOM_UTF8:
            raise StreamError(StreamCondition.NOT_WELL_FORMED, "a byte order mark is not allowed")

    def _check_size(self, size: int) -> None:
        # expat scans an unfinished tag anew at every call, so it may not be long.
        if size > min(self.limits.stanza_bytes, _HEADER_BYTES):
            raise StreamError(StreamCondition.POLICY_VIOLATION, "the stream header is too long")

    @staticmethod
    def _declaration(version: str, encoding: str | None, _standalone: int) -> None:
        if encoding is not None and encoding.lower() not in {"utf-8", "utf8"}:
            raise StreamError(StreamCondition.UNSUPPORTED_ENCODING, "streams are UTF-8")
        if version != "1.0":
            raise StreamError(StreamCondition.NOT_WELL_FORMED, "streams are XML 1.0")

    def _declare(self, prefix: str | None, uri: str | None) -> None:
        if len(self.declared) >= self.limits.attributes:
            raise StreamError(StreamCondition.POLICY_VIOLATION, "too many namespace declarations")
        if len(prefix or "") + len(uri or "") > self.limits.name_bytes:
            raise StreamError(StreamCondition.POLICY_VIOLATION, "a namespace is too long")
        self.declared[prefix or ""] = uri or ""

    def _start(self, name: str, attrs: Mapping[str, str]) -> None:
        namespace, _, local = name.rpartition(" ")
        if len(attrs) > self.limits.attributes:
            raise StreamError(StreamCondition.POLICY_VIOLATION, "too many attributes")
        if local != "stream":
            raise StreamError(StreamCondition.BAD_FORMAT, "the root element is not a stream")
        if namespace != ns.STREAM:
            raise StreamError(StreamCondition.INVALID_NAMESPACE, f"not a stream of {ns.STREAM}")
        tag = TAG.match(self.data, self.parser.CurrentByteIndex)
        if tag is None:  # expat has accepted the tag, so the expression does
            raise StreamError(StreamCondition.INTERNAL_SERVER_ERROR)
        self._check_size(tag.end())
        content = self.declared.get("", "")
        self.opened = StreamOpened(
            content,
            attrs.get("to", ""),
            attrs.get("from", ""),
            attrs.get("id", ""),
            attrs.get("version"),
            attrs.get(LANG, ""),
        )
        self.header = self.pool.header(tag[1], content, self.declared)
        self.rest = self.data[tag.end() :]
        if tag[0].endswith(b"/>"):
            self.rest = b"</%s>" % tag[1]
        raise _HeaderRead
