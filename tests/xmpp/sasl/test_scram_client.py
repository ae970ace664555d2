"""The initiating side of SCRAM: which servers it does not believe."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jabberd.xmpp.error import LocalError, SaslCondition, SaslError
from jabberd.xmpp.prep import PrepError
from jabberd.xmpp.sasl import scram
from jabberd.xmpp.sasl.mechanism import Challenge, DeriveKey, Response, Success
from tests.xmpp.sasl.kit import (
    BINDINGS,
    DOMAIN,
    ITERATIONS,
    JULIET,
    PASSWORD,
    SECRET,
    counter,
    derive,
    reply,
    say,
)

NAME = "SCRAM-SHA-256"
OFFERED = scram.Advertised((NAME + "-PLUS", NAME), tuple(BINDINGS))
SALT = base64.b64encode(b"salt").decode()


def client(advertised: scram.Advertised = OFFERED) -> scram.ScramClient:
    return scram.ScramClient(NAME, JULIET, PASSWORD, counter("client"), advertised)


def finished() -> tuple[scram.ScramClient, bytes]:
    """A client that has sent everything, and the server's right last word."""
    host = scram.Host(DOMAIN, SECRET, ITERATIONS, OFFERED, BINDINGS, counter("server"))
    server, mine = scram.server(NAME, host), client()
    challenge = say(server, mine.initial())
    assert isinstance(challenge, Challenge)
    success = say(server, reply(mine, challenge.data))
    assert isinstance(success, Success)
    assert success.data
    return mine, success.data


def test_the_servers_last_word_may_come_as_a_challenge() -> None:
    # RFC 4422 §3.6: servers without additional data in their success do it in this way.
    mine, final = finished()
    assert mine.challenge(final) == Response(b"")
    mine.success(None)


@pytest.mark.parametrize(
    "final",
    [
        None,
        b"",
        b"v=",
        b"v=AAAA",
        b"v=" + base64.b64encode(b"\0" * 32),
        b"e=invalid-proof",
        b"v=!",
        b"\xff",
        b"x",
    ],
)
def test_a_server_that_does_not_prove_itself(final: bytes | None) -> None:
    mine, _ = finished()
    with pytest.raises(SaslError) as caught:
        mine.success(final)
    assert caught.value.condition is SaslCondition.ABORTED


def test_success_before_its_time() -> None:
    for data in (None, b"v=AAAA"):
        mine = client()
        with pytest.raises(SaslError):
            mine.success(data)
    mine = client()
    mine.challenge(f"r=client-1x,s={SALT},i=4096".encode())
    with pytest.raises(SaslError):
        mine.success(b"v=AAAA")


def test_the_last_word_is_said_once() -> None:
    mine, final = finished()
    mine.challenge(final)
    with pytest.raises(SaslError):
        mine.challenge(final)


@pytest.mark.parametrize(
    "challenge",
    [
        "",
        "r=client-1x",
        f"r=client-1,s={SALT},i=4096",  # nothing from the server
        f"r=client-2x,s={SALT},i=4096",
        f"r=x,s={SALT},i=4096",
        f"s={SALT},r=client-1x,i=4096",
        f"r=client-1x,s={SALT},i=4095",
        f"r=client-1x,s={SALT},i=5000001",
        f"r=client-1x,s={SALT},i=99999999999999",
        f"r=client-1x,s={SALT},i=0",
        f"r=client-1x,s={SALT},i=04096",
        f"r=client-1x,s={SALT},i=-1",
        f"r=client-1x,s={SALT},i=٤٠٩٦",
        f"r=client-1x,s={SALT[:-1]},i=4096",
        "r=client-1x,s=,i=4096",
        f"m=x,r=client-1x,s={SALT},i=4096",
        f"r=client-1x,s={SALT},i=4096,m=x",
        f"r=client-1x,s={SALT},i=4096,h=AAAA",
        f"r=client-1x,s={SALT},i=4096,h=",
        "e=other-error",
    ],
)
def test_bad_challenges(challenge: str) -> None:
    with pytest.raises(SaslError) as caught:
        client().challenge(challenge.encode())
    assert caught.value.condition is SaslCondition.ABORTED


