"""FAST (XEP-0484): tokens are asked for, used, refused and given up."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

import pytest

from jabberd.xmpp import ns
from jabberd.xmpp.error import SaslCondition, StreamCondition
from jabberd.xmpp.jid import JID
from jabberd.xmpp.sasl.mechanism import Token
from jabberd.xmpp.sasl.offer import Channel
from jabberd.xmpp.stanza import Message
from jabberd.xmpp.stream import events
from jabberd.xmpp.stream.authenticate import BindRequest, UserAgent
from jabberd.xmpp.stream.events import InlineResult, InlineWanted
from jabberd.xmpp.stream.policy import Inline
from jabberd.xmpp.stream.receiving import ReceivingStream
from tests.xmpp.sasl.kit import BINDINGS, PASSWORD
from tests.xmpp.sasl2 import AGENT, JULIET, authenticate, plain, sasl2, server
from tests.xmpp.streams import (
    CLIENT,
    PLAIN_TEXT,
    TLS,
    TOKENS,
    Talk,
    elements_of,
    header,
    one_of,
    printed,
)

EXPR, NONE = "HT-SHA-256-EXPR", "HT-SHA-256-NONE"
FAST = "<fast xmlns='urn:xmpp:fast:0'/>"
AWESOME = UserAgent(CLIENT, "AwesomeXMPP")


def message(secret: str, user: str = "juliet", binding: bytes = BINDINGS["tls-exporter"]) -> bytes:
    """The initiator's message of draft-schmaus-kitten-sasl-ht-09 §3.1."""
    proof = hmac.new(secret.encode(), b"Initiator" + binding, hashlib.sha256).digest()
    return user.encode() + b"\0" + proof


def by_token(
    secret: str = "t0k3n-new", inside: str = AGENT + FAST, mechanism: str = EXPR, **parts: Any
) -> str:
    return authenticate(mechanism, message(secret, **parts), inside)


def wanted_of(talk: Talk) -> InlineWanted:
    (wanted,) = talk.of(InlineWanted)
    assert isinstance(wanted, InlineWanted)
    return wanted


# The examples. Their placeholders are filled in, HT-SHA-256-ENDP has become EXPR, and what they
# lack is there: the user agent that XEP-0484 §4.1 demands.


def test_a_token_is_asked_for() -> None:
    talk = server()
    talk.say(header())
    first = base64.b64encode(f"\0juliet\0{PASSWORD}".encode()).decode()
    said = talk.say(f"""<authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'>
  <initial-response>{first}</initial-response>
  <user-agent id='{CLIENT}'/>
  <bind xmlns='urn:xmpp:bind:0'>
    <tag>AwesomeXMPP</tag>
  </bind>
  <request-token xmlns='urn:xmpp:fast:0' mechanism='HT-SHA-256-ENDP'/>
</authenticate>""")
    assert wanted_of(talk) == InlineWanted(
        JULIET, "PLAIN", UserAgent(CLIENT), bind=BindRequest("AwesomeXMPP"),
        token_request="HT-SHA-256-ENDP",
    )  # fmt: skip
    assert one_of(said, "success") == printed("""<success xmlns='urn:xmpp:sasl:2'>
  <authorization-identifier>juliet@example.com/AwesomeXMPP/made</authorization-identifier>
  <bound xmlns='urn:xmpp:bind:0'/>
  <token xmlns='urn:xmpp:fast:0'
         expiry='2020-03-12T14:36:15Z'
         token='for HT-SHA-256-ENDP' />
</success>""")


def test_a_token_is_used() -> None:
    talk = server()
    talk.say(header())
    first = base64.b64encode(message("t0k3n-new")).decode()
    said = talk.say(f"""<authenticate xmlns='urn:xmpp:sasl:2' mechanism='HT-SHA-256-EXPR'>
  <initial-response>{first}</initial-response>
  <user-agent id='{CLIENT}'/>
  <bind xmlns='urn:xmpp:bind:0'>
    <tag>AwesomeXMPP</tag>
  </bind>
  <fast xmlns='urn:xmpp:fast:0' count='123' />
</authenticate>""")
    assert talk.of(events.TokensWanted) == [events.TokensWanted(JULIET, CLIENT, EXPR)]
    assert talk.of(events.Authenticated) == [events.Authenticated(JULIET, EXPR)]
    token = Token("t0k3n-new", EXPR, id="new")
    assert wanted_of(talk) == InlineWanted(
        JULIET, EXPR, UserAgent(CLIENT), bind=BindRequest("AwesomeXMPP"), token=token
    )
    proof = hmac.new(b"t0k3n-new", b"Responder" + BINDINGS["tls-exporter"], "sha256").digest()
    assert one_of(said, "success") == printed(f"""<success xmlns='urn:xmpp:sasl:2'>
  <additional-data>{base64.b64encode(proof).decode()}</additional-data>
  <authorization-identifier>juliet@example.com/AwesomeXMPP/made</authorization-identifier>
  <bound xmlns='urn:xmpp:bind:0'/>
</success>""")
    assert talk.stream.is_ready


