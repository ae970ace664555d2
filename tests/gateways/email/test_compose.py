"""Mails that we write: read by the standard library and by ourselves."""

from __future__ import annotations

import email
import email.message
import email.policy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jabberd.gateways.email.compose import Draft, trimmed, write
from jabberd.gateways.email.headers import one_line
from jabberd.gateways.events import Attachment
from tests.gateways.email.corpus import parsed

SOME = settings(max_examples=100, deadline=None, derandomize=True)

DRAFT = Draft(
    from_address="romeo@mail.example",
    from_name="Romeo",
    to="julia@capulet.example",
    body="Will you come?",
    subject="Ball",
    message_id="<k3.t1@mail.example>",
    date=1714983609.0,
)

LINES = st.text(st.characters(exclude_categories=("C", "Z"), include_characters=" "), max_size=300)


def by_library(raw: bytes) -> email.message.EmailMessage:
    found = email.message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(found, email.message.EmailMessage)
    assert not found.defects
    return found


def test_a_mail_in_full() -> None:
    assert write(DRAFT) == (
        b"From: Romeo <romeo@mail.example>\r\n"
        b"To: julia@capulet.example\r\n"
        b"Subject: Ball\r\n"
        b"Date: Mon, 06 May 2024 08:20:09 +0000\r\n"
        b"Message-ID: <k3.t1@mail.example>\r\n"
        b"X-Mailer: jabberd\r\n"
        b"MIME-Version: 1.0\r\n"
        b"Content-Type: text/plain; charset=utf-8; format=flowed; delsp=yes\r\n"
        b"Content-Transfer-Encoding: 7bit\r\n\r\n"
        b"Will you come?\r\n"
    )


def test_an_answer_with_everything() -> None:
    draft = replace(
        DRAFT,
        from_name='Römeo "of" Montague',
        subject="Re: Ball – und später?",  # noqa: RUF001 -- not ASCII
        in_reply_to="<b@x.example>",
        references=("<a@x.example>", "<b@x.example>"),
        attachments=(
            Attachment(b"%PDF", "Übersicht für alle Gäste des großen Balls.pdf", "application/pdf"),
            Attachment(b"\0\1", "run me.bin", "no media type"),
            Attachment(b"From: x\r\n\r\nhi", "", "message/rfc822"),
        ),
        loop_mark="abc",
        receipt_to="romeo@mail.example",
    )
    raw = write(draft)
    found = by_library(raw)
    assert found["From"].addresses[0].display_name == draft.from_name
    assert found["Subject"] == draft.subject
    assert found["References"] == "<a@x.example> <b@x.example>"
    assert found["Disposition-Notification-To"] == "romeo@mail.example"
    names = [(part.get_filename(), part.get_content_type()) for part in found.iter_attachments()]
    assert names == [
        (draft.attachments[0].name, "application/pdf"),
        ("run me.bin", "application/octet-stream"),
        (None, "application/octet-stream"),
    ]
    ours = parsed(raw)
    assert (ours.sender_name, ours.subject, ours.in_reply_to, ours.references, ours.loop_marks) == (
        draft.from_name, draft.subject, draft.in_reply_to, draft.references, ("abc",),
    )  # fmt: skip
    assert [file.data for file in ours.attachments] == [file.data for file in draft.attachments]


@SOME
@given(
    body=st.lists(LINES, max_size=10).map("\n".join),
    subject=st.text(max_size=200),
    name=st.text(max_size=100),
    file_name=st.text(max_size=100),
)
def test_whatever_is_written_can_be_read(
    body: str, subject: str, name: str, file_name: str
) -> None:
    file = Attachment(b"data", file_name, "text/plain")
    raw = write(replace(DRAFT, body=body, subject=subject, from_name=name, attachments=(file,)))
    head = raw.partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert all(len(line) <= 998 for line in raw.split(b"\r\n"))
    assert raw.replace(b"\r\n", b"").count(b"\n") == raw.replace(b"\r\n", b"").count(b"\r") == 0
    assert {line.partition(b":")[0] for line in head if not line.startswith(b" ")} == {
        b"From", b"To", b"Subject", b"Date", b"Message-ID", b"X-Mailer", b"MIME-Version",
        b"Content-Type",
    }  # fmt: skip
    found = parsed(raw)
    assert found.sender == DRAFT.from_address
    assert found.to == (DRAFT.to,)
    assert found.subject == one_line(subject)
    assert found.attachments[0].data == b"data"
    assert by_library(raw)["To"].addresses[0].addr_spec == DRAFT.to


