"""Texts of mails: HTML, folded paragraphs, and which part is the one to read."""

from __future__ import annotations

import pytest

from jabberd.gateways.email import html
from jabberd.gateways.email.flowed import unfold
from tests.gateways.email.corpus import parsed


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("a<br>b", "a\nb"),
        ("<p>a</p><p>b</p>", "a\n\nb"),
        ("<div>a</div><div>b</div>", "a\nb"),
        ("<div>a<div><div>b</div></div></div>", "a\nb"),
        ("a <b>bold</b>, <i>so</i>", "a bold, so"),
        ("  a \n b&nbsp;c\u200b ", "a b c"),
        ("a<hr>b", "a\n" + "_" * 32 + "\nb"),
        ('<img alt="a cat" src=x>', "a cat"),
        ('<img src="https://track.example/1.gif" width=1 height=1>', ""),
        ('<a href="https://x.example/a">here</a>', "here <https://x.example/a>"),
        ('<a href="https://x.example/">https://x.example</a>', "https://x.example"),
        ('<a href="https://x.example/">x.example</a>', "x.example"),
        ('<a href="https://x.example/"><img src=y></a>', "<https://x.example/>"),
        ('<a href="mailto:a@x.example?subject=b">a@x.example</a>', "a@x.example"),
        ('<a href="mailto:a@x.example">write</a>', "write <a@x.example>"),
        ('<a href="javascript:alert(1)">x</a><a href="#y">y</a>', "xy"),
        ('<a href="https://x.example/' + "y" * 2_000 + '">long</a>', "long"),
        ("<pre>a  b\n\n  c</pre>", "a  b\n\n  c"),
        ("<ol><li>a</li><li>b</li></ol>", "- a\n- b"),
        ("<table><tr><th>a</th><td>b</td></tr><tr><td>c</td></tr></table>", "a b\nc"),
        ("x<blockquote>a<blockquote>b</blockquote></blockquote>y", "x\n\n> a\n>\n> > b\n\ny"),
        ('<p style="DISPLAY : NONE">no</p><span style="visibility:hidden">no</span>yes', "yes"),
        ("<style>no</style><script>no</script><title>no</title><!-- no -->yes", "yes"),
        ("<?xml version='1.0'?><x:y>yes</x:y>", "yes"),
        ("https://x.example/a.txt", "https://x.example/a.txt"),
        ('<img src="data:image/png;base64,' + "A" * 900_000 + '">after', "after"),
    ],
)
def test_html(markup: str, text: str) -> None:
    assert html.to_text(markup) == text


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        ("a \nb\nc", "a b\nc"),
        (" a\n >b\n From c", "a\n>b\nFrom c"),
        ("> a \n> b\n>> c", "> a b\n>> c"),
        ("> a \nb", "> a\nb"),
        ("a \n-- \nb", "a \n-- \nb"),
        ("a ", "a "),
        ("a \n\nb", "a \nb"),
        ("> ", ">"),
    ],
)
def test_paragraphs(lines: str, text: str) -> None:
    assert unfold(lines, delsp=False) == text


def test_paragraphs_without_the_space_at_their_cuts() -> None:
    assert unfold("a  \nb \nc", delsp=True) == "a bc"


def multipart(kind: str, *parts: str) -> bytes:
    body = "".join(f"--b\r\n{part}\r\n" for part in parts)
    head = f"From: j@x.example\r\nContent-Type: multipart/{kind}; boundary=b\r\n\r\n"
    return f"{head}{body}--b--\r\n".encode()


PLAIN = "Content-Type: text/plain\r\n\r\nplain"
RICH = "Content-Type: text/html\r\n\r\n<p>rich</p>"
NONE = "Content-Type: text/plain\r\n\r\n \r\n"


def test_plain_text_is_preferred_wherever_it_stands() -> None:
    assert parsed(multipart("alternative", PLAIN, RICH)).text == "plain"
    assert parsed(multipart("alternative", RICH, PLAIN)).text == "plain"
    assert parsed(multipart("alternative", NONE, RICH)).text == "rich"
    assert parsed(multipart("alternative", RICH)).text == "rich"


def test_html_that_claims_to_be_plain() -> None:
    assert parsed(b"From: j@x.example\r\n\r\n<!DOCTYPE html><p>a</p>").text == "a"


def test_several_texts_are_one() -> None:
    assert parsed(multipart("mixed", PLAIN, RICH, NONE)).text == "plain\n\nrich"


def test_the_root_of_related_parts_is_the_one_that_is_named() -> None:
    image = "Content-Type: image/png; name=a.png\r\nContent-ID: <i>\r\n\r\nx"
    root = "Content-Type: text/html\r\nContent-ID: <r>\r\n\r\n<p>rich</p>"
    found = parsed(multipart('related; start="<r>"', image, root))
    assert (found.text, found.attachments) == ("rich", ())


def test_encrypted_mail_says_so_and_comes_as_a_file() -> None:
    control = "Content-Type: application/pgp-encrypted\r\n\r\nVersion: 1"
    secret = "Content-Type: application/octet-stream; name=encrypted.asc\r\n\r\n-----BEGIN"
    found = parsed(multipart("encrypted", control, secret))
    assert found.text == "[This mail is encrypted]"
    assert [file.name for file in found.attachments] == ["encrypted.asc"]


def test_files_that_are_the_same_come_once() -> None:
    file = "Content-Type: application/pdf; name=a.pdf\r\n\r\nx"
    other = "Content-Type: application/pdf; name=b.pdf\r\n\r\nx"
    found = parsed(multipart("mixed", PLAIN, file, file, other))
    assert [file.name for file in found.attachments] == ["a.pdf", "b.pdf"]


def test_unnamed_files_get_a_name_where_their_type_gives_one() -> None:
    picture = "Content-Type: image/jpeg\r\n\r\nx"
    data = "Content-Type: application/x-data\r\n\r\nx"
    found = parsed(multipart("mixed", PLAIN, picture, data))
    assert [file.name for file in found.attachments] == ["image.jpg", ""]


def test_long_file_names_keep_their_end() -> None:
    file = f'Content-Type: application/pdf; name="{"a" * 900}.pdf"\r\n\r\nx'
    (found,) = parsed(multipart("mixed", PLAIN, file)).attachments
    assert found.name == "a" * 196 + ".pdf"


def test_a_mail_of_nothing() -> None:
    found = parsed(b"")
    assert (found.sender, found.text, found.attachments, found.date) == ("", "", (), None)
