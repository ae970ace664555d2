"""Clients: one connection drives one stream, and after login one session."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

import structlog

from jabberd.edge.client_session import ClientSession
from jabberd.edge.door import ClientDoor, Entrance
from jabberd.edge.facts import channel_of
from jabberd.edge.login import ClientLogin
from jabberd.net.wire import Wire
from jabberd.xmpp import ns
from jabberd.xmpp import sm as management
from jabberd.xmpp.error import (
    Condition,
    StanzaError,
    StreamCondition,
    StreamError,
)
from jabberd.xmpp.frames import BadAddress, Nonza
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Stanza, error_reply
from jabberd.xmpp.stream import events
from jabberd.xmpp.stream.events import Event
from jabberd.xmpp.stream.policy import HostPolicy
from jabberd.xmpp.stream.receiving import ReceivingStream

_log: Final = structlog.get_logger("jabberd.c2s")


class ClientConnection:
    """One connection of a client (`net.wire.Machine`).

    Stanzas are taken one after the other: while the verdict of one is waited for, nothing more
    is read from this client, which keeps the order and pushes back on those who send too fast.
    """

    __slots__ = ("_backlog", "_busy", "_door", "_entrance", "_login", "_looking", "_session",
                 "_stream", "_timer", "_unread", "_wire")  # fmt: skip

    def __init__(self, door: ClientDoor, entrance: Entrance) -> None:
        self._door = door
        self._entrance = entrance
        self._wire: Wire | None = None
        self._stream: ReceivingStream | None = None
        self._session: ClientSession | None = None
        self._backlog: deque[Event] | None = None  # what waits for the stanza before it
        self._busy: asyncio.Task[object] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._looking = False  # whether what waits to leave will be looked at
        self._unread = False  # it was, and is too much
        self._login: ClientLogin | None = None  # while there is no session

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
        self._login = ClientLogin(door, wire, self._stream, self)
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

    # Used by the login

    def answer(self, found: list[Event]) -> None:
        """Take what follows from an answer to the stream, once the question's work is over."""
        if self._busy is None:
            self._take(found)
            return
        if self._backlog is None:
            self._backlog = deque()
        self._backlog.extend(found)
        self.flush()

    def begin(self, session: ClientSession) -> None:
        """Carry this session from now on."""
        self._session = session
        self._login = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # Used by the session

    @property
    def waiting(self) -> int:
        """Bytes that were written and have not left yet."""
        return self._wire.buffered if self._wire is not None else 0

    @property
    def takes(self) -> bool:
        """Whether `write` takes bytes."""
        return self._wire is not None and not self._unread

    def write(self, data: bytes) -> bool:
        """Write bytes of the stream; a client that does not read is disconnected."""
        wire = self._wire
        if wire is None or self._unread:
            return False
        wire.write(data)
        if wire.buffered > self._door.output_bytes and not self._looking:
            # Not before the system was offered what this turn of the loop has written.
            self._looking = True
            asyncio.get_running_loop().call_soon(self._look)
        return True

    def _look(self) -> None:
        self._looking = False
        wire = self._wire
        if wire is not None and wire.buffered > self._door.output_bytes:
            self._logger().warning("the client does not read: disconnecting it")
            self._unread = True
            wire.abort()

    def close(self, error: StreamError | None = None) -> None:
        """End the stream from our side, and the session with it."""
        if self._stream is None or self._stream.closed:
            return
        for event in self._stream.close(error):  # at once: whatever is under way is too late
            if isinstance(event, events.Closed):
                self._closed(event)

    def dismiss(self, account: JID, client: str, error: StreamError) -> None:
        """End the stream, if somebody logs in on it to this account (by this client, or any)."""
        if self._login is not None and self._login.is_of(account, client):
            self.close(error)

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
            self.flush()
            return
        for index, event in enumerate(found):
            if isinstance(event, Stanza):
                work = self._stanza(event)
            elif isinstance(event, Nonza):
                self._nonza(event)
                continue
            else:
                work = self._control(event)
            if isinstance(work, asyncio.Task):
                rest = found[index + 1 :]
                if rest:
                    self._backlog = deque(rest)
                self._wait(work)
                break
        self.flush()

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

    def flush(self) -> None:
        """Write what the stream has to say."""
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
        if session.expecting is not None:
            session.begin()
        verdict = self._door.router.submit(stanza, session)
        if session.sm is not None:
            self._handled(session, verdict)
        return verdict

    def _handled(self, session: ClientSession, verdict: object) -> None:
        sm = session.sm
        if sm is None:
            return
        sm.handled = (sm.handled + 1) % management.MODULUS
        if isinstance(verdict, asyncio.Task):
            session.work = verdict
        elif session.work is not None:
            session.work = None

    def _control(self, event: Event) -> object:
        if isinstance(event, BadAddress):
            self._bad_address(event)
        elif isinstance(event, events.UpgradeToTls):
            self.flush()
            if self._wire is not None and self._stream is not None:
                self._wire.start_tls(self._stream.policy.domain.domain)
        elif isinstance(event, events.Closed):
            self._closed(event)
        elif self._login is not None:
            return self._login.take(event)
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
            session.begin()  # only now: what was kept back is counted
            return
        session.begin()
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
        session.say(self._door.manage(session, wanted))

    def _fail_sm(self, error: StanzaError) -> None:
        self.write(management.failed(error.condition, text=error.text))

    def _unsupported(self, nonza: Nonza) -> None:
        text = f"<{nonza.name[:50]}/> is not understood here"
        self.close(StreamError(StreamCondition.UNSUPPORTED_STANZA_TYPE, text))

    def _bad_address(self, event: BadAddress) -> None:
        session = self._session
        if session is not None:
            session.begin()
            if session.sm is not None:
                self._handled(session, None)
        if event.attr == "from":
            self.close(StreamError(StreamCondition.INVALID_FROM, event.why))
        elif self._session is not None and event.stanza.type not in {"error", "result"}:
            stanza = event.stanza.replace(from_=self._session.jid)
            self._session.send(error_reply(stanza, StanzaError(Condition.JID_MALFORMED, event.why)))

    def _too_late(self) -> None:
        self._timer = None
        self.close(StreamError(StreamCondition.CONNECTION_TIMEOUT, "log in faster"))

    # The end

    def _closed(self, event: events.Closed) -> None:
        self.flush()
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
        self._wire = self._login = None
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

    def _logger(self) -> structlog.stdlib.BoundLogger:
        bound: dict[str, str] = {}
        if self._wire is not None:
            bound["address"] = self._wire.peer.host
        if self._session is not None:
            bound["jid"] = self._session.jid.text
        logger: structlog.stdlib.BoundLogger = _log.bind(**bound)
        return logger
