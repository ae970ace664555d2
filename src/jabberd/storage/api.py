"""What the rest of the server asks of a database: small Protocols with verbs of the domain.

Owners are bare JIDs in canonical text form, or a domain where the server itself owns a thing.
Every value is bytes, text or a frozen dataclass; nothing of SQL shows. All methods are
coroutines and are safe to call from the event loop; each write is durable when it returns.

Back ends: `memory`, `sql` (SQLite and PostgreSQL). One contract suite runs over all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from jabberd.storage.log_api import Log
from jabberd.storage.records import Records
from jabberd.xmpp.sasl import keys as sasl

ScramKeys = sasl.ScramKeys
"""What is kept instead of a password (RFC 5802 §3)."""


class StorageError(Exception):
    """The database refused, failed or is out of reach; nothing of the unit was written."""


class StorageFull(StorageError):  # noqa: N818 -- a kind of StorageError, read as one
    """There is no room left on the disk."""


class StorageBusy(StorageError):  # noqa: N818 -- a kind of StorageError, read as one
    """Another process holds the database for longer than the deadline."""


class AccountExists(StorageError):  # noqa: N818 -- a kind of StorageError, read as one
    """An account of this name is there already."""


class SchemaTooNew(StorageError):  # noqa: N818 -- a kind of StorageError, read as one
    """The database was written by a newer version of the server."""


@dataclass(frozen=True, slots=True)
class Account:
    """An account on one of our hosts.

    Attributes:
        owner: its bare JID.
        keys: one entry per hash function; empty for an account that cannot use passwords.
        created: seconds since the epoch.
        disabled: why it may not log in; None while it may.
    """

    owner: str
    keys: tuple[ScramKeys, ...]
    created: float
    disabled: str | None = None


class Subscription(Enum):
    """RFC 6121 §2.1.2.5, as the roster shows it."""

    NONE = "none"
    TO = "to"
    FROM = "from"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class RosterItem:
    """One contact of one account, with every bit of RFC 6121 Appendix A's states.

    Attributes:
        contact: the contact's bare JID.
        name: the handle that the user chose, or an empty string.
        groups: in the order in which the client gave them.
        subscription: the state both can see.
        ask: a request of ours is pending ("Pending Out").
        pending_in: the contact's request, as the stanza's bytes, that the user has not answered
            ("Pending In"); None where there is none. Never shown in the roster by itself.
        approved: pre-approved (RFC 6121 §3.4).
        listed: the item is in the roster; False while there is only `pending_in` to remember.
    """

    contact: str
    name: str = ""
    groups: tuple[str, ...] = ()
    subscription: Subscription = Subscription.NONE
    ask: bool = False
    pending_in: bytes | None = None
    approved: bool = False
    listed: bool = True


@dataclass(frozen=True, slots=True)
class RosterPage:
    """A roster, or what changed in it (RFC 6121 §2.6).

    Attributes:
        version: of the roster after these items; grows with every change.
        items: all items, or the changed ones.
        removed: contacts that went away since the version asked for; empty in a whole roster.
        whole: whether `items` is everything.
    """

    version: int
    items: tuple[RosterItem, ...]
    removed: tuple[str, ...] = ()
    whole: bool = True


@dataclass(frozen=True, slots=True)
class RosterChange:
    """What `Roster.change` did; `before` and `after` are None where there was or is no item."""

    version: int
    before: RosterItem | None
    after: RosterItem | None


class Accounts(Protocol):
    """Who may log in."""

    async def create(self, account: Account) -> None:
        """Add an account.

        Raises:
            AccountExists: there is one of this name.
        """

    async def get(self, owner: str) -> Account | None:
        """One account."""

    async def list(self, domain: str, *, after: str = "", limit: int = 100) -> Sequence[Account]:
        """Accounts of a domain in order of their JID, those behind `after` only."""

    async def count(self, domain: str) -> int:
        """How many accounts a domain has."""

    async def set_keys(self, owner: str, keys: Sequence[ScramKeys]) -> bool:
        """Replace the keys; False where there is no such account."""

    async def set_disabled(self, owner: str, reason: str | None) -> bool:
        """Disable with a reason, or enable with None; False where there is no such account."""

    async def erase(self, owner: str) -> bool:
        """Remove the account's row; False where there was none."""


class KeyValue(Protocol):
    """Small values of a module: vCards, private XML, last activity."""

    async def get(self, owner: str, space: str, key: str) -> bytes | None:
        """One value; `space` is the module's own name for its values."""

    async def get_many(self, owners: Sequence[str], space: str, key: str) -> Mapping[str, bytes]:
        """The values that several owners have under one key; who has none is left out."""

    async def put(self, owner: str, space: str, key: str, value: bytes | None) -> None:
        """Set a value, or remove it with None."""

    async def keys(self, owner: str, space: str) -> Sequence[str]:
        """The keys that have a value, in order."""

    async def erase(self, owner: str) -> None:
        """Remove everything of this owner."""


class Roster(Protocol):
    """Contacts and subscription states."""

    async def get(self, owner: str, *, since: int | None = None) -> RosterPage:
        """The whole roster, pending requests that are not listed included.

        With `since`, only what changed after that version, where that is still known; the whole
        roster otherwise (also for a version that is newer than ours).
        """

    async def item(self, owner: str, contact: str) -> RosterItem | None:
        """One item, listed or not."""

    async def change(
        self,
        owner: str,
        contact: str,
        transition: Callable[[RosterItem | None], RosterItem | None],
        *,
        limit: int = 0,
    ) -> RosterChange:
        """Replace one item by what `transition` makes of it, in one transaction.

        `transition` is pure: it may run in another thread, and more than once. Returning None
        removes the item; returning an equal item changes nothing, the version included.

        Raises:
            RosterFull: the item would be a new one beyond `limit` items (0: no limit).
        """

    async def erase(self, owner: str) -> None:
        """Remove everything of this owner."""


class RosterFull(StorageError):  # noqa: N818 -- a kind of StorageError, read as one
    """The roster has as many items as are allowed."""


class Stores(Protocol):
    """The stores of one database."""

    @property
    def accounts(self) -> Accounts:
        """Who may log in."""

    @property
    def keyvalue(self) -> KeyValue:
        """Small values of modules."""

    @property
    def roster(self) -> Roster:
        """Contacts and subscription states."""

    @property
    def log(self) -> Log:
        """Messages, and sessions with stream management."""

    def records(self, service: str) -> Records:
        """What a service, such as a gateway, keeps for its users; by its domain."""

    async def erase(self, owner: str) -> bool:
        """Remove everything of this owner from every store, in one transaction.

        Returns:
            Whether there was an account of this name.
        """

    async def close(self) -> None:
        """Finish what was asked for, then let go of the database."""
