"""From runs to the table that is printed."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.figures import Figure
from bench.load.target import Result


@dataclass(frozen=True, slots=True)
class Cell:
    """What one server did for one figure.

    Attributes:
        value: the median; None if a run failed.
        runs: the value of every run that has one.
        reason: of the failure, else empty.
    """

    value: float | None
    runs: tuple[float, ...]
    reason: str

    @classmethod
    def of(cls, figure: Figure, runs: Sequence[Result]) -> Cell:
        """The median of runs; one that is not correct fails them all."""
        values = tuple(float(run[figure.value]) for run in runs if run.get(figure.value))
        wrong = [run for run in runs if not run.get("correct")]
        if wrong:
            return cls(None, values, str(wrong[0].get("failed") or wrong[0]))
        if len(values) < len(runs) or not values:
            return cls(None, values, "a run has no value")
        return cls(statistics.median(values), values, "")

    def __str__(self) -> str:
        return "FAILED" if self.value is None else f"{self.value:.3g}"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes:
        figure: what was measured.
        cells: by server.
        ratio: jabberd's value by what the target allows; None where one of them is missing.
        verdict: "holds", "misses", "FAILED", or why there is none.
    """

    figure: Figure
    cells: Mapping[str, Cell]
    ratio: float | None
    verdict: str

    @classmethod
    def of(cls, figure: Figure, cells: Mapping[str, Cell]) -> Row:
        """Hold the servers' values against the target."""
        if any(cell.value is None for cell in cells.values()):
            return cls(figure, cells, None, "FAILED")
        values = {name: cell.value for name, cell in cells.items() if cell.value is not None}
        limit = figure.limit(values)
        if "jabberd" not in values or limit is None:
            return cls(figure, cells, None, "not compared")
        ratio = values["jabberd"] / limit
        return cls(figure, cells, ratio, "holds" if figure.holds(ratio) else "misses")


def markdown(rows: Sequence[Row], servers: Sequence[str]) -> str:
    """The table."""
    heads = ["figure", *servers, "target for jabberd", "value ÷ target", "verdict"]
    lines = [heads, ["---"] * len(heads)]
    for row in rows:
        figure = row.figure
        ratio = "-" if row.ratio is None else f"{row.ratio:.2f}"
        values = [str(row.cells[name]) if name in row.cells else "-" for name in servers]
        lines.append([f"{figure.title}, {figure.unit}", *values, figure.target, ratio, row.verdict])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def failures(rows: Sequence[Row]) -> list[str]:
    """Why cells have no value."""
    return [
        f"{row.figure.title}: {name}: {cell.reason}"
        for row in rows
        for name, cell in row.cells.items()
        if cell.value is None
    ]