def test_a_new_token_comes_unasked() -> None:
    # XEP-0484 §3.5
    talk = server()
    new = b"<token xmlns='urn:xmpp:fast:0' expiry='2020-03-31T14:36:15Z' token='R3Vy'/>"
    talk.inline = lambda _: InlineResult(token=new)
    success = one_of(talk.say(header(), by_token("t0k3n-old")), "success")
    found = success.find("urn:xmpp:fast:0", "token")
    assert found is not None
    assert found.attrs == {"expiry": "2020-03-31T14:36:15Z", "token": "R3Vy"}
    token = wanted_of(talk).token
    assert token is not None
    assert token.id == "current"


@pytest.mark.parametrize(
    ("value", "invalidated"), [("true", True), ("1", True), ("false", False), ("0", False)]
)
def test_a_token_is_given_up(value: str, *, invalidated: bool) -> None:
    # XEP-0484 §3.6
    talk = server()
    fast = f"<fast xmlns='urn:xmpp:fast:0' count='123' invalidate='{value}'/>"
    assert "<success" in talk.say(header(), by_token(inside=AGENT + fast))
    assert wanted_of(talk).invalidate is invalidated
    assert wanted_of(talk).token_request == ""
    both = "<request-token xmlns='urn:xmpp:fast:0' mechanism='HT-SHA-256-NONE'/>"
    talk = server()
    talk.say(header(), by_token(inside=AGENT + fast + both))
    assert (wanted_of(talk).invalidate, wanted_of(talk).token_request) == (invalidated, NONE)


def test_one_round_trip() -> None:
    talk = server()
    inside = AGENT + FAST + "<bind xmlns='urn:xmpp:bind:0'/>"
    said = talk.say(header() + by_token(inside=inside) + "<message/>")
    assert [element.name for element in elements_of(said)] == ["features", "success", "features"]
    assert talk.kinds() == [events.TokensWanted, events.Authenticated, InlineWanted, Message]


def test_a_token_without_a_channel_binding() -> None:
    talk = server(Channel(secure=True))
    said = talk.say(header(), by_token("t0k3n-none", mechanism=NONE, binding=b""))
    assert "<mechanism>HT-SHA-256-NONE</mechanism>" in said
    assert "EXPR" not in said
    assert "<success" in said


# What is refused


@pytest.mark.parametrize(
    ("said", "condition"),
    [
        (by_token("t0k3n-bad"), SaslCondition.NOT_AUTHORIZED),
        (by_token("t0k3n-gone"), SaslCondition.CREDENTIALS_EXPIRED),
        (by_token(user="nobody"), SaslCondition.NOT_AUTHORIZED),
        (by_token(binding=b"another"), SaslCondition.NOT_AUTHORIZED),
        (by_token("t0k3n-none"), SaslCondition.NOT_AUTHORIZED),
        # Of another client
        (by_token(inside=AGENT.replace("d456", "0000") + FAST), SaslCondition.NOT_AUTHORIZED),
        # For another mechanism
        (by_token(mechanism=NONE, binding=b""), SaslCondition.NOT_AUTHORIZED),
        # Not offered, for want of a channel binding, or at all
        (by_token(mechanism="HT-SHA-256-UNIQ"), SaslCondition.INVALID_MECHANISM),
        (by_token(mechanism="HT-SHA-512-EXPR"), SaslCondition.INVALID_MECHANISM),
        # XEP-0484 §3.4 and §4.1
        (by_token(inside=AGENT), SaslCondition.MALFORMED_REQUEST),
        (by_token(inside=FAST), SaslCondition.MALFORMED_REQUEST),
        (by_token(inside="<user-agent/>" + FAST), SaslCondition.MALFORMED_REQUEST),
        (by_token(inside="<user-agent id='me'/>" + FAST), SaslCondition.MALFORMED_REQUEST),
        (authenticate(EXPR, b"juliet", AGENT + FAST), SaslCondition.MALFORMED_REQUEST),
        (authenticate(EXPR, "!", AGENT + FAST), SaslCondition.INCORRECT_ENCODING),
    ],
)
def test_who_is_refused(said: str, condition: SaslCondition) -> None:
    talk = server()
    talk.say(header())
    failure = one_of(talk.say(said), "failure")
    assert failure.ns == "urn:xmpp:sasl:2"
    assert failure.find(ns.SASL, condition.value) is not None
    assert not talk.of(InlineWanted)
    # XEP-0484 §4.1: the client falls back on something else.
    assert "<success" in talk.say(plain(AGENT))


