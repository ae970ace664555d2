"""Too much, too deep, too slow, without end: RFC 6120 §13.12, §4.9.3.14, XEP-0478."""

from __future__ import annotations

import select
import time
from collections.abc import Iterator
from itertools import count, repeat
from pathlib import Path

import pytest

from tests.hostile.conftest import Connect
from tests.hostile.kit import HEADER, PING, SASL, TLS, Client, error_of
from tests.hostile.server import Server

POLICY = "policy-violation"  # RFC 6120 §4.9.3.14: "a stanza exceeds a configured size limit"
KIB = 1024


def pour(client: Client, chunks: Iterator[str]) -> None:
    """Send until the server says something, but not for ever."""
    sent = 0
    # The kernel takes some megabytes on its own: from some point on, wait for the server.
    while not select.select([client.socket], [], [], 0.05 if sent > 512 * KIB else 0)[0]:
        data = next(chunks)
        client.send(data)
        sent += len(data)
        assert sent < 3 * KIB * KIB, "the server takes everything"


def attributes() -> Iterator[str]:
    """Attributes without end, no two of the same name."""
    for page in count():
        yield "".join(f"a{page}-{number}='' " for number in range(1000))


def numbered(attribute: str, amount: int) -> str:
    """This attribute so many times, with a number in its name."""
    return " ".join(attribute.replace("{}", str(number)) for number in range(amount))


OVERSIZED = {
    "text": f"<message><body>{'x' * 300 * KIB}</body></message>",
    "attribute": f"<message id='{'x' * 300 * KIB}'/>",
    "payload of an iq": f"<iq type='set' id='1'><query xmlns='urn:x'>{'<a/>' * 70000}</query></iq>",
    "cdata": f"<message><body><![CDATA[{'<' * 300 * KIB}]]></body></message>",
    "references": f"<message><body>{'&amp;' * 60 * KIB}</body></message>",
    "element that is no stanza": f"<x xmlns='urn:x'>{'x' * 300 * KIB}</x>",
    "white space inside a tag": f"<message{' ' * 300 * KIB}/>",
}


@pytest.mark.parametrize("name", OVERSIZED)
def test_oversized(alice: Client, name: str) -> None:
    alice.send(OVERSIZED[name])
    assert alice.stream_error() == POLICY


