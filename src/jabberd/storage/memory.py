"""The stores in the memory of the process, for tests and embedding; nothing outlives it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from jabberd.storage import limits
from jabberd.storage.api import (
    Account,
    AccountExists,
    RosterChange,
    RosterFull,
    RosterItem,
    RosterPage,
    ScramKeys,
    StorageError,
)
from jabberd.storage.memory_log import MemoryLog
from jabberd.storage.memory_records import MemoryRecords, Rows, erase_records
from jabberd.storage.records import Records


class _Door:
    """Open until the stores are closed; every call passes it."""

    def __init__(self) -> None:
        self.open = True

    def check(self, *texts: str) -> None:
        """Refuse calls after the end, and texts that no database takes."""
        if not self.open:
            raise StorageError("the stores are closed")
        limits.check_text(*texts)


class MemoryAccounts:
    """`Accounts` in a dict."""

    def __init__(self, door: _Door) -> None:
        self._door = door
        self._rows: dict[str, Account] = {}

    async def create(self, account: Account) -> None:
        """See `Accounts.create`."""
        self._door.check(account.owner, account.disabled or "")
        if account.owner in self._rows:
            raise AccountExists(f"there is an account {account.owner} already")
        self._rows[account.owner] = account

    async def get(self, owner: str) -> Account | None:
        """See `Accounts.get`."""
        self._door.check(owner)
        return self._rows.get(owner)

    async def list(self, domain: str, *, after: str = "", limit: int = 100) -> Sequence[Account]:
        """See `Accounts.list`."""
        self._door.check(domain, after)
        owners = sorted(owner for owner in self._of(domain) if owner > after)
        return [self._rows[owner] for owner in owners[: limits.clamp(limit)]]

    async def count(self, domain: str) -> int:
        """See `Accounts.count`."""
        self._door.check(domain)
        return len(self._of(domain))

    async def set_keys(self, owner: str, keys: Sequence[ScramKeys]) -> bool:
        """See `Accounts.set_keys`."""
        self._door.check(owner)
        if owner not in self._rows:
            return False
        self._rows[owner] = replace(self._rows[owner], keys=tuple(keys))
        return True

    async def set_disabled(self, owner: str, reason: str | None) -> bool:
        """See `Accounts.set_disabled`."""
        self._door.check(owner, reason or "")
        if owner not in self._rows:
            return False
        self._rows[owner] = replace(self._rows[owner], disabled=reason)
        return True

    async def erase(self, owner: str) -> bool:
        """See `Accounts.erase`."""
        self._door.check(owner)
        return self._rows.pop(owner, None) is not None

    def _of(self, domain: str) -> Sequence[str]:
        return [owner for owner in self._rows if limits.domain_of(owner) == domain]


class MemoryKeyValue:
    """`KeyValue` in a dict of dicts."""

    def __init__(self, door: _Door) -> None:
        self._door = door
        self._rows: dict[str, dict[tuple[str, str], bytes]] = {}

    async def get(self, owner: str, space: str, key: str) -> bytes | None:
        """See `KeyValue.get`."""
        self._door.check(owner, space, key)
        return self._rows.get(owner, {}).get((space, key))

    async def get_many(self, owners: Sequence[str], space: str, key: str) -> Mapping[str, bytes]:
        """See `KeyValue.get_many`."""
        self._door.check(*owners, space, key)
        rows = ((owner, self._rows.get(owner, {}).get((space, key))) for owner in owners)
        return {owner: value for owner, value in rows if value is not None}

    async def put(self, owner: str, space: str, key: str, value: bytes | None) -> None:
        """See `KeyValue.put`."""
        self._door.check(owner, space, key)
        if value is not None:
            self._rows.setdefault(owner, {})[space, key] = bytes(value)
            return
        rows = self._rows.get(owner, {})
        rows.pop((space, key), None)
        if not rows:
            self._rows.pop(owner, None)

    async def keys(self, owner: str, space: str) -> Sequence[str]:
        """See `KeyValue.keys`."""
        self._door.check(owner, space)
        return sorted(key for where, key in self._rows.get(owner, {}) if where == space)

    async def erase(self, owner: str) -> None:
        """See `KeyValue.erase`."""
        self._door.check(owner)
        self._rows.pop(owner, None)


@dataclass(slots=True)
class _Contacts:
    """The roster of one owner.

    Attributes:
        version: of the last change.
        floor: the oldest version of which all removals are remembered.
        items: with the version that each came in with.
        removed: contact → version of its removal, oldest first.
    """

    version: int
    floor: int
    items: dict[str, tuple[int, RosterItem]] = field(default_factory=dict)
    removed: dict[str, int] = field(default_factory=dict)


class MemoryRoster:
    """`Roster` in a dict."""

    def __init__(self, door: _Door) -> None:
        self._door = door
        self._rosters: dict[str, _Contacts] = {}

    async def get(self, owner: str, *, since: int | None = None) -> RosterPage:
        """See `Roster.get`."""
        self._door.check(owner)
        roster = self._rosters.get(owner) or _Contacts(0, 0)
        if since is None or not roster.floor <= since <= roster.version:
            return RosterPage(roster.version, tuple(item for _, item in roster.items.values()))
        changed = sorted(
            (version, item.contact, item)
            for version, item in roster.items.values()
            if version > since
        )
        return RosterPage(
            roster.version,
            tuple(item for _, _, item in changed),
            tuple(contact for contact, version in roster.removed.items() if version > since),
            whole=False,
        )

    async def item(self, owner: str, contact: str) -> RosterItem | None:
        """See `Roster.item`."""
        self._door.check(owner, contact)
        roster = self._rosters.get(owner)
        found = roster.items.get(contact) if roster else None
        return found[1] if found else None

    async def change(
        self,
        owner: str,
        contact: str,
        transition: Callable[[RosterItem | None], RosterItem | None],
        *,
        limit: int = 0,
    ) -> RosterChange:
        """See `Roster.change`."""
        self._door.check(owner, contact)
        before = await self.item(owner, contact)
        after = transition(before)
        roster = self._rosters.get(owner)
        if after == before:
            return RosterChange(roster.version if roster else 0, before, before)
        if after is not None:
            limits.check_item(after, contact)
            if before is None and 0 < limit <= (len(roster.items) if roster else 0):
                raise RosterFull(f"the roster of {owner} has {limit} items already")
        if roster is None:
            start = limits.first_version()
            roster = self._rosters[owner] = _Contacts(start, start)
        roster.version += 1
        if after is None:
            del roster.items[contact]
            roster.removed[contact] = roster.version
            if len(roster.removed) > limits.REMOVED_KEPT:
                roster.floor = roster.removed.pop(next(iter(roster.removed)))
        else:
            roster.removed.pop(contact, None)
            roster.items[contact] = (roster.version, after)
        return RosterChange(roster.version, before, after)

    async def erase(self, owner: str) -> None:
        """See `Roster.erase`."""
        self._door.check(owner)
        self._rosters.pop(owner, None)


class MemoryStores:
    """`Stores` of one process; values live as long as this object.

    Attributes:
        accounts: who may log in.
        keyvalue: small values of modules.
        roster: contacts and subscription states.
        log: messages, and sessions with stream management.
    """

    def __init__(self) -> None:
        self._door = _Door()
        self.accounts = MemoryAccounts(self._door)
        self.keyvalue = MemoryKeyValue(self._door)
        self.roster = MemoryRoster(self._door)
        self.log = MemoryLog(self._door.check)
        self._records: dict[str, Rows] = {}

    def records(self, service: str) -> Records:
        """See `Stores.records`."""
        self._door.check(service)
        return MemoryRecords(self._records.setdefault(service, {}), self._door.check)

    async def erase(self, owner: str) -> bool:
        """See `Stores.erase`."""
        existed = await self.accounts.erase(owner)
        await self.keyvalue.erase(owner)
        await self.roster.erase(owner)
        await self.log.erase(owner)
        for rows in self._records.values():
            erase_records(rows, owner)
        return existed

    async def close(self) -> None:
        """See `Stores.close`; calls after it raise StorageError."""
        self._door.open = False
