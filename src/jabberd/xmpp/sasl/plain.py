"""PLAIN (RFC 4616): the password itself, so under TLS only."""

from __future__ import annotations

from typing import Final

from jabberd.xmpp import prep
from jabberd.xmpp.jid import JID
from jabberd.xmpp.sasl import keys
from jabberd.xmpp.sasl.encoding import decode_text
from jabberd.xmpp.sasl.mechanism import (
    ClientMechanism,
    Conversation,
    ServerMechanism,
    Success,
    ask_client,
    ask_credentials,
    ask_key,
    authorize,
    demand_enabled,
    malformed,
    prepare_username,
    refused,
)

NAME: Final = "PLAIN"


def server(domain: str, *, secret: bytes, iterations: int) -> ServerMechanism:
    """The receiving side.

    Args:
        domain: of the host, prepared.
        secret: for decoys, see `keys.decoy`.
        iterations: what accounts made by this server have; for decoys.
    """
    return ServerMechanism(NAME, _converse(domain, secret, iterations))


def client(account: JID, password: str, *, authzid: str = "") -> ClientMechanism:
    """The initiating side.

    Args:
        account: whose localpart is the user name.
        password: in clear.
        authzid: whom to act as; empty for oneself (RFC 6120 §6.3.8).

    Raises:
        prep.PrepError: the password cannot be prepared.
    """
    parts = (authzid, account.local, prep.password(password))
    return ClientMechanism(NAME, "\0".join(parts).encode())


def _converse(domain: str, secret: bytes, iterations: int) -> Conversation:
    message = yield from ask_client()
    authzid, username, password = _parse(message)
    authorized = authorize(username, domain, authzid)
    found = yield from ask_credentials(username)
    # An unknown user costs as much time as a known one, and fails at the same point.
    decoy = keys.decoy(secret, domain, username, keys.HASHES[0], iterations)
    verifier = keys.strongest(found.keys if found is not None else ()) or decoy
    salted = yield from ask_key(password, verifier)
    if not keys.verify(verifier, salted) or found is None:
        raise refused()
    demand_enabled(found)
    return Success(username, authorized, named=bool(authzid))


def _parse(message: bytes) -> tuple[str, str, bytes]:
    """Authzid, prepared user name, prepared password."""
    parts = message.split(b"\0")
    if len(parts) != 3:  # authzid NUL authcid NUL passwd
        raise malformed("the message does not have three parts")
    authzid, username, password = map(decode_text, parts)
    if not password:
        raise malformed("the password is empty")
    username = prepare_username(username)
    try:
        return authzid, username, prep.password(password).encode()
    except prep.PrepError:
        raise refused() from None
