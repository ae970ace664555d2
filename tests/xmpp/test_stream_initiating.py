"""The initiating role: against our own receiving role, and against servers that misbehave."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jabberd.xmpp import ns
from jabberd.xmpp.element import Element
from jabberd.xmpp.error import (
    Condition,
    LocalError,
    SaslCondition,
    StanzaError,
    StreamCondition,
)
from jabberd.xmpp.frames import Nonza
from jabberd.xmpp.jid import JID
from jabberd.xmpp.sasl.offer import Channel
from jabberd.xmpp.stanza import Message, Presence
from jabberd.xmpp.stream import events
from jabberd.xmpp.stream.initiating import InitiatingStream
from jabberd.xmpp.stream.login import Tls
from tests.xmpp.documents import CUTS, cut
from tests.xmpp.sasl.kit import BINDINGS
from tests.xmpp.streams import (
    DOMAIN,
    PLAIN_TEXT,
    TLS,
    Talk,
    converse,
    initiating,
    receiving,
)

JULIET = JID("juliet", DOMAIN)
END = "</stream:stream>"
UNBOUND = Channel(secure=True)
FEATURES = "<stream:features>{}</stream:features>"
STARTTLS = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
PROCEED = "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
BIND = FEATURES.format("<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>")


def header(rest: str = " version='1.0'", content: str = "jabber:client") -> str:
    """A server's stream header."""
    return (
        f"<?xml version='1.0'?><stream:stream xmlns='{content}' id='i' from='{DOMAIN}'"
        f" xmlns:stream='http://etherx.jabber.org/streams'{rest}>"
    )


def mechanisms(*names: str, bindings: tuple[str, ...] = ()) -> str:
    inside = "".join(f"<mechanism>{name}</mechanism>" for name in names)
    listed = "".join(f"<channel-binding type='{name}'/>" for name in bindings)
    more = f"<sasl-channel-binding xmlns='{ns.SASL_CB}'>{listed}</sasl-channel-binding>"
    found = f"<mechanisms xmlns='{ns.SASL}'>{inside}</mechanisms>"
    return FEATURES.format(found + (more if bindings else ""))


def sasl(name: str, data: bytes | None = None, inside: str = "") -> str:
    text = base64.b64encode(data).decode() if data is not None else inside
    return f"<{name} xmlns='{ns.SASL}'>{text}</{name}>"


def initial(said: str) -> tuple[str, str]:
    """The mechanism that was chosen, and what it says first."""
    _, _, rest = said.rpartition(" mechanism='")
    name, _, rest = rest.partition("'>")
    text = rest.partition("</auth>")[0]
    return name, "" if text == "=" else base64.b64decode(text).decode()


# Both roles


