"""STARTTLS that is meddled with, and nonsense in place of TLS: RFC 6120 §5, RFC 7590."""

from __future__ import annotations

import socket
import ssl
import time
from typing import ClassVar

import pytest
from OpenSSL import SSL

from tests.hostile.conftest import Connect
from tests.hostile.kit import (
    HEADER,
    SASL,
    TLS,
    WAIT,
    Client,
)
from tests.hostile.server import Server

TO_BOB = "<message to='bob@localhost/test' type='chat'><body>forged</body></message>"


class TestStarttls:
    """RFC 6120 §5.4: what comes before the handshake never counts."""

    PIPELINED: ClassVar = {
        "stanza": TO_BOB,
        "stream and login": f"{HEADER}<auth xmlns='{SASL}' mechanism='PLAIN'>AAAA</auth>",
        "stream": HEADER,
        "half a stanza": "<message to='bob@localhost/test'>",
        "another starttls": f"<starttls xmlns='{TLS}'/>",
    }

    @pytest.mark.parametrize("name", PIPELINED)
    def test_pipelined(self, connect: Connect, bob: Client, name: str) -> None:
        # CVE-2011-0411. RFC 6120 §5.4.3.3 has it thrown away; to say so is better, as nobody
        # honest sends it.
        client = connect()
        client.open()
        client.send(f"<starttls xmlns='{TLS}'/>{self.PIPELINED[name]}")
        assert client.stream_error() == "policy-violation"
        assert bob.ping() == []

    @pytest.mark.parametrize("name", PIPELINED)
    def test_plain_bytes_after_proceed(self, connect: Connect, bob: Client, name: str) -> None:
        client = connect()
        client.open()
        client.send(f"<starttls xmlns='{TLS}'/>")
        proceed = client.next()
        assert proceed is not None
        client.send(self.PIPELINED[name])
        said = client.drain()
        assert b"<" not in said, "only a TLS alert may come"
        assert bob.ping() == []

    def test_white_space_behind_it_is_harmless(self, connect: Connect) -> None:
        client = connect()
        client.open()
        client.send(f"<starttls xmlns='{TLS}'/>\n ")
        assert client.next() is not None
        client.tls()
        client.open()
        assert client.scram("alice") == "success"

    def test_what_was_said_before_tls_is_forgotten(self, connect: Connect) -> None:
        """A login that was begun in plain text does not go on under TLS (§5.4.3.3)."""
        client = connect()
        client.open()
        first_id = client.header.get("id") if client.header is not None else None
        client.auth("SCRAM-SHA-1", "n,,n=alice,r=abc")
        client.challenge()
        client.send(f"<abort xmlns='{SASL}'/>")
        client.sasl_failure()
        client.starttls()
        client.open()
        assert client.header is not None
        assert client.header.get("id") != first_id
        client.response("c=biws,r=x,p=AAAA")
        assert client.sasl_failure() == "malformed-request"

    def test_in_the_middle_of_sasl(self, connect: Connect) -> None:
        client = connect()
        client.open()
        client.auth("SCRAM-SHA-1", "n,,n=alice,r=abc")
        client.challenge()
        client.send(f"<starttls xmlns='{TLS}'/>")
        assert client.stream_error() == "not-authorized"

    def test_twice(self, connect: Connect) -> None:
        # §5.4.2.2: a failure, and the stream is closed.
        client = connect()
        client.open()
        client.starttls()
        client.open()
        client.send(f"<starttls xmlns='{TLS}'/>")
        failure = client.next()
        assert failure is not None
        assert failure.tag == f"{{{TLS}}}failure"
        client.drain()

    def test_wrong_namespace(self, connect: Connect) -> None:
        client = connect()
        client.open()
        client.send("<starttls/>")
        assert client.stream_error() in {"not-authorized", "unsupported-stanza-type"}


class TestTls:
    """Nonsense in place of TLS: the connection ends, and that is all."""

    GARBAGE: ClassVar = {
        "xml": HEADER.encode(),
        "zeros": bytes(1000),
        "http": b"GET / HTTP/1.1\r\n\r\n",
        "record that is too long": b"\x16\x03\x01\xff\xff" + b"x" * 70_000,
        "alert": b"\x15\x03\x01\x00\x02\x02\x28",
        "application data": b"\x17\x03\x03\x00\x10" + bytes(16),
        "ssl 2": b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10",
    }

    @pytest.mark.parametrize("name", GARBAGE)
    def test_garbage(self, connect: Connect, server: Server, name: str) -> None:
        client = connect(port=server.tls_port)
        client.send(self.GARBAGE[name])
        assert b"<" not in client.drain()

    def test_garbage_after_the_client_hello(self, connect: Connect, server: Server) -> None:
        client = connect(port=server.tls_port)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        hello = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
        with pytest.raises(ssl.SSLWantReadError):
            hello.do_handshake()
        client.send(outgoing.read())
        assert client.socket.recv(5)[:1] == b"\x16"  # the server's hello
        client.send(b"\x16\x03\x03\x00\x40" + bytes(range(64)))
        client.drain()

    def test_garbage_after_the_handshake(self, connect: Connect, server: Server) -> None:
        client = connect(port=server.tls_port)
        client.tls()
        client.open()
        plain = socket.socket(fileno=client.socket.detach())
        client.socket = plain
        plain.settimeout(WAIT)
        client.send(b"\x17\x03\x03\x00\x20" + bytes(32))
        client.drain()

    def test_old_version(self, connect: Connect, server: Server) -> None:
        # RFC 7590 §3 and RFC 8996.
        client = connect(port=server.tls_port)
        hello = (
            bytes.fromhex("160301002d010000290301") + bytes(32) + bytes.fromhex("000002002f0100")
        )
        client.send(hello)
        said = client.drain()
        assert said[:1] == b"\x15", "only an alert"

    def test_wrong_protocol_by_alpn(self, connect: Connect, server: Server) -> None:
        client = connect(port=server.tls_port)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
            context.wrap_socket(client.socket, server_hostname="localhost")

    def test_renegotiation(self, connect: Connect, server: Server) -> None:
        # CVE-2021-32920: it costs the server much and the client little.
        client = connect(port=server.tls_port)
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
        client.socket.setblocking(True)
        tls = SSL.Connection(context, client.socket)
        tls.set_connect_state()
        tls.do_handshake()
        tls.sendall(HEADER.encode())
        used = server.cpu()
        try:
            assert b"<?xml" in tls.recv(65_536)
            for _ in range(50):
                tls.renegotiate()
                tls.do_handshake()
                tls.sendall(b" ")
                client.socket.settimeout(0.2)
        except (SSL.Error, OSError):
            pass
        else:
            assert tls.total_renegotiations() == 0
        assert server.cpu() - used < 0.3

    def test_closed_in_the_middle(self, connect: Connect, server: Server) -> None:
        for size in (1, 5, 40):
            client = connect(port=server.tls_port)
            client.send(bytes.fromhex("16030100c8010000c40303")[:size])
            client.close()
        time.sleep(0.05)
