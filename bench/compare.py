"""Entry for `make bench` and `python bench/compare.py`: see README.md beside this file."""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> int:
    """Make the package importable from a checkout, and run it."""
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from bench.run import main as run  # noqa: PLC0415 -- only importable after the line before

    return run()


if __name__ == "__main__":
    sys.exit(main())
