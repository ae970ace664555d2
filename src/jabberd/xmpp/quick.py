"""The plainest messages without a parser: much of what people write to each other.

A pattern for whole messages, so narrow that what it matches is well-formed (XML 1.0, Namespaces
in XML) and within every limit, whatever stands before and behind it: printable ASCII, no
references, no prefixes, no element inside of another one but the message. Everything else is for
expat, which would say the same of these, and takes several times as long.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from jabberd.xmpp import ns
from jabberd.xmpp.frames import Limits
from jabberd.xmpp.stanza import qname

_HEAD: Final = (b"to", b"from", b"id", b"type", b"xml:lang")
_CHILDREN: Final = 8
_NAME: Final = 32  # characters, also of an attribute's name
_TEXT: Final = 256  # characters of a value

_VALUE: Final = rb"""(?:'[ !#-%%(-;=?-~]{0,%d}+'|"[ !#-%%(-;=?-~]{0,%d}+")""" % (_TEXT, _TEXT)
_URI: Final = rb"""(?:'[!#-%%(-;=?-~]{1,%d}+'|"[!#-%%(-;=?-~]{1,%d}+")""" % (_TEXT, _TEXT)
_WORD: Final = rb"[a-z][a-z-]{0,%d}+" % (_NAME - 1)
# Each attribute once: where its group has matched already, nothing does.
_ATTRS: Final = b"|".join(
    rb"%s=(?(%d)(?!))(%s)" % (name, number, _VALUE) for number, name in enumerate(_HEAD, 1)
)
# One attribute beside the namespace: two of one name are no XML. A namespace that is empty or
# reserved, or has a space in it, is for expat to judge.
_CHILD: Final = rb"<(%s)(?: xmlns=(?!.http://www\.w3\.org/)%s)?+(?: (?!xmlns=)%s=%s)?+" % (
    _WORD,
    _URI,
    _WORD,
    _VALUE,
)
_MESSAGE: Final = re.compile(
    rb"<message(?: (?:%s))++>((?:%s(?:/>|>[\t\n -%%'-;=?-~]*+</\7>)){1,%d}+)</message>"
    % (_ATTRS, _CHILD, _CHILDREN)
)
_OPEN: Final = re.compile(rb"""<([a-z-]++)(?: xmlns=['"]([^'"]++))?+""")
_BODY: Final[tuple[str, ...]] = (qname(ns.CLIENT, "body"),)

Found = tuple[str | None, str | None, str, str, str | None, tuple[str, ...], bytes, int]


def fits(limits: Limits) -> bool:
    """Whether the limits allow everything that is found here, but perhaps for its size."""
    return (
        limits.depth >= 2
        and limits.elements > _CHILDREN
        and limits.attributes >= len(_HEAD)
        and limits.declarations >= _CHILDREN
        and limits.name_bytes > _NAME + _TEXT
    )


def message_at(data: bytes, place: int) -> Found | None:
    """The message that begins at a place, if it is all there and one of the plainest.

    Returns:
        `to`, `from`, `id`, `type` and `xml:lang`; the names of the children, as in
        `Stanza.children`; what is between the tags; and the place behind the message.
    """
    found = _MESSAGE.match(data, place)
    if found is None:
        return None
    to, from_, id_, type_, lang, inner, _ = found.groups()
    if inner.startswith(b"<body>") and inner.count(b"<") == 2:
        children = _BODY
    else:
        children = _children(tuple(_OPEN.findall(inner)))
    return (
        None if to is None else to[1:-1].decode(),
        None if from_ is None else from_[1:-1].decode(),
        "" if id_ is None else id_[1:-1].decode(),
        "" if type_ is None else type_[1:-1].decode(),
        None if lang is None else lang[1:-1].decode(),
        children,
        inner,
        found.end(),
    )


@lru_cache(maxsize=1024)  # most messages have the children of many others
def _children(opened: tuple[tuple[bytes, bytes], ...]) -> tuple[str, ...]:
    return tuple(qname(uri.decode() or ns.CLIENT, name.decode()) for name, uri in opened)
