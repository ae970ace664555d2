"""From runs to the table that is printed."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bench.figures import Figure
from bench.load.target import Result

_WHOLE: Final = 1000
"""From here on there are no decimals."""


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
    def of(cls, figure: Figure, runs: Sequence[Sequence[Result]]) -> Cell:
        """The median of runs; one that is not correct fails them all.

        Args:
            figure: which value of them.
            runs: those of each of `figure.runs`.
        """
        wrong = [run for group in runs for run in group if not run.get("correct")]
        groups = [_values(figure, group) for group in runs]
        if wrong:
            return cls(None, groups[0], str(wrong[0].get("failed") or wrong[0]))
        if not all(groups) or any(len(a) < len(b) for a, b in zip(groups, runs, strict=True)):
            return cls(None, groups[0], "a run has no value")
        first, *others = map(statistics.median, groups)
        return cls(first - sum(others), groups[0], "")

    def __str__(self) -> str:
        if self.value is None:
            return "FAILED"
        return f"{self.value:,.0f}" if abs(self.value) >= _WHOLE else f"{self.value:.3g}"


def _values(figure: Figure, runs: Sequence[Result]) -> tuple[float, ...]:
    return tuple(float(run[figure.value]) for run in runs if run.get(figure.value) is not None)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes:
        figure: what was measured.
        cells: by server.
        ratio: jabberd's value by what the target allows; None where one of them is missing.
        verdict: "holds", "misses", "FAILED", "stated", or why there is none.
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
        if not figure.target:
            return cls(figure, cells, None, "stated")
        values = {name: cell.value for name, cell in cells.items() if cell.value is not None}
        limit = figure.limit(values)
        if "jabberd" not in values or limit is None:
            return cls(figure, cells, None, "not compared")
        ratio = figure.ratio(values["jabberd"], limit)
        return cls(figure, cells, ratio, "holds" if figure.holds(ratio) else "misses")


def markdown(rows: Sequence[Row], servers: Sequence[str]) -> str:
    """The table."""
    heads = ["figure", *servers, "target for jabberd", "value ÷ target", "verdict"]
    lines = [heads, ["---"] * len(heads)]
    for row in rows:
        figure = row.figure
        ratio = "-" if row.ratio is None else f"{row.ratio:.2f}"
        values = [str(row.cells[name]) if name in row.cells else "-" for name in servers]
        title = f"{figure.title}, {figure.unit}" if figure.unit else figure.title
        lines.append([title, *values, figure.target or "-", ratio, row.verdict])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def failures(rows: Sequence[Row]) -> list[str]:
    """Why cells have no value."""
    return [
        f"{row.figure.title}: {name}: {cell.reason}"
        for row in rows
        for name, cell in row.cells.items()
        if cell.value is None
    ]