ENDLESS = {
    "text": ("<message><body>", "x" * 16 * KIB),
    "children": ("<message>", "<a/>" * 4 * KIB),
    "depth": ("<message>", "<a>" * 4 * KIB),
    "attribute": ("<message id='", "x" * 16 * KIB),
    "attributes": ("<message ", ""),
    "name": ("<", "x" * 16 * KIB),
    "cdata": ("<message><![CDATA[", "x" * 16 * KIB),
    "processing instruction": ("<?", "x" * 16 * KIB),
    "comment": ("<!--", "x" * 16 * KIB),
    "greater-than signs in an attribute": ("<message id='", ">" * 16 * KIB),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_never_ending(alice: Client, bystander: Client, name: str) -> None:
    start, more = ENDLESS[name]
    alice.send(start)
    pour(alice, repeat(more) if more else attributes())
    bystander.ping(1.0)
    assert alice.stream_error() in {POLICY, *RESTRICTED.get(name, ())}


# Of these a server may say what they are before they are too long.
RESTRICTED = {"comment": ["restricted-xml"], "processing instruction": ["restricted-xml"]}


@pytest.mark.parametrize("start", ["<?xml version='1.0'?><stream:stream x='", "<"])
def test_never_ending_header(connect: Connect, bystander: Client, start: str) -> None:
    client = connect()
    client.send(start)
    pour(client, repeat("x" * KIB))
    bystander.ping(1.0)
    assert client.stream_error() == POLICY


@pytest.mark.parametrize("start", [f"<auth xmlns='{SASL}'>", "<", "<iq><a>"])
def test_never_ending_before_login(connect: Connect, bystander: Client, start: str) -> None:
    client = connect()
    client.open()
    client.send(start)
    pour(client, repeat("x" * KIB))
    bystander.ping(1.0)
    assert client.stream_error() == POLICY


# Each is small, so that its own limit is what is hit.
MANY = {
    "depth 65": "<message>" + "<a>" * 65 + "</a>" * 65 + "</message>",
    "depth 20000": "<message>" + "<a>" * 20_000 + "</a>" * 20_000 + "</message>",
    "depth in an iq": "<iq type='set' id='1'>" + "<a>" * 100 + "</a>" * 100 + "</iq>",
    "depth in a presence": "<presence>" + "<a xmlns='urn:x'>" * 100 + "</a>" * 100 + "</presence>",
    "attributes": "<message " + numbered("a{}=''", 65) + "/>",
    "attributes of a child": "<message><b " + numbered("a{}=''", 999) + "/></message>",
    "children": f"<message>{'<a/>' * 10_001}</message>",
    "namespaces": "<message>" + "<a xmlns='urn:x'/>" * 1001 + "</message>",
    "prefixes": "<message><a " + numbered("xmlns:a{}='urn:x'", 1001) + "/></message>",
    "long name": f"<message><{'a' * 1025}/></message>",
    "long namespace": f"<message><a xmlns='urn:{'a' * 1025}'/></message>",
    "long name of an attribute": f"<message><a {'a' * 1025}=''/></message>",
}


@pytest.mark.parametrize("name", MANY)
def test_too_many(alice: Client, name: str) -> None:
    alice.send(MANY[name])
    assert alice.stream_error() == POLICY


def test_deep_but_allowed(alice: Client, bob: Client) -> None:
    nested = "<a xmlns='urn:x'>" + "<a>" * 61 + "</a>" * 61 + "</a>"
    alice.send(f"<message to='bob@localhost/test'>{nested}</message>")
    message = bob.next()
    assert message is not None
    assert len(list(message.iter("{urn:x}a"))) == 62


BEFORE_LOGIN = {
    "auth": f"{HEADER}<auth xmlns='{SASL}' mechanism='PLAIN'>{'A' * 20_000}</auth>",
    "stanza": f"{HEADER}<message><body>{'A' * 20_000}</body></message>",
    "header": HEADER.replace("to=", f"x='{'A' * 20_000}' to="),
    "attributes of the header": HEADER.replace("to=", numbered("a{}=''", 99) + " to="),
    "prefixes of the header": HEADER.replace("to=", numbered("xmlns:a{}='urn:x'", 99) + " to="),
    "1999": HEADER.replace(" version='1.0'>", ">")
    + f"<iq type='set' id='1'><query xmlns='jabber:iq:auth'>{'<a/>' * 4000}</query></iq>",
}


@pytest.mark.parametrize("name", BEFORE_LOGIN)
def test_limits_before_login(connect: Connect, name: str) -> None:
    client = connect()
    client.send(BEFORE_LOGIN[name])
    assert client.stream_error() == POLICY


def test_white_space_is_no_attack(alice: Client) -> None:
    for _ in range(16):
        alice.send(b" \n\t\r" * 16 * KIB)
    alice.ping()


def test_one_byte_at_a_time(alice: Client) -> None:
    for byte in PING.format("slowly").encode():
        alice.send(bytes([byte]))
    assert alice.answer("slowly").get("type") == "result"


def test_attribute_in_small_pieces(alice: Client, bystander: Client) -> None:
    # CVE-2023-52425: expat scans an unfinished tag anew with each piece.
    alice.send("<message id='")
    for _ in range(2_000):
        alice.send(b">" * 100)
    bystander.ping(1.0)
    alice.send("'/>")


def test_many_requests_at_once_are_answered_in_order(alice: Client, bystander: Client) -> None:
    alice.send("".join(PING.format(f"many{number}") for number in range(2_000)))
    bystander.ping(1.0)
    for number in range(2_000):
        element = alice.next()
        assert element is not None
        assert element.get("id") == f"many{number}"


def test_more_than_the_rate_is_slowed_down_and_not_lost(own_folder: Path) -> None:
    server = Server(own_folder, "[limits]\nbytes_per_second = 20000\nburst_bytes = 20000\n")
    server.populate()
    try:
        server.start()
        with Client(server.port) as greedy, Client(server.port) as other:
            greedy.login("alice")
            other.login("watcher")
            begun = time.monotonic()
            filler = f"<x xmlns='urn:x'>{'x' * 10_000}</x>"
            for _ in range(4):
                greedy.send(f"<message to='watcher@localhost/test'>{filler}</message>")
            time.sleep(0.1)  # what is read at once is not yet too much
            greedy.send(PING.format("end"))
            other.ping(1.0)
            greedy.answer("end")
            assert time.monotonic() - begun > 0.4
            other.ping()
            assert other.raw.count(b"<message ") == 4
        server.check()
    finally:
        server.stop()


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that waits one second for logins."""
    server = Server(tmp_path_factory.mktemp("impatient"), "[limits]\nlogin_seconds = 1\n")
    server.populate()
    server.start()
    yield server
    server.stop()


SLOW = {
    "silence": "",
    "part of a header": "<?xml version='1.0'?><stream:st",
    "header": HEADER,
    "part of a stanza": f"{HEADER}<iq type='get'",
    "starttls without a handshake": f"{HEADER}<starttls xmlns='{TLS}'/>",
    "sasl without an end": f"{HEADER}<auth xmlns='{SASL}' mechanism='SCRAM-SHA-1'/>",
    "stream of 1999": HEADER.replace(" version='1.0'>", ">"),
}


def test_login_deadline(impatient: Server) -> None:
    """All at once: they need no second each."""
    with Client(impatient.port) as patient:
        patient.login("watcher")
        begun = time.monotonic()
        slow = {name: Client(impatient.port) for name in SLOW}
        for name, client in slow.items():
            client.send(SLOW[name])
        while time.monotonic() - begun < 0.7:
            for client in slow.values():
                client.send(b" ")  # to be busy is no excuse
            time.sleep(0.1)
        for name, client in slow.items():
            if name == "starttls without a handshake":
                assert client.drain(3).endswith(b"/>"), name  # the last word was <proceed/>
            else:
                # RFC 6120 has no condition for this; both of these can be read so.
                assert client.stream_error(3) in {"connection-timeout", POLICY}, name
            assert 0.6 < time.monotonic() - begun < 3, name
            client.close()
        patient.ping(1.0)
        impatient.check()


def test_drip_before_login(impatient: Server) -> None:
    """A header that comes byte by byte does not put the deadline off."""
    with Client(impatient.port) as client:
        begun = time.monotonic()
        client.socket.settimeout(0.05)
        said = b""
        for byte in HEADER.encode():
            client.send(bytes([byte]))
            try:
                said += client.socket.recv(4096)
            except TimeoutError:
                continue
            except ConnectionError:
                break
            if said.endswith(b"</stream:stream>"):
                break
        assert time.monotonic() - begun < 3
        assert said.endswith(b"</stream:stream>")
    impatient.check()


def test_login_in_time_has_no_deadline_afterwards(impatient: Server) -> None:
    with Client(impatient.port) as client:
        client.login("watcher")
        time.sleep(1.3)
        client.ping()


def test_slow_reader_is_disconnected_and_nobody_waits_for_it(own_folder: Path) -> None:
    server = Server(own_folder, "[limits]\noutput_bytes = 65536\n")
    server.populate()
    try:
        server.start()
        with (
            Client(server.port, buffer=4096) as lazy,
            Client(server.port) as sender,
            Client(server.port) as other,
        ):
            lazy.login("alice", "lazy")
            sender.login("alice", "sender")
            other.login("watcher")
            body = "x" * 50_000
            for _ in range(200):
                sender.send(
                    "<message to='alice@localhost/lazy' type='headline'>"
                    f"<body>{body}</body></message>"
                )
                sender.ping(1.0)
                other.ping(1.0)
                if any("does not read" in str(one["event"]) for one in server.check()):
                    break
            else:
                raise AssertionError("the slow reader is still there")
            # RFC 6121 §8.5.3.2.3: there is no such resource any more.
            answer = sender.ask(
                "<iq type='get' id='{}' to='alice@localhost/lazy'>"
                "<ping xmlns='urn:xmpp:ping'/></iq>"
            )
            assert error_of(answer) == ("cancel", "service-unavailable")
        server.check()
    finally:
        server.stop()
