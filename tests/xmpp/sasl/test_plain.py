"""PLAIN (RFC 4616)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jabberd.xmpp.error import LocalError, SaslCondition, SaslError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.prep import PrepError
from jabberd.xmpp.sasl import keys, plain
from jabberd.xmpp.sasl.mechanism import (
    Challenge,
    Credentials,
    CredentialsWanted,
    DeriveKey,
    ServerMechanism,
    Success,
)
from tests.xmpp.sasl.kit import (
    ACCOUNTS,
    DOMAIN,
    ITERATIONS,
    JULIET,
    PASSWORD,
    SECRET,
    log_in,
    make_keys,
    say,
)

RIGHT = f"\0juliet\0{PASSWORD}".encode()


def server() -> ServerMechanism:
    return plain.server(DOMAIN, secret=SECRET, iterations=ITERATIONS)


def refusal(message: bytes) -> SaslError:
    with pytest.raises(SaslError) as caught:
        say(server(), message)
    return caught.value


def test_round_trip() -> None:
    success = log_in(server(), plain.client(JULIET, PASSWORD))
    assert success == Success("juliet", "juliet@example.com", None)


def test_the_clients_message_is_that_of_the_rfc() -> None:
    client = plain.client(JID("tim", DOMAIN), "tanstaaftanstaaf")
    assert client.initial() == b"\0tim\0tanstaaftanstaaf"
    client = plain.client(JID("kurt", DOMAIN), "xipj3plmq", authzid="Ursel")
    assert client.initial() == b"Ursel\0kurt\0xipj3plmq"


def test_without_an_initial_response_the_server_asks_for_it() -> None:
    mechanism = server()
    assert mechanism.respond(None) == Challenge(b"")
    assert isinstance(say(mechanism, RIGHT), Success)


def test_nothing_twice_is_an_empty_message() -> None:
    mechanism = server()
    mechanism.respond(None)
    with pytest.raises(SaslError) as caught:
        mechanism.respond(None)
    assert caught.value.condition is SaslCondition.MALFORMED_REQUEST


def test_name_and_password_are_prepared() -> None:
    accounts = {"juliet": Credentials((make_keys("IX", "sha256"),))}
    message = "\0ＪＵＬＩＥＴ\0I\u00adX".encode()  # noqa: RUF001 -- full width on purpose
    assert say(server(), message, accounts) == Success("juliet", "juliet@example.com")


def test_unassigned_code_points_may_be_asked_for() -> None:
    accounts = {"juliet": Credentials((make_keys("\U0001f339", "sha256"),))}
    assert isinstance(say(server(), "\0juliet\0\U0001f339".encode(), accounts), Success)


@pytest.mark.parametrize("authzid", ["juliet@example.com", "Juliet@EXAMPLE.com"])
def test_own_address_as_authzid(authzid: str) -> None:
    success = log_in(server(), plain.client(JULIET, PASSWORD, authzid=authzid))
    assert success.authzid == "juliet@example.com"


@pytest.mark.parametrize(
    "authzid",
    ["romeo@example.com", "juliet@example.net", "juliet@example.com/balcony", "juliet",
     "example.com", "@", "a@b@c"],
)  # fmt: skip
def test_other_authzid(authzid: str) -> None:
    error = refusal(authzid.encode() + RIGHT)
    assert error.condition is SaslCondition.INVALID_AUTHZID


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"juliet",
        b"\0juliet",
        b"\0juliet\0",
        b"\0\0secret",
        RIGHT + b"\0",
        RIGHT + b"\0more",  # a password with NUL
        b"\0juliet\0\xff\xfe",
        b"\0jul\xc3\0secret",
        b"\xc0\x80\0juliet\0secret",  # an overlong NUL
        b"\0juliet\0\xed\xa0\x80",  # a surrogate
    ],
)
def test_malformed(message: bytes) -> None:
    assert refusal(message).condition is SaslCondition.MALFORMED_REQUEST


@pytest.mark.parametrize(
    "message",
    [
        b"\0juliet\0wrong",
        b"\0nobody\0" + PASSWORD.encode(),
        b"\0nurse\0" + PASSWORD.encode(),  # has no keys
        b"\0juliet@example.com\0" + PASSWORD.encode(),
        b"\0juliet\0a\x07",  # cannot be prepared
        "\0juliet\0\u00ad".encode(),  # nothing is left of it
        b"\0tybalt\0wrong",  # disabled, but that is for its owner to know
    ],
)
def test_not_authorized(message: bytes) -> None:
    error = refusal(message)
    assert (error.condition, error.text) == (SaslCondition.NOT_AUTHORIZED, "")


def test_disabled_account_is_told_to_its_owner() -> None:
    error = refusal(b"\0tybalt\0" + PASSWORD.encode())
    assert error.condition is SaslCondition.ACCOUNT_DISABLED
    assert error.text == "slain by Romeo"


def steps(username: str) -> list[object]:
    """What an observer of the questions sees, without the values."""
    mechanism = server()
    first = mechanism.respond(f"\0{username}\0wrong".encode())
    second = mechanism.credentials(ACCOUNTS.get(username))
    assert isinstance(second, DeriveKey)
    with pytest.raises(SaslError) as caught:
        mechanism.derived(b"\0" * 64)
    return [type(first), second.hash, len(second.salt), second.iterations, str(caught.value)]


def test_unknown_users_cost_the_same_as_known_ones() -> None:
    assert steps("nobody") == steps("nurse") == steps("juliet")


def test_no_key_opens_a_decoy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "verify", lambda *_: True)
    assert refusal(b"\0nobody\0secret").condition is SaslCondition.NOT_AUTHORIZED


def test_the_strongest_keys_are_used() -> None:
    mechanism = server()
    assert mechanism.respond(RIGHT) == CredentialsWanted("juliet")
    weak, strong = make_keys(PASSWORD, "sha1"), make_keys(PASSWORD, "sha512", iterations=1)
    step = mechanism.credentials(Credentials((weak, strong)))
    assert step == DeriveKey(PASSWORD.encode(), "sha512", strong.salt, 1)


def test_no_answer_without_a_question() -> None:
    mechanism = server()
    with pytest.raises(LocalError):
        mechanism.credentials(None)
    with pytest.raises(LocalError):
        mechanism.derived(b"")
    mechanism.respond(RIGHT)
    with pytest.raises(LocalError):
        mechanism.derived(b"")


def test_speaking_out_of_turn_ends_the_attempt() -> None:
    mechanism = server()
    mechanism.respond(RIGHT)
    for _ in range(2):
        with pytest.raises(SaslError) as caught:
            mechanism.respond(RIGHT)
        assert caught.value.condition is SaslCondition.MALFORMED_REQUEST
    with pytest.raises(LocalError):
        mechanism.credentials(None)


def test_a_used_mechanism_stays_used() -> None:
    mechanism = server()
    say(mechanism, RIGHT)
    with pytest.raises(SaslError):
        mechanism.respond(RIGHT)
    mechanism = server()
    with pytest.raises(SaslError):
        mechanism.respond(b"")
    with pytest.raises(SaslError):
        mechanism.respond(RIGHT)


def test_the_client_refuses_what_plain_does_not_have() -> None:
    client = plain.client(JULIET, PASSWORD)
    for act in (lambda: client.challenge(b"x"), lambda: client.success(b"x")):
        with pytest.raises(SaslError) as caught:
            act()
        assert caught.value.condition is SaslCondition.ABORTED
    with pytest.raises(LocalError):
        client.derived(b"")
    with pytest.raises(PrepError):
        plain.client(JULIET, "a\0b")


def test_no_password_or_key_in_a_representation() -> None:
    mechanism = server()
    mechanism.respond(RIGHT)
    step = mechanism.credentials(ACCOUNTS["juliet"])
    assert PASSWORD not in repr(step)
    own = make_keys(PASSWORD, "sha1")
    assert repr(own.stored) not in repr(own)
    assert repr(own.server) not in repr(own)


def test_decoys() -> None:
    one = keys.decoy(SECRET, DOMAIN, "nobody", "sha256", 10)
    assert one == keys.decoy(SECRET, DOMAIN, "nobody", "sha256", 10)
    assert (len(one.salt), len(one.stored), len(one.server)) == (keys.SALT_BYTES, 32, 32)
    others = [
        keys.decoy(b"other", DOMAIN, "nobody", "sha256", 10),
        keys.decoy(SECRET, "example.net", "nobody", "sha256", 10),
        keys.decoy(SECRET, DOMAIN, "nobody2", "sha256", 10),
        keys.decoy(SECRET, DOMAIN, "nobody", "sha512", 10),
        keys.decoy(SECRET, DOMAIN + "n", "obody", "sha256", 10),
    ]
    assert len({one.salt, *(other.salt for other in others)}) == 6


@given(st.binary(max_size=60) | st.lists(st.binary(max_size=9), max_size=4).map(b"\0".join))
def test_any_bytes_give_a_success_or_a_sasl_error(message: bytes) -> None:
    mechanism = server()
    try:
        step = mechanism.respond(message)
        assert isinstance(step, CredentialsWanted)
        step = mechanism.credentials(None)
        assert isinstance(step, DeriveKey)
        mechanism.derived(b"\0" * 64)
    except SaslError:
        return
    raise AssertionError("nobody logs in without an account")
