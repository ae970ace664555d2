"""Administration commands: by the running server, or on the data of a stopped one."""

from __future__ import annotations

import asyncio
import getpass
import sys
from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from jabberd.cli.output import fail, show
from jabberd.config import StartError, data_folder, load
from jabberd.config.folder import FolderInUse
from jabberd.core.command import CommandError, Description, Table
from jabberd.edge.control_client import ControlClient, Lost, NotRunning
from jabberd.storage.api import StorageError

_SECRET: Final = 4096  # characters of a secret that are read at most


@dataclass(frozen=True, slots=True)
class Where:
    """Which server is meant.

    Attributes:
        config: the configuration file.
        data: the data folder.
    """

    config: Path | None
    data: Path | None


def execute(
    description: Description, arguments: Mapping[str, Any], where: Where, *, as_json: bool
) -> None:
    """Run one administration command and print what it answers."""
    answers = _answers(description, arguments, where)
    try:
        with closing(answers):
            for answer in answers:
                show(answer, as_json=as_json)
    except KeyboardInterrupt:
        print(file=sys.stderr)
    except (CommandError, StartError, StorageError, Lost) as error:
        fail(str(error))


def _answers(
    description: Description, arguments: Mapping[str, Any], where: Where
) -> Generator[dict[str, Any], None, None]:
    folder = data_folder(where.config, data=where.data)
    follows = bool(arguments.get("follow"))
    client = ControlClient(folder, patience=None if follows else 90.0)
    try:
        yield from client.ask(description.path, arguments)
    except NotRunning as error:
        if description.online:
            words = " ".join(description.path)
            raise StartError(
                f"{error}\n`jabberd {words}` needs a running server: start one by "
                "`jabberd run`, or name its folder with --data or --config"
            ) from None
    else:
        return
    try:
        yield from asyncio.run(_offline(description, arguments, where))
    except FolderInUse as error:
        raise StartError(
            f"{error}, which does not answer on its control socket; "
            "wait until it has started or stopped, then try again"
        ) from None


async def _offline(
    description: Description, arguments: Mapping[str, Any], where: Where
) -> list[dict[str, Any]]:
    from jabberd import app  # noqa: PLC0415 -- brings the database, which the socket spares us

    config = load(where.config, data=where.data)
    async with app.offline_registry(config) as registry:
        result = await registry.run(description.path, arguments)
        if isinstance(result, str):
            return [{"kind": "text", "text": result}]
        if isinstance(result, Table):
            return [{"kind": "table", "columns": result.columns, "rows": result.rows}]
        raise CommandError("this goes on without end: it needs a running server")


def secret(what: str) -> str:
    """Ask twice on a terminal; elsewhere, read one line from standard input."""
    if not sys.stdin.isatty():
        line = sys.stdin.readline(_SECRET)
        if not line:
            fail(f"expected {what} as a line on standard input")
        return line.rstrip("\r\n")
    try:
        first = getpass.getpass(f"{what}: ")
        if getpass.getpass("again: ") != first:
            fail("these were not the same")
    except (EOFError, KeyboardInterrupt):
        fail("interrupted")
    return first
