"""A client written by hand: it sends exactly what it is told, and reads with a parser of its own.

It shares no code with the server: XML is read by the standard library's ElementTree, TLS by the
standard library's ssl.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections import deque
from types import TracebackType
from typing import Final, Self
from xml.etree.ElementTree import Element, XMLPullParser, tostring

WAIT: Final = 10.0
"""Seconds that anything may take; nothing takes as long unless it fails."""
STREAM: Final = "{http://etherx.jabber.org/streams}"
CLIENT: Final = "{jabber:client}"
SASL: Final = "{urn:ietf:params:xml:ns:xmpp-sasl}"
TLS: Final = "{urn:ietf:params:xml:ns:xmpp-tls}"
BIND: Final = "{urn:ietf:params:xml:ns:xmpp-bind}"
STANZA_ERRORS: Final = "{urn:ietf:params:xml:ns:xmpp-stanzas}"
STREAM_ERRORS: Final = "{urn:ietf:params:xml:ns:xmpp-streams}"


class StreamEnd(Exception):  # noqa: N818 -- it is an ending, not always an error
    """The server closed its stream, or the connection, where more was expected.

    Attributes:
        clean: whether `</stream:stream>` came before the end of the connection.
    """

    def __init__(self, clean: bool) -> None:
        super().__init__("</stream:stream>" if clean else "the connection was cut")
        self.clean = clean


class Wire:
    """One connection to a server.

    Attributes:
        raw: everything received so far, decrypted.
        header: attributes of the last stream header received.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._found: deque[Element | None] = deque()
        self.raw = b""
        self.header: dict[str, str] = {}
        self._renew()

    @classmethod
    async def connect(cls, host: str, port: int) -> Self:
        """Open a TCP connection and say nothing."""
        return cls(*await asyncio.wait_for(asyncio.open_connection(host, port), WAIT))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.cut()

    def _renew(self) -> None:
        self._parser: XMLPullParser[Element] = XMLPullParser(("start", "end"))
        self._depth = 0
        self._root: Element | None = None

    async def send(self, text: str) -> None:
        """Write this, and nothing else."""
        self._writer.write(text.encode())
        await asyncio.wait_for(self._writer.drain(), WAIT)

    async def next(self, wait: float = WAIT) -> Element:
        """The next complete child of the stream.

        Raises:
            StreamEnd: there is none any more.
            TimeoutError: none came in time.
        """
        async with asyncio.timeout(wait):
            while not self._found:
                await self._read()
        found = self._found.popleft()
        if found is None:
            self._found.appendleft(None)
            raise StreamEnd(clean=True)
        return found

    async def ended(self, wait: float = WAIT) -> StreamEnd:
        """Wait for the end; what comes before it is thrown away."""
        try:
            while True:
                await self.next(wait)
        except StreamEnd as end:
            return end

    async def eof(self, wait: float = WAIT) -> None:
        """Wait until the server has closed the connection; nothing may come any more."""
        assert await asyncio.wait_for(self._reader.read(), wait) == b""

    async def _read(self) -> None:
        try:
            data = await self._reader.read(65536)
        except (ConnectionError, ssl.SSLError):
            data = b""
        if not data:
            raise StreamEnd(clean=False)
        self.raw += data
        self._parser.feed(data)
        for event, *rest in self._parser.read_events():
            element = rest[0]
            assert isinstance(element, Element)
            if event == "start":
                self._depth += 1
                if self._depth == 1:
                    self._root = element
                    self.header = dict(element.attrib)
                continue
            self._depth -= 1
            if self._depth == 1:
                self._found.append(element)
                if self._root is not None:
                    self._root.clear()
            elif self._depth == 0:
                self._found.append(None)

    async def open(self, to: str, *, version: str | None = "1.0") -> None:
        """Send a stream header and read the server's."""
        self._renew()
        number = "" if version is None else f" version='{version}'"
        await self.send(
            "<?xml version='1.0'?><stream:stream xmlns='jabber:client' "
            f"xmlns:stream='http://etherx.jabber.org/streams' to='{to}'{number}>"
        )
        await self.opened()

    async def opened(self, wait: float = WAIT) -> None:
        """Wait for the server's stream header; it is in `header` then."""
        async with asyncio.timeout(wait):
            while self._root is None:
                await self._read()
        assert self._root.tag == f"{STREAM}stream"

    async def start_tls(self, to: str) -> ssl.SSLObject:
        """Ask for STARTTLS, shake hands (any certificate will do) and open a new stream."""
        await self.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
        proceed = await self.next()
        assert proceed.tag == f"{TLS}proceed"
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        await asyncio.wait_for(self._writer.start_tls(context, server_hostname=to), WAIT)
        await self.open(to)
        ssl_object = self._writer.get_extra_info("ssl_object")
        assert isinstance(ssl_object, ssl.SSLObject)
        return ssl_object

    async def plain(self, name: str, password: str) -> Element:
        """Try to log in by SASL PLAIN; the server's answer."""
        initial = base64.b64encode(f"\0{name}\0{password}".encode()).decode()
        await self.send(
            f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{initial}</auth>"
        )
        return await self.next()

    async def login(self, account: str, password: str, resource: str) -> str:
        """STARTTLS, SASL PLAIN and resource binding; the full JID that the server gave."""
        name, _, domain = account.partition("@")
        await self.open(domain)
        await self.features()
        await self.start_tls(domain)
        await self.features()
        answer = await self.plain(name, password)
        assert answer.tag == f"{SASL}success", tostring(answer)
        await self.open(domain)
        await self.features()
        bound = await self.ask(
            "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
            f"<resource>{resource}</resource></bind></iq>"
        )
        assert bound.get("type") == "result", tostring(bound)
        return bound.findtext(f"{BIND}bind/{BIND}jid") or ""

    async def features(self) -> Element:
        """The stream features, which are next."""
        features = await self.next()
        assert features.tag == f"{STREAM}features", tostring(features)
        return features

    async def ask(self, iq: str) -> Element:
        """Send an IQ request and return what comes next, which must be its answer."""
        await self.send(iq)
        answer = await self.next()
        assert answer.tag == f"{CLIENT}iq", tostring(answer)
        return answer

    async def ping(self, to: str, name: str = "ping") -> None:
        """Ping the server: what was sent before has its verdict when the answer is here."""
        answer = await self.ask(
            f"<iq type='get' id='{name}' to='{to}'><ping xmlns='urn:xmpp:ping'/></iq>"
        )
        assert (answer.get("id"), answer.get("type")) == (name, "result"), tostring(answer)

    async def close(self) -> StreamEnd:
        """Close the stream and wait until the server has closed its own."""
        await self.send("</stream:stream>")
        end = await self.ended()
        await self.cut()
        return end

    def abort(self) -> None:
        """Break the connection, and wait for nobody."""
        self._writer.transport.abort()

    async def cut(self) -> None:
        """Let go of the connection without a word."""
        self._writer.close()
        try:
            await asyncio.wait_for(self._writer.wait_closed(), WAIT)
        except (OSError, TimeoutError):
            # The server was quicker, in whatever way: the connection is gone as wanted.
            self._writer.transport.abort()


def stanza_error(stanza: Element) -> tuple[str | None, str]:
    """Type and condition of an error stanza."""
    error = stanza.find(f"{CLIENT}error")
    assert error is not None, tostring(stanza)
    (condition,) = [
        child.tag.removeprefix(STANZA_ERRORS)
        for child in error
        if child.tag.startswith(STANZA_ERRORS) and not child.tag.endswith("}text")
    ]
    return error.get("type"), condition


def stream_error(element: Element) -> str:
    """The condition of a stream error."""
    assert element.tag == f"{STREAM}error", tostring(element)
    (condition,) = [
        child.tag.removeprefix(STREAM_ERRORS)
        for child in element
        if child.tag.startswith(STREAM_ERRORS) and not child.tag.endswith("}text")
    ]
    return condition
