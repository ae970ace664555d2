"""How long messages are kept: per host and per account, applied in small steps."""

from __future__ import annotations

import asyncio
import re
from typing import Annotated, Final

import structlog

from jabberd.core.admin import parse_account, when
from jabberd.core.command import CommandError, Doc, Table
from jabberd.core.module import Host
from jabberd.modules.mam.rules import SPACE
from jabberd.storage.api import StorageError
from jabberd.storage.log_api import COUNT_MOST, ArchiveQuery

_log: Final = structlog.get_logger("jabberd.mam")
_KEY: Final = "keep"
_HOST: Final = "host"
_FOREVER: Final = "forever"
_TIME: Final = re.compile("([1-9][0-9]{0,3}) (day|week|month|year)s?")
_DAYS: Final = {"day": 1, "week": 7, "month": 30, "year": 365}
_DAY: Final = 86_400.0

_FIRST: Final = 60.0  # seconds from the start of the server to the first round
_EVERY: Final = 21_600.0  # seconds from one round to the next
_ACCOUNTS: Final = 100  # looked at together
_STEP: Final = 200  # messages deleted at once
_PAUSE: Final = 0.05  # seconds in which the database is everybody else's


def seconds_of(keep: str) -> float | None:
    """How long "30 days", "2 weeks", "6 months" or "1 year" are; None for "forever".

    A month has 30 days, and a year 365.

    Raises:
        ValueError: the text is none of these; says what is expected.
    """
    text = " ".join(keep.lower().split())
    if text == _FOREVER:
        return None
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError(f'expected "{_FOREVER}", or a time like "30 days" or "1 year"')
    return int(found[1]) * _DAYS[found[2]] * _DAY


class Retention:
    """Deletes what is older than it may be.

    It begins a round over all accounts some time after the server has started, and again every
    few hours. What waits for its owner stays until it was delivered (`Log.prune`).

    Args:
        host: whose accounts.
        keep: how long, where an account has no rule of its own; see `seconds_of`.
    """

    def __init__(self, host: Host, keep: str) -> None:
        self._host = host
        self._keep = keep
        host.later(_FIRST, self._begin)

    def _begin(self) -> None:
        self._host.spawn("retention of archives", self._rounds())

    async def _rounds(self) -> None:
        try:
            await self.round()
        except StorageError as error:
            _log.warning("old messages could not be deleted: later", reason=str(error))
        finally:
            self._host.later(_EVERY, self._begin)

    async def round(self) -> None:
        """Look at every account once.

        Raises:
            StorageError: the database failed.
        """
        stores, domain = self._host.stores, self._host.domain.text
        after = ""
        while owners := await stores.log.owners(domain, after=after, limit=_ACCOUNTS):
            own = await stores.keyvalue.get_many(owners, SPACE, _KEY)
            for owner in owners:
                await self._prune(owner, own[owner].decode() if owner in own else self._keep)
            after = owners[-1]
            await asyncio.sleep(_PAUSE)

    async def _prune(self, owner: str, keep: str) -> None:
        seconds = seconds_of(keep)
        if seconds is None:
            return
        before = self._host.now() - seconds
        deleted = _STEP
        while deleted == _STEP:
            deleted = await self._host.stores.log.prune(owner, before, limit=_STEP)
            await asyncio.sleep(_PAUSE)

    # jabberd user archive

    async def archive(
        self,
        account: Annotated[str, Doc("the account, for example alice@localhost")],
        *,
        keep: Annotated[
            str | None,
            Doc('keep its messages for so long: "30 days", "1 year", "forever", or as the "host"'),
        ] = None,
    ) -> str | Table:
        """Show what an account has in its archive, or say how long its messages are kept.

        Older messages are deleted for good. Those that still wait for their owner are not.
        """
        jid = parse_account(account)
        try:
            if await self._host.stores.accounts.get(jid.text) is None:
                raise CommandError(f"there is no account {jid.text}")
            return await (self._show(jid.text) if keep is None else self._set(jid.text, keep))
        except StorageError as error:
            raise CommandError(str(error)) from error

    async def _set(self, owner: str, keep: str) -> str:
        keep = " ".join(keep.lower().split())
        if keep == _HOST:
            await self._host.stores.keyvalue.put(owner, SPACE, _KEY, None)
            keep, words = self._keep, f"{self._keep}, as the host says"
        else:
            try:
                seconds_of(keep)
            except ValueError as error:
                raise CommandError(f'--keep: {error}, or "{_HOST}"') from None
            await self._host.stores.keyvalue.put(owner, SPACE, _KEY, keep.encode())
            words = keep
        self._host.spawn(f"retention of the archive of {owner}", self._prune(owner, keep))
        return f"Messages of {owner} are kept: {words}."

    async def _show(self, owner: str) -> Table:
        stores = self._host.stores
        own = await stores.keyvalue.get(owner, SPACE, _KEY)
        ends = await stores.log.bounds(owner)
        page = await stores.log.page(owner, ArchiveQuery(limit=0, count=True))
        return Table(
            ("what", "value"),
            [
                ("account", owner),
                ("kept", own.decode() if own is not None else f"{self._keep}, as the host says"),
                ("messages", f"more than {COUNT_MOST}" if page.count is None else page.count),
                ("oldest", when(ends[0].at) if ends else "none"),
                ("newest", when(ends[1].at) if ends else "none"),
                ("waiting", await stores.log.count_waiting(owner)),
            ],
        )
