"""Other people's mail programs: what they send and what they find."""

from __future__ import annotations

import asyncio
import email
import email.policy
import imaplib
import smtplib
import time
from email.message import EmailMessage
from email.utils import parseaddr

from tests.gateways.email.servers import MAIL, Dovecot, Postfix

_PATIENCE = 30.0


def send(
    postfix: Postfix, sender: str, to: str | list[str], mail: EmailMessage | bytes, *options: str
) -> None:
    """Hand a mail to Postfix.

    Raises:
        smtplib.SMTPException: it is refused.
    """
    recipients = [to] if isinstance(to, str) else to
    data = mail if isinstance(mail, bytes) else mail.as_bytes(policy=email.policy.SMTPUTF8)
    with smtplib.SMTP("127.0.0.1", postfix.port) as client:
        client.command_encoding = "utf-8" if options else "ascii"
        client.ehlo()
        client.sendmail(sender, recipients, data, mail_options=options)


def letter(sender: str, to: str, subject: str = "", text: str = "", **more: str) -> EmailMessage:
    """A mail of a person; more fields with _ for -."""
    mail = EmailMessage(policy=email.policy.SMTPUTF8)
    mail["From"], mail["To"], mail["Subject"] = sender, to, subject
    mail["Message-ID"] = f"<{time.time_ns()}@{parseaddr(sender)[1].rpartition('@')[2]}>"
    for name, value in more.items():
        if name == "Message_ID":
            del mail["Message-ID"]
        mail[name.replace("_", "-")] = value
    mail.set_content(text)
    return mail


def said(mail: EmailMessage) -> str:
    """The text of a mail."""
    body = mail.get_body(("plain",))
    assert body is not None
    text = body.get_content()
    assert isinstance(text, str)
    return text.replace("\r\n", "\n")


def mails(dovecot: Dovecot, name: str, password: str, folder: str = "INBOX") -> list[EmailMessage]:
    """All mails of a folder."""
    found = []
    with imaplib.IMAP4("127.0.0.1", dovecot.port) as client:
        client.authenticate("PLAIN", lambda _: f"\0{name}@{MAIL}\0{password}".encode())
        client.select(folder, readonly=True)
        for number in client.search(None, "ALL")[1][0].split():
            part = client.fetch(number.decode(), "(BODY.PEEK[])")[1][0]
            assert isinstance(part, tuple)
            mail = email.message_from_bytes(part[1], policy=email.policy.default)
            assert isinstance(mail, EmailMessage)
            found.append(mail)
    return found


async def arrived(
    dovecot: Dovecot, name: str, password: str, count: int = 1, folder: str = "INBOX"
) -> list[EmailMessage]:
    """So many mails, waited for."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        found = await asyncio.to_thread(mails, dovecot, name, password, folder)
        if len(found) >= count:
            return found
        assert time.monotonic() < deadline, f"{len(found)} of {count} mails came"
        await asyncio.sleep(0.05)
