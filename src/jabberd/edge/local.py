"""A component inside the server's own process: it speaks as external ones do, without a stream.

What it sends takes the same way as what comes by XEP-0114; privileges (XEP-0356) are the same
stanzas. It is told when what it sent is on the disk, which no stream has to say then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import structlog

from jabberd.core.eager import settle
from jabberd.core.resent import same, unique_of
from jabberd.core.router import Router
from jabberd.core.session import Session
from jabberd.core.turns import Turns
from jabberd.core.verdict import Bounced, Dropped, Handled, Relayed, Verdict
from jabberd.storage.api import StorageError
from jabberd.storage.log_api import Log
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Iq, Message, Stanza, read_error

_log: Final = structlog.get_logger("jabberd.component")
_MOST_ASKED: Final = 10_000
_SUSPICIOUS: Final = 1_000
"""So many messages after a start are looked for in the log: a killed process may have had them."""


class Inside(Protocol):
    """The component itself."""

    def receive(self, stanza: Stanza) -> Awaitable[None] | None:
        """A stanza for its domain. When this is done, the component is responsible.

        Raises:
            StanzaError: what its sender is to be told.
        """

    def up(self) -> None:
        """The server is there."""


class LocalComponent:
    """The route to a component of this process, and its way out (`core.router.Route`).

    Args:
        domain: of the component.
        server: the host that it belongs to.
        router: takes its stanzas.
        turns: tell when something is on the disk.
        log: where a killed process may have put what the component sends again.
        token: makes unpredictable strings.
    """

    def __init__(
        self,
        domain: JID,
        server: JID,
        *,
        router: Router,
        turns: Turns,
        log: Log,
        token: Callable[[], str],
    ) -> None:
        self.domain = domain
        self.server = server
        self._router = router
        self._turns = turns
        self._log = log
        self._token = token
        self._inside: Inside | None = None
        self._relayed = Relayed(f"gateway {domain.domain}")
        self._asked: dict[str, tuple[JID, JID | None, asyncio.Future[Iq]]] = {}
        self._sending: dict[str, StanzaError | None] = {}
        self._suspicious = _SUSPICIOUS

    def contain(self, inside: Inside) -> None:
        """Have this component answer for the domain."""
        self._inside = inside

    # From the server (`core.router.Route`)

    async def receive(self, stanza: Stanza, origin: Session | None) -> Verdict:  # noqa: ARG002 -- Route
        """Hand a stanza to the component.

        Raises:
            StanzaError: the component does not take it.
        """
        if isinstance(stanza, Iq) and not stanza.is_request:
            return self._answered(stanza)
        if isinstance(stanza, Message) and stanza.type == "error" and stanza.id in self._sending:
            self._sending[stanza.id] = read_error(stanza)
        if self._inside is None:
            text = f"{self.domain} is not there at the moment"
            raise StanzaError(Condition.REMOTE_SERVER_TIMEOUT, text)
        taken = self._inside.receive(stanza)
        if taken is not None:
            await taken
        return self._relayed

    def knows(self, account: str) -> bool:  # noqa: ARG002 -- Route
        """False: a component has no accounts of ours."""
        return False

    # From the component

    async def send(self, stanza: Stanza) -> None:
        """Send a stanza; when this returns, what lasts of it is on the disk.

        Raises:
            StanzaError: it came back.
        """
        if isinstance(stanza, Message) and await self._came_before(stanza):
            return
        name = stanza.id
        if name:
            self._sending[name] = None
        try:
            verdict = await settle(self._router.route(stanza))
            if isinstance(verdict, Bounced):
                raise verdict.error
            if isinstance(stanza, Message):
                await self._turns.settled()
            if name and (error := self._sending[name]) is not None:
                raise error
        finally:
            self._sending.pop(name, None)

    def post(self, stanza: Stanza) -> None:
        """Send a stanza, and never mind what becomes of it."""
        self._router.route(stanza)

    async def ask(self, iq: Iq, wait: float = 30.0) -> Iq:
        """Send a request and wait for its result.

        Args:
            iq: its `id` is set here, and `from_` where it has none.
            wait: in seconds.

        Raises:
            StanzaError: the answer, or remote-server-timeout.
        """
        if len(self._asked) >= _MOST_ASKED:
            raise StanzaError(Condition.RESOURCE_CONSTRAINT, "too many requests are under way")
        asker = iq.from_ or self.domain
        request = iq.replace(from_=asker)
        request.id = self._token()
        answer: asyncio.Future[Iq] = asyncio.get_running_loop().create_future()
        self._asked[request.id] = (asker, iq.to, answer)
        try:
            async with asyncio.timeout(wait):
                self._router.route(request)
                return await answer
        except TimeoutError:
            raise StanzaError(Condition.REMOTE_SERVER_TIMEOUT) from None
        finally:
            del self._asked[request.id]

    # Inside

    def _answered(self, iq: Iq) -> Verdict:
        asked = self._asked.get(iq.id)
        # RFC 6120 §8.2.3: an answer comes from whom the request went to, or it is forged.
        if asked is None or asked[:2] != (iq.to, iq.from_) or asked[2].done():
            return Dropped(self.domain.domain, "an answer to no request")
        if iq.type == "error":
            asked[2].set_exception(read_error(iq))
        else:
            asked[2].set_result(iq)
        return Handled(self.domain.domain)

    async def _came_before(self, message: Message) -> bool:
        """Whether a process that was killed has put this message into the log already."""
        if not self._suspicious or message.to is None or message.from_ is None:
            return False
        self._suspicious -= 1
        name, _ = unique_of(message)
        if not name:
            return False
        try:
            entry = await self._log.find(
                message.to.bare_text, message.from_.bare_text, name, sent=False
            )
        except StorageError:
            return False  # its way will show what is wrong
        return entry is not None and same(entry.stanza, message.inner)
