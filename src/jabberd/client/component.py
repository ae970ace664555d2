"""Keeps an external component (XEP-0114) connected to any XMPP server."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import structlog

from jabberd.client.inbox import Inbox, Receive, answerable
from jabberd.client.link import Handler, Link, Over, Pending
from jabberd.xmpp.error import Condition, StanzaError, StreamCondition
from jabberd.xmpp.frames import Limits
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Iq, Stanza, error_reply, read_error
from jabberd.xmpp.stream.component_initiating import ComponentInitiatingStream

_log: Final = structlog.get_logger("jabberd.client")
_PLAIN_WORDS: Final = {
    StreamCondition.NOT_AUTHORIZED: "the server does not accept the secret",
    StreamCondition.HOST_UNKNOWN: "the server knows no such component",
    StreamCondition.CONFLICT: "the component is connected already, perhaps by another program",
}
_SLOWLY: Final = frozenset({StreamCondition.NOT_AUTHORIZED, StreamCondition.HOST_UNKNOWN})
"""What only a person can change. A conflict may be with a connection that is about to be over."""


class LinkLost(Exception):  # noqa: N818 -- it says what the link is
    """The server did not take responsibility for a stanza.

    Attributes:
        sent: it was written, and the server may have it all the same.
    """

    def __init__(self, why: str, *, sent: bool) -> None:
        super().__init__(why)
        self.sent = sent


@dataclass(frozen=True, slots=True)
class ClientBounds:
    """What a component's connection may use up.

    Attributes:
        limits: for what the server sends.
        sending: how many stanzas are under way to the server; more have to wait.
        send_seconds: how long one may take.
        asking: how many requests wait for their answers.
        per_sender: how many stanzas of one sender wait to be received; more are refused. What
            comes in one burst waits as well, and so does all that a server kept meanwhile.
        inbox_bytes: how much waits of all senders, before more is refused. This server keeps to
            half of it where there is stream management.
        negotiation_seconds: how long connecting may take.
        patience: seconds of silence after which the server has to give a sign of life.
        first_retry: seconds until the first attempt to connect again; each takes twice as long.
        last_retry: the most that it takes.
    """

    limits: Limits = field(default_factory=lambda: Limits(stanza_bytes=524_288))
    sending: int = 1_000
    send_seconds: float = 120.0
    asking: int = 1_000
    per_sender: int = 10_000
    inbox_bytes: int = 16 << 20
    negotiation_seconds: float = 30.0
    patience: float = 60.0
    first_retry: float = 1.0
    last_retry: float = 60.0


def _nothing(*_: object) -> None:
    """Nobody wants to know."""


class ComponentClient:
    """A component, connected whenever its server is there.

    Where the server has stream management for components (XEP-0198), nothing is lost and nothing
    comes twice across connections that break: both sides send again what was not acknowledged,
    and recognise it.

    Args:
        domain: of the component.
        secret: which it shares with the server.
        host: where to connect to.
        port: where to connect to.
        receive: takes every stanza that is no answer; those of one sender one after the other.
            An acknowledgement covers what it has finished. Where it raises StanzaError, the
            sender is told.
        up: told when stanzas may flow.
        down: told why they may no more.
        server: the domain of the server; the domain above the component's unless given.
        bounds: what may be used up.

    Attributes:
        domain: see above.
        server: see above.
    """

    def __init__(  # noqa: PLR0913 -- whom to be, where, and whom to tell
        self,
        domain: JID,
        secret: str,
        host: str,
        port: int,
        *,
        receive: Receive,
        up: Callable[[], None] = _nothing,
        down: Callable[[str], None] = _nothing,
        server: JID | None = None,
        bounds: ClientBounds | None = None,
    ) -> None:
        self.domain = domain
        self.server = server or JID("", domain.domain.partition(".")[2] or domain.domain)
        self._secret = secret
        self._host = host
        self._port = port
        self._up = up
        self._down = down
        self._bounds = bounds = bounds or ClientBounds()
        self._inbox = Inbox(
            receive, self._refuse, per_sender=bounds.per_sender, most=bounds.inbox_bytes
        )
        self._link: Link | None = None
        self._slots = asyncio.Semaphore(bounds.sending)
        self._waiting: deque[Pending] = deque()
        self._asking: dict[str, tuple[JID, asyncio.Future[Iq]]] = {}
        self._flushing: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        """Whether stanzas may flow."""
        return self._link is not None

    # What a component says

    async def send(self, stanza: Stanza) -> None:
        """Send a stanza; returns when the server is responsible for it.

        It waits for a connection where there is none.

        Raises:
            LinkLost: it took too long, or the connection broke and it is not known whether the
                server has the stanza. With stream management the second does not happen: it is
                sent again.
        """
        pending = Pending(self._own(stanza), asyncio.get_running_loop().create_future())
        try:
            async with asyncio.timeout(self._bounds.send_seconds), self._slots:
                self._waiting.append(pending)
                self._flush()
                if pending.done is not None:
                    await pending.done
        except TimeoutError:
            raise LinkLost("the server did not take it in time", sent=pending.sent) from None
        finally:
            if pending.done is not None:
                pending.done.cancel()  # nobody waits for it any more: it is not sent again

    def post(self, stanza: Stanza) -> None:
        """Send a stanza that may be lost: presence, or a chat state."""
        link = self._link
        if link is not None and link.takes:
            link.carry(Pending(self._own(stanza)))

    async def ask(self, iq: Iq, wait: float = 30.0) -> Iq:
        """Send a request, and wait for its answer.

        Args:
            iq: with `to`; its id is made here.
            wait: how many seconds.

        Raises:
            StanzaError: what the other side answered, or remote-server-timeout.
        """
        if iq.to is None:
            raise StanzaError(Condition.BAD_REQUEST, "no address")
        if len(self._asking) >= self._bounds.asking:
            raise StanzaError(Condition.RESOURCE_CONSTRAINT, "too many requests are under way")
        link = self._link
        if link is None or not link.takes:
            raise StanzaError(Condition.REMOTE_SERVER_TIMEOUT, "the server is not there")
        request = iq.replace(from_=iq.from_ or self.domain)
        request.id = secrets.token_hex(8)
        answer: asyncio.Future[Iq] = asyncio.get_running_loop().create_future()
        self._asking[request.id] = (iq.to, answer)
        try:
            link.carry(Pending(request))
            async with asyncio.timeout(wait):
                return await answer
        except TimeoutError:
            raise StanzaError(Condition.REMOTE_SERVER_TIMEOUT) from None
        finally:
            del self._asking[request.id]

    def _answered(self, iq: Iq) -> bool:
        asked = self._asking.get(iq.id)
        # RFC 6120 §8.2.3: an answer comes from whom the request went to, or it is forged.
        if asked is None or asked[0] != iq.from_:
            return False
        answer = asked[1]
        if not answer.done():
            if iq.type == "error":
                answer.set_exception(read_error(iq))
            else:
                answer.set_result(iq)
        return True

    def _refuse(self, stanza: Stanza, error: StanzaError) -> None:
        if answerable(stanza) and stanza.from_ is not None:
            to = stanza.to or self.domain  # what was not an address cannot be where it is from
            self.post(error_reply(stanza.replace(to=to), error))

    def _own(self, stanza: Stanza) -> Stanza:
        copy = stanza.replace(from_=stanza.from_ or self.domain)
        # By its id a message that is sent again is recognised.
        copy.id = stanza.id or secrets.token_hex(8)
        return copy

    def _flush(self) -> None:
        link, waiting = self._link, self._waiting
        while waiting and link is not None:
            if not waiting[0].wanted:
                waiting.popleft()
            elif link.takes:
                link.carry(waiting.popleft())
            else:
                if self._flushing is None:
                    work = self._flush_later(link)
                    self._flushing = asyncio.get_running_loop().create_task(work)
                return

    async def _flush_later(self, link: Link) -> None:
        await link.drained()
        await asyncio.sleep(0.05)
        self._flushing = None
        self._flush()

    # The connection

    async def run(self) -> None:
        """Connect, and connect again whenever the connection breaks, until cancelled."""
        bounds = self._bounds
        wait = bounds.first_retry
        try:
            while True:
                error = await self._once()
                if error is None:  # it was of use
                    wait = bounds.first_retry
                elif error.error is not None and error.error.condition in _SLOWLY:
                    wait = bounds.last_retry
                # So that components which lost a server at once do not come back at once.
                await asyncio.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311 -- no secret
                wait = min(bounds.last_retry, wait * 2)
        finally:
            if self._flushing is not None:
                self._flushing.cancel()
            await self._inbox.close()
            while self._waiting:
                self._lose(self._waiting.popleft(), "the component has stopped")

    async def _once(self) -> Over | None:
        """One connection from its beginning to its end; why it did not come about."""
        try:
            link = await self._connect()
        except Over as over:
            condition = None if over.error is None else over.error.condition
            why = str(over) if condition is None else _PLAIN_WORDS.get(condition, str(over))
            where = f"{self._host}:{self._port}"
            _log.warning("not connected", component=self.domain.text, server=where, why=why)
            return over
        why = "the component has stopped"
        try:
            self._enter(link)
            await link.serve()
        except Over as over:
            why = str(over)
        finally:
            self._link = None
            await link.close()
            self._leave(link, why)
        return None

    async def _connect(self) -> Link:
        """A link that stanzas may flow on.

        Raises:
            Over: it did not come about.
        """
        limits = self._bounds.limits
        stream = ComponentInitiatingStream(
            domain=self.domain, secret=self._secret, before=limits, after=limits
        )
        handler = Handler(self._inbox, self._answered, self._refuse, lambda: secrets.token_hex(8))
        link: Link | None = None
        try:
            async with asyncio.timeout(self._bounds.negotiation_seconds):
                reader, writer = await asyncio.open_connection(self._host, self._port)
                link = Link(
                    reader, writer, stream, self.domain, self.server, handler,
                    self._bounds.patience,
                )  # fmt: skip
                await link.open()
                return link
        except BaseException as error:
            if link is not None:
                await link.close()
            if isinstance(error, OSError):  # among them: that it took too long
                raise Over(str(error) or "the server does not answer") from None
            raise

    def _enter(self, link: Link) -> None:
        self._link = link
        _log.info("connected", component=self.domain.text, acknowledged=link.managed)
        if not link.managed:
            for pending in [pending for pending in self._waiting if pending.sent]:
                self._waiting.remove(pending)
                self._lose(pending, "the server does not recognise what is sent again")
        self._flush()
        _told(self._up)

    def _leave(self, link: Link, why: str) -> None:
        _log.info("disconnected", component=self.domain.text, why=why)
        unconfirmed = link.unconfirmed()
        if link.managed:
            self._waiting.extendleft(reversed(unconfirmed))
        else:
            for pending in unconfirmed:
                self._lose(pending, f"the connection broke: {why}")
        for _, answer in self._asking.values():
            if not answer.done():
                text = f"the connection broke: {why}"
                answer.set_exception(StanzaError(Condition.REMOTE_SERVER_TIMEOUT, text))
        _told(self._down, why)

    @staticmethod
    def _lose(pending: Pending, why: str) -> None:
        if pending.done is not None and not pending.done.done():
            pending.done.set_exception(LinkLost(why, sent=pending.sent))


def _told(call: Callable[..., None], *what: str) -> None:
    """Tell somebody whose mistake must not end the connection."""
    try:
        call(*what)
    except Exception as error:
        _log.error("a handler failed", exc_info=error)
