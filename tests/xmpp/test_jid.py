"""Addresses: the examples of RFC 7622 §3.5, and what an address promises."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jabberd.xmpp.jid import JID, InvalidJID

# RFC 7622 §3.5, table 1: number, address, and its parts as stringprep makes them.
LEGAL = [
    (1, "juliet@example.com", ("juliet", "example.com", "")),
    (2, "juliet@example.com/foo", ("juliet", "example.com", "foo")),
    (3, "juliet@example.com/foo bar", ("juliet", "example.com", "foo bar")),
    (4, "juliet@example.com/foo@bar", ("juliet", "example.com", "foo@bar")),
    (5, "foo\\20bar@example.com", ("foo\\20bar", "example.com", "")),
    (6, "fussball@example.com", ("fussball", "example.com", "")),
    (7, "fu\u00dfball@example.com", ("fussball", "example.com", "")),  # PRECIS: not number 6
    (8, "\u03c0@example.com", ("\u03c0", "example.com", "")),
    (9, "\u03a3@example.com/foo", ("\u03c3", "example.com", "foo")),
    (10, "\u03c3@example.com/foo", ("\u03c3", "example.com", "foo")),
    (11, "\u03c2@example.com/foo", ("\u03c3", "example.com", "foo")),  # PRECIS: not number 10
    (12, "king@example.com/\u265a", ("king", "example.com", "\u265a")),
    (13, "example.com", ("", "example.com", "")),
    (14, "example.com/foobar", ("", "example.com", "foobar")),
    (15, "a.example.com/b@example.net", ("", "a.example.com", "b@example.net")),
]
# Table 2. Numbers 18, 20 and 21 are legal to stringprep, see below.
ILLEGAL = [
    (16, '"juliet"@example.com'),
    (17, "foo bar@example.com"),
    (19, "@example.com/"),
    (22, "juliet@"),
    (23, "/foobar"),
]


@pytest.mark.parametrize(("text", "parts"), [row[1:] for row in LEGAL])
def test_legal(text: str, parts: tuple[str, str, str]) -> None:
    jid = JID.parse(text)
    assert (jid.local, jid.domain, jid.resource) == parts


@pytest.mark.parametrize("text", [row[1] for row in ILLEGAL])
def test_illegal(text: str) -> None:
    with pytest.raises(InvalidJID):
        JID.parse(text)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [  # docs/decisions/0005-preparation.md
        ("juliet@example.com/ foo", "juliet@example.com/ foo"),  # number 18
        ("henry\u2163@example.com", "henryiv@example.com"),  # number 20
        ("\u265a@example.com", "\u265a@example.com"),  # number 21; nobody can register it
    ],
)
def test_legal_to_stringprep_only(text: str, canonical: str) -> None:
    assert JID.parse(text).text == canonical


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@",
        "/",
        "a@b@c",
        "a@/b",
        "a@b/",
        "b/",
        "a@@b",
        "@b",
        "a@b..c",
        "\u2100@b",  # becomes a/c
        "a@b/\x00",
        "a\ud800@b",
        f"{'a' * 1024}@b",
        f"a@b/{'c' * 1024}",
        f"a@{'b' * 64}",
        "a@b/" + "\u00ad" * 5000,
    ],
)
def test_more_illegal(text: str) -> None:
    with pytest.raises(InvalidJID):
        JID.parse(text)


def test_separators_are_found_before_anything_is_mapped() -> None:
    assert JID.parse("example.com/\uff20\uff0f").resource == "@/"  # RFC 7622 §3.1
    assert JID.parse("a@b/c/d@e").resource == "c/d@e"


def test_the_longest_address() -> None:
    labels = ".".join(["b" * 63] * 16)
    text = f"{'a' * 1023}@{labels}/{'c' * 1023}"
    jid = JID.parse(text)
    assert jid.text == text
    assert len(text) == 3071


def test_long_addresses_are_not_kept() -> None:
    short, long = "a@b/kept", "a@b/" + "c" * 300
    assert JID.parse(short) is JID.parse(short)
    assert JID.parse(long) is not JID.parse(long)
    assert JID.parse(long) == JID.parse(long)


def test_comparison() -> None:
    one, same = JID.parse("Juliet@Example.COM./Foo"), JID("juliet", "example.com", "Foo")
    assert one == same
    assert hash(one) == hash(same)
    assert one != JID.parse("juliet@example.com/foo")
    assert one != "juliet@example.com/Foo"
    assert sorted([one, one.bare]) == [one.bare, one]
    assert (str(one), repr(one)) == (one.text, "JID('juliet@example.com/Foo')")


def test_bare_and_full() -> None:
    full = JID.parse("juliet@example.com/foo")
    assert full.bare.text == "juliet@example.com"
    assert full.bare is full.bare
    assert full.bare.bare is full.bare
    assert (full.is_bare, full.bare.is_bare) == (False, True)
    assert full.bare.with_resource("\uff26").text == "juliet@example.com/F"
    for resource in ("", "\x00", "a" * 1024):
        with pytest.raises(InvalidJID):
            full.with_resource(resource)


def test_xml() -> None:
    assert JID.parse("a@b/<'\"&>").xml == "a@b/&lt;&apos;&quot;&amp;&gt;"


def test_an_error_has_no_control_characters_of_the_peer() -> None:
    for text in ("\x1b[2Ja@", "\x1b@example.com", "a@\x1b", "a@b/\x1b"):
        with pytest.raises(InvalidJID) as caught:
            JID.parse(text)
        assert str(caught.value).isprintable()


@given(st.text(max_size=20) | st.text("ab@/.:[]\u00ad\uff20", max_size=12))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    try:
        jid = JID.parse(text)
    except InvalidJID:
        return
    assert JID.parse(jid.text) == jid
    assert JID(jid.local, jid.domain, jid.resource) == jid
