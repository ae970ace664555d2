"""SCRAM (RFC 5802, RFC 7677) with SHA-1, SHA-256 and SHA-512, bound to the channel or not.

Neither side sees the other's secret: the server keeps keys from which no proof can be made, the
client gets a signature that only the holder of those keys can make. XEP-0474 puts a hash of
what was advertised under both signatures, XEP-0515 the version of TLS.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, TypeVar

from jabberd.xmpp import prep
from jabberd.xmpp.error import LocalError, SaslError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.sasl import keys
from jabberd.xmpp.sasl import scram_wire as wire
from jabberd.xmpp.sasl.encoding import decode_text
from jabberd.xmpp.sasl.mechanism import (
    ClientMechanism,
    Conversation,
    DeriveKey,
    Response,
    ServerMechanism,
    Success,
    aborted,
    ask_client,
    ask_credentials,
    authorize,
    demand_enabled,
    malformed,
    prepare_username,
    refused,
)

NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {"SCRAM-SHA-512": "sha512", "SCRAM-SHA-256": "sha256", "SCRAM-SHA-1": "sha1"}
)
"""The mechanisms without -PLUS and hashlib's names of their hash functions, strongest first."""

PLUS: Final = "-PLUS"
"""What the name of a mechanism ends with that binds to the channel."""

_Message = TypeVar("_Message")

MIN_ITERATIONS: Final = 4096
"""RFC 5802 §5.1, RFC 7677 §3: fewer make stolen keys too cheap to search."""

MAX_ITERATIONS: Final = 5_000_000
"""A server that wants more of a client wants to keep it busy."""


@dataclass(frozen=True, slots=True)
class Advertised:
    """What one stream offered, and under what, for the checks against downgrades.

    Attributes:
        mechanisms: the names of all mechanisms.
        bindings: the types of channel binding that were listed (XEP-0440); None where there
            was no such list.
        version: of TLS on this side of the connection, as "TLSv1.3"; empty where it is not
            known.
    """

    mechanisms: tuple[str, ...]
    bindings: tuple[str, ...] | None = None
    version: str = ""

    @property
    def tls(self) -> str:
        """The version as the attribute t has it (XEP-0515 §4.1); empty where it has none."""
        return wire.TLS_VERSIONS.get(self.version, "")

    @property
    def plus(self) -> bool:
        """Whether a mechanism with channel binding was offered."""
        return any(name.endswith(PLUS) for name in self.mechanisms)


@dataclass(frozen=True, slots=True)
class Host:
    """What the server's side needs to know.

    Attributes:
        domain: of the host, prepared.
        secret: for decoys, see `keys.decoy`.
        iterations: what accounts made by this server have; for decoys.
        advertised: what this stream was offered.
        bindings: type and data of each channel binding that may be used; empty without TLS.
        token: makes an unpredictable string of printable ASCII without a comma.
    """

    domain: str
    secret: bytes = field(repr=False)
    iterations: int
    advertised: Advertised
    bindings: Mapping[str, bytes] = field(repr=False)
    token: Callable[[], str]


def server(name: str, host: Host) -> ServerMechanism:
    """The receiving side.

    Args:
        name: one of `NAMES`, with or without `PLUS`.
        host: what it needs to know.
    """
    return ServerMechanism(name, _converse(name, host))


def _converse(name: str, host: Host) -> Conversation:
    algorithm = NAMES[name.removesuffix(PLUS)]
    message = yield from ask_client()
    first = _parse(wire.ClientFirst.parse, message)
    binding = _binding(first, host, plus=name.endswith(PLUS))
    username = prepare_username(first.username)
    authorized = authorize(username, host.domain, first.authzid)

    # A decoy is made in any case: who is not there shall not take longer than who is.
    decoy = keys.decoy(host.secret, host.domain, username, algorithm, host.iterations)
    found = yield from ask_credentials(username)
    verifier = (found and keys.pick(found.keys, algorithm)) or decoy

    nonce = first.nonce + _nonce(host.token)
    seen = wire.downgrade_hash(algorithm, host.advertised.mechanisms, host.advertised.bindings)
    challenge = wire.ServerFirst(
        nonce, verifier.salt, verifier.iterations, seen, host.advertised.tls
    ).text()
    message = yield from ask_client(challenge.encode())

    final = _parse(wire.ClientFinal.parse, message)
    if not hmac.compare_digest(final.nonce, nonce):
        raise refused("the nonce is not ours")
    expected = wire.binding_value(first.header, binding)
    if not hmac.compare_digest(final.binding.encode(), expected.encode()):
        raise refused("the channel binding does not match")
    auth_message = f"{first.bare},{challenge},{final.without_proof}"
    if not _proved(verifier, auth_message, final.proof) or found is None:
        raise refused()
    demand_enabled(found)
    signature = wire.sign(verifier.server, auth_message, algorithm)
    final_data = wire.server_final(signature)
    return Success(username, authorized, final_data, named=bool(first.authzid))


def _parse(parse: Callable[[bytes], _Message], message: bytes) -> _Message:
    try:
        return parse(message)
    except wire.Malformed as error:
        raise malformed(str(error)) from None


def _binding(first: wire.ClientFirst, host: Host, *, plus: bool) -> bytes:
    """The data of the channel binding that the client chose; empty for none (RFC 5802 §6)."""
    if plus != (first.flag == "p"):
        raise malformed("the channel binding flag does not fit the mechanism")
    if first.flag == "y" and host.advertised.plus:
        raise refused("channel binding was offered: somebody has removed it on the way")
    if not plus:
        return b""
    if first.binding not in host.bindings:
        raise refused("this type of channel binding was not offered")
    return host.bindings[first.binding]


