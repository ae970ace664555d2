"""What session a client gets that has logged in: a new one, or the one that it had."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol, cast

import structlog

from jabberd.core.host import LocalHost
from jabberd.core.ports import ArchiveRules, CarbonsApi, CsiApi
from jabberd.core.session import CLIENT_ID, READS_ARCHIVE, Session, SessionFacts
from jabberd.edge.carrier import Carrier
from jabberd.edge.client_session import ClientSession
from jabberd.edge.door import ClientDoor
from jabberd.edge.resumption import ResumeFailed
from jabberd.net.wire import Wire
from jabberd.storage.api import StorageError
from jabberd.xmpp import ns, sm
from jabberd.xmpp.element import Element
from jabberd.xmpp.error import (
    Condition,
    SaslCondition,
    SaslError,
    StanzaError,
    StreamCondition,
    StreamError,
)
from jabberd.xmpp.jid import JID, InvalidJID
from jabberd.xmpp.payload import mam
from jabberd.xmpp.sasl import anonymous
from jabberd.xmpp.stream.authenticate import BindRequest
from jabberd.xmpp.stream.events import BindWanted, Event, InlineResult, InlineWanted, ResumeWanted
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


class _Failed(Exception):  # noqa: N818 -- what the client is told
    """No session is resumed; `data` is the `<failed/>`."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.data = data


