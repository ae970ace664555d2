"""The durable log while the power may go: units of several entries, sessions and deliveries."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any, Final

from jabberd.storage.api import Stores
from jabberd.storage.log_api import ArchiveQuery, Entry, Flag, Journaled, Log, Restored, Saved, Unit
from tests.invariants.power_subjects import OWNERS, Mark, filled

_EACH: Final = 12  # units per owner and part
_SENT: Final = int(Flag.VISIBLE | Flag.SENT)
_GOT: Final = int(Flag.VISIBLE | Flag.AWAITING)
_MOST: Final = 1000


class LogSubject:
    """`Log.commit`: each owner says messages to the next one, and its session remembers it.

    A mark `begun` has the owner, the number of the unit, the keys of its two entries, and the key
    of the entry that it says was delivered, or 0.
    """

    async def work(self, stores: Stores, part: int, mark: Mark) -> None:
        """See `Subject.work`."""
        await stores.log.recover()
        await asyncio.gather(
            *(self._one(stores.log, place, part, mark) for place in range(len(OWNERS)))
        )

    async def _one(self, log: Log, place: int, part: int, mark: Mark) -> None:
        owner, peer = OWNERS[place], OWNERS[(place + 1) % len(OWNERS)]
        before: list[int] = []
        for number in range(part * _EACH, (part + 1) * _EACH):
            at = 1e9 + number * (-1) ** number  # a clock that steps back and forth
            sent, got = log.next_key(at), log.next_key(at)
            delivered = before[-2] if number % 3 == 2 and len(before) > 1 else 0
            unit = Unit(
                entries=[
                    Entry(sent, owner, peer, "", at, _SENT, f"u{number}", 0, filled(owner, number)),
                    Entry(got, peer, owner, "", at, _GOT, "", 0, filled(owner, number)),
                ],
                handled={place + 1: number + 1},
                journal=[Journaled(place + 1, number, 1, filled("journal", number))],
                forget={place + 1: number},
            )
            if number == 0:
                unit.sessions[place + 1] = Saved(place + 1, owner, b"session")
            if delivered:
                unit.delivered.append(delivered)
            mark("begun", owner, number, sent, got, delivered)
            done = log.commit(unit)
            if done is not None:
                await done
            mark("returned", owner, number)
            before.append(got)

    async def judge(self, stores: Stores, marks: Sequence[list[Any]]) -> list[str]:
        """See `Subject.judge`."""
        log = stores.log
        restored = {one.saved.number: one for one in await log.recover()}
        entries = {owner: await _all(log, owner) for owner in OWNERS}
        waiting = {entry.key for owner in OWNERS for entry in await log.waiting(owner, limit=_MOST)}
        wrong: list[str] = []
        for place, owner in enumerate(OWNERS):
            mine = [mark for mark in marks if mark[1] == owner]
            peer = OWNERS[(place + 1) % len(OWNERS)]
            found = _judge(owner, entries[owner], entries[peer], waiting, mine)
            wrong += [f"{owner}: {text}" for text in found]
            wrong += _judge_session(owner, entries[owner], restored.get(place + 1), mine)
        known = {key for mark in marks if mark[0] == "begun" for key in mark[3:5]}
        there = {key for some in entries.values() for key in some}
        if strangers := there - known:
            wrong.append(f"keys {strangers} were not begun")
        if there and log.next_key(0.0) <= max(there):
            wrong.append("a key is given out again")
        return wrong


async def _all(log: Log, owner: str) -> dict[int, Entry]:
    page = await log.page(owner, ArchiveQuery(limit=_MOST))
    return {entry.key: entry for entry in page.entries}


def _judge(
    owner: str,
    entries: dict[int, Entry],
    peers: dict[int, Entry],
    waiting: set[int],
    marks: list[list[Any]],
) -> Iterator[str]:
    returned = {mark[2] for mark in marks if mark[0] == "returned"}
    delivered = set()
    given = {}
    for what, _, number, *keys in marks:
        if what != "begun":
            continue
        sent, got, was_delivered = keys
        halves = [side[key] for side, key in ((entries, sent), (peers, got)) if key in side]
        if len(halves) == 1:
            yield f"unit {number} is half there"
        if number in returned and not halves:
            yield f"unit {number} had returned, and is not there"
        if any(half.stanza != filled(owner, number) for half in halves):
            yield f"unit {number} is damaged"
        if halves:
            given[got] = number
            delivered.add(was_delivered)
    for key, number in given.items():
        if (key in waiting) is (key in delivered):
            said = "delivered, and waits" if key in waiting else "not delivered, and does not wait"
            yield f"what unit {number} gave was {said}"


def _judge_session(
    owner: str, entries: dict[int, Entry], session: Restored | None, marks: list[list[Any]]
) -> Iterator[str]:
    """The session knows of exactly the units that are there."""
    committed = [mark[2] for mark in marks if mark[0] == "begun" and mark[3] in entries]
    if session is None:
        if committed:
            yield f"{owner}: the session is not there"
        return
    if session.handled != len(committed):
        yield f"{owner}: h is {session.handled} after {len(committed)} units"
    journal = [(one.first, one.items) for one in session.journal]
    last = max(committed, default=-1)
    if (last, filled("journal", last)) not in journal:
        yield f"{owner}: the journal has {[first for first, _ in journal]}, without {last}"
