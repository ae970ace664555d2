"""Work for one user after the other's, and for all users side by side."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.stanza import Stanza, error_reply

_log: Final = structlog.get_logger("jabberd.gateway")
_MOST_OF_ONE: Final = 200
_MOST: Final = 20_000
_NEVER_ANSWERED: Final = frozenset({"error", "result", "unavailable"})

Work = Callable[[], Awaitable[None]]


class Queues:
    """One queue for each user that has something to do.

    Args:
        answer: sends an error to whoever caused it.
    """

    def __init__(self, answer: Callable[[Stanza], None]) -> None:
        self._answer = answer
        self._queues: dict[str, deque[tuple[Stanza, Work]]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._count = 0

    def put(self, whose: str, stanza: Stanza, work: Work) -> None:
        """Do something for a user when what came before is done.

        Args:
            whose: bare JID.
            stanza: that asks for it; what goes wrong is answered to its sender.
            work: what to do.

        Raises:
            StanzaError: resource-constraint, where too much waits already.
        """
        queue = self._queues.setdefault(whose, deque())
        if len(queue) >= _MOST_OF_ONE or self._count >= _MOST:
            raise StanzaError(Condition.RESOURCE_CONSTRAINT, "one thing after the other, please")
        queue.append((stanza, work))
        self._count += 1
        if whose not in self._tasks:
            self._tasks[whose] = asyncio.create_task(self._run(whose, queue))

    async def close(self) -> None:
        """Drop what waits, and stop what is under way."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, whose: str, queue: deque[tuple[Stanza, Work]]) -> None:
        try:
            while queue:
                stanza, work = queue.popleft()
                self._count -= 1
                await self._do(stanza, work)
        finally:
            self._count -= len(queue)
            del self._queues[whose]
            del self._tasks[whose]

    async def _do(self, stanza: Stanza, work: Work) -> None:
        try:
            await work()
            return
        except StanzaError as error:
            answer = error
        except Exception as error:
            _log.error("a stanza failed", stanza=repr(stanza)[:300], exc_info=error)
            answer = StanzaError(Condition.INTERNAL_SERVER_ERROR)
        # RFC 6120 §8.3.1: errors are never answered, nor are answers.
        if stanza.type not in _NEVER_ANSWERED:
            self._answer(error_reply(stanza, answer))
