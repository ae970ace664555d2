"""Mode "mailbox": users bring the mailbox that they have elsewhere (IMAP and SMTP)."""

# ruff: noqa: ARG002 -- a network leaves out what it does not need

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from jabberd.gateways.email import accounts, address
from jabberd.gateways.email.accounts import BadAnswer, Mailbox
from jabberd.gateways.email.imap import (
    Envelope,
    Imap,
    ImapLost,
    ImapRefused,
    Selected,
    open_imap,
)
from jabberd.gateways.email.inbox import Recipient
from jabberd.gateways.email.options import Options
from jabberd.gateways.email.outbound import Courier, Relay
from jabberd.gateways.email.post import Post, secret_of
from jabberd.gateways.email.refused import Refused
from jabberd.gateways.email.shared import CAPABILITIES, IDENTITY, PROMPT
from jabberd.gateways.email.writing import Written
from jabberd.gateways.events import Notice, Online, Text
from jabberd.gateways.transport import (
    Emit,
    Login,
    LoginRefused,
    Lost,
    Network,
    Question,
    SignUpRefused,
    Site,
    Transport,
)
from jabberd.storage.api import StorageError
from jabberd.storage.records import Record

_log: Final = structlog.get_logger("jabberd.gateway.email")
_SPACE: Final = "mailbox"
_INBOX: Final = "INBOX"
_IDLE: Final = 25 * 60.0
"""Below the half hour after which a server may end the connection (RFC 2177)."""
_DAY: Final = timedelta(days=1)


class Mailboxes(Network):
    """The network in this mode.

    Args:
        options: see there.
    """

    title = "E-mail"
    identity = IDENTITY
    capabilities = CAPABILITIES
    form = accounts.FORM
    prompt = PROMPT
    example = "nurse@capulet.example"
    policy = (
        "The password of your mailbox is kept, encrypted, for as long as you are registered.",
        (
            "Mails stay in your mailbox. The gateway remembers their subjects and addresses for "
            "half a year, to recognise answers."
        ),
    )

    def __init__(self, options: Options) -> None:
        self._options = options
        self._post: Post | None = None

    def canonical(self, text: str) -> str:
        """See `Network`."""
        return address.canonical(text)

    def transport(self, user: str, login: Login, site: Site) -> Transport:
        """See `Network`."""
        if self._post is None:
            raise RuntimeError("the network has not been started")
        return _Login(self._post, user, login, site, self._options)

    async def start(self, site: Site) -> None:
        """See `Network`."""
        key = await secret_of(site)
        self._post = Post(site, self._options, key, self._courier, self._keep_sent)
        await self._post.start()

    async def stop(self) -> None:
        """See `Network`."""
        if self._post is not None:
            await self._post.stop()

    async def sign_up(
        self, user: str, answers: Mapping[str, str], state: Mapping[str, str], site: Site
    ) -> Login | Question:
        """See `Network`: both servers are tried."""
        try:
            login = accounts.login_of(answers)
            mailbox = self._mailbox(login)
        except BadAnswer as error:
            raise SignUpRefused(str(error)) from None
        try:
            imap = await _open(mailbox, self._options)
            await imap.logout()
            await Relay(mailbox.smtp, mailbox.smtp_account, _hello(login)).check()
        except LoginRefused as error:
            raise SignUpRefused(str(error), wrong_password=True) from None
        except Lost as error:
            raise SignUpRefused(str(error), timeout=True) from None
        return login

    def _mailbox(self, login: Login) -> Mailbox:
        options = self._options
        return accounts.mailbox_of(
            login, anywhere=options.private_servers, authorities=options.authorities
        )

    def _courier(self, login: Login) -> Courier:
        mailbox = self._mailbox(login)
        return Relay(mailbox.smtp, mailbox.smtp_account, _hello(login))

    async def _keep_sent(self, login: Login, written: Written) -> None:
        """Put a copy into the user's Sent. The mail has gone: that this fails changes nothing."""
        mailbox = self._mailbox(login)
        if not mailbox.sent:
            return
        try:
            imap = await _open(mailbox, self._options)
            try:
                await imap.append(await imap.sent_mailbox(), written.data)
            finally:
                await imap.logout()
        except (Lost, LoginRefused, ImapLost, ImapRefused) as error:
            _log.warning("a sent mail is not in its mailbox", address=login.name, why=str(error))


@dataclass(frozen=True, slots=True)
class _Place:
    """How far a mailbox has been read.

    Attributes:
        validity: UIDVALIDITY of the numbers.
        uid: of the last mail that is not new any more.
        at: when it came there, or when the user registered.
    """

    validity: int
    uid: int
    at: float


