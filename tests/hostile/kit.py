"""A client that can be told to misbehave.

Nothing in here uses jabberd's own parsers or login code: what the server says is read by the
standard library, so that a fault cannot hide behind the same fault in the client.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import socket
import ssl
import time
from typing import Any, Final, Self
from xml.etree import ElementTree as ET

Element = ET.Element

PASSWORD: Final = "secret"
STREAM: Final = "http://etherx.jabber.org/streams"
STREAMS: Final = "urn:ietf:params:xml:ns:xmpp-streams"
STANZAS: Final = "urn:ietf:params:xml:ns:xmpp-stanzas"
SASL: Final = "urn:ietf:params:xml:ns:xmpp-sasl"
TLS: Final = "urn:ietf:params:xml:ns:xmpp-tls"
BIND: Final = "urn:ietf:params:xml:ns:xmpp-bind"
CLIENT: Final = "jabber:client"
WAIT: Final = 10.0  # seconds for what must come; only a failing test waits that long
HEADER: Final = (
    f"<?xml version='1.0'?><stream:stream xmlns='{CLIENT}' xmlns:stream='{STREAM}'"
    " to='localhost' version='1.0'>"
)
PING: Final = "<iq type='get' id='{}' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>"


def tls_context(version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """For a client that believes every certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if version is not None:
        context.maximum_version = version
    return context


class Client:
    """One connection; it says what it is told to, and reads what comes.

    Args:
        port: of the server, on 127.0.0.1.
        source: the address to come from.
        buffer: size of the receive buffer; the system's unless given.
    """

    def __init__(self, port: int, source: str = "127.0.0.1", *, buffer: int = 0) -> None:
        self.socket: socket.socket = socket.socket()
        if buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.socket.settimeout(WAIT)
        self.socket.bind((source, 0))
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.raw = b""
        self.jid = ""
        self.header: Element | None = None
        self._ids = 0
        self.restart()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Drop the connection."""
        self.socket.close()

    # Saying

    def send(self, data: str | bytes) -> None:
        """Write; what the server no longer wants to hear is no error."""
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            self.socket.sendall(data.encode() if isinstance(data, str) else data)

    def restart(self) -> None:
        """Expect a new stream header."""
        self._parser: ET.XMLPullParser[Any] = ET.XMLPullParser(("start", "end"))
        self._depth = 0
        self._waiting: list[Element] = []
        self.ended = False
        self.eof = False

    def open(self, header: str = HEADER) -> Element:
        """Open a stream and return its features."""
        self.restart()
        self.send(header)
        features = self.next()
        assert features is not None
        assert features.tag == f"{{{STREAM}}}features", ET.tostring(features)
        return features

    # Reading

    def next(self, seconds: float = WAIT) -> Element | None:
        """The next first-level element; None where the stream or the connection has ended."""
        deadline = time.monotonic() + seconds
        while not self._waiting and not self.eof:
            if self.ended:
                return None
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("the server says nothing")
            self.socket.settimeout(left)
            self._read()
        return self._waiting.pop(0) if self._waiting else None

    def _read(self) -> None:
        try:
            data = self.socket.recv(65_536)
        except (ConnectionError, ssl.SSLError):
            data = b""
        self.raw += data
        if not data:
            self.eof = True
            return
        self._parser.feed(data)
        for event, found in self._events():
            self._depth += 1 if event == "start" else -1
            if event == "start" and self._depth == 1:
                self.header = found
            elif event == "end" and self._depth == 1:
                self._waiting.append(found)
            elif event == "end" and self._depth == 0:
                self.ended = True

    def _events(self) -> list[tuple[str, Element]]:
        # The parser was asked for starts and ends only: those come with an element.
        return list(self._parser.read_events())  # type: ignore[arg-type]  # typeshed has them all

    def drain(self, seconds: float = WAIT, *, strict: bool = True) -> bytes:
        """Everything until the server closes the connection, unparsed.

        Args:
            seconds: how long to wait for that.
            strict: raise `TimeoutError` where it does not come; else return what has come.
        """
        deadline = time.monotonic() + seconds
        data = b""
        while True:
            self.socket.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                more = self.socket.recv(65_536)
            except TimeoutError:
                if strict:
                    raise
                return data
            except (ConnectionError, ssl.SSLError):
                return data
            if not more:
                return data
            data += more

    def stream_error(self, seconds: float = WAIT) -> str:
        """The condition of the stream error that ends this stream (RFC 6120 §4.9.2).

        The stream has a header, the error is its last element, the stream is closed, and so
        is the connection.
        """
        while (element := self.next(seconds)) is not None:
            if element.tag == f"{{{STREAM}}}error":
                break
        assert element is not None, f"no stream error: {self.raw!r}"
        condition = element[0].tag
        assert condition.startswith(f"{{{STREAMS}}}"), condition
        for text in element[1:]:
            assert text.tag == f"{{{STREAMS}}}text", text.tag
        assert self.next(seconds) is None
        assert self.ended, "the stream was not closed"
        assert self.drain(seconds) == b""
        return condition.rpartition("}")[2]

    def sasl_failure(self) -> str:
        """The condition of the failure that comes next (RFC 6120 §6.5)."""
        element = self.next()
        assert element is not None, self.raw
        assert element.tag == f"{{{SASL}}}failure", ET.tostring(element)
        assert element[0].tag.startswith(f"{{{SASL}}}")
        return element[0].tag.rpartition("}")[2]

    def challenge(self) -> str:
        """The text of the challenge that comes next."""
        element = self.next()
        assert element is not None, self.raw
        assert element.tag == f"{{{SASL}}}challenge", ET.tostring(element)
        return base64.b64decode(element.text or "").decode()

    def answer(self, stanza_id: str, seconds: float = WAIT) -> Element:
        """The next stanza with this id; those before it are lost."""
        while (element := self.next(seconds)) is not None:
            if element.get("id") == stanza_id:
                return element
        raise AssertionError(f"the stream ended: {self.raw[-500:]!r}")

    def ask(self, iq: str) -> Element:
        """Send an IQ whose id is written `{}`, and return the answer."""
        self._ids += 1
        name = f"ask{self._ids}"
        self.send(iq.replace("{}", name))
        return self.answer(name)

    def ping(self, seconds: float = WAIT) -> list[Element]:
        """Have a ping answered; returns what came before the answer."""
        self._ids += 1
        name = f"ping{self._ids}"
        self.send(PING.format(name))
        deadline = time.monotonic() + seconds
        before: list[Element] = []
        while (element := self.next(deadline - time.monotonic())) is not None:
            if element.get("id") == name:
                assert element.get("type") == "result", ET.tostring(element)
                return before
            before.append(element)
        raise AssertionError(f"the stream ended: {self.raw[-500:]!r}")

    # Logging in

    def auth(self, mechanism: str, message: str | bytes | None) -> None:
        """Send `<auth/>` with this initial response, not yet in base 64."""
        text = "" if message is None else base64.b64encode(_bytes(message)).decode()
        self.send(f"<auth xmlns='{SASL}' mechanism='{mechanism}'>{text}</auth>")

    def response(self, message: str | bytes) -> None:
        """Send `<response/>`, not yet in base 64."""
        text = base64.b64encode(_bytes(message)).decode()
        self.send(f"<response xmlns='{SASL}'>{text}</response>")

    def starttls(self, version: ssl.TLSVersion | None = None) -> None:
        """Begin TLS after the features."""
        self.send(f"<starttls xmlns='{TLS}'/>")
        proceed = self.next()
        assert proceed is not None
        assert proceed.tag == f"{{{TLS}}}proceed"
        self.tls(version)

    def tls(self, version: ssl.TLSVersion | None = None) -> None:
        """Do the handshake."""
        self.socket.settimeout(WAIT)
        self.socket = tls_context(version).wrap_socket(self.socket, server_hostname="localhost")

    def scram(
        self, user: str, password: str = PASSWORD, *, gs2: str = "n,,", plus: str = ""
    ) -> str:
        """SCRAM-SHA-1 (RFC 5802) as far as the server's last word: "success" or a condition."""
        bare = f"n={user},r=clientnonce"
        self.auth(f"SCRAM-SHA-1{plus}", gs2 + bare)
        element = self.next()
        assert element is not None
        if element.tag != f"{{{SASL}}}challenge":
            return element[0].tag.rpartition("}")[2]
        first = base64.b64decode(element.text or "").decode()
        self.response(client_final(bare, first, password, gs2))
        end = self.next()
        assert end is not None
        if end.tag == f"{{{SASL}}}success":
            return "success"
        return end[0].tag.rpartition("}")[2]

    def login(self, user: str, resource: str = "test") -> Client:
        """Log in and bind; no presence is sent."""
        self.open()
        assert self.scram(user) == "success"
        self.open()
        self.bind(resource)
        return self

    def bind(self, resource: str = "test") -> None:
        """Bind a resource."""
        done = self.ask(
            f"<iq type='set' id='{{}}'><bind xmlns='{BIND}'>"
            f"<resource>{resource}</resource></bind></iq>"
        )
        assert done.get("type") == "result", ET.tostring(done)
        self.jid = done[0][0].text or ""


