"""Run a coroutine at once, and make a task of it only if it really has to wait.

Most stanzas end without waiting for anything, and waking a task costs more than routing one.

What runs before the first suspension has no current task: `asyncio.timeout` does not work
there. Use the deadlines of `Host.ask` and of the stores, or `Host.spawn`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, Generator
from types import coroutine
from typing import Any, TypeVar

T = TypeVar("T")


@coroutine
def _go_on(work: Coroutine[Any, Any, T], waiting_for: Any) -> Generator[Any, Any, T]:
    """Drive a coroutine that was started by hand and waits for its first future."""
    while True:
        thrown: BaseException | None = None
        value: Any = None
        try:
            value = yield waiting_for
        except BaseException as error:
            thrown = error  # cancellation included: it is for `work` to see
        try:
            waiting_for = work.send(value) if thrown is None else work.throw(thrown)
        except StopIteration as stop:
            result: T = stop.value
            return result


def start(work: Coroutine[Any, Any, T]) -> T | asyncio.Task[T]:
    """The result of `work`, where it needs nothing to be waited for; else a running task.

    Raises:
        BaseException: what `work` raised before it had to wait for anything.
    """
    try:
        waiting_for = work.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    return asyncio.get_running_loop().create_task(_go_on(work, waiting_for))


async def settle(result: T | Awaitable[T]) -> T:
    """Await what is awaitable, and return the rest as it is."""
    if isinstance(result, Awaitable):
        return await result
    return result


async def after(work: Awaitable[object], result: T) -> T:
    """Wait for something else, then return the result."""
    await work
    return result
