"""The invariants of delivery, in short; `python -m tests.invariants` is the same for longer.

A round that fails shows what happened to the messages in question; it can be run again by itself,
with its seed as the test's parameter.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.invariants import native, report
from tests.invariants.link import Fault
from tests.invariants.plan import Plan, What, draw
from tests.invariants.run import Outcome, lacks, run
from tests.invariants.servers import Jabberd, Prosody, Server, available


def carry_out(plan: Plan, server: Server, clock: native.Clock | None = None) -> Outcome:
    """Run a plan on a new server."""
    server.prepare(plan.accounts)
    return asyncio.run(run(plan, server, clock))


def needs_jabberd(folder: Path) -> None:
    """Skip where jabberd cannot be tested."""
    server = Jabberd(folder)
    server.prepare(["asker"])
    server.start()
    try:
        missing = asyncio.run(lacks(server.port, "asker"))
    finally:
        server.stop()
    if missing:
        pytest.skip(f"jabberd does not offer {', '.join(missing)}")


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
    (1, {"seconds": 7.0, "kills": 2, "restarts": 1}),
    (2, {"seconds": 7.0, "kills": 2, "restarts": 1, "jumps": 2}),
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


def test_prosody_killed(tmp_path: Path) -> None:
    """Prosody holds what it has acknowledged in memory, and takes a message that is sent again for
    a new one: whoever kills it sees messages lost or doubled, and so does the suite."""
    needs_prosody()
    plan = draw(1, seconds=3.0, users=4, kills=1)
    outcome = carry_out(plan, Prosody(tmp_path))
    assert outcome.counts["kills"] == 1
    assert {"archived once", "seen once"} & outcome.violations.keys()
    found = [
        text for rule in ("archived once", "seen once") for text in outcome.violations.get(rule, [])
    ]
    assert report.story(outcome.history, found[0])
    assert report.as_json(outcome)["violations"]