@pytest.mark.parametrize("size", [1, 50, 100_000])
@pytest.mark.parametrize(
    ("channel", "server", "login", "mechanism"),
    [
        (PLAIN_TEXT, {}, {}, "SCRAM-SHA-512-PLUS"),
        (PLAIN_TEXT, {"tls_required": True}, {}, "SCRAM-SHA-512-PLUS"),
        (PLAIN_TEXT, {}, {"tls": Tls.WANTED}, "SCRAM-SHA-512-PLUS"),
        (PLAIN_TEXT, {"starttls": False}, {"tls": Tls.WANTED}, "SCRAM-SHA-512"),
        (PLAIN_TEXT, {}, {"tls": Tls.OFF}, "SCRAM-SHA-512"),
        (TLS, {}, {}, "SCRAM-SHA-512-PLUS"),
        (TLS, {"enabled": ("SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN")}, {}, "SCRAM-SHA-256-PLUS"),
        (TLS, {}, {"mechanisms": ("SCRAM-SHA-1", "PLAIN")}, "SCRAM-SHA-1-PLUS"),
        (UNBOUND, {"enabled": ("SCRAM-SHA-1", "PLAIN")}, {}, "SCRAM-SHA-1"),
        (TLS, {"enabled": ("PLAIN",)}, {}, "PLAIN"),
        (TLS, {}, {"mechanisms": ("PLAIN",)}, "PLAIN"),
        (Channel(secure=True, identities=(JULIET,)), {}, {"certificate": True}, "EXTERNAL"),
        (PLAIN_TEXT, {}, {"account": JID("", DOMAIN), "password": None}, "ANONYMOUS"),
    ],
)
def test_logging_in(
    channel: Channel, server: dict[str, Any], login: dict[str, Any], mechanism: str, size: int
) -> None:
    there = receiving(channel, **server)
    here = initiating(channel, resource="orchard", **login)
    converse(here, there, size)
    assert here.of(events.AuthenticationFailed) == []
    assert here.stream.is_ready
    assert there.stream.is_ready
    (welcome,) = here.of(events.Authenticated)
    assert welcome.mechanism == mechanism
    (wanted,) = there.of(events.BindWanted)
    assert (wanted.resource, wanted.mechanism) == ("orchard", mechanism)
    (bound,) = here.of(events.SessionBound)
    assert bound.jid == wanted.account.with_resource("orchard")
    tls = (channel.secure, server.get("starttls", True), login.get("tls", Tls.REQUIRED))
    encrypted = tls[0] or (tls[1] and tls[2] is not Tls.OFF)
    assert isinstance(here.stream, InitiatingStream)
    assert here.stream.is_secure is encrypted

    # Stanzas flow both ways.
    there.hear(there.stream.receive(here.stream.send(Message(to=JULIET, id="1"))))
    here.hear(here.stream.receive(there.stream.send(Presence(from_=JULIET)) + b"<r xmlns='a'/>"))
    assert there.kinds()[-1] is Message
    assert here.kinds()[-2:] == [Presence, Nonza]
    here.hear(here.stream.close())
    converse(here, there, size)
    assert here.closed == events.Closed(None, by_peer=False)
    assert there.closed == events.Closed(None, by_peer=True)


@pytest.mark.parametrize(
    ("login", "condition"),
    [
        ({"password": "wrong"}, SaslCondition.NOT_AUTHORIZED),
        ({"password": "wrong", "mechanisms": ("PLAIN",)}, SaslCondition.NOT_AUTHORIZED),
        ({"account": JID("nobody", DOMAIN)}, SaslCondition.NOT_AUTHORIZED),
        ({"account": JID("tybalt", DOMAIN)}, SaslCondition.ACCOUNT_DISABLED),
        ({"password": None}, SaslCondition.ABORTED),
        ({"password": "\u0007"}, SaslCondition.ABORTED),
        ({"mechanisms": ("EXTERNAL",), "certificate": True}, SaslCondition.ABORTED),
        ({"mechanisms": ()}, SaslCondition.ABORTED),
    ],
)
def test_logins_that_fail(login: dict[str, Any], condition: SaslCondition) -> None:
    there, here = receiving(TLS), initiating(TLS, **login)
    converse(here, there)
    (failed,) = here.of(events.AuthenticationFailed)
    assert failed.error.condition is condition
    assert here.closed == events.Closed(None, by_peer=False)
    assert not there.of(events.Authenticated)


def test_a_binding_that_does_not_match_is_refused() -> None:
    # Somebody in the middle has two TLS connections.
    other = Channel(secure=True, bindings={"tls-exporter": b"another"})
    there, here = receiving(TLS), initiating(other)
    converse(here, there)
    (failed,) = here.of(events.AuthenticationFailed)
    assert failed.mechanism == "SCRAM-SHA-512-PLUS"
    assert failed.error.condition is SaslCondition.NOT_AUTHORIZED


