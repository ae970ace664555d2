"""The figures that are measured, and the targets they are held against."""

from __future__ import annotations

from typing import Final

from bench.figures.archive import ARCHIVE
from bench.figures.federation import FEDERATION
from bench.figures.model import Data, Figure, Load
from bench.figures.routing import ROUTING

FIGURES: Final = (*ROUTING, *ARCHIVE, *FEDERATION)
"""In the order of the tables."""

__all__ = ["FIGURES", "Data", "Figure", "Load"]
