"""Command line of the comparison."""

from __future__ import annotations

import argparse
import json
import resource
import shlex
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from bench.data import Sizes
from bench.facts import machine
from bench.figures import FIGURES, Data, Figure
from bench.figures.archive import ARCHIVE
from bench.figures.federation import FEDERATION
from bench.figures.routing import ROUTING
from bench.servers import SERVERS, Server, ServerError, Setting, federated
from bench.servers.base import free_ports, make_certificate
from bench.session import Plan, Runs, Session, calibrations, say
from bench.table import Cell, Row, failures, markdown

_GROUPS: Final = tuple(dict.fromkeys(figure.what for figure in FIGURES))
_QUICK: Final = Sizes(connections=100, talk=300, million=20_000)
_FIRST_PORT: Final = 15222
_STEADY: Final = 1.15
"""Calibrations may differ by this factor."""
_TABLES: Final = (
    ("Without an archive", ROUTING),
    ("With archive, carbons and stream management, over TLS", ARCHIVE),
    ("Between servers", FEDERATION),
)


def _list(allowed: tuple[str, ...], text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(text.split(",")))
    for name in names:
        if name not in allowed:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(allowed)}")
    return names


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench/compare.py",
        description="Compare what jabberd, ejabberd and Prosody cost. See bench/README.md.",
    )
    add = parser.add_argument
    servers = tuple(SERVERS)
    add("--quick", action="store_true", help="only try that everything works: no valid figures")
    add("--what", type=lambda text: _list(_GROUPS, text), default=_GROUPS, metavar="LIST",
        help=f"of {','.join(_GROUPS)} (default: all)")  # fmt: skip
    add("--servers", type=lambda text: _list(servers, text), default=servers, metavar="LIST",
        help=f"of {','.join(servers)} (default: all)")  # fmt: skip
    add("--repeat", type=_count, default=3, help="runs for each value (default 3; latency: 5)")
    add("--json", type=Path, metavar="FILE", help="also write every run to this file")
    return parser.parse_args()


def _available(names: tuple[str, ...]) -> dict[str, str]:
    """The versions of the servers that can be run; the others are named."""
    found = {}
    for name in names:
        try:
            found[name] = SERVERS[name].version()
        except ServerError as error:
            say(f"{name} is left out: {error}")
    return found


def figures_here(what: tuple[str, ...], versions: dict[str, str]) -> list[Figure]:
    """What can be measured here; the rest is named."""
    found = [
        figure for figure in FIGURES if figure.what in what and set(figure.servers) & set(versions)
    ]
    pairs = {figure.what for figure in found if figure.load.data is Data.PAIR}
    why = federated.missing()
    if pairs and why:
        say(f"{', '.join(sorted(pairs))} is left out: {why}")
        found = [figure for figure in found if figure.what not in pairs]
    return found


def _servers(names: dict[str, str], folder: Path) -> list[Server]:
    certificate, key = make_certificate(folder)
    servers: list[Server] = []
    port = _FIRST_PORT
    for name in names:
        port = free_ports(port, 3)
        servers.append(SERVERS[name](Setting(folder / name, port, certificate, key)))
        port += 3
    return servers


def _rows(plan: Plan, runs: Runs, names: list[str]) -> list[Row]:
    rows = []
    for figure in plan.figures:
        cells = {
            name: Cell.of(figure, [runs[load.key, name] for load in figure.runs(name)])
            for name in names
            if name in figure.servers
        }
        rows.append(Row.of(figure, cells))
    return rows


def _tables(rows: list[Row], names: list[str]) -> list[str]:
    lines = []
    for title, figures in _TABLES:
        shown = [row for row in rows if row.figure in figures]
        if shown:
            columns = [name for name in names if any(name in row.cells for row in shown)]
            lines += [f"## {title}", "", markdown(shown, columns), ""]
    return lines