@SOME
@given(st.lists(LINES.filter(lambda line: not line.lstrip().startswith(">")), max_size=10))
def test_text_survives(lines: list[str]) -> None:
    body = "\n".join(line.rstrip(" ") for line in lines).strip("\n")
    assert parsed(write(replace(DRAFT, body=body))).full_text == (body if body.strip() else "")


@pytest.mark.parametrize(
    "body",
    [
        "> quoted " + "long " * 40 + "end\nanswer",
        ">> deep\n> less\nnone",
        "From here on\n from there\n.\n..",
        "text\n\n-- \nRomeo",
        "x" * 3_000,
        "長い文" * 200,
        "👩‍👩‍👧 " * 50,
    ],
)
def test_quotes_and_long_lines_survive(body: str) -> None:
    raw = write(replace(DRAFT, body=body))
    assert parsed(raw).full_text == body.strip()
    assert max(map(len, raw.split(b"\r\n"))) <= 78


@pytest.mark.parametrize(
    "change",
    [
        {"to": "a@x.example\r\nBcc: b@x.example"},
        {"to": "a@x.example, b@x.example"},
        {"to": "<a@x.example>"},
        {"to": ""},
        {"from_address": "a@x.example\nX: y"},
        {"message_id": "<a@x>\r\nX: y"},
        {"message_id": "a@x"},
        {"receipt_to": "a@x.example\r\nX: y"},
        {"to": "jörg@x.example"},
    ],
)
def test_what_cannot_be_written_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(
        ValueError,
        match=r"not a message|not a canonical|SMTPUTF8|The part|The domain|form user@domain",
    ):
        write(replace(DRAFT, **change))


@pytest.mark.parametrize(
    "change",
    [
        {"from_name": 'a"\r\nBcc: b@x.example'},
        {"subject": "a\r\nBcc: b@x.example\r\n\r\nbody"},
        {"subject": "a\u2028\x85\x0b\x0cBcc: b@x.example"},
        {"in_reply_to": "<a@x>\r\nBcc: b@x.example"},
        {"references": ("<a@x>\r\nBcc: b@x.example",)},
        {"loop_mark": "a\r\nBcc: b@x.example"},
        {"attachments": (Attachment(b"", 'a"\r\nBcc: b@x.example', "a/b\r\nBcc: c"),)},
        {"body": "a\r\n.\r\nBcc: b@x.example"},
    ],
)
def test_no_value_begins_a_header_field(change: dict[str, Any]) -> None:
    raw = write(replace(DRAFT, **change))
    found = by_library(raw)
    parts = list(found.walk())
    assert all("Bcc" not in part for part in parts)
    assert len(parts) == (3 if "attachments" in change else 1)


def test_addresses_beyond_ascii_go_as_they_are_where_that_is_offered() -> None:
    raw = write(replace(DRAFT, to="jörg@exämple.org", smtputf8=True))
    assert "To: jörg@exämple.org\r\n".encode() in raw
    assert b"To: j@xn--exmple-cua.org\r\n" in write(replace(DRAFT, to="j@exämple.org"))


@pytest.mark.parametrize("subject", ["Grüße " * 60, "word " * 90, "x" * 300, "=?utf-8?q?x?="])
def test_long_subjects_survive(subject: str) -> None:
    raw = write(replace(DRAFT, subject=subject))
    assert by_library(raw)["Subject"] == parsed(raw).subject == subject.strip()
    assert max(map(len, raw.split(b"\r\n"))) <= 78


def test_chains_are_trimmed() -> None:
    chain = tuple(f"<{at}@x>" for at in range(30))
    assert trimmed(chain) == (chain[0], *chain[-10:])
    assert trimmed((*chain[:3], "<b ad>", *chain[:3])) == chain[:3]
    assert parsed(write(replace(DRAFT, references=chain))).references == trimmed(chain)
