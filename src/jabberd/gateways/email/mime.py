"""The parts of a mail (RFC 2046), with bounds on how many there are and how deep they lie.

Bodies are split here rather than by the standard library, whose parser takes time by depth times
lines, and recurses as deep as a mail wants.
"""

from __future__ import annotations

import quopri
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from jabberd.gateways.email import headers as fields
from jabberd.gateways.email.charset import decode
from jabberd.gateways.email.headers import Headers

DEEPEST: Final = 10
"""Parts inside of parts; what lies deeper is not looked into."""
MOST_PARTS: Final = 250
"""Parts of a mail; further ones are left out."""

_HEAD_END: Final = re.compile(rb"\r?\n\r?\n")
_LINE_END: Final = re.compile(rb"\r?\n")
_LONGEST_NAME: Final = 200
_NO_NAME: Final = re.compile(r'[\0-\x1f\x7f/\\:*?"<>|]')


class _Budget:
    """How many parts may still be made."""

    def __init__(self) -> None:
        self.left = MOST_PARTS

    def take(self) -> bool:
        self.left -= 1
        return self.left >= 0


@dataclass(frozen=True)
class Part:
    """A mail, or a part of one.

    Attributes:
        headers: its own.
        data: the body as it was sent, encoded; a view, so that depth takes no memory.
        media_type: in lower case.
        parts: of a multipart, or the one mail of a `message/rfc822`.
    """

    headers: Headers
    data: memoryview = field(repr=False)
    media_type: str
    parts: tuple[Part, ...] = ()

    @property
    def main_type(self) -> str:
        """What is before the slash of the media type."""
        return self.media_type.partition("/")[0]

    @property
    def encoding(self) -> str:
        """Its Content-Transfer-Encoding in lower case; empty for none."""
        return fields.raw(self.headers, "Content-Transfer-Encoding").lower().split(";")[0].strip()

    @cached_property
    def content(self) -> bytes:
        """The body, decoded (RFC 2045 §6)."""
        match self.encoding:
            case "base64":
                return fields.base64_bytes(bytes(self.data))
            case "quoted-printable":
                return quopri.decodestring(bytes(self.data))
            case _:
                return bytes(self.data)

    @property
    def text(self) -> str:
        """The body as text."""
        return decode(self.content, self.parameter("charset"))

    def parameter(self, name: str) -> str:
        """A parameter of its Content-Type; empty if there is none."""
        return fields.parameter(self.headers, "Content-Type", name)

    @property
    def name(self) -> str:
        """The file name without any folder; empty if there is none."""
        name = fields.parameter(self.headers, "Content-Disposition", "filename")
        name = fields.one_line(fields.words(name or self.parameter("name")))
        name = _NO_NAME.sub("_", name.replace("\\", "/").rpartition("/")[2]).strip(". ")
        stem, dot, suffix = name.rpartition(".")
        kept = _LONGEST_NAME - len(dot + suffix)
        return stem[:kept] + dot + suffix if kept > 0 else name[:_LONGEST_NAME]

    @property
    def disposition(self) -> str:
        """`attachment`, `inline` or empty."""
        return fields.raw(self.headers, "Content-Disposition").partition(";")[0].strip().lower()

    @property
    def content_id(self) -> str:
        """Its Content-ID without brackets; empty if there is none."""
        return fields.message_id(self.headers, "Content-ID")[1:-1]

    def walk(self) -> Iterator[Part]:
        """This part and all in it, in the order of the mail."""
        yield self
        for part in self.parts:
            yield from part.walk()


def split(data: bytes) -> Part:
    """A mail with its parts; never fails."""
    return _part(memoryview(data), "text/plain", DEEPEST, _Budget())


def _part(data: memoryview, default_type: str, depth: int, budget: _Budget) -> Part:
    head, body = _halves(data)
    headers = fields.parse(head)
    media_type = fields.media_type(headers) or default_type
    parts: tuple[Part, ...] = ()
    if not depth:
        pass
    elif media_type.startswith("multipart/"):
        boundary = fields.parameter(headers, "Content-Type", "boundary")
        inner = "message/rfc822" if media_type == "multipart/digest" else "text/plain"
        parts = tuple(
            _part(piece, inner, depth - 1, budget)
            for piece in _pieces(body, boundary)
            if budget.take()
        )
        if not parts:  # not what it says it is: what is there can still be read
            media_type = "text/plain"
    elif media_type == "message/rfc822" and budget.take():
        whole = Part(headers, body, media_type)
        inside = (
            body
            if whole.encoding not in {"base64", "quoted-printable"}
            else memoryview(whole.content)
        )
        parts = (_part(inside, "text/plain", depth - 1, budget),)
    return Part(headers, body, media_type, parts)


def _halves(data: memoryview) -> tuple[bytes, memoryview]:
    if found := _LINE_END.match(data):
        return b"", data[found.end() :]
    if found := _HEAD_END.search(data):
        return bytes(data[: found.start() + 1]), data[found.end() :]
    return bytes(data), data[:0]


def _pieces(body: memoryview, boundary: str) -> Iterator[memoryview]:
    """What is between the boundaries; the last piece also where its end is missing."""
    if not boundary:
        return
    mark = re.escape(boundary.encode("utf-8", "replace"))
    start: int | None = None
    for found in re.finditer(rb"(?:^|\r?\n)--" + mark + rb"(--)?[ \t]*(?=\r?\n|$)", body):
        if start is not None:
            yield _unled(body[start : found.start()])
        if found[1]:
            return
        start = found.end()
    if start is not None:
        yield _unled(body[start:])


def _unled(piece: memoryview) -> memoryview:
    """A piece without the line end of the boundary before it."""
    found = _LINE_END.match(piece)
    return piece[found.end() :] if found else piece
