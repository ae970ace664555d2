"""What all mechanisms have in common: questions, answers, and who drives whom.

The server's side of a mechanism is a conversation: a generator that yields what it wants next
and is sent the answer. `ServerMechanism` drives it, so that the mechanism reads from top to
bottom and an answer to a question that was not asked cannot reach it.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import TypeAlias

from jabberd.xmpp import prep
from jabberd.xmpp.error import LocalError, SaslCondition, SaslError
from jabberd.xmpp.jid import JID, InvalidJID
from jabberd.xmpp.sasl.keys import ScramKeys


@dataclass(frozen=True, slots=True)
class Challenge:
    """Send this to the client, then give its answer to `respond`."""

    data: bytes


@dataclass(frozen=True, slots=True)
class CredentialsWanted:
    """Look this account up, then call `credentials`.

    Attributes:
        username: the localpart, prepared; the domain is the one the mechanism was made for.
    """

    username: str


@dataclass(frozen=True, slots=True)
class TokensWanted:
    """Look up the tokens of this account's client, then call `tokens` (XEP-0484).

    Attributes:
        username: the localpart, prepared; the domain is the one the mechanism was made for.
    """

    username: str


@dataclass(frozen=True, slots=True)
class DeriveKey:
    """Compute PBKDF2 with HMAC, as long as the hash's digest, then call `derived`.

    Attributes:
        password: prepared, in UTF-8.
        hash: hashlib's name of the hash function.
        salt: the salt.
        iterations: the number of iterations.
    """

    password: bytes = field(repr=False)
    hash: str
    salt: bytes
    iterations: int


@dataclass(frozen=True, slots=True)
class Token:
    """A token that the server gave to one client of one account (XEP-0484 §3.3).

    Attributes:
        secret: the token, as the client has it.
        mechanism: the one that it is good for, and no other.
        expired: whether its time is over: who has it is told so, and no more.
        id: the name that it has where it is kept; it comes back with the success.
    """

    secret: str = field(repr=False)
    mechanism: str
    expired: bool = False
    id: str = ""


@dataclass(frozen=True, slots=True)
class Success:
    """The client is who it says it is.

    Attributes:
        username: the localpart of its account, prepared.
        authzid: the bare JID it may act as, in canonical form: its own.
        data: to be sent along with the success; None where the mechanism has none.
        named: whether the client itself said whom it wants to act as.
        token: by which it has proved that; None where it was not by a token.
    """

    username: str
    authzid: str
    data: bytes | None = None
    named: bool = False
    token: Token | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """Send this to the server (client's side)."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Credentials:
    """An account that is there: the answer to `CredentialsWanted`.

    Attributes:
        keys: one entry per hash function; none for an account without a password.
        disabled: why it may not log in, in words for its owner; None while it may.
    """

    keys: tuple[ScramKeys, ...]
    disabled: str | None = None


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of one client: the answer to `TokensWanted`.

    Attributes:
        tokens: those that are in force or have expired; none for an account that is not there.
        disabled: why the account may not log in, in words for its owner; None while it may.
    """

    tokens: tuple[Token, ...]
    disabled: str | None = None


Step: TypeAlias = Challenge | CredentialsWanted | TokensWanted | DeriveKey | Success
Question: TypeAlias = Challenge | CredentialsWanted | TokensWanted | DeriveKey
Answer: TypeAlias = bytes | Credentials | Tokens | None
Conversation: TypeAlias = Generator[Question, Answer, Success]


class ServerMechanism:
    """One attempt of one client to log in, as the receiving side sees it.

    All our mechanisms let the client speak first. After `Success` or an error it is used up.

    Args:
        name: the mechanism's name, as it was advertised.
        conversation: the mechanism itself; its first step is to wait for the client's message.
    """

    __slots__ = ("_conversation", "_started", "_waits_for", "name")

    def __init__(self, name: str, conversation: Conversation) -> None:
        self.name = name
        self._conversation = conversation
        self._started = False
        self._waits_for: type[Question] | None = None
        self._advance(None)

    def respond(self, data: bytes | None) -> Step:
        """Take what the client said.

        Args:
            data: its initial response, or its answer to a challenge; None where there was none.
                No initial response gets it an empty challenge (RFC 4422 §5); no answer to a
                challenge is an empty one.

        Raises:
            SaslError: the client is refused, or it spoke out of turn.
        """
        if self._waits_for is not Challenge:
            self._conversation.close()
            self._waits_for = None
            raise SaslError(SaslCondition.MALFORMED_REQUEST, "no response was asked for")
        if data is None and not self._started:
            self._started = True
            return Challenge(b"")
        self._started = True
        return self._advance(data or b"")

    def credentials(self, found: Credentials | None) -> Step:
        """Take the answer to `CredentialsWanted`: None where there is no such account.

        Raises:
            SaslError: the client is refused.
            LocalError: the question was not asked.
        """
        self._demand(CredentialsWanted)
        return self._advance(found)

    def tokens(self, found: Tokens) -> Step:
        """Take the answer to `TokensWanted`.

        Raises:
            SaslError: the client is refused.
            LocalError: the question was not asked.
        """
        self._demand(TokensWanted)
        return self._advance(found)

    def derived(self, key: bytes) -> Step:
        """Take the answer to `DeriveKey`.

        Raises:
            SaslError: the client is refused.
            LocalError: the question was not asked.
        """
        self._demand(DeriveKey)
        return self._advance(key)

    def _demand(self, question: type[Question]) -> None:
        if self._waits_for is not question:
            raise LocalError(f"{self.name} did not ask for this")

    def _advance(self, answer: Answer) -> Step:
        self._waits_for = None  # also when what follows raises
        try:
            question = self._conversation.send(answer)
        except StopIteration as stop:
            success: Success = stop.value
            return success
        self._waits_for = type(question)
        return question


# The ways a conversation may ask, each with the type of its answer.


def ask_client(data: bytes = b"") -> Generator[Question, Answer, bytes]:
    """Challenge the client, or wait for its first message, and get what it says."""
    answer = yield Challenge(data)
    assert isinstance(answer, bytes)  # noqa: S101 -- by ServerMechanism
    return answer


def ask_credentials(username: str) -> Generator[Question, Answer, Credentials | None]:
    """Have an account looked up."""
    answer = yield CredentialsWanted(username)
    assert answer is None or isinstance(answer, Credentials)  # noqa: S101 -- by ServerMechanism
    return answer


def ask_tokens(username: str) -> Generator[Question, Answer, Tokens]:
    """Have the tokens of the client looked up."""
    answer = yield TokensWanted(username)
    assert isinstance(answer, Tokens)  # noqa: S101 -- by ServerMechanism
    return answer


def ask_key(password: bytes, keys: ScramKeys) -> Generator[Question, Answer, bytes]:
    """Have a salted password derived the way these keys were."""
    answer = yield DeriveKey(password, keys.hash, keys.salt, keys.iterations)
    assert isinstance(answer, bytes)  # noqa: S101 -- by ServerMechanism
    return answer


class ClientMechanism:
    """One attempt to log in, as the initiating side sees it.

    Every method but `initial` raises `SaslError` with the condition ``aborted`` where the server
    broke the rules or could not prove itself: send `<abort/>` or close the stream, and do not
    believe that server. This base is a mechanism of one message and no challenge.

    Args:
        name: the mechanism's name.
        message: the initial response.
    """

    __slots__ = ("_message", "name")

    def __init__(self, name: str, message: bytes) -> None:
        self.name = name
        self._message = message

    def initial(self) -> bytes:
        """The initial response; may be empty."""
        return self._message

    def challenge(self, data: bytes) -> Response | DeriveKey:  # noqa: ARG002 -- for those that have challenges
        """Take a challenge."""
        raise aborted("a challenge came that this mechanism does not have")

    def derived(self, key: bytes) -> Response:  # noqa: ARG002 -- for those that derive keys
        """Take the answer to `DeriveKey`.

        Raises:
            LocalError: the question was not asked.
        """
        raise LocalError(f"{self.name} did not ask for this")

    def success(self, data: bytes | None) -> None:
        """Take the success and its additional data; return only if the server proved itself."""
        if data:
            raise aborted("the success has data that this mechanism does not have")


def aborted(text: str) -> SaslError:
    """The error of a client that gives up, for a fault of the server."""
    return SaslError(SaslCondition.ABORTED, text)


def malformed(text: str) -> SaslError:
    """The error for a message that violates the mechanism's syntax (RFC 6120 §6.5.8)."""
    return SaslError(SaslCondition.MALFORMED_REQUEST, text)


def refused(text: str = "") -> SaslError:
    """The error that does not tell a wrong password from an unknown user (RFC 6120 §6.5.10)."""
    return SaslError(SaslCondition.NOT_AUTHORIZED, text)


def prepare_username(text: str) -> str:
    """Prepare a user name: RFC 6120 §6.3.7 makes it the localpart of the account's address.

    Raises:
        SaslError: malformed-request if it is empty; not-authorized if it cannot be the name of
            an account, which is as wrong as any other unknown name.
    """
    if not text:
        raise malformed("the user name is empty")
    try:
        return prep.localpart(text)
    except prep.PrepError:
        raise refused() from None


def authorize(username: str, domain: str, authzid: str) -> str:
    """Decide whom the client may act as: nobody but itself.

    Args:
        username: of the client, prepared.
        domain: of the host, prepared.
        authzid: what it asked for; may be empty.

    Returns:
        Its own bare JID.

    Raises:
        SaslError: invalid-authzid (RFC 6120 §6.3.8).
    """
    own = JID(username, domain)
    if authzid and parse_authzid(authzid) != own:
        raise SaslError(SaslCondition.INVALID_AUTHZID, "you may act as yourself only")
    return own.text


def parse_authzid(authzid: str) -> JID:
    """Parse an authorization identity; the caller compares it with bare JIDs of accounts.

    Raises:
        SaslError: invalid-authzid: it is not an address.
    """
    try:
        return JID.parse(authzid)
    except InvalidJID:
        raise SaslError(SaslCondition.INVALID_AUTHZID, "this is not an address") from None


def demand_enabled(found: Credentials | Tokens) -> None:
    """Refuse a disabled account; only for who has proved to be its owner.

    Raises:
        SaslError: account-disabled.
    """
    if found.disabled is not None:
        raise SaslError(SaslCondition.ACCOUNT_DISABLED, found.disabled)
