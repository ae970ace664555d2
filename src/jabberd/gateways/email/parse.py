"""A mail as it came, as a value."""

from __future__ import annotations

from typing import Final

from jabberd.gateways.email import authentication, body, loops, mime, quoting
from jabberd.gateways.email import headers as fields
from jabberd.gateways.email.address import split, wire_domain
from jabberd.gateways.email.headers import Headers
from jabberd.gateways.email.mail import Mail, Verdict
from jabberd.gateways.email.mailboxes import Mailbox, mailboxes
from jabberd.gateways.events import Attachment

LONGEST_TEXT: Final = 64 * 1024
"""Octets of a text in UTF-8; a longer one is cut, and comes as a file too."""

_CUT: Final = "[cut]"
_LONGEST_SUBJECT: Final = 500
_MOST_MARKS: Final = 20


def read(data: bytes, *, own_domain: str, authserv_id: str) -> Mail:
    """What a mail says. Whatever it is made of, this does not fail.

    Args:
        data: all of it, with header.
        own_domain: canonical domain of the mail addresses of our users.
        authserv_id: what our own mail server calls itself in Authentication-Results; empty where
            it writes none.
    """
    part = mime.split(data)
    headers = part.headers
    said = body.read(part)
    sender = _sender(headers)
    subject = fields.text(headers, "Subject")[:_LONGEST_SUBJECT]
    new = said.text if quoting.is_forwarded(subject) else quoting.strip(said.text)
    files = said.attachments
    text, full_text = _cut(new), _cut(said.text)
    if text != new:
        files = [*files, Attachment(new.encode(), "message.txt", "text/plain")]
    message_id = fields.message_id(headers)
    references = fields.ids(headers, "References")
    return Mail(
        sender=sender.address,
        sender_name=sender.name,
        to=_addresses(headers, "To"),
        cc=_addresses(headers, "Cc"),
        message_id=message_id,
        in_reply_to=fields.message_id(headers, "In-Reply-To"),
        references=references,
        subject=subject,
        date=fields.date(headers),
        kind=loops.kind(headers, sender.address),
        text=text,
        full_text=full_text,
        attachments=tuple(files),
        received=len(headers.get_all("Received", [])),
        verdict=_verdict(headers, authserv_id, sender.address),
        spam=_spam(headers),
        answerable=loops.answerable(headers, sender.address),
        own_domain=split(sender.address)[1] == own_domain,
        own_id=message_id.lower().endswith((f"@{own_domain}>", f"@{wire_domain(own_domain)}>")),
        loop_marks=tuple(fields.raw_all(headers, loops.HEADER)[:_MOST_MARKS]),
    )


def _sender(headers: Headers) -> Mailbox:
    for name in ("From", "Sender"):
        if found := mailboxes(fields.raw(headers, name)):
            return found[0]
    return Mailbox("")


def _verdict(headers: Headers, authserv_id: str, sender: str) -> Verdict:
    values = fields.raw_all(headers, authentication.FIELD)
    return authentication.verdict(values, authserv_id, split(sender)[1])


def _addresses(headers: Headers, name: str) -> tuple[str, ...]:
    values = ",".join(fields.raw_all(headers, name))
    return tuple(mailbox.address for mailbox in mailboxes(values[: fields.LONGEST]))


def _spam(headers: Headers) -> bool:
    return any(
        fields.raw(headers, name).lower().startswith(("yes", "true"))
        for name in ("X-Spam-Flag", "X-Spam-Status", "X-Spam")
    )


def _cut(text: str) -> str:
    data = text.encode()
    if len(data) <= LONGEST_TEXT:
        return text
    return data[: LONGEST_TEXT - len(_CUT) - 1].decode("utf-8", "ignore") + f"\n{_CUT}"
