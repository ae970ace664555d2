"""SASL2 (XEP-0388): the server's side, from the offer to the features that follow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jabberd.xmpp import ns
from jabberd.xmpp.error import LocalError, SaslCondition, SaslError, StreamCondition
from jabberd.xmpp.jid import JID
from jabberd.xmpp.sasl.mechanism import Token
from jabberd.xmpp.sasl.offer import Channel
from jabberd.xmpp.stanza import Message
from jabberd.xmpp.stream import events
from jabberd.xmpp.stream.authenticate import UserAgent
from jabberd.xmpp.stream.events import InlineResult, InlineWanted
from jabberd.xmpp.stream.policy import Inline
from jabberd.xmpp.stream.receiving import ReceivingStream
from tests.xmpp.documents import CUTS, cut
from tests.xmpp.sasl.kit import BINDINGS
from tests.xmpp.sasl2 import (
    AGENT,
    BIND,
    JULIET,
    SASL1,
    authenticate,
    plain,
    sasl1_plain,
    sasl2,
    server,
)
from tests.xmpp.streams import (
    BEFORE,
    CLIENT,
    DOMAIN,
    PLAIN_TEXT,
    TLS,
    elements_of,
    header,
    one_of,
    result_of,
)

# The offer


def test_the_offer() -> None:
    features = one_of(server().say(header()), "features")
    offered = features.find(ns.SASL2, "authentication")
    assert offered is not None
    names = [child.text for child in offered.find_all(ns.SASL2, "mechanism")]
    assert names == [
        "SCRAM-SHA-512-PLUS", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS",
        "SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "ANONYMOUS",
    ]  # fmt: skip
    inline = offered.find(ns.SASL2, "inline")
    assert inline is not None
    assert [(child.ns, child.name) for child in inline] == [
        ("urn:xmpp:bind:0", "bind"), ("urn:xmpp:sm:3", "sm"), ("urn:xmpp:fast:0", "fast"),
    ]  # fmt: skip
    bind, _, fast = inline
    (listed,) = bind
    assert (listed.ns, listed.name) == ("urn:xmpp:bind:0", "inline")
    assert [(child.name, child.get("var")) for child in listed] == [
        ("feature", "urn:xmpp:carbons:2"), ("feature", "urn:xmpp:csi:0"),
        ("feature", "urn:xmpp:sm:3"),
    ]  # fmt: skip
    assert fast.attrs == {}  # no 0-RTT
    assert [(child.name, child.text) for child in fast] == [
        ("mechanism", "HT-SHA-256-EXPR"), ("mechanism", "HT-SHA-256-ENDP"),
        ("mechanism", "HT-SHA-256-NONE"),
    ]  # fmt: skip
    upgrades = offered.find_all("urn:xmpp:sasl:upgrade:0", "upgrade")
    assert [child.text for child in upgrades] == ["UPGR-SCRAM-SHA-512", "UPGR-SCRAM-SHA-256"]
    # XEP-0440: beside it, and the other kind of SASL is still there.
    types = features.find(ns.SASL_CB, "sasl-channel-binding")
    assert types is not None
    assert [child.get("type") for child in types] == list(BINDINGS)
    assert features.find(ns.SASL, "mechanisms") is not None


def test_an_offer_of_nothing_inline() -> None:
    offered = one_of(server(inline=Inline()).say(header()), "features").find(
        ns.SASL2, "authentication"
    )
    assert offered is not None
    assert {child.name for child in offered} == {"mechanism"}
    # A resource alone, and no feature of the session.
    offered = one_of(server(inline=Inline(bind=())).say(header()), "features").find(
        ns.SASL2, "authentication"
    )
    assert offered is not None
    inline = offered.find(ns.SASL2, "inline")
    assert inline is not None
    assert [(child.name, len(child.children)) for child in inline] == [("bind", 0)]


@pytest.mark.parametrize(
    ("channel", "changes"),
    [
        (PLAIN_TEXT, {}),
        (PLAIN_TEXT, {"tls_required": True}),
        (TLS, {"sasl2": False}),
        # XEP-0388 §2.1: not without a mechanism
        (TLS, {"enabled": ()}),
    ],
)
def test_where_there_is_no_offer(channel: Channel, changes: dict[str, Any]) -> None:
    said = server(channel, **changes).say(header())
    assert "features" in said
    assert "urn:xmpp:sasl:2" not in said
    assert "urn:xmpp:iap:0" not in said


def test_nobody_logs_in_by_it_without_tls() -> None:
    talk = server(PLAIN_TEXT)
    said = talk.say(header(), plain())
    assert sasl2("failure", f"<encryption-required xmlns='{ns.SASL}'/>") in said
    off = server(sasl2=False)
    off.say(header(), plain())
    assert off.condition is StreamCondition.NOT_AUTHORIZED


# The usual way


def test_without_anything_inline() -> None:
    talk = server(after_login=lambda: b"<x xmlns='urn:x'/>")
    talk.say(header())
    said = talk.say(plain(AGENT))
    # XEP-0388 §2.6.1: success, then features, and no new stream.
    success, features = elements_of(said)
    assert said.startswith("<success xmlns='urn:xmpp:sasl:2'><authorization-identifier>")
    assert [(child.name, child.text) for child in success] == [
        ("authorization-identifier", "juliet@example.com")
    ]
    assert [child.name for child in features] == ["bind", "session", "x"]
    agent = UserAgent(CLIENT, "AwesomeXMPP")
    assert talk.events[-2:] == [
        events.Authenticated(JULIET, "PLAIN"),
        InlineWanted(JULIET, "PLAIN", agent),
    ]
    assert result_of(talk.say(BIND)).type == "result"
    assert talk.events[-1] == events.BindWanted(JULIET, "", "PLAIN")
    assert talk.stream.is_ready
    talk.say("<message/>")
    assert talk.kinds()[-1] is Message


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_everything_at_once(size: int) -> None:
    talk = server()
    text = header() + plain() + BIND + "<message/>" + "</stream:stream>"
    talk.say(*(text[at : at + size] for at in range(0, len(text), size)))
    assert talk.kinds() == [
        events.CredentialsWanted, events.DeriveKey, events.Authenticated, events.InlineWanted,
        events.BindWanted, Message, events.Closed,
    ]  # fmt: skip
    assert talk.condition is None


def test_limits_are_larger_after_login() -> None:
    talk = server()
    talk.say(header(), plain(), "<iq type='get' id='%s'/>" % ("x" * 2 * BEFORE.stanza_bytes))
    assert talk.condition is StreamCondition.NOT_AUTHORIZED  # for it is no bind
    talk = server()
    talk.say(header(), plain("<x xmlns='urn:x'>%s</x>" % ("x" * BEFORE.stanza_bytes)))
    assert talk.condition is StreamCondition.POLICY_VIOLATION


# What is not let in


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        (plain(password="wrong"), SaslCondition.NOT_AUTHORIZED),
        (plain(user="nobody"), SaslCondition.NOT_AUTHORIZED),
        (plain(user="tybalt"), SaslCondition.ACCOUNT_DISABLED),
        (plain(who="romeo@example.com"), SaslCondition.INVALID_AUTHZID),
        (sasl2("authenticate"), SaslCondition.INVALID_MECHANISM),
        (authenticate("plain", b"x"), SaslCondition.INVALID_MECHANISM),
        (authenticate("EXTERNAL", b""), SaslCondition.INVALID_MECHANISM),
        (authenticate("PLAIN", "!"), SaslCondition.INCORRECT_ENCODING),
        (authenticate("PLAIN", "="), SaslCondition.INCORRECT_ENCODING),  # XEP-0388 §2.2
        (authenticate("PLAIN", "YQ="), SaslCondition.INCORRECT_ENCODING),
        (authenticate("PLAIN", "YR=="), SaslCondition.INCORRECT_ENCODING),
        (authenticate("PLAIN", ""), SaslCondition.MALFORMED_REQUEST),
        (authenticate("PLAIN", None) + sasl2("response"), SaslCondition.MALFORMED_REQUEST),
        (authenticate("PLAIN", None) + sasl2("response", "!"), SaslCondition.INCORRECT_ENCODING),
        (authenticate("PLAIN", None) + sasl2("abort"), SaslCondition.ABORTED),
        (authenticate("PLAIN", None) + sasl2("abort", "<text>no</text><x xmlns='urn:x'/>"),
         SaslCondition.ABORTED),
        (plain("<user-agent id='x'/>"), SaslCondition.MALFORMED_REQUEST),
        (plain(f"<user-agent id='{CLIENT}x'/>"), SaslCondition.MALFORMED_REQUEST),
        (plain("<user-agent id='{d4565fa7-4d72-4749-b3d3-740edbf87770}'/>"),
         SaslCondition.MALFORMED_REQUEST),
        (sasl2("abort"), SaslCondition.MALFORMED_REQUEST),
        (sasl2("success"), SaslCondition.MALFORMED_REQUEST),
        (sasl2("x"), SaslCondition.MALFORMED_REQUEST),
    ],
)  # fmt: skip
def test_failed_logins_may_be_repeated(text: str, condition: SaslCondition) -> None:
    talk = server()
    talk.say(header())
    failure = elements_of(talk.say(text))[-1]
    assert (failure.ns, failure.name) == ("urn:xmpp:sasl:2", "failure")
    assert failure.find(ns.SASL, condition.value) is not None
    assert {child.name for child in failure} <= {condition.value, "text"}
    (failed,) = talk.of(events.AuthenticationFailed)
    assert failed.error.condition is condition
    assert not talk.of(events.InlineWanted)
    assert "<success xmlns='urn:xmpp:sasl:2'>" in talk.say(plain())
    assert len(talk.of(events.InlineWanted)) == 1


@pytest.mark.parametrize(
    "text",
    [
        plain(),
        authenticate("PLAIN", None),
        sasl1_plain(),
        sasl2("next", attrs=" task='x'"),
        sasl2("task-data"),
        sasl2("success"),
        "<message/>",
        BIND,
        "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
        "<resume xmlns='urn:xmpp:sm:3'/>",
        "<iq type='get'><query xmlns='jabber:iq:register'/></iq>",
    ],
)
def test_nothing_else_during_a_login(text: str) -> None:
    # XEP-0388 §2.4: "Servers MUST disconnect Clients immediately"
    talk = server()
    assert "<challenge xmlns='urn:xmpp:sasl:2'/>" in talk.say(header(), authenticate("PLAIN", None))
    talk.say(text)
    assert talk.closed.by_peer
    assert talk.condition in {StreamCondition.POLICY_VIOLATION, StreamCondition.NOT_AUTHORIZED}


@pytest.mark.parametrize("inside", ["", "<bind xmlns='urn:xmpp:bind:0'/>"])
def test_there_is_one_login_to_a_stream(inside: str) -> None:
    # XEP-0388 §4.8
    talk = server()
    talk.say(header(), plain(inside))
    assert talk.of(events.Authenticated)
    if inside:  # whoever drives the stream gets what is no stanza, and closes it
        talk.say(plain())
        assert talk.kinds()[-1].__name__ == "Nonza"
        return
    talk.say(plain())
    assert talk.condition is StreamCondition.UNSUPPORTED_STANZA_TYPE


def test_both_kinds_of_sasl_share_the_attempts() -> None:
    talk = server()
    talk.say(header())
    for text in (plain(password="no"), sasl1_plain("no"), sasl2("abort"), sasl1_plain("no")):
        talk.say(text)
        assert not talk.stream.closed
    said = talk.say(plain(password="no"))
    assert said.index("<failure xmlns='urn:xmpp:sasl:2'>") < said.index("<stream:error>")
    assert talk.condition is StreamCondition.POLICY_VIOLATION
    # XEP-0078 §3.3 counts it as SASL.
    talk = server()
    talk.say(header(), plain(password="no"))
    talk.say("<iq type='get'><query xmlns='jabber:iq:auth'/></iq>")
    assert talk.condition is StreamCondition.POLICY_VIOLATION


def test_one_kind_of_sasl_after_the_other() -> None:
    talk = server()
    talk.say(header())
    assert f"<failure xmlns='{ns.SASL}'>" in talk.say(sasl1_plain("no"))
    assert "<success xmlns='urn:xmpp:sasl:2'>" in talk.say(plain())
    talk = server()
    talk.say(header())
    assert "<failure xmlns='urn:xmpp:sasl:2'>" in talk.say(plain(password="no"))
    assert f"<success xmlns='{ns.SASL}'/>" in talk.say(sasl1_plain())
    assert "bind" in talk.say(header())
    talk.say(plain())
    assert talk.condition is StreamCondition.UNSUPPORTED_STANZA_TYPE
    talk = server()
    talk.say(header(), SASL1.format("auth", " mechanism='PLAIN'", "", "auth"), plain())
    assert talk.condition is StreamCondition.NOT_AUTHORIZED


# Who the stream is from


@pytest.mark.parametrize(
    ("sender", "who", "works"),
    [
        ("juliet@example.com", "", True),
        ("juliet@example.com", "juliet@example.com", True),
        ("Juliet@EXAMPLE.com/balcony", "juliet@example.com", True),
        ("example.com", "juliet@example.com", True),
        ("@", "juliet@example.com", True),
        # XEP-0388 §2.3 is about identities that are named.
        ("romeo@example.com", "", True),
        ("romeo@example.com", "juliet@example.com", False),
    ],
)
def test_the_sender_and_the_identity(sender: str, who: str, *, works: bool) -> None:
    talk = server()
    talk.say(header(rest=f" version='1.0' from='{sender}'"))
    said = talk.say(plain(who=who))
    assert ("<success" in said) is works
    assert ("<invalid-authzid" in said) is not works


def test_a_sender_of_another_host() -> None:
    rest = " version='1.0' from='juliet@example.net'"
    talk = server()
    talk.say(header(rest=rest))
    assert talk.condition is StreamCondition.INVALID_FROM
    assert "features" in server(sasl2=False).say(header(rest=rest))


# What the driver does


def test_refusals_of_the_servers_own() -> None:
    talk = server()
    error = SaslError(SaslCondition.TEMPORARY_AUTH_FAILURE, "later")
    talk.inline = lambda _: error
    said = talk.say(header(), plain())
    failure = one_of(said, "failure")
    assert failure.child_text(ns.SASL2, "text") == "later"
    assert failure.find(ns.SASL, "temporary-auth-failure") is not None
    assert talk.events[-1] == events.AuthenticationFailed(JULIET, "PLAIN", error)
    talk.say(BIND)
    assert talk.condition is StreamCondition.NOT_AUTHORIZED


def test_nothing_is_read_while_a_question_waits() -> None:
    talk = server(answers=False)
    talk.say(header(), plain(), BIND)
    for kinds in (
        [events.CredentialsWanted],
        [events.DeriveKey],
        [events.Authenticated, InlineWanted],
        [events.BindWanted],
    ):
        assert talk.kinds()[-len(kinds) :] == kinds
        assert talk.stream.waits
        assert talk.say("<message/>").count("<iq") == 0
        talk.hear(talk.answer(talk.events[-1]))
        talk.due = b""
        talk.take()
    assert talk.kinds()[-4:] == [Message] * 4


def test_answers_that_make_no_sense() -> None:
    stream = server().stream
    assert isinstance(stream, ReceivingStream)
    wrong: list[Callable[[], object]] = [
        lambda: stream.tokens([Token("x", "y")]),
        stream.stored,
        lambda: stream.inlined(InlineResult()),
        lambda: stream.resumed(b""),
        lambda: stream.resume_failed(b""),
    ]
    for answer in wrong:
        with pytest.raises(LocalError):
            answer()
    talk = server(answers=False)
    talk.say(header(), plain())
    assert isinstance(talk.stream, ReceivingStream)
    with pytest.raises(LocalError):
        talk.stream.inlined(InlineResult())
    talk = server(answers=False)
    talk.say(header(), authenticate("ANONYMOUS", b""))
    assert talk.kinds()[-1] is InlineWanted
    assert isinstance(talk.stream, ReceivingStream)
    with pytest.raises(LocalError):
        talk.stream.stored()


@pytest.mark.parametrize(
    "result",
    [
        InlineResult(JULIET),
        InlineResult(JID("romeo", DOMAIN, "x")),
        InlineResult(JID("juliet", "example.org", "x")),
        InlineResult(resumed=b"<resumed xmlns='urn:xmpp:sm:3'/>"),
    ],
)
def test_a_session_is_of_the_account(result: InlineResult) -> None:
    talk = server()
    talk.inline = lambda _: result
    with pytest.raises(LocalError):
        talk.say(header(), plain())


# Whatever comes

PIECES = st.sampled_from(
    [header(), plain(), plain(password="no"), plain(AGENT), sasl1_plain(), sasl1_plain("no"),
     plain("<bind xmlns='urn:xmpp:bind:0'><tag>&#9;</tag></bind>"), sasl2("authenticate"),
     plain("<resume xmlns='urn:xmpp:sm:3' previd='known' h='1'/>"), sasl2("response"),
     plain("<upgrade xmlns='urn:xmpp:sasl:upgrade:0'>UPGR-SCRAM-SHA-512</upgrade>"),
     plain("<config-version xmlns='urn:xmpp:iap:0'/>"), authenticate("SCRAM-SHA-1", None),
     authenticate("HT-SHA-256-NONE", b"juliet\0x", AGENT + "<fast xmlns='urn:xmpp:fast:0'/>"),
     authenticate("ANONYMOUS", b""), sasl2("response", "YQ=="), sasl2("abort"), sasl2("next"),
     sasl2("task-data"), "<resume xmlns='urn:xmpp:sm:3'/>", "<enable xmlns='urn:xmpp:sm:3'/>",
     BIND, "<message to='@'/>", "</stream:stream>", "text", "<a xmlns='urn:xmpp:sasl:2'"]
)  # fmt: skip


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    start=st.sampled_from(["", header(), header() + plain()]),
    pieces=st.lists(PIECES.map(str.encode) | st.binary(max_size=20), max_size=10),
    places=CUTS,
    secure=st.booleans(),
    answers=st.booleans(),
)
def test_nothing_raises(
    start: str, pieces: list[bytes], places: list[float], *, secure: bool, answers: bool
) -> None:
    talk = server(TLS if secure else PLAIN_TEXT, answers=answers)
    talk.say(start)
    for piece in cut(b"".join(pieces), places):
        talk.say(piece)
    if talk.stream.closed:
        assert isinstance(talk.closed, events.Closed)
        assert talk.say(header()) == ""
