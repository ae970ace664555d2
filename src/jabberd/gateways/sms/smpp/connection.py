"""One SMPP connection: a socket, and the session behind it."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import structlog

from jabberd.gateways.sms.smpp import session as smpp
from jabberd.gateways.sms.smpp.bodies import Bind, Message
from jabberd.gateways.sms.smpp.pdu import Pdu
from jabberd.gateways.sms.smpp.session import Mode, Session, State, Timers
from jabberd.gateways.sms.smpp.status import Status, explain

_log: Final = structlog.get_logger("jabberd.sms")
_CONNECT_SECONDS: Final = 20.0
_WRITE_SECONDS: Final = 30.0
_READ_BYTES: Final = 65_536
_MOST_COMING: Final = 100
"""Messages that came and are not answered yet; those beyond are to come again later."""


class Inlet(Protocol):
    """Takes what comes."""

    async def came(self, pdu: Pdu) -> int:
        """A message came; returns the status to answer with."""

    def missed(self, pdu: Pdu) -> None:
        """It was taken, but the SMSC does not know that: the connection was gone by then."""


class SmppError(Exception):
    """Something did not work; the message says what."""


class BindRefused(SmppError):  # noqa: N818 -- what became of it, read as such
    """The SMSC did not let us in.

    Args:
        status: its answer.
        text: in words.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Rejected(SmppError):  # noqa: N818 -- what became of it, read as such
    """The SMSC did not take a message.

    Args:
        status: its answer.
        text: in words.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class NoAnswer(SmppError):  # noqa: N818 -- what became of it, read as such
    """A message was sent, and nobody knows whether it was taken."""


class NoRoom(SmppError):  # noqa: N818 -- what became of it, read as such
    """A message was not sent: not bound, or too many wait for an answer."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect to, and as whom.

    Attributes:
        host: of the SMSC.
        port: of the SMSC.
        bind: what is shown to it.
        tls: how; None for plain text.
        window: messages that may be without an answer.
        timers: see there.
    """

    host: str
    port: int
    bind: Bind = field(repr=False)
    tls: ssl.SSLContext | None = None
    window: int = 10
    timers: Timers = field(default_factory=Timers)


class Connection:
    """A connection that is bound; `open` makes one.

    Args:
        session: its state.
        reader: from the SMSC.
        writer: to the SMSC.
        inlet: see there.
    """

    def __init__(
        self,
        session: Session,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        inlet: Inlet,
    ) -> None:
        self._session = session
        self._reader = reader
        self._writer = writer
        self._inlet = inlet
        self._loop = asyncio.get_running_loop()
        self._bound: asyncio.Future[None] = self._loop.create_future()
        self._ended: asyncio.Future[str] = self._loop.create_future()
        self._answers: dict[int, asyncio.Future[str]] = {}
        self._coming: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._room = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    @classmethod
    async def open(cls, target: Target, mode: Mode, inlet: Inlet) -> Connection:
        """Connect and bind.

        Raises:
            BindRefused: the SMSC does not let us in.
            SmppError: it cannot be reached, or does not answer.
        """
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                reader, writer = await asyncio.open_connection(
                    target.host, target.port, ssl=target.tls
                )
        except (OSError, TimeoutError) as error:
            why = str(error) or "it does not answer"
            raise SmppError(f"cannot connect to {target.host} port {target.port}: {why}") from None
        now = asyncio.get_running_loop().time()
        session = Session(mode, target.bind, now, target.window, target.timers)
        connection = cls(session, reader, writer, inlet)
        try:
            await connection._bound
        except BaseException:
            await connection.close()
            raise
        return connection

    async def wait_ended(self) -> str:
        """Wait until it has ended; returns why."""
        why: str = await asyncio.shield(self._ended)
        return why

    async def wait_room(self) -> None:
        """Wait until `submit` may be called.

        Raises:
            NoRoom: the connection has ended.
        """
        while not self._has_room:
            if self._ended.done():
                raise NoRoom(self._ended.result())
            self._room.clear()
            await self._room.wait()

    async def submit(self, message: Message, tlvs: tuple[tuple[int, bytes], ...] = ()) -> str:
        """Send a message; returns what the SMSC calls it.

        Raises:
            Rejected: it did not take it.
            NoAnswer: nobody knows.
            NoRoom: it was not sent.
            FieldError: it does not fit SMPP.
        """
        if not self._has_room:
            raise NoRoom("the SMSC is busy")
        sequence = self._session.submit(message, self._loop.time(), tlvs)
        answer: asyncio.Future[str] = self._loop.create_future()
        self._answers[sequence] = answer
        self._flush()
        try:
            return await answer
        finally:
            self._answers.pop(sequence, None)

    async def close(self) -> None:
        """Take leave and hang up; what was sent may still be answered meanwhile."""
        waiting: list[asyncio.Future[Any]] = [*self._answers.values(), *self._coming]
        if waiting and not self._ended.done():
            await asyncio.wait(waiting, timeout=self._session.timers.unbind)
        self._session.unbind(self._loop.time())
        self._flush()
        if not self._ended.done() and self._session.state is State.UNBINDING:
            await asyncio.wait({self._ended}, timeout=self._session.timers.unbind + 1)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    # Inside

    @property
    def _has_room(self) -> bool:
        return not self._ended.done() and self._session.room

    async def _run(self) -> None:
        why = "the connection broke"
        try:
            self._flush()
            while not self._ended.done():
                async with asyncio.timeout(_WRITE_SECONDS):
                    await self._writer.drain()
                data = await self._reader.read(_READ_BYTES)
                if not data:
                    why = "the SMSC closed the connection"
                    break
                self._take(self._session.receive(data, self._loop.time()))
        except TimeoutError:
            why = "the SMSC does not read"
        except OSError as error:
            why = f"the connection broke: {error}"
        finally:
            self._finish(why)
            await self._hang_up()

    async def _hang_up(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(self._session.timers.unbind):
                await self._writer.wait_closed()
        self._writer.transport.abort()

    def _flush(self) -> None:
        """Write what the session has to say, and set the clock for it."""
        data = self._session.take()
        if data and not self._writer.is_closing():
            self._writer.write(data)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        at = self._session.deadline()
        if at is not None and not self._ended.done():
            self._timer = self._loop.call_at(at, self._tick)

    def _tick(self) -> None:
        self._take(self._session.tick(self._loop.time()))

    def _take(self, events: list[smpp.Event]) -> None:
        for event in events:
            self._event(event)
        self._flush()
        self._room.set()
        if any(isinstance(event, smpp.Ended) for event in events):
            self._writer.close()  # what was written goes out first

    def _event(self, event: smpp.Event) -> None:
        match event:
            case smpp.Bound():
                if not self._bound.done():
                    self._bound.set_result(None)
            case smpp.BindRefused(status):
                refused = BindRefused(status, explain(status))
                if not self._bound.done():
                    self._bound.set_exception(refused)
            case smpp.Answered(sequence, status, name):
                self._answered(sequence, status, name)
            case smpp.Unanswered(sequence):
                self._settle(sequence, NoAnswer("the SMSC did not answer in time"))
            case smpp.Came(pdu):
                self._comes(pdu)
            case smpp.Ended(why):
                self._finish(why)

    def _answered(self, sequence: int, status: int, name: str) -> None:
        if status:
            self._settle(sequence, Rejected(status, explain(status)))
        elif (answer := self._answers.get(sequence)) is not None and not answer.done():
            answer.set_result(name)

    def _settle(self, sequence: int, error: SmppError) -> None:
        answer = self._answers.get(sequence)
        if answer is not None and not answer.done():
            answer.set_exception(error)

    def _finish(self, why: str) -> None:
        if not self._bound.done():
            self._bound.set_exception(SmppError(why))
        if not self._ended.done():
            self._ended.set_result(why)
        for sequence in list(self._answers):
            self._settle(sequence, NoAnswer(why))
        self._room.set()

    def _comes(self, pdu: Pdu) -> None:
        if len(self._coming) >= _MOST_COMING:
            self._session.answer(pdu, Status.TEMPORARY)
            return
        task = asyncio.create_task(self._handle(pdu))
        self._coming.add(task)
        task.add_done_callback(self._coming.discard)

    async def _handle(self, pdu: Pdu) -> None:
        try:
            status = await self._inlet.came(pdu)
        except Exception as error:
            _log.error("a message that came could not be handled", exc_info=error)
            status = Status.SYSTEM_ERROR
        if not self._ended.done() and self._session.answer(pdu, status):
            self._flush()
        elif not status:
            self._inlet.missed(pdu)
