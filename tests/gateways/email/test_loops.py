"""Who is never answered, which mails go round in circles, and whom our own server believes."""

from __future__ import annotations

import pytest

from jabberd.gateways.email import authentication, loops
from jabberd.gateways.email.mail import Kind, Mail, Verdict
from jabberd.gateways.email.verp import Verp, reference
from tests.gateways.email.corpus import parsed

KEY = b"k" * 32


def mail(*lines: str, sender: str = "julia@capulet.example") -> Mail:
    return parsed("\r\n".join((f"From: {sender}", *lines, "", "text")).encode())


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("Auto-Submitted: auto-generated", Kind.AUTOMATIC),
        ("Auto-Submitted: Auto-Replied (vacation); x=y", Kind.AUTOMATIC),
        ("Auto-Submitted: no", Kind.NORMAL),
        ("Precedence: bulk", Kind.AUTOMATIC),
        ("Precedence: junk", Kind.AUTOMATIC),
        ("Precedence: list", Kind.LIST),
        ("List-Id: <a.b>", Kind.LIST),
        ("X-Autoreply: yes", Kind.AUTOMATIC),
        ("X-Failed-Recipients: a@x.example", Kind.BOUNCE),
        ("X-Auto-Response-Suppress: All", Kind.NORMAL),
        ("Return-Path: <>", Kind.NORMAL),
        ("X-Other: x", Kind.NORMAL),
    ],
)
def test_kinds(line: str, kind: Kind) -> None:
    found = mail(line)
    assert found.kind is kind
    assert loops.may_answer(found, "julia@capulet.example") is (
        line in {"Auto-Submitted: no", "X-Other: x"}
    )


@pytest.mark.parametrize(
    "local", ["MAILER-DAEMON", "postmaster", "no-reply", "noreply", "donotreply", "news-noreply",
              "verona-request", "owner-verona", "verona-bounces"],
)  # fmt: skip
def test_robots_are_not_answered(local: str) -> None:
    address = f"{local}@x.example"
    assert not mail(sender=address).answerable
    assert not loops.may_answer(mail(), address)


def test_the_null_sender_is_not_answered() -> None:
    assert loops.may_answer(mail(), "julia@capulet.example")
    assert not loops.may_answer(mail(), "")
    assert not mail(sender="nobody at all").answerable


def test_who_reports_in_which_words() -> None:
    assert mail(sender="MAILER-DAEMON@x.example").kind is Kind.BOUNCE
    assert mail(sender="postmaster@x.example").kind is Kind.NORMAL
    assert mail("Return-Path: <>", sender="postmaster@x.example").kind is Kind.BOUNCE


def test_too_many_hops() -> None:
    hop = "Received: from a by b"
    assert loops.refusal(mail(*[hop] * 50), "") is None
    assert loops.refusal(mail(*[hop] * 51), "") == "too many hops"


def test_our_own_mark() -> None:
    mark = loops.mark(KEY, "romeo@example.com")
    assert mark != loops.mark(KEY, "julia@example.com") != loops.mark(b"other", "julia@example.com")
    found = mail("X-Loop: other", f"X-Loop: {mark}")
    assert loops.refusal(found, mark)
    assert loops.refusal(found, loops.mark(KEY, "julia@example.com")) is None
    assert loops.refusal(mail(), mark) is None


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        (["mail.example; spf=none; dkim=fail; dkim=pass"], Verdict("none", "pass")),
        (["mail.example; dmarc=pass header.from=x.example"], Verdict(dmarc="pass")),
        (["mail.example; dmarc=pass header.from=a.x.example"], Verdict(dmarc="pass")),
        (["mail.example; dmarc=pass header.from=evil.example"], Verdict(dmarc="fail")),
        (["mail.example; dmarc=pass header.from=b.a.x.example"], Verdict(dmarc="fail")),
        (["mail.example; dmarc=pass header.from=@@"], Verdict(dmarc="fail")),
        (["MAIL.example 1; SPF=SoftFail smtp.mailfrom=x"], Verdict("softfail")),
        (["other.example; dmarc=pass", "mail.example; dmarc=fail"], Verdict(dmarc="fail")),
        (["mail.example; dmarc=fail", "mail.example; dmarc=pass"], Verdict(dmarc="fail")),
        (["mail.example; none", "mail.example; dmarc=pass"], Verdict()),
        (['mail.example; spf=fail smtp.mailfrom="a; dmarc=pass; "'], Verdict("fail")),
        (["mail.example; spf=fail (x; dmarc=pass; (y) z)"], Verdict("fail")),
        (['mail.example; spf=fail reason="x; dmarc=pass'], Verdict("fail")),
        (["mail.example; spf=fail (x; dmarc=pass"], Verdict("fail")),
        (["mail.example.evil; dmarc=pass"], Verdict()),
        ([""], Verdict()),
        ([], Verdict()),
    ],
)  # fmt: skip
def test_whom_our_server_believes(values: list[str], verdict: Verdict) -> None:
    assert authentication.verdict(values, "mail.example", "a.x.example") == verdict


def test_nobody_is_believed_without_a_server_of_ours() -> None:
    assert authentication.verdict(["; dmarc=pass", "x; dmarc=pass"], "", "x.example") == Verdict()
    assert Verdict(dmarc="pass").verified
    assert Verdict(dmarc="fail").forged


def test_tokens() -> None:
    verp = Verp(KEY)
    address = verp.create("Romeo@mail.example", "<k3.t1@mail.example>")
    assert address.startswith("Romeo+b=")
    name = reference("<k3.t1@mail.example>")
    assert verp.recognise(address) == ("Romeo@mail.example", name)
    assert verp.recognise(address.lower()) == ("romeo@mail.example", name)
    assert verp.recognise(address.upper().replace("MAIL.EXAMPLE", "mail.example"))


@pytest.mark.parametrize(
    "change",
    [("Romeo", "Julia"), ("mail.", "other."), ("+b=", "+c="), ("@", "a@"), ("+b=", "+b=a")],
)
def test_tokens_of_others_are_not_ours(change: tuple[str, str]) -> None:
    address = Verp(KEY).create("Romeo@mail.example", "<k3.t1@mail.example>")
    assert Verp(KEY).recognise(address.replace(*change)) is None
    assert Verp(b"other").recognise(address) is None


def test_a_token_that_does_not_fit_is_left_out() -> None:
    longest = "r" * 37 + "@mail.example"
    assert len(Verp(KEY).create(longest, "<a@b>").partition("@")[0]) == 64
    assert Verp(KEY).create("r" + longest, "<a@b>") == "r" + longest


def test_the_key_is_not_shown() -> None:
    assert "kkk" not in repr(Verp(KEY))
