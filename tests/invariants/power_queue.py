"""The queue while the power may go."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any, Final

from jabberd.storage.api import Queued, Stores
from tests.invariants.power_subjects import OWNERS, Mark, filled


class QueueSubject:
    """`Queue.append` by several at once, `read` and `discard`."""

    _EACH: Final = 12  # entries per owner and part

    async def work(self, stores: Stores, part: int, mark: Mark) -> None:
        """See `Subject.work`."""
        await asyncio.gather(*(self._one(stores, owner, part, mark) for owner in OWNERS))

    async def _one(self, stores: Stores, owner: str, part: int, mark: Mark) -> None:
        for number in range(part * self._EACH, (part + 1) * self._EACH):
            mark("begun", owner, number)
            assert await stores.queue.append(owner, filled(owner, number), float(number))
            mark("returned", owner, number)
        waiting = await stores.queue.read(owner, limit=1000)
        for entry in waiting:
            mark("id", owner, int(entry.at), entry.id)
        seen = waiting[len(waiting) // 2]
        mark("discarding", owner, int(seen.at))
        await stores.queue.discard(owner, seen.id)
        mark("discarded", owner, int(seen.at))

    async def judge(self, stores: Stores, marks: Sequence[list[Any]]) -> list[str]:
        """See `Subject.judge`."""
        wrong: list[str] = []
        for owner in OWNERS:
            mine = [mark for mark in marks if mark[1] == owner]
            entries = await stores.queue.read(owner, limit=10_000)
            wrong += [f"{owner}: {text}" for text in _judge_queue(owner, entries, mine)]
            wrong += await self._new_id(stores, owner, mine)
        return wrong

    async def _new_id(self, stores: Stores, owner: str, marks: list[list[Any]]) -> list[str]:
        """An id that was handed out is not given to another entry."""
        await stores.queue.append(owner, b"<new/>", 1e6)
        newest = (await stores.queue.read(owner, limit=10_000))[-1]
        given = [mark[3] for mark in marks if mark[0] == "id"]
        if newest.stanza == b"<new/>" and newest.id > max(given, default=0):
            return []
        return [f"{owner}: a new entry has the id {newest.id} after {max(given, default=0)}"]


def _judge_queue(owner: str, entries: Sequence[Queued], marks: list[list[Any]]) -> Iterator[str]:
    def numbers(what: str) -> list[int]:
        return [mark[2] for mark in marks if mark[0] == what]

    found = [int(entry.at) for entry in entries]
    gone = max(numbers("discarded"), default=-1)
    may_be_gone = max(numbers("discarding"), default=-1)
    for number in numbers("returned"):
        if number > may_be_gone and number not in found:
            yield f"{number} had returned, and is not there"
    if strangers := set(found) - set(numbers("begun")):
        yield f"{strangers} were not begun"
    if back := [number for number in found if number <= gone]:
        yield f"{back} were discarded, and are there"
    if found != sorted(set(found)):
        yield f"not in order, or not once: {found}"
    ids = {mark[2]: mark[3] for mark in marks if mark[0] == "id"}
    for entry in entries:
        number = int(entry.at)
        if entry.stanza != filled(owner, number):
            yield f"{number} is damaged"
        if ids.get(number, entry.id) != entry.id:
            yield f"{number} had the id {ids[number]}, and has {entry.id}"