@pytest.mark.parametrize(
    ("left", "condition"),
    [
        # The client says that it could have bound, and the server knows that it offered so.
        (("SCRAM-SHA-1",), SaslCondition.NOT_AUTHORIZED),
        # XEP-0474: a hash of the whole offer is under the signatures.
        (("SCRAM-SHA-1-PLUS", "SCRAM-SHA-1"), SaslCondition.ABORTED),
    ],
)
def test_a_removed_offer_is_noticed(left: tuple[str, ...], condition: SaslCondition) -> None:
    there, here = receiving(TLS), initiating(TLS)
    there.say(here.take())
    said = here.say(header(), mechanisms(*left, bindings=tuple(BINDINGS)))
    there.hear(there.stream.receive(said.encode()))
    converse(here, there)
    (failed,) = here.of(events.AuthenticationFailed)
    assert failed.error.condition is condition
    assert here.stream.closed


def test_a_refused_resource() -> None:
    there, here = receiving(TLS), initiating(TLS)
    there.refusal = StanzaError(Condition.RESOURCE_CONSTRAINT, "full")
    converse(here, there)
    (refused,) = here.of(events.BindRefused)
    assert refused.error.condition is Condition.RESOURCE_CONSTRAINT
    assert here.closed == events.Closed(None, by_peer=False)


def test_an_unknown_host() -> None:
    there, here = receiving(), initiating(account=JID("juliet", "example.net"))
    converse(here, there)
    assert here.condition is StreamCondition.HOST_UNKNOWN
    assert here.closed.by_peer


# What is sent


def test_the_header_names_the_account_under_tls_only() -> None:
    assert b" from=" not in initiating().take()
    assert b" from='juliet@example.com' to='example.com' version='1.0'" in initiating(TLS).take()
    stream = initiating().stream
    assert isinstance(stream, InitiatingStream)
    with pytest.raises(LocalError):
        stream.start()


def server_says(*said: str, **login: Any) -> Talk:
    channel = login.pop("channel", TLS)
    talk = initiating(channel, **login)
    talk.take()
    for text in said:
        talk.hear(talk.stream.receive(text.encode()))
    return talk


@pytest.mark.parametrize(
    ("offered", "bindings", "name", "flag"),
    [
        (("SCRAM-SHA-1-PLUS", "SCRAM-SHA-1"), ("tls-exporter",),
         "SCRAM-SHA-1-PLUS", "p=tls-exporter"),
        (("SCRAM-SHA-1-PLUS", "SCRAM-SHA-1"), ("tls-server-end-point", "tls-unique"),
         "SCRAM-SHA-1-PLUS", "p=tls-server-end-point"),
        (("SCRAM-SHA-1-PLUS", "SCRAM-SHA-1"), (), "SCRAM-SHA-1-PLUS", "p=tls-exporter"),
        # No type in common: "n", for "y" would be taken for an attack (XEP-0440 §3).
        (("SCRAM-SHA-1-PLUS", "SCRAM-SHA-1"), ("tls-unique",), "SCRAM-SHA-1", "n"),
        (("SCRAM-SHA-1",), (), "SCRAM-SHA-1", "y"),
        (("PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-512"), (), "SCRAM-SHA-512", "y"),
        (("SCRAM-SHA-1-PLUS", "SCRAM-SHA-512"), (), "SCRAM-SHA-1-PLUS", "p=tls-exporter"),
        (("PLAIN", "X-OAUTH2"), (), "PLAIN", "\0juliet\0r0m30myr0m30"),
    ],
)  # fmt: skip
def test_the_strongest_mechanism(
    offered: tuple[str, ...], bindings: tuple[str, ...], name: str, flag: str
) -> None:
    talk = server_says(header(), mechanisms(*offered, bindings=bindings))
    chosen, message = initial(talk.take().decode())
    assert chosen == name
    assert message.partition(",")[0] == flag


@pytest.mark.parametrize("tls", [Tls.WANTED, Tls.OFF])
def test_no_plain_without_tls_unless_allowed(tls: Tls) -> None:
    said = (header(), mechanisms("PLAIN"))
    talk = server_says(*said, channel=PLAIN_TEXT, tls=tls)
    assert talk.kinds() == [events.AuthenticationFailed, events.Closed]
    assert b"auth" not in talk.take()
    talk = server_says(*said, channel=PLAIN_TEXT, tls=tls, plain_without_tls=True)
    assert initial(talk.take().decode())[0] == "PLAIN"


