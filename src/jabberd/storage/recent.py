"""The accounts that were asked for lately, in memory: who logs in is likely to do so again.

Only where this process is the only one that writes: a SQLite database in a locked data folder.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from jabberd.storage.api import Account, Accounts, ScramKeys

_KEPT: Final = 2_000


class RecentAccounts:
    """`Accounts` before slower ones, of which it keeps the last answers.

    Args:
        accounts: where everything is.
    """

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self._recent: OrderedDict[str, Account] = OrderedDict()
        self._changes = 0

    async def get(self, owner: str) -> Account | None:
        """See `Accounts.get`."""
        known = self._recent.get(owner)
        if known is not None:
            self._recent.move_to_end(owner)
            return known
        changes = self._changes
        found = await self._accounts.get(owner)
        # What was read while something changed may be the state before the change.
        if found is not None and changes == self._changes:
            self._recent[owner] = found
            if len(self._recent) > _KEPT:
                self._recent.popitem(last=False)
        return found

    def forget(self, owner: str) -> None:
        """The account changes, or has changed: ask again for it."""
        self._changes += 1
        self._recent.pop(owner, None)

    async def create(self, account: Account) -> None:
        """See `Accounts.create`."""
        await self._accounts.create(account)

    async def list(self, domain: str, *, after: str = "", limit: int = 100) -> Sequence[Account]:
        """See `Accounts.list`."""
        return await self._accounts.list(domain, after=after, limit=limit)

    async def count(self, domain: str) -> int:
        """See `Accounts.count`."""
        return await self._accounts.count(domain)

    async def set_keys(self, owner: str, keys: Sequence[ScramKeys]) -> bool:
        """See `Accounts.set_keys`."""
        self.forget(owner)
        try:
            return await self._accounts.set_keys(owner, keys)
        finally:
            self.forget(owner)

    async def set_disabled(self, owner: str, reason: str | None) -> bool:
        """See `Accounts.set_disabled`."""
        self.forget(owner)
        try:
            return await self._accounts.set_disabled(owner, reason)
        finally:
            self.forget(owner)

    async def erase(self, owner: str) -> bool:
        """See `Accounts.erase`."""
        self.forget(owner)
        try:
            return await self._accounts.erase(owner)
        finally:
            self.forget(owner)
