"""XEP-0114 as a state machine: what a component may say when, without a socket."""

from __future__ import annotations

import hashlib

import pytest

from jabberd.xmpp import ns
from jabberd.xmpp.error import StreamCondition, StreamError
from jabberd.xmpp.frames import BadAddress, Limits
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Iq, Message, Presence, Stanza
from jabberd.xmpp.stream.component import ComponentStream
from jabberd.xmpp.stream.events import Authenticated, AuthenticationFailed, Closed, Event

DOMAIN = "plays.shakespeare.lit"
ID = "3BF96D32"  # XEP-0114 §3, example 2
SECRET = "test"  # the XEP does not say so, but its example 3 is made of it
PROOF = "aaee83c26aeeafcbabeabfcbcd50df997e0a2a1e"  # example 3
HEADER = (
    "<stream:stream xmlns='jabber:component:accept'"
    " xmlns:stream='http://etherx.jabber.org/streams' to='plays.shakespeare.lit'>"
)
ADDRESSED = f"from='romeo@{DOMAIN}' to='juliet@example.com'"


class Server:
    """What the stream asks its server."""

    def __init__(self) -> None:
        self.taken = False
        self.stream = ComponentStream(
            secret=self.secret,
            taken=lambda domain: self.taken,
            before=Limits(stanza_bytes=1000),
            after=Limits(stanza_bytes=5000),
            token=lambda: ID,
        )

    def secret(self, domain: JID) -> str:
        """The one component's secret."""
        if domain.text != DOMAIN:
            raise StreamError(StreamCondition.HOST_UNKNOWN)
        return SECRET

    def says(self, text: str) -> list[Event]:
        """The component sends something."""
        return self.stream.receive(text.encode())

    def take(self) -> str:
        """What the component is sent."""
        return self.stream.take().decode()


def proof(stream_id: str = ID, secret: str = SECRET) -> str:
    """The handshake that belongs to a secret."""
    value = hashlib.sha1((stream_id + secret).encode()).hexdigest()
    return f"<handshake>{value}</handshake>"


def ready() -> Server:
    """A server whose component has shaken hands."""
    server = Server()
    server.says(HEADER + proof())
    assert server.stream.is_ready
    server.take()
    return server


def ends_with(events: list[Event], condition: StreamCondition) -> None:
    """The last event closes the stream, with this error."""
    closed = events[-1]
    assert isinstance(closed, Closed)
    assert closed.error is not None
    assert closed.error.condition is condition


def test_stream_header_and_handshake() -> None:
    server = Server()
    assert server.says(HEADER) == []
    header = server.take()
    assert header.startswith("<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept'")
    assert f" from='{DOMAIN}' id='{ID}'>" in header
    assert "features" not in header
    assert not server.stream.is_ready
    events = server.says(proof())
    assert events == [Authenticated(JID.parse(DOMAIN), "handshake")]
    assert server.take() == "<handshake/>"
    assert server.stream.is_ready


def test_the_example_of_the_xep() -> None:
    server = Server()
    (event,) = server.says(f"{HEADER}<handshake>{PROOF}</handshake>")
    assert isinstance(event, Authenticated)


def test_everything_in_single_bytes() -> None:
    server = Server()
    text = f"{HEADER} {proof()} <message {ADDRESSED}><body>hi</body></message></stream:stream>"
    events = [event for byte in text for event in server.says(byte)]
    assert isinstance(events[0], Authenticated)
    assert isinstance(events[1], Message)
    assert events[2] == Closed(None, by_peer=True)
    assert len(events) == 3
    assert server.take().endswith("<handshake/></stream:stream>")


@pytest.mark.parametrize(
    "given",
    [
        "",
        "0" * 40,
        hashlib.sha1(f"{ID}{SECRET}".encode()).hexdigest().upper(),
        hashlib.sha1(SECRET.encode()).hexdigest(),
        hashlib.sha1(f"{ID}{SECRET}".encode()).hexdigest()[:-1],
        "ÿ" * 40,
    ],
)
def test_wrong_secret(given: str) -> None:
    server = Server()
    events = server.says(f"{HEADER}<handshake>{given}</handshake><message {ADDRESSED}/>")
    failed, closed = events
    assert isinstance(failed, AuthenticationFailed)
    assert failed.account == JID.parse(DOMAIN)
    ends_with([closed], StreamCondition.NOT_AUTHORIZED)
    answer = server.take()
    assert "<not-authorized xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>" in answer
    assert answer.endswith("</stream:stream>")
    assert SECRET not in answer
    assert server.says(proof()) == []