def test_external_and_anonymous_are_not_used_by_accident() -> None:
    for login in ({}, {"certificate": False}):
        talk = server_says(header(), mechanisms("EXTERNAL", "ANONYMOUS"), **login)
        assert talk.kinds() == [events.AuthenticationFailed, events.Closed]
    talk = server_says(header(), mechanisms("EXTERNAL"), channel=PLAIN_TEXT, tls=Tls.OFF,
                       certificate=True)  # fmt: skip
    assert talk.kinds() == [events.AuthenticationFailed, events.Closed]


# Servers that misbehave

SCRAM = (header(), mechanisms("SCRAM-SHA-1"))
LOGGED_IN = (header(), mechanisms("PLAIN"), sasl("success"), header())


@pytest.mark.parametrize(
    ("said", "channel", "condition"),
    [
        ((header(""),), TLS, StreamCondition.UNSUPPORTED_VERSION),
        ((header(" version='0.9'"),), TLS, StreamCondition.UNSUPPORTED_VERSION),
        ((header(" version='x'"),), TLS, StreamCondition.UNSUPPORTED_VERSION),
        ((header(content="jabber:server"),), TLS, StreamCondition.INVALID_NAMESPACE),
        ((header(), mechanisms("PLAIN")), PLAIN_TEXT, StreamCondition.POLICY_VIOLATION),
        ((header(), FEATURES.format(STARTTLS), PROCEED + "<x/>"), PLAIN_TEXT,
         StreamCondition.POLICY_VIOLATION),
        ((header(), FEATURES.format(STARTTLS), "<message/>"), PLAIN_TEXT,
         StreamCondition.UNSUPPORTED_STANZA_TYPE),
        ((header(), PROCEED), PLAIN_TEXT, StreamCondition.UNSUPPORTED_STANZA_TYPE),
        ((header(), "<message/>"), TLS, StreamCondition.UNSUPPORTED_STANZA_TYPE),
        ((header(), sasl("success")), TLS, StreamCondition.UNSUPPORTED_STANZA_TYPE),
        ((*SCRAM, mechanisms("PLAIN")), TLS, StreamCondition.UNSUPPORTED_STANZA_TYPE),
        ((*LOGGED_IN, FEATURES.format("")), TLS, StreamCondition.UNSUPPORTED_FEATURE),
        ((*LOGGED_IN, BIND, "<iq type='result' id='x'/>"), TLS,
         StreamCondition.UNSUPPORTED_STANZA_TYPE),
        ((*LOGGED_IN, BIND, "<presence/>"), TLS, StreamCondition.UNSUPPORTED_STANZA_TYPE),
        ((*LOGGED_IN, BIND, "<iq type='result' id='client-1'/>"), TLS, StreamCondition.INVALID_XML),
        ((header(), "<!-- x -->"), TLS, StreamCondition.RESTRICTED_XML),
        (("HTTP/1.0 400 Bad Request\r\n",), TLS, StreamCondition.NOT_WELL_FORMED),
    ],
)  # fmt: skip
def test_what_ends_the_stream(
    said: tuple[str, ...], channel: Channel, condition: StreamCondition
) -> None:
    talk = server_says(*said, channel=channel)
    assert talk.condition is condition
    assert talk.closed.by_peer
    assert f"<stream:error><{condition.value} ".encode() in talk.take()


@pytest.mark.parametrize("jid", ["", "@", "example.com", "juliet@example.com"])
def test_no_address_is_no_binding(jid: str) -> None:
    answer = f"<iq type='result' id='client-1'><bind xmlns='{ns.BIND}'><jid>{jid}</jid></bind></iq>"
    assert server_says(*LOGGED_IN, BIND, answer).condition is StreamCondition.INVALID_XML


def test_the_server_says_what_the_address_is() -> None:
    answer = f"<iq type='result' id='client-1'><bind xmlns='{ns.BIND}'><jid>a@b/c</jid></bind></iq>"
    talk = server_says(*LOGGED_IN, BIND, answer + "<message/>")
    assert talk.events[-2] == events.SessionBound(JID("a", "b", "c"))
    assert talk.kinds()[-1] is Message
    assert isinstance(talk.stream, InitiatingStream)


