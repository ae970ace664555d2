"""What the tests of the mechanisms share: accounts, and a driver for both roles."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

from jabberd.xmpp.jid import JID
from jabberd.xmpp.sasl import keys
from jabberd.xmpp.sasl.mechanism import (
    Challenge,
    ClientMechanism,
    Credentials,
    CredentialsWanted,
    DeriveKey,
    Response,
    ServerMechanism,
    Step,
    Success,
    Token,
    Tokens,
    TokensWanted,
)

DOMAIN = "example.com"
JULIET = JID("juliet", DOMAIN)
PASSWORD = "r0m30myr0m30"
SECRET = b"secret of the server"
ITERATIONS = 4096
BINDINGS = {"tls-exporter": b"exported", "tls-server-end-point": b"end point"}


def derive(question: DeriveKey) -> bytes:
    """Answer the question."""
    return hashlib.pbkdf2_hmac(question.hash, question.password, question.salt, question.iterations)


def make_keys(
    password: str, algorithm: str, salt: bytes = b"", iterations: int = ITERATIONS
) -> keys.ScramKeys:
    """The keys of an account."""
    salt = salt or b"salt for " + algorithm.encode().ljust(7)
    salted = hashlib.pbkdf2_hmac(algorithm, password.encode(), salt, iterations)
    return keys.from_salted(algorithm, salt, iterations, salted)


JULIETS_KEYS = tuple(make_keys(PASSWORD, algorithm) for algorithm in keys.HASHES)
ACCOUNTS: dict[str, Credentials] = {
    "juliet": Credentials(JULIETS_KEYS),
    "tybalt": Credentials(JULIETS_KEYS, disabled="slain by Romeo"),
    "nurse": Credentials(()),
}
TOKENS: dict[str, Tokens] = {
    "juliet": Tokens(
        (
            Token("s3cr3t-1", "HT-SHA-256-EXPR", id="new"),
            Token("s3cr3t-0", "HT-SHA-256-EXPR", id="current"),
            Token("s3cr3t-n", "HT-SHA-256-NONE"),
            Token("s3cr3t-e", "HT-SHA-256-ENDP"),
            Token("s3cr3t-x", "HT-SHA-256-EXPR", expired=True),
        )
    ),
    "tybalt": Tokens((Token("s3cr3t-1", "HT-SHA-256-EXPR"),), disabled="slain by Romeo"),
}


def counter(prefix: str = "token") -> Callable[[], str]:
    """A token that is another one each time."""
    made = 0

    def token() -> str:
        nonlocal made
        made += 1
        return f"{prefix}-{made}"

    return token


def answer(
    server: ServerMechanism, step: Step, accounts: Mapping[str, Credentials] = ACCOUNTS
) -> Challenge | Success:
    """Answer the server's questions until it has something for the client."""
    while not isinstance(step, Challenge | Success):
        if isinstance(step, CredentialsWanted):
            step = server.credentials(accounts.get(step.username))
        elif isinstance(step, TokensWanted):
            step = server.tokens(TOKENS.get(step.username, Tokens(())))
        else:
            step = server.derived(derive(step))
    return step


def say(
    server: ServerMechanism,
    data: bytes | None,
    accounts: Mapping[str, Credentials] = ACCOUNTS,
) -> Challenge | Success:
    """Say something to the server, and answer its questions."""
    return answer(server, server.respond(data), accounts)


def reply(client: ClientMechanism, data: bytes) -> bytes:
    """Give the client a challenge, and answer its questions."""
    step = client.challenge(data)
    if isinstance(step, DeriveKey):
        step = client.derived(derive(step))
    assert isinstance(step, Response)
    return step.data


def log_in(
    server: ServerMechanism,
    client: ClientMechanism,
    accounts: Mapping[str, Credentials] = ACCOUNTS,
) -> Success:
    """Let both talk until the client has accepted the server's success."""
    outcome = say(server, client.initial(), accounts)
    while isinstance(outcome, Challenge):
        outcome = say(server, reply(client, outcome.data), accounts)
    client.success(outcome.data)
    return outcome
