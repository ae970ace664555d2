"""Children are cut out, and nothing else changes: the framer says what is left."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jabberd.xmpp import ns
from jabberd.xmpp.cut import without
from jabberd.xmpp.element import ParseError
from jabberd.xmpp.stanza import Message, Stanza
from tests.xmpp.documents import END, frames_of, headers, stanzas

X = "urn:x x"


def framed(text: str, header: str = "") -> Stanza:
    head = header or f"<stream:stream xmlns='{ns.CLIENT}' xmlns:stream='{ns.STREAM}'>"
    (_, stanza) = frames_of([(head + text).encode()])
    assert isinstance(stanza, Stanza)
    return stanza


@pytest.mark.parametrize(
    ("inside", "rest"),
    [
        ("<x xmlns='urn:x'/>", ""),
        ("<x xmlns='urn:x'></x>", ""),
        ("<x xmlns='urn:x'/><x xmlns='urn:x'/>", ""),
        ("<x xmlns='urn:x' a='/>'/><body/>", "<body/>"),
        ("<x xmlns='urn:x' a=\"'>\" ><y/>&lt;</x ><body>b</body>", "<body>b</body>"),
        ("<body>b</body> t <x xmlns='urn:x'><x/></x>\n", "<body>b</body> t \n"),
        ("<p:x xmlns:p='urn:x'/><body  a = '1' ></body >", "<body  a = '1' ></body >"),
        ("<![CDATA[<x>]]><x xmlns='urn:x'><![CDATA[</x>]]></x>&#38;", "<![CDATA[<x>]]>&#38;"),
        ("<y xmlns='urn:y'><x xmlns='urn:x'/></y>ä<x xmlns='urn:x'/>😀",
         "<y xmlns='urn:y'><x xmlns='urn:x'/></y>ä😀"),
    ],
)  # fmt: skip
def test_what_is_left(inside: str, rest: str) -> None:
    stanza = framed(f"<message to='a@b' id='1'>{inside}</message>")
    left = without(stanza, lambda name, _: name == X)
    assert left.inner.decode() == rest
    assert left.children == tuple(name for name in stanza.children if name != X)
    assert (left.to, left.id, type(left)) == (stanza.to, "1", Message)


def test_prefixes_of_the_start_tag() -> None:
    stanza = framed("<message xmlns:p='urn:x'><p:x/><p:y/></message>")
    left = without(stanza, lambda name, _: name == X)
    assert (left.inner, left.children, left.extra) == (b"<p:y/>", ("urn:x y",), stanza.extra)


def test_attributes_decide() -> None:
    stanza = framed("<message><x xmlns='urn:x' a='1'/><x xmlns='urn:x' a='2'/></message>")
    left = without(stanza, lambda name, attrs: (name, attrs) == (X, {"a": "2"}))
    assert left.inner == b"<x xmlns='urn:x' a='1'/>"


def test_nothing_to_cut() -> None:
    stanza = framed("<message><x xmlns='urn:x'/></message>")
    assert without(stanza, lambda name, _: name == "urn:x y") is stanza
    assert without(Message(), lambda *_: True).inner == b""
    with pytest.raises(ParseError):
        without(Message(inner=b"<z:x/>"), lambda *_: True)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(headers(), stanzas(), st.sets(st.integers(0, 5)))
def test_any_child_of_any_stanza(header: str, text: str, chosen: set[int]) -> None:
    found = frames_of([header.encode(), text.encode(), END])[1]
    if not isinstance(found, Stanza):
        return
    elements = found.payload()
    seen = iter(range(len(elements)))
    left = without(found, lambda *_: next(seen) in chosen)
    assert left.payload() == [e for at, e in enumerate(elements) if at not in chosen]
    assert left.children == tuple(n for at, n in enumerate(found.children) if at not in chosen)
