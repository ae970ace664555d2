"""What the command line prints. Everything that a peer may have chosen is escaped."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn, Protocol

import typer

from jabberd.core.printable import printable, printable_lines

_WIDEST: Final = 10_000


class Report(Protocol):
    """What a server that has just started says of itself."""

    @property
    def hosts(self) -> Sequence[str]:
        """The domains it serves."""

    @property
    def listening(self) -> Sequence[tuple[str, str]]:
        """Pairs of what it is ("c2s") and where ("127.0.0.1:5222")."""

    @property
    def data(self) -> str:
        """The data folder."""

    @property
    def hints(self) -> Sequence[str]:
        """Lines on what to do next."""


def announce(report: Report) -> None:
    """Say, in a few lines, what is served, where, and what to do next."""
    words = {
        "c2s": "clients (STARTTLS)",
        "c2s_tls": "clients (TLS)",
        "component": "components",
        "http": "HTTP",
        "https": "HTTPS",
    }
    places: dict[str, list[str]] = {}
    for kind, address in report.listening:
        places.setdefault(words.get(kind, kind), []).append(address)
    print(f"Serving {', '.join(report.hosts)}")
    for kind, addresses in places.items():
        print(f"  {kind}: {', '.join(addresses)}")
    print(f"  data: {report.data}")
    for line in report.hints:
        print(line)
    sys.stdout.flush()


def fail(text: str) -> NoReturn:
    """Say on standard error why it did not work, and exit with 1."""
    print(f"jabberd: {printable_lines(text)}", file=sys.stderr)
    raise typer.Exit(1)


def show(answer: Mapping[str, Any], *, as_json: bool) -> None:
    """Print one line of an answer of the control socket (see `jabberd.edge.control`)."""
    kind = answer["kind"]
    if kind == "error":
        fail(answer["text"])
    elif kind == "table":
        table(answer["columns"], answer["rows"], as_json=as_json)
    elif as_json:
        print(json.dumps({"text": answer["text"]}), flush=True)
    else:
        print(printable_lines(answer["text"]), flush=True)


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, as_json: bool) -> None:
    """Print a table: as JSON objects, for a terminal, or as columns separated by tabs."""
    if as_json:
        objects = [dict(zip(columns, row, strict=True)) for row in rows]
        print(json.dumps(objects, indent=2))
        return
    cells = [["" if cell is None else printable(str(cell)) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for line in [columns, *cells]:
            print("\t".join(line))
        return
    from rich.console import Console  # noqa: PLC0415 -- takes a while to import
    from rich.table import Table  # noqa: PLC0415 -- takes a while to import
    from rich.text import Text  # noqa: PLC0415 -- takes a while to import

    drawn = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for line in cells:
        drawn.add_row(*map(Text, line))  # a plain str would be read as markup
    # As wide as it is: a long address wraps at the terminal's edge and is never cut.
    Console(width=_WIDEST, height=25).print(drawn)
