"""The long run: `python -m tests.invariants --minutes 30 --kills 50 --seed 1 --server jabberd`.

It is made of rounds, each with a seed and a data folder of its own, so that a round that finds
something can be run again alone: `--rounds 1` with its seed, minutes, kills and restarts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path

from tests.invariants import native, plan, report
from tests.invariants.run import Outcome, run
from tests.invariants.servers import SERVERS, available


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.invariants", description=__doc__)
    parser.add_argument("--server", choices=sorted(SERVERS), default="jabberd")
    parser.add_argument("--minutes", type=float, default=30.0, help="of load, in all rounds")
    parser.add_argument("--kills", type=int, default=50, help="in all rounds")
    parser.add_argument("--restarts", type=int, default=10, help="in all rounds")
    parser.add_argument(
        "--jumps", type=int, default=10, help="of the server's clock, in all rounds"
    )
    parser.add_argument("--rounds", type=int, default=0, help="one for each 5 minutes unless given")
    parser.add_argument("--users", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1, help="of the first round")
    parser.add_argument("--json", type=Path, help="a file for everything")
    return parser.parse_args()


def _share(whole: int, rounds: int, number: int) -> int:
    return whole * (number + 1) // rounds - whole * number // rounds


def _round(arguments: argparse.Namespace, rounds: int, number: int) -> Outcome:
    drawn = plan.draw(
        arguments.seed + number,
        seconds=arguments.minutes * 60 / rounds,
        users=arguments.users,
        kills=_share(arguments.kills, rounds, number),
        restarts=_share(arguments.restarts, rounds, number),
        jumps=_share(arguments.jumps, rounds, number),
    )
    with tempfile.TemporaryDirectory(prefix="invariants-") as name:
        folder = Path(name)
        clock = native.Clock(folder) if arguments.jumps else None
        data = folder / "server"
        data.mkdir()
        server = SERVERS[arguments.server](data, clock.environment if clock else None)
        server.prepare(drawn.accounts)
        try:
            return asyncio.run(run(drawn, server, clock))
        finally:
            if clock:
                clock.close()


def main() -> int:
    """Run it; 1 where something was violated."""
    arguments = _arguments()
    if reason := available(arguments.server):
        print(reason, file=sys.stderr)
        return 2
    rounds = arguments.rounds or max(1, round(arguments.minutes / 5))
    outcomes = []
    for number in range(rounds):
        outcomes.append(_round(arguments, rounds, number))
        print(report.as_text(outcomes[-1]), flush=True)
    counts = report.total(outcomes)
    violations = sum(len(texts) for one in outcomes for texts in one.violations.values())
    print(f"\n{rounds} rounds, {violations} violations; in all:")
    print("\n".join(f"  {count:7d}  {name}" for name, count in sorted(counts.items())))
    if arguments.json:
        written = {
            "server": arguments.server,
            "violations": violations,
            "counts": dict(sorted(counts.items())),
            "rounds": [report.as_json(outcome) for outcome in outcomes],
        }
        arguments.json.write_text(json.dumps(written, indent=1) + "\n")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
