"""The invariants of delivery, in short; `python -m tests.invariants` is the same for longer.

A round that fails shows what happened to the messages in question; it can be run again by itself,
with its seed as the test's parameter.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.invariants import checks, native, report
from tests.invariants.client import Client
from tests.invariants.dialogue import World
from tests.invariants.history import ClientHistory, History
from tests.invariants.link import Fault, Link
from tests.invariants.plan import Plan, What, draw
from tests.invariants.run import Outcome, fetch, lacks, run
from tests.invariants.servers import Jabberd, Prosody, Server, available


def carry_out(plan: Plan, server: Server, clock: native.Clock | None = None) -> Outcome:
    """Run a plan on a new server."""
    server.prepare(plan.accounts)
    return asyncio.run(run(plan, server, clock))


def needs_jabberd(folder: Path) -> None:
    """Make sure that jabberd has what is tested here."""
    server = Jabberd(folder)
    server.prepare(["asker"])
    server.start()
    try:
        missing = asyncio.run(lacks(server.port, "asker"))
    finally:
        server.stop()
    assert not missing, f"jabberd does not offer {', '.join(missing)}"


def needs_prosody() -> None:
    """Skip where there is no Prosody."""
    if reason := available("prosody"):
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture(scope="module")
def jabberd_offers_all(tmp_path_factory: pytest.TempPathFactory) -> None:
    needs_jabberd(tmp_path_factory.mktemp("probe"))


ROUNDS: list[tuple[int, dict[str, Any]]] = [
    (1, {"seconds": 10.0, "kills": 2, "restarts": 1}),
    (2, {"seconds": 10.0, "kills": 2, "restarts": 1, "jumps": 2}),
    (3, {"seconds": 6.0, "loyal": True}),
]


@pytest.mark.parametrize(("seed", "options"), ROUNDS, ids=[str(seed) for seed, _ in ROUNDS])
def test_jabberd(
    seed: int, options: dict[str, Any], jabberd_offers_all: None, tmp_path: Path
) -> None:
    if options.get("jumps") and native.missing():
        pytest.skip(native.missing())
    data = tmp_path / "server"
    data.mkdir()
    if options.get("jumps"):
        with closing(native.Clock(tmp_path)) as clock:
            outcome = carry_out(draw(seed, **options), Jabberd(data, clock.environment), clock)
    else:
        outcome = carry_out(draw(seed, **options), Jabberd(data))
    assert not outcome.violations, report.as_text(outcome)
    happened(outcome, options)


def happened(outcome: Outcome, options: dict[str, Any]) -> None:
    """The run was worth its name."""
    counts = outcome.counts
    assert counts["kills"] == options.get("kills", 0)
    assert counts["restarts"] == options.get("restarts", 0)
    assert counts["messages acknowledged"] > 50
    assert counts["messages delivered"] == counts["messages acknowledged"]
    assert counts["archive entries"] == 2 * counts["messages acknowledged"]
    assert counts["resumptions, same server"] > 3
    assert counts["received: sent"] > 5
    assert sum(counts[f"fault: {fault.value}"] > 0 for fault in Fault) > 2


def test_the_rounds_are_enough() -> None:
    """At least three kills and two restarts, and every kind of thing that happens to clients."""
    plans = [draw(seed, **options) for seed, options in ROUNDS]
    found = Counter(act.what for plan in plans for act in plan.acts)
    assert found[What.KILL] + found[What.KILL_AT_ACK] >= 3
    assert found[What.RESTART] >= 2
    outages = {What.FILL, What.FREE, What.LOCK, What.UNLOCK}
    assert set(found) == set(What) - outages


# The suite itself, on a server of others


def test_prosody_with_nothing_wrong(tmp_path: Path) -> None:
    """Where no connection and no server ends, Prosody violates nothing: no rule cries wolf."""
    needs_prosody()
    outcome = carry_out(draw(1, seconds=4.0, calm=True), Prosody(tmp_path))
    assert not outcome.violations, report.as_text(outcome)
    assert outcome.counts["messages delivered"] > 50
    assert outcome.counts["received: sent"] > 5
    assert outcome.counts["archive entries"] == 2 * outcome.counts["messages acknowledged"]
    assert report.as_json(outcome)["violations"] == {}


async def kill_while_away(server: Server) -> History:
    """Bob, who has no archive, loses his connection; Alice says something; the server is killed."""
    world = World(time.monotonic, life=1)
    link = Link(lambda: ("127.0.0.1", server.port), Random(1), world.counts)
    link.heal()
    address = await link.start()
    history = History([ClientHistory(name, "desk", archive=False) for name in ("alice", "bob")])
    alice, bob = (Client(one, address, world, Random(1)) for one in history.clients)
    lives = [asyncio.create_task(client.live()) for client in (alice, bob)]
    for client in (alice, bob):
        client.come()
    await until(lambda: not (alice.unsettled or bob.unsettled))
    bob.drop()
    await until(lambda: bob.gone)
    for _ in range(3):
        alice.say("bob")
    await until(lambda: alice.waiting == 0)
    await asyncio.to_thread(server.kill)
    history.killed.add(1)
    world.life = 2
    await asyncio.to_thread(server.start)
    bob.come()
    await until(lambda: not (alice.unsettled or bob.unsettled))
    for client in (alice, bob):
        await client.leave()
        client.end()
    await asyncio.gather(*lives)
    await link.close()
    for account in ("alice", "bob"):
        history.archives[account] = await fetch(server.port, account)
    return history


async def until(done: Callable[[], bool]) -> None:
    """Wait for something to become true."""
    async with asyncio.timeout(30):
        while not done():  # noqa: ASYNC110 -- any condition
            await asyncio.sleep(0.02)


def judged(server: Server) -> tuple[History, dict[str, list[str]]]:
    """What happened when it was killed like this, and what is wrong with it."""
    server.prepare(["alice", "bob"])
    server.start()
    try:
        history = asyncio.run(kill_while_away(server))
    finally:
        server.stop()
    return history, checks.check(history)


def test_jabberd_killed_while_somebody_is_away(jabberd_offers_all: None, tmp_path: Path) -> None:
    assert judged(Jabberd(tmp_path))[1] == {}


def test_prosody_killed_while_somebody_is_away(tmp_path: Path) -> None:
    """Prosody holds in memory what a session has to be given: killed, it loses it; that is seen."""
    needs_prosody()
    history, found = judged(Prosody(tmp_path))
    lost = [f"bob/desk never saw alice/desk>bob:{number}" for number in (1, 2, 3)]
    assert found == {"seen once": lost}
    assert "acknowledged" in "".join(report.story(history, lost[0]))
