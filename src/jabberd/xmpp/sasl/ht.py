"""HT: a token instead of a password, in one round trip (draft-schmaus-kitten-sasl-ht-09).

That version is the one that XEP-0484 names. Later ones say something else under the same names.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from jabberd.xmpp.error import SaslCondition, SaslError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.sasl.encoding import decode_text
from jabberd.xmpp.sasl.mechanism import (
    ClientMechanism,
    Conversation,
    ServerMechanism,
    Success,
    Token,
    aborted,
    ask_client,
    ask_tokens,
    demand_enabled,
    malformed,
    prepare_username,
    refused,
)

BINDINGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "HT-SHA-256-EXPR": "tls-exporter",
        "HT-SHA-256-UNIQ": "tls-unique",
        "HT-SHA-256-ENDP": "tls-server-end-point",
        "HT-SHA-256-NONE": "",
    }
)
"""The mechanisms, the strongest first, and the channel binding of each; empty for none."""

_HASH: Final = "sha256"
_INITIATOR: Final = b"Initiator"
_RESPONDER: Final = b"Responder"


def server(name: str, domain: str, binding: bytes) -> ServerMechanism:
    """The receiving side.

    Args:
        name: one of `BINDINGS`.
        domain: of the host, prepared.
        binding: data of the mechanism's channel binding; empty where it has none.
    """
    return ServerMechanism(name, _converse(name, domain, binding))


def _converse(name: str, domain: str, binding: bytes) -> Conversation:
    message = yield from ask_client()
    authcid, nul, proof = message.partition(b"\0")
    if not nul or not proof:
        raise malformed("the message does not have two parts")
    username = prepare_username(decode_text(authcid))
    found = yield from ask_tokens(username)
    token = _match(found.tokens, name, proof, binding)
    if token is None:
        raise refused()
    demand_enabled(found)
    if token.expired:
        raise SaslError(SaslCondition.CREDENTIALS_EXPIRED)
    answer = _hashed(token.secret, _RESPONDER, binding)
    return Success(username, JID(username, domain).text, answer, token=token)


def _match(tokens: Iterable[Token], name: str, proof: bytes, binding: bytes) -> Token | None:
    found = None
    for token in tokens:  # all of them: the time shall not tell which it was
        right = hmac.compare_digest(proof, _hashed(token.secret, _INITIATOR, binding))
        # XEP-0484 §3.4: for the mechanism that it was asked for with, and no other.
        if right and token.mechanism == name:
            found = token
    return found


def _hashed(secret: str, who: bytes, binding: bytes) -> bytes:
    return hmac.digest(secret.encode(), who + binding, _HASH)


class HtClient(ClientMechanism):
    """The initiating side.

    Args:
        name: one of `BINDINGS`.
        account: whose localpart is the user name.
        token: as the server gave it.
        binding: data of the mechanism's channel binding; empty where it has none.
    """

    __slots__ = ("_expected",)

    def __init__(self, name: str, account: JID, token: str, binding: bytes) -> None:
        proof = _hashed(token, _INITIATOR, binding)
        super().__init__(name, account.local.encode() + b"\0" + proof)
        self._expected = _hashed(token, _RESPONDER, binding)

    def success(self, data: bytes | None) -> None:
        """Take the success; the server must prove itself with it."""
        if not hmac.compare_digest(data or b"", self._expected):
            raise aborted("the server did not prove that it knows the token")
