"""What is written while the power may go: one class for each kind of store.

A subject works on stores in a process of its own and marks what it begins and what has returned.
When the power is back, it judges new stores over what the disk has, by the marks made before.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final, Protocol

from jabberd.storage.api import Stores

Mark = Callable[..., None]
"""Note progress: any values that JSON knows."""
OWNERS: Final = tuple(f"user{number}@localhost" for number in range(4))


class Subject(Protocol):
    """What is written, and what must be there after a cut."""

    async def work(self, stores: Stores, part: int, mark: Mark) -> None:
        """Write. It is called for each part with stores that are new over the same folder."""

    async def judge(self, stores: Stores, marks: Sequence[list[Any]]) -> list[str]:
        """What is wrong after a cut, in words."""


def filled(name: str, number: int) -> bytes:
    """A value that tells which it is, of any length, and by which the damaged is known."""
    random = Random(f"{name} {number}")
    filling = "".join(random.choices("abcdefgh", k=random.choice((0, 30, 600, 5000))))
    return f"<message id='{number}'>{name} {number} {filling}</message>".encode()


class KeyValueSubject:
    """`KeyValue.put`, one value after the other under one key."""

    _EACH: Final = 25

    async def work(self, stores: Stores, part: int, mark: Mark) -> None:
        """See `Subject.work`."""
        await asyncio.gather(*(self._one(stores, owner, part, mark) for owner in OWNERS))

    async def _one(self, stores: Stores, owner: str, part: int, mark: Mark) -> None:
        for number in range(part * self._EACH, (part + 1) * self._EACH):
            mark("begun", owner, number)
            await stores.keyvalue.put(owner, "space", "key", filled(owner, number))
            mark("returned", owner, number)

    async def judge(self, stores: Stores, marks: Sequence[list[Any]]) -> list[str]:
        """See `Subject.judge`."""
        wrong = []
        for owner in OWNERS:
            begun = [mark[2] for mark in marks if mark[:2] == ["begun", owner]]
            returned = max(
                (mark[2] for mark in marks if mark[:2] == ["returned", owner]), default=-1
            )
            value = await stores.keyvalue.get(owner, "space", "key")
            # What was begun and has not returned may be there or not.
            allowed = {filled(owner, number) for number in begun if number >= returned}
            if value not in allowed and not (value is None and returned < 0):
                wrong.append(
                    f"{owner}: after {returned} returned, there is {(value or b'')[:60]!r}"
                )
        return wrong


PARTS: Final = 3
"""How often the stores are closed and opened again while a subject works."""


def read_marks(lines: Sequence[str]) -> list[list[Any]]:
    """Marks as they were made."""
    return [json.loads(line) for line in lines]
