"""Malformed and restricted XML, bad UTF-8, unbound prefixes, wrong namespaces.

The conditions are those of RFC 6120 §4.9.3 and §11.
"""

from __future__ import annotations

import pytest

from tests.hostile.conftest import Connect
from tests.hostile.kit import CLIENT, HEADER, STREAM, Client

NAMES = f"xmlns='{CLIENT}' xmlns:stream='{STREAM}'"
BOMB = "<!DOCTYPE lolz [<!ENTITY a 'ha'>" + "".join(
    f"<!ENTITY {name} '{10 * f'&{before};'}'>"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)

# What a stranger may send in place of a stream header.
OPENINGS: dict[str, tuple[str | bytes, str]] = {
    "http": ("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "not-well-formed"),
    "client hello on the plain port": (bytes.fromhex("16030100c8010000c40303"), "not-well-formed"),
    "no prefix declared": ("<stream:stream to='localhost' version='1.0'>", "not-well-formed"),
    "duplicate attribute": (
        f"<stream:stream {NAMES} to='localhost' to='localhost' version='1.0'>",
        "not-well-formed",
    ),
    "attribute without quotes": (f"<stream:stream {NAMES} to=localhost>", "not-well-formed"),
    "billion laughs": (f"<?xml version='1.0'?>{BOMB}]>{HEADER[21:]}&i;", "restricted-xml"),
    "external dtd": (
        f"<?xml version='1.0'?><!DOCTYPE s SYSTEM 'file:///etc/passwd'>{HEADER[21:]}",
        "restricted-xml",
    ),
    "external entity": (
        f"<!DOCTYPE s [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>{HEADER[21:]}",
        "restricted-xml",
    ),
    "comment first": (f"<!-- hello -->{HEADER[21:]}", "restricted-xml"),
    "processing instruction first": (f"<?php evil() ?>{HEADER[21:]}", "restricted-xml"),
    "latin 1 declared": (
        HEADER.replace("1.0'?>", "1.0' encoding='ISO-8859-1'?>"),
        "unsupported-encoding",
    ),
    "utf-16 declared": (
        HEADER.replace("1.0'?>", "1.0' encoding='UTF-16'?>"),
        "unsupported-encoding",
    ),
    "utf-16 with its mark": (HEADER.encode("utf-16"), "unsupported-encoding"),
    "utf-16 without its mark": (HEADER.encode("utf-16-le"), "unsupported-encoding"),
    "utf-16 in the other order": (HEADER.encode("utf-16-be"), "unsupported-encoding"),
    "utf-32": (HEADER.encode("utf-32"), "unsupported-encoding"),
    # RFC 6120 §11.6: U+FEFF is a character like any other, and none may precede the root.
    "byte order mark": ("\ufeff" + HEADER, "not-well-formed"),
    "wrong stream namespace": (
        HEADER.replace(STREAM, "http://wrong.example.org/"),
        "invalid-namespace",
    ),
    "wrong content namespace": (HEADER.replace(CLIENT, "jabber:server"), "invalid-namespace"),
    "no content namespace": (HEADER.replace(f" xmlns='{CLIENT}'", ""), "invalid-namespace"),
    "root is no stream": (
        HEADER.replace("stream:stream ", "stream:steam "),
        "bad-format",
    ),
    "version that is none": (HEADER.replace("1.0'>", "one'>"), "unsupported-version"),
    "host that is not ours": (HEADER.replace("localhost", "example.com"), "host-unknown"),
    "no host": (HEADER.replace(" to='localhost'", ""), "improper-addressing"),
    "host that is no address": (HEADER.replace("localhost", "@/@"), "improper-addressing"),
    "host with a localpart": (HEADER.replace("localhost", "a@localhost"), "host-unknown"),
}


@pytest.mark.parametrize("name", OPENINGS)
def test_opening(connect: Connect, name: str) -> None:
    data, condition = OPENINGS[name]
    client = connect()
    client.send(data)
    assert client.stream_error() == condition
    # RFC 6120 §4.9.1.2 and §4.9.1.3: a header comes first, and it claims no name but ours.
    assert client.header is not None
    assert client.header.get("from", "") in {"", "localhost"}


MALFORMED: dict[str, str | bytes] = {
    "mismatched tags": "<message><body>x</message></body>",
    "stray end tag": "</message>",
    "no closing tag": "<message><body>No closing tag!</message>",
    "attribute without quotes": "<message to=bob@localhost/>",
    "duplicate attribute": "<message id='1' id='2'/>",
    "same attribute by two prefixes": (
        "<message><x xmlns='urn:x' xmlns:a='urn:a' xmlns:b='urn:a' a:y='1' b:y='2'/></message>"
    ),
    "less-than in an attribute": "<message id='<'/>",
    "lone ampersand": "<message><body>a & b</body></message>",
    "cdata end in text": "<message><body>]]></body></message>",
    "cdata between stanzas that holds markup": "<message/></x>",
    "reference to NUL": "<message><body>&#0;</body></message>",
    "reference to a surrogate": "<message><body>&#xD800;</body></message>",
    "reference to U+FFFE": "<message><body>&#xFFFE;</body></message>",
    "NUL": b"<message><body>\0</body></message>",
    "control character": b"<message><body>\x1b[2J</body></message>",
    "U+FFFF": "<message><body>\uffff</body></message>",
    "second xml declaration": "<?xml version='1.0'?>",
    "name that is none": "<message><1/></message>",
    # RFC 6120 §11.3: not namespace-well-formed.
    "unbound prefix of an element": "<message><foo:body>What is this foo?</foo:body></message>",
    "unbound prefix of an attribute": "<message><body foo:x='1'>x</body></message>",
    "unbound prefix of the stanza": "<foo:message/>",
    "unbound prefix of an attribute of the stanza": "<message foo:to='bob@localhost'/>",
    "prefix out of its scope": "<message><x xmlns:a='urn:a'/><a:y/></message>",
    "prefix of another stanza": "<message><x xmlns:a='urn:a'/></message><message><a:y/></message>",
    "prefix bound to nothing": "<message><x xmlns:a=''/></message>",
    "prefix xml bound elsewhere": "<message><x xmlns:xml='urn:x'/></message>",
    "prefix xmlns declared": "<message><x xmlns:xmlns='urn:x'/></message>",
    "two colons": "<message xmlns:a='urn:a'><a:b:c/></message>",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_not_well_formed(alice: Client, name: str) -> None:
    alice.send(MALFORMED[name])
    assert alice.stream_error() == "not-well-formed"


RESTRICTED = {
    "comment in a stanza": "<message><!-- <subject/> --><body>x</body></message>",
    "comment between stanzas": "<!-- x -->",
    "processing instruction": "<message><?php evil() ?></message>",
    "processing instruction between stanzas": "<?evil?>",
    "entity": "<message><body>&lol;</body></message>",
    "entity of html": "<message><body>&nbsp;</body></message>",
    "entity in an attribute": "<message id='&lol;'/>",
}


@pytest.mark.parametrize("name", RESTRICTED)
def test_restricted_xml(alice: Client, name: str) -> None:
    alice.send(RESTRICTED[name])
    assert alice.stream_error() == "restricted-xml"


@pytest.mark.parametrize(
    "text",
    ["<!DOCTYPE x [<!ENTITY a 'b'>]>", "<message><!DOCTYPE x></message>", "<!ENTITY a 'b'>"],
)
def test_dtd_within_the_stream(alice: Client, text: str) -> None:
    # Both are true of it: XML allows no DTD there (§4.9.3.13), XMPP nowhere (§4.9.3.18).
    alice.send(text)
    assert alice.stream_error() in {"restricted-xml", "not-well-formed"}


BAD_UTF8 = {
    "latin 1": b"caf\xe9 ",
    "overlong slash": b"\xc0\xaf",
    "overlong NUL": b"\xc0\x80",
    "overlong in three bytes": b"\xe0\x80\xaf",
    "surrogate": b"\xed\xa0\x80",
    "pair of surrogates": b"\xed\xa0\xbd\xed\xb8\x80",
    "above U+10FFFF": b"\xf4\x90\x80\x80",
    "five bytes": b"\xf8\x88\x80\x80\x80",
    "lone continuation": b"\x80",
    "cut sequence": b"\xe2\x82x",
    "0xff": b"\xff",
}


@pytest.mark.parametrize("name", BAD_UTF8)
def test_bad_utf8(alice: Client, name: str) -> None:
    # RFC 6120 §4.9.3.22: "improperly encoded the stream (e.g., by violating the rules of the
    # [UTF-8] encoding)".
    alice.send(b"<message to='bob@localhost'><body>" + BAD_UTF8[name] + b"</body></message>")
    assert alice.stream_error() == "unsupported-encoding"


@pytest.mark.parametrize("where", ["name", "attribute", "between"])
def test_bad_utf8_elsewhere(alice: Client, where: str) -> None:
    data = {
        "name": b"<message><b\xc3\x28dy/></message>",
        "attribute": b"<message id='\xed\xa0\x80'/>",
        "between": b"\xfe",
    }
    alice.send(data[where])
    assert alice.stream_error() == "unsupported-encoding"


def test_utf8_cut_between_two_reads_is_no_error(alice: Client, bob: Client) -> None:
    data = "<message to='bob@localhost/test'><body>€😀</body></message>".encode()
    for index in range(len(data)):
        alice.send(data[index : index + 1])
    message = bob.next()
    assert message is not None
    assert message.findtext(f"{{{CLIENT}}}body") == "€😀"


UNSUPPORTED = {
    "unknown element": "<pubsub/>",
    "stanza of a server": "<message xmlns='jabber:server'/>",
    "stanza of no namespace": "<message xmlns=''/>",
    "stanza of the stream's namespace": "<stream:message/>",
    "features": "<stream:features/>",
    "stream in a stream": f"<stream:stream {NAMES} to='localhost' version='1.0'/>",
    "upper case": "<MESSAGE/>",
    "dialback": "<result xmlns='jabber:server:dialback' from='a' to='b'>x</result>",
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_first_level_elements_that_are_no_stanzas(alice: Client, name: str) -> None:
    alice.send(UNSUPPORTED[name])
    assert alice.stream_error() == "unsupported-stanza-type"


@pytest.mark.parametrize("text", ["hello", "<![CDATA[<message/>]]>", "&amp;", "\u00a0", "&#32;"])
def test_text_between_stanzas(alice: Client, text: str) -> None:
    # RFC 6120 §4.6.1 and §11.7 allow white space there, and nothing else.
    alice.send(f"{text}<message/>")
    assert alice.stream_error() == "bad-format"


def test_prefixed_stanza_is_not_passed_on_as_it_is(alice: Client, bob: Client) -> None:
    # RFC 6120 §4.8.5: it must not be delivered "without first correcting the error".
    alice.send(
        f"<foo:message xmlns:foo='{CLIENT}' to='bob@localhost/test'>"
        "<foo:body>foo</foo:body></foo:message>"
    )
    message = bob.next()
    assert message is not None
    assert message.findtext(f"{{{CLIENT}}}body") == "foo"
    assert b"foo:" not in bob.raw


def test_cdata_and_character_references_arrive_as_what_they_mean(
    alice: Client, bob: Client
) -> None:
    alice.send(
        "<message to='bob@localhost/test'><body><![CDATA[</body></message>&lol;]]>&#x3C;</body>"
        "<x xmlns='urn:x' y='&#10;&quot;&gt;'/></message>"
    )
    message = bob.next()
    assert message is not None
    assert message.findtext(f"{{{CLIENT}}}body") == "</body></message>&lol;<"
    x = message.find("{urn:x}x")
    assert x is not None
    assert x.get("y") == '\n">'


def test_what_comes_before_the_fault_is_done_and_what_comes_after_is_not(
    alice: Client, bob: Client
) -> None:
    good = "<message to='bob@localhost/test'><body>{}</body></message>"
    alice.send(good.format("before") + "<message><!-- --></message>" + good.format("after"))
    assert alice.stream_error() == "restricted-xml"
    bodies = [one.findtext(f"{{{CLIENT}}}body") for one in bob.ping()]
    assert bodies == ["before"]
