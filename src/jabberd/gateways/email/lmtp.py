"""Where mail comes in: LMTP (RFC 2033) from the MTA beside us, or SMTP from anybody.

aiosmtpd speaks both. How the mail itself is read is our own: one answer per recipient in LMTP also
where it is too large, enhanced status codes (RFC 3463), and a bound on what one line may hold.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import structlog
from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import SMTP, Session
from aiosmtpd.smtp import Envelope as Envelope_

from jabberd.gateways.email.refused import Refused

_log: Final = structlog.get_logger("jabberd.gateway.email")
_LINE: Final = 65_536
_STEP: Final = 1_048_576
_RECIPIENTS: Final = 100
_MAILS: Final = 10
"""So many of the largest size may come at once."""
_SILENCE: Final = 120.0
_DELIVERY: Final = 240.0
_STOP: Final = 5.0
_PASSING: Final = "451 4.3.0 Try again later"
_BUSY: Final = "452 4.3.1 Too much mail at once, try again later"
_TOO_LARGE: Final = "552 5.3.4 The mail is too large"


@dataclass(frozen=True, slots=True)
class Delivery:
    """A mail for one of our addresses.

    Attributes:
        sender: from the envelope; empty for a bounce.
        to: the address as the envelope has it.
        data: the mail.
    """

    sender: str
    to: str
    data: bytes


class Receiver(Protocol):
    """Whom mail is for."""

    def admit(self, sender: str, to: str) -> None:
        """Look at a recipient before there is a mail.

        Raises:
            Refused: nothing is taken for it.
        """

    async def take(self, delivery: Delivery) -> None:
        """Take a mail; it is safe when this returns.

        Raises:
            Refused: it was not taken.
        """


class _Hooks:
    """What aiosmtpd asks."""

    def __init__(self, receiver: Receiver, recipients: int) -> None:
        self._receiver = receiver
        self._recipients = recipients

    async def handle_EHLO(  # noqa: N802 -- aiosmtpd's name
        self,
        _server: SMTP,
        session: Session,
        _envelope: Envelope_,
        hostname: str,
        responses: list[str],
    ) -> list[str]:
        session.host_name = hostname
        return [line for line in responses if not line.startswith("250-AUTH")]

    async def handle_RCPT(  # noqa: N802 -- aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope_, address: str, _options: object
    ) -> str:
        if len(envelope.rcpt_tos) >= self._recipients:
            return "452 4.5.3 Too many recipients at once"
        try:
            self._receiver.admit(_sender(envelope), address)
        except Refused as refused:
            return str(refused)
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_exception(self, error: Exception) -> str:
        _log.error("an error while mail came in", exc_info=error)
        return _PASSING

    async def deliver(self, envelope: Envelope_, to: str, data: bytes) -> str:
        try:
            async with asyncio.timeout(_DELIVERY):
                await self._receiver.take(Delivery(_sender(envelope), to, data))
        except Refused as refused:
            return str(refused)
        except TimeoutError:
            return _PASSING
        except Exception:
            _log.exception("a mail could not be taken")
            return _PASSING
        return "250 2.0.0 OK"


class _Mail(SMTP):
    """How the mail itself is read and answered."""

    line_length_limit = _LINE
    each = False
    """One answer for each recipient, as LMTP has it (RFC 2033 §4.2)."""

    def __init__(self, door: Door, hooks: _Hooks, **settings: Any) -> None:
        super().__init__(hooks, **settings)
        self._door = door
        self._hooks = hooks
        self._held = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._door.opened(self, transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._door.closed(self)
        super().connection_lost(error)

    async def smtp_DATA(self, arg: str | None) -> None:  # noqa: N802 -- aiosmtpd's name
        """DATA (RFC 5321 §4.1.1.4)."""
        envelope = self.envelope
        if envelope is None or not envelope.rcpt_tos:
            await self.push("503 5.5.1 There is no recipient")
            return
        if arg:
            await self.push("501 5.5.4 DATA has no parameter")
            return
        await self.push("354 End with a line that has only a dot")
        try:
            mail = await self._read()
            answers: list[str] = []
            for to in envelope.rcpt_tos:
                self._reset_timeout(_DELIVERY + _SILENCE)
                if isinstance(mail, str):
                    answers.append(mail)
                else:
                    answers.append(await self._hooks.deliver(envelope, to, mail))
        finally:
            self._door.bytes_held -= self._held
            self._held = 0
        self.envelope = self._create_envelope()
        await self.push("\r\n".join(answers if self.each else answers[:1]))

    async def _read(self) -> bytes | str:
        """The mail, or why it is not taken. Only CRLF ends a line, so that nothing is smuggled."""
        limit = self.data_size_limit or 0
        mail = bytearray()
        size = step = 0
        whole = True
        while True:
            try:
                line = await self._reader.readuntil(b"\r\n")
            except asyncio.LimitOverrunError as error:
                line, begins, whole = await self._reader.read(error.consumed), whole, False
            else:
                begins, whole = whole, True
            if begins and line == b".\r\n":
                if size > limit:
                    return _TOO_LARGE
                return bytes(mail) if self._held >= size else _BUSY
            size += len(line)
            if size <= limit and self._hold(len(line)):
                mail += line[1:] if begins and line.startswith(b".") else line
            elif size > 4 * limit:
                self._writer.transport.abort()
                await asyncio.sleep(_SILENCE)  # that the connection is lost ends this
            else:
                mail.clear()
            if size - step > _STEP:
                step = size
                self._reset_timeout()

    def _hold(self, size: int) -> bool:
        """Whether there is room for so much more, beside what others send just now."""
        if self._door.bytes_held + size > self._door.bytes_most:
            return False
        self._door.bytes_held += size
        self._held += size
        return True


class _Lmtp(_Mail, LMTP):
    each = True


class Door:
    """The listeners.

    Args:
        receiver: whom mail is for.
        hostname: what we call ourselves.
        mail_longest: bytes of a mail.
        connections: at once, over all listeners.
        context: for STARTTLS; None: it is not offered.
    """

    def __init__(
        self,
        receiver: Receiver,
        hostname: str,
        *,
        mail_longest: int,
        connections: int = 50,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._receiver = receiver
        self._hostname = hostname
        self._longest = mail_longest
        self._most = connections
        self._context = context
        self.bytes_most = _MAILS * mail_longest
        """Of all mails that are being read or handed on."""
        self.bytes_held = 0
        """So many they are now."""
        self._servers: list[asyncio.Server] = []
        self._sockets: list[Path] = []
        self._open: dict[_Mail, asyncio.BaseTransport] = {}

    async def listen(self, address: str, *, lmtp: bool) -> str:
        """Listen on "host:port", or on a Unix socket by its path; returns where that is.

        Raises:
            OSError: it cannot be listened on.
        """
        # What aiosmtpd logs has addresses of people in it, and more.
        logging.getLogger("mail.log").setLevel(logging.CRITICAL)
        loop = asyncio.get_running_loop()

        def make() -> asyncio.Protocol:
            return self._protocol(lmtp=lmtp)

        if "/" in address:
            path = Path(address)
            _remove(path)
            self._servers.append(await loop.create_unix_server(make, address))
            self._sockets.append(path)
            _open_to_all(path)
            return address
        host, _, port = address.rpartition(":")
        server = await loop.create_server(make, host.strip("[]"), int(port))
        self._servers.append(server)
        name = server.sockets[0].getsockname()
        return f"{host}:{name[1]}"

    async def close(self) -> None:
        """Listen no more, and end what is open; what was not answered yet comes again."""
        for server in self._servers:
            server.close()
        for transport in list(self._open.values()):
            transport.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP):
                for server in self._servers:
                    await server.wait_closed()
        self._servers.clear()
        for path in self._sockets:
            _remove(path)
        self._sockets.clear()

    def opened(self, mail: _Mail, transport: asyncio.BaseTransport) -> None:
        """A connection began, or went on encrypted."""
        self._open[mail] = transport
        if len(self._open) > self._most:
            _write(transport, b"421 4.3.2 Too many connections, try again later\r\n")
            transport.close()

    def closed(self, mail: _Mail) -> None:
        """A connection ended."""
        self._open.pop(mail, None)

    def _protocol(self, *, lmtp: bool) -> _Mail:
        hooks = _Hooks(self._receiver, _RECIPIENTS if lmtp else 1)
        make = _Lmtp if lmtp else _Mail
        return make(
            self, hooks, hostname=self._hostname, ident="mail for Jabber users",
            data_size_limit=self._longest, enable_SMTPUTF8=True, timeout=_SILENCE,
            tls_context=None if lmtp else self._context, command_call_limit=1_000,
            auth_exclude_mechanism=("LOGIN", "PLAIN"), loop=asyncio.get_running_loop(),
        )  # fmt: skip


def _remove(path: Path) -> None:
    if path.is_socket():
        path.unlink(missing_ok=True)


def _open_to_all(path: Path) -> None:
    # The mail server runs as somebody else; the folder says who may come.
    path.chmod(0o666)


def _write(transport: asyncio.BaseTransport, data: bytes) -> None:
    if isinstance(transport, asyncio.WriteTransport):
        transport.write(data)


def _sender(envelope: Envelope_) -> str:
    sender = envelope.mail_from or ""
    return "" if sender == "<>" else sender
