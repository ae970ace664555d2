"""What a stream tells whoever drives it. Stanzas are events themselves."""

from __future__ import annotations

from dataclasses import dataclass, field

from jabberd.xmpp.error import SaslError, StanzaError, StreamError
from jabberd.xmpp.frames import BadAddress, Nonza
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Iq, Message, Presence


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
class BindRefused:
    """The server gave the initiating role no resource; the stream is closed next.

    Attributes:
        error: the server's.
    """

    error: StanzaError


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
    | DeriveKey
    | Authenticated
    | AuthenticationFailed
    | BindWanted
    | RegisterWanted
    | SessionBound
    | BindRefused
    | Closed
)
