"""One connection to an IMAP server: greeting, TLS, login, commands (RFC 3501), IDLE (RFC 2177).

An idle mailbox is one socket and one task that sleeps, so that there may be thousands.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import secrets
import ssl
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import Final

from jabberd.gateways.email.imap_wire import (
    Continue,
    Data,
    Literal,
    Malformed,
    Reader,
    Response,
    Status,
    chunks,
    string,
)
from jabberd.gateways.email.reach import Place, Unreachable

PATIENCE: Final = 60.0
"""Seconds that a command may take."""
_POLL: Final = 60.0
_CLOSE: Final = 2.0
_HIGH: Final = 262_144
_ANSWERS: Final = 100_000
_NOT_THE_PASSWORD: Final = frozenset({"UNAVAILABLE", "INUSE", "LIMIT", "SERVERBUG", "CONTACTADMIN"})
"""Codes of a refused login that say nothing against the password (RFC 5530 §3)."""


class ImapLost(Exception):  # noqa: N818 -- what became of it, read as such
    """The server is out of reach, broke the connection, or does not answer; says why."""


class ImapRefused(Exception):  # noqa: N818 -- what became of it, read as such
    """The server answers NO or BAD.

    Args:
        text: the server's words.
        code: the response code; may be empty.
    """

    def __init__(self, text: str, code: str = "") -> None:
        super().__init__(text)
        self.code = code.partition(" ")[0].upper()

    @property
    def passing(self) -> bool:
        """A login was refused for the moment, whatever the password."""
        return self.code in _NOT_THE_PASSWORD


class _Wire(asyncio.Protocol):
    """Bytes that came, in order, with a bound on those nobody has read."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.ended = asyncio.Event()
        self._arrived = bytearray()
        self._waiter: asyncio.Future[None] | None = None
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._arrived += data
        if len(self._arrived) > _HIGH and self.transport is not None and not self._paused:
            self._paused = True
            self.transport.pause_reading()
        self._wake()

    def connection_lost(self, _error: Exception | None) -> None:
        self.ended.set()
        self._wake()

    @property
    def empty(self) -> bool:
        return not self._arrived

    async def read(self) -> bytes:
        """What came; empty: the end."""
        while not self._arrived and not self.ended.is_set():
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        data = bytes(self._arrived)
        self._arrived.clear()
        if self._paused and self.transport is not None and not self.ended.is_set():
            self._paused = False
            self.transport.resume_reading()
        return data

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Connection:
    """A connection; made by `connect`. One command at a time."""

    def __init__(self, wire: _Wire, mail_longest: int) -> None:
        self._wire = wire
        self._reader = Reader(mail_longest + 65_536)
        self._waiting: deque[Response] = deque()
        self.news = False
        """Mail has come; whoever looks for it sets this back before."""
        self.capabilities: frozenset[str] = frozenset()

    # Logging in

    async def greeted(self) -> None:
        """Read the greeting.

        Raises:
            ImapLost: there is none, or it is no good.
        """
        async with _deadline(PATIENCE):
            answer = await self._next()
        if not isinstance(answer, Status) or answer.kind not in {"OK", "PREAUTH"}:
            why = answer.text if isinstance(answer, Status) else "it does not speak IMAP"
            raise ImapLost(f"the mail server does not want us: {why}")
        self._learn(answer)

    async def starttls(self, context: ssl.SSLContext, host: str) -> None:
        """Go on encrypted (§6.2.1).

        Raises:
            ImapLost: it does not work; nothing may be sent.
            ImapRefused: the server has no TLS.
        """
        await self.command(b"STARTTLS")
        transport = self._wire.transport
        if not (self._wire.empty and self._reader.empty and not self._waiting):
            raise ImapLost("the mail server said something between STARTTLS and TLS")
        if transport is None:
            raise ImapLost("the mail server closed the connection")
        loop = asyncio.get_running_loop()
        try:
            upgraded = await loop.start_tls(
                transport,
                self._wire,
                context,
                server_hostname=host,
                ssl_handshake_timeout=PATIENCE,
            )
        except (OSError, ssl.SSLError) as error:
            raise ImapLost(f"no TLS with the mail server: {error}") from None
        if upgraded is None:
            raise ImapLost("the mail server closed the connection")
        self._wire.transport = upgraded
        self.capabilities = frozenset()

    async def login(self, user: str, password: str) -> None:
        """Log in, by AUTHENTICATE PLAIN (RFC 4616) where the server has it.

        Raises:
            ImapRefused: it does not let the user in.
            ImapLost: see there.
        """
        await self._ask_capabilities()
        if "AUTH=PLAIN" in self.capabilities:
            secret = base64.b64encode(f"\0{user}\0{password}".encode())
            if "SASL-IR" in self.capabilities:
                await self.command(b"AUTHENTICATE PLAIN", secret)
            else:
                await self._run([b"AUTHENTICATE PLAIN\r\n", secret + b"\r\n"], _tag())
        else:
            await self.command(b"LOGIN", string(user), string(password))
        await self.command(b"CAPABILITY")

    async def _ask_capabilities(self) -> None:
        if not self.capabilities:
            await self.command(b"CAPABILITY")

    # Mail
    # Waiting

    async def idle(self, seconds: float, poll: float = _POLL) -> None:
        """Wait until there is news, or for this long.

        Args:
            seconds: how long.
            poll: where the server has no IDLE, it is asked so often.

        Raises:
            ImapLost: the connection broke meanwhile.
            ImapRefused: the server does not do it.
        """
        if "IDLE" not in self.capabilities:
            await self._poll(seconds, poll)
            return
        tag = _tag()
        await self._write(chunks(tag, [b"IDLE"])[0])
        async with _deadline(PATIENCE):
            await self._continued(tag, [])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self.news:
                    await self._next()
        await self._write(b"DONE\r\n")
        async with _deadline(PATIENCE):
            await self._ended(tag, [])

    async def _poll(self, seconds: float, poll: float) -> None:
        while not self.news and seconds > 0:
            await asyncio.sleep(min(seconds, poll))
            seconds -= poll
            await self.command(b"NOOP")

    # Ending
    async def logout(self) -> None:
        """Say good bye, and close; never fails."""
        with contextlib.suppress(ImapLost, ImapRefused, TimeoutError):
            await self.command(b"LOGOUT", patience=_CLOSE)
            async with asyncio.timeout(_CLOSE):
                await self._wire.ended.wait()  # the server ends it (§6.1.3)
        await self.close()

    async def close(self) -> None:
        """End the connection at once."""
        if self._wire.transport is not None:
            self._wire.transport.abort()
            await asyncio.sleep(0)  # so that it is closed when this returns

    # Inside

    async def command(
        self, *parts: bytes | Literal, patience: float = PATIENCE
    ) -> list[Status | Data]:
        """Send a command; returns what was answered before its end.

        Raises:
            ImapRefused: it ends with NO or BAD.
            ImapLost: it does not end.
        """
        tag = _tag()
        at_once = 4096 if self.capabilities & {"LITERAL+", "LITERAL-"} else 0
        lines = chunks(tag, parts, at_once=at_once)
        return await self._send(lines, tag, patience)

    async def _run(self, lines: Sequence[bytes], tag: str) -> list[Status | Data]:
        first, *rest = lines
        return await self._send([tag.encode() + b" " + first, *rest], tag, PATIENCE)

    async def _send(self, lines: Sequence[bytes], tag: str, patience: float) -> list[Status | Data]:
        answers: list[Status | Data] = []
        async with _deadline(patience):
            for number, line in enumerate(lines):
                if number:
                    await self._continued(tag, answers)
                await self._write(line)
            await self._ended(tag, answers)
        return answers

    async def _continued(self, tag: str, answers: list[Status | Data]) -> None:
        while True:
            answer = await self._next()
            if isinstance(answer, Continue):
                return
            self._keep(answer, tag, answers)

    async def _ended(self, tag: str, answers: list[Status | Data]) -> None:
        while True:
            answer = await self._next()
            if isinstance(answer, Continue):
                # To an AUTHENTICATE that the server goes on with: "*" ends it (§6.2.2).
                await self._write(b"*\r\n")
            elif self._keep(answer, tag, answers):
                return

    def _keep(self, answer: Status | Data, tag: str, answers: list[Status | Data]) -> bool:
        self._learn(answer)
        if isinstance(answer, Status) and answer.tag == tag:
            if answer.kind != "OK":
                raise ImapRefused(answer.text or answer.kind, answer.code)
            return True
        if len(answers) >= _ANSWERS:
            raise ImapLost("the mail server says more than it was asked")
        answers.append(answer)
        return False

    def _learn(self, answer: Response) -> None:
        words: Sequence[object] = ()
        if isinstance(answer, Data) and answer.items[:1]:
            words = answer.items
        elif isinstance(answer, Status):
            words = answer.code.split()
        if words and isinstance(words[0], str) and words[0].upper() == "CAPABILITY":
            found = (word.upper() for word in words[1:] if isinstance(word, str))
            self.capabilities = frozenset(found)

    async def _next(self) -> Response:
        while not self._waiting:
            data = await self._wire.read()
            if not data:
                raise ImapLost("the mail server closed the connection")
            try:
                self._waiting.extend(self._reader.feed(data))
            except Malformed as error:
                raise ImapLost(str(error)) from None
        answer = self._waiting.popleft()
        if isinstance(answer, Data) and answer.numbered("EXISTS") is not None:
            self.news = True
        if isinstance(answer, Status) and answer.tag == "*" and answer.kind == "BYE":
            raise ImapLost(f"the mail server ended the connection: {answer.text}")
        return answer

    async def _write(self, data: bytes) -> None:
        transport = self._wire.transport
        if transport is None or transport.is_closing():
            raise ImapLost("the mail server closed the connection")
        transport.write(data)


