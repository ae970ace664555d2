"""Knocks at a port of an XMPP server, as whoever looks for it would: what is behind it?"""

from __future__ import annotations

import asyncio
import re
from typing import Final

from jabberd.net.dial import DialError, Dialler
from jabberd.net.dns import Target
from jabberd.net.owner import Calling, PumpOptions
from jabberd.net.tls import XMPP_CLIENT, XMPP_SERVER, TlsContexts
from jabberd.net.wire import Wire
from jabberd.xmpp import ns
from jabberd.xmpp.element import escape_attr

_MOST: Final = 16_384  # bytes that are read before the port counts as something else
_STARTTLS: Final = f"<starttls xmlns='{ns.TLS}'/>".encode()
_ERROR: Final = re.compile(rb"<stream:error\b[^>]*>\s*<([a-z-]+)")
_UNKNOWN: Final = b"host-unknown"


class Closed(Exception):  # noqa: N818 -- it says what the door is
    """No XMPP server for the domain is there; the message says what is."""


class Knocker:
    """Knocks.

    Args:
        dialler: connects.
        tls: for handshakes.
        seconds: how long one knock may take.
    """

    def __init__(self, dialler: Dialler, tls: TlsContexts, *, seconds: float = 5.0) -> None:
        self._dialler = dialler
        self._tls = tls
        self._seconds = seconds

    async def knock(self, place: Target, domain: str, *, servers: bool) -> tuple[bytes, ...]:
        """Open a stream and TLS in it, and go away.

        Args:
            place: where.
            domain: which one of ours should be there.
            servers: the port is for servers, not for clients.

        Returns:
            The certificate that it presents, and its chain, as DER.

        Raises:
            Closed: there is nothing of the kind.
        """
        made: list[_Visitor] = []

        def machine() -> _Visitor:
            made.append(_Visitor(domain, ns.SERVER if servers else ns.CLIENT))
            return made[-1]

        options = PumpOptions(
            tls=self._tls,
            calling=Calling(domain, domain),
            direct_tls=place.direct_tls,
            alpn=(XMPP_SERVER if servers else XMPP_CLIENT,),
        )
        try:
            async with asyncio.timeout(self._seconds):
                await self._dialler.dial([place], machine, lambda _: options)
                return await made[-1].chain
        except DialError as error:
            raise Closed(str(error)) from None
        except TimeoutError:
            raise Closed(f"{place} does not answer") from None
        finally:
            for visitor in made:
                visitor.leave()


class _Visitor:
    """One connection (`net.wire.Machine`)."""

    def __init__(self, domain: str, content: str) -> None:
        self._domain = domain
        self._content = content
        self._wire: Wire | None = None
        self._read = b""
        self._asked = False
        self.chain: asyncio.Future[tuple[bytes, ...]] = asyncio.get_running_loop().create_future()
        self.chain.add_done_callback(_looked_at)  # whoever knocks may have given up

    def connected(self, wire: Wire) -> None:
        """The connection is up."""
        self._wire = wire
        if wire.tls is not None:
            self.secured()
            return
        wire.write(
            f"<?xml version='1.0'?><stream:stream xmlns='{self._content}' "
            f"xmlns:stream='{ns.STREAM}' version='1.0' to='{escape_attr(self._domain)}'>".encode()
        )

    def received(self, data: bytes) -> None:
        """Something is behind the door.

        A few words are looked for; nothing is believed that hangs on how they are said.
        """
        if self._wire is None or self.chain.done() or (self._wire.tls is not None):
            return
        self._read += data
        if (error := _ERROR.search(self._read)) is not None:
            self._fail(_refused(error[1], self._domain))
        elif self._asked and b"<proceed" in self._read:
            self._read = b""
            self._wire.start_tls()
        elif not self._asked and b"<starttls" in self._read:
            self._read = b""
            self._asked = True
            self._wire.write(_STARTTLS)
        elif self._asked and b"<failure" in self._read:
            self._fail("it offers TLS, and then has none")
        elif b"</stream:features>" in self._read:
            self._fail("it offers no TLS")
        elif len(self._read) > _MOST:
            self._fail("what is there speaks no XMPP")

    def secured(self) -> None:
        """TLS is up: this is all that was wanted."""
        tls = self._wire.tls if self._wire is not None else None
        if tls is not None and not self.chain.done():
            self.chain.set_result(tls.peer_chain())

    def ended(self, error: Exception | None) -> None:
        """The connection is gone."""
        self._wire = None
        self._fail(str(error) if error else "it closes the connection at once")

    def drained(self) -> None:
        """So little is written that it never waits."""

    def leave(self) -> None:
        """Go away."""
        if self._wire is not None:
            self._wire.close()

    def _fail(self, why: str) -> None:
        if not self.chain.done():
            self.chain.set_exception(Closed(why))


def _refused(condition: bytes, domain: str) -> str:
    if condition == _UNKNOWN:
        return f"it does not serve {domain}"
    return f"it says {condition.decode()}"


def _looked_at(future: asyncio.Future[tuple[bytes, ...]]) -> None:
    if not future.cancelled():
        future.exception()
