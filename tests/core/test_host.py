"""What a host does later, and no more once it is closed."""

from __future__ import annotations

import asyncio

import pytest

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