def _proved(verifier: keys.ScramKeys, auth_message: str, proof: bytes) -> bool:
    signature = wire.sign(verifier.stored, auth_message, verifier.hash)
    if len(proof) != len(signature):
        return False
    client_key = wire.xor(proof, signature)
    return hmac.compare_digest(keys.digest(verifier.hash, client_key), verifier.stored)


def _nonce(token: Callable[[], str]) -> str:
    nonce = token()
    if not wire.printable(nonce):
        raise LocalError("the token cannot be a nonce")
    return nonce


class ScramClient(ClientMechanism):
    """The initiating side.

    Args:
        name: one of `NAMES`, with or without `PLUS`.
        account: whose localpart is the user name.
        password: in clear.
        token: makes an unpredictable string of printable ASCII without a comma.
        advertised: what the server offered.
        binding: type and data of the channel binding; needed for `PLUS`. Given without it, it
            tells the server that binding was possible, had it been offered.
        authzid: whom to act as; empty for oneself (RFC 6120 §6.3.8).

    Raises:
        prep.PrepError: the password cannot be prepared.
        LocalError: `PLUS` without a channel binding.
    """

    __slots__ = (
        "_advertised",
        "_algorithm",
        "_bare",
        "_binding",
        "_challenge",
        "_nonce",
        "_password",
        "_server_first",
        "_signature",
        "_verified",
    )

    def __init__(
        self,
        name: str,
        account: JID,
        password: str,
        token: Callable[[], str],
        advertised: Advertised,
        *,
        binding: tuple[str, bytes] | None = None,
        authzid: str = "",
    ) -> None:
        header = _header(name, advertised, binding, authzid)
        self._algorithm = NAMES[name.removesuffix(PLUS)]
        self._password = prep.password(password).encode()
        self._advertised = advertised
        data = binding[1] if binding and name.endswith(PLUS) else b""
        self._binding = wire.binding_value(header, data)
        self._nonce = _nonce(token)
        self._bare = f"n={wire.escape(account.local)},r={self._nonce}"
        self._challenge = ""
        self._server_first: wire.ServerFirst | None = None
        self._signature = b""
        self._verified = False
        super().__init__(name, (header + self._bare).encode())

    def challenge(self, data: bytes) -> Response | DeriveKey:
        """Take the server-first-message, or a server-final-message that precedes the success."""
        if self._server_first:
            self._verify(data)
            return Response(b"")
        first = self._read_first(data)
        self._server_first = first
        return DeriveKey(self._password, self._algorithm, first.salt, first.iterations)

    def derived(self, key: bytes) -> Response:
        """Take the salted password.

        Raises:
            LocalError: the question was not asked.
        """
        if not self._server_first or self._signature:
            raise LocalError(f"{self.name} did not ask for this")
        without_proof = f"c={self._binding},r={self._server_first.nonce}"
        auth_message = f"{self._bare},{self._challenge},{without_proof}"
        client_key = keys.client_key(self._algorithm, key)
        stored = keys.digest(self._algorithm, client_key)
        proof = wire.xor(client_key, wire.sign(stored, auth_message, self._algorithm))
        server_key = keys.server_key(self._algorithm, key)
        self._signature = wire.sign(server_key, auth_message, self._algorithm)
        return Response(wire.client_final(without_proof, proof))

    def success(self, data: bytes | None) -> None:
        """Take the success; the server must have proved itself by now, or do so with it."""
        if data:
            self._verify(data)
        if not self._verified:
            raise aborted("the server did not prove that it knows the account")

    def _read_first(self, data: bytes) -> wire.ServerFirst:
        try:
            self._challenge = decode_text(data)
            first = wire.ServerFirst.parse(self._challenge)
        except (wire.Malformed, SaslError) as error:
            raise aborted(str(error)) from None
        if not first.nonce.startswith(self._nonce) or first.nonce == self._nonce:
            raise aborted("the nonce is not made of ours and the server's")
        if not MIN_ITERATIONS <= first.iterations <= MAX_ITERATIONS:
            raise aborted("the iteration count is out of bounds")
        seen = wire.downgrade_hash(
            self._algorithm, self._advertised.mechanisms, self._advertised.bindings
        )
        if first.hash and first.hash != seen:
            raise aborted("somebody has changed on the way what the server offered")
        if first.tls and self._advertised.tls not in {"", first.tls}:
            raise aborted("somebody between us and the server speaks another version of TLS")
        return first

    def _verify(self, data: bytes) -> None:
        if not self._signature or self._verified:
            raise aborted("the server spoke out of turn")
        try:
            signature = wire.parse_server_final(data)
        except (wire.Malformed, SaslError) as error:
            raise aborted(str(error)) from None
        if not hmac.compare_digest(signature, self._signature):
            raise aborted("the server does not know the account")
        self._verified = True


def _header(
    name: str, advertised: Advertised, binding: tuple[str, bytes] | None, authzid: str
) -> str:
    """The GS2 header of a client (RFC 5802 §6; XEP-0474 §6 for "n" in spite of an offer)."""
    if name.endswith(PLUS):
        if not binding:
            raise LocalError(f"{name} needs a channel binding")
        flag = f"p={binding[0]}"
    elif binding and not advertised.plus:
        flag = "y"
    else:
        flag = "n"
    return f"{flag},a={wire.escape(authzid)}," if authzid else f"{flag},,"
