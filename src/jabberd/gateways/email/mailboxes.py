"""The mailboxes of From, To and Cc (RFC 5322 §3.4), also where they are written badly."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from jabberd.gateways.email.address import canonical
from jabberd.gateways.email.headers import one_line, words
from jabberd.gateways.transport import BadAddress

_MOST: Final = 200
_LONGEST_NAME: Final = 200
_PIECE: Final = re.compile(r'"(?:[^"\\]|\\.)*+"?|<[^<>]*+>|[(),:;\\]|[^"<>(),:;\\]++|.', re.DOTALL)
_LOOSE: Final = re.compile(r"[^\s<>\"'(),:;@]{1,64}@[^\s<>\"'(),:;@]{1,253}")
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Mailbox:
    """Somebody, as a header field has them.

    Attributes:
        address: canonical.
        name: to show; may be empty.
    """

    address: str
    name: str = ""


def mailboxes(value: str) -> tuple[Mailbox, ...]:
    """Those in a field, in order, each address once; what is no address is left out.

    Args:
        value: of the field, words not decoded.
    """
    found: dict[str, Mailbox] = {}
    for pieces, comment in _entries(value):
        if len(found) == _MOST:
            break
        mailbox = _mailbox(pieces, comment)
        if mailbox is not None:
            found.setdefault(mailbox.address, mailbox)
    return tuple(found.values())


def _entries(value: str) -> list[tuple[list[str], str]]:
    """The pieces of each entry of the list, and its last comment."""
    entries: list[tuple[list[str], str]] = [([], "")]
    depth = 0
    comment: list[str] = []
    for piece in _PIECE.findall(value):
        if depth:
            depth += {"(": 1, ")": -1}.get(piece, 0)
            comment.append(piece)
            if not depth:
                entries[-1] = (entries[-1][0], "".join(comment[:-1]))
        elif piece == "(":
            depth, comment = 1, []
        elif piece in {",", ";"}:
            entries.append(([], ""))
        elif piece == ":":  # what came before was the name of a group
            entries[-1] = ([], "")
        else:
            entries[-1][0].append(piece)
    return entries


def _mailbox(pieces: list[str], comment: str) -> Mailbox | None:
    angle = next((at for at, piece in enumerate(pieces) if piece[0] == "<" != piece), None)
    if angle is None:
        address, name = "".join(pieces), comment
        never_ends = "<" in pieces or any(piece[0] == '"' != piece[-1] for piece in pieces)
        if never_ends and (found := list(_LOOSE.finditer(address))):
            address, name = found[-1][0], comment or address[: found[-1].start()].strip('<" ')
    else:
        address, name = pieces[angle][1:-1], "".join(map(_unquoted, pieces[:angle]))
        name = name if name.strip() else comment
    try:
        known = canonical(address.strip())
    except BadAddress:
        return None
    shown = one_line(words(name)).strip("'\" ")[:_LONGEST_NAME]
    return Mailbox(known, "" if shown.lower() == known.lower() else shown)


def _unquoted(piece: str) -> str:
    return _ESCAPED.sub(r"\1", piece[1:].removesuffix('"')) if piece[0] == '"' else piece
