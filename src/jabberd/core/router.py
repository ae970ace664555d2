"""From an address to whom it concerns: domain → route. Every stanza gets its verdict here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import structlog

from jabberd.core.eager import start
from jabberd.core.journal import Journal
from jabberd.core.sending import Sender
from jabberd.core.session import Session
from jabberd.core.verdict import VERDICTS, Bounced, Delivered, Dropped, Stored, Verdict
from jabberd.storage.api import StorageError
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.stanza import Iq, Stanza, error_reply

_log: Final = structlog.get_logger("jabberd.router")


class Route(Protocol):
    """What answers for a domain: one of our hosts, a component, or other servers."""

    def receive(self, stanza: Stanza, origin: Session | None) -> Verdict | Awaitable[Verdict]:
        """Bring a stanza for this domain to the end of its way.

        The verdict is awaitable only where something has to be waited for.

        Args:
            stanza: with `from_` and, but for IQs to the own account, `to`.
            origin: the local session that sent it, if one did.

        Raises:
            StanzaError: what its sender is to be told.
        """

    def knows(self, account: str) -> bool:
        """Whether bare JIDs of this domain are accounts of ours, for the journal."""


class Router:
    """Every domain that this process answers for.

    Args:
        journal: remembers how stanzas ended.
        now: seconds since the epoch.

    Attributes:
        elsewhere: answers for every domain that is not ours; None: nothing does.
    """

    def __init__(self, journal: Journal, now: Callable[[], float]) -> None:
        self._journal = journal
        self._now = now
        self._routes: dict[str, Route] = {}
        self.elsewhere: Route | None = None
        self._senders: dict[str, Sender] = {}

    def add(self, domain: str, route: Route, sender: Sender | None = None) -> None:
        """Answer for a domain; `sender` is given where the domain has accounts of ours.

        Raises:
            ValueError: the domain is taken.
        """
        if domain in self._routes:
            raise ValueError(f"{domain} is served already")
        self._routes[domain] = route
        if sender is not None:
            self._senders[domain] = sender

    def remove(self, domain: str) -> None:
        """Answer for a domain no more."""
        self._routes.pop(domain, None)
        self._senders.pop(domain, None)

    def find(self, domain: str) -> Route | None:
        """What answers for a domain."""
        return self._routes.get(domain)

    def is_service(self, domain: str) -> bool:
        """Whether a domain is one of ours, a host or a component."""
        return domain in self._routes

    def submit(self, stanza: Stanza, session: Session) -> Verdict | asyncio.Task[Verdict]:
        """Take a stanza from one of our clients; `from_` must be set.

        The verdict may have to be waited for; the stanza goes its way in any case.
        """
        try:
            if isinstance(stanza, Iq):
                _check_iq(stanza)
            verdict = self._senders[session.jid.domain].send(stanza, session)
        except Exception as error:
            verdict = self._failed(stanza, session, error)
        if not isinstance(verdict, VERDICTS):
            return start(self._settled(verdict, stanza, session))
        return self._ended(verdict, stanza, session)

    def route(self, stanza: Stanza) -> Verdict | asyncio.Task[Verdict]:
        """Take a stanza from a component or from the server itself; `from_` must be set."""
        try:
            if isinstance(stanza, Iq):
                _check_iq(stanza)
            verdict = self.forward(stanza, None)
        except Exception as error:
            verdict = self._failed(stanza, None, error)
        if not isinstance(verdict, VERDICTS):
            return start(self._settled(verdict, stanza, None))
        return self._ended(verdict, stanza, None)

    async def _settled(
        self, coming: Awaitable[Verdict], stanza: Stanza, origin: Session | None
    ) -> Verdict:
        try:
            verdict = await coming
        except Exception as error:
            verdict = self._failed(stanza, origin, error)
        return self._ended(verdict, stanza, origin)

    def _ended(self, verdict: Verdict, stanza: Stanza, origin: Session | None) -> Verdict:
        """Put the end of a stanza's way into the journal."""
        owner = origin.jid.bare_text if origin is not None else ""
        recipient = self._recipient(stanza, verdict)
        if owner or recipient:
            self._journal.record(self._now(), stanza, verdict, owner or recipient, recipient)
        return verdict

    def forward(self, stanza: Stanza, origin: Session | None) -> Verdict | Awaitable[Verdict]:
        """Hand a stanza to whoever answers for its domain.

        Raises:
            StanzaError: what its sender is to be told.
        """
        to = stanza.to
        if to is not None:
            domain = to.domain
        elif stanza.from_ is not None:
            domain = stanza.from_.domain  # for the sender's own account
        else:
            raise StanzaError(Condition.BAD_REQUEST, "no address")
        route = self._routes.get(domain) or self.elsewhere
        if route is None:
            raise StanzaError(Condition.REMOTE_SERVER_NOT_FOUND, f"{domain} is not served here")
        return route.receive(stanza, origin)

    def failed_later(self, stanza: Stanza, origin: Session | None, error: StorageError) -> None:
        """A stanza that had its verdict could not be stored after all: its sender is told.

        The journal gets a second line for it.
        """
        self._ended(self._failed(stanza, origin, error, logged=True), stanza, origin)

    def _recipient(self, stanza: Stanza, verdict: Verdict) -> str:
        """The account of ours whose journal the stanza belongs into as well."""
        to = stanza.to
        if to is None or not to.local:
            return ""
        account = to.bare_text
        if type(verdict) is Delivered or type(verdict) is Stored:
            return account
        route = self._routes.get(to.domain)
        # Made-up addresses must not fill the journal.
        return account if route is not None and route.knows(account) else ""

    def _failed(
        self,
        stanza: Stanza,
        origin: Session | None,
        error: Exception,
        *,
        logged: bool = False,
    ) -> Verdict:
        if isinstance(error, StorageError):
            if not logged:
                _log.error("storage failed", error=str(error))
            error = StanzaError(Condition.RESOURCE_CONSTRAINT, "the server cannot store this now")
        elif not isinstance(error, StanzaError):
            _log.error("a stanza failed", stanza=repr(stanza)[:500], exc_info=error)
            error = StanzaError(Condition.INTERNAL_SERVER_ERROR)
        # RFC 6120 §8.3.1: an error is never answered, or two servers would never stop.
        if stanza.type == "error" or (isinstance(stanza, Iq) and stanza.type == "result"):
            return Dropped("router", f"cannot be delivered: {error}")
        reply = error_reply(stanza, error)
        if origin is not None:
            origin.send(reply)
        elif stanza.from_ is not None:
            self.route(reply)
        return Bounced(error.by or "router", error)


def _check_iq(iq: Iq) -> None:
    # RFC 6120 §8.2.3.
    if iq.type not in Iq.TYPES:
        raise StanzaError(Condition.BAD_REQUEST, "an IQ is get, set, result or error")
    if not iq.id:
        raise StanzaError(Condition.BAD_REQUEST, "an IQ has an id")
    if iq.is_request and len(iq.children) != 1:
        raise StanzaError(Condition.BAD_REQUEST, "an IQ request has exactly one child element")