@pytest.mark.parametrize(
    ("said", "aborts"),
    [
        (sasl("success"), False),  # no proof
        (sasl("success", b"v=AAAA"), False),
        (sasl("success", inside="!"), False),
        (sasl("challenge"), True),
        (sasl("challenge", b"x"), True),
        (sasl("challenge", inside="!"), True),
        (sasl("challenge", b"r=other,s=c2FsdA==,i=4096"), True),
        (sasl("challenge", b"r=client-1more,s=c2FsdA==,i=1"), True),
        (
            sasl("challenge", b"r=client-1more,s=c2FsdA==,i=4096") + sasl("success", b"v=AAAA"),
            False,
        ),
        (sasl("challenge", b"r=client-1more,s=c2FsdA==,i=4096") + sasl("success"), False),
    ],
)
def test_servers_that_are_not_believed(said: str, *, aborts: bool) -> None:
    talk = server_says(*SCRAM, said)
    assert talk.kinds()[-2:] == [events.AuthenticationFailed, events.Closed]
    (failed,) = talk.of(events.AuthenticationFailed)
    assert failed.mechanism == "SCRAM-SHA-1"
    assert not talk.of(events.Authenticated)
    assert (b"<abort " in talk.take()) is aborts


@pytest.mark.parametrize(
    ("inside", "condition", "text"),
    [
        ("<not-authorized/>", SaslCondition.NOT_AUTHORIZED, ""),
        ("<account-disabled/><text>gone</text>", SaslCondition.ACCOUNT_DISABLED, "gone"),
        ("<of-the-future/>", SaslCondition.NOT_AUTHORIZED, ""),
        ("<x xmlns='urn:x'/>", SaslCondition.NOT_AUTHORIZED, ""),
        ("", SaslCondition.NOT_AUTHORIZED, ""),
    ],
)
def test_why_a_login_failed(inside: str, condition: SaslCondition, text: str) -> None:
    talk = server_says(*SCRAM, sasl("failure", inside=inside))
    (failed,) = talk.of(events.AuthenticationFailed)
    assert (failed.error.condition, failed.error.text) == (condition, text)
    assert failed.account == JULIET


@pytest.mark.parametrize(
    ("inside", "condition", "text"),
    [
        (f"<conflict xmlns='{ns.STREAM_ERRORS}'/>", StreamCondition.CONFLICT, ""),
        (f"<reset xmlns='{ns.STREAM_ERRORS}'/><text xmlns='{ns.STREAM_ERRORS}'>x</text>",
         StreamCondition.RESET, "x"),
        (f"<novel xmlns='{ns.STREAM_ERRORS}'/>", StreamCondition.UNDEFINED_CONDITION, ""),
        ("<x xmlns='urn:x'/>", StreamCondition.UNDEFINED_CONDITION, ""),
        ("", StreamCondition.UNDEFINED_CONDITION, ""),
    ],
)  # fmt: skip
@pytest.mark.parametrize("after", [(header(),), SCRAM, LOGGED_IN])
def test_stream_errors(
    after: tuple[str, ...], inside: str, condition: StreamCondition, text: str
) -> None:
    talk = server_says(*after, f"<stream:error>{inside}</stream:error>{END}")
    assert talk.closed.error is not None
    assert (talk.condition, talk.closed.error.text) == (condition, text)
    assert talk.closed.by_peer
    assert talk.take().endswith(END.encode())


def test_the_special_condition_of_a_stream_error() -> None:
    # XEP-0198 §6, where it stands before the text.
    inside = (
        f"<undefined-condition xmlns='{ns.STREAM_ERRORS}'/>"
        "<handled-count-too-high xmlns='urn:xmpp:sm:3' h='10' send-count='8'/>"
        f"<text xmlns='{ns.STREAM_ERRORS}'>x</text><y xmlns='urn:y'/>"
    )
    error = server_says(header(), f"<stream:error>{inside}</stream:error>{END}").closed.error
    assert error is not None
    assert error.text == "x"
    assert error.app == Element(
        "urn:xmpp:sm:3", "handled-count-too-high", {"h": "10", "send-count": "8"}
    )


