"""The component's end of XEP-0114 as a state machine, alone and against the server's."""

from __future__ import annotations

import pytest

from jabberd.xmpp import ns, sm
from jabberd.xmpp.element import Element
from jabberd.xmpp.error import LocalError, StreamCondition
from jabberd.xmpp.frames import BadAddress, Limits, Nonza
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Message
from jabberd.xmpp.stream.component import ComponentStream
from jabberd.xmpp.stream.component_initiating import ComponentInitiatingStream
from jabberd.xmpp.stream.events import Authenticated, Closed, Event

DOMAIN = JID.parse("plays.shakespeare.lit")
HEADER = (
    "<?xml version='1.0'?><stream:stream xmlns:stream='http://etherx.jabber.org/streams'"
    " xmlns='jabber:component:accept' from='plays.shakespeare.lit' id='3BF96D32'>"
)
ADDRESSED = f"from='juliet@example.com' to='romeo@{DOMAIN}'"


def started(secret: str = "test") -> ComponentInitiatingStream:
    """A stream whose header has been written."""
    stream = ComponentInitiatingStream(
        domain=DOMAIN,
        secret=secret,
        before=Limits(stanza_bytes=1000),
        after=Limits(stanza_bytes=5000),
    )
    stream.start()
    return stream


def ready(header: str = HEADER) -> ComponentInitiatingStream:
    """A stream whose handshake was answered."""
    stream = started()
    stream.receive(header.encode() + b"<handshake/>")
    assert stream.is_ready
    stream.take()
    return stream


def condition(events: list[Event]) -> StreamCondition:
    """Why the stream was closed."""
    closed = events[-1]
    assert isinstance(closed, Closed)
    assert closed.error is not None
    return closed.error.condition


def test_the_example_of_the_xep() -> None:
    stream = started()
    assert stream.take().decode() == (
        "<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept'"
        " xmlns:stream='http://etherx.jabber.org/streams' to='plays.shakespeare.lit'>"
    )
    assert stream.receive(HEADER.encode()) == []
    assert stream.take() == b"<handshake>aaee83c26aeeafcbabeabfcbcd50df997e0a2a1e</handshake>"
    before = stream.is_ready
    assert stream.receive(b"<handshake/>") == [Authenticated(DOMAIN, "handshake")]
    assert (before, stream.is_ready) == (False, True)
    assert not stream.offers_sm
    with pytest.raises(LocalError):
        stream.start()


def test_both_ends() -> None:
    ours = started("swordfish")
    server = ComponentStream(
        secret=lambda domain: "swordfish",
        taken=lambda domain: False,
        before=Limits(),
        after=Limits(),
        token=lambda: "id-1",
    )
    found: list[Event] = []
    for _ in range(3):
        server.receive(ours.take())
        found += ours.receive(server.take())
    assert found == [Authenticated(DOMAIN, "handshake")]
    assert ours.offers_sm
    (enable,) = server.receive(sm.ENABLE)
    assert isinstance(enable, Nonza)
    assert (enable.ns, enable.name) == (ns.SM, "enable")
    (enabled,) = ours.receive(sm.enabled())
    assert isinstance(enabled, Nonza)
    assert enabled.name == "enabled"


def test_stanzas_are_taken_over_whatever_namespace_they_name() -> None:
    stream = ready(HEADER.replace("<stream:stream", "<stream:stream xmlns:sm='urn:xmpp:sm:3'", 1))
    assert stream.offers_sm
    head, content = f"<message {ADDRESSED}>", "<body xmlns='jabber:component:accept'>x</body>"
    (message,) = stream.receive(f"{head}{content}</message>".encode())
    assert isinstance(message, Message)
    assert message.body() == "x"
    written = Message.build([Element(ns.CLIENT, "body", {}, ["y"])], to=DOMAIN, from_=DOMAIN)
    assert b"<body>y</body>" in stream.send(written)


def test_an_address_that_is_none_is_told() -> None:
    stream = ready()
    (bad,) = stream.receive(b"<message from='@' to='x@plays.shakespeare.lit'/>")
    assert isinstance(bad, BadAddress)
    assert not stream.closed


@pytest.mark.parametrize(
    "name", ["not-authorized", "host-unknown", "conflict", "connection-timeout"]
)
def test_what_the_server_says_against_us_is_told(name: str) -> None:
    error = f"<stream:error><{name} xmlns='{ns.STREAM_ERRORS}'/></stream:error></stream:stream>"
    for stream, header in ((started(), HEADER), (ready(), "")):
        assert condition(stream.receive((header + error).encode())).value == name
        assert stream.closed
        assert stream.receive(b"<handshake/>") == []


def test_a_secret_is_not_told_in_clear() -> None:
    stream = started("swordfish")
    stream.receive(HEADER.encode())
    assert b"swordfish" not in stream.take()
    assert "swordfish" not in repr(stream)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (HEADER.replace("component:accept", "client"), StreamCondition.INVALID_NAMESPACE),
        (f"{HEADER}<message {ADDRESSED}/>", StreamCondition.UNSUPPORTED_STANZA_TYPE),
        (f"{HEADER}<r xmlns='urn:xmpp:sm:3'/>", StreamCondition.UNSUPPORTED_STANZA_TYPE),
        (f"{HEADER}<handshake>{'x' * 2000}</handshake>", StreamCondition.POLICY_VIOLATION),
        (f"{HEADER}<handshake/><handshake/>", StreamCondition.UNSUPPORTED_STANZA_TYPE),
        (f"{HEADER}<handshake/><message/>", StreamCondition.IMPROPER_ADDRESSING),
        (f"{HEADER}<handshake/><a></b>", StreamCondition.NOT_WELL_FORMED),
    ],
)
def test_what_a_server_may_not_say(text: str, expected: StreamCondition) -> None:
    stream = started()
    assert condition(stream.receive(text.encode())) is expected
    assert stream.take().endswith(b"</stream:stream>")


def test_the_end() -> None:
    stream = ready()
    assert stream.receive(b"</stream:stream>") == [Closed(None, by_peer=True)]
    assert stream.take() == b"</stream:stream>"
    assert ready().eof() == [Closed(None, by_peer=True)]
