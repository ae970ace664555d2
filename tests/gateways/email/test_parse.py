"""What mails of many programs say."""

from __future__ import annotations

import pytest

from jabberd.gateways.email.mail import Kind, Verdict
from jabberd.gateways.email.parse import read
from tests.gateways.email.corpus import NAMES, data, mail, parsed

TEXTS = {
    "gmail_reply": "Ja, sehr gern – bis Samstag!",  # noqa: RUF001 -- as written
    "gmail_html_only": (
        "Look at the programme <https://verona.example/ball?x=1&y=2>, it is at verona.example.\n\n"
        "- music\n- dance & wine"
    ),
    "apple_inline": "The garden:",
    "outlook": "Hallo Romeo,\n\ngern – für 20 €.\n\n[cid:image001.png@01DA9F00]\nJulia Capulet",  # noqa: RUF001
    "calendar": "You have been invited to the ball.",
    "calendar_only": (
        "Ball, with music and dance\n2024-05-11 20:00\n- 2024-05-11 23:00 UTC\nVerona"
    ),
    "pgp_signed": "Wherefore art thou Romeo?",
    "pgp_inline": "Wherefore art thou\n- Romeo?",
    "smime_signed": "20 € please",
    "smime_encrypted": "[This mail is encrypted or signed by S/MIME]",
    "forwarded": (
        "From: Friar Laurence <friar@cell.example>\nDate: Sun, 5 May 2024 10:00:00 +0200\n"
        "Subject: the letter § 1\n\nTake this vial."
    ),
    "winmail": "See attachment.",
    "rfc2231": "Names:",
    "list": "A plague on both houses.",
    "vacation": "I am away.",
    "japanese": "こんにちは",
    "raw_latin1": "schöne Grüße",
    "broken_headers": "Still readable: café.",
    "truncated": "half a ma",
}

FILES = {
    "apple_inline": [("IMG_0001.jpeg", "image/jpeg")],
    "calendar": [("invite.ics", "text/calendar"), ("invite.ics", "application/ics")],
    "calendar_only": [("invite.ics", "text/calendar")],
    "smime_encrypted": [("smime.p7m", "application/pkcs7-mime")],
    "forwarded": [("the letter.eml", "message/rfc822")],
    "winmail": [("winmail.dat", "application/ms-tnef")],
    "rfc2231": [
        ("Übersicht für alle.pdf", "application/pdf"),
        ("Übersicht.pdf", "application/pdf"),
        ("run.exe", "application/octet-stream"),
        ("notes.txt", "text/plain"),
    ],
}

KINDS = {"list": Kind.LIST, "newsletter_stub": Kind.LIST, "vacation": Kind.AUTOMATIC}


@pytest.mark.parametrize("name", TEXTS)
def test_text(name: str) -> None:
    assert mail(name).text == TEXTS[name]


@pytest.mark.parametrize("name", NAMES)
def test_files(name: str) -> None:
    found = [(file.name, file.media_type) for file in mail(name).attachments]
    assert found == FILES.get(name, [])


@pytest.mark.parametrize("name", NAMES)
def test_kind(name: str) -> None:
    assert mail(name).kind is KINDS.get(name, Kind.NORMAL)


@pytest.mark.parametrize("name", NAMES)
def test_line_ends_make_no_difference(name: str) -> None:
    one, other = mail(name), parsed(data(name).replace(b"\r\n", b"\n"))
    assert (one.text, one.subject, one.kind) == (other.text, other.subject, other.kind)


def test_a_reply_from_gmail() -> None:
    found = mail("gmail_reply")
    assert (found.sender, found.sender_name) == ("Julia@capulet.example", "Julia Capulet")
    assert found.to == ("romeo@mail.example",)
    assert found.cc == ("nurse@capulet.example", "tybalt@capulet.example")
    assert found.message_id == "<CAF9+julia=1@mail.capulet.example>"
    assert found.in_reply_to == "<k3.t1@mail.example>"
    assert found.references == ("<first@mail.example>", "<k3.t1@mail.example>")
    assert found.subject == "Re: Ball am Samstag – kommst du?"  # noqa: RUF001
    assert found.date == 1714983609.0
    assert found.received == 2
    assert found.verdict == Verdict("pass", "pass", "pass")
    assert found.answerable
    assert not found.spam
    assert "> Kommst du zum Ball?" in found.full_text


def test_a_stub_gives_way_to_html() -> None:
    found = mail("newsletter_stub")
    assert found.text.startswith("Masks\n\nAll masks for the ball")
    assert "Gold 10\nSilver 8" in found.text
    assert found.spam
    assert not found.answerable


def test_headers_in_other_charsets() -> None:
    assert (mail("japanese").sender_name, mail("japanese").subject) == ("テスト", "日本語")
    assert (mail("raw_latin1").sender_name, mail("raw_latin1").subject) == ("Jürgen", "Grüße")


def test_headers_that_are_broken() -> None:
    found = mail("broken_headers")
    assert found.sender == "julia@capulet.example"
    assert found.subject == "a=ZZ =?utf-8?x?y?= caf=E9"
    assert found.references == ("<a@b>", "<e@f>")
    assert found.to == ()
    assert mail("raw_latin1").message_id == "<l1@capulet.example>"
    assert mail("raw_latin1").date is None


def test_automatic_answers_are_not_answered() -> None:
    assert not mail("vacation").answerable
    assert not mail("list").answerable


def image(size: int, head: str) -> bytes:
    return (
        b"From: j@x.example\r\nContent-Type: multipart/related; boundary=r\r\n\r\n"
        b'--r\r\nContent-Type: text/html\r\n\r\n<p>hi<img src="cid:i1"></p>\r\n'
        b"--r\r\nContent-Type: image/png; name=a.png\r\nContent-Transfer-Encoding: binary\r\n"
        + head.encode()
        + b"\r\n"
        + b"x" * size
        + b"\r\n--r--\r\n"
    )


def test_images_in_the_text_are_files_if_they_are_more_than_decoration() -> None:
    head = "Content-ID: <i1>\r\nContent-Disposition: inline\r\n"
    assert parsed(image(5 * 1024, head)).attachments == ()
    (kept,) = parsed(image(5 * 1024 + 1, head)).attachments
    assert (kept.name, len(kept.data)) == ("a.png", 5 * 1024 + 1)


def test_long_texts_are_cut_and_come_as_a_file() -> None:
    found = parsed(b"From: j@x.example\r\n\r\n" + "schön ".encode() * 20_000)
    assert found.text.endswith("\n[cut]")
    assert len(found.text.encode()) <= 64 * 1024
    (file,) = found.attachments
    assert file.name == "message.txt"
    assert file.data.decode() == ("schön " * 20_000).strip()


def test_forwards_keep_what_they_forward() -> None:
    assert mail("forwarded_inline").text.endswith("Take this vial.")


def test_our_own_domain_is_noticed() -> None:
    found = parsed(b"From: R <Romeo@MAIL.example>\r\nMessage-ID: <x.y@mail.example>\r\n\r\nhi")
    assert found.own_domain
    assert found.own_id
    assert not mail("gmail_reply").own_domain
    assert not mail("gmail_reply").own_id


def test_our_own_domain_is_noticed_in_ascii() -> None:
    raw = "From: r@xn--exmple-cua.org\r\nMessage-ID: <x@xn--exmple-cua.org>\r\n\r\nhi"
    found = read(raw.encode(), own_domain="exämple.org", authserv_id="")
    assert found.own_domain
    assert found.own_id
