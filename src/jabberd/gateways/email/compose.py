"""Writes mails: plain text that other programs can fold (RFC 5322, RFC 2045, RFC 3676)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final

from jabberd.gateways.email import flowed, loops, words
from jabberd.gateways.email.address import canonical, needs_smtputf8, wire
from jabberd.gateways.email.charset import clean
from jabberd.gateways.events import Attachment

PRODUCT: Final = "jabberd"
"""What we call ourselves in mails."""
MOST_REFERENCES: Final = 10
"""Of those before a mail, beside the first one (RFC 5322 §3.6.4 sets no bound)."""

_ID: Final = re.compile(r"<[\x21-\x3b\x3d\x3f-\x7e]{1,900}>")
_MEDIA_TYPE: Final = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,60}/[A-Za-z0-9!#$&^_.+-]{1,100}")
_NAME_LONGEST: Final = 200
_SUBJECT_LONGEST: Final = 500
_MOSTLY: Final = 3  # one byte of so many is not ASCII: base64 is shorter than quoted-printable


@dataclass(frozen=True, slots=True)
class Draft:
    """A mail to be written.

    Attributes:
        from_address: canonical address of the user.
        from_name: to show; may be empty.
        to: canonical address of the one recipient.
        body: text.
        subject: to show; may be empty.
        message_id: with angle brackets, as all identifiers here.
        in_reply_to: of the mail that this one answers; may be empty.
        references: those before it in the conversation, the oldest first.
        attachments: files, in their order.
        date: when the user wrote it.
        smtputf8: the next server takes addresses that are not ASCII (RFC 6531).
        loop_mark: of the user (`loops.mark`); empty for none.
        receipt_to: who wants to know that it was read (RFC 8098 §2.1); empty for nobody.
    """

    from_address: str
    to: str
    body: str
    message_id: str
    date: float
    from_name: str = ""
    subject: str = ""
    in_reply_to: str = ""
    references: tuple[str, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    smtputf8: bool = False
    loop_mark: str = ""
    receipt_to: str = ""


def write(draft: Draft) -> bytes:
    """The bytes of a mail, lines ended by CRLF.

    Raises:
        ValueError: an address or the identifier is none, or an address needs SMTPUTF8; of an
            address, it can be a `BadAddress`.
    """
    if not _ID.fullmatch(draft.message_id):
        raise ValueError("not a message identifier")
    body = _text(draft.body)
    if draft.attachments:
        body = _mixed(draft, body)
    return _header(draft).encode() + body


def _header(draft: Draft) -> str:
    def address(text: str) -> str:
        return _on_wire(text, smtputf8=draft.smtputf8)

    date = format_datetime(datetime.fromtimestamp(draft.date, UTC))
    name = draft.from_name[:_NAME_LONGEST]
    fields = [
        words.field("From", words.mailbox(address(draft.from_address), name)),
        words.field("To", [address(draft.to)]),
        words.field("Subject", words.unstructured(draft.subject[:_SUBJECT_LONGEST])),
        words.field("Date", [date]),
        words.field("Message-ID", [draft.message_id]),
    ]
    if _ID.fullmatch(draft.in_reply_to):
        fields.append(words.field("In-Reply-To", [draft.in_reply_to]))
    if references := trimmed(draft.references):
        fields.append(words.field("References", references))
    if draft.receipt_to:
        fields.append(words.field("Disposition-Notification-To", [address(draft.receipt_to)]))
    if draft.loop_mark:
        fields.append(words.field(loops.HEADER, words.unstructured(draft.loop_mark)))
    fields += [words.field("X-Mailer", [PRODUCT]), words.field("MIME-Version", ["1.0"])]
    return "".join(fields)


def trimmed(references: tuple[str, ...]) -> tuple[str, ...]:
    """The chain of a conversation as it is sent: its first and its last ones, each once."""
    valid = tuple(dict.fromkeys(id_ for id_ in references if _ID.fullmatch(id_)))
    if len(valid) <= MOST_REFERENCES + 1:
        return valid
    return valid[:1] + valid[-MOST_REFERENCES:]


def _on_wire(address: str, *, smtputf8: bool) -> str:
    if canonical(address) != address:
        raise ValueError("not a canonical mail address")
    if smtputf8:
        return address
    if needs_smtputf8(address):
        raise ValueError("the address needs SMTPUTF8")
    return wire(address)


def _text(body: str) -> bytes:
    """The text as a part: its fields, an empty line, its lines."""
    data = flowed.fold(clean(body)).encode("utf-8", "replace")
    others = sum(byte > 0x7F for byte in data)
    if not others:
        encoding, encoded = "7bit", data
    elif others * _MOSTLY > len(data):
        encoding, encoded = "base64", _base64(data)
    else:
        encoding, encoded = "quoted-printable", binascii.b2a_qp(data, istext=True)
    head = (
        "Content-Type: text/plain; charset=utf-8; format=flowed; delsp=yes\r\n"
        f"Content-Transfer-Encoding: {encoding}\r\n\r\n"
    )
    return head.encode() + encoded


def _mixed(draft: Draft, text: bytes) -> bytes:
    # "=_" is in no line of base64 or quoted-printable; for others, the identifier is not guessed.
    boundary = "=_" + hashlib.sha256(draft.message_id.encode()).hexdigest()[:32]
    parts = [text, *map(_file, draft.attachments)]
    mark = f"--{boundary}".encode()
    joined = b"".join(mark + b"\r\n" + part + b"\r\n" for part in parts)
    head = f'Content-Type: multipart/mixed; boundary="{boundary}"\r\n\r\n'
    return head.encode() + joined + mark + b"--\r\n"


def _file(file: Attachment) -> bytes:
    kind = file.media_type.lower()
    if not _MEDIA_TYPE.fullmatch(kind) or kind.startswith(("message/", "multipart/")):
        kind = "application/octet-stream"  # those must not be encoded (RFC 2045 §6.4)
    name = words.parameter("filename", file.name) if file.name else []
    disposition = ";\r\n ".join(["attachment", *name])
    head = (
        f"Content-Type: {kind}\r\nContent-Disposition: {disposition}\r\n"
        "Content-Transfer-Encoding: base64\r\n\r\n"
    )
    return head.encode() + _base64(file.data)


def _base64(data: bytes) -> bytes:
    return base64.encodebytes(data).replace(b"\n", b"\r\n")
