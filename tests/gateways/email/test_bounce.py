"""What became of mails, as Postfix, Exim, Exchange, qmail and clients report it."""

from __future__ import annotations

import pytest

from jabberd.gateways.email.bounce import Action, Report, is_our_fault, read, trouble
from jabberd.gateways.email.mail import Kind
from jabberd.gateways.events import Trouble
from tests.gateways.email.corpus import parsed

POSTFIX = b"""From: MAILER-DAEMON@mail.example (Mail Delivery System)
Subject: Undelivered Mail Returned to Sender
To: romeo+b=abc@mail.example
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="4Vx.1/mail.example"
Message-Id: <20240506@mail.example>

This is a MIME-encapsulated message.

--4Vx.1/mail.example
Content-Description: Notification
Content-Type: text/plain; charset=utf-8

I'm sorry to have to inform you that your message could not be delivered.

--4Vx.1/mail.example
Content-Description: Delivery report
Content-Type: message/delivery-status

Reporting-MTA: dns; mail.example
X-Postfix-Queue-ID: 4Vx
Arrival-Date: Mon,  6 May 2024 08:20:11 +0000 (UTC)

Final-Recipient: rfc822; nobody@capulet.example
Original-Recipient: rfc822;Nobody@capulet.example
Action: failed
Status: 5.1.1
Remote-MTA: dns; mx.capulet.example
Diagnostic-Code: smtp; 550 5.1.1 <nobody@capulet.example>: Recipient address
    rejected: User unknown

Final-Recipient: rfc822; slow@capulet.example
Action: delayed
Status: 4.4.1
Diagnostic-Code: X-Postfix; connect to mx.capulet.example: Connection timed out

--4Vx.1/mail.example
Content-Description: Undelivered Message Headers
Content-Type: text/rfc822-headers

From: romeo@mail.example
Message-ID: <k3.t1@mail.example>

--4Vx.1/mail.example--
"""

EXIM = b"""From: Mail Delivery System <Mailer-Daemon@mx.example>
To: romeo+b=abc@mail.example
X-Failed-Recipients: nobody@capulet.example
Auto-Submitted: auto-replied
In-Reply-To: <k3.t1@mail.example>
Subject: Mail delivery failed: returning message to sender

This message was created automatically by mail delivery software.

  nobody@capulet.example
    host mx.capulet.example [192.0.2.7]
    SMTP error from remote mail server after RCPT TO:<nobody@capulet.example>:
    552 5.2.2 Mailbox full
"""

QMAIL = b"""From: MAILER-DAEMON@mx.example
To: romeo+b=abc@mail.example
Subject: failure notice

Hi. This is the qmail-send program at mx.example.

<nobody@capulet.example>:
Sorry, no mailbox here by that name. (#5.1.1)
"""

MDN = b"""From: julia@capulet.example
To: romeo@mail.example
Subject: Read: Ball
MIME-Version: 1.0
Content-Type: multipart/report; report-type=disposition-notification; boundary=b

--b
Content-Type: text/plain

Your message was read.
--b
Content-Type: message/disposition-notification

Reporting-UA: mail.example; Mail
Final-Recipient: rfc822;julia@capulet.example
Original-Message-ID: <k3.t1@mail.example>
Disposition: manual-action/MDN-sent-manually; displayed
--b--
"""


def test_a_report_of_postfix() -> None:
    first, second = read(POSTFIX)
    assert first == Report(
        "<k3.t1@mail.example>",
        "Nobody@capulet.example",
        Action.FAILED,
        "5.1.1",
        "550 5.1.1 <nobody@capulet.example>: Recipient address rejected: User unknown",
    )
    assert first.trouble is Trouble.NO_SUCH_CONTACT
    assert (second.recipient, second.action) == ("slow@capulet.example", Action.DELAYED)
    assert parsed(POSTFIX).kind is Kind.BOUNCE
    assert parsed(POSTFIX).text.startswith("I'm sorry")
    assert parsed(POSTFIX).attachments == ()


