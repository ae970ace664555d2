"""What both kinds of e-mail gateway share: the way out, the way in, and the secrets of both."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from jabberd.gateways.email import address, loops
from jabberd.gateways.email.inbox import Inbox, Rules
from jabberd.gateways.email.options import Options
from jabberd.gateways.email.outbound import Courier, Envelope
from jabberd.gateways.email.rates import Rate
from jabberd.gateways.email.spool import Held, Spool
from jabberd.gateways.email.threads import Threads
from jabberd.gateways.email.verp import Verp
from jabberd.gateways.email.writing import Author, Writer, Written, message_id
from jabberd.gateways.events import Text, Trouble
from jabberd.gateways.transport import Login, NotDone, Site
from jabberd.storage.api import StorageError
from jabberd.storage.records import Record

_log: Final = structlog.get_logger("jabberd.gateway.email")
_REMEMBERED: Final = 180 * 86_400.0
"""Seconds after which an answer to a mail is a mail like any other."""
_TIDY: Final = 21_600.0
_HOUR: Final = 3_600.0
_KEY: Final = ("", "secret", "mail")


class Post:
    """The mail of one gateway.

    Args:
        site: of the gateway.
        options: see there.
        key: secret of the gateway.
        courier: who brings the mail of a user with this login.
        sender: the envelope's sender of a mail with this identifier.
        sent: is told of each mail that has gone.
    """

    def __init__(
        self,
        site: Site,
        options: Options,
        key: bytes,
        courier: Callable[[Login], Courier],
        sent: Callable[[Login, Written], Awaitable[None]] | None = None,
    ) -> None:
        self._site = site
        self._key = key
        self._courier = courier
        self._sent = sent
        self.verp = Verp(key)
        self.threads = Threads(site.records)
        rules = Rules(
            options.authserv_id, options.dmarc, options.attachments, options.attachment_bytes,
            options.mails_per_minute,
        )  # fmt: skip
        self.inbox = Inbox(site, self.threads, rules)
        self._writer = Writer(
            site, self.threads,
            attach_bytes=options.attach_bytes, attachments=options.attachments,
        )  # fmt: skip
        self._rate = Rate(options.mails_per_hour, _HOUR)
        self._tidying: asyncio.Task[None] | None = None
        self._bounces_here = options.mode == "domain"
        self._spool = Spool(
            site, self._post, self._named,
            hold=options.hold_seconds, lifetime=options.retry_hours * _HOUR,
        )  # fmt: skip

    async def start(self) -> None:
        """Go on with what was there."""
        await self._spool.load()
        self._tidying = asyncio.create_task(self._tidy())

    async def stop(self) -> None:
        """Stop; what is there waits on the disk."""
        if self._tidying is not None:
            self._tidying.cancel()
            await asyncio.gather(self._tidying, return_exceptions=True)
        await self._spool.close()

    async def send(self, author: Author, to: str, text: Text) -> str:
        """Take a message of a user for a mail; returns its legacy id.

        Raises:
            NotDone: it is not wanted.
            Lost: it cannot be stored.
        """
        id_ = message_id(author, text)
        if await self.threads.find(author.user, id_) is not None:
            return id_  # handed over again, since nobody knew whether it was taken
        joins = self._spool.joins(author.user, to, text)
        if not joins and not self._rate.allows(author.user, self._site.now()):
            raise NotDone(Trouble.NOT_ALLOWED, "you have sent too many mails in the last hour")
        await self._spool.put(author.user, to, text)
        return id_

    def author(self, user: str, login: Login) -> Author:
        """A user as the one who writes."""
        data = login.data
        return Author(
            user, login.name, data.get("name", ""), data.get("signature", ""),
            receipts=yes(data.get("receipts", "")), mark=self.mark(user),
        )  # fmt: skip

    def mark(self, user: str) -> str:
        """By which a user's own mails are recognised."""
        return loops.mark(self._key, user)

    async def _tidy(self) -> None:
        while True:
            try:
                await self.threads.prune(self._site.now() - _REMEMBERED)
            except StorageError as error:
                _log.warning("old mails are not forgotten", why=str(error))
            await asyncio.sleep(_TIDY)

    def _named(self, user: str, text: Text) -> str:
        login = self._site.login(user)
        return message_id(Author(user, login.name), text) if login is not None else ""

    async def _post(self, held: Held) -> None:
        login = self._site.login(held.user)
        if login is None:
            raise NotDone(Trouble.NOT_ALLOWED, "you are not registered any more")
        author = self.author(held.user, login)
        try:
            written = await self._writer.write(author, held.to, held.texts)
        except ValueError as error:
            raise NotDone(Trouble.NOT_ACCEPTABLE, f"no mail can be made of it: {error}") from None
        id_ = written.entry.message_id
        sender = self.verp.create(login.name, id_) if self._bounces_here else login.name
        await self._courier(login).deliver(Envelope(sender, held.to, written.data))
        await self.threads.remember(held.user, written.entry)
        if self._sent is not None:
            await self._sent(login, written)


async def secret_of(site: Site) -> bytes:
    """The secret of a gateway, made when first asked for.

    Raises:
        StorageError: it cannot be kept.
    """
    known = await site.records.get(*_KEY)
    if known is None:
        known = Record(*_KEY, secrets.token_bytes(32), site.now())
        await site.records.write([known])
    return known.value


def is_own(to: str, domain: str) -> bool:
    """Whether an address is of this domain."""
    return address.split(to)[1] == domain


def yes(answer: str) -> bool:
    """Whether a boolean field says so (XEP-0004 §3.3)."""
    return answer.strip().lower() in {"1", "true"}
