"""What is read without a parser means the same to the parser, and nothing else is read so."""

from __future__ import annotations

import dataclasses
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jabberd.xmpp import quick
from jabberd.xmpp.frames import Limits
from jabberd.xmpp.quick import fits, message_at
from tests.xmpp.documents import END, HEADER, ROOMY, shown_of

# Nearly plain: one piece of twenty is odd.


BETWEEN_SERVERS = HEADER.replace(b"jabber:client", b"jabber:server").replace(
    b"<stream:stream", b"<stream:stream xmlns:db='jabber:server:dialback'"
)


def _seldom(plain: list[str], odd: list[str]) -> st.SearchStrategy[str]:
    pieces = st.sampled_from(plain), st.sampled_from(odd)
    return st.integers(0, 19).flatmap(lambda number: pieces[number == 13])


_VALUES = _seldom(
    ["1", "chat", "a=b", "urn:xmpp:receipts", "bob@example.com/x y", "a/b", "x" * 256],
    ["", "a>b", "a&amp;b", "ä", "\t", "<", "&", "http://www.w3.org/XML/1998/namespace", "]]>",
     "http://www.w3.org/2000/xmlns/", "jabber:client", "x" * 257, "/>"]
)  # fmt: skip
_HEADS = _seldom(["to", "from", "id", "type", "xml:lang"], ["xmlns", "xmlns:p", "other", "é"])
_NAMES = _seldom(["xmlns", "id", "other-id"], ["xmlns:p", "p:x", "xml:lang", "Id", "é", "xml"])
_TAGS = _seldom(["body", "request", "x", "b"], ["p:x", "Body", "xml", "1x", "b" * 32, "b" * 33])
_TEXTS = _seldom(
    ["", "hello", "it's \"so\"", "]]", "\n\t"],
    ["a &gt; b", "]]>", "a>b", "ä", "\r", "\x00", "stream:x", "<b/>", "<![CDATA[x]]>", "<!-- x -->"]
)  # fmt: skip
_SPACES = _seldom([" "], ["  ", "\n", ""])


@st.composite
def _attributes(draw: st.DrawFn, names: st.SearchStrategy[str], most: int) -> str:
    unique = draw(st.integers(0, 9)) > 0
    parts = []
    for name in draw(st.lists(names, max_size=most, unique=unique)):
        quote = draw(st.sampled_from("'\""))
        parts.append(f"{draw(_SPACES)}{name}={quote}{draw(_VALUES)}{quote}")
    return "".join(parts)


@st.composite
def _children(draw: st.DrawFn) -> str:
    parts = []
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3, 8, 9, 0]))):
        tag = draw(_TAGS)
        head = tag + draw(_attributes(_NAMES, 2))
        end = tag if draw(st.integers(0, 19)) else draw(_TAGS)
        parts.append(f"<{head}/>" if draw(st.booleans()) else f"<{head}>{draw(_TEXTS)}</{end}>")
    return "".join(parts)


@st.composite
def _messages(draw: st.DrawFn) -> bytes:
    head = draw(_attributes(_HEADS, 5))
    inner = draw(_children())
    between = draw(_seldom([""], ["text", " "]))
    return f"<message{head}>{inner}{between}</message>".encode()


def parsed(data: bytes, limits: Limits = ROOMY, header: bytes = HEADER) -> list[object]:
    """What the parser alone makes of the stream."""
    with mock.patch.object(quick, "message_at", return_value=None):
        return shown_of([header, data, END], limits)


@settings(max_examples=1500, deadline=None, derandomize=True)
@given(st.lists(_messages(), min_size=1, max_size=3))
@pytest.mark.parametrize("header", [HEADER, BETWEEN_SERVERS])
def test_it_means_the_same_to_the_parser(header: bytes, messages: list[bytes]) -> None:
    data = b"".join(messages)
    assert shown_of([header, data, END]) == parsed(data, header=header)


@pytest.mark.parametrize(
    "child",
    [
        b"<body xmlns='jabber:server'>hi</body>",
        b"<body xmlns='jabber:client'>hi</body>",
        b"<body>jabber:server</body>",
        b"<body>db:result</body>",
        b"<body>hi</body>",
    ],
)
def test_names_of_streams_between_servers(child: bytes) -> None:
    data = b"<message to='a@b' from='c@d'>" + child + b"</message>"
    assert shown_of([BETWEEN_SERVERS, data, END]) == parsed(data, header=BETWEEN_SERVERS)


@pytest.mark.parametrize(
    "data",
    [
        b"<message to='a@b'><body>hi</body></message>",
        b'<message from="a@b/c" id="1" type="chat" to="a@b" xml:lang="en"><body/></message>',
        (
            b"<message to='a@b'><body>it's \"so\"\n</body>"
            b"<request xmlns='urn:xmpp:receipts'/><markable xmlns='urn:xmpp:chat-markers:0'/>"
            b"<active xmlns='http://jabber.org/protocol/chatstates'/>"
            b"<origin-id xmlns='urn:xmpp:sid:0' id='x'/></message>"
        ),
    ],
)
def test_plain_messages_are_read_without_the_parser(data: bytes) -> None:
    found = message_at(b"  " + data + b"<presence/>", 2)
    assert found is not None
    assert found[-1] == 2 + len(data)
    assert shown_of([HEADER, data, END]) == parsed(data)


@pytest.mark.parametrize(
    "data",
    [
        b"<message to='a@b' to='a@b'><body/></message>",
        b"<message to='a@b'><x id='1' id='2'/></message>",
        b"<message to='a@b'><x xmlns=''/></message>",
        b"<message to='a@b'><x xmlns='http://www.w3.org/2000/xmlns/'/></message>",
        b"<message to='a@b'><x xmlns='urn:x' xmlns='urn:x'/></message>",
        b"<message to='a@b'><x></y></message>",
        b"<message to='a@b'><x><y/></x></message>",
        b"<message to='a@b'><p:x/></message>",
        b"<message to='a@b' xmlns='urn:x'><x/></message>",
        b"<message to='&#97;@b'><x/></message>",
        b"<message to='a@b'><body>&amp;</body></message>",
        b"<message to='a@b'><body>\xc3\xa4</body></message>",
        b"<message to='a@b'><body>\x01</body></message>",
        b"<message to='a@b'>text</message>",
        b"<message to='a@b'/>",
        b"<message to='a@b'><body>",
        b"<message to='a@b'>" + b"<x/>" * 9 + b"</message>",
        b"<message to='" + b"x" * 257 + b"'><body/></message>",
    ],
)
def test_anything_else_is_left_to_the_parser(data: bytes) -> None:
    assert message_at(data, 0) is None


@pytest.mark.parametrize("name", ["depth", "elements", "attributes", "declarations", "name_bytes"])
def test_narrow_limits_are_for_the_parser(name: str) -> None:
    assert fits(Limits())
    assert not fits(dataclasses.replace(Limits(), **{name: 1}))


def test_the_size_of_a_stanza_is_limited_all_the_same() -> None:
    data = b"<message to='a@b'><body>" + b"x" * 200 + b"</body></message>"
    for size in (len(data) - 1, len(data)):
        limits = Limits(stanza_bytes=max(size, len(HEADER)))
        assert shown_of([HEADER, data, END], limits) == parsed(data, limits)