class Arrival:
    """Gives a client its session.

    Args:
        door: what connections share.
        wire: of the connection.
        stream: that the client logs in on.
        owner: the connection.
    """

    __slots__ = ("_client", "_door", "_owner", "_stream", "_wire")

    def __init__(self, door: ClientDoor, wire: Wire, stream: ReceivingStream, owner: Owner) -> None:
        self._door = door
        self._wire = wire
        self._stream = stream
        self._owner = owner
        self._client = ""  # id of the installation, where it has told it

    def answer(self, say: Callable[[], list[Event]]) -> None:
        """Answer the stream's question, unless there is nobody any more who asked."""
        if not self._gone():
            self._owner.answer(say())

    def _gone(self) -> bool:
        return self._stream.closed

    # As RFC 6120 §7 and XEP-0198 §5 have it

    async def bind(self, wanted: BindWanted) -> None:
        """Answer `BindWanted`."""
        stream = self._stream
        try:
            jid = wanted.account.with_resource(wanted.resource or self._door.token())
            session = await self._open(jid, wanted.mechanism, lambda other: other.jid == jid)
        except (InvalidJID, StanzaError) as problem:
            error = _bad_request(problem) if isinstance(problem, InvalidJID) else problem
            self.answer(lambda: stream.refuse_bind(error))
            return
        if session is not None:
            self._enter(session, stream.bound(jid))

    async def resume(self, wanted: ResumeWanted) -> None:
        """Answer `ResumeWanted`."""
        stream = self._stream
        try:
            session, data = await self._take_back(wanted.account, wanted.nonza)
        except _Failed as failed:
            data = failed.data
            self.answer(lambda: stream.resume_failed(data))
        except StreamError as error:
            self._owner.close(error)
        else:
            self._go_on(session, wanted.mechanism, lambda: stream.resumed(data))

    # As XEP-0386 and XEP-0198 §9 have it

    async def inline(self, wanted: InlineWanted, token: bytes) -> None:
        """Answer `InlineWanted`: resume a session, or else bind a resource (XEP-0386 §3.2).

        Args:
            wanted: what was asked for.
            token: `<token/>`; empty where the client gets none.
        """
        stream = self._stream
        self._client = wanted.client.id if wanted.client is not None else ""
        failed = b""
        if wanted.resume is not None:
            try:
                session, resumed = await self._take_back(wanted.account, wanted.resume)
            except _Failed as failure:
                failed = failure.data
            except StreamError as error:
                self._owner.close(error)
                return
            else:
                result = InlineResult(session.jid, resumed, token=token)
                self._go_on(session, wanted.mechanism, lambda: stream.inlined(result))
                return
        if wanted.bind is not None:
            await self._bind2(wanted, wanted.bind, failed, token)
        else:
            self.answer(lambda: stream.inlined(InlineResult(failed=failed, token=token)))

    async def _bind2(
        self, wanted: InlineWanted, bind: BindRequest, failed: bytes, token: bytes
    ) -> None:
        stream, door, account, client = self._stream, self._door, wanted.account, self._client
        unique = door.clients.resource(account, client) if client else door.token()
        jid = account.with_resource(bind.resource(unique))

        def replaced(other: Session) -> bool:
            # XEP-0386 §3.2: earlier sessions of the same client end.
            return other.jid == jid or bool(client and other.get(CLIENT_ID) == client)

        try:
            session = await self._open(jid, wanted.mechanism, replaced)
        except StanzaError as error:
            refused = SaslError(SaslCondition.TEMPORARY_AUTH_FAILURE, error.text)
            self.answer(lambda: stream.refuse_login(refused))
            return
        if session is None:
            return
        host = door.hosts[jid.domain]
        archive = await self._archive(host, session)
        if self._gone():
            return
        bound = archive + self._enable(host, session, bind.features)
        result = InlineResult(jid, failed=failed, bound=bound, token=token)
        self._enter(session, stream.inlined(result))

    async def _archive(self, host: LocalHost, session: Session) -> bytes:
        """The state of the archive now that the session is there; empty where there is none."""
        if ArchiveRules not in host.registry.ports:
            return b""
        # It fetches from there what came before: that is not sent to it as well.
        session.set(READS_ARCHIVE, True)
        try:
            await host.keeper.settled()
            found = await host.stores.log.bounds(session.jid.bare_text)
        except StorageError as error:
            self._logger(session.jid).error("storage failed at login", error=str(error))
            return b""
        if found is None:
            return mam.metadata(None).to_bytes()
        first, last = (mam.End(host.keeper.id_of(entry.key), entry.at) for entry in found)
        return mam.metadata((first, last)).to_bytes()

    def _enable(
        self, host: LocalHost, session: ClientSession, features: Sequence[Element]
    ) -> bytes:
        """Begin with these features; returns what there is to say to that."""
        ports = host.registry.ports
        wanted = {(element.ns, element.name): element for element in reversed(features)}
        said = b""
        if (enable := wanted.get((ns.SM, "enable"))) is not None:
            try:
                said = self._door.manage(session, sm.read_enable(enable))
            except StanzaError as error:
                said = sm.failed(error.condition, text=error.text)
        carbons, csi = ports.get(CarbonsApi), ports.get(CsiApi)
        if (ns.CARBONS, "enable") in wanted and carbons is not None:
            cast("CarbonsApi", carbons).enable(session)
        if (ns.CSI, "inactive") in wanted and csi is not None:
            cast("CsiApi", csi).set_active(session, active=False)
        return said

    # A new session

    async def _open(
        self, jid: JID, mechanism: str, replaces: Callable[[Session], bool]
    ) -> ClientSession | None:
        """Begin a session, which writes nothing yet; None where the client is gone by then.

        Raises:
            StanzaError: the account has too many.
        """
        door, wire = self._door, self._wire
        owner, replaced = jid.bare_text, False
        while (old := next(filter(replaces, door.sessions.of(owner)), None)) is not None:
            # RFC 6120 §7.7.2.2: whoever comes back after a broken connection gets the resource.
            replaced = True
            await _settled(door.drop(old, StreamError(StreamCondition.CONFLICT)))
        if not replaced and len(door.sessions.of(owner)) >= _SESSIONS:
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
        if self._client:
            session.set(CLIENT_ID, self._client)
        session.hold()  # nothing goes before the word that there is a session
        self._owner.begin(session)
        self._logger(jid).info("session started", mechanism=mechanism, tls=facts.tls)
        await _settled(host.bind(session))
        return None if self._gone() else session

    def _enter(self, session: ClientSession, found: list[Event]) -> None:
        """The stream has told the client of its session: let stanzas go, and come."""
        self._owner.flush()
        session.expect()
        self._owner.answer(found)

    # A session that goes on

    async def _take_back(self, account: JID, tag: sm.Tag) -> tuple[ClientSession, bytes]:
        """The session that a `<resume/>` names, and the `<resumed/>`.

        Raises:
            _Failed: there is none.
            StreamError: more was acknowledged than was sent (XEP-0198 §6).
        """
        try:
            asked = sm.read_resume(tag)
            session = await self._door.resumptions.take(account, asked)
        except ResumeFailed as failed:
            error = failed.error
            raise _Failed(sm.failed(error.condition, failed.handled, error.text)) from None
        except StanzaError as error:
            raise _Failed(sm.failed(error.condition, text=error.text)) from None
        if session.sm is None:
            raise _Failed(sm.failed(Condition.ITEM_NOT_FOUND))
        return session, sm.resumed(asked.previd, session.sm.handled)

    def _go_on(
        self, session: ClientSession, mechanism: str, say: Callable[[], list[Event]]
    ) -> None:
        if self._gone():
            session.since = self._door.resumptions.now()
            return
        if self._client:
            session.set(CLIENT_ID, self._client)
        self._owner.begin(session)
        self._logger(session.jid).info("session resumed", mechanism=mechanism)
        found = say()
        self._owner.flush()
        session.attach(self._owner)
        self._owner.answer(found)

    def _logger(self, jid: JID) -> structlog.stdlib.BoundLogger:
        logger: structlog.stdlib.BoundLogger = _log.bind(address=self._wire.peer.host, jid=jid.text)
        return logger


def _bad_request(error: InvalidJID) -> StanzaError:
    return StanzaError(Condition.BAD_REQUEST, str(error))


async def _settled(work: Awaitable[None] | None) -> None:
    if work is not None:
        await work
