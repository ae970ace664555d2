"""What has to be read before anybody can be notified: one after the other, beside the streams.

Thousands of sessions may end in the same moment, and thousands of messages begin to wait. Their
accounts are looked at in turn, so that the works of other modules are not crowded out.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from typing import Final

import structlog

from jabberd.core.module import Host
from jabberd.storage.api import StorageError

_log: Final = structlog.get_logger("jabberd.push")
_MOST: Final = 10_000


class Backlog:
    """Works that wait for the database.

    Args:
        host: runs them.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._works: dict[Hashable, Callable[[], Awaitable[None]]] = {}
        self._at_work = False

    def add(self, name: Hashable, work: Callable[[], Awaitable[None]]) -> None:
        """Do this when its turn comes; nothing changes where one of this name waits already."""
        if name in self._works:
            return
        if len(self._works) >= _MOST:
            _log.warning("too much waits: somebody is not notified", waiting=len(self._works))
            return
        self._works[name] = work
        if not self._at_work:
            self._at_work = True
            self._host.spawn("push: looking who it is for", self._run())

    async def _run(self) -> None:
        try:
            while self._works:
                work = self._works.pop(next(iter(self._works)))
                try:
                    await work()
                except StorageError as error:
                    _log.error("storage failed", error=str(error))
        finally:
            self._at_work = False
