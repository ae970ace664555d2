"""All that a module may touch and return.

A module file exports `load(host, options) -> Module`; nothing happens when it is imported.
Registration is a value: the handlers that a module returns can be printed and tested.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, Flag, auto
from typing import Any, Protocol, TypeVar

from jabberd.core.adhoc import AdHoc
from jabberd.core.command import Command
from jabberd.core.parcel import Parcel
from jabberd.core.session import Session
from jabberd.core.verdict import Verdict
from jabberd.storage.api import Stores
from jabberd.xmpp.element import Element
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Iq, Message, Presence, Stanza

T = TypeVar("T")

Reply = Element | bytes | None
"""What answers an IQ request: a child element, serialised child elements, or an empty result."""
Outcome = Verdict | None
"""What a handler of a phase decides: None lets the stanza go on, a verdict ends its way."""


class Side(Enum):
    """On whose behalf a handler looks at a stanza."""

    SENT = "sent"
    RECEIVED = "received"


class Phase(Enum):
    """The stations of a stanza's way, in order; handlers of one phase must commute.

    SCREEN may refuse; STAMP may annotate; DELIVER is the spine's (and, for presence, the
    modules' that implement RFC 6121); COPY sees what was delivered; FALLBACK runs when nobody
    was reached. The sender's side runs SCREEN, STAMP, DELIVER (presence only) and COPY.
    """

    SCREEN = "screen"
    STAMP = "stamp"
    DELIVER = "deliver"
    COPY = "copy"
    FALLBACK = "fallback"


class At(Flag):
    """Whose IQ requests a handler answers, by the address that the request has."""

    HOST = auto()
    """The server's own domain."""
    OWN = auto()
    """The sender's own bare JID, or no address at all (RFC 6120 §10.3.3)."""
    USER = auto()
    """The bare JID of another account of this server, which need not exist."""
    ACCOUNT = OWN | USER


class SessionEvent(Enum):
    """Moments in the life of a session."""

    BOUND = "bound"
    """It has a full JID and may send stanzas."""
    AVAILABLE = "available"
    """It became available, or changed from a negative to a non-negative priority."""
    AWAY = "away"
    """Its client is gone, and may come back to it (XEP-0198)."""
    RESUMED = "resumed"
    """Its client is back."""
    CLOSED = "closed"
    """It is gone; it is registered no more. Its last presence is still in `presence`."""


class AccountEvent(Enum):
    """Moments in the life of an account."""

    DELETING = "deleting"
    """It will be erased when the handlers are done; its sessions are closed already."""


class Flow:
    """What is known of a stanza's way so far; one per side.

    Attributes:
        side: whose side this is.
        account: the bare JID of the account on whose behalf handlers run.
        origin: the local session that sent the stanza; None where it came from elsewhere.
        reached: the sessions that it was written to.
        parcel: in COPY: what to send copies with, where the message is in the account's log.
    """

    __slots__ = ("_copy", "account", "origin", "parcel", "reached", "side")

    def __init__(
        self,
        side: Side,
        account: JID,
        origin: Session | None,
        reached: tuple[Session, ...] = (),
        copy: Message | Callable[[], Message] | None = None,
        parcel: Parcel | None = None,
    ) -> None:
        """`copy` may be what makes it: for most messages, nobody asks."""
        self.side = side
        self.account = account
        self.origin = origin
        self.reached = reached
        self.parcel = parcel
        self._copy = copy

    @property
    def copy(self) -> Message | None:
        """In COPY: the message as the account has it. It never goes to the other side.

        It has its identifier in the account's archive (XEP-0359) where it is there.
        """
        copy = self._copy
        if callable(copy):
            copy = self._copy = copy()
        return copy


@dataclass(frozen=True, slots=True)
class IqGet:
    """Answers requests of type get whose child has this name.

    `handle(iq, session)` returns the reply or raises StanzaError; session is None where the
    request came from another server or a component.
    """

    ns: str
    name: str
    handle: Callable[[Iq, Session | None], Reply | Awaitable[Reply]]
    at: At = At.HOST


@dataclass(frozen=True, slots=True)
class IqSet:
    """Answers requests of type set whose child has this name, as `IqGet` does."""

    ns: str
    name: str
    handle: Callable[[Iq, Session | None], Reply | Awaitable[Reply]]
    at: At = At.HOST


@dataclass(frozen=True, slots=True)
class OnIq:
    """Screens IQs that are routed between entities, requests and answers alike."""

    side: Side
    handle: Callable[[Iq, Flow], Outcome | Awaitable[Outcome]]


@dataclass(frozen=True, slots=True)
class OnMessage:
    """Sees messages in one phase; `wants` names child elements, one of which must be there.

    With `others` a handler of COPY is not asked where the account has no client beside the one
    that sent the message or got it, as is mostly so.
    """

    side: Side
    phase: Phase
    handle: Callable[[Message, Flow], Outcome | Awaitable[Outcome]]
    wants: Sequence[tuple[str, str]] = ()
    others: bool = False


@dataclass(frozen=True, slots=True)
class OnPresence:
    """Sees presences of these types in one phase (an empty string: available)."""

    side: Side
    phase: Phase
    types: frozenset[str]
    handle: Callable[[Presence, Flow], Outcome | Awaitable[Outcome]]


@dataclass(frozen=True, slots=True)
class OnSession:
    """Called at a moment in a session's life."""

    event: SessionEvent
    handle: Callable[[Session], Awaitable[None] | None]


