"""Taking direct children out of a stanza; every other byte of it stays as it came."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar
from xml.parsers import expat

from jabberd.xmpp import ns
from jabberd.xmpp.element import ParseError
from jabberd.xmpp.scanner import TAG
from jabberd.xmpp.stanza import Stanza

_S = TypeVar("_S", bound=Stanza)


def without(stanza: _S, drop: Callable[[str, Mapping[str, str]], bool]) -> _S:
    """A copy without the direct children that `drop` chooses; the stanza itself if it chooses none.

    Args:
        stanza: the stanza; it is parsed, so look at its `children` first.
        drop: is given the name of a child ("namespace name", as `Stanza.children` has it) and
            its attributes, and says whether it has to go.

    Raises:
        ParseError: the payload uses a prefix that nothing declares (never after framing).
    """
    finder = _Finder(stanza, drop)
    if not finder.dropped:
        return stanza
    inner = stanza.inner
    kept, at = [], 0
    for begin, end in finder.dropped:
        kept.append(inner[at:begin])
        at = end
    kept.append(inner[at:])
    return stanza.with_payload(b"".join(kept), tuple(finder.names))


class _Finder:
    """Where in the payload the chosen children are, and what the others are called."""

    def __init__(self, stanza: Stanza, drop: Callable[[str, Mapping[str, str]], bool]) -> None:
        self.drop = drop
        self.dropped: list[tuple[int, int]] = []
        self.names: list[str] = []
        self._depth = 0
        self._begin = -1  # of the chosen child that is open
        self._end = -1  # behind its start tag, if that is all of it
        # Prefixes declared on the stanza's own start tag are in scope inside it.
        opening = f"<x xmlns='{ns.CLIENT}'".encode() + stanza.extra + b">"
        self._offset = len(opening)
        self._data = opening + stanza.inner + b"</x>"
        self._parser = parser = expat.ParserCreate("utf-8", " ")
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._stop
        try:
            parser.Parse(self._data, True)
        except expat.ExpatError as error:
            raise ParseError(str(error)) from None
        # It would keep this object alive through the handlers, and be kept by it.
        del self._parser
        parser.StartElementHandler = parser.EndElementHandler = None

    def _start(self, name: str, attrs: Mapping[str, str]) -> None:
        self._depth += 1
        if self._depth != 2:
            return
        if not self.drop(name, attrs):
            self.names.append(name)
            return
        self._begin = self._parser.CurrentByteIndex
        tag = TAG.match(self._data, self._begin)
        self._end = tag.end() if tag is not None and tag[0].endswith(b"/>") else -1

    def _stop(self, _name: str) -> None:
        self._depth -= 1
        if self._depth != 1 or self._begin < 0:
            return
        end = self._end
        if end < 0:
            end = self._data.index(b">", self._parser.CurrentByteIndex) + 1
        self.dropped.append((self._begin - self._offset, end - self._offset))
        self._begin = -1