def test_a_report_with_the_mail_itself() -> None:
    whole = POSTFIX.replace(b"text/rfc822-headers", b"message/rfc822")
    assert read(whole)[0].message_id == "<k3.t1@mail.example>"


def test_reports_of_no_standard_form() -> None:
    (exim,) = read(EXIM)
    assert (exim.message_id, exim.recipient) == ("<k3.t1@mail.example>", "nobody@capulet.example")
    assert (exim.status, exim.diagnostic) == ("5.2.2", "552 5.2.2 Mailbox full")
    assert exim.trouble is Trouble.FULL
    (qmail,) = read(QMAIL)
    assert (qmail.message_id, qmail.recipient) == ("", "nobody@capulet.example")
    assert (qmail.action, qmail.trouble) == (Action.FAILED, Trouble.NO_SUCH_CONTACT)
    assert {parsed(EXIM).kind, parsed(QMAIL).kind} == {Kind.BOUNCE}


def test_a_client_says_that_it_was_read() -> None:
    assert read(MDN) == (Report("<k3.t1@mail.example>", "julia@capulet.example", Action.DISPLAYED),)
    assert parsed(MDN).kind is Kind.DISPOSITION
    deleted = MDN.replace(b"; displayed", b"; deleted/error")
    assert read(deleted)[0].action is Action.DELETED


def test_a_report_that_says_nothing_gives_nothing() -> None:
    assert read(MDN.replace(b"; displayed", b"; dispatched")) == ()
    assert read(POSTFIX.replace(b"Action:", b"X:").replace(b"Status: 5", b"Status: 2")) == ()


def test_an_unknown_action_with_a_failing_status_is_a_failure() -> None:
    assert read(POSTFIX.replace(b"Action: failed", b"Action: bounced"))[0].action is Action.FAILED


@pytest.mark.parametrize(
    ("status", "diagnostic", "expected"),
    [
        ("5.1.1", "", Trouble.NO_SUCH_CONTACT),
        ("5.1.10", "", Trouble.NO_SUCH_CONTACT),
        ("5.0.0", "550 unknown user", Trouble.NO_SUCH_CONTACT),
        ("", "550 no such user", Trouble.NO_SUCH_CONTACT),
        ("5.0.0", "550 5.7.1 blocked", Trouble.FORBIDDEN),
        ("5.1.2", "", Trouble.NO_SUCH_SERVER),
        ("5.4.4", "", Trouble.NO_SUCH_SERVER),
        ("5.1.6", "", Trouble.GONE),
        ("", "551 user not local", Trouble.GONE),
        ("5.2.1", "", Trouble.UNREACHABLE),
        ("4.2.2", "", Trouble.FULL),
        ("5.2.2", "552 mailbox full", Trouble.FULL),
        ("5.3.4", "", Trouble.TOO_LARGE),
        ("", "552 too big", Trouble.TOO_LARGE),
        ("4.4.1", "", Trouble.TIMEOUT),
        ("5.4.7", "", Trouble.TIMEOUT),
        ("", "421 try later", Trouble.TIMEOUT),
        ("5.5.2", "", Trouble.NOT_ACCEPTABLE),
        ("5.6.7", "", Trouble.NOT_ACCEPTABLE),
        ("5.7.26", "", Trouble.FORBIDDEN),
        ("", "554 transaction failed", Trouble.FORBIDDEN),
        ("5.0.0", "", Trouble.UNREACHABLE),
        ("", "connection from 192.0.2.5.1.1", Trouble.UNREACHABLE),
        ("4.0.0", "", Trouble.TIMEOUT),
    ],
)
def test_what_it_means_for_the_user(status: str, diagnostic: str, expected: Trouble) -> None:
    assert trouble(status, diagnostic) is expected


def test_what_the_operator_has_to_know() -> None:
    assert is_our_fault("5.7.26")
    assert is_our_fault("5.0.0", "550-5.7.25 no PTR record")
    assert not is_our_fault("5.7.1", "550 5.7.1 rejected")