@pytest.mark.parametrize(
    ("header", "condition"),
    [
        (HEADER.replace(DOMAIN, "other.example"), StreamCondition.HOST_UNKNOWN),
        (HEADER.replace(DOMAIN, f"sub.{DOMAIN}"), StreamCondition.HOST_UNKNOWN),
        (HEADER.replace(DOMAIN, f"x@{DOMAIN}"), StreamCondition.HOST_UNKNOWN),
        (HEADER.replace(DOMAIN, f"{DOMAIN}/x"), StreamCondition.HOST_UNKNOWN),
        (HEADER.replace(f" to='{DOMAIN}'", ""), StreamCondition.IMPROPER_ADDRESSING),
        (HEADER.replace(DOMAIN, "a@@b"), StreamCondition.IMPROPER_ADDRESSING),
        (HEADER.replace(ns.COMPONENT, ns.CLIENT), StreamCondition.INVALID_NAMESPACE),
        (
            HEADER.replace(ns.COMPONENT, "jabber:component:connect"),
            StreamCondition.INVALID_NAMESPACE,
        ),
        (HEADER.replace(ns.STREAM, "urn:other"), StreamCondition.INVALID_NAMESPACE),
        ("<!DOCTYPE x>" + HEADER, StreamCondition.RESTRICTED_XML),
        ("GET / HTTP/1.1\r\n\r\n", StreamCondition.NOT_WELL_FORMED),
    ],
)
def test_wrong_header(header: str, condition: StreamCondition) -> None:
    server = Server()
    events = server.says(header)
    ends_with(events, condition)
    answer = server.take()
    # RFC 6120 §4.9.1.2: the error comes inside a stream.
    assert answer.count("<stream:stream ") == 1
    assert f"<{condition.value} " in answer
    assert answer.endswith("</stream:error></stream:stream>")


@pytest.mark.parametrize(
    "early",
    [
        f"<message {ADDRESSED}><body>hi</body></message>",
        f"<presence {ADDRESSED}/>",
        f"<iq type='get' id='1' {ADDRESSED}><query xmlns='jabber:iq:roster'/></iq>",
        "<message from='@' to='@'/>",
        "<handshake xmlns='jabber:client'/>",
        "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'/>",
        "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
    ],
)
def test_nothing_is_accepted_before_the_handshake(early: str) -> None:
    server = Server()
    events = server.says(HEADER + early + proof())
    ends_with(events, StreamCondition.NOT_AUTHORIZED)
    assert len(events) == 1
    assert not server.stream.is_ready


def test_conflict_is_for_those_who_know_the_secret() -> None:
    server = Server()
    server.taken = True
    ends_with(server.says(HEADER + proof()), StreamCondition.CONFLICT)
    server = Server()
    server.taken = True
    ends_with(server.says(HEADER + proof(secret="no")), StreamCondition.NOT_AUTHORIZED)


def test_a_component_removed_between_header_and_handshake() -> None:
    server = Server()
    server.says(HEADER)

    def gone(domain: JID) -> str:
        raise StreamError(StreamCondition.HOST_UNKNOWN)

    server.stream._secret = gone
    ends_with(server.says(proof()), StreamCondition.HOST_UNKNOWN)


def test_stream_errors_and_ends_of_the_peer() -> None:
    for stage in (Server, ready):
        server = stage()
        text = "" if server.stream.is_ready else HEADER
        error = "<stream:error><reset xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"
        ends_with(server.says(text + error), StreamCondition.RESET)
        server = stage()
        assert server.says(text + "</stream:stream>") == [Closed(None, by_peer=True)]


@pytest.mark.parametrize(
    ("stanza", "condition"),
    [
        (
            "<message to='juliet@example.com' from='x@example.com'/>",
            StreamCondition.INVALID_FROM,
        ),
        (f"<message to='a@example.com' from='x@sub.{DOMAIN}'/>", StreamCondition.INVALID_FROM),
        (
            "<presence to='juliet@example.com' from='shakespeare.lit'/>",
            StreamCondition.INVALID_FROM,
        ),
        ("<message to='juliet@example.com' from='a@@b'/>", StreamCondition.INVALID_FROM),
        ("<message to='@' from='x@example.com'/>", StreamCondition.INVALID_FROM),
        ("<message to='juliet@example.com'/>", StreamCondition.IMPROPER_ADDRESSING),
        ("<message to='@'/>", StreamCondition.IMPROPER_ADDRESSING),
        (f"<iq type='get' id='1' from='{DOMAIN}'/>", StreamCondition.IMPROPER_ADDRESSING),
        (proof(), StreamCondition.UNSUPPORTED_STANZA_TYPE),
        (f"<route {ADDRESSED}/>", StreamCondition.UNSUPPORTED_STANZA_TYPE),
        (f"<message {ADDRESSED}><!-- x --></message>", StreamCondition.RESTRICTED_XML),
        (f"<message {ADDRESSED}><a></b></message>", StreamCondition.NOT_WELL_FORMED),
        (f"<message {ADDRESSED}>{'x' * 5000}</message>", StreamCondition.POLICY_VIOLATION),
        ("text", StreamCondition.BAD_FORMAT),
    ],
)
def test_what_ends_a_stream_that_is_ready(stanza: str, condition: StreamCondition) -> None:
    server = ready()
    before = f"<message {ADDRESSED} id='1'/>"
    events = server.says(before + stanza + f"<message {ADDRESSED} id='2'/>")
    assert [event.id for event in events if isinstance(event, Stanza)] == ["1"]
    ends_with(events, condition)
    assert len(events) == 2
    assert f"<{condition.value} " in server.take()


