"""One client connection: a login by regular expressions, then a callback for the bytes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Final, cast

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

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Part of asyncio's interface."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Part of asyncio's interface."""
        if self.hot is not None:
            self.hot(data)
            return
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
        if target.tls == "direct":
            await loop.create_connection(
                lambda: self,
                target.host,
                target.port,
                ssl=target.context,
                server_hostname=target.domain,
            )
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
            features = await self._stream()
        return features

    async def login(self, resource: str = "load") -> None:
        """Log in as clients do: SASL, bind, roster, presence.

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
        await self.fetch_roster()
        self.write("<presence/>")
        # Our own presence comes back: the server has handled everything so far.
        own = re.escape(self.jid.encode())
        pattern = re.compile(rb"<presence\b[^>]*\bfrom=['\"]" + own + rb"['\"][^>]*>")
        await self.expect(pattern, keep=True)

    async def fetch_roster(self) -> None:
        """Fetch it and count the mutual contacts (RFC 6121 section 2.1.3).

        Raises:
            LoadError: there is no proper answer.
        """
        self.write("<iq type='get' id='roster1'><query xmlns='jabber:iq:roster'/></iq>")
        match = await self.expect(_ROSTER)
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
        """Log out, without waiting for it."""
        if self._transport is not None and not self.closed:
            self._transport.write(b"</stream:stream>")
            self._transport.close()
