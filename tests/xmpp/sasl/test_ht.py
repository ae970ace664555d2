"""HT: draft-schmaus-kitten-sasl-ht-09 in both roles, and what does not get in."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jabberd.xmpp.error import LocalError, SaslCondition, SaslError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.sasl import ht
from jabberd.xmpp.sasl.mechanism import (
    Challenge,
    Credentials,
    ServerMechanism,
    Success,
    Token,
    Tokens,
    TokensWanted,
)
from jabberd.xmpp.sasl.offer import Channel, Offer, Policy
from tests.xmpp.sasl.kit import (
    BINDINGS,
    DOMAIN,
    ITERATIONS,
    JULIET,
    SECRET,
    TOKENS,
    log_in,
    say,
)

EXPR, UNIQ, ENDP, NONE = (f"HT-SHA-256-{which}" for which in ("EXPR", "UNIQ", "ENDP", "NONE"))
EXPORTED = BINDINGS["tls-exporter"]
POLICY = Policy(DOMAIN, SECRET, ITERATIONS)


def hashed(secret: str, who: bytes, binding: bytes = EXPORTED) -> bytes:
    """The formula of §3.1 and §3.3."""
    return hmac.new(secret.encode(), who + binding, hashlib.sha256).digest()


def message(user: str = "juliet", secret: str = "s3cr3t-1", binding: bytes = EXPORTED) -> bytes:
    return user.encode() + b"\0" + hashed(secret, b"Initiator", binding)


def server(name: str = EXPR, binding: bytes = EXPORTED) -> ServerMechanism:
    return ht.server(name, DOMAIN, binding)


def test_the_server_by_the_formulas_of_the_draft() -> None:
    mine = server()
    assert mine.respond(message()) == TokensWanted("juliet")
    token = Token("s3cr3t-1", EXPR, id="new")
    success = mine.tokens(Tokens((token,)))
    answer = hashed("s3cr3t-1", b"Responder")
    assert success == Success("juliet", "juliet@example.com", answer, token=token)


def test_the_client_by_the_formulas_of_the_draft() -> None:
    client = ht.HtClient(EXPR, JULIET, "s3cr3t-1", EXPORTED)
    assert client.name == EXPR
    assert client.initial() == message()
    client.success(hashed("s3cr3t-1", b"Responder"))


@pytest.mark.parametrize(
    ("name", "secret", "binding", "found"),
    [
        (EXPR, "s3cr3t-1", "tls-exporter", "new"),
        (EXPR, "s3cr3t-0", "tls-exporter", "current"),
        (ENDP, "s3cr3t-e", "tls-server-end-point", ""),
        (NONE, "s3cr3t-n", "", ""),
    ],
)
def test_both_roles(name: str, secret: str, binding: str, found: str) -> None:
    offer = Offer(POLICY, Channel(secure=True, bindings=BINDINGS), tuple(ht.BINDINGS))
    client = ht.HtClient(name, JULIET, secret, BINDINGS.get(binding, b""))
    success = log_in(offer.token_server(name), client)
    assert success.username == "juliet"
    assert success.token is not None
    assert (success.token.secret, success.token.id) == (secret, found)


@pytest.mark.parametrize("data", [None, b"", b"x", hashed("s3cr3t-1", b"Initiator"), b"\0" * 32])
def test_a_server_that_does_not_prove_itself(data: bytes | None) -> None:
    client = ht.HtClient(EXPR, JULIET, "s3cr3t-1", EXPORTED)
    with pytest.raises(SaslError) as caught:
        client.success(data)
    assert caught.value.condition is SaslCondition.ABORTED


@pytest.mark.parametrize(
    ("mine", "said", "condition"),
    [
        (server(), message(secret="s3cr3t-2"), SaslCondition.NOT_AUTHORIZED),
        (server(), message("nobody"), SaslCondition.NOT_AUTHORIZED),
        (server(), message("ni\u00a0l"), SaslCondition.NOT_AUTHORIZED),
        (server(), message()[:-1], SaslCondition.NOT_AUTHORIZED),
        (server(), message() + b"\0", SaslCondition.NOT_AUTHORIZED),
        # Another channel, and a binding where there is to be none.
        (server(), message(binding=b"another"), SaslCondition.NOT_AUTHORIZED),
        (server(NONE, b""), message(secret="s3cr3t-n"), SaslCondition.NOT_AUTHORIZED),
        # XEP-0484 §3.4: a token for another mechanism, though all else is right.
        (server(NONE, b""), message(binding=b""), SaslCondition.NOT_AUTHORIZED),
        (server(ENDP, b"e"), message(binding=b"e"), SaslCondition.NOT_AUTHORIZED),
        # What the server says is no proof of the client.
        (server(), b"juliet\0" + hashed("s3cr3t-1", b"Responder"), SaslCondition.NOT_AUTHORIZED),
        (server(), message(secret="s3cr3t-x"), SaslCondition.CREDENTIALS_EXPIRED),
        (server(), message("tybalt"), SaslCondition.ACCOUNT_DISABLED),
        (server(), message("tybalt", "s3cr3t-2"), SaslCondition.NOT_AUTHORIZED),
        (server(), b"", SaslCondition.MALFORMED_REQUEST),
        (server(), b"juliet", SaslCondition.MALFORMED_REQUEST),
        (server(), b"juliet\0", SaslCondition.MALFORMED_REQUEST),
        (server(), b"\0" + b"x" * 32, SaslCondition.MALFORMED_REQUEST),
        (server(), b"\xff\0" + b"x" * 32, SaslCondition.MALFORMED_REQUEST),
    ],
)
def test_who_is_refused(mine: ServerMechanism, said: bytes, condition: SaslCondition) -> None:
    with pytest.raises(SaslError) as caught:
        say(mine, said)
    assert caught.value.condition is condition


def test_a_hash_may_have_any_octets() -> None:
    # The first NUL ends the name; those behind it are of the hash.
    secret = next(f"token-{n}" for n in range(10_000) if hashed(f"token-{n}", b"Initiator")[0] == 0)
    mine = server()
    assert mine.respond(message(secret=secret)) == TokensWanted("juliet")
    assert isinstance(mine.tokens(Tokens((Token(secret, EXPR),))), Success)


def test_a_long_name() -> None:
    # "MUST accept up to 255 octets"
    name = "ä" * 127 + "x"
    mine = server()
    assert mine.respond(message(name)) == TokensWanted(name)
    assert mine.tokens(Tokens((Token("s3cr3t-1", EXPR),))) == Success(
        name, JID(name, DOMAIN).text, hashed("s3cr3t-1", b"Responder"),
        token=Token("s3cr3t-1", EXPR),
    )  # fmt: skip


def test_the_client_speaks_first() -> None:
    mine = server()
    assert mine.respond(None) == Challenge(b"")
    assert mine.respond(message()) == TokensWanted("juliet")


def test_answers_to_questions_that_were_not_asked() -> None:
    mine = server()
    with pytest.raises(LocalError):
        mine.tokens(TOKENS["juliet"])
    mine.respond(message())
    with pytest.raises(LocalError):
        mine.credentials(Credentials(()))


BOUND = Channel(secure=True, bindings=BINDINGS)


@pytest.mark.parametrize(
    ("channel", "allowed", "offered"),
    [
        (BOUND, tuple(ht.BINDINGS), (EXPR, ENDP, NONE)),
        (BOUND, (NONE, EXPR, "HT-SHA3-512-NONE"), (EXPR, NONE)),
        (BOUND, (), ()),
        (Channel(secure=True), tuple(ht.BINDINGS), (NONE,)),
        (Channel(secure=True, bindings={"tls-unique": b"u"}), tuple(ht.BINDINGS), (UNIQ, NONE)),
        (Channel(secure=False, bindings=BINDINGS), tuple(ht.BINDINGS), ()),
    ],
)
def test_what_is_offered(
    channel: Channel, allowed: tuple[str, ...], offered: tuple[str, ...]
) -> None:
    offer = Offer(POLICY, channel, allowed)
    assert offer.fast == offered
    assert not set(offer.names) & set(ht.BINDINGS)
    for name in {*ht.BINDINGS, "PLAIN", "", "HT-SHA3-512-NONE"}:
        if name in offered:
            assert offer.token_server(name).name == name
        else:
            with pytest.raises(SaslError) as caught:
                offer.token_server(name)
            assert caught.value.condition is SaslCondition.INVALID_MECHANISM


@given(st.binary(max_size=80) | st.binary(max_size=40).map(b"juliet\0".__add__))
def test_whatever_is_said(data: bytes) -> None:
    with pytest.raises(SaslError) as caught:
        say(server(), data)
    assert caught.value.condition in {
        SaslCondition.NOT_AUTHORIZED,
        SaslCondition.MALFORMED_REQUEST,
    }
