"""What a stream tells whoever drives it. Stanzas are events themselves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from jabberd.xmpp.element import Element
from jabberd.xmpp.error import SaslError, StanzaError, StreamError
from jabberd.xmpp.frames import BadAddress, Nonza
from jabberd.xmpp.jid import JID
from jabberd.xmpp.sasl.keys import ScramKeys
from jabberd.xmpp.sasl.mechanism import Token
from jabberd.xmpp.stanza import Iq, Message, Presence
from jabberd.xmpp.stream.authenticate import BindRequest, UserAgent


class Pair(NamedTuple):
    """Two domains with a stream between them, in their canonical form.

    Attributes:
        local: ours.
        remote: the other server's.
    """

    local: str
    remote: str


@dataclass(frozen=True, slots=True)
class UpgradeToTls:
    """Write what is due, then do the handshake; answer with `secured`."""


@dataclass(frozen=True, slots=True)
class CredentialsWanted:
    """A question: what keys does this account have? Answer with `credentials`.

    Attributes:
        account: the bare JID that wants to log in; it need not exist.
        mechanism: with which mechanism, or "jabber:iq:auth".
    """

    account: JID
    mechanism: str


@dataclass(frozen=True, slots=True)
class TokensWanted:
    """A question: which tokens has this client? Answer with `tokens` (XEP-0484).

    Attributes:
        account: the bare JID that wants to log in; it need not exist.
        client: id of the installation: a UUID in small letters.
        mechanism: with which mechanism.
    """

    account: JID
    client: str
    mechanism: str


@dataclass(frozen=True, slots=True)
class DeriveKey:
    """A question: PBKDF2 of a password. Answer with `derived`; it is slow work.

    Attributes:
        password: prepared and encoded.
        hash: hashlib's name of the hash function.
        salt: of the account.
        iterations: of PBKDF2.
    """

    password: bytes = field(repr=False)
    hash: str
    salt: bytes
    iterations: int


@dataclass(frozen=True, slots=True)
class Authenticated:
    """The peer has proved who it is.

    Attributes:
        account: its bare JID.
        mechanism: how.
    """

    account: JID
    mechanism: str


@dataclass(frozen=True, slots=True)
class AuthenticationFailed:
    """A login was refused; the peer has been told.

    Attributes:
        account: as which it tried; None where it came not as far as a name.
        mechanism: how.
        error: what it was told.
    """

    account: JID | None
    mechanism: str
    error: SaslError


@dataclass(frozen=True, slots=True)
class KeysUpgraded:
    """A question: can the account have these keys besides its others (XEP-0480)?

    The client has logged in with its password and made them of it. Answer with `stored` once
    the account has them, or with `refuse_login`.

    Attributes:
        account: the bare JID.
        keys: for a hash function that the account has none for.
        known: what the account had when it logged in. Where it has others by now, the password
            has been changed, and these keys must not be stored.
    """

    account: JID
    keys: ScramKeys
    known: tuple[ScramKeys, ...]


@dataclass(frozen=True, slots=True)
class InlineWanted:
    """A question: what comes of all that was asked for together with a login by SASL2?

    Answer with `inlined`, or with `refuse_login`. Comes with every login by SASL2, directly after
    `Authenticated`. What the host does not offer has been left out.

    Attributes:
        account: the bare JID.
        mechanism: how it logged in.
        client: which client it is, by its own word; None where it does not say.
        resume: `<resume/>`: to be tried first; None where there is none.
        bind: the wish for a resource, unless a session is resumed; None where there is none.
        token_request: the mechanism for which the client wants a token; empty where it wants
            none. There is a client with an id, then.
        token: by which it logged in; None where it was not by one.
        invalidate: whether that token shall be good for nothing from now on.
    """

    account: JID
    mechanism: str
    client: UserAgent | None = None
    resume: Element | None = None
    bind: BindRequest | None = None
    token_request: str = ""
    token: Token | None = None
    invalidate: bool = False


@dataclass(frozen=True, slots=True)
class InlineResult:
    """The answer to `InlineWanted`. All that is serialised stands in no default namespace.

    Attributes:
        jid: the full JID of the session that is bound or resumed; None: there is none yet, and
            the client goes on as after any login.
        resumed: `<resumed/>`; empty where no session is resumed.
        failed: `<failed/>` of a resumption; empty where none was tried, or it succeeded.
        bound: what goes inside `<bound/>`, which is there with every `jid` that is not resumed.
        token: `<token/>`; empty where the client gets none.
    """

    jid: JID | None = None
    resumed: bytes = b""
    failed: bytes = b""
    bound: bytes = b""
    token: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class BindWanted:
    """A question: which resource does the peer get? Answer with `bound` or `refuse_bind`.

    Attributes:
        account: the bare JID.
        resource: what the peer asks for, as it came; empty: the server chooses.
        mechanism: how it logged in.
    """

    account: JID
    resource: str
    mechanism: str


@dataclass(frozen=True, slots=True)
class ResumeWanted:
    """A question: can this session be resumed, before a resource is bound (XEP-0198 §5)?

    Answer with `resumed` or `resume_failed`.

    Attributes:
        account: the bare JID.
        nonza: `<resume/>`.
        mechanism: how it logged in.
    """

    account: JID
    nonza: Nonza
    mechanism: str


@dataclass(frozen=True, slots=True)
class RegisterWanted:
    """A question: an in-band registration before login (XEP-0077). Answer with `reply`.

    Attributes:
        iq: the request.
    """

    iq: Iq


@dataclass(frozen=True, slots=True)
class SessionBound:
    """The initiating role is logged in and has its address: stanzas may flow.

    Attributes:
        jid: the full JID that the server gave.
    """

    jid: JID


@dataclass(frozen=True, slots=True)
class InlineAnswered:
    """What came, for the initiating role, of what it asked for together with its login.

    Attributes:
        resumed: `<resumed/>`; None where no session was resumed.
        failed: `<failed/>` of a resumption; None where there is none.
        bound: `<bound/>`; None where no resource was bound.
        token: `<token/>`; None where there is no new one.
        config_version: of the server's offer (XEP-0509); empty where it tells none.
    """

    resumed: Element | None
    failed: Element | None
    bound: Element | None
    token: Element | None
    config_version: str


@dataclass(frozen=True, slots=True)
class BindRefused:
    """The server gave the initiating role no resource; the stream is closed next.

    Attributes:
        error: the server's.
    """

    error: StanzaError


@dataclass(frozen=True, slots=True)
class PeerWanted:
    """A question between servers: is the peer's certificate good for this domain?

    Answer with `peer`, or close the stream. The initiating role asks also where there is no TLS,
    and so no certificate.

    Attributes:
        domain: which the peer says that it is, or which was wanted.
    """

    domain: str


@dataclass(frozen=True, slots=True)
class PairClaimed:
    """A server has sent a dialback key (XEP-0220 §2.2.1). Answer with `verified`, in your time.

    Attributes:
        pair: which it wants to be believed for.
        key: to be shown to the server of the remote domain.
        stream_id: of the stream.
    """

    pair: Pair
    key: str
    stream_id: str


@dataclass(frozen=True, slots=True)
class VerifyAsked:
    """A server asks about a dialback key of ours (XEP-0220 §2.2.2). Answer: `verify_answer`.

    Attributes:
        local: our domain.
        remote: whose server asks.
        stream_id: of the stream that the key was sent on.
        key: the key.
    """

    local: str
    remote: str
    stream_id: str
    key: str


@dataclass(frozen=True, slots=True)
class PairProved:
    """Stanzas of a pair may flow.

    Attributes:
        pair: which.
        how: "EXTERNAL" or "dialback".
    """

    pair: Pair
    how: str


@dataclass(frozen=True, slots=True)
class PairRefused:
    """The peer does not believe that we are a domain, or cannot find out (XEP-0220 §2.1.1).

    Attributes:
        pair: which.
        error: why it cannot find out; None where it was told that the key is invalid.
    """

    pair: Pair
    error: StanzaError | None


@dataclass(frozen=True, slots=True)
class CanVerify:
    """The peer can be asked about dialback keys."""


@dataclass(frozen=True, slots=True)
class Verified:
    """The peer has answered a question about a dialback key.

    Attributes:
        pair: which.
        stream_id: of the stream that the key came by.
        valid: whether it is the peer's.
        error: why the peer cannot say; None where it could.
    """

    pair: Pair
    stream_id: str
    valid: bool
    error: StanzaError | None


@dataclass(frozen=True, slots=True)
class NoWay:
    """The stream cannot come about; it is closed next.

    Attributes:
        why: in plain words.
    """

    why: str


@dataclass(frozen=True, slots=True)
class Closed:
    """The stream is over; write what is due and close the connection.

    Attributes:
        error: what ended it, told to the peer or told by it; None where it was closed in order.
        by_peer: whether the peer closed it, or caused the error.
    """

    error: StreamError | None
    by_peer: bool


Event = (
    Message
    | Presence
    | Iq
    | BadAddress
    | Nonza
    | UpgradeToTls
    | CredentialsWanted
    | TokensWanted
    | DeriveKey
    | Authenticated
    | AuthenticationFailed
    | KeysUpgraded
    | InlineWanted
    | BindWanted
    | ResumeWanted
    | RegisterWanted
    | InlineAnswered
    | SessionBound
    | BindRefused
    | PeerWanted
    | PairClaimed
    | VerifyAsked
    | PairProved
    | PairRefused
    | CanVerify
    | Verified
    | NoWay
    | Closed
)
