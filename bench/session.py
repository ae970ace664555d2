"""One comparison: rounds of starting each server, loading it and stopping it."""

from __future__ import annotations

import collections
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.figures import CONTACTS, Figure
from bench.load.target import Result
from bench.servers import Server, ServerError

_ROOT: Final = Path(__file__).resolve().parent.parent
_DEADLINE: Final = 1800.0
"""Seconds for one run of the generator."""
_CHAT_ACCOUNTS: Final = 200


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done.

    Attributes:
        figures: what is measured.
        repeat: how often, at least.
        quick: only try whether everything works.
        connections: idle connections, all with contacts.
    """

    figures: Sequence[Figure]
    repeat: int
    quick: bool
    connections: int

    def rounds(self, figure: Figure) -> int:
        """How often a figure is measured."""
        return 1 if self.quick else max(self.repeat, figure.repeats)


Runs = dict[tuple[str, str], list[Result]]
"""By key of the figure and name of the server."""


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
        self._broken: dict[str, str] = {}

    def run(self) -> Runs:
        """Do it; what fails is in the results."""
        plan, runs = self._plan, collections.defaultdict[tuple[str, str], list[Result]](list)
        for server in self._servers:
            try:
                self._prepare(server)
            except ServerError as error:
                self._broken[server.name] = str(error)
                say(f"{server.name}: {error}")
        for number in range(max(plan.rounds(figure) for figure in plan.figures)):
            for figure in plan.figures:
                if number < plan.rounds(figure):
                    for server in self._servers:
                        result = self._measure(figure, server)
                        runs[figure.key, server.name].append(result)
                        shown = result.get(figure.value, result.get("failed"))
                        flaw = "" if result.get("correct") else " (not correct)"
                        say(f"round {number + 1}: {figure.key}, {server.name}: {shown}{flaw}")
        return dict(runs)

    def _prepare(self, server: Server) -> None:
        """Make the accounts.

        Raises:
            ServerError: this does not work.
        """
        figures = self._plan.figures
        with _running(server, busy_wait=True):
            if any(not figure.contacts for figure in figures):
                self._need(server, "register", "--users", str(_CHAT_ACCOUNTS))
            if any(figure.contacts for figure in figures):
                count = ("--prefix", "c", "--users", str(self._plan.connections))
                self._need(server, "register", *count)
                self._need(server, "befriend", *count, "--contacts", str(CONTACTS))

    def _need(self, server: Server, *arguments: str) -> None:
        say(f"{server.name}: {' '.join(arguments)}")
        result = self._generate(server, arguments)
        if "failed" in result:
            raise ServerError(f"{arguments[0]} failed: {result['failed']}")

    def _measure(self, figure: Figure, server: Server) -> Result:
        reason = self._broken.get(server.name)
        if reason is not None:
            return {"correct": False, "failed": reason}
        arguments = figure.scenario + (figure.quick if self._plan.quick else ())
        if figure.contacts:
            arguments += ("--prefix", "c", "--users", str(self._plan.connections))
            arguments += ("--contacts", str(CONTACTS))
        try:
            with _running(server, busy_wait=figure.busy_wait):
                return self._generate(server, arguments)
        except ServerError as error:
            return {"correct": False, "failed": str(error)}

    def _generate(self, server: Server, arguments: Sequence[str]) -> Result:
        command = [sys.executable, "-m", "bench.load", *arguments]
        command += ["--port", str(server.setting.port), "--pid", str(server.pid)]
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
def _running(server: Server, *, busy_wait: bool) -> Iterator[None]:
    try:
        server.start(busy_wait=busy_wait)
        yield
    finally:
        server.stop()


def calibrations(runs: Mapping[tuple[str, str], Sequence[Result]]) -> list[float]:
    """The time that the fixed piece of work took before each run, in ms."""
    return [run["calib_ms"] for group in runs.values() for run in group if "calib_ms" in run]
