"""Mail addresses in one spelling."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jabberd.gateways.email import address
from jabberd.gateways.email.mailboxes import Mailbox, mailboxes
from jabberd.gateways.transport import BadAddress

SOME = settings(max_examples=200, deadline=None, derandomize=True)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("John.Doe@Example.ORG", "John.Doe@example.org"),
        (" nurse@capulet.example ", "nurse@capulet.example"),
        ("nurse%capulet.example", "nurse@capulet.example"),
        ("a%b%c.example", "a%b@c.example"),
        ("a%b@c.example", "a%b@c.example"),
        ("Nurse <nurse@capulet.example>", "nurse@capulet.example"),
        ("mailto:nurse@capulet.example", "nurse@capulet.example"),
        ('"a b"@c.example', '"a b"@c.example'),
        ('"ab"@c.example', "ab@c.example"),
        ('"a\\"b@c"@d.example', '"a\\"b@c"@d.example'),
        ("a..b@docomo.example", '"a..b"@docomo.example'),
        ("a@xn--exmple-cua.org", "a@exämple.org"),
        ("a@EXÄMPLE.org", "a@exämple.org"),
        ("a@c.example.", "a@c.example"),
        ("jo\u0308rg@c.example", "jörg@c.example"),
        ("romeo+b=x@c.example", "romeo+b=x@c.example"),
    ],
)
def test_canonical(text: str, canonical: str) -> None:
    assert address.canonical(text) == canonical
    assert address.canonical(canonical) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "", "nurse", "@c.example", "a@", "a b@c.example", 'a"b@c.example', '""@c.example',
        "a@[192.0.2.1]", "a@192.0.2.1", "a@[IPv6:2001:db8::1]", "a@b@c.example", "a\n@c.example",
        '"a\n"@c.example', '"a\u202eb"@c.example', "a" * 65 + "@c.example", "ä" * 33 + "@c.example",
        "a@" + "a." * 130 + "example", "a@" + "a" * 64 + ".example", "a@b..example", "x" * 2_000,
        "a@c.example\r\nBcc: b@c.example", "<a@c.example", "a@c example",
    ],
)  # fmt: skip
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(BadAddress, match=r"\w\.$"):
        address.canonical(text)


@SOME
@given(st.text(max_size=80))
def test_whatever_is_taken_stays_as_it_is_and_fits_on_one_line(text: str) -> None:
    try:
        known = address.canonical(text)
    except BadAddress:
        return
    assert address.canonical(known) == known
    assert known.isprintable()
    assert address.canonical(address.wire(known)) == known


def test_the_wire_has_a_labels() -> None:
    assert address.wire("jörg@exämple.org") == "jörg@xn--exmple-cua.org"
    assert address.needs_smtputf8("jörg@exämple.org")
    assert not address.needs_smtputf8("joerg@exämple.org")


def test_details() -> None:
    assert address.without_detail("romeo+b=1+2") == ("romeo", "b=1+2")
    assert address.without_detail("romeo") == ("romeo", "")
    assert address.without_detail("+x") == ("+x", "")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a@x.example", [Mailbox("a@x.example")]),
        ('"Doe, John" <j@x.example>', [Mailbox("j@x.example", "Doe, John")]),
        ('"a@x.example" <a@x.example>', [Mailbox("a@x.example")]),
        ("'J' <j@x.example>", [Mailbox("j@x.example", "J")]),
        ("j@x.example (John (the) Doe)", [Mailbox("j@x.example", "John (the) Doe")]),
        ("a@x.example, B <b@x.example>", [Mailbox("a@x.example"), Mailbox("b@x.example", "B")]),
        ("us: a@x.example, b@x.example;", [Mailbox("a@x.example"), Mailbox("b@x.example")]),
        ("undisclosed-recipients:;", []),
        ("=?utf-8?q?J=C3=B6?= <j@x.example>", [Mailbox("j@x.example", "Jö")]),
        ('"=?utf-8?q?J=C3=B6?=" <j@x.example>', [Mailbox("j@x.example", "Jö")]),
        ('"evil@y.example" <a@x.example>', [Mailbox("a@x.example", "evil@y.example")]),
        ("a@x.example <b@x.example>", [Mailbox("b@x.example", "a@x.example")]),
        ("a@x.example, a@x.example", [Mailbox("a@x.example")]),
        ("not an address, <>, (", []),
        ('"never ends <a@x.example>', [Mailbox("a@x.example", "never ends")]),
    ],
)
def test_mailboxes(value: str, expected: list[Mailbox]) -> None:
    assert list(mailboxes(value)) == expected


def test_there_is_a_bound_on_mailboxes() -> None:
    assert len(mailboxes(",".join(f"a{at}@x.example" for at in range(1_000)))) == 200