def test_failures_tell_who_it_was() -> None:
    talk = server()
    talk.say(header(), by_token("t0k3n-bad"))
    (failed,) = talk.of(events.AuthenticationFailed)
    assert (failed.account, failed.mechanism) == (JULIET, EXPR)
    for _ in range(4):
        talk.say(by_token("t0k3n-bad"))
    assert talk.condition is StreamCondition.POLICY_VIOLATION


def test_nothing_without_tls_and_nothing_that_is_not_offered() -> None:
    said = server(PLAIN_TEXT).say(header(), by_token(mechanism=NONE))
    assert "urn:xmpp:fast:0" not in said
    assert "<encryption-required" in said
    for inline in (Inline(), Inline(fast=("HT-SHA-256-ENDP",))):
        talk = server(inline=inline)
        assert "<invalid-mechanism" in talk.say(header(), by_token())
    # By the other kind of SASL, not at all.
    text = base64.b64encode(message("t0k3n-new")).decode()
    talk = server()
    talk.say(header())
    said = talk.say(f"<auth xmlns='{ns.SASL}' mechanism='{EXPR}'>{text}</auth>")
    assert said == f"<failure xmlns='{ns.SASL}'><invalid-mechanism/></failure>"


@pytest.mark.parametrize(
    ("inside", "mechanism"),
    [
        (AGENT, "HT-SHA-256-UNIQ"),  # not offered here
        (AGENT, "SCRAM-SHA-1"),
        (AGENT, ""),
        ("", EXPR),  # whose would it be?
        ("<user-agent><software>x</software></user-agent>", EXPR),
    ],
)
def test_requests_for_which_there_is_no_token(inside: str, mechanism: str) -> None:
    talk = server()
    request = f"<request-token xmlns='urn:xmpp:fast:0' mechanism='{mechanism}'/>"
    said = talk.say(header(), plain(inside + request))
    assert wanted_of(talk).token_request == ""
    assert one_of(said, "success").find("urn:xmpp:fast:0", "token") is None


def test_fast_is_about_tokens_only() -> None:
    talk = server()
    fast = "<fast xmlns='urn:xmpp:fast:0' invalidate='true'/>"
    assert "<success" in talk.say(header(), plain(AGENT + fast))
    assert wanted_of(talk) == InlineWanted(JULIET, "PLAIN", AWESOME)


def test_no_token_for_a_failed_login() -> None:
    talk = server()
    request = f"<request-token xmlns='urn:xmpp:fast:0' mechanism='{EXPR}'/>"
    said = talk.say(header(), plain(AGENT + request, password="wrong"))
    assert "<token" not in said
    assert not talk.of(InlineWanted)


def test_a_token_is_not_continued() -> None:
    # XEP-0484 §4.2: no further steps.
    talk = server()
    upgrade = "<upgrade xmlns='urn:xmpp:sasl:upgrade:0'>UPGR-SCRAM-SHA-512</upgrade>"
    assert "<success" in talk.say(header(), by_token(inside=AGENT + FAST + upgrade))


def test_disabled_accounts() -> None:
    talk = server(answers=False)
    talk.say(header(), by_token())
    assert isinstance(talk.stream, ReceivingStream)
    talk.hear(talk.stream.tokens(TOKENS[("juliet", CLIENT, EXPR)], "slain"))
    failure = one_of(talk.take().decode(), "failure")
    assert failure.child_text(ns.SASL2, "text") == "slain"
    assert failure.find(ns.SASL, "account-disabled") is not None


def test_the_client_speaks_first() -> None:
    talk = server(TLS)
    talk.say(header())
    challenge = talk.say(authenticate(EXPR, None, AGENT + FAST))
    assert challenge == "<challenge xmlns='urn:xmpp:sasl:2'/>"
    said = talk.say(sasl2("response", base64.b64encode(message("t0k3n-new")).decode()))
    assert "<success" in said
    assert wanted_of(talk).account == JID("juliet", "example.com")
