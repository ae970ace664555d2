"""IMAP answers as RFC 3501 writes them, cut anywhere."""

from __future__ import annotations

import contextlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jabberd.gateways.email.imap_wire import (
    Continue,
    Data,
    Literal,
    Malformed,
    Reader,
    Response,
    Status,
    chunks,
    string,
)

# RFC 3501 §8, and what servers say beyond it.
_SESSION = (
    b"* OK [CAPABILITY IMAP4rev1 SASL-IR] ready {5}\r\n"
    b'* LIST (\\HasNoChildren \\Sent) "." "Sent \\"Items\\""\r\n'
    b"* 18 EXISTS\r\n"
    b"* FLAGS (\\Answered \\Flagged NIL)\r\n"
    b"+ OK\r\n"
    b"* 12 FETCH (UID 7 BODY[HEADER.FIELDS (DATE FROM)] {12}\r\nDate: x\r\n\r\n)"
    b' BODY[] ~{3}\r\na\r\n INTERNALDATE "17-Jul-1996 02:44:25 -0700")\r\n'
    b"* SEARCH\r\n"
    b"a1 NO [AUTHENTICATIONFAILED] no\r\n"
    b"a2 OK done\r\n"
)
_ANSWERS: list[Response] = [
    Status("*", "OK", "CAPABILITY IMAP4rev1 SASL-IR", "ready {5}"),
    Data(("LIST", ("\\HasNoChildren", "\\Sent"), b".", b'Sent "Items"')),
    Data(("18", "EXISTS")),
    Data(("FLAGS", ("\\Answered", "\\Flagged", None))),
    Continue("OK"),
    Data(
        (
            "12",
            "FETCH",
            (
                "UID", "7", "BODY[HEADER.FIELDS (DATE FROM)]", b"Date: x\r\n\r\n)",
                "BODY[]", b"a\r\n", "INTERNALDATE", b"17-Jul-1996 02:44:25 -0700",
            ),
        )
    ),
    Data(("SEARCH",)),
    Status("a1", "NO", "AUTHENTICATIONFAILED", "no"),
    Status("a2", "OK", "", "done"),
]  # fmt: skip


def test_a_session_in_one_piece() -> None:
    reader = Reader(100)
    assert reader.feed(_SESSION) == _ANSWERS
    assert reader.empty


@given(st.lists(st.integers(0, len(_SESSION)), max_size=12))
def test_a_session_cut_anywhere(cuts: list[int]) -> None:
    reader = Reader(100)
    found: list[Response] = []
    edges = [0, *sorted(cuts), len(_SESSION)]
    for begin, end in itertools.pairwise(edges):
        found += reader.feed(_SESSION[begin:end])
    assert found == _ANSWERS


def test_what_a_fetch_has() -> None:
    answer = _ANSWERS[5]
    assert isinstance(answer, Data)
    assert answer.fetched()["BODY[]"] == b"a\r\n"
    assert answer.numbered("EXISTS") is None
    assert Data(("18", "EXISTS")).numbered("EXISTS") == 18
    assert Data(("18", "EXISTS")).fetched() == {}


@pytest.mark.parametrize(
    "data",
    [
        b"* 1 FETCH (BODY[] {101}\r\n",
        b"* 1 FETCH (BODY[] {51}\r\n" + b"x" * 51 + b" BODY[] {51}\r\n",
        b"* " + b"x" * 70_000,
        b"* 1 FETCH (UID 1\r\n",
        b"* 1 FETCH UID 1)\r\n",
        b'* LIST "unended\r\n',
        b"* X " + b"(" * 20 + b")" * 20 + b"\r\n",
        b"HTTP/1.1 400 Bad Request\r\n",
    ],
)
def test_what_no_server_may_say(data: bytes) -> None:
    with pytest.raises(Malformed):
        Reader(100).feed(data)


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(Malformed):
        Reader(1_000).feed(data + b"\r\n")


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("INBOX", b'"INBOX"'),
        ('a"b\\c', b'"a\\"b\\\\c"'),
        ("a\r\nb", Literal(b"a\r\nb")),
        ("päss", Literal("päss".encode())),
    ],
)
def test_strings(text: str, written: bytes | Literal) -> None:
    assert string(text) == written


def test_a_literal_waits_for_the_server_unless_it_need_not() -> None:
    parts = (b"APPEND", b'"Sent"', Literal(b"abc"), Literal(b"de"))
    assert chunks("a", parts) == [b'a APPEND "Sent" {3}\r\n', b"abc {2}\r\n", b"de\r\n"]
    assert chunks("a", parts, at_once=2) == [b'a APPEND "Sent" {3}\r\n', b"abc {2+}\r\nde\r\n"]