def _promises(plan: Plan, names: list[str]) -> list[str]:
    """What an acknowledgement says, where acknowledgements are measured."""
    shown = [figure for figure in plan.figures if figure in ARCHIVE]
    if not shown:
        return []
    lines = [
        "What each server guarantees when it acknowledges a message (see bench/README.md):",
        "",
    ]
    return [*lines, *(f"* {name}: {SERVERS[name].promise}" for name in names), ""]


def _notes(plan: Plan, facts: dict[str, str], versions: dict[str, str], runs: Runs) -> list[str]:
    times = calibrations(runs) or [0.0]
    sizes = plan.sizes
    lines = [f"* {name}: {version}" for name, version in versions.items()]
    lines += [f"* {name}: {value}" for name, value in facts.items()]
    lines.append(f"* calib_ms: {min(times)} to {max(times)}")
    counts = ", ".join(
        f"{load} {count}"
        for load, count in {load: len(results) for (load, _), results in runs.items()}.items()
    )
    lines.append(f"* runs behind each median: {counts}")
    lines.append(f"* connections of idle and resumable: {sizes.connections}; messages of the long "
                 f"archive: {sizes.talk:,}, and {sizes.million:,} directly")  # fmt: skip
    shares = [run["own_cores"] / run["server_cores"] for group in runs.values() for run in group
              if run.get("own_cores") and run.get("server_cores")]  # fmt: skip
    if shares:
        lines.append(f"* CPU of the generator by that of the server: at most {max(shares):.2f}")
    lines.append(f"* command: `{_command()}`")
    if plan.quick:
        lines.append("* --quick: short single runs with little data, which prove nothing")
    elif max(times) > min(times) * _STEADY:
        lines.append("* calib_ms differs too much: the machine was not quiet, measure again")
    return lines


def _command() -> str:
    return shlex.join(["python", *sys.argv])


def _report(
    plan: Plan, versions: dict[str, str], facts: dict[str, str], runs: Runs
) -> tuple[str, dict[str, Any]]:
    names = list(versions)
    rows = _rows(plan, runs, names)
    lines = _tables(rows, names) + _promises(plan, names) + _notes(plan, facts, versions, runs)
    lines += [f"* FAILED: {reason}" for reason in failures(rows)]
    report = {
        "command": _command(),
        "machine": facts,
        "versions": versions,
        "quick": plan.quick,
        "rows": [
            {
                "figure": row.figure.key,
                "unit": row.figure.unit,
                "values": {name: cell.value for name, cell in row.cells.items()},
                "all": {name: cell.runs for name, cell in row.cells.items()},
                "target": row.figure.target,
                "ratio": row.ratio,
                "verdict": row.verdict,
            }
            for row in rows
        ],
        "runs": {f"{load}/{name}": results for (load, name), results in runs.items()},
    }
    return "\n".join(lines), report


def _compare(options: argparse.Namespace, versions: dict[str, str], folder: Path) -> int:
    plan = Plan(
        figures=figures_here(options.what, versions),
        repeat=1 if options.quick else options.repeat,
        quick=options.quick,
        sizes=_QUICK if options.quick else Sizes(),
    )
    if not plan.figures:
        say("none of these servers has such a figure here")
        return 2
    facts = machine()
    runs = Session(plan, _servers(versions, folder)).run()
    text, report = _report(plan, versions, facts, runs)
    print(text)
    if options.json is not None:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    return 1 if any(row["verdict"] == "FAILED" for row in report["rows"]) else 0


def main() -> int:
    """Compare; the exit status is 1 if a run failed, whatever the figures are."""
    options = _options()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * Sizes().connections
    if hard < needed:
        say(f"the limit of open files is {hard}; {needed} are needed (ulimit -Hn)")
        return 2
    versions = _available(options.servers)
    if not versions:
        return 2
    # So that the servers are stopped then, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with tempfile.TemporaryDirectory(prefix="jabberd-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # ejabberd runs as another user
        return _compare(options, versions, folder)
