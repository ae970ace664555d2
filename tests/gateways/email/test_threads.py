"""Which mail belongs to which conversation."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from jabberd.gateways.email.mail import Mail
from jabberd.gateways.email.threads import (
    CONTINUED_FOR,
    Entry,
    Threads,
    answer_subject,
    base_subject,
)
from jabberd.gateways.email.verp import reference
from jabberd.gateways.events import Text
from jabberd.storage.records import Records
from tests.gateways.email.records import MemoryRecords

USER = "romeo@example.com"
JULIA = "julia@capulet.example"
SENT = Entry("<k1@mail.example>", "t1", JULIA, "Ball", 1_000.0, ("<k0@mail.example>",), ("text-1",))

pytestmark = pytest.mark.asyncio


def answer(**more: Any) -> Mail:
    return replace(Mail(sender=JULIA, message_id="<r1@x>", subject="Re: Ball"), **more)


async def known() -> Threads:
    records: Records = MemoryRecords()
    threads = Threads(records)
    await threads.remember(USER, SENT)
    return threads


async def test_a_mail_is_found_by_every_name_it_has() -> None:
    threads = await known()
    for name in ("<k1@mail.example>", "text-1", reference("<k1@mail.example>")):
        assert await threads.find(USER, name) == SENT
        assert await threads.find("julia@example.com", name) is None
    assert await threads.find(USER, "<other@x>") is None


async def test_an_answer_belongs_to_what_it_answers() -> None:
    threads = await known()
    for mail in (
        answer(in_reply_to="<k1@mail.example>"),
        answer(references=("<k1@mail.example>", "<unknown@x>")),
        answer(in_reply_to="<unknown@x>", references=("<k1@mail.example>",), subject="AW: ball"),
    ):
        found = await threads.incoming(USER, mail)
        assert (found.thread, found.subject, found.replies_to) == ("t1", "", "<k1@mail.example>")


async def test_a_subject_is_shown_where_it_changes() -> None:
    threads = await known()
    found = await threads.incoming(USER, answer(in_reply_to="<k1@mail.example>", subject="Wine"))
    assert (found.thread, found.subject) == ("t1", "Wine")


async def test_what_another_contact_answers_is_not_shown_as_an_answer() -> None:
    threads = await known()
    mail = answer(in_reply_to="<k1@mail.example>", sender="nurse@capulet.example")
    found = await threads.incoming(USER, mail)
    assert (found.thread, found.subject, found.replies_to) == ("t1", "Re: Ball", "")


async def test_what_answers_nothing_known_has_the_thread_of_its_first_mail() -> None:
    threads = await known()
    first = await threads.incoming(USER, answer(message_id="<a@x>"))
    second = await threads.incoming(USER, answer(message_id="<b@x>", references=("<a@x>", "<c@x>")))
    third = await threads.incoming(USER, answer(message_id="<b@x>", in_reply_to="<a@x>"))
    assert re.fullmatch("m-[0-9a-f]{16}", first.thread)
    assert first.thread == second.thread == third.thread
    assert (first.subject, first.replies_to) == ("Re: Ball", "")
    nameless = await threads.incoming(USER, answer(message_id=""))
    assert nameless.thread not in {"t1", first.thread}


async def test_a_message_without_thread_continues_the_newest() -> None:
    threads = await known()
    found = await threads.outgoing(USER, JULIA, Text("i", "yes"), name="Romeo", now=1_001.0)
    assert (found.thread, found.subject) == ("t1", "Re: Ball")
    assert found.in_reply_to == "<k1@mail.example>"
    assert found.references == ("<k0@mail.example>", "<k1@mail.example>")


async def test_a_message_begins_a_conversation() -> None:
    threads = await known()
    old = 1_000.0 + CONTINUED_FOR + 1
    cases = [
        (JULIA, Text("i", "A question\nmore"), old, "A question"),
        (JULIA, Text("i", "x", subject="Wine"), 1_001.0, "Wine"),
        (JULIA, Text("i", "x", thread="other"), 1_001.0, "x"),
        ("nurse@x.example", Text("i", "word " * 30), 1_001.0, " ".join(["word"] * 10) + "…"),
        ("nurse@x.example", Text("i", "y" * 99), 1_001.0, "y" * 50 + "…"),
        ("nurse@x.example", Text("i", ""), 1_001.0, "Message from Romeo"),
        ("nurse@x.example", Text("i", "> quote\nx"), 1_001.0, "Message from Romeo"),
        ("nurse@x.example", Text("i", "x", replies_to="text-1"), 1_001.0, "x"),
    ]
    for contact, text, now, subject in cases:
        found = await threads.outgoing(USER, contact, text, name="Romeo", now=now)
        assert (found.subject, found.in_reply_to, found.references) == (subject, "", ())
        assert found.thread == text.thread or found.thread.startswith("m-")


async def test_an_answer_refers_to_what_it_answers_however_old() -> None:
    threads = await known()
    newer = Entry("<k9@mail.example>", "t9", JULIA, "Wine", 2_000.0)
    await threads.remember(USER, newer)
    text = Text("i", "yes", replies_to="text-1")
    found = await threads.outgoing(USER, JULIA, text, name="Romeo", now=9e9)
    assert (found.thread, found.in_reply_to) == ("t1", "<k1@mail.example>")
    text = Text("i", "yes", thread="t1", subject="Later")
    found = await threads.outgoing(USER, JULIA, text, name="Romeo", now=9e9)
    assert (found.thread, found.in_reply_to, found.subject) == ("t1", "<k1@mail.example>", "Later")
    found = await threads.outgoing(USER, JULIA, Text("i", "x"), name="Romeo", now=2_001.0)
    assert found.in_reply_to == "<k9@mail.example>"


async def test_a_mail_that_comes_late_is_not_the_newest() -> None:
    threads = await known()
    await threads.remember(USER, Entry("<late@x>", "t1", JULIA, "Ball", 500.0))
    newest = await threads.newest(USER, JULIA)
    assert newest == SENT
    assert await threads.newest(USER, JULIA, "t1") == SENT
    assert await threads.newest(USER, JULIA, "t2") is None


async def test_old_mails_are_forgotten() -> None:
    threads = await known()
    await threads.remember(USER, Entry("<k9@mail.example>", "t9", JULIA, "Wine", 2_000.0))
    assert await threads.prune(1_500.0) > 0
    assert await threads.find(USER, "text-1") is None
    assert await threads.newest(USER, JULIA, "t1") is None
    assert await threads.find(USER, "<k9@mail.example>") is not None
    assert await threads.prune(1_500.0) == 0


async def test_subjects() -> None:
    assert base_subject("Re: AW: re[2]: RE (3): Ball") == "Ball"
    assert answer_subject("Re: Re: Ball") == "Re: Ball"
    assert base_subject("Research: x") == "Research: x"