@dataclass(frozen=True, slots=True)
class OnAccount:
    """Called at a moment in an account's life, with its bare JID."""

    event: AccountEvent
    handle: Callable[[JID], Awaitable[None] | None]


@dataclass(frozen=True, slots=True)
class OnNonza:
    """Called when a logged-in client sends a first-level element that is no stanza."""

    ns: str
    name: str
    handle: Callable[[Session], None]


@dataclass(frozen=True, slots=True)
class OnHostMessage:
    """Takes messages to the host itself that have this child; all others are returned.

    `handle(message)` returns the verdict or raises StanzaError.
    """

    ns: str
    name: str
    handle: Callable[[Message], Awaitable[Verdict]]


@dataclass(frozen=True, slots=True)
class OnWaiting:
    """Called when messages of an account have begun to wait in its log, after the commit.

    With the account and, where it is known which, the message.
    """

    handle: Callable[[JID, Message | None], None]


@dataclass(frozen=True, slots=True)
class OnUndelivered:
    """Called when a message is kept for a session whose client is not there (XEP-0198)."""

    handle: Callable[[Session, Stanza], None]


Handler = (
    IqGet
    | IqSet
    | OnIq
    | OnMessage
    | OnPresence
    | OnSession
    | OnAccount
    | OnNonza
    | OnHostMessage
    | OnWaiting
    | OnUndelivered
)


@dataclass(frozen=True, slots=True)
class Xep:
    """Which XEP, and which version of its text, a module implements.

    Attributes:
        number: of the XEP.
        version: of its text that was implemented.
        note: what is left out, in one sentence; empty where it is complete.
    """

    number: int
    version: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class DiscoNodes:
    """Answers service discovery of nodes of the host (XEP-0030 §3.2 and §4.2).

    Both functions take the node and who asks, and return what goes into the query element, or
    None where the node is not theirs. They may raise StanzaError, for example to refuse.
    """

    info: Callable[[str, JID], Sequence[Element] | None]
    items: Callable[[str, JID], Sequence[Element] | None]


@dataclass(frozen=True, slots=True)
class Module:
    """What a module brings.

    Attributes:
        handlers: see the handler kinds above.
        features: disco features of the host (XEP-0030).
        account_features: disco features of the bare JIDs of its accounts.
        identities: what the host is beside a server (XEP-0030 §3.1).
        forms: data forms that extend the host's disco#info (XEP-0128).
        nodes: what answers for nodes of the host in service discovery.
        stream_features: child elements of `<stream:features/>` offered after login; a function
            where the element can be made only when every module is loaded.
        provides: implementations of the Protocols in `core.ports`, by Protocol.
        commands: administration commands. Where several hosts load the module, their commands
            become one each; its argument `account` says which host is meant.
        adhoc: commands for people at clients (XEP-0050).
    """

    handlers: Sequence[Handler] = ()
    features: Sequence[str] = ()
    account_features: Sequence[str] = ()
    identities: Sequence[Element] = ()
    forms: Sequence[Element] = ()
    nodes: Sequence[DiscoNodes] = ()
    stream_features: Sequence[Element | Callable[[], Element]] = ()
    provides: Mapping[type[Any], object] = field(default_factory=dict)
    commands: Sequence[Command] = ()
    adhoc: Sequence[AdHoc] = ()


class Host(Protocol):
    """One virtual host, as its modules see it."""

    @property
    def domain(self) -> JID:
        """Its address."""

    @property
    def stores(self) -> Stores:
        """Durable state."""

    def sessions(self, account: JID) -> tuple[Session, ...]:
        """The sessions of an account that this process serves, oldest first."""

    def route(self, stanza: Stanza) -> Awaitable[Verdict] | Verdict:
        """Send a stanza on behalf of `stanza.from_`, which must be ours, to `stanza.to`.

        A verdict that is not ready (the way leads through storage) is awaitable; who does not
        need it may drop it: the work goes on by itself.
        """

    async def ask(self, iq: Iq, wait: float = 30.0, *, account: JID | None = None) -> Iq:
        """Send a request from this host itself and wait for its answer.

        Args:
            iq: to whom, type and payload; `from_` and `id` are set here.
            wait: in seconds.
            account: the bare JID of an account of this host on whose behalf the host asks.

        Raises:
            StanzaError: what the other side answered, or remote-server-timeout.
        """

    async def send_for(self, message: Message, *, deliver: bool = True) -> Verdict:
        """Send a message in the name of an account of ours, without any of its clients.

        It goes the way of what a client sends: it is screened, archived and copied.

        Args:
            message: `from_` is the bare JID of the account; `to` is set.
            deliver: bring it to its recipient; without that, it was there already.

        Raises:
            StanzaError: what its sender is to be told.
        """

    def require(self, api: Callable[..., T]) -> T:
        """The module that provides this Protocol of `core.ports`.

        `api` is the Protocol class itself (mypy takes `type[T]` for concrete classes only).
        Ask when it is needed, not in a constructor: modules load in no particular order.

        Raises:
            LookupError: no module of this host provides it.
        """

    def emit(self, event: SessionEvent, session: Session) -> Awaitable[None] | None:
        """Call the handlers of a moment in a session's life; the presence module does so."""

    def now(self) -> float:
        """Seconds since the epoch."""

    def spawn(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run something beside the stream that caused it. Failures are logged, not lost.

        The number of such works is bounded; beyond it, the oldest is cancelled and logged.
        """

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """Call a function after some time, unless the host is closed by then."""
