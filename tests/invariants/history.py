"""What happened in a run, as its clients saw it: plain records, which the checks read.

Nothing in here does anything. An account is named by its localpart, a client by
`account/resource`. Times are seconds since the beginning of the run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Self

_KEY: Final = re.compile(r"([a-z0-9]+)/([a-z0-9]+)>([a-z0-9]+):([0-9]+)")
# Lengths of the padding behind the key: short messages, and some that fill a packet.
_PADDING: Final = (0, 0, 3, 40, 200, 1500)


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """Which message: the body of each begins with it, and no two are alike.

    Attributes:
        sender: the account.
        resource: of the client that says it.
        to: the account that it is for.
        number: grows by one within this client and recipient.
    """

    sender: str
    resource: str
    to: str
    number: int

    @property
    def pair(self) -> str:
        """The client and the recipient: what has an order of its own."""
        return f"{self.sender}/{self.resource}>{self.to}"

    @property
    def id(self) -> str:
        """For the attribute `id` and for `<origin-id/>` (XEP-0359)."""
        return f"{self.sender}-{self.resource}-{self.to}-{self.number}"

    @property
    def body(self) -> str:
        """The whole body, free of characters that XML would have to escape."""
        padding = _PADDING[self.number % len(_PADDING)]
        return f"{self}{' ' + 'x' * padding if padding else ''}"

    def __str__(self) -> str:
        return f"{self.pair}:{self.number}"

    @classmethod
    def read(cls, body: str) -> Self | None:
        """The key of a body; None where the body is not exactly that of a key."""
        key = cls.parse(body.partition(" ")[0])
        return key if key is not None and key.body == body else None

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The opposite of `str`; None where the text is no key."""
        found = _KEY.fullmatch(text)
        return None if found is None else cls(found[1], found[2], found[3], int(found[4]))


class How(Enum):
    """The way by which a client got a message."""

    LIVE = "live"
    """Addressed to it: at once, or after it had waited."""
    RECEIVED = "received"
    """A copy of what another client of its account got (XEP-0280)."""
    SENT = "sent"
    """A copy of what another client of its account said (XEP-0280)."""
    ARCHIVE = "archive"
    """A result of its query (XEP-0313)."""


@dataclass(slots=True)
class Said:
    """A message that a client was told to say.

    Attributes:
        key: which.
        at: when it was told.
        full: whether it is addressed to one client of the recipient, not to the account.
        sessions: in which of the client's sessions it was written, each once per writing.
        acknowledged: when the server's `h` covered it (XEP-0198 §4); None while it has not.
        refused: the condition of the error that came back; None where none did.
    """

    key: Key
    at: float
    sessions: list[int] = field(default_factory=list)
    acknowledged: float | None = None
    refused: str | None = None
    full: bool = False

    @property
    def promised(self) -> bool:
        """The server has taken it on, and did not give it back."""
        return self.acknowledged is not None and self.refused is None

    @property
    def settled(self) -> bool:
        """The client need not say it any more."""
        return self.acknowledged is not None or self.refused is not None


@dataclass(frozen=True, slots=True)
class Seen:
    """A message that a client got, in the order in which it came.

    Attributes:
        key: which; None where the body is none that anybody says.
        body: as it came.
        how: the way.
        stanza_id: given by the client's own account (XEP-0359), or the id of the result.
        session: the client's, by number.
        number: of the stanza in that session, as the server counts what it sends (XEP-0198).
        at: when.
        delayed: it had a `<delay/>` (XEP-0203).
    """

    key: Key | None
    body: str
    how: How
    stanza_id: str | None
    session: int
    number: int
    at: float
    delayed: bool = False


@dataclass(slots=True)
class Session:
    """A stream management session of a client (XEP-0198), over one connection or several.

    Attributes:
        number: from 1.
        first: the life of the server in which it began, by number.
        last: the life of the server in which it was seen last.
        resumed: how often it was resumed.
        certain: up to which stanza the server is known to know that the client has it: the
            server has answered something that the client said after acknowledging so much.
    """

    number: int
    first: int
    last: int
    resumed: int = 0
    certain: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """A message in a client's view of its conversations, where each should be once."""

    key: Key
    stanza_id: str | None


@dataclass(slots=True)
class ClientHistory:
    """All about one client.

    Attributes:
        account: its account.
        resource: its resource.
        archive: whether it synchronises by the archive; without, it relies on resumption and
            on offline delivery.
        said: what it was told to say, in order.
        seen: all that it got, in order, nothing left out.
        timeline: its view: what it said and got, with copies removed as such clients do.
        sessions: in order.
        faults: what the server must not say to anybody, in words.
    """

    account: str
    resource: str
    archive: bool
    said: list[Said] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    timeline: list[Entry] = field(default_factory=list)
    sessions: list[Session] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """`account/resource`."""
        return f"{self.account}/{self.resource}"


@dataclass(frozen=True, slots=True)
class Archived:
    """An entry of an account's archive, as it was at the end.

    Attributes:
        id: the archive's id of it.
        key: which message; None where the body is none that anybody says.
        body: as it is there.
    """

    id: str
    key: Key | None
    body: str


@dataclass(slots=True)
class History:
    """A whole run.

    Attributes:
        clients: all of them.
        archives: by account, in the order of the archive.
        killed: lives of the server that ended by SIGKILL.
        rest: what had not come to rest at the end, in words.
        log: complaints that the server wrote into its log.
    """

    clients: list[ClientHistory] = field(default_factory=list)
    archives: dict[str, list[Archived]] = field(default_factory=dict)
    killed: set[int] = field(default_factory=set)
    rest: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    def accounts(self) -> dict[str, list[ClientHistory]]:
        """The clients of each account."""
        found: dict[str, list[ClientHistory]] = {}
        for client in self.clients:
            found.setdefault(client.account, []).append(client)
        return found

    def said(self) -> Iterator[Said]:
        """Every message of everybody."""
        for client in self.clients:
            yield from client.said
