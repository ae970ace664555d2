"""Which parts of a mail are its text, and which are files (RFC 2046 §5.1, and what is common)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from jabberd.gateways.email import calendar, flowed, html
from jabberd.gateways.email import headers as fields
from jabberd.gateways.email.charset import clean, decode
from jabberd.gateways.email.mime import Part
from jabberd.gateways.events import Attachment

SMALLEST_INLINE: Final = 5 * 1024
"""Octets of an image in the text that is shown: smaller ones are logos and counters."""

_LONGEST_READ: Final = 1024 * 1024
_MOST_ATTACHMENTS: Final = 50
_SIGNATURES: Final = {
    "application/pgp-signature",
    "application/pkcs7-signature",
    "application/x-pkcs7-signature",
    "application/pgp-encrypted",
}
_UNREAD_TEXTS: Final = {"text/x-amp-html", "text/watch-html", "text/rfc822-headers"}
_FILE_TEXTS: Final = {"text/calendar", "text/vcard", "text/x-vcard", "text/directory", "text/csv"}
_SUFFIXES: Final = {
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/gif": ".gif",
    "image/webp": ".webp",
    "application/pdf": ".pdf",
    "text/calendar": ".ics",
    "text/vcard": ".vcf",
    "text/x-vcard": ".vcf",
    "text/csv": ".csv",
    "text/plain": ".txt",
    "text/html": ".html",
}
_STUB: Final = re.compile(r"(?i)html|browser|view (?:this|it|the)|online|mail client|newsletter")
_SHORT: Final = 400
_LOOKS_HTML: Final = re.compile(r"(?i)\s*<(?:!doctype html|html|body|div|p|table)\b")
_CLEAR_SIGNED: Final = re.compile(
    r"-----BEGIN PGP SIGNED MESSAGE-----\n(?:[^\n]+\n)*+\n(.*?)\n?-----BEGIN PGP SIGNATURE-----"
    r".*?-----END PGP SIGNATURE-----",
    re.DOTALL,
)


@dataclass
class Body:
    """What a mail says.

    Attributes:
        texts: in their order.
        attachments: in their order.
        is_html: a text was made of HTML.
    """

    texts: list[str] = field(default_factory=list)
    attachments: list[Attachment] = field(default_factory=list)
    is_html: bool = False

    @property
    def text(self) -> str:
        """All of the text."""
        return "\n\n".join(text for text in self.texts if text)

    def take(self, other: Body) -> None:
        """Add what another one has."""
        self.texts += other.texts
        self.attachments += other.attachments
        self.is_html |= other.is_html


def read(mail: Part) -> Body:
    """Text and files of a mail. Signatures and images that are mere decoration are left out."""
    body = _read(mail, related=False)
    if not body.text:
        body.texts = [_instead(mail)]
    seen: set[tuple[bytes, str]] = set()
    kept: list[Attachment] = []
    for attachment in body.attachments[:_MOST_ATTACHMENTS]:
        # Invitations come twice: as one more alternative, and as a file.
        name = "" if attachment.media_type == "text/calendar" else attachment.name
        same = (attachment.data, name)
        if same not in seen:
            seen.add(same)
            kept.append(attachment)
    body.attachments = kept
    return body


def _read(part: Part, *, related: bool) -> Body:
    match part.media_type:
        case "multipart/alternative":
            return _alternative(part)
        case "multipart/related":
            return _related(part)
        case "multipart/report":  # the rest is for programs
            return _read(part.parts[0], related=related) if part.parts else Body()
        case "message/rfc822":
            return Body(attachments=[_mail_file(part)])
        case kind if kind in _SIGNATURES or kind in _UNREAD_TEXTS:
            return Body()
    if part.parts:
        body = Body()
        for inner in part.parts:
            body.take(_read(inner, related=related))
        return body
    if _is_text(part):
        return _text(part)
    if _is_decoration(part, related=related):
        return Body()
    return Body(attachments=[_file(part)])


def _alternative(part: Part) -> Body:
    """The plain text, unless it only says that there is no plain text (RFC 2046 §5.1.4)."""
    bodies = [_read(inner, related=False) for inner in part.parts]
    texts = [body for body in bodies if body.text]
    plain = next((body for body in texts if not body.is_html), None)
    rich = next((body for body in reversed(texts) if body.is_html), None)
    chosen = plain or rich
    if plain and rich and _is_stub(plain.text, rich.text):
        chosen = rich
    files = [file for body in bodies for file in body.attachments]
    if chosen is None:
        return Body(attachments=files)
    return Body(chosen.texts, files, chosen.is_html)


def _is_stub(plain: str, rich: str) -> bool:
    short = len(plain) < _SHORT and len(plain) * 4 < len(rich)
    return short and bool(_STUB.search(plain))


def _related(part: Part) -> Body:
    """The root, and what belongs to it (RFC 2387 §3)."""
    start = part.parameter("start").strip("<> ")
    root = next((inner for inner in part.parts if start and inner.content_id == start), None)
    root = root or (part.parts[0] if part.parts else None)
    body = Body()
    for inner in part.parts:
        body.take(_read(inner, related=inner is not root))
    return body


def _is_text(part: Part) -> bool:
    if part.main_type != "text" or part.disposition == "attachment":
        return False
    return part.media_type not in _FILE_TEXTS and not part.name


def _text(part: Part) -> Body:
    text = decode(part.content[:_LONGEST_READ], part.parameter("charset"))
    is_html = part.media_type == "text/html" or bool(_LOOKS_HTML.match(text))
    if is_html:
        text = clean(html.to_text(text))
    else:
        text = _CLEAR_SIGNED.sub(_undashed, clean(text))
        if part.parameter("format").lower() == "flowed":
            text = flowed.unfold(text, delsp=part.parameter("delsp").lower() == "yes")
    lines = (line if line == flowed.SIGNATURE else line.rstrip() for line in text.split("\n"))
    return Body(["\n".join(lines).strip("\n")], is_html=is_html)


def _undashed(signed: re.Match[str]) -> str:
    return re.sub(r"(?m)^- ", "", signed[1])  # RFC 9580 §7.2


def _is_decoration(part: Part, *, related: bool) -> bool:
    if part.main_type != "image":
        return False
    inline = related or (bool(part.content_id) and part.disposition != "attachment")
    return inline and len(part.content) <= SMALLEST_INLINE


def _file(part: Part) -> Attachment:
    name = part.name
    if not name and (suffix := _SUFFIXES.get(part.media_type)):
        name = ("invite" if part.media_type == "text/calendar" else part.main_type) + suffix
    return Attachment(part.content, name, part.media_type)


def _mail_file(part: Part) -> Attachment:
    subject = fields.text(part.parts[0].headers, "Subject") if part.parts else ""
    name = re.sub(r'[/\\:*?"<>|]', "_", subject)[:80].strip(". ")
    return Attachment(part.content, part.name or f"{name or 'mail'}.eml", "message/rfc822")


def _instead(mail: Part) -> str:
    """What to say of a mail without text."""
    for part in mail.walk():
        if part.media_type == "text/calendar":
            return calendar.summary(clean(part.text[:_LONGEST_READ]))
        if part.media_type in {"application/pkcs7-mime", "application/x-pkcs7-mime"}:
            return "[This mail is encrypted or signed by S/MIME]"
        if part.media_type == "multipart/encrypted":
            return "[This mail is encrypted]"
        if part.media_type == "message/rfc822" and part.parts:
            return _forwarded(part.parts[0])
    return ""


def _forwarded(mail: Part) -> str:
    """The text of a mail that is all that another one has, with who wrote it."""
    lines = [
        f"{name}: {value}"
        for name in ("From", "Date", "Subject")
        if (value := fields.text(mail.headers, name))
    ]
    return "\n".join([*lines, "", _read(mail, related=False).text]).strip()
