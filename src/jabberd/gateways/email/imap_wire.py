"""IMAP4rev1 as bytes (RFC 3501 §9): what a server says as values, and what we say. No I/O."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

Token: TypeAlias = "str | bytes | tuple[Token, ...] | None"  # noqa: S105 -- a token of a language
"""An atom, a string, NIL, or a list of such."""

_STATUS: Final = re.compile(
    rb"(?P<tag>[^\s+]+) (?P<kind>OK|NO|BAD|BYE|PREAUTH)\b(?: \[(?P<code>[^\]]*)\])? ?(?P<text>.*)",
    re.IGNORECASE | re.DOTALL,
)
_LITERAL: Final = re.compile(rb"~?\{([0-9]{1,10})\+?\}\Z")
_TOKEN: Final = re.compile(
    rb"""\s*(?:(?P<open>\()|(?P<close>\))|"(?P<quoted>(?:[^"\\]|\\.)*)\""""
    rb"""|(?P<atom>(?:[^\s()"\[\]]|\[[^\]]*\])+))"""
)
_END: Final = re.compile(rb"\s*\Z")
_ESCAPED: Final = re.compile(rb"\\(.)", re.DOTALL)
_PLAIN: Final = re.compile(rb"[\x20-\x7e]*\Z")
_LINE_LONGEST: Final = 65_536
_DEEPEST: Final = 16
_PIECES: Final = 64


class Malformed(ValueError):  # noqa: N818 -- a fact about bytes
    """The server does not speak IMAP, or says more than it may at once."""


@dataclass(frozen=True, slots=True)
class Status:
    """How a command ended, or an untagged word about the connection (§7.1).

    Attributes:
        tag: of the command; "*" for an untagged one.
        kind: "OK", "NO", "BAD", "BYE" or "PREAUTH".
        code: the response code in brackets; may be empty.
        text: for people.
    """

    tag: str
    kind: str
    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Data:
    """An untagged answer (§7.2 to §7.4): its tokens, without the star."""

    items: tuple[Token, ...]

    def numbered(self, word: str) -> int | None:
        """The number of an answer like `12 EXISTS`; None where it is another answer."""
        match self.items:
            case (str(number), str(name), *_) if name.upper() == word and number.isdecimal():
                return int(number)
        return None

    def fetched(self) -> dict[str, Token]:
        """The items of a FETCH answer by their name in capitals; none where it is another one."""
        match self.items:
            case (_, str(name), tuple(items)) if name.upper() == "FETCH":
                pairs = zip(items[::2], items[1::2], strict=False)
                return {key.upper(): value for key, value in pairs if isinstance(key, str)}
        return {}


@dataclass(frozen=True, slots=True)
class Continue:
    """The server waits for the rest of a command (§7.5)."""

    text: str


Response: TypeAlias = Status | Data | Continue


class Reader:
    """Bytes of a server in, answers out.

    Args:
        literal_longest: bytes of one literal; a mail is one.
    """

    __slots__ = ("_buffer", "_longest", "_pieces", "_size", "_wanted")

    def __init__(self, literal_longest: int) -> None:
        self._longest = literal_longest
        self._buffer = bytearray()
        self._pieces: list[tuple[bytes, bool]] = []
        self._size = 0
        self._wanted: int | None = None

    @property
    def empty(self) -> bool:
        """Nothing has come since the last answer ended."""
        return not self._buffer and not self._pieces and self._wanted is None

    def feed(self, data: bytes) -> list[Response]:
        """The answers that are complete now.

        Raises:
            Malformed: this connection is of no use any more.
        """
        self._buffer += data
        found: list[Response] = []
        while self._piece():
            if self._wanted is None and not self._pieces[-1][1]:
                pieces, self._pieces, self._size = self._pieces, [], 0
                found.append(_response(pieces))
        return found

    def _piece(self) -> bool:
        """Take one more line, or one more literal, where all of it is there."""
        if self._wanted is not None:
            if len(self._buffer) < self._wanted:
                return False
            self._pieces.append((self._cut(self._wanted), True))
            self._wanted = None
            return True
        end = self._buffer.find(b"\n", 0, _LINE_LONGEST)
        if end < 0:
            if len(self._buffer) >= _LINE_LONGEST:
                raise Malformed("a line of the mail server is too long")
            return False
        line = self._cut(end + 1).removesuffix(b"\n").removesuffix(b"\r")
        literal = None if self._is_status(line) else _LITERAL.search(line)
        if literal is not None:
            line, self._wanted = line[: literal.start()], int(literal[1])
            self._size += self._wanted
            if self._size > self._longest or len(self._pieces) > _PIECES:
                raise Malformed("an answer of the mail server is too large")
        self._pieces.append((line, False))
        return True

    def _is_status(self, line: bytes) -> bool:
        return not self._pieces and _STATUS.match(line) is not None

    def _cut(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken


def _response(pieces: Sequence[tuple[bytes, bool]]) -> Response:
    first = pieces[0][0]
    if len(pieces) == 1 and (status := _STATUS.match(first)):
        tag, kind, code, text = (_text(part or b"") for part in status.groups())
        return Status(tag, kind.upper(), code, text)
    if first[:1] == b"+":
        return Continue(_text(first[1:].strip()))
    if first[:2] != b"* ":
        raise Malformed("the mail server does not speak IMAP")
    return Data(_tokens([(first[2:], False), *pieces[1:]]))


def _tokens(pieces: Sequence[tuple[bytes, bool]]) -> tuple[Token, ...]:
    stack: list[list[Token]] = [[]]
    for piece, literal in pieces:
        if literal:
            stack[-1].append(piece)
            continue
        at = 0
        while not _END.match(piece, at):
            token = _TOKEN.match(piece, at)
            if token is None:
                raise Malformed("the mail server's answer cannot be read")
            at = token.end()
            _put(stack, token)
    if len(stack) != 1:
        raise Malformed("the mail server's answer ends in the middle")
    return tuple(stack[0])


def _put(stack: list[list[Token]], token: re.Match[bytes]) -> None:
    if token["open"]:
        if len(stack) > _DEEPEST:
            raise Malformed("the mail server's answer is nested too deeply")
        stack.append([])
    elif token["close"]:
        if len(stack) == 1:
            raise Malformed("the mail server's answer closes what was not open")
        done = tuple(stack.pop())
        stack[-1].append(done)
    elif token["quoted"] is not None:
        stack[-1].append(_ESCAPED.sub(rb"\1", token["quoted"]))
    else:
        atom = _text(token["atom"])
        stack[-1].append(None if atom.upper() == "NIL" else atom)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


# What we say.


@dataclass(frozen=True, slots=True)
class Literal:
    """A part of a command that goes as a literal."""

    data: bytes


def string(text: str) -> bytes | Literal:
    """A text as a quoted string, or as a literal where it cannot be one (§4.3)."""
    data = text.encode()
    if not _PLAIN.match(data):
        return Literal(data)
    return b'"' + data.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def chunks(tag: str, parts: Sequence[bytes | Literal], *, at_once: int = 0) -> list[bytes]:
    """A command as what may be sent before the server has to say that it goes on.

    Args:
        tag: of the command.
        parts: with a space between.
        at_once: literals up to this size need not wait (RFC 7888).
    """
    done: list[bytes] = []
    line = tag.encode()
    for part in parts:
        if isinstance(part, bytes):
            line += b" " + part
        elif len(part.data) <= at_once:
            line += b" {%d+}\r\n" % len(part.data) + part.data
        else:
            done.append(line + b" {%d}\r\n" % len(part.data))
            line = part.data
    return [*done, line + b"\r\n"]
