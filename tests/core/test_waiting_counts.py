"""How many messages wait for an account is counted, whatever is counted beside it."""

from __future__ import annotations

import asyncio

import pytest

from jabberd.core.keeper import Keeper, Ledger
from jabberd.storage.memory_log import MemoryLog
from jabberd.xmpp.jid import JID

_ROMEO, _JULIET = JID.parse("romeo@localhost"), JID.parse("juliet@localhost")


class _SlowLog(MemoryLog):
    """A log in which counts overlap, and come too late the first time."""

    def __init__(self) -> None:
        super().__init__(lambda *_: None)
        self.counted: list[str] = []
        self.keeper: Keeper | None = None

    async def count_waiting(self, owner: str) -> int:
        first = owner not in self.counted
        self.counted.append(owner)
        number = await super().count_waiting(owner)
        await asyncio.sleep(0.01 if owner == _ROMEO.text else 0.015)
        if first and self.keeper is not None:
            self.keeper.collected(JID.parse(owner), [1])
        return number


@pytest.mark.asyncio
async def test_two_accounts_that_change_while_they_are_counted() -> None:
    log = _SlowLog()
    keeper = log.keeper = Keeper(
        JID.parse("localhost"), Ledger(log, lambda: 0.0), lambda: 0.0, _refuse, _waiting
    )
    async with asyncio.timeout(5):
        romeo, juliet = await asyncio.gather(keeper.waiting(_ROMEO), keeper.waiting(_JULIET))
    assert (romeo, juliet) == (0, 0)
    # Each once too early and once more, however long the other one takes.
    assert sorted(log.counted) == [_JULIET.text] * 2 + [_ROMEO.text] * 2


def _refuse(*_: object) -> None:
    raise AssertionError("nothing is refused")


def _waiting(*_: object) -> None:
    """Nobody is told."""
