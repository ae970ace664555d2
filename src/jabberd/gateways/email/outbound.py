"""Handing a mail over by SMTP (RFC 5321): to a relay, or to the recipient's own servers."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

import aiosmtplib
import structlog

from jabberd.gateways.email import address, bounce
from jabberd.gateways.email.mx import Exchanges
from jabberd.gateways.email.reach import Place, Security, Unreachable
from jabberd.gateways.events import Trouble
from jabberd.gateways.transport import LoginRefused, Lost, NotDone

_log: Final = structlog.get_logger("jabberd.gateway.email")
_STEP: Final = 60.0
_PATIENCE: Final = 600.0
_QUIT: Final = 5.0
_TEXT: Final = 200
_LASTING: Final = 500
_SMTP_PORT: Final = 25


@dataclass(frozen=True, slots=True)
class Envelope:
    """A mail on its way.

    Attributes:
        sender: whom a bounce goes to.
        to: the recipient; its domain may be in Unicode.
        data: the mail, with CRLF.
    """

    sender: str
    to: str
    data: bytes


class Courier(Protocol):
    """Brings mails to where they go."""

    async def deliver(self, envelope: Envelope) -> None:
        """Hand a mail over; it is the other side's when this returns.

        Raises:
            NotDone: they will not take it, now or later.
            Lost: not now.
        """


@dataclass(frozen=True, slots=True)
class Account:
    """How to log in at a server for submission.

    Attributes:
        user: of the account; empty: no login is needed.
        password: of it.
    """

    user: str = ""
    password: str = ""

    def __repr__(self) -> str:
        return f"Account({self.user!r})"


class Relay:
    """One server that takes mail for everybody (RFC 6409).

    Args:
        place: where it is.
        account: to log in there.
        hello: what we call ourselves.
    """

    def __init__(self, place: Place, account: Account, hello: str) -> None:
        self._place = place
        self._account = account
        self._hello = hello

    async def deliver(self, envelope: Envelope) -> None:
        """See `Courier`."""
        try:
            async with _session(self._place, self._hello) as session:
                await session.login(self._account)
                await session.send(envelope)
        except LoginRefused as error:
            # The password may be put right: nothing is lost by then.
            raise Lost(str(error)) from None

    async def check(self) -> None:
        """Log in and out again.

        Raises:
            LoginRefused: it does not let us in.
            Lost: it is out of reach.
        """
        async with _session(self._place, self._hello) as session:
            await session.login(self._account)


class Direct:
    """The servers that the recipient's domain names (RFC 5321 §5.1).

    Args:
        exchanges: finds them.
        hello: what we call ourselves; our address should have this name.
        verify: whether their certificates have to be good. Few are.
        anywhere: also servers at addresses that are not of the public internet.
        port: where they are.
    """

    def __init__(
        self,
        exchanges: Exchanges,
        hello: str,
        *,
        verify: bool = False,
        anywhere: bool = False,
        port: int = _SMTP_PORT,
    ) -> None:
        self._exchanges = exchanges
        self._hello = hello
        self._verify = verify
        self._anywhere = anywhere
        self._port = port

    async def deliver(self, envelope: Envelope) -> None:
        """See `Courier`."""
        lost = Lost("none of the recipient's mail servers can be reached")
        for host in await self._exchanges.of(address.wire_domain(address.split(envelope.to)[1])):
            security: Security = "starttls" if self._verify else "opportunistic"
            place = Place(host, self._port, security, verify=self._verify, anywhere=self._anywhere)
            try:
                async with _session(place, self._hello) as session:
                    return await session.send(envelope)
            except Lost as error:
                lost = error
        raise lost


class _Session:
    """One SMTP connection that is ready for mails."""

    def __init__(self, smtp: aiosmtplib.SMTP, host: str) -> None:
        self._smtp = smtp
        self._host = host

    async def login(self, account: Account) -> None:
        """Log in where that is needed."""
        if account.user:
            with _translated(self._host, _refused_login):
                await self._smtp.login(account.user, account.password)

    async def send(self, envelope: Envelope) -> None:
        """One mail to one recipient."""
        smtp = self._smtp
        options = ["BODY=8BITMIME"] if smtp.supports_extension("8bitmime") else []
        if needs_utf8(envelope):
            if not smtp.supports_extension("smtputf8"):
                text = "the recipient's mail server does not take addresses like this"
                raise NotDone(Trouble.NOT_ACCEPTABLE, text)
            options.append("SMTPUTF8")
        sender, to = address.wire(envelope.sender), address.wire(envelope.to)
        with _translated(self._host, _refused):
            async with asyncio.timeout(_PATIENCE):
                await smtp.sendmail(sender, [to], envelope.data, mail_options=options)


@contextlib.asynccontextmanager
async def _session(place: Place, hello: str) -> AsyncIterator[_Session]:
    """Connect, and say QUIT at the end.

    Raises:
        Lost: the server is out of reach, or not as safe as it has to be.
    """
    try:
        sock = await place.connect()
    except Unreachable as error:
        raise Lost(f"{place.host} is out of reach: {error}") from None
    smtp = aiosmtplib.SMTP(
        hostname=place.host, sock=sock, local_hostname=hello, timeout=_STEP,
        use_tls=place.security == "tls", start_tls=False, tls_context=place.context(),
    )  # fmt: skip
    transport: asyncio.BaseTransport | None = None
    try:
        with _translated(place.host, _lost):
            await _begin(smtp, place)
        yield _Session(smtp, place.host)
        # It has been taken; how the good-bye goes does not matter.
        transport = smtp.transport
        with contextlib.suppress(aiosmtplib.SMTPException, OSError):
            await smtp.quit(timeout=_QUIT)
    finally:
        transport = smtp.transport or transport
        smtp.close()
        if isinstance(transport, asyncio.WriteTransport):
            transport.abort()
            await asyncio.sleep(0)  # so that it is closed when this ends


async def _begin(smtp: aiosmtplib.SMTP, place: Place) -> None:
    await smtp.connect()
    await smtp.ehlo()
    offered = smtp.supports_extension("starttls")
    if place.security == "starttls" and not offered:
        raise Lost(f"{place.host} does not offer encryption")
    if offered and place.security in {"starttls", "opportunistic"}:
        await smtp.starttls()
        await smtp.ehlo()


def needs_utf8(envelope: Envelope) -> bool:
    """Whether a server has to know SMTPUTF8 to take this mail (RFC 6531 §3.1)."""
    header = envelope.data.partition(b"\r\n\r\n")[0]
    addresses = (envelope.sender, envelope.to)
    return not header.isascii() or any(map(address.needs_smtputf8, addresses))


@contextlib.contextmanager
def _translated(host: str, refusal: Callable[[int, str, str], Exception]) -> Iterator[None]:
    """What the library raises as what the gateway knows."""
    try:
        yield
    except aiosmtplib.SMTPRecipientsRefused as error:
        first = error.recipients[0]
        raise refusal(first.code, first.message, host) from None
    except aiosmtplib.SMTPResponseException as error:
        raise refusal(error.code, error.message, host) from None
    except (aiosmtplib.SMTPException, ssl.SSLError, OSError, TimeoutError) as error:
        raise Lost(f"{host}: {_line(str(error)) or 'it does not answer'}") from None
    except ValueError as error:
        raise NotDone(Trouble.NOT_ACCEPTABLE, f"no mail can go there: {error}") from None


def _refused(code: int, text: str, host: str) -> Exception:
    words = f"{host}: {code} {_line(text)}"
    if code < _LASTING:
        return Lost(words)
    return NotDone(bounce.trouble("", f"{code} {text}"), words)


def _lost(code: int, text: str, host: str) -> Exception:
    return Lost(f"{host}: {code} {_line(text)}")


def _refused_login(code: int, text: str, host: str) -> Exception:
    if code < _LASTING:
        return _lost(code, text, host)
    _log.warning("a mail server refuses a login", host=host, code=code)
    return LoginRefused(f"{host} does not let you in: {code} {_line(text)}")


def _line(text: str) -> str:
    return " ".join(text.split())[:_TEXT]
