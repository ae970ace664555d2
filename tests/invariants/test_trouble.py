"""The disk is full and the database is locked while clients talk: what is refused is nowhere.

RFC 6120 §8.3.3.18: resource-constraint, for what the server cannot keep. A message for which an
error comes back is not promised, whatever is acknowledged; one without an error is.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.invariants import report
from tests.invariants.plan import What, draw
from tests.invariants.servers import Jabberd
from tests.invariants.test_short import carry_out, needs_jabberd


def test_full_disk_and_locked_database(tmp_path: Path) -> None:
    probe, data = tmp_path / "probe", tmp_path / "server"
    probe.mkdir()
    data.mkdir()
    needs_jabberd(probe)
    outages = ((What.FILL, What.FREE), (What.LOCK, What.UNLOCK))
    outcome = carry_out(draw(4, seconds=12.0, outages=outages), Jabberd(data))
    log = outcome.violations.pop("log is clean", [])
    assert not outcome.violations, report.as_text(outcome)
    # It says so itself, and nothing else.
    assert all(json.loads(line)["event"].startswith("storage failed") for line in log), log
    assert outcome.counts["messages refused: resource-constraint"] > 0
    assert outcome.counts["messages delivered"] > 50