def test_a_stream_error_once_stanzas_flow() -> None:
    there, here = receiving(TLS), initiating(TLS)
    converse(here, there)
    assert here.stream.is_ready
    error = f"<presence/><stream:error><conflict xmlns='{ns.STREAM_ERRORS}'/></stream:error>"
    assert here.say(error) == END
    assert here.kinds()[-2] is Presence
    assert here.condition is StreamCondition.CONFLICT


def test_a_server_that_cannot_do_tls_after_all() -> None:
    failure = "<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
    talk = server_says(header(), FEATURES.format(STARTTLS), failure, channel=PLAIN_TEXT)
    assert talk.closed == events.Closed(None, by_peer=True)


def test_bytes_during_the_handshake_are_not_taken_for_protected() -> None:
    talk = initiating(answers=False)
    talk.take()
    talk.say(header(), FEATURES.format(STARTTLS), PROCEED, header() + mechanisms("PLAIN"))
    assert talk.kinds() == [events.UpgradeToTls]
    assert isinstance(talk.stream, InitiatingStream)
    talk.hear(talk.stream.secured(TLS))
    assert b"<stream:stream " in talk.take()
    assert "mechanism='SCRAM-SHA-1'" in talk.say(header(), mechanisms("SCRAM-SHA-1"))


def test_a_late_answer_while_more_arrives() -> None:
    talk = server_says(*SCRAM, answers=False)
    talk.take()
    challenge = sasl("challenge", b"r=client-1more,s=c2FsdA==,i=4096")
    assert talk.say(challenge, sasl("failure")) == ""
    assert talk.kinds() == [events.DeriveKey]
    assert talk.stream.waits
    talk.hear(talk.answer(talk.events[-1]))
    assert b"<response " in talk.take()
    assert talk.kinds()[1:] == [events.AuthenticationFailed, events.Closed]


def test_answers_to_questions_that_nobody_asked() -> None:
    stream = initiating().stream
    assert isinstance(stream, InitiatingStream)
    with pytest.raises(LocalError):
        stream.secured(TLS)
    with pytest.raises(LocalError):
        stream.derived(b"")


PIECES = st.sampled_from(
    [header(), header(""), mechanisms("SCRAM-SHA-1"), mechanisms("PLAIN", "SCRAM-SHA-512-PLUS"),
     FEATURES.format(STARTTLS), FEATURES.format(""), PROCEED, BIND, sasl("success"),
     sasl("failure"), sasl("challenge"), sasl("challenge", b"r=client-1x,s=c2FsdA==,i=4096"), END,
     "<stream:error/>",
     "<iq type='result' id='client-1'/>", "<iq type='error' id='client-1'/>", "<message/>", "x",
     f"<iq type='result' id='client-1'><bind xmlns='{ns.BIND}'><jid>a@b/c</jid></bind></iq>"]
)  # fmt: skip


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    start=st.sampled_from(
        ["", header(), "".join(SCRAM), "".join(LOGGED_IN), "".join(LOGGED_IN) + BIND]
    ),
    pieces=st.lists(PIECES.map(str.encode) | st.binary(max_size=20), max_size=8),
    places=CUTS,
    secure=st.booleans(),
    answers=st.booleans(),
    tls=st.sampled_from(Tls),
)
def test_nothing_raises(
    start: str, pieces: list[bytes], places: list[float], *, secure: bool, answers: bool, tls: Tls
) -> None:
    talk = initiating(TLS if secure else PLAIN_TEXT, answers=answers, tls=tls)
    talk.take()
    talk.say(start)
    for piece in cut(b"".join(pieces), places):
        talk.say(piece)
    if talk.stream.closed:
        assert isinstance(talk.closed, events.Closed)
        assert talk.say(header()) == ""
