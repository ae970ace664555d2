"""Units that wait for the writer together become one, where that says the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from jabberd.storage.log_api import Journaled, Unit


def merge(units: Sequence[Unit]) -> list[Unit]:
    """The same as few units as possible; what would do something else together stays apart."""
    if len(units) == 1:
        return list(units)
    merged: list[Unit] = []
    for unit in units:
        if not merged or _disagree(merged[-1], unit):
            merged.append(Unit())
        into = merged[-1]
        into.entries += unit.entries
        into.docs += unit.docs
        into.awaiting += unit.awaiting
        into.delivered += unit.delivered
        into.sessions.update(unit.sessions)
        into.handled.update(unit.handled)
        if unit.forget:
            into.journal = [row for row in into.journal if not _forgotten(row, unit.forget)]
            for number, place in unit.forget.items():
                into.forget[number] = max(place, into.forget.get(number, place))
        into.journal += unit.journal
        into.ended += unit.ended
        into.checkpoint = max(into.checkpoint, unit.checkpoint)
    return merged


def _forgotten(row: Journaled, forget: Mapping[int, int]) -> bool:
    """Whether a row that would be forgotten at once need not be written."""
    return row.number in forget and row.first + row.stanzas <= forget[row.number]


def _disagree(one: Unit, next_one: Unit) -> bool:
    """Whether the order matters: flags that are set again, sessions that are over."""
    if one.delivered and not set(one.delivered).isdisjoint(next_one.awaiting):
        return True
    touched: Iterable[int] = chain(
        next_one.sessions, next_one.handled, (row.number for row in next_one.journal)
    )
    return bool(one.ended) and not set(one.ended).isdisjoint(touched)
