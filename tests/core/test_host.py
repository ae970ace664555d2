"""What a host does later, or beside the streams, and no more once it is closed."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from jabberd.core import host
from tests.modules.host import World


@pytest.mark.asyncio
async def test_later() -> None:
    world, came = World(), asyncio.Event()
    world.host.later(0.0, came.set)
    await asyncio.wait_for(came.wait(), 5)
    late = asyncio.Event()
    world.host.later(0.0, late.set)
    await world.host.close()
    world.host.later(0.0, late.set)
    for _ in range(10):
        await asyncio.sleep(0)
    assert not late.is_set()
    await world.stores.close()


@pytest.mark.asyncio
async def test_works_that_are_pushed_out_end_as_others_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "_WORKS", 2)
    world, go_on = World(), asyncio.Event()
    ended: list[tuple[int, bool]] = []

    async def work(number: int) -> None:
        done = False
        try:
            await go_on.wait()
            done = True
        finally:
            ended.append((number, done))

    with capture_logs() as logs:
        for number in range(5):  # none of them begins before the last was spawned
            world.host.spawn(f"work {number}", work(number))
            assert len(world.host._works) <= 2
    assert [log["work"] for log in logs] == ["work 0", "work 1", "work 2"]
    for _ in range(3):
        await asyncio.sleep(0)
    assert ended == [(0, False), (1, False), (2, False)]
    left = {task.get_name() for task in asyncio.all_tasks() - {asyncio.current_task()}}
    assert left == {"work 3", "work 4"}
    go_on.set()
    await world.quiet()
    assert ended[3:] == [(3, True), (4, True)]
    await world.stores.close()
