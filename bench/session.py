"""One comparison: rounds of starting each server, loading it and stopping it."""

from __future__ import annotations

import collections
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.data import Maker, Sizes
from bench.figures import Data, Figure, Load
from bench.load.target import Result
from bench.servers import Mode, Server, ServerError, federated

_ROOT: Final = Path(__file__).resolve().parent.parent
_DEADLINE: Final = 1800.0
"""Seconds for one run of the generator."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done.

    Attributes:
        figures: what is measured.
        repeat: how often, at least.
        quick: only try whether everything works.
        sizes: of the servers' data.
    """

    figures: Sequence[Figure]
    repeat: int
    quick: bool
    sizes: Sizes

    def rounds(self, load: Load) -> int:
        """How often a load is run."""
        return 1 if self.quick else max(self.repeat, load.repeats)

    def loads(self) -> dict[Load, set[str]]:
        """What is run, in order, and the names of the servers it is run with."""
        found: dict[Load, set[str]] = {}
        for figure in self.figures:
            for name in figure.servers:
                for load in figure.runs(name):
                    found.setdefault(load, set()).add(name)
        return found


Runs = dict[tuple[str, str], list[Result]]
"""By key of the load and name of the server."""


def say(text: str) -> None:
    """Report progress."""
    print(text, file=sys.stderr, flush=True)


class Session:
    """Runs a plan with some servers; no two of them run at the same time.

    The rounds go over all servers, so that a machine which gets slower or quicker meanwhile does
    so for all. Every run has a server that has just been started, with the same data.

    Args:
        plan: what to do.
        servers: who is compared.
    """

    def __init__(self, plan: Plan, servers: Sequence[Server]) -> None:
        self._plan = plan
        self._servers = list(servers)
        self._data: dict[tuple[str, Data], Path] = {}
        self._broken: dict[tuple[str, Data], str] = {}

    def run(self) -> Runs:
        """Do it; what fails is in the results."""
        plan, runs = self._plan, collections.defaultdict[tuple[str, str], list[Result]](list)
        loads = plan.loads()
        for server in self._servers:
            self._prepare(
                server, {load.data for load, names in loads.items() if server.name in names}
            )
        for number in range(max(map(plan.rounds, loads))):
            for load, names in loads.items():
                if number < plan.rounds(load):
                    for server in self._servers:
                        if server.name in names:
                            result = self._measure(load, server)
                            runs[load.key, server.name].append(result)
                            say(f"round {number + 1}: {load.key}, {server.name}: {_brief(result)}")
                            if "failed" in result:
                                say(server.last_words())
        return dict(runs)

    def _prepare(self, server: Server, wanted: set[Data]) -> None:
        for data in Data:
            if data in wanted and not data.federated:
                maker = Maker(server, self._plan.sizes, generate, running, say)
                try:
                    self._data[server.name, data] = maker.make(data)
                except ServerError as error:
                    self._broken[server.name, data] = str(error)
                    say(f"{server.name}: {error}")

    def _measure(self, load: Load, server: Server) -> Result:
        reason = self._broken.get((server.name, load.data))
        if reason is not None:
            return {"correct": False, "failed": reason}
        arguments = load.scenario + (load.quick if self._plan.quick else ())
        arguments += self._plan.sizes.arguments(load.data)
        try:
            if load.data.federated:
                return _among_others(load, server, arguments)
            with _copied(self._data[server.name, load.data], load.data) as state:
                with running(server, load.mode, state):
                    result = generate(server, arguments)
                if load.scenario[0] == "kill" and "failed" not in result:
                    with running(server, load.mode, state):
                        found = json.dumps(result["acknowledged"])
                        more = generate(server, ("survey", "--acknowledged", found))
                    result |= more | {"correct": result["correct"] and bool(more.get("correct"))}
                return result
        except ServerError as error:
            return {"correct": False, "failed": str(error)}


def generate(server: Server, arguments: Sequence[str]) -> Result:
    """Run the load generator against a server that runs."""
    return _generate((*arguments, "--port", str(server.setting.port), "--pid", str(server.pid)))


def _among_others(load: Load, server: Server, arguments: Sequence[str]) -> Result:
    """A run with others of the server's kind, which are not those that are run alone."""
    folder = server.setting.folder
    started = (
        federated.two(server.name, load.mode, folder)
        if load.data is Data.PAIR
        else federated.alone(load.mode, folder)
    )
    with started as stage:
        result = _generate((*arguments, *stage.where))
        if "failed" in result:
            say(stage.last_words())
    return result


def _generate(arguments: Sequence[str]) -> Result:
    command = [sys.executable, "-m", "bench.load", *arguments]
    try:
        done = subprocess.run(
            command, cwd=_ROOT, capture_output=True, text=True, timeout=_DEADLINE, check=False
        )
    except subprocess.TimeoutExpired:
        return {"correct": False, "failed": f"not finished after {_DEADLINE:.0f} s"}
    try:
        result: Result = json.loads(done.stdout)
    except ValueError:
        return {"correct": False, "failed": f"the generator failed: {done.stderr[-500:]}"}
    return result


@contextmanager
def running(server: Server, mode: Mode, state: Path) -> Iterator[None]:
    """Start a server, and stop it in the end."""
    try:
        server.start(mode, state)
        yield
    finally:
        server.stop()


@contextmanager
def _copied(data: Path, kind: Data) -> Iterator[Path]:
    """Data that a run may change; those that are only read are big, and not copied."""
    if kind in {Data.TALK, Data.MILLION}:
        yield data
        return
    state = data.parent / "state"
    subprocess.run(["cp", "--archive", str(data), str(state)], check=True)
    try:
        yield state
    finally:
        shutil.rmtree(state)


def _brief(result: Result) -> str:
    if "failed" in result:
        return str(result["failed"])
    shown = [
        f"{name} {result[name]}"
        for name in (
            "cpu_us_per_msg",
            "msgs_per_s",
            "p99_ms",
            "ack_p99_ms",
            "kib_per_connection",
            "kib_per_stream",
            "dead_p99_ms",
            "cpu_ms_per_login",
            "cpu_ms_per_query",
            "kib_connected",
            "kib_hibernated",
            "cpu_ms_per_resumption",
            "missing",
        )
        if result.get(name) is not None
    ]
    return ", ".join(shown) + ("" if result.get("correct") else " (not correct)")


def calibrations(runs: Mapping[tuple[str, str], Sequence[Result]]) -> list[float]:
    """The time that the fixed piece of work took before each run, in ms."""
    return [run["calib_ms"] for group in runs.values() for run in group if "calib_ms" in run]
