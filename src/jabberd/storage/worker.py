"""The threads that talk to a database, so that the event loop never waits for a disk.

One thread writes: it takes everything that was asked for since its last commit, does it in one
transaction and commits once (group commit: one fsync for all). Two threads read, each on a
connection of its own. Answers of one batch go back to the loop in one wake-up.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine

from jabberd.storage import engine as dialects
from jabberd.storage.api import StorageBusy, StorageError

_Argument = TypeVar("_Argument")
_Result = TypeVar("_Result")

_READERS = 2
# Calls that wait at once; the next ones wait, with a deadline, to be let in.
_WAITING = 4096
# Calls of `submit` that are not done; their caller has a bound of its own below this one.
_SUBMITTED = 1024
_WRITE_BATCH = 1024
_READ_BATCH = 16
_LOST_IN_COMMIT = "the database went away during a commit; it may or may not have been done"


@dataclass(slots=True)
class _Job:
    """One call, and how it ended.

    Attributes:
        work: called with a connection and `argument`.
        argument: what the call is about.
        due: when it is too late to begin, by the monotonic clock.
        future: of the caller; touched by the loop only.
        admitted: whether it was let in by `_room`, or else counted in `_submitted`.
        result: what `work` returned.
        error: what `work` raised.
    """

    work: Callable[[Connection, Any], Any]
    argument: Any
    due: float
    future: asyncio.Future[Any]
    admitted: bool = True
    result: Any = None
    error: Exception | None = None


_Inbox = SimpleQueue[_Job | None]


class Database:
    """Runs work in the threads of one database, for callers on one event loop.

    Args:
        engine: from `engine.make_engine`.
        patience: how long a call may wait in line, seconds; it may wait as long again for a
            lock that somebody else holds.
        ended: called in the writer's thread after each of its transactions, before anybody is
            answered, with whether it was committed.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        patience: float,
        ended: Callable[[bool], None] = lambda _committed: None,
    ) -> None:
        self._engine = engine
        self._submitted = 0
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Semaphore(_WAITING)
        self._closed = False
        self._reads: _Inbox = SimpleQueue()
        self._writes: _Inbox = SimpleQueue()
        self._ended: list[asyncio.Future[None]] = []
        self._start(_Writer(engine, ended).serve, self._writes, _WRITE_BATCH)
        for _ in range(_READERS):
            self._start(_Reader(engine, 4 * patience).serve, self._reads, _READ_BATCH)

    async def read(
        self, work: Callable[[Connection, _Argument], _Result], argument: _Argument
    ) -> _Result:
        """Run a work of one statement that changes nothing.

        Raises:
            StorageError: it failed, or the database is closed.
        """
        result: _Result = await self._ask(self._reads, work, argument)
        return result

    async def write(
        self, work: Callable[[Connection, _Argument], _Result], argument: _Argument
    ) -> _Result:
        """Run a work within a transaction; it is durable when this returns.

        The work may run more than once (what it did before is rolled back first), so it must
        do nothing but talk to the connection.

        Raises:
            StorageError: it failed and nothing of it was written, or the database is closed.
        """
        result: _Result = await self._ask(self._writes, work, argument)
        return result

    def submit(
        self, work: Callable[[Connection, _Argument], _Result], argument: _Argument
    ) -> asyncio.Future[_Result]:
        """Like `write`, for a caller that does not wait to be let in: it has no task.

        Returns:
            What the work returned, or a StorageError as of `write`.
        """
        future: asyncio.Future[_Result] = self._loop.create_future()
        if self._closed:
            future.set_exception(StorageError("the stores are closed"))
        elif self._submitted >= _SUBMITTED:
            future.set_exception(StorageBusy("too many calls wait for the database"))
        else:
            self._submitted += 1
            due = time.monotonic() + self._patience
            self._writes.put(_Job(work, argument, due, future, admitted=False))
        return future

    async def close(self) -> None:
        """Finish what was asked for, then end the threads and their connections.

        Raises:
            StorageError: they did not end in time.
        """
        if not self._closed:
            self._closed = True
            self._writes.put(None)
            for _ in range(_READERS):
                self._reads.put(None)
        _, late = await asyncio.wait(self._ended, timeout=30 + 4 * self._patience)
        if late:
            raise StorageError("the database did not finish in time")
        await asyncio.to_thread(self._engine.dispose)

    async def _ask(
        self,
        inbox: _Inbox,
        work: Callable[[Connection, Any], Any],
        argument: object,
    ) -> Any:
        if self._room.locked():
            await self._queue_up()
        else:
            await self._room.acquire()
        if self._closed:
            self._room.release()
            raise StorageError("the stores are closed")
        future: asyncio.Future[Any] = self._loop.create_future()
        inbox.put(_Job(work, argument, time.monotonic() + self._patience, future))
        return await future

    async def _queue_up(self) -> None:
        # Not `wait_for`, which wants a task: handlers may run without one (`core.eager`).
        turn = self._loop.create_task(self._room.acquire())
        done, _ = await asyncio.wait((turn,), timeout=self._patience)
        if not done and not turn.cancel():
            return  # its turn came at the last moment
        if not done:
            raise StorageBusy("too many calls wait for the database")

    def _start(self, serve: Callable[[list[_Job]], None], inbox: _Inbox, most: int) -> None:
        ended: asyncio.Future[None] = self._loop.create_future()
        self._ended.append(ended)
        threading.Thread(
            target=self._run, args=(serve, inbox, most, ended), name="jabberd-storage", daemon=True
        ).start()

    def _run(
        self,
        serve: Callable[[list[_Job]], None],
        inbox: _Inbox,
        most: int,
        ended: asyncio.Future[None],
    ) -> None:
        """The life of a thread; an empty list tells `serve` to let go of its connection."""
        going = True
        while going:
            jobs, going = _take(inbox, most)
            try:
                serve(jobs)
            except Exception as error:  # the thread must outlive any defect
                _fail(jobs, error)
            if not self._tell(self._answer, jobs):
                break
        serve([])
        self._tell(_end, ended)

    def _tell(self, call: Callable[[Any], None], argument: object) -> bool:
        """Have the loop call something; False where the loop has ended without us."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call, argument)
            return True
        return False

    def _answer(self, jobs: list[_Job]) -> None:
        for job in jobs:
            if job.admitted:
                self._room.release()
            else:
                self._submitted -= 1
            if job.future.done():
                continue
            if job.error is None:
                job.future.set_result(job.result)
            else:
                job.future.set_exception(job.error)


def _end(ended: asyncio.Future[None]) -> None:
    if not ended.done():
        ended.set_result(None)


def _take(inbox: _Inbox, most: int) -> tuple[list[_Job], bool]:
    """Wait for a call, and take what else waits; the second value is False at the end."""
    jobs: list[_Job] = []
    job = inbox.get()
    with contextlib.suppress(Empty):
        while job is not None:
            jobs.append(job)
            if len(jobs) >= most:
                return jobs, True
            job = inbox.get_nowait()
        return jobs, False
    return jobs, True


def _fail(jobs: list[_Job], error: Exception) -> None:
    """Give each call an error of its own: one object raised in several tasks mixes its traces."""
    if len(jobs) == 1:
        jobs[0].error = dialects.explain(error)
    else:
        for job in jobs:
            said = dialects.explain(error)
            known = isinstance(said, StorageError)
            job.error = type(said)(*said.args) if known else StorageError(repr(error))
    for job in jobs:
        if job.error is not None and job.error is not error:
            job.error.__cause__ = error


def _timely(jobs: list[_Job]) -> list[_Job]:
    """The calls that have not waited for too long; the others get their error."""
    now = time.monotonic()
    timely = [job for job in jobs if job.due >= now]
    if len(timely) < len(jobs):
        for job in jobs:
            if job.due < now:
                job.error = StorageBusy("the call waited too long for the database")
    return timely


class _Reader:
    """Runs calls one after the other, each seeing the last commit."""

    def __init__(self, engine: Engine, most: float) -> None:
        self._engine = engine
        self._most = most
        self._due = 0.0
        self._connection: Connection | None = None

    def serve(self, jobs: list[_Job]) -> None:
        """Run these calls; without any, let go of the connection."""
        if not jobs:
            self._drop()
        for job in _timely(jobs):
            try:
                job.result = self._read(job)
            except Exception as error:  # it is the caller's
                _fail([job], error)

    def _read(self, job: _Job) -> object:
        self._due = time.monotonic() + self._most
        try:
            return job.work(self._connected(), job.argument)
        except Exception as error:
            if not dialects.is_lost(error):
                raise
        self._drop()
        return job.work(self._connected(), job.argument)

    def _connected(self) -> Connection:
        if self._connection is None or self._connection.invalidated:
            self._drop()
            self._connection = dialects.for_reading(self._engine, lambda: self._due)
        return self._connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.close()


class _Writer:
    """Runs calls in one transaction for all of them; where that fails, in one for each."""

    def __init__(self, engine: Engine, ended: Callable[[bool], None]) -> None:
        self._engine = engine
        self._ended = ended
        self._connection: Connection | None = None

    def serve(self, jobs: list[_Job]) -> None:
        """Run these calls; without any, let go of the connection."""
        if not jobs:
            self._drop()
            return
        timely = _timely(jobs)
        if timely and not self._write(timely):
            for job in timely:
                for alone in _timely([job]):
                    self._write([alone])

    def _write(self, jobs: list[_Job], *, again: bool = True) -> bool:
        """Run and commit; False where each call should be tried alone."""
        try:
            connection = self._begin()
        except Exception as error:  # it is the callers'
            self._drop()
            _fail(jobs, error)
            return True
        try:
            for job in jobs:
                job.result = job.work(connection, job.argument)
        except Exception as error:  # it is the callers'
            self._ended(False)
            if dialects.is_lost(error):
                self._drop()
                if again:  # nothing was committed: a new connection may do it all over
                    return self._write(jobs, again=False)
            return self._undo(jobs, error)
        try:
            connection.commit()
        except Exception as error:  # it is the callers'
            self._ended(False)
            if not dialects.is_lost(error):
                return self._undo(jobs, error)
            self._drop()
            for job in jobs:
                job.error = StorageError(_LOST_IN_COMMIT)
        else:
            self._ended(True)
        return True

    def _begin(self) -> Connection:
        if self._connection is None:
            self._connection = self._engine.connect()
        self._connection.begin()
        return self._connection

    def _undo(self, jobs: list[_Job], error: Exception) -> bool:
        try:
            if self._connection is not None:
                self._connection.rollback()
        except Exception:  # closing the connection rolls back as well
            self._drop()
        if len(jobs) > 1:
            return False
        _fail(jobs, error)
        return True

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.close()
