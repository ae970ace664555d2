"""From a user's messages to one mail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from jabberd.gateways.email import address, compose
from jabberd.gateways.email.threads import Entry, Threads
from jabberd.gateways.events import Attachment, File, Text
from jabberd.gateways.transport import NotDone, Site

_SIGNATURE: Final = "\n\n-- \n"


@dataclass(frozen=True, slots=True)
class Author:
    """Who writes.

    Attributes:
        user: bare JID.
        address: canonical.
        name: to show; may be empty.
        signature: below each mail; may be empty.
        receipts: whether to ask to be told when a mail was read (RFC 8098).
        mark: by which the user's own mails are recognised when they come back.
    """

    user: str
    address: str
    name: str = ""
    signature: str = ""
    receipts: bool = False
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Written:
    """A mail that is ready.

    Attributes:
        data: its bytes.
        entry: what to remember of it once it has gone.
    """

    data: bytes
    entry: Entry


def message_id(author: Author, text: Text) -> str:
    """The identifier of the mail that begins with this message: the same whenever it is asked."""
    domain = address.wire_domain(address.split(author.address)[1])
    return f"<{text.id}@{domain}>"


class Writer:
    """Writes mails.

    Args:
        site: of the gateway.
        threads: its conversations.
        attach_bytes: files up to this size together become part of the mail, others links.
        attachments: how many.
    """

    def __init__(
        self, site: Site, threads: Threads, *, attach_bytes: int, attachments: int
    ) -> None:
        self._site = site
        self._threads = threads
        self._bytes = attach_bytes
        self._most = attachments

    async def write(self, author: Author, to: str, texts: Sequence[Text]) -> Written:
        """One mail with these messages.

        Raises:
            StorageError: what it answers cannot be looked up.
            ValueError: it cannot be written: see `compose.write`.
        """
        first = texts[0]
        if first.replaces:
            # The mail that it corrects has gone: this one answers it, and says what it is.
            first = replace(first, replies_to=first.replaces, body=f"Correction:\n{first.body}")
        name = author.name or author.address
        place = await self._threads.outgoing(author.user, to, first, name=name, now=first.at)
        files, links = await self._files([file for text in texts for file in text.files])
        bodies = [first.body, *(text.body for text in texts[1:]), *links]
        body = "\n".join(part for part in bodies if part)
        if author.signature:
            body += _SIGNATURE + author.signature
        id_ = message_id(author, first)
        asked = author.receipts and any(text.receipt for text in texts)
        draft = compose.Draft(
            author.address, to, body, id_, first.at,
            from_name=author.name, subject=place.subject, in_reply_to=place.in_reply_to,
            references=place.references, attachments=files, loop_mark=author.mark,
            smtputf8=address.needs_smtputf8(to) or address.needs_smtputf8(author.address),
            receipt_to=author.address if asked else "",
        )  # fmt: skip
        ids = tuple(message_id(author, text) for text in texts[1:])
        entry = Entry(id_, place.thread, to, place.subject, first.at, place.references, ids)
        return Written(compose.write(draft), entry)

    async def _files(self, files: Sequence[File]) -> tuple[tuple[Attachment, ...], list[str]]:
        """What is small enough to be part of the mail, and links to the rest."""
        attached: list[Attachment] = []
        links: list[str] = []
        left = self._bytes
        for file in files:
            if len(attached) < self._most and (file.size or 0) <= left:
                try:
                    data = await self._site.fetch(file.url, left)
                except NotDone:
                    pass  # the recipient may get at it
                else:
                    left -= len(data)
                    kind = file.media_type or "application/octet-stream"
                    attached.append(Attachment(data, file.name, kind))
                    continue
            links.append(f"{file.name}: {file.url}" if file.name else file.url)
        return tuple(attached), links
