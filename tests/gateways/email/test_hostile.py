"""Mails that were made to break whoever reads them."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jabberd.gateways.email import bounce, headers, html, mime
from jabberd.gateways.email.charset import clean, decode
from jabberd.gateways.email.mail import Mail
from tests.gateways.email.corpus import NAMES, data, parsed

SOME = settings(max_examples=200, deadline=None, derandomize=True)

HEAD = b"From: j@x.example\r\nMIME-Version: 1.0\r\n"

PIECES = st.sampled_from(
    [
        b"Content-Type: multipart/mixed; boundary=b\r\n",
        b"Content-Type: multipart/digest; boundary=b",
        b"Content-Type: multipart/report; report-type=delivery-status; boundary=b\n",
        b"Content-Type: message/rfc822\r\n", b"Content-Type: message/delivery-status\r\n",
        b"Content-Type: text/html; charset=utf-7\r\n",
        b"Content-Type: text/plain; format=flowed\r\n",
        b"Content-Type: text/plain; charset*0*=''%ff; charset*2*=x\r\n",
        b"Content-Disposition: attachment; filename*0*=utf-8''%e4; filename*=x'\r\n",
        b"Content-Transfer-Encoding: base64\r\n",
        b"Content-Transfer-Encoding: quoted-printable\r\n",
        b"--b\r\n", b"--b--\r\n", b"\r\n", b"\n", b"\r", b" ", b"=?utf-8?b?=?=", b"=?x?q?=zz?=",
        b"From: ", b"Subject: ", b"Date: Mon, 99 Xxx 99999 99:99:99 +9999999\r\n", b'To: (((<"\\',
        b"References: <<a@b>\r\n", b"Final-Recipient: ;;\r\n", b"Action: failed\r\n",
        b"Status: 5.1.1",
        b"<p><a href=mailto:><blockquote><pre>", b"</p></a><br>", b"\0\xff\xfe", b"AAA=A",
        b"=3", b"> ",
    ]
)  # fmt: skip


def sound(mail: Mail) -> None:
    """Everything in it can go on to XMPP and to disk."""
    for text in (mail.sender, mail.sender_name, mail.subject, mail.text, mail.full_text):
        assert text == clean(text)
        text.encode()
    for line in (mail.sender_name, mail.subject, mail.message_id, *mail.references):
        assert "\n" not in line
    for file in mail.attachments:
        json.dumps(file.name).encode()
        assert not set("/\\\r\n\0") & set(file.name)
    assert len(mail.text.encode()) <= 64 * 1024


@SOME
@given(st.lists(st.one_of(PIECES, st.binary(max_size=20)), max_size=40).map(b"".join))
@example(b"")
@example(b"\r\n")
@example(b"Content-Type: multipart/report; boundary=b\r\n\r\n--b--")
def test_nothing_makes_it_fail(raw: bytes) -> None:
    sound(parsed(raw))
    bounce.read(raw)


@SOME
@given(st.sampled_from(NAMES), st.data())
def test_broken_mails_do_not_make_it_fail(name: str, draw: st.DataObject) -> None:
    raw = bytearray(data(name))
    for _ in range(draw.draw(st.integers(1, 8))):
        at = draw.draw(st.integers(0, len(raw) - 1))
        raw[at : at + draw.draw(st.integers(0, 20))] = draw.draw(st.binary(max_size=5))
    sound(parsed(bytes(raw)))
    bounce.read(bytes(raw))


def nested(kind: bytes, depth: int) -> bytes:
    raw = b"Content-Type: text/plain\r\n\r\nin the middle"
    for at in range(depth):
        mark = b"b%d" % at
        raw = (
            b"Content-Type: multipart/" + kind + b"; boundary=" + mark + b"\r\n\r\n"
            b"--" + mark + b"\r\n" + raw + b"\r\n--" + mark + b"--\r\n"
        )
    return HEAD + raw


def test_parts_in_parts_are_read_up_to_a_depth() -> None:
    assert parsed(nested(b"mixed", 9)).text == "in the middle"
    assert "in the middle" not in parsed(nested(b"mixed", 2_000)).text
    parsed(nested(b"alternative", 2_000))


def test_mails_in_mails_are_read_up_to_a_depth() -> None:
    mail = parsed(HEAD + b"Content-Type: message/rfc822\r\n\r\n" * 5_000 + b"\r\n\r\ntext")
    assert len(mail.attachments) == 1


def test_there_is_a_bound_on_parts() -> None:
    raw = (
        HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\nx\r\n" * 100_000
    )
    assert len(list(mime.split(raw).walk())) == mime.MOST_PARTS + 1


@pytest.mark.parametrize(
    "line",
    [
        b'Content-Type: multipart/mixed; boundary="' + b";" * 200_000,
        b"Content-Type: a/b" + b'; x="\\' * 50_000,
        b"Content-Type: text/plain; " + b"charset*0*=a; " * 50_000,
        b"To: " + b"(" * 200_000,
        b"To: " + b'"\\' * 100_000,
        b"To: " + b"<a@b.example>," * 50_000,
        b"Subject: " + b"=?utf-8?b?" * 50_000,
        b"Subject: " + b"=?utf-8?q?=?= " * 50_000,
        b"References: " + b"<" * 200_000,
        b"Authentication-Results: mail.example; " + b'("' * 100_000,
        b"Date: " + b"1 " * 100_000,
        b"X:\r\n " * 100_000,
    ],
)
def test_long_header_fields_are_done_with_quickly(line: bytes) -> None:
    sound(parsed(line + b"\r\nFrom: j@x.example\r\n\r\ntext"))  # minutes, if any took squares


@pytest.mark.parametrize(
    "markup",
    ["<b>", "<div>", "<a href=http://x>", "<!", "<![CDATA[", "<a ", "<!--", "&", "</b", "</x>",
     "<?", "<table><tr><td>", "<hr>", "<blockquote>", "<pre>\n", "<b></i>", "<script>",
     "<p style='", "data:,"],
)  # fmt: skip
def test_html_is_done_with_quickly(markup: str) -> None:
    html.to_text(markup * 40_000)  # the same, and it must not recurse


@SOME
@given(st.text(), st.lists(st.sampled_from(["<p>", "</p>", "<pre>", "<blockquote>", "<a href=x>"])))
def test_html_of_any_kind_is_read(text: str, tags: list[str]) -> None:
    html.to_text("".join(tags) + text + "".join(reversed(tags)))


@pytest.mark.parametrize(
    "name",
    ["", "utf-8", "UTF8", "no-such", "idna", "punycode", "unicode_escape", "zlib", "rot13", "hex",
     "undefined", "utf-7", "utf-16", "gb2312", "iso-2022-jp", "x" * 5_000, "a\0b", "\udc80"],
)  # fmt: skip
@SOME
@given(raw=st.binary(max_size=30))
def test_bytes_of_any_charset_are_text(name: str, raw: bytes) -> None:
    clean(decode(raw, name)).encode()


@SOME
@given(st.binary(max_size=200))
def test_headers_of_any_kind_are_read(raw: bytes) -> None:
    found = headers.parse(b"X: " + raw + b"\r\n")
    headers.text(found, "X").encode()
    headers.date(headers.parse(b"Date: " + raw))
    headers.message_id(found, "X").encode()
    headers.parameter(found, "X", "name").encode()
