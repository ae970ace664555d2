"""From a mail that came to what its user is told."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final, Literal

import structlog

from jabberd.gateways.email import bounce, loops, parse
from jabberd.gateways.email.bounce import Action
from jabberd.gateways.email.mail import Kind, Mail
from jabberd.gateways.email.rates import Rate
from jabberd.gateways.email.refused import Refused
from jabberd.gateways.email.threads import Entry, Threads
from jabberd.gateways.events import Arrived, Attachment, Event, Failed, Read, Received
from jabberd.gateways.transport import NotTaken, Site
from jabberd.storage.api import StorageError

_log: Final = structlog.get_logger("jabberd.gateway.email")
_MINUTE: Final = 60.0
_AT_ONCE: Final = 100_000
_WORTH_KEEPING: Final = 200  # characters that were quoted and left out
_NEWS: Final = frozenset({Kind.LIST, Kind.AUTOMATIC})


@dataclass(frozen=True, slots=True)
class Rules:
    """What is let through.

    Attributes:
        authserv_id: see `Options`.
        dmarc: see `Options`.
        attachments: see `Options`.
        attachment_bytes: see `Options`.
        per_minute: mails of one contact.
    """

    authserv_id: str
    dmarc: Literal["reject", "mark", "accept"]
    attachments: int
    attachment_bytes: int
    per_minute: int


@dataclass(frozen=True, slots=True)
class Recipient:
    """Whose a mail is.

    Attributes:
        user: bare JID.
        domain: behind the @ of the user's address.
        strangers: whether mail comes from people the user has never written to.
        mark: see `Author`.
        closed: nobody else writes from this domain by this way: who says so is somebody else.
        about: the name of the user's mail that this is a report about, as its address says
            (`verp.reference`); empty where it does not.
    """

    user: str
    domain: str
    strangers: bool = True
    mark: str = ""
    closed: bool = False
    about: str = ""


class Inbox:
    """The way in.

    Args:
        site: of the gateway.
        threads: its conversations.
        rules: see there.
    """

    def __init__(self, site: Site, threads: Threads, rules: Rules) -> None:
        self._site = site
        self._threads = threads
        self._rules = rules
        self._rate = Rate(rules.per_minute, _MINUTE)

    async def take(
        self,
        to: Recipient,
        sender: str,
        data: bytes,
        emit: Callable[[Event], Awaitable[None]],
    ) -> None:
        """Bring a mail to its user; it is safe when this returns.

        Args:
            to: whose it is.
            sender: of the envelope; empty for the null sender.
            data: the mail.
            emit: brings events there.

        Raises:
            Refused: it was not taken, and why.
        """
        mail = await self._read(to, data)
        try:
            # Some servers report in a form of their own: only to where it came tells then.
            unmarked = to.about and not sender and mail.kind is Kind.NORMAL
            if unmarked or mail.kind in {Kind.BOUNCE, Kind.DISPOSITION}:
                await self._report(to, data, emit)
            else:
                await self._mail(to, sender, mail, emit)
        except NotTaken as error:
            if error.lasting:
                raise Refused(550, "5.7.1", str(error)) from None
            raise Refused(451, "4.3.0", str(error)) from None
        except StorageError:
            raise Refused(451, "4.3.0", "Try again later") from None

    async def _read(self, to: Recipient, data: bytes) -> Mail:
        authserv_id = self._rules.authserv_id
        if len(data) <= _AT_ONCE:
            return parse.read(data, own_domain=to.domain, authserv_id=authserv_id)
        # It takes a while; others need not wait for it.
        return await asyncio.to_thread(
            parse.read, data, own_domain=to.domain, authserv_id=authserv_id
        )

    # Reports

    async def _report(
        self, to: Recipient, data: bytes, emit: Callable[[Event], Awaitable[None]]
    ) -> None:
        """What became of a mail of the user. One about a mail that nobody knows is let go."""
        for report in bounce.read(data):
            entry = await self._threads.find(to.user, to.about or report.message_id)
            if entry is None:
                _log.info("a report is about no mail of ours", user=to.user)
                continue
            event = _of_report(report, entry)
            if event is None:
                continue
            if isinstance(event, Failed) and bounce.is_our_fault(report.status, event.text):
                _log.warning("others do not believe our mails", why=report.diagnostic)
            for id_ in (entry.message_id, *entry.ids):
                await emit(replace(event, id=id_))

    # Mails

    async def _mail(
        self,
        to: Recipient,
        sender: str,
        mail: Mail,
        emit: Callable[[Event], Awaitable[None]],
    ) -> None:
        if not mail.sender:
            raise Refused(550, "5.1.7", "The mail has no valid sender")
        if why := loops.refusal(mail, to.mark):
            raise Refused(554, "5.4.6", why)
        if await self._is_ours(to, mail):
            return
        await self._screen(to, mail)
        place = await self._threads.incoming(to.user, mail)
        id_ = mail.message_id or _made_up(mail, sender)
        event = Arrived(
            mail.sender, self._body(mail), id_,
            subject=self._subject(mail, place.subject), thread=place.thread,
            replies_to=place.replies_to, at=self._date(mail), name=mail.sender_name,
            attachments=self._files(mail, known=bool(place.replies_to)),
            solicited=mail.kind not in _NEWS,
        )  # fmt: skip
        await emit(event)
        entry = Entry(
            id_, place.thread, mail.sender, mail.subject, self._site.now(),
            (*mail.references, *filter(None, [mail.in_reply_to])),
        )  # fmt: skip
        await self._threads.remember(to.user, entry)

    async def _is_ours(self, to: Recipient, mail: Mail) -> bool:
        """The user has written it here, and it has come back."""
        return mail.own_id and await self._threads.find(to.user, mail.message_id) is not None

    async def _screen(self, to: Recipient, mail: Mail) -> None:
        if mail.spam:
            raise Refused(550, "5.7.1", "This looks like spam")
        if mail.verdict.forged and self._rules.dmarc == "reject":
            raise Refused(550, "5.7.26", "The sender's domain says that this is not from it")
        if to.closed and mail.own_domain and not mail.verdict.verified:
            raise Refused(550, "5.7.1", "Nobody writes from this domain from outside")
        known = to.strangers or await self._threads.newest(to.user, mail.sender) is not None
        if not known:
            raise Refused(550, "5.7.1", "The recipient takes no mail from strangers")
        if not self._rate.allows(f"{to.user} {mail.sender}", self._site.now()):
            raise Refused(450, "4.7.1", "That are too many mails at once")

    def _subject(self, mail: Mail, subject: str) -> str:
        if mail.verdict.forged:
            return f"[unverified] {mail.subject}"
        return subject

    def _body(self, mail: Mail) -> str:
        others = [address for address in (*mail.to[1:], *mail.cc) if address]
        left = [file for file in mail.attachments if not self._passes(file)]
        left += [file for file in mail.attachments if self._passes(file)][self._rules.attachments :]
        notes = [f"[not passed on: {file.name or file.media_type}]" for file in left]
        notes += [f"[cc: {', '.join(others[:20])}]"] if others else []
        body = mail.text or mail.full_text
        if not body and not mail.attachments:
            body = mail.subject or "(an empty mail)"
        return "\n".join(filter(None, [body, *notes]))

    def _passes(self, file: Attachment) -> bool:
        return len(file.data) <= self._rules.attachment_bytes

    def _files(self, mail: Mail, *, known: bool) -> tuple[Attachment, ...]:
        files = tuple(filter(self._passes, mail.attachments))[: self._rules.attachments]
        if known or len(mail.full_text) - len(mail.text) < _WORTH_KEEPING:
            return files
        # What is quoted is not among the user's messages: it would be nowhere else.
        return (*files, Attachment(mail.full_text.encode(), "whole-mail.txt", "text/plain"))

    def _date(self, mail: Mail) -> float | None:
        """When it was written; a clock that is ahead is not believed."""
        return mail.date if mail.date is not None and mail.date <= self._site.now() else None


def _of_report(report: bounce.Report, entry: Entry) -> Failed | Received | Read | None:
    match report.action:
        case Action.FAILED:
            return Failed(entry.contact, "", report.trouble, report.diagnostic)
        case Action.DELIVERED:
            return Received(entry.contact, "")
        case Action.DISPLAYED:
            return Read(entry.contact, "")
        case _:
            return None


def _made_up(mail: Mail, sender: str) -> str:
    """A name for a mail that has none: the same when it comes again."""
    facts = (mail.sender, sender, mail.subject, str(mail.date), mail.full_text)
    digest = hashlib.sha256("\0".join(facts).encode("utf-8", "replace")).hexdigest()
    return f"<{digest[:32]}@none.invalid>"
