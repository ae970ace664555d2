"""Who is registered with a gateway, and what is known of them now."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import structlog

from jabberd.gateways.events import Show
from jabberd.gateways.transport import Login
from jabberd.gateways.vault import Vault, WrongKey
from jabberd.storage.records import Record, Records
from jabberd.xmpp.jid import JID

_log: Final = structlog.get_logger("jabberd.gateway")
_SPACE: Final = "login"
_ORDER: Final = (Show.CHAT, Show.ONLINE, Show.AWAY, Show.XA, Show.DND)
_MOST_RESOURCES: Final = 50


@dataclass(frozen=True, slots=True)
class Seen:
    """The presence of one client of a user.

    Attributes:
        show: how available.
        status: in words.
        priority: of the resource.
    """

    show: Show
    status: str
    priority: int


@dataclass(slots=True)
class User:
    """One registered user.

    Attributes:
        jid: bare.
        name: of the account on the network.
        created: since when, seconds since the epoch.
        manages: the gateway may write the user's contact list (XEP-0356).
        locked: the login, encrypted.
        resources: clients that are available, by resource.
        known: whether anything was heard of the user's presence since the gateway started.
    """

    jid: JID
    name: str
    created: float
    manages: bool
    locked: bytes = field(repr=False)
    resources: dict[str, Seen] = field(default_factory=dict)
    known: bool = False

    @property
    def here(self) -> bool:
        """Whether a client is available."""
        return bool(self.resources)

    def shown(self) -> Seen:
        """What the network is to be shown of several clients: the one of the highest priority.

        Of those with the same, the one that is most available.
        """
        if not self.resources:
            return Seen(Show.OFFLINE, "", 0)
        return min(
            self.resources.values(), key=lambda seen: (-seen.priority, _ORDER.index(seen.show))
        )

    def see(self, resource: str, seen: Seen | None) -> None:
        """Take the presence of one client; None: it is gone."""
        self.known = True
        self.resources.pop(resource, None)
        if seen is not None:
            if len(self.resources) >= _MOST_RESOURCES:
                del self.resources[next(iter(self.resources))]
            self.resources[resource] = seen


class Users:
    """The registered users of one gateway, all in memory; their logins stay encrypted.

    Args:
        records: of the gateway.
        vault: of the gateway.
    """

    def __init__(self, records: Records, vault: Vault) -> None:
        self._records = records
        self._vault = vault
        self._users: dict[str, User] = {}
        self._names: dict[str, str] = {}

    def __iter__(self) -> Iterator[User]:
        return iter(list(self._users.values()))

    def get(self, jid: str) -> User | None:
        """A user by the bare JID."""
        return self._users.get(jid)

    def of_name(self, name: str) -> str | None:
        """The user who has an account of this name on the network."""
        return self._names.get(name)

    async def load(self) -> None:
        """Read who is registered.

        Raises:
            StorageError: that cannot be read.
        """
        after = ("", "")
        while page := await self._records.everyone(_SPACE, after=after):
            for record in page:
                self._remember(_read(record))
            after = (page[-1].owner, page[-1].key)

    async def add(self, jid: JID, login: Login, *, manages: bool, now: float) -> User:
        """Register somebody, or replace what they were registered with.

        Raises:
            StorageError: it cannot be written; nothing has changed.
        """
        before = self._users.get(jid.text)
        created = before.created if before is not None else now
        locked = self._vault.lock(jid.text, login)
        user = User(jid, login.name, created, manages, locked)
        head = json.dumps({"name": user.name, "created": created, "manages": manages}).encode()
        await self._records.write([Record(jid.text, _SPACE, "", head + b"\n" + locked, now)])
        if before is not None:
            self._forget(before)
            user.resources, user.known = before.resources, before.known
        self._remember(user)
        return user

    async def remove(self, user: User) -> None:
        """Erase everything that the gateway has of somebody.

        Raises:
            StorageError: it cannot be erased; nothing has changed.
        """
        await self._records.erase(user.jid.text)
        self._forget(user)

    def login(self, user: User) -> Login | None:
        """What a user is registered with; None where it cannot be decrypted."""
        try:
            return self._vault.unlock(user.jid.text, user.locked)
        except WrongKey as error:
            _log.error("a login cannot be decrypted", user=user.jid.text, why=str(error))
            return None

    def _remember(self, user: User) -> None:
        self._users[user.jid.text] = user
        self._names[user.name] = user.jid.text

    def _forget(self, user: User) -> None:
        self._users.pop(user.jid.text, None)
        if self._names.get(user.name) == user.jid.text:
            del self._names[user.name]


def _read(record: Record) -> User:
    head, _, locked = record.value.partition(b"\n")
    facts = json.loads(head)
    jid = JID.parse(record.owner)
    return User(jid, facts["name"], facts["created"], facts["manages"], locked)