class _Login(Transport):
    """A user's mailbox."""

    def __init__(self, post: Post, user: str, login: Login, site: Site, options: Options) -> None:
        self._post = post
        self._user = user
        self._login = login
        self._site = site
        self._options = options

    async def send_text(self, to: str, text: Text) -> str:
        """See `Transport`."""
        author = self._post.author(self._user, self._login)
        return await self._post.send(author, to, text)

    async def run(self, emit: Emit) -> None:
        """See `Transport`."""
        options = self._options
        try:
            mailbox = accounts.mailbox_of(
                self._login, anywhere=options.private_servers, authorities=options.authorities
            )
        except BadAnswer as error:
            raise LoginRefused(str(error)) from None
        imap = await _open(mailbox, options)
        try:
            await self._follow(imap, mailbox, emit)
        except ImapLost as error:
            raise Lost(str(error)) from None
        except ImapRefused as error:
            raise Lost(f"the mail server refuses: {error}") from None
        except StorageError as error:
            raise Lost(f"what was read cannot be stored: {error}") from None
        finally:
            await imap.close()

    async def _follow(self, imap: Imap, mailbox: Mailbox, emit: Emit) -> None:
        selected = await imap.select(_INBOX, read_only=not mailbox.seen)
        place = await self._place()
        renumbered = place is not None and place.validity != selected.validity
        if place is None:
            place = _Place(selected.validity, selected.next_uid - 1, self._site.now())
            await self._keep(place)
        await emit(Online(self._login.name))
        if renumbered:
            place = await self._renumbered(imap, mailbox, place, selected, emit)
        while True:
            for uid in await imap.after(place.uid):
                place = await self._one(imap, mailbox, place, uid, emit)
            await imap.idle(_IDLE, poll=self._options.poll_seconds)

    async def _renumbered(
        self, imap: Imap, mailbox: Mailbox, place: _Place, selected: Selected, emit: Emit
    ) -> _Place:
        """All mails have other numbers now (RFC 3501 §2.3.1.1): go by when they came.

        Those that were brought already are recognised by their identifiers.
        """
        day = datetime.fromtimestamp(place.at, UTC).date() - _DAY  # servers count in their own zone
        since = place.at
        found = await imap.since(day)
        place = _Place(selected.validity, selected.next_uid - 1, since)
        for uid in found:
            envelope = await imap.envelope(uid)
            if envelope is None or envelope.at < int(since):
                place = replace(place, uid=uid)
            else:
                place = await self._one(imap, mailbox, place, uid, emit)
        await self._keep(place)
        return place

    async def _one(
        self, imap: Imap, mailbox: Mailbox, place: _Place, uid: int, emit: Emit
    ) -> _Place:
        """Bring one mail to the user, and only then go on behind it."""
        envelope = await imap.envelope(uid)
        if envelope is not None:
            await self._bring(imap, mailbox, envelope, emit)
            if mailbox.seen:
                await imap.seen(uid)
        at = envelope.at if envelope is not None and envelope.at else place.at
        place = _Place(place.validity, uid, max(at, place.at))
        await self._keep(place)
        return place

    async def _bring(self, imap: Imap, mailbox: Mailbox, found: Envelope, emit: Emit) -> None:
        if found.size > self._options.mail_bytes:
            text = f"A mail of {found.size // 1_000_000} MB came; it is too large for here."
            await emit(Notice(text))
            return
        data = await imap.mail(found.uid)
        if data is None:
            return  # it has gone meanwhile
        recipient = Recipient(
            self._user, address.split(self._login.name)[1], mailbox.strangers,
            self._post.mark(self._user),
        )  # fmt: skip
        try:
            await self._post.inbox.take(recipient, self._login.name, data, emit)
        except Refused as error:
            if not error.lasting:
                raise Lost(str(error)) from None
            _log.info("a mail stays where it is", user=self._user, why=str(error))

    async def _place(self) -> _Place | None:
        record = await self._site.records.get(self._user, _SPACE, self._login.name)
        return _Place(**json.loads(record.value)) if record is not None else None

    async def _keep(self, place: _Place) -> None:
        value = json.dumps({"validity": place.validity, "uid": place.uid, "at": place.at}).encode()
        record = Record(self._user, _SPACE, self._login.name, value, self._site.now())
        await self._site.records.write([record])


async def _open(mailbox: Mailbox, options: Options) -> Imap:
    """Log in.

    Raises:
        LoginRefused: the server does not let the user in.
        Lost: it is out of reach.
    """
    account = mailbox.imap_account
    try:
        return await open_imap(
            mailbox.imap, account.user, account.password, mail_longest=options.mail_bytes
        )
    except ImapRefused as error:
        if error.passing:
            raise Lost(f"{mailbox.imap.host}: {error}") from None
        raise LoginRefused(f"{mailbox.imap.host} does not let you in: {error}") from None
    except ImapLost as error:
        raise Lost(str(error)) from None


def _hello(login: Login) -> str:
    """What we call ourselves: nothing that tells where we are."""
    return address.wire_domain(address.split(login.name)[1])
