"""Two servers of ours, killed under load: what was acknowledged arrives, once and in order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.federation.two import Machine, two
from tests.integration.managed import Client, body
from tests.integration.wire import CLIENT, StreamEnd

pytestmark = pytest.mark.asyncio
MESSAGES = 250


@pytest_asyncio.fixture(params=[True, False], ids=["external", "dialback"])
async def machines(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[tuple[Machine, Machine]]:
    pair = two(tmp_path, certificates=request.param)
    for machine, name in zip(pair, ("alice", "bob"), strict=True):
        machine.start().add(name)
    yield pair
    for machine in pair:
        for client in machine.clients:
            await client.cut()
        machine.stop()


async def say(machine: Machine, first: int, stop: asyncio.Event) -> tuple[int, int]:
    """Alice writes until she has said all or her server is gone.

    Returns:
        How many were acknowledged, and how many were written.
    """
    alice = await machine.login("alice")
    acknowledged = written = 0
    try:
        while first + written < MESSAGES and not stop.is_set():
            for _ in range(10):
                await alice.write("bob@example.net", f"{first + written}")
                written += 1
            acknowledged = await alice.count()
    except (StreamEnd, OSError):
        pass
    return acknowledged, written


async def received(bob: Client, count: int) -> list[str]:
    """So many messages, or as many as come."""
    found: list[str] = []
    while len(found) < count:
        stanza = await bob.stanza()
        if stanza.tag == f"{CLIENT}message":
            found.append(body(stanza))
            await bob.acknowledge()
    return found


@pytest.mark.parametrize("who", ["sender", "recipient"])
async def test_a_server_is_killed(machines: tuple[Machine, Machine], who: str) -> None:
    here, there = machines
    victim = here if who == "sender" else there
    never = asyncio.Event()
    acknowledged: list[str] = []
    written = 0
    while written < MESSAGES:
        saying = asyncio.create_task(say(here, written, never))
        await asyncio.sleep(random.uniform(0.3, 0.8))
        victim.kill()
        victim.start()
        ok, tried = await saying
        acknowledged += [str(number) for number in range(written, written + ok)]
        written += tried
    bob = await there.login("bob")
    await bob.send("<presence/>")
    # What was written and not acknowledged may have arrived or not: nobody was told.
    found: list[str] = []
    missing = set(acknowledged)
    async with asyncio.timeout(60):
        while missing:
            found += await received(bob, 1)
            missing.discard(found[-1])
    assert len(found) == len(set(found))
    assert found == sorted(found, key=int)


async def test_both_are_restarted_while_the_other_is_away(
    machines: tuple[Machine, Machine],
) -> None:
    here, there = machines
    there.kill()
    ok, _ = await say(here, MESSAGES - 20, asyncio.Event())
    assert ok == 20
    here.kill()
    here.start()
    here.restart()
    there.start()
    bob = await there.login("bob")
    await bob.send("<presence/>")
    found = await received(bob, 20)
    assert found == [str(number) for number in range(MESSAGES - 20, MESSAGES)]
    await bob.nothing("example.net")