def client_final(bare: str, first: str, password: str, gs2: str) -> str:
    """The client-final-message of SCRAM-SHA-1 (RFC 5802 §3)."""
    parts = dict(part.split("=", 1) for part in first.split(","))
    salted = hashlib.pbkdf2_hmac(
        "sha1", password.encode(), base64.b64decode(parts["s"]), int(parts["i"])
    )
    key = hmac.digest(salted, b"Client Key", "sha1")
    without = f"c={base64.b64encode(gs2.encode()).decode()},r={parts['r']}"
    stored = hashlib.sha1(key).digest()
    signature = hmac.digest(stored, f"{bare},{first},{without}".encode(), "sha1")
    proof = bytes(one ^ two for one, two in zip(key, signature, strict=True))
    return f"{without},p={base64.b64encode(proof).decode()}"


def error_of(stanza: Element) -> tuple[str, str]:
    """Type and condition of a stanza of type error (RFC 6120 §8.3.2)."""
    assert stanza.get("type") == "error", ET.tostring(stanza)
    error = stanza.find(f"{{{CLIENT}}}error")
    assert error is not None, ET.tostring(stanza)
    conditions = [
        child.tag.rpartition("}")[2]
        for child in error
        if child.tag.startswith(f"{{{STANZAS}}}") and not child.tag.endswith("}text")
    ]
    assert len(conditions) == 1, ET.tostring(stanza)
    return error.get("type") or "", conditions[0]


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text
