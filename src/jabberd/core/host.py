"""One virtual host: its modules, its accounts' sessions, and both sides of its traffic."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar, cast

import structlog

from jabberd.core.eager import start
from jabberd.core.keeper import Keeper, Ledger
from jabberd.core.module import AccountEvent, Module, SessionEvent
from jabberd.core.ports import ArchiveRules, MessagesApi, ModulesApi
from jabberd.core.receiving import House, Receiver
from jabberd.core.registry import Registry
from jabberd.core.router import Router
from jabberd.core.sending import Sender
from jabberd.core.session import Session, Sessions
from jabberd.core.verdict import Verdict
from jabberd.storage.api import StorageError, Stores
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Iq, Message, Stanza, read_error

T = TypeVar("T")
_log: Final = structlog.get_logger("jabberd.host")
_ASKING: Final = 10_000  # requests of the server's own that wait for their answers
_KNOWN: Final = 4_096  # accounts without a session that the journal is kept for
_WORKS: Final = 1_000  # works beside the streams


class LocalHost:
    """A host of this server. Implements `core.module.Host` and `core.router.Route`.

    Args:
        domain: its address.
        stores: durable state.
        sessions: of this process, shared by its hosts.
        router: shared by its hosts; the host adds itself.
        now: seconds since the epoch.
        token: makes unpredictable identifiers.
        ledger: the durable log, shared by its hosts.
    """

    def __init__(
        self,
        domain: JID,
        *,
        stores: Stores,
        sessions: Sessions,
        router: Router,
        now: Callable[[], float],
        token: Callable[[], str],
        ledger: Ledger,
    ) -> None:
        self.domain = domain
        self.stores = stores
        self.now = now
        self.registry = Registry()
        self.registry.ports[ModulesApi] = self
        self._token = token
        self._sessions = sessions
        self._router = router
        self._asking: dict[str, tuple[JID, JID, asyncio.Future[Iq]]] = {}
        self._works: dict[asyncio.Task[None], None] = {}
        self._timers: set[asyncio.TimerHandle] = set()
        self._closed = False
        self._known: dict[str, None] = {}
        self.keeper = Keeper(domain, ledger, now, self._refused, self._waiting)
        self.registry.ports[MessagesApi] = self.keeper
        self._sender = Sender(self.registry, router.forward, self.keeper, sessions)
        house = House(self._exists, self._answered, self._respond, router.is_service)
        self._receiver = Receiver(domain, self.registry, sessions, self.keeper, house)
        # Handed through, not wrapped: every stanza passes here (`core.router.Route`).
        self.receive = self._receiver.receive
        router.add(domain.domain, self, self._sender)

    def load(self, name: str, module: Module) -> None:
        """Take a module in.

        Raises:
            Conflict: another module answers the same requests.
        """
        self.registry.add(name, module)
        rules = self.registry.ports.get(ArchiveRules)
        self.keeper.rules = cast("ArchiveRules | None", rules)

    def loaded(self) -> Sequence[tuple[str, Module]]:
        """Names and values of every module (`ModulesApi`)."""
        return tuple(self.registry.modules)

    def sessions(self, account: JID) -> tuple[Session, ...]:
        """The sessions of an account that this process serves, oldest first."""
        return self._sessions.of(account.text)

    def require(self, api: Callable[..., T]) -> T:
        """The module that provides a Protocol of `core.ports`.

        Raises:
            LookupError: no module of this host provides it.
        """
        key = cast("type[T]", api)  # mypy takes type[T] for concrete classes only
        try:
            return cast("T", self.registry.ports[key])
        except KeyError:
            raise LookupError(f"no module of {self.domain} provides {key.__name__}") from None

    async def send_for(self, message: Message, *, deliver: bool = True) -> Verdict:
        """See `core.module.Host.send_for`."""
        return await self._sender.send_for(message, deliver=deliver)

    def route(self, stanza: Stanza) -> Verdict | Awaitable[Verdict]:
        """Send a stanza on behalf of `stanza.from_`, which is ours, to `stanza.to`."""
        return self._router.route(stanza)

    def knows(self, account: str) -> bool:
        """Whether this is an account: it is online, or was asked for lately and is there.

        The journal keeps what happens on the way to it; made-up addresses must not fill it.
        """
        return account in self._known or bool(self._sessions.of(account))

    async def ask(self, iq: Iq, wait: float = 30.0, *, account: JID | None = None) -> Iq:
        """Send a request from this host, or on behalf of an account, and wait for its answer.

        Raises:
            StanzaError: what the other side answered, or remote-server-timeout.
        """
        if iq.to is None:
            raise StanzaError(Condition.BAD_REQUEST, "no address")
        if len(self._asking) >= _ASKING:
            raise StanzaError(Condition.RESOURCE_CONSTRAINT, "too many requests are under way")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Iq] = loop.create_future()
        asker = account or self.domain
        request = iq.replace(from_=asker)
        request.id = self._token()
        self._asking[request.id] = (asker, iq.to, answer)
        timer = loop.call_later(wait, _too_late, answer)
        try:
            self._router.route(request)
            return await answer
        finally:
            timer.cancel()
            del self._asking[request.id]

    def _answered(self, iq: Iq) -> bool:
        asked = self._asking.get(iq.id)
        # RFC 6120 §8.2.3: an answer comes from whom the request went to, or it is forged.
        if asked is None or asked[0] != iq.to or asked[1] != iq.from_:
            return False
        future = asked[2]
        if not future.done():
            if iq.type == "error":
                future.set_exception(read_error(iq))
            else:
                future.set_result(iq)
        return True

    def _refused(self, message: Message, origin: Session | None, error: StorageError) -> None:
        if origin is not None:
            self.keeper.forget_sent(message, origin)
        if message.to is not None:
            self.keeper.recount(message.to.bare)
        self._router.failed_later(message, origin, error)

    def _waiting(self, account: JID, message: Message | None) -> None:
        for tell in self.registry.waiting:
            try:
                tell(account, message)
            except Exception as error:
                _failed("a handler failed", error, event_name="waiting")

    def undelivered(self, session: Session, stanza: Stanza) -> None:
        """A stanza is kept for a session whose client is not there; tell the handlers."""
        for tell in self.registry.undelivered:
            try:
                tell(session, stanza)
            except Exception as error:
                _failed("a handler failed", error, event_name="undelivered")

    def _respond(self, answer: Stanza, origin: Session | None) -> None:
        if origin is not None:
            origin.send(answer)
        else:
            self._router.route(answer)

    async def _exists(self, account: JID) -> bool:
        if await self.stores.accounts.get(account.text) is None:
            return False
        self._known[account.text] = None
        if len(self._known) > _KNOWN:
            del self._known[next(iter(self._known))]
        return True

    def bind(self, session: Session) -> Awaitable[None] | None:
        """Take a new session in; its full JID must be free."""
        self._sessions.add(session)
        return self.emit(SessionEvent.BOUND, session)

    def adopt(self, session: Session) -> None:
        """Take over a session of a former process; nobody is told, since nothing has changed."""
        self._sessions.add(session)

    def unbind(self, session: Session) -> Awaitable[None] | None:
        """A session has ended, in whatever way; harmless for one that is gone already."""
        if not self._sessions.remove(session):
            return None
        if session.facts.temporary:
            told: Awaitable[None] | None = start(self._end_account(session))
        else:
            told = self.emit(SessionEvent.CLOSED, session)
        session.abandon()
        return told

    async def _end_account(self, session: Session) -> None:
        """Nothing of a temporary account outlives its session."""
        closed = self.emit(SessionEvent.CLOSED, session)
        if closed is not None:
            await closed
        account = session.jid.bare
        await _tell(self.registry.on_account(AccountEvent.DELETING), account, "deleting")
        await self.keeper.settled()  # what is on its way into the log is erased with it
        try:
            await self.stores.erase(account.text)
        except StorageError as error:
            _log.error("a temporary account was not erased", jid=account.text, error=str(error))

    def emit(self, event: SessionEvent, session: Session) -> Awaitable[None] | None:
        """Tell the handlers of this event; awaitable where one of them has to wait."""
        handlers = self.registry.on_session(event)
        return start(_tell(handlers, session, event.value)) if handlers else None

    async def emit_account(self, event: AccountEvent, account: JID) -> None:
        """Tell the handlers of this moment in an account's life."""
        self._known.pop(account.text, None)
        self.keeper.recount(account)
        await _tell(self.registry.on_account(event), account, event.value)
        await self.keeper.settled()  # what is on its way into the log is erased with it
        self.keeper.recount(account)

    def spawn(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run something beside the stream that caused it. Failures are logged, not lost."""
        loop = asyncio.get_running_loop()
        if len(self._works) >= _WORKS:
            oldest = next(iter(self._works))
            _log.warning("too much work: cancelling the oldest", work=oldest.get_name())
            del self._works[oldest]
            # Not at once: a task that is cancelled before its first step runs nothing, not even
            # its `finally`. That step was queued before this, so every work has begun by then.
            loop.call_soon(oldest.cancel)
        task = loop.create_task(work, name=name)
        self._works[task] = None
        task.add_done_callback(self._worked)

    def _worked(self, task: asyncio.Task[None]) -> None:
        self._works.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            _failed("work failed", error, work=task.get_name())

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """Call a function after some time, unless the host is closed by then."""
        if self._closed:
            return

        def due() -> None:
            self._timers.discard(timer)
            call()

        timer = asyncio.get_running_loop().call_later(seconds, due)
        self._timers.add(timer)

    async def close(self, wait: float = 5.0) -> None:
        """Let works finish for `wait` seconds, then cancel what is left."""
        self._closed = True
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        works = list(self._works)
        if works:
            _, late = await asyncio.wait(works, timeout=wait)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)


def _too_late(answer: asyncio.Future[Iq]) -> None:
    if not answer.done():
        answer.set_exception(StanzaError(Condition.REMOTE_SERVER_TIMEOUT))


async def _tell(handlers: Sequence[Callable[[Any], Any]], subject: object, event: str) -> None:
    for handler in handlers:
        try:
            result = handler(subject)
            if isinstance(result, Awaitable):
                await result
        except Exception as error:
            _failed("a handler failed", error, event_name=event)


def _failed(what: str, error: BaseException, **context: str) -> None:
    if isinstance(error, StorageError):  # a full disk is no fault of ours: no traceback
        _log.error("storage failed", error=str(error), **context)
    else:
        _log.error(what, exc_info=error, **context)
