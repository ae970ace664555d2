"""Logging in: what happens on a client's stream until there is a session."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ClassVar, Final, Protocol

import structlog

from jabberd.core.derive import DeriveBusy
from jabberd.core.eager import start
from jabberd.core.session import SessionFacts
from jabberd.edge.client_session import Carrier, ClientSession
from jabberd.edge.door import ClientDoor
from jabberd.edge.resumption import ResumeFailed
from jabberd.net.wire import Wire
from jabberd.storage.api import StorageError
from jabberd.xmpp import sm
from jabberd.xmpp.error import (
    Condition,
    SaslCondition,
    SaslError,
    StanzaError,
    StreamCondition,
    StreamError,
)
from jabberd.xmpp.jid import JID, InvalidJID
from jabberd.xmpp.sasl import anonymous
from jabberd.xmpp.sasl.mechanism import Credentials
from jabberd.xmpp.stream import events
from jabberd.xmpp.stream.events import Event
from jabberd.xmpp.stream.receiving import ReceivingStream

_log: Final = structlog.get_logger("jabberd.c2s")
_SESSIONS: Final = 64  # of one account at a time; more are scripts gone wild


class Owner(Carrier, Protocol):
    """The connection, as its login sees it."""

    def flush(self) -> None:
        """Write what the stream has to say."""

    def answer(self, found: list[Event]) -> None:
        """Take what follows from an answer to the stream."""

    def begin(self, session: ClientSession) -> None:
        """The connection carries this session from now on."""


class ClientLogin:
    """One client's way to its session.

    Args:
        door: what connections share.
        wire: of the connection.
        stream: that the client logs in on.
        owner: the connection.
    """

    __slots__ = ("_door", "_owner", "_stream", "_wire")

    def __init__(self, door: ClientDoor, wire: Wire, stream: ReceivingStream, owner: Owner) -> None:
        self._door = door
        self._wire = wire
        self._stream = stream
        self._owner = owner

    def take(self, event: Event) -> object:
        """Do what an event asks for; returns a task where that takes time."""
        if isinstance(event, events.Authenticated):
            self._door.attempts.succeeded((event.account.text, self._source))
        elif isinstance(event, events.AuthenticationFailed):
            self._refused(event)
        else:
            work = self._WORK.get(type(event))
            return start(work(self, event)) if work is not None else None
        return None

    @property
    def _source(self) -> str:
        return self._wire.peer.source

    # Who it is

    async def _credentials(self, wanted: events.CredentialsWanted) -> None:
        seconds = self._door.blocked(wanted.account, self._source)
        if seconds > 0:
            text = f"too many failed logins: try again in {int(seconds) + 1} seconds"
            self._refuse(SaslError(SaslCondition.TEMPORARY_AUTH_FAILURE, text))
            return
        try:
            account = await self._door.stores.accounts.get(wanted.account.text)
        except StorageError as error:
            self._logger().error("storage failed at login", error=str(error))
            self._refuse(_try_later())
            return
        found = Credentials(account.keys, account.disabled) if account is not None else None
        self._answer(lambda: self._stream.credentials(found))

    async def _derive(self, wanted: events.DeriveKey) -> None:
        try:
            key = await self._door.derive(
                wanted.password, wanted.hash, wanted.salt, wanted.iterations
            )
        except DeriveBusy:
            self._refuse(_try_later())
            return
        self._answer(lambda: self._stream.derived(key))

    def _refuse(self, error: SaslError) -> None:
        self._answer(lambda: self._stream.refuse_login(error))

    def _refused(self, event: events.AuthenticationFailed) -> None:
        account = event.account
        if account is not None and event.error.condition is SaslCondition.NOT_AUTHORIZED:
            self._door.failed(account, self._source)
        self._logger().info(
            "login refused",
            account=account.text if account is not None else "",
            mechanism=event.mechanism,
            condition=event.error.condition.value,
        )

    async def _register(self, wanted: events.RegisterWanted) -> None:
        answer = await self._door.register(self._stream, wanted.iq, self._wire)
        self._answer(lambda: self._stream.reply(answer))

    def _answer(self, say: Callable[[], list[Event]]) -> None:
        """Answer the stream's question, unless there is nobody any more who asked."""
        if not self._gone():
            self._owner.answer(say())

    def _gone(self) -> bool:
        return self._stream.closed

    # A new session

    async def _bind(self, wanted: events.BindWanted) -> None:
        stream = self._stream
        try:
            jid = wanted.account.with_resource(wanted.resource or self._door.token())
            session = await self._open(jid, wanted.mechanism)
        except (InvalidJID, StanzaError) as problem:
            error = _bad_request(problem) if isinstance(problem, InvalidJID) else problem
            self._answer(lambda: stream.refuse_bind(error))
            return
        if session is not None:
            self._enter(session, stream.bound(jid))

    async def _open(self, jid: JID, mechanism: str) -> ClientSession | None:
        """Begin a session, which writes nothing yet; None where the client is gone by then.

        Raises:
            StanzaError: the account has too many.
        """
        door, wire = self._door, self._wire
        replaced = False
        while (old := door.sessions.find(jid)) is not None:
            # RFC 6120 §7.7.2.2: whoever comes back after a broken connection gets the resource.
            replaced = True
            await _settled(door.drop(old, StreamError(StreamCondition.CONFLICT)))
        if not replaced and len(door.sessions.of(jid.bare.text)) >= _SESSIONS:
            text = f"an account may have {_SESSIONS} sessions"
            raise StanzaError(Condition.RESOURCE_CONSTRAINT, text)
        if self._gone():
            return None
        facts = SessionFacts(
            address=wire.peer.host,
            since=door.clock.now(),
            mechanism=mechanism,
            tls=wire.tls.version if wire.tls is not None else "",
            temporary=mechanism == anonymous.NAME,
        )
        host = door.hosts[jid.domain]
        session = ClientSession(jid, facts, host, door.resumptions, self._owner)
        session.hold()  # nothing goes before the word that there is a session
        self._owner.begin(session)
        self._logger(jid).info("session started", mechanism=mechanism, tls=facts.tls)
        await _settled(host.bind(session))
        return None if self._gone() else session

    def _enter(self, session: ClientSession, found: list[Event]) -> None:
        """The stream has told the client of its session: let stanzas go, and come."""
        self._owner.flush()
        session.release()
        self._owner.answer(found)

    # A session that goes on

    async def _resume(self, wanted: events.ResumeWanted) -> None:
        stream, owner = self._stream, self._owner
        try:
            asked = sm.read_resume(wanted.nonza)
            session = await self._door.resumptions.take(wanted.account, asked)
            if session.sm is not None:
                session.sm.resume(asked.h)
        except ResumeFailed as failed:
            data = sm.failed(failed.error.condition, failed.handled, failed.error.text)
            self._answer(lambda: stream.resume_failed(data))
            return
        except StanzaError as error:
            data = sm.failed(error.condition, text=error.text)
            self._answer(lambda: stream.resume_failed(data))
            return
        except StreamError as error:  # XEP-0198 §6: more acknowledged than was sent
            owner.close(error)
            return
        if self._gone() or session.sm is None:
            session.since = self._door.resumptions.now()
            return
        owner.begin(session)
        self._logger(session.jid).info("session resumed", mechanism=wanted.mechanism)
        found = stream.resumed(sm.resumed(asked.previd, session.sm.handled))
        owner.flush()
        session.attach(owner)
        owner.answer(found)

    def _logger(self, jid: JID | None = None) -> structlog.stdlib.BoundLogger:
        bound = {"address": self._wire.peer.host}
        if jid is not None:
            bound["jid"] = jid.text
        logger: structlog.stdlib.BoundLogger = _log.bind(**bound)
        return logger

    _WORK: ClassVar[dict[type, Callable[[ClientLogin, Any], Coroutine[Any, Any, None]]]] = {
        events.CredentialsWanted: _credentials,
        events.DeriveKey: _derive,
        events.RegisterWanted: _register,
        events.BindWanted: _bind,
        events.ResumeWanted: _resume,
    }


def _try_later() -> SaslError:
    return SaslError(SaslCondition.TEMPORARY_AUTH_FAILURE, "the server is busy: try again later")


def _bad_request(error: InvalidJID) -> StanzaError:
    return StanzaError(Condition.BAD_REQUEST, str(error))


async def _settled(work: Awaitable[None] | None) -> None:
    if work is not None:
        await work
