"""Clients: one connection drives one stream, and after login one session."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable
from typing import Final, cast

import structlog

from jabberd.core.derive import DeriveBusy
from jabberd.core.eager import start
from jabberd.core.session import SessionFacts
from jabberd.edge.client_session import ClientSession
from jabberd.edge.door import ClientDoor, Entrance
from jabberd.edge.facts import channel_of
from jabberd.edge.resumption import ResumeFailed
from jabberd.edge.sm import StreamManagement
from jabberd.net.wire import Wire
from jabberd.storage.api import StorageError
from jabberd.xmpp import ns
from jabberd.xmpp import sm as management
from jabberd.xmpp.error import (
    Condition,
    SaslCondition,
    SaslError,
    StanzaError,
    StreamCondition,
    StreamError,
)
from jabberd.xmpp.frames import BadAddress, Nonza
from jabberd.xmpp.jid import JID, InvalidJID
from jabberd.xmpp.sasl import anonymous
from jabberd.xmpp.sasl.mechanism import Credentials
from jabberd.xmpp.stanza import Iq, Message, Presence, Stanza, error_reply
from jabberd.xmpp.stream import events
from jabberd.xmpp.stream.events import Event
from jabberd.xmpp.stream.policy import HostPolicy
from jabberd.xmpp.stream.receiving import ReceivingStream

_log: Final = structlog.get_logger("jabberd.c2s")
_STANZAS: Final = frozenset({Message, Presence, Iq})
_SESSIONS: Final = 64  # of one account at a time; more are scripts gone wild


class ClientConnection:
    """One connection of a client (`net.wire.Machine`).

    Stanzas are taken one after the other: while the verdict of one is waited for, nothing more
    is read from this client, which keeps the order and pushes back on those who send too fast.
    """

    __slots__ = ("_backlog", "_busy", "_door", "_entrance", "_login", "_session", "_stream",
                 "_timer", "_wire")  # fmt: skip

    def __init__(self, door: ClientDoor, entrance: Entrance) -> None:
        self._door = door
        self._entrance = entrance
        self._wire: Wire | None = None
        self._stream: ReceivingStream | None = None
        self._session: ClientSession | None = None
        self._backlog: deque[Event] | None = None  # what waits for the stanza before it
        self._busy: asyncio.Task[object] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._login = ""  # the mechanism

    # Called by the pump

    def connected(self, wire: Wire) -> None:
        """A client is here."""
        self._wire = wire
        door = self._door
        self._stream = ReceivingStream(
            hosts=self._policy,
            channel=channel_of(wire.tls),
            before=door.limits_before,
            after=door.limits_after,
            token=door.token,
            pool=door.pool,
        )
        self._timer = asyncio.get_running_loop().call_later(door.login_seconds, self._too_late)
        door.connections.add(self)

    def received(self, data: bytes) -> None:
        """The client sent something."""
        stream = self._stream
        if stream is None:
            return
        self._take(stream.receive(data))

    def secured(self) -> None:
        """The handshake that followed STARTTLS is done."""
        if self._stream is not None and self._wire is not None:
            self._take(self._stream.secured(channel_of(self._wire.tls)))

    def ended(self, error: Exception | None) -> None:
        """The connection is gone."""
        closed = self._stream is None or self._stream.closed
        if self._stream is not None:
            self._stream.eof()
        self._leave(error, broken=not closed)

    def drained(self) -> None:
        """The client reads again; nothing waits for that here."""

    def _policy(self, domain: JID) -> HostPolicy | None:
        return self._door.policy(domain, self._entrance, self._wire) if self._wire else None

    # Used by the session

    def write(self, data: bytes) -> None:
        """Write bytes of the stream; a client that does not read is disconnected."""
        wire = self._wire
        if wire is None:
            return
        wire.write(data)
        if wire.buffered > self._door.output_bytes:
            self._logger().warning("the client does not read: disconnecting it")
            wire.abort()

    def close(self, error: StreamError | None = None) -> None:
        """End the stream from our side, and the session with it."""
        if self._stream is not None and not self._stream.closed:
            self._take(self._stream.close(error))

    def release(self, error: StreamError | None) -> None:
        """The session goes on without this connection."""
        self._session = None
        if error is not None:
            self.close(error)
        elif self._wire is not None:
            # No </stream:stream>: a stream that was closed cannot be resumed (XEP-0198 §7).
            self._wire.close()

    def abort(self) -> None:
        """The connection does not answer: break it."""
        if self._wire is not None:
            self._wire.abort()

    # Events

    def _take(self, found: list[Event]) -> None:
        if self._busy is not None:
            if self._backlog is None:
                self._backlog = deque()
            self._backlog.extend(found)
            self._flush()
            return
        for index, event in enumerate(found):
            if type(event) in _STANZAS:
                work = self._stanza(cast("Stanza", event))
            else:
                work = self._control(event)
            if isinstance(work, asyncio.Task):
                rest = found[index + 1 :]
                if rest:
                    self._backlog = deque(rest)
                self._wait(work)
                break
        self._flush()

    def _wait(self, work: asyncio.Task[object]) -> None:
        self._busy = work
        if self._wire is not None:
            self._wire.pause()
        work.add_done_callback(self._go_on)

    def _go_on(self, work: asyncio.Task[object]) -> None:
        if work is not self._busy:
            return
        self._busy = None
        if not work.cancelled() and (error := work.exception()) is not None:
            self._logger().error("a login or a stanza failed", exc_info=error)
            self.close(StreamError(StreamCondition.INTERNAL_SERVER_ERROR))
        backlog, self._backlog = self._backlog, None
        if self._wire is not None:
            self._wire.resume()
        self._take(list(backlog) if backlog else [])

    def _flush(self) -> None:
        if self._stream is not None and self._wire is not None:
            data = self._stream.take()
            if data:
                self._wire.write(data)

    def _stanza(self, stanza: Stanza) -> object:
        session = self._session
        if session is None:
            return None
        claimed = stanza.from_
        if claimed is not None and claimed != session.jid and claimed != session.jid.bare:
            # RFC 6120 §8.1.2.1 and §4.9.3.9.
            self.close(StreamError(StreamCondition.INVALID_FROM, "this is not your address"))
            return None
        stanza.from_ = session.jid  # nobody else has seen this stanza yet
        verdict = self._door.router.submit(stanza, session)
        if session.sm is not None:
            self._handled(session, stanza, verdict)
        return verdict

    def _handled(self, session: ClientSession, stanza: Stanza, verdict: object) -> None:
        sm = session.sm
        if sm is None:
            return
        sm.handled = (sm.handled + 1) % management.MODULUS
        if isinstance(verdict, asyncio.Task):
            session.work = verdict
        elif session.work is not None:
            session.work = None
        if isinstance(stanza, Presence):
            session.changed()

    def _control(self, event: Event) -> object:
        if isinstance(event, BadAddress):
            self._bad_address(event)
        elif isinstance(event, Nonza):
            self._nonza(event)
        elif isinstance(event, events.UpgradeToTls):
            self._flush()
            if self._wire is not None and self._stream is not None:
                self._wire.start_tls(self._stream.policy.domain.domain)
        elif isinstance(event, events.CredentialsWanted):
            return start(self._credentials(event))
        elif isinstance(event, events.DeriveKey):
            return start(self._derive(event))
        elif isinstance(event, events.Authenticated):
            self._door.attempts.succeeded((event.account.text, self._source()))
            self._login = event.mechanism
        elif isinstance(event, events.AuthenticationFailed):
            self._refused(event)
        elif isinstance(event, events.BindWanted):
            return start(self._bind(event))
        elif isinstance(event, events.ResumeWanted):
            return start(self._resume(event))
        elif isinstance(event, events.RegisterWanted):
            return start(self._register(event.iq))
        elif isinstance(event, events.Closed):
            self._closed(event)
        return None

    # Elements that are no stanzas

    def _nonza(self, nonza: Nonza) -> None:
        session = self._session
        if session is None:
            return
        if nonza.ns == ns.SM:
            try:
                self._manage(nonza, session)
            except StreamError as error:
                self.close(error)
            return
        handle = self._door.hosts[session.jid.domain].registry.nonza(nonza.ns, nonza.name)
        if handle is None:
            self._unsupported(nonza)
        else:
            handle(session)

    def _manage(self, nonza: Nonza, session: ClientSession) -> None:
        """XEP-0198 §3 and §4.

        Raises:
            StreamError: the client broke a rule.
        """
        name = nonza.name
        if name == "enable":
            self._enable(nonza, session)
        elif name == "resume":
            # §5: only instead of a bind.
            self._fail_sm(StanzaError(Condition.UNEXPECTED_REQUEST))
        elif session.sm is None or name not in {"r", "a"}:
            self._unsupported(nonza)
        elif name == "r":
            session.count()
        else:
            session.acknowledged(management.read_a(nonza))

    def _enable(self, nonza: Nonza, session: ClientSession) -> None:
        if session.sm is not None:
            raise StreamError(StreamCondition.POLICY_VIOLATION, "stream management is on already")
        try:
            wanted = management.read_enable(nonza)
        except StanzaError as error:
            self._fail_sm(error)
            return
        session.say(self.enable(session, wanted))

    def enable(self, session: ClientSession, wanted: management.Enable) -> bytes:
        """Begin stream management; returns the `<enabled/>`, which has to be written next."""
        door = self._door
        most = door.resumptions.bounds.seconds
        resume = wanted.resume and most > 0 and not session.facts.temporary
        seconds = min(wanted.max or most, most) if resume else 0
        number = door.resumptions.next_number()
        name = door.token() if resume else ""
        session.manage(StreamManagement(number, name, seconds, durable=resume))
        door.resumptions.add(session)
        location = door.resumptions.location
        return management.enabled(
            name, resume=resume, max=seconds or None, location=location if resume else ""
        )

    def _fail_sm(self, error: StanzaError) -> None:
        self.write(management.failed(error.condition, text=error.text))

    def _unsupported(self, nonza: Nonza) -> None:
        text = f"<{nonza.name[:50]}/> is not understood here"
        self.close(StreamError(StreamCondition.UNSUPPORTED_STANZA_TYPE, text))

    def _bad_address(self, event: BadAddress) -> None:
        session = self._session
        if session is not None and session.sm is not None:
            self._handled(session, event.stanza, None)
        if event.attr == "from":
            self.close(StreamError(StreamCondition.INVALID_FROM, event.why))
        elif self._session is not None and event.stanza.type not in {"error", "result"}:
            stanza = event.stanza.replace(from_=self._session.jid)
            self._session.send(error_reply(stanza, StanzaError(Condition.JID_MALFORMED, event.why)))

    # Login

    async def _credentials(self, wanted: events.CredentialsWanted) -> None:
        stream = self._stream
        if stream is None:
            return
        seconds = self._door.blocked(wanted.account, self._source())
        if seconds > 0:
            text = f"too many failed logins: try again in {int(seconds) + 1} seconds"
            error = SaslError(SaslCondition.TEMPORARY_AUTH_FAILURE, text)
            self._answer(stream.refuse_login(error))
            return
        try:
            account = await self._door.stores.accounts.get(wanted.account.text)
        except StorageError as error:
            self._logger().error("storage failed at login", error=str(error))
            self._answer(stream.refuse_login(_try_later()))
            return
        found = Credentials(account.keys, account.disabled) if account is not None else None
        self._answer(stream.credentials(found))

    async def _derive(self, wanted: events.DeriveKey) -> None:
        stream = self._stream
        if stream is None:
            return
        try:
            key = await self._door.derive(
                wanted.password, wanted.hash, wanted.salt, wanted.iterations
            )
        except DeriveBusy:
            self._answer(stream.refuse_login(_try_later()))
            return
        self._answer(stream.derived(key))

    def _answer(self, found: list[Event]) -> None:
        """Take what follows from an answer once the question's own work is over."""
        if self._busy is None:
            self._take(found)
            return
        if self._backlog is None:
            self._backlog = deque()
        self._backlog.extend(found)
        self._flush()

    def _refused(self, event: events.AuthenticationFailed) -> None:
        if event.account is not None:
            if event.error.condition is SaslCondition.NOT_AUTHORIZED:
                self._door.failed(event.account, self._source())
            account = event.account.text
        else:
            account = ""
        self._logger().info(
            "login refused",
            account=account,
            mechanism=event.mechanism,
            condition=event.error.condition.value,
        )

    async def _register(self, iq: Iq) -> None:
        stream, wire = self._stream, self._wire
        if stream is None or wire is None:
            return
        answer = await self._door.register(stream, iq, wire)
        self._answer(stream.reply(answer))

    async def _bind(self, wanted: events.BindWanted) -> None:
        stream, wire, door = self._stream, self._wire, self._door
        if stream is None or wire is None:
            return
        try:
            jid = wanted.account.with_resource(wanted.resource or door.token())
        except InvalidJID as error:
            self._answer(stream.refuse_bind(StanzaError(Condition.BAD_REQUEST, str(error))))
            return
        old = door.sessions.find(jid)
        if old is not None:
            # RFC 6120 §7.7.2.2: whoever comes back after a broken connection gets the resource.
            await _settled(door.drop(old, StreamError(StreamCondition.CONFLICT)))
        elif len(door.sessions.of(wanted.account.text)) >= _SESSIONS:
            text = f"an account may have {_SESSIONS} sessions"
            self._answer(stream.refuse_bind(StanzaError(Condition.RESOURCE_CONSTRAINT, text)))
            return
        if self._wire is None or stream.closed or door.sessions.find(jid) is not None:
            return
        facts = SessionFacts(
            address=wire.peer.host,
            since=door.clock.now(),
            mechanism=wanted.mechanism,
            tls=wire.tls.version if wire.tls is not None else "",
            temporary=wanted.mechanism == anonymous.NAME,
        )
        host = door.hosts[jid.domain]
        self._session = ClientSession(jid, facts, host, door.resumptions, self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._logger().info("session started", mechanism=wanted.mechanism, tls=facts.tls)
        await _settled(host.bind(self._session))
        self._answer(stream.bound(jid))

    async def _resume(self, wanted: events.ResumeWanted) -> None:
        stream = self._stream
        if stream is None:
            return
        try:
            asked = management.read_resume(wanted.nonza)
            session = await self._door.resumptions.take(wanted.account, asked)
            if session.sm is not None:
                session.sm.resume(asked.h)
        except ResumeFailed as failed:
            data = management.failed(failed.error.condition, failed.handled, failed.error.text)
            self._answer(stream.resume_failed(data))
            return
        except StanzaError as error:
            self._answer(stream.resume_failed(management.failed(error.condition, text=error.text)))
            return
        except StreamError as error:  # XEP-0198 §6: more acknowledged than was sent
            self.close(error)
            return
        if self._wire is None or stream.closed or session.sm is None:
            session.since = self._door.resumptions.now()
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._session = session
        self._logger().info("session resumed", mechanism=wanted.mechanism)
        self._answer(stream.resumed(management.resumed(asked.previd, session.sm.handled)))
        session.attach(self)

    def _too_late(self) -> None:
        self._timer = None
        self.close(StreamError(StreamCondition.CONNECTION_TIMEOUT, "log in faster"))

    # The end

    def _closed(self, event: events.Closed) -> None:
        self._flush()
        if event.error is not None:
            log = self._logger()
            write = log.info if event.by_peer else log.debug
            write("stream closed", condition=event.error.condition.value, text=event.error.text)
        if self._session is not None:
            # Who closes the stream, or was told why it is closed, knows what has arrived.
            self._session.mark.clean = event.by_peer and event.error is None
        if self._wire is not None:
            self._wire.close()
        self._leave(None, broken=False)

    def _leave(self, error: Exception | None, *, broken: bool) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        session, self._session = self._session, None
        self._wire = None
        self._door.connections.discard(self)
        self._backlog = None
        if session is not None:
            log = _log.bind(jid=session.jid.text)
            if broken and session.sm is not None and session.sm.id:
                log.info("connection lost", **({"error": str(error)} if error else {}))
                session.away()
            else:
                log.info("session ended", **({"error": str(error)} if error else {}))
                session.end()

    def _source(self) -> str:
        return self._wire.peer.source if self._wire is not None else ""

    def _logger(self) -> structlog.stdlib.BoundLogger:
        bound: dict[str, str] = {}
        if self._wire is not None:
            bound["address"] = self._wire.peer.host
        if self._session is not None:
            bound["jid"] = self._session.jid.text
        logger: structlog.stdlib.BoundLogger = _log.bind(**bound)
        return logger


def _try_later() -> SaslError:
    return SaslError(SaslCondition.TEMPORARY_AUTH_FAILURE, "the server is busy: try again later")


async def _settled(work: Awaitable[None] | None) -> None:
    if work is not None:
        await work
