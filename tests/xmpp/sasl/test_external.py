"""EXTERNAL (RFC 4422 appendix A) with the cases of XEP-0178 §2."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jabberd.xmpp.error import SaslCondition, SaslError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.sasl import external
from jabberd.xmpp.sasl.mechanism import Challenge, CredentialsWanted, Success
from tests.xmpp.sasl.kit import DOMAIN, JULIET, log_in, say

NURSE = JID("nurse", DOMAIN)
TYBALT = JID("tybalt", DOMAIN)
ELSEWHERE = JID("juliet", "example.net")


def refusal(identities: list[JID], message: bytes) -> SaslCondition:
    with pytest.raises(SaslError) as caught:
        say(external.server(DOMAIN, identities), message)
    return caught.value.condition


def test_one_address_and_no_authzid() -> None:
    success = log_in(external.server(DOMAIN, [JULIET]), external.client())
    assert success == Success("juliet", "juliet@example.com", None)


def test_no_initial_response() -> None:
    server = external.server(DOMAIN, [JULIET])
    assert server.respond(None) == Challenge(b"")
    assert say(server, b"") == Success("juliet", "juliet@example.com")


def test_several_addresses_and_an_authzid() -> None:
    server = external.server(DOMAIN, [JULIET, NURSE])
    success = log_in(server, external.client("Nurse@EXAMPLE.com"))
    assert success.authzid == "nurse@example.com"


def test_several_addresses_and_no_authzid() -> None:
    assert refusal([JULIET, NURSE], b"") is SaslCondition.INVALID_AUTHZID


def test_the_same_address_twice_is_one() -> None:
    server = external.server(DOMAIN, [JULIET, JID("juliet", DOMAIN, "balcony")])
    assert log_in(server, external.client()).username == "juliet"


def test_addresses_of_other_hosts_do_not_count() -> None:
    server = external.server(DOMAIN, [ELSEWHERE, JULIET, JID("", DOMAIN)])
    assert log_in(server, external.client()).username == "juliet"
    assert refusal([ELSEWHERE], b"") is SaslCondition.NOT_AUTHORIZED
    assert refusal([JULIET, ELSEWHERE], b"juliet@example.net") is SaslCondition.INVALID_AUTHZID


@pytest.mark.parametrize(
    "authzid", [b"nurse@example.com", b"juliet@example.com/x", b"example.com", b"juliet", b"@"]
)
def test_authzid_that_the_certificate_does_not_have(authzid: bytes) -> None:
    assert refusal([JULIET], authzid) is SaslCondition.INVALID_AUTHZID


@pytest.mark.parametrize("message", [b"\xff", b"juliet@example.com\0"])
def test_malformed(message: bytes) -> None:
    assert refusal([JULIET], message) is SaslCondition.MALFORMED_REQUEST


def test_no_certificate_or_no_account() -> None:
    assert refusal([], b"") is SaslCondition.NOT_AUTHORIZED
    assert refusal([JID("nobody", DOMAIN)], b"") is SaslCondition.NOT_AUTHORIZED


def test_disabled_account() -> None:
    assert refusal([TYBALT], b"") is SaslCondition.ACCOUNT_DISABLED


@given(st.binary(max_size=30))
def test_any_bytes_give_a_question_or_a_sasl_error(message: bytes) -> None:
    server = external.server(DOMAIN, [JULIET])
    try:
        step = server.respond(message)
    except SaslError:
        return
    assert step == CredentialsWanted("juliet")