def test_a_bad_recipient_ends_nothing() -> None:
    server = ready()
    events = server.says(f"<message from='x@{DOMAIN}' to='@'/><message {ADDRESSED}/>")
    bad, message = events
    assert isinstance(bad, BadAddress)
    assert bad.attr == "to"
    assert isinstance(message, Message)


def test_limits_change_with_the_handshake() -> None:
    server = Server()
    big = f"<message {ADDRESSED}>{'x' * 2000}</message>"
    ends_with(
        server.says(f"{HEADER}<handshake>{'0' * 2000}</handshake>"),
        StreamCondition.POLICY_VIOLATION,
    )
    (message,) = ready().says(big)
    assert isinstance(message, Message)


def test_payloads_stay_as_they_are() -> None:
    server = ready()
    inner = "<body>a &lt; b</body><x xmlns='urn:x' y:z='1' xmlns:y='urn:y'>  <w/></x>"
    (message,) = server.says(f"<message type='chat' {ADDRESSED}>{inner}</message>")
    assert isinstance(message, Message)
    assert message.inner == inner.encode()
    assert message.children == ("jabber:client body", "urn:x x")
    assert message.body() == "a < b"
    assert inner.encode() in server.stream.send(message)


@pytest.mark.parametrize(
    ("start", "inner"),
    [
        ("", "<body xmlns='jabber:component:accept'>a &lt; b</body> <x xmlns='urn:x'/>"),
        ("", "<c:body xmlns:c='jabber:component:accept'>a &lt; b</c:body> <x xmlns='urn:x'/>"),
        (
            " xmlns:c='jabber:component:accept'",
            "<c:body>a &lt; b</c:body> <x xmlns='urn:x'/>",
        ),
        (
            " xmlns='jabber:component:accept'",
            "<body>a &lt; b</body> <x xmlns='urn:x'/>",
        ),
    ],
)
def test_what_names_the_namespace_of_components_becomes_a_clients(start: str, inner: str) -> None:
    (message,) = ready().says(f"<message{start} {ADDRESSED}>{inner}</message>")
    assert isinstance(message, Message)
    assert message.children == ("jabber:client body", "urn:x x")
    assert message.body() == "a < b"
    assert b"<body>a &lt; b</body> <x xmlns='urn:x'/>" in message.to_bytes()


def test_what_names_the_namespace_of_clients_becomes_a_components() -> None:
    inner = b"<c:body>a &lt; b</c:body>"
    message = Message(inner=inner, extra=b" xmlns:c='jabber:client'")
    assert b"<body>a &lt; b</body>" in ready().stream.send(message)
    message = Message(inner=b"<body xmlns='jabber:client'>a &lt; b</body>")
    assert ready().stream.send(message) == b"<message><body>a &lt; b</body></message>"


def test_prefixed_stanzas() -> None:
    server = Server()
    header = HEADER.replace("<stream:stream", f"<stream:stream xmlns:c='{ns.COMPONENT}'")
    _, presence, iq = server.says(
        f"{header}{proof()}<c:presence {ADDRESSED}><c:show>away</c:show></c:presence>"
        f"<iq type='error' id='1' {ADDRESSED}><c:error type='cancel'/></iq>"
    )
    assert isinstance(presence, Presence)
    assert presence.children == ("jabber:client show",)
    assert isinstance(iq, Iq)
    assert iq.children == ("jabber:client error",)
    assert b"<error type='cancel'/>" in iq.to_bytes()


def test_whitespace_keeps_alive() -> None:
    server = ready()
    assert server.says(" \n ") == []
    (message,) = server.says(f" <message {ADDRESSED}/> ")
    assert isinstance(message, Message)


def test_the_secret_is_any_text() -> None:
    server = Server()
    server.stream._secret = lambda domain: "pä ss"
    (event,) = server.says(HEADER + proof(secret="pä ss"))
    assert isinstance(event, Authenticated)
