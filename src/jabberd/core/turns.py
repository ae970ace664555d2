"""Commit, then deliver, then acknowledge: what one turn of the event loop decided goes together.

Whoever handles a stanza writes what has to be durable into the open turn's unit, and hands the
stanza to sessions at once; a session keeps back what belongs to a turn that is not committed
(`core.session`). At the end of the loop's turn the unit is committed, in a thread, with one
fsync. Then the sessions write what they kept back, in the order in which it came. While a commit
is under way the next turn gathers: a slow disk makes larger turns, not more of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import structlog

from jabberd.core.turn import Gate, Turn
from jabberd.storage.api import StorageError
from jabberd.storage.log_api import Log, Unit

_log: Final = structlog.get_logger("jabberd.turns")
_TIDY_SECONDS: Final = 0.25
_CLOSE_SECONDS: Final = 30.0
_MOST_ENTRIES: Final = 4_000
_MOST_BYTES: Final = 16 << 20


class Turns:
    """The turns of one server. At most one is being committed, and one gathers.

    Args:
        log: where they are committed.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._open: Turn | None = None
        self._committing: Turn | None = None
        self._ripe = False  # the open turn's loop turn is over: it goes when the commit is done
        self._checkpoint = 0  # everything up to this key was given to its recipients
        self._stored_checkpoint = 0
        self._dirty: dict[Gate, None] = {}
        self._carried = Unit()  # what a commit that failed has left to the next one
        self._timer: asyncio.TimerHandle | None = None

    def open(self) -> Turn:
        """The turn that gathers now; it ends with the loop's own turn."""
        turn = self._open
        if turn is None:
            turn = self._open = Turn()
            self._ripe = False
            asyncio.get_running_loop().call_soon(self._ripen, turn)
        return turn

    def latest(self) -> Turn | None:
        """The newest turn that is not committed yet; None where all are."""
        return self._open or self._committing

    @property
    def crowded(self) -> bool:
        """Whether the open turn has so much in it that nobody should add to it now."""
        turn = self._open
        return turn is not None and (
            len(turn.unit.entries) >= _MOST_ENTRIES
            or len(turn.unit.relays) >= _MOST_ENTRIES
            or turn.bytes >= _MOST_BYTES
        )

    async def settled(self) -> None:
        """Wait until everything decided so far is committed, or has failed."""
        turn = self._open or self._committing
        if turn is not None:
            over = asyncio.get_running_loop().create_future()
            turn.waiters.append(over)
            await over

    def later(self, gate: Gate) -> None:
        """The session has something to remember that nobody has to wait for."""
        self._dirty[gate] = None
        self._tidy_soon()

    def forget(self, gate: Gate) -> None:
        """The session is over."""
        self._dirty.pop(gate, None)

    async def close(self) -> None:
        """Commit everything, and that it was delivered; what takes too long is given up."""
        self._still()
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self.settled()
                self.tidy()
                await self.settled()
        except TimeoutError:
            _log.error("the last commit is not done")
        self._still()

    def _still(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ripen(self, turn: Turn) -> None:
        if turn is not self._open:
            return
        self._ripe = True
        if self._committing is None:
            self._seal(turn)

    def _seal(self, turn: Turn) -> None:
        # First: what a session says while it journals belongs to the next turn.
        self._open = None
        self._committing = turn
        unit = turn.unit
        for gate in list(turn.gates):
            _guarded(gate.journal, unit)
        self._carry_on(unit)
        if self._checkpoint > self._stored_checkpoint:
            unit.checkpoint = self._checkpoint
        if not unit:
            self._end(turn, None)
            return
        try:
            done = self._log.commit(unit)
        except Exception as error:
            self._end(turn, _as_storage(error))
            return
        if done is None:
            self._end(turn, None)
        else:
            done.add_done_callback(self._committed)

    def _carry_on(self, unit: Unit) -> None:
        """Add what a commit that failed was to say of older entries, sessions and relays."""
        carried, self._carried = self._carried, Unit()
        unit.awaiting = carried.awaiting + unit.awaiting
        unit.delivered = carried.delivered + unit.delivered
        unit.ended = carried.ended + unit.ended
        unit.relayed = carried.relayed + unit.relayed

    def _committed(self, done: asyncio.Future[None]) -> None:
        turn = self._committing
        if turn is None:
            return
        if done.cancelled():
            self._end(turn, StorageError("the commit was cancelled"))
            return
        error = done.exception()
        self._end(turn, None if error is None else _as_storage(error))

    def _end(self, turn: Turn, error: StorageError | None) -> None:
        """Deliver what waited for the turn, or tell the senders that it cannot be."""
        self._committing = None
        turn.pending = False
        turn.failed = error
        unit = turn.unit
        if error is not None:
            _log.error("storage failed", error=str(error), messages=len(turn.refused))
            for refuse, message, origin in turn.refused:
                _guarded(refuse, message, origin, error)
            self._carry(unit)
        elif unit.checkpoint:
            self._stored_checkpoint = unit.checkpoint
        for gate in list(turn.gates):
            _guarded(gate.committed, turn)
        if error is None:
            for tell in turn.after:
                _guarded(tell)
            if unit.entries:
                self._checkpoint = max(self._checkpoint, unit.entries[-1].key)
                self._tidy_soon()
        for waiter in turn.waiters:
            if not waiter.done():
                waiter.set_result(None)
        following = self._open
        if following is not None and self._ripe and self._committing is None:
            self._seal(following)

    def _carry(self, unit: Unit) -> None:
        """Remember what is true all the same, for the next commit: that is not at once."""
        never = {entry.key for entry in unit.entries}
        carried = self._carried
        carried.awaiting += [key for key in unit.awaiting if key not in never]
        carried.delivered += [key for key in unit.delivered if key not in never]
        carried.ended += unit.ended
        unsent = {relay.key for relay in unit.relays}
        carried.relayed += [key for key in unit.relayed if key not in unsent]
        self._tidy_soon()

    def _tidy_soon(self) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_TIDY_SECONDS, self.tidy)

    def tidy(self) -> None:
        """Write what nobody waits for: that turns were delivered, and what sessions remember."""
        self._timer = None
        if not self._dirty and not self._carried and self._checkpoint <= self._stored_checkpoint:
            return
        turn = self.open()
        turn.gates.update(self._dirty)
        self._dirty.clear()


def _guarded(call: Callable[..., None], *what: Any) -> None:
    """Call somebody whose mistake must not stop everybody else."""
    try:
        call(*what)
    except Exception as error:
        _log.error("what follows a commit failed", exc_info=error)


def _as_storage(error: BaseException) -> StorageError:
    if isinstance(error, StorageError):
        return error
    _log.error("a commit failed", exc_info=error)
    return StorageError("the commit failed")
