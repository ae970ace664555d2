"""One client connection: a login by regular expressions, then a callback for the bytes."""

from __future__ import annotations

import array
import asyncio
import re
import time
from collections.abc import Callable
from typing import Final, cast

from bench.load import ledger as sm
from bench.load.ledger import Ledger
from bench.load.scram import Scram
from bench.load.target import LoadError, Target

_NS_TLS: Final = "urn:ietf:params:xml:ns:xmpp-tls"
_NS_SASL: Final = "urn:ietf:params:xml:ns:xmpp-sasl"
_FEATURES: Final = re.compile(
    rb"<stream:features>(.*?)</stream:features>|<stream:features\s*/>|<stream:error>.*", re.DOTALL
)
_PROCEED: Final = re.compile(rb"<proceed[^>]*>")
_CHALLENGE: Final = re.compile(rb"<challenge[^>]*>([^<]*)</challenge>|<failure.*", re.DOTALL)
_SUCCESS: Final = re.compile(rb"<success[^>]*?(?:/>|>([^<]*)</success>)|<failure.*", re.DOTALL)
_BOUND: Final = re.compile(rb"<jid>([^<]+)</jid>.*?</iq>", re.DOTALL)
_ANSWER: Final = re.compile(rb"<iq\b([^>]*?)(?:/>|>(.*?)</iq>)", re.DOTALL)
_RESULT: Final = re.compile(rb"\btype=['\"]result['\"]")
_ENABLED: Final = re.compile(rb"<enabled\b[^>]*>|<failed\b.*", re.DOTALL)
_RESUMED: Final = re.compile(rb"<resumed\b[^>]*\bh=['\"](\d+)['\"][^>]*>|<failed\b.*", re.DOTALL)
_CARBONS: Final = re.compile(rb"<iq\b[^>]*\bid=['\"]carbons1['\"][^>]*>")
_ROSTER_GET: Final = "<iq type='get' id='roster1'><query xmlns='jabber:iq:roster'/></iq>"
_ITEM_BOTH: Final = re.compile(rb"<item\b[^>]*\bsubscription=['\"]both['\"]")
_ROSTER: Final = re.compile(
    rb"<iq\b[^>]*\bid=['\"]roster1['\"][^>]*>\s*"
    rb"<query\b[^>]*(?:/>|>(?P<items>.*?)</query>)\s*</iq>|<iq\b[^>]*\btype=['\"]error['\"].*",
    re.DOTALL,
)