def test_a_list_that_was_changed_on_the_way() -> None:
    host = scram.Host(DOMAIN, SECRET, ITERATIONS, OFFERED, BINDINGS, counter("server"))
    changed = [
        scram.Advertised((NAME,), OFFERED.bindings),
        scram.Advertised((*OFFERED.mechanisms, "PLAIN"), OFFERED.bindings),
        scram.Advertised(OFFERED.mechanisms, ("tls-exporter",)),
        scram.Advertised(OFFERED.mechanisms, None),
    ]
    for advertised in changed:
        mine = client(advertised)
        challenge = say(scram.server(NAME, host), mine.initial())
        assert isinstance(challenge, Challenge)
        with pytest.raises(SaslError, match="changed on the way"):
            mine.challenge(challenge.data)


def test_removing_the_hash_does_not_help_the_attacker() -> None:
    host = scram.Host(DOMAIN, SECRET, ITERATIONS, OFFERED, BINDINGS, counter("server"))
    mine, server = client(scram.Advertised((NAME,))), scram.server(NAME, host)
    challenge = say(server, mine.initial())
    assert isinstance(challenge, Challenge)
    stripped = challenge.data.partition(b",h=")[0]
    with pytest.raises(SaslError) as caught:
        say(server, reply(mine, stripped))
    assert caught.value.condition is SaslCondition.NOT_AUTHORIZED


@pytest.mark.parametrize(
    ("version", "said", "suspicious"),
    [
        ("TLSv1.3", "0304", False),
        ("TLSv1.2", "0303", False),
        ("TLSv1.3", "0303", True),
        ("TLSv1.2", "0304", True),
        ("TLSv1.3", "x", True),
        ("", "0303", False),  # not known
        ("DTLSv9", "0303", False),
    ],
)
def test_another_version_of_tls(version: str, said: str, *, suspicious: bool) -> None:
    # XEP-0515 §4.2: somebody in the middle has two connections.
    mine = client(replace(OFFERED, version=version))
    challenge = f"r=client-1x,s={SALT},i=4096,t={said}".encode()
    if suspicious:
        with pytest.raises(SaslError, match="another version of TLS"):
            mine.challenge(challenge)
    else:
        assert isinstance(mine.challenge(challenge), DeriveKey)


def test_unknown_attributes_of_the_server_are_ignored() -> None:
    step = client().challenge(f"r=client-1x,s={SALT},i=4096,t=0304,z=".encode() + b"1")
    assert step == DeriveKey(PASSWORD.encode(), "sha256", b"salt", 4096)


def test_use_against_the_rules() -> None:
    mine = client()
    with pytest.raises(LocalError):
        mine.derived(b"")
    step = mine.challenge(f"r=client-1x,s={SALT},i=4096".encode())
    assert isinstance(step, DeriveKey)
    mine.derived(derive(step))
    with pytest.raises(LocalError):
        mine.derived(derive(step))
    with pytest.raises(LocalError):
        scram.ScramClient(NAME + "-PLUS", JULIET, PASSWORD, counter(), OFFERED)
    with pytest.raises(LocalError):
        scram.ScramClient(NAME, JULIET, PASSWORD, lambda: "", OFFERED)
    with pytest.raises(PrepError):
        scram.ScramClient(NAME, JULIET, "\x07", counter(), OFFERED)


@pytest.mark.parametrize(
    ("advertised", "binding", "flag"),
    [
        (scram.Advertised((NAME,)), None, b"n,,"),
        (scram.Advertised((NAME,)), ("tls-exporter", b"x"), b"y,,"),
        (OFFERED, None, b"n,,"),
        # XEP-0474 §6, new rule 6: the hash makes this safe.
        (OFFERED, ("tls-unique", b"x"), b"n,,"),
    ],
)
def test_the_flag_for_no_binding(
    advertised: scram.Advertised, binding: tuple[str, bytes] | None, flag: bytes
) -> None:
    mine = scram.ScramClient(NAME, JULIET, PASSWORD, counter(), advertised, binding=binding)
    assert mine.initial().startswith(flag + b"n=juliet,")


@given(st.binary(max_size=60) | st.binary(max_size=30).map(b"r=client-1x,s=AAAA,".__add__))
def test_any_challenge_gives_a_question_or_a_sasl_error(data: bytes) -> None:
    mine, final = finished()
    fresh = client()
    with pytest.raises(SaslError):
        mine.success(data if data != final else b"x")
    try:
        outcome: object = type(fresh.challenge(data))
    except SaslError as error:
        outcome = error.condition
    assert outcome in (DeriveKey, SaslCondition.ABORTED)
