"""Many clients at once."""

from __future__ import annotations

import array
import asyncio
from collections.abc import Awaitable, Callable, Sequence

from bench.load.client import Client
from bench.load.target import Target


async def many(count: int, make: Callable[[int], Awaitable[None]], concurrency: int) -> None:
    """Run make(0) to make(count - 1), at most `concurrency` at a time."""
    numbers = iter(range(count))

    async def worker() -> None:
        for number in numbers:
            await make(number)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(concurrency, count)):
            group.create_task(worker())


async def login_all(
    target: Target, count: int, latencies: array.array[float] | None = None
) -> list[Client]:
    """Log in accounts 0 to count - 1.

    Args:
        target: the server.
        count: of accounts.
        latencies: of acknowledgements; where it is given, stream management is on.

    Raises:
        LoadError: one of them cannot.
    """
    clients = [Client(target, number) for number in range(count)]

    async def one(number: int) -> None:
        if latencies is None:
            await clients[number].login()
        else:
            await clients[number].login_managed(latencies=latencies)

    await many(count, one, target.concurrency)
    return clients


def percentile(values: Sequence[float], share: float) -> float | None:
    """Of sorted seconds, in milliseconds; None if there are none."""
    if not values:
        return None
    return round(values[min(len(values) - 1, int(len(values) * share))] * 1e3, 3)
