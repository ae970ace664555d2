"""ANONYMOUS (RFC 4505)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jabberd.xmpp.error import SaslCondition, SaslError
from jabberd.xmpp.prep import PrepError
from jabberd.xmpp.sasl import anonymous
from jabberd.xmpp.sasl.mechanism import Challenge, Success
from tests.xmpp.sasl.kit import DOMAIN, counter, log_in, say


def test_everyone_gets_a_name() -> None:
    token = counter("Guest")
    first = log_in(anonymous.server(DOMAIN, token), anonymous.client())
    second = log_in(anonymous.server(DOMAIN, token), anonymous.client("sirhc"))
    assert first == Success("guest-1", "guest-1@example.com", None)
    assert second.username == "guest-2"


def test_no_initial_response() -> None:
    server = anonymous.server(DOMAIN, counter())
    assert server.respond(None) == Challenge(b"")
    assert isinstance(say(server, b""), Success)


@pytest.mark.parametrize("trace", ["sirhc", "juliet@example.com", "ä" * 255, "\U0001f339", " "])
def test_traces(trace: str) -> None:
    log_in(anonymous.server(DOMAIN, counter()), anonymous.client(trace))


@pytest.mark.parametrize(
    "message", [b"a" * 256, b"a\0", b"\xff", b"\n", "\ufffd".encode(), "\u0627a".encode()]
)
def test_malformed(message: bytes) -> None:
    with pytest.raises(SaslError) as caught:
        say(anonymous.server(DOMAIN, counter()), message)
    assert caught.value.condition is SaslCondition.MALFORMED_REQUEST


def test_the_client_checks_its_trace() -> None:
    with pytest.raises(PrepError):
        anonymous.client("a\nb")


@given(st.binary(max_size=300))
def test_any_bytes_give_a_success_or_a_sasl_error(message: bytes) -> None:
    try:
        step = say(anonymous.server(DOMAIN, counter()), message)
    except SaslError:
        return
    assert isinstance(step, Success)