async def connect(place: Place, user: str, password: str, *, mail_longest: int) -> Connection:
    """Connect and log in.

    Args:
        place: where the server is.
        user: of the account there.
        password: of it.
        mail_longest: bytes of a mail that may be fetched.

    Raises:
        ImapRefused: it does not let the user in.
        ImapLost: it is out of reach.
    """
    loop = asyncio.get_running_loop()
    wire = _Wire()
    direct = place.context() if place.security == "tls" else None
    try:
        connected = await place.connect()
        async with asyncio.timeout(PATIENCE):
            await loop.create_connection(
                lambda: wire,
                sock=connected,
                ssl=direct,
                server_hostname=place.host if direct else None,
            )
    except (Unreachable, OSError) as error:
        raise ImapLost(f"{place.host} is out of reach: {error}") from None
    made = Connection(wire, mail_longest)
    try:
        await made.greeted()
        if place.security == "starttls":
            await made.starttls(place.context(), place.host)
        await made.login(user, password)
    except BaseException:
        await made.close()
        raise
    return made


@contextlib.asynccontextmanager
async def _deadline(seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise ImapLost("the mail server does not answer") from None


def _tag() -> str:
    # Not to be guessed: what somebody slipped in before TLS answers no command.
    return f"t{secrets.token_hex(4)}"
