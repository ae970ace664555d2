"""The initiating role with SASL2: against our own receiving role, and servers that misbehave."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jabberd.xmpp import ns
from jabberd.xmpp.element import Element, parse
from jabberd.xmpp.error import LocalError, SaslCondition, StreamCondition
from jabberd.xmpp.jid import JID
from jabberd.xmpp.sasl.mechanism import Credentials, Token
from jabberd.xmpp.sasl.offer import Channel
from jabberd.xmpp.stanza import Message, Presence
from jabberd.xmpp.stream import events
from jabberd.xmpp.stream.authenticate import Authenticate, BindRequest, UserAgent
from jabberd.xmpp.stream.events import InlineWanted
from jabberd.xmpp.stream.initiating2 import Sasl2InitiatingStream
from jabberd.xmpp.stream.login import Tls
from tests.xmpp.documents import CUTS, cut
from tests.xmpp.sasl.kit import BINDINGS, PASSWORD, make_keys
from tests.xmpp.sasl2 import JULIET, server
from tests.xmpp.streams import (
    CLIENT,
    DOMAIN,
    PLAIN_TEXT,
    TLS,
    Talk,
    converse,
    initiating2,
)

EXPR, NONE = "HT-SHA-256-EXPR", "HT-SHA-256-NONE"
AGENT = UserAgent(CLIENT, "AwesomeXMPP", "Kiva's Phone")
BIND = BindRequest("Awesome", (Element(ns.SM, "enable"),))
UNBOUND = Channel(secure=True)
MODERN = Channel(secure=True, bindings=BINDINGS, version="TLSv1.3")


def resume(previd: str) -> Element:
    return Element(ns.SM, "resume", {"h": "1", "previd": previd})


def both(
    request: Authenticate, channel: Channel = TLS, size: int = 1_000_000, **login: Any
) -> tuple[Talk, Talk]:
    """A client and a server that have nothing more to say to each other."""
    here, there = initiating2(channel, request=request, **login), server(channel)
    converse(here, there, size)
    return here, there


# Both roles


@pytest.mark.parametrize("size", [1, 50, 100_000])
@pytest.mark.parametrize(
    ("channel", "login", "mechanism"),
    [
        (TLS, {}, "SCRAM-SHA-512-PLUS"),
        (MODERN, {}, "SCRAM-SHA-512-PLUS"),
        (UNBOUND, {}, "SCRAM-SHA-512"),
        (TLS, {"mechanisms": ("SCRAM-SHA-1",)}, "SCRAM-SHA-1-PLUS"),
        (TLS, {"mechanisms": ("PLAIN",)}, "PLAIN"),
        (TLS, {"fast": Token("t0k3n-new", EXPR)}, EXPR),
        (UNBOUND, {"fast": Token("t0k3n-none", NONE)}, NONE),
        # No channel binding, so no use for that token.
        (UNBOUND, {"fast": Token("t0k3n-new", EXPR)}, "SCRAM-SHA-512"),
        # A mechanism of tokens that is not known here.
        (TLS, {"fast": Token("t0k3n-new", "HT-SHA-512-EXPR")}, "SCRAM-SHA-512-PLUS"),
        (Channel(secure=True, identities=(JULIET,)), {"certificate": True}, "EXTERNAL"),
        (PLAIN_TEXT, {"tls": Tls.REQUIRED}, "SCRAM-SHA-512-PLUS"),
        (PLAIN_TEXT, {"tls": Tls.OFF}, "SCRAM-SHA-512"),
    ],
)
def test_logging_in(channel: Channel, login: dict[str, Any], mechanism: str, size: int) -> None:
    request = Authenticate("", client=AGENT, bind=BIND)
    here, there = both(request, channel, size, **login)
    assert here.of(events.AuthenticationFailed) == []
    (welcome,) = here.of(events.Authenticated)
    assert welcome == events.Authenticated(JULIET, mechanism)
    (bound,) = here.of(events.SessionBound)
    if login.get("tls") is Tls.OFF:  # then it is the other kind of SASL
        assert bound.jid == JULIET.with_resource("made")
        assert not there.of(InlineWanted)
    else:
        assert bound.jid == JULIET.with_resource("Awesome/made")
        (wanted,) = there.of(InlineWanted)
        assert (wanted.client, wanted.bind, wanted.mechanism) == (AGENT, BIND, mechanism)
        (answered,) = here.of(events.InlineAnswered)
        assert answered.bound is not None
        assert answered.bound.find(ns.SM, "enabled") is not None
    assert here.stream.is_ready
    assert there.stream.is_ready

    # Stanzas flow both ways.
    there.hear(there.stream.receive(here.stream.send(Message(to=JULIET, id="1"))))
    here.hear(here.stream.receive(there.stream.send(Presence(from_=JULIET))))
    assert there.kinds()[-1] is Message
    assert here.kinds()[-1] is Presence
    here.hear(here.stream.close())
    converse(here, there, size)
    assert here.closed == events.Closed(None, by_peer=False)
    assert there.closed == events.Closed(None, by_peer=True)


def test_a_resource_in_the_old_way() -> None:
    here, there = both(Authenticate(""), resource="orchard")
    (wanted,) = there.of(events.BindWanted)
    assert wanted.resource == "orchard"
    (bound,) = here.of(events.SessionBound)
    assert bound.jid == JULIET.with_resource("orchard")


def test_a_new_user() -> None:
    here, _ = both(Authenticate("", bind=BIND), account=JID("", DOMAIN), password=None)
    (bound,) = here.of(events.SessionBound)
    assert bound.jid.bare == here.of(events.Authenticated)[0].account
    assert bound.jid.local


@pytest.mark.parametrize(("previd", "resource"), [("known", "old"), ("gone", "Awesome/made")])
def test_resumption(previd: str, resource: str) -> None:
    here, there = both(Authenticate("", bind=BIND, resume=resume(previd)))
    (bound,) = here.of(events.SessionBound)
    assert bound.jid == JULIET.with_resource(resource)
    (answered,) = here.of(events.InlineAnswered)
    found = (answered.resumed, answered.failed, answered.bound)
    known = previd == "known"
    assert [element is not None for element in found] == [known, not known, not known]
    assert here.stream.is_ready
    assert there.stream.is_ready


def test_a_phone_is_back_online_in_one_round_trip() -> None:
    request = Authenticate("", client=AGENT, bind=BIND, token_request=EXPR)
    here, _ = both(request)
    (first,) = here.of(events.InlineAnswered)
    assert first.token is not None
    assert first.token.get("token") == f"for {EXPR}"
    assert first.config_version

    again = replace(request, config_version=first.config_version)
    back = initiating2(request=again, fast=Token("t0k3n-new", EXPR))
    there = server()
    there.hear(there.stream.receive(back.take()))
    back.hear(back.stream.receive(there.take()))
    assert back.kinds() == [events.Authenticated, events.InlineAnswered, events.SessionBound]
    assert back.stream.is_ready


def test_an_offer_that_is_another_one_by_now() -> None:
    request = Authenticate("", client=AGENT, bind=BIND, config_version="VGhpcyBpcyBvcGFxdWUh")
    here, there = both(request, fast=Token("t0k3n-new", EXPR))
    (failed,) = here.of(events.AuthenticationFailed)
    assert failed.error.condition is SaslCondition.ABORTED
    # Once more, by the same token.
    assert here.of(events.Authenticated) == [events.Authenticated(JULIET, EXPR)]
    assert len(there.of(events.TokensWanted)) == 1


def test_a_token_that_is_refused() -> None:
    request = Authenticate("", client=AGENT, bind=BIND)
    here, there = both(request, fast=Token("t0k3n-gone", EXPR))
    (failed,) = here.of(events.AuthenticationFailed)
    assert (failed.mechanism, failed.error.condition) == (EXPR, SaslCondition.CREDENTIALS_EXPIRED)
    assert here.of(events.Authenticated) == [events.Authenticated(JULIET, "SCRAM-SHA-512-PLUS")]
    # Without a password, that was it.
    here, there = both(request, fast=Token("t0k3n-bad", EXPR), password=None)
    assert here.kinds() == [
        events.AuthenticationFailed, events.AuthenticationFailed, events.Closed,
    ]  # fmt: skip
    assert there.closed.by_peer


def test_keys_for_other_hash_functions() -> None:
    request = Authenticate("", upgrades=frozenset({"UPGR-SCRAM-SHA-512", "UPGR-SCRAM-SHA-256"}))
    here, there = initiating2(request=request, mechanisms=("SCRAM-SHA-1",)), server()
    there.accounts = {"juliet": Credentials((make_keys(PASSWORD, "sha1"),))}
    converse(here, there)
    assert here.of(events.AuthenticationFailed) == []
    made = [event.keys for event in there.of(events.KeysUpgraded)]
    assert made == [make_keys(PASSWORD, key.hash, key.salt) for key in made]
    assert {key.hash for key in made} == {"sha512", "sha256"}
    assert here.stream.is_ready


@pytest.mark.parametrize(
    ("login", "condition"),
    [
        ({"password": "wrong"}, SaslCondition.NOT_AUTHORIZED),
        ({"password": "wrong", "mechanisms": ("PLAIN",)}, SaslCondition.NOT_AUTHORIZED),
        ({"account": JID("tybalt", DOMAIN)}, SaslCondition.ACCOUNT_DISABLED),
        ({"password": None}, SaslCondition.ABORTED),
        ({"mechanisms": ()}, SaslCondition.ABORTED),
    ],
)
def test_logins_that_fail(login: dict[str, Any], condition: SaslCondition) -> None:
    here, there = both(Authenticate("", bind=BIND), **login)
    (failed,) = here.of(events.AuthenticationFailed)
    assert failed.error.condition is condition
    assert here.closed == events.Closed(None, by_peer=False)
    assert not there.of(InlineWanted)


def test_another_version_of_tls_is_noticed() -> None:
    # XEP-0515: somebody in the middle has two connections.
    here = initiating2(Channel(secure=True, version="TLSv1.2"), request=Authenticate(""))
    there = server(Channel(secure=True, version="TLSv1.3"))
    converse(here, there)
    (failed,) = here.of(events.AuthenticationFailed)
    assert failed.error.condition is SaslCondition.ABORTED
    (failed,) = there.of(events.AuthenticationFailed)
    assert failed.error.condition is SaslCondition.ABORTED  # by <abort/>


# Servers that misbehave

HEADER = (
    f"<?xml version='1.0'?><stream:stream xmlns='jabber:client' id='i' from='{DOMAIN}'"
    " xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"
)
FAST = f"<inline><fast xmlns='urn:xmpp:fast:0'><mechanism>{EXPR}</mechanism></fast></inline>"


def offer(*names: str, bindings: tuple[str, ...] = (), inside: str = "") -> str:
    listed = "".join(f"<mechanism>{name}</mechanism>" for name in names)
    types = "".join(f"<channel-binding type='{name}'/>" for name in bindings)
    more = f"<sasl-channel-binding xmlns='{ns.SASL_CB}'>{types}</sasl-channel-binding>"
    return (
        f"<stream:features><authentication xmlns='{ns.SASL2}'>{listed}{inside}</authentication>"
        f"{more if bindings else ''}</stream:features>"
    )


def sasl2(name: str, inside: str = "") -> str:
    return f"<{name} xmlns='urn:xmpp:sasl:2'>{inside}</{name}>"


def data(name: str, value: bytes) -> str:
    return sasl2(name, base64.b64encode(value).decode())


def success(jid: str = "juliet@example.com", inside: str = "") -> str:
    who = f"<authorization-identifier>{jid}</authorization-identifier>"
    return sasl2("success", who + inside)


def task(*names: str) -> str:
    listed = "".join(f"<task>{name}</task>" for name in names)
    return sasl2("continue", f"<tasks>{listed}</tasks>")


def salt(iterations: str = "4096", text: str = "c2FsdA==") -> str:
    inside = f"<salt xmlns='{ns.SCRAM_UPGRADE}' iterations='{iterations}'>{text}</salt>"
    return sasl2("task-data", inside)


def server_says(*said: str, channel: Channel = UNBOUND, **login: Any) -> Talk:
    request = Authenticate("", upgrades=frozenset({"UPGR-SCRAM-SHA-512"}))
    talk = initiating2(channel, **({"request": request} | login))
    talk.take()
    for text in said:
        talk.hear(talk.stream.receive(text.encode()))
    return talk


def test_what_is_sent() -> None:
    request = Authenticate(
        "", client=AGENT, bind=BIND, resume=resume("x"), token_request=EXPR, fast=True,
        invalidate=True, config_version="v",
    )  # fmt: skip
    talk = initiating2(request=request, fast=Token("t0k3n-new", EXPR))
    said = talk.take().decode()
    found = parse(said.partition("xml:lang='en'>")[2].encode())
    assert found.get("mechanism") == EXPR
    assert [(child.ns, child.name) for child in found] == [
        (ns.SASL2, "initial-response"), (ns.SASL2, "user-agent"), (ns.SM, "resume"),
        (ns.BIND2, "bind"), (ns.FAST, "fast"), (ns.FAST, "request-token"),
        (ns.IAP, "config-version"),
    ]  # fmt: skip
    fast = found.find(ns.FAST, "fast")
    assert fast is not None
    assert fast.attrs == {"invalidate": "true"}


PLAIN = (HEADER, offer("PLAIN"))
SCRAM = (HEADER, offer("SCRAM-SHA-1"))
CHALLENGE = data("challenge", b"r=client-1more,s=c2FsdA==,i=4096")


@pytest.mark.parametrize(
    ("said", "aborts"),
    [
        ((*SCRAM, success()), False),  # no proof
        ((*SCRAM, CHALLENGE, success(inside="<additional-data>dj1BQUFB</additional-data>")), False),
        ((*SCRAM, CHALLENGE, success(inside="<additional-data>!</additional-data>")), False),
        ((*SCRAM, CHALLENGE, task("UPGR-SCRAM-SHA-512")), True),
        ((*SCRAM, data("challenge", b"x")), True),
        ((*SCRAM, sasl2("challenge", "!")), True),
        ((*PLAIN, data("challenge", b"x")), True),
        ((*PLAIN, success("romeo@example.com")), False),
        ((*PLAIN, success("juliet@example.org")), False),
        ((*PLAIN, task("UPGR-SCRAM-SHA-256")), True),  # not asked for
        ((*PLAIN, task("TOTP-EXAMPLE")), True),
        ((*PLAIN, sasl2("continue")), True),
        ((*PLAIN, task("UPGR-SCRAM-SHA-512"), salt("4095")), True),
        ((*PLAIN, task("UPGR-SCRAM-SHA-512"), salt("5000001")), True),
        ((*PLAIN, task("UPGR-SCRAM-SHA-512"), salt("99999999999")), True),
        ((*PLAIN, task("UPGR-SCRAM-SHA-512"), salt("x")), True),
        ((*PLAIN, task("UPGR-SCRAM-SHA-512"), salt(text="")), True),
        ((*PLAIN, task("UPGR-SCRAM-SHA-512"), salt(text="!")), True),
        ((*PLAIN, task("UPGR-SCRAM-SHA-512"), sasl2("task-data")), True),
        # XEP-0440 §3, rules 4 and 5
        ((HEADER, offer("SCRAM-SHA-1-PLUS", "SCRAM-SHA-1")), False),
        ((HEADER, offer("SCRAM-SHA-1", bindings=("tls-exporter",))), False),
    ],
)
def test_servers_that_are_not_believed(said: tuple[str, ...], *, aborts: bool) -> None:
    talk = server_says(*said)
    assert talk.kinds()[-2:] == [events.AuthenticationFailed, events.Closed]
    assert not talk.of(events.Authenticated)
    assert (b"<abort xmlns='urn:xmpp:sasl:2'/>" in talk.take()) is aborts


@pytest.mark.parametrize(
    ("said", "condition"),
    [
        ((*PLAIN, success("@")), StreamCondition.INVALID_XML),
        ((*PLAIN, sasl2("success")), StreamCondition.INVALID_XML),
        ((*PLAIN, sasl2("response")), StreamCondition.UNSUPPORTED_STANZA_TYPE),
        ((*PLAIN, "<message/>"), StreamCondition.UNSUPPORTED_STANZA_TYPE),
        ((*PLAIN, offer("PLAIN")), StreamCondition.UNSUPPORTED_STANZA_TYPE),
        ((*PLAIN, success("juliet@example.com/x", "<bound xmlns='urn:xmpp:bind:0'/>"),
          "<message/>"), StreamCondition.UNSUPPORTED_STANZA_TYPE),
        ((*PLAIN, success(), "<stream:features/>"), StreamCondition.UNSUPPORTED_FEATURE),
        ((HEADER, success()), StreamCondition.UNSUPPORTED_STANZA_TYPE),
    ],
)  # fmt: skip
def test_what_ends_the_stream(said: tuple[str, ...], condition: StreamCondition) -> None:
    assert server_says(*said).condition is condition


@pytest.mark.parametrize(
    ("inside", "condition", "text"),
    [
        # XEP-0388 §2.6.2
        (f"""<aborted xmlns='{ns.SASL}'/>
  <optional-application-specific xmlns='urn:something:else'/>
  <text>This is a terrible example.</text>""",
         SaslCondition.ABORTED, "This is a terrible example."),
        (f"<novel xmlns='{ns.SASL}'/>", SaslCondition.NOT_AUTHORIZED, ""),
        ("<account-disabled/>", SaslCondition.NOT_AUTHORIZED, ""),
        ("", SaslCondition.NOT_AUTHORIZED, ""),
    ],
)  # fmt: skip
def test_why_a_login_failed(inside: str, condition: SaslCondition, text: str) -> None:
    talk = server_says(*PLAIN, sasl2("failure", inside))
    (failed,) = talk.of(events.AuthenticationFailed)
    assert (failed.error.condition, failed.error.text) == (condition, text)


def test_answers_to_questions_that_nobody_asked() -> None:
    for said in ((), SCRAM):
        stream = server_says(*said).stream
        assert isinstance(stream, Sasl2InitiatingStream)
        with pytest.raises(LocalError):
            stream.derived(b"")


PIECES = st.sampled_from(
    [HEADER, offer("PLAIN"), offer("SCRAM-SHA-1"), offer("PLAIN", inside=FAST), CHALLENGE,
     success(), success("juliet@example.com/x", "<bound xmlns='urn:xmpp:bind:0'/>"),
     success("juliet@example.com/x", "<resumed xmlns='urn:xmpp:sm:3'/>"), success("@"),
     sasl2("failure"), sasl2("failure", "<config-version-mismatch xmlns='urn:xmpp:iap:0'/>"),
     task("UPGR-SCRAM-SHA-512"), salt(), salt(text=""), sasl2("task-data"), sasl2("x"),
     "<stream:features/>", "<message/>", "</stream:stream>", "x"]
)  # fmt: skip


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    start=st.sampled_from(["", HEADER, "".join(PLAIN), "".join(SCRAM)]),
    pieces=st.lists(PIECES.map(str.encode) | st.binary(max_size=20), max_size=8),
    places=CUTS,
    answers=st.booleans(),
    token=st.booleans(),
    early=st.booleans(),
)
def test_nothing_raises(
    start: str, pieces: list[bytes], places: list[float], *, answers: bool, token: bool, early: bool
) -> None:
    request = Authenticate(
        "", upgrades=frozenset({"UPGR-SCRAM-SHA-512"}), config_version="v" if early else None
    )
    fast = Token("t0k3n-new", EXPR) if token else None
    talk = initiating2(request=request, fast=fast, answers=answers)
    talk.take()
    talk.say(start)
    for piece in cut(b"".join(pieces), places):
        talk.say(piece)
    if talk.stream.closed:
        assert isinstance(talk.closed, events.Closed)
        assert talk.say(HEADER) == ""
