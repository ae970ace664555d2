"""How many messages wait for an account is counted, whatever is counted beside it."""

from __future__ import annotations

import asyncio

import pytest

from jabberd.core.keeper import Keeper, Ledger
from jabberd.storage.log_api import Flag, Log
from jabberd.storage.memory_log import MemoryLog
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Message

_ROMEO, _JULIET = JID.parse("romeo@localhost"), JID.parse("juliet@localhost")
_WAITS = int(Flag.VISIBLE | Flag.AWAITING)


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
    keeper = log.keeper = _keeper(log)
    async with asyncio.timeout(5):
        romeo, juliet = await asyncio.gather(keeper.waiting(_ROMEO), keeper.waiting(_JULIET))
        assert (romeo, juliet) == (0, 0)
        # What was counted too early is counted once more, and then known.
        for _ in range(3):
            assert await keeper.waiting(_ROMEO) == await keeper.waiting(_JULIET) == 0
    assert sorted(log.counted) == [_JULIET.text] * 2 + [_ROMEO.text] * 2


@pytest.mark.asyncio
async def test_what_comes_in_two_ways_is_taken_off_the_count_once() -> None:
    keeper = _keeper(MemoryLog(lambda *_: None))
    _, parcel = keeper.receive(_message("1"), _ROMEO, _WAITS, None)
    keeper.store(_message("2"), _ROMEO, None, int(Flag.VISIBLE))
    parcel.holders += 1  # it is on the way to a session
    assert await keeper.waiting(_ROMEO) == 2
    keeper.collected(_ROMEO, [parcel.key])  # its client reads it in the archive meanwhile
    assert await keeper.waiting(_ROMEO) == 1
    parcel.arrive()
    assert await keeper.waiting(_ROMEO) == 1


def _keeper(log: Log) -> Keeper:
    ledger = Ledger(log, lambda: 1.0)
    return Keeper(JID.parse("localhost"), ledger, lambda: 1.0, _refuse, _waiting)


def _message(id: str) -> Message:  # noqa: A002 -- the attribute's name on the wire
    return Message(_ROMEO, _JULIET, id, "chat", inner=b"<body>hello</body>")


def _refuse(*_: object) -> None:
    raise AssertionError("nothing is refused")


def _waiting(*_: object) -> None:
    """Nobody is told."""
