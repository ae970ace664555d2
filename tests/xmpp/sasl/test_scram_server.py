"""The receiving side of SCRAM: what it grants, and what it refuses with which condition."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jabberd.xmpp.error import LocalError, SaslCondition, SaslError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.sasl import keys, scram
from jabberd.xmpp.sasl import scram_wire as wire
from jabberd.xmpp.sasl.mechanism import Challenge, Credentials, ServerMechanism, Success
from tests.xmpp.sasl.kit import (
    BINDINGS,
    DOMAIN,
    ITERATIONS,
    JULIET,
    JULIETS_KEYS,
    PASSWORD,
    SECRET,
    counter,
    log_in,
    make_keys,
    reply,
    say,
)

NAMES = tuple(scram.NAMES)
BOTH = scram.Advertised((*(name + "-PLUS" for name in NAMES), *NAMES), tuple(BINDINGS))
BARE = scram.Advertised(NAMES)


def server(name: str = "SCRAM-SHA-256", advertised: scram.Advertised = BOTH) -> ServerMechanism:
    bindings = BINDINGS if advertised.plus else {}
    host = scram.Host(DOMAIN, SECRET, ITERATIONS, advertised, bindings, counter("server"))
    return scram.server(name, host)


def client(
    name: str = "SCRAM-SHA-256",
    advertised: scram.Advertised = BOTH,
    *,
    account: JID = JULIET,
    password: str = PASSWORD,
    binding: tuple[str, bytes] | None = None,
    authzid: str = "",
) -> scram.ScramClient:
    return scram.ScramClient(
        name, account, password, counter("client"), advertised, binding=binding, authzid=authzid
    )


def refusal(mechanism: ServerMechanism, message: bytes) -> SaslCondition:
    with pytest.raises(SaslError) as caught:
        say(mechanism, message)
    return caught.value.condition


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("advertised", [BOTH, BARE])
def test_round_trip(name: str, advertised: scram.Advertised) -> None:
    success = log_in(server(name, advertised), client(name, advertised))
    assert (success.username, success.authzid) == ("juliet", "juliet@example.com")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("binding", BINDINGS.items())
def test_round_trip_with_channel_binding(name: str, binding: tuple[str, bytes]) -> None:
    name += "-PLUS"
    success = log_in(server(name), client(name, binding=binding))
    assert success.authzid == "juliet@example.com"


def test_a_client_that_could_bind_where_nothing_is_offered() -> None:
    mine = client(advertised=BARE, binding=("tls-exporter", b"x"))
    assert mine.initial().startswith(b"y,,")
    assert log_in(server(advertised=BARE), mine).username == "juliet"


def test_the_names_are_escaped_and_prepared() -> None:
    accounts = {"a=b,c": Credentials(JULIETS_KEYS)}
    account = JID("a=b,c", DOMAIN)
    mine = client(account=account, authzid="a=b,c@example.com")
    assert mine.initial().startswith(b"n,a=a=3Db=2Cc@example.com,n=a=3Db=2Cc,r=")
    assert log_in(server(), mine, accounts).authzid == "a=b,c@example.com"
    mechanism = server()
    say(mechanism, "n,,n=Ⅸ,r=x".encode(), {"ix": Credentials(JULIETS_KEYS)})


def test_the_username_is_hashed_as_received() -> None:
    # RFC 5802 §5.1: prepared for the look-up, but not in the AuthMessage.
    mine = client(account=JID("JULIET", DOMAIN))
    assert b"n=JULIET" in mine.initial()
    assert log_in(server(), mine).username == "juliet"


def test_passwords_are_prepared_by_the_client() -> None:
    accounts = {"juliet": Credentials((make_keys("IX", "sha256"),))}
    assert log_in(server(), client(password="\u2168"), accounts).username == "juliet"


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"n",
        b"n,,",
        b"n,,n=juliet",
        b"n,,r=x,n=juliet",  # the order is fixed
        b"n,,n=juliet,s=x,r=x",
        b"n,,n=,r=x",
        b"n,,n=juliet,r=",
        b"n,,n=juliet,r=\x7f",
        b"n,,n=juliet,r=a b",
        "n,,n=juliet,r=ä".encode(),
        b"n,,n=jul=iet,r=x",
        b"n,,n=jul=2ciet,r=x",  # the escape is in capitals
        b"n,a=,n=juliet,r=x",
        b"n,juliet@example.com,n=juliet,r=x",
        b"n,,m=ext,n=juliet,r=x",
        b"n,,n=juliet,r=x,m=ext",
        b"n,,n=juliet,r=x,",
        b"n,,n=juliet,r=x,xyz",
        b"n,,n=juliet,r=x,1=y",
        b"x,,n=juliet,r=x",
        b"F,n,,n=juliet,r=x",  # GS2 of a mechanism that is not standard
        b"p=,,n=juliet,r=x",
        b"p=tls exporter,,n=juliet,r=x",
        b"p=tls-exporter,,n=juliet,r=x",  # without -PLUS
        b"N,,n=juliet,r=x",
        b"n,,n=jul\0iet,r=x",
        b"n,,n=\xff,r=x",
    ],
)
def test_malformed_first(message: bytes) -> None:
    assert refusal(server(), message) is SaslCondition.MALFORMED_REQUEST


@pytest.mark.parametrize("flag", ["n", "y"])
def test_plus_needs_a_binding(flag: str) -> None:
    message = f"{flag},,n=juliet,r=x".encode()
    assert refusal(server("SCRAM-SHA-1-PLUS"), message) is SaslCondition.MALFORMED_REQUEST


def test_y_where_plus_was_offered_is_a_downgrade() -> None:
    assert refusal(server(), b"y,,n=juliet,r=x") is SaslCondition.NOT_AUTHORIZED
    assert isinstance(say(server(advertised=BARE), b"y,,n=juliet,r=x"), Challenge)


def test_a_binding_that_was_not_offered() -> None:
    mechanism = server("SCRAM-SHA-256-PLUS")
    assert refusal(mechanism, b"p=tls-unique,,n=juliet,r=x") is SaslCondition.NOT_AUTHORIZED


@pytest.mark.parametrize("authzid", ["romeo@example.com", "juliet@example.com/x", "x@", "juliet"])
def test_other_authzid(authzid: str) -> None:
    message = f"n,a={authzid},n=juliet,r=x".encode()
    assert refusal(server(), message) is SaslCondition.INVALID_AUTHZID


def test_a_name_that_cannot_be() -> None:
    assert refusal(server(), b"n,,n=jul iet,r=x") is SaslCondition.NOT_AUTHORIZED


def test_unknown_optional_attributes_are_ignored() -> None:
    first = say(server(), b"n,,n=juliet,r=x,y=1,Z==,n=again")
    assert isinstance(first, Challenge)


def begun(mine: scram.ScramClient, mechanism: ServerMechanism) -> str:
    challenge = say(mechanism, mine.initial())
    assert isinstance(challenge, Challenge)
    return reply(mine, challenge.data).decode()


def test_every_part_of_the_final_message_counts() -> None:
    mine, mechanism = client(), server()
    final = begun(mine, mechanism)
    nonce = "client-1server-1"
    assert f"r={nonce}," in final
    proof = final.partition(",p=")[2]
    assert len(base64.b64decode(proof)) == 32
    cases = {
        final.replace(nonce, nonce + "x"): SaslCondition.NOT_AUTHORIZED,
        final.replace(nonce, "client-1"): SaslCondition.NOT_AUTHORIZED,
        final.replace("c=biws", "c=eSws"): SaslCondition.NOT_AUTHORIZED,  # y,,
        final.replace("c=biws", "c=biw"): SaslCondition.NOT_AUTHORIZED,
        final.replace("c=biws", "c=biwsAAAA"): SaslCondition.NOT_AUTHORIZED,
        final.replace(",p=", ",x=extension,p="): SaslCondition.NOT_AUTHORIZED,
        final.replace(",p=", ",m=extension,p="): SaslCondition.MALFORMED_REQUEST,
        final.replace("c=biws,", ""): SaslCondition.MALFORMED_REQUEST,
        final.replace("c=biws", "c="): SaslCondition.MALFORMED_REQUEST,
        final.partition(",p=")[0]: SaslCondition.MALFORMED_REQUEST,
        final + ",x=y": SaslCondition.MALFORMED_REQUEST,  # the proof is last
        final.replace(proof, proof.rstrip("=")): SaslCondition.MALFORMED_REQUEST,
        final.replace(proof, proof + "\n"): SaslCondition.MALFORMED_REQUEST,
        final.replace(proof, ""): SaslCondition.MALFORMED_REQUEST,
        final.replace(proof, "AAAA"): SaslCondition.NOT_AUTHORIZED,
        final.replace(proof, base64.b64encode(b"\0" * 32).decode()): SaslCondition.NOT_AUTHORIZED,
        "": SaslCondition.MALFORMED_REQUEST,
    }
    for message, condition in cases.items():
        assert message != final
        mechanism = server()
        begun(client(), mechanism)
        assert refusal(mechanism, message.encode()) is condition, message
    mechanism = server()
    begun(client(), mechanism)
    assert isinstance(say(mechanism, final.encode()), Success)  # the message was a right one


def test_a_right_proof_for_another_nonce_or_header_is_a_replay() -> None:
    salted = hashlib.pbkdf2_hmac("sha256", PASSWORD.encode(), JULIETS_KEYS[1].salt, ITERATIONS)
    client_key = keys.client_key("sha256", salted)
    outcomes: list[object] = []
    for binding, nonce in (
        ("biws", "client-1server-1"),
        ("biws", "client-1server-0"),
        ("eSws", "client-1server-1"),
    ):
        mechanism, bare = server(), "n=juliet,r=client-1"
        challenge = say(mechanism, b"n,," + bare.encode())
        assert isinstance(challenge, Challenge)
        without_proof = f"c={binding},r={nonce}"
        signed = f"{bare},{challenge.data.decode()},{without_proof}"
        signature = wire.sign(JULIETS_KEYS[1].stored, signed, "sha256")
        message = wire.client_final(without_proof, wire.xor(client_key, signature))
        try:
            outcomes.append(type(say(mechanism, message)))
        except SaslError as error:
            outcomes.append(error.condition)
    refused = SaslCondition.NOT_AUTHORIZED
    assert outcomes == [Success, refused, refused]


def test_bound_to_another_channel() -> None:
    name = "SCRAM-SHA-256-PLUS"
    mine, mechanism = client(name, binding=("tls-exporter", b"of the attacker")), server(name)
    final = begun(mine, mechanism)
    assert refusal(mechanism, final.encode()) is SaslCondition.NOT_AUTHORIZED


def conversation(username: str, mechanism: ServerMechanism) -> tuple[bytes, SaslError]:
    mine = client(account=JID(username, DOMAIN), password="wrong")
    challenge = say(mechanism, mine.initial())
    assert isinstance(challenge, Challenge)
    with pytest.raises(SaslError) as caught:
        say(mechanism, reply(mine, challenge.data))
    return challenge.data, caught.value


def test_unknown_users_look_like_wrong_passwords() -> None:
    known, error = conversation("juliet", server())
    for username in ("nobody", "nurse"):  # the nurse has no keys
        unknown, unknown_error = conversation(username, server())
        assert str(unknown_error) == str(error) == "not-authorized"
        of_known = wire.ServerFirst.parse(known.decode())
        of_unknown = wire.ServerFirst.parse(unknown.decode())
        assert of_unknown.salt != of_known.salt
        assert len(of_unknown.salt) == len(of_known.salt)
        assert (of_unknown.nonce, of_unknown.iterations, of_unknown.hash) == (
            of_known.nonce,
            of_known.iterations,
            of_known.hash,
        )
        assert conversation(username, server())[0] == unknown  # and it is the same next time


def test_an_account_without_keys_of_this_hash_is_like_an_unknown_one() -> None:
    accounts = {"juliet": Credentials((make_keys(PASSWORD, "sha1"),))}
    with pytest.raises(SaslError) as caught:
        log_in(server("SCRAM-SHA-256"), client("SCRAM-SHA-256"), accounts)
    assert str(caught.value) == "not-authorized"
    log_in(server("SCRAM-SHA-1"), client("SCRAM-SHA-1"), accounts)


def test_disabled_account_is_told_to_its_owner_only() -> None:
    tybalt = JID("tybalt", DOMAIN)
    assert str(conversation("tybalt", server())[1]) == "not-authorized"
    with pytest.raises(SaslError) as caught:
        log_in(server(), client(account=tybalt))
    assert caught.value.condition is SaslCondition.ACCOUNT_DISABLED


def test_a_token_that_cannot_be_a_nonce_is_our_fault() -> None:
    host = scram.Host(DOMAIN, SECRET, ITERATIONS, BARE, {}, lambda: "a,b")
    with pytest.raises(LocalError):
        say(scram.server("SCRAM-SHA-1", host), b"n,,n=juliet,r=x")


def test_no_secret_in_a_representation() -> None:
    host = scram.Host(DOMAIN, SECRET, ITERATIONS, BOTH, BINDINGS, counter())
    assert "secret" not in repr(host)
    assert "exported" not in repr(host)


PIECES = st.sampled_from(
    [b"n", b"y", b"p=tls-exporter", b",", b"=", b"a=", b"n=juliet", b"r=", b"c=biws", b"m=", b"p="]
)
MESSAGES = st.binary(max_size=40) | st.lists(PIECES | st.binary(max_size=3)).map(b"".join)


@given(MESSAGES, MESSAGES)
def test_any_bytes_give_a_challenge_or_a_sasl_error(first: bytes, second: bytes) -> None:
    for name in ("SCRAM-SHA-1", "SCRAM-SHA-1-PLUS"):
        mechanism = server(name)
        try:
            assert isinstance(say(mechanism, first), Challenge)
        except SaslError:
            mechanism = server("SCRAM-SHA-1")
            say(mechanism, b"n,,n=juliet,r=x")
        with pytest.raises(SaslError):
            say(mechanism, second)