class Client(asyncio.Protocol):
    """A connection of one account.

    Attributes:
        hot: gets the bytes as they come, once set; before, they are kept for `expect`.
        jid: the full JID, once logged in.
        closed: the connection is gone.
        contacts: how many items of the roster that was fetched have a mutual subscription.
        trips: how often it has waited for the server: for TCP, for TLS, and for answers.
        ledger: of stream management; None without it.
    """

    def __init__(self, target: Target, number: int) -> None:
        self._target = target
        self._user, self._password = target.account(number)
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._waiter: tuple[re.Pattern[bytes], asyncio.Future[re.Match[bytes]]] | None = None
        self.hot: Callable[[bytes], None] | None = None
        self.jid = ""
        self.closed = False
        self.contacts = 0
        self.trips = 0
        self.ledger: Ledger | None = None
        self._wrote = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Part of asyncio's interface."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Part of asyncio's interface."""
        if self.hot is not None:
            self.hot(data)
            return
        self.count(data)
        self._buffer += data
        if self._waiter is not None:
            pattern, future = self._waiter
            match = pattern.search(self._buffer)
            if match is not None:
                self._waiter = None
                if not future.done():
                    future.set_result(match)

    def connection_lost(self, exc: Exception | None) -> None:
        """Part of asyncio's interface."""
        self.closed = True
        if self._waiter is not None and not self._waiter[1].done():
            self._waiter[1].set_exception(self._error(f"connection lost ({exc!r})"))

    def _error(self, what: str) -> LoadError:
        return LoadError(f"{self._user}: {what}; the server said last: {self._buffer[-300:]!r}")

    def write(self, text: str) -> None:
        """Send.

        Raises:
            LoadError: there is no connection.
        """
        if self._transport is None:
            raise self._error("not connected")
        self._transport.write(text.encode())
        self._wrote = True

    def send(self, stanzas: str, count: int = 1) -> None:
        """Send stanzas, counted where stream management is on."""
        if self.ledger is not None:
            self.ledger.sent += count
        self.write(stanzas)

    def count(self, data: bytes) -> None:
        """Count what came for stream management, and answer where the server asks."""
        if self.ledger is not None and self.ledger.read(data, time.perf_counter()):
            self.answer()

    def answer(self) -> None:
        """Tell the server how much has come (XEP-0198 section 4)."""
        if self.ledger is not None and self._transport is not None:
            self._transport.write(self.ledger.answer.encode())

    def take(self) -> bytes:
        """What came and was not expected; it is forgotten."""
        data, self._buffer = self._buffer, b""
        return data

    async def expect(
        self, pattern: re.Pattern[bytes], deadline: float = 60.0, *, keep: bool = False
    ) -> re.Match[bytes]:
        """Wait for something and forget what came up to its end, unless it is to be kept.

        Raises:
            LoadError: it did not come within `deadline` seconds.
        """
        self.trips += self._wrote
        self._wrote = False
        match = pattern.search(self._buffer)
        if match is None:
            if self.closed:
                raise self._error("closed")
            future: asyncio.Future[re.Match[bytes]] = asyncio.get_running_loop().create_future()
            self._waiter = (pattern, future)
            try:
                match = await asyncio.wait_for(future, deadline)
            except TimeoutError:
                raise self._error(f"no {pattern.pattern!r} in {deadline:.0f} s") from None
        if not keep:
            self._buffer = self._buffer[match.end() :]
        return match

    async def _stream(self) -> bytes:
        self._buffer = b""
        self.write(
            f"<?xml version='1.0'?><stream:stream to='{self._target.domain}' xmlns='jabber:client'"
            " xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"
        )
        match = await self.expect(_FEATURES)
        if match[0].startswith(b"<stream:error"):
            raise LoadError(f"{self._user}: {match[0]!r}")
        return match[1] or b""

    async def connect(self) -> bytes:
        """Open the stream, with TLS where the target says so.

        Returns:
            The stream features.

        Raises:
            LoadError: the server does not play along.
        """
        target, loop = self._target, asyncio.get_running_loop()
        self.closed, self.trips = False, 1  # for TCP
        if target.tls == "direct":
            await loop.create_connection(
                lambda: self,
                target.host,
                target.port,
                ssl=target.context,
                server_hostname=target.domain,
            )
            self.trips += 1
            return await self._stream()
        await loop.create_connection(lambda: self, target.host, target.port)
        features = await self._stream()
        if target.tls == "starttls":
            self.write(f"<starttls xmlns='{_NS_TLS}'/>")
            await self.expect(_PROCEED)
            self._buffer = b""
            if self._transport is None:
                raise self._error("not connected")
            self._transport = await loop.start_tls(
                self._transport, self, target.context, server_hostname=target.domain
            )
            self.trips += 1
            features = await self._stream()
        return features

    async def bind(self, resource: str = "load") -> None:
        """Connect, authenticate and bind a resource; no presence is sent.

        Raises:
            LoadError: the server does not play along.
        """
        await self._authenticate(await self.connect())
        features = await self._stream()
        self.write(
            "<iq type='set' id='bind1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
            f"<resource>{resource}</resource></bind></iq>"
        )
        self.jid = (await self.expect(_BOUND))[1].decode()
        if b"xmpp-session" in features and b"<optional" not in features:
            self.write(
                "<iq type='set' id='sess1'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/>"
                "</iq>"
            )
            await self.expect(_ANSWER)

    async def login(self, resource: str = "load") -> None:
        """Log in as simple clients do: SASL, bind, roster, presence.

        Raises:
            LoadError: the server does not play along.
        """
        await self.bind(resource)
        await self.fetch_roster()
        self.write("<presence/>")
        await self._present()

    async def login_managed(
        self, resource: str = "load", latencies: array.array[float] | None = None
    ) -> None:
        """Log in as clients of today do: also stream management with resumption, and carbons.

        All that follows the binding is sent at once.

        Args:
            resource: to bind.
            latencies: as for `Ledger`.

        Raises:
            LoadError: the server does not play along.
        """
        await self.bind(resource)
        self.ledger = Ledger(array.array("d") if latencies is None else latencies)
        self.send(
            f"<enable xmlns='{sm.NS}' resume='true'/>"
            "<iq type='set' id='carbons1'><enable xmlns='urn:xmpp:carbons:2'/></iq>"
            f"{_ROSTER_GET}<presence/>",
            count=3,
        )
        await self.expect(_ENABLED, keep=True)
        if not self.ledger.token:
            raise self._error("no stream management with resumption")
        answer = await self.expect(_CARBONS, keep=True)
        if not _RESULT.search(answer[0]):
            raise self._error("no carbons")
        await self._read_roster(keep=True)
        await self._present()

    async def _present(self) -> None:
        """Wait until our own presence comes back: the server has handled everything so far."""
        own = re.escape(self.jid.encode())
        pattern = re.compile(rb"<presence\b[^>]*\bfrom=['\"]" + own + rb"['\"][^>]*>")
        await self.expect(pattern, keep=True)

    async def resume(self) -> int:
        """Connect again and resume the session (XEP-0198 section 5).

        Returns:
            How many of our stanzas the server says it has handled.

        Raises:
            LoadError: the server does not play along.
        """
        if self.ledger is None:
            raise self._error("nothing to resume")
        self.ledger.restart()
        await self._authenticate(await self.connect())
        await self._stream()
        self.write(
            f"<resume xmlns='{sm.NS}' h='{self.ledger.received}' previd='{self.ledger.token}'/>"
        )
        match = await self.expect(_RESUMED)
        if match[1] is None:
            raise LoadError(f"{self._user}: not resumed: {match[0]!r}")
        return int(match[1])

    async def fetch_roster(self) -> None:
        """Fetch it and count the mutual contacts (RFC 6121 section 2.1.3).

        Raises:
            LoadError: there is no proper answer.
        """
        self.write(_ROSTER_GET)
        await self._read_roster(keep=False)

    async def _read_roster(self, *, keep: bool) -> None:
        match = await self.expect(_ROSTER, keep=keep)
        if b"jabber:iq:roster" not in match[0] or not _RESULT.search(match[0]):
            raise LoadError(f"{self._user}: no roster: {match[0]!r}")
        self.contacts = len(_ITEM_BOTH.findall(match["items"] or b""))

    async def _authenticate(self, features: bytes) -> None:
        if b">SCRAM-SHA-1<" not in features:
            raise LoadError(f"SCRAM-SHA-1 is not offered: {features!r}")
        scram = Scram(self._user, self._password)
        self.write(f"<auth xmlns='{_NS_SASL}' mechanism='SCRAM-SHA-1'>{scram.first}</auth>")
        challenge = await self.expect(_CHALLENGE)
        if challenge[1] is None:
            raise LoadError(f"{self._user}: login failed: {challenge[0]!r}")
        answer = scram.respond(challenge[1])
        self.write(f"<response xmlns='{_NS_SASL}'>{answer}</response>")
        outcome = await self.expect(_SUCCESS)
        if outcome[1] is None:
            raise LoadError(f"{self._user}: login failed: {outcome[0]!r}")
        scram.verify(outcome[1])

    async def register(self) -> None:
        """Make the account in band (XEP-0077), and close.

        Raises:
            LoadError: the server refused.
        """
        await self.connect()
        self.write(
            "<iq type='set' id='reg1'><query xmlns='jabber:iq:register'>"
            f"<username>{self._user}</username><password>{self._password}</password></query></iq>"
        )
        answer = await self.expect(_ANSWER)
        if not _RESULT.search(answer[1]):
            raise LoadError(f"{self._user}: not registered: {answer[0]!r}")
        self.close()

    def close(self) -> None:
        """Log out, without waiting for it; what came is acknowledged."""
        if self._transport is not None and not self.closed:
            self.answer()
            self._transport.write(b"</stream:stream>")
            self._transport.close()

    async def drop(self) -> None:
        """Lose the connection, as phones do: neither the stream nor TLS is closed."""
        if self._transport is not None:
            self._transport.abort()
        while not self.closed:  # noqa: ASYNC110 -- one turn of the loop, as a rule
            await asyncio.sleep(0)
