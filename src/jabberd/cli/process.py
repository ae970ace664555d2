"""Commands about the server process itself: run, demo, and the configuration's."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from jabberd.cli.output import announce, fail, table
from jabberd.config import StartError, effective, load
from jabberd.storage.api import StorageError

T = TypeVar("T")
_Config = Annotated[
    Path | None,
    typer.Option("--config", envvar="JABBERD_CONFIG", help="The configuration file."),
]
_Data = Annotated[Path | None, typer.Option("--data", help="The data folder.")]


def run(config: _Config = None, data: _Data = None) -> None:
    """Start the server; without a configuration, for localhost only."""
    try:
        loaded = load(config, data=data)
        from jabberd import app  # noqa: PLC0415 -- not before the configuration holds
        from jabberd.core import log  # noqa: PLC0415 -- takes a while to import

        log.configure(loaded.log.level, loaded.log.format)
        again = _serve(app.serve(loaded, ready=announce))
    except (StartError, StorageError) as error:
        fail(str(error))
    if again:
        # The same process, so that whoever watches over it need not know.
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 -- no shell


def demo() -> None:
    """Start a server in a throwaway folder, with three accounts who know each other."""
    from jabberd import app  # noqa: PLC0415 -- takes a while to import
    from jabberd.core import log  # noqa: PLC0415 -- takes a while to import

    log.configure("warning")
    try:
        _serve(app.demo(ready=announce))
    except (StartError, StorageError) as error:
        fail(str(error))


def gateway(
    name: Annotated[str, typer.Argument(help="The domain of the gateway.")],
    config: _Config = None,
    data: _Data = None,
) -> None:
    """Run a gateway as a process of its own, connected to a server elsewhere."""
    try:
        loaded = load(config, data=data)
        from jabberd import standalone  # noqa: PLC0415 -- not before the configuration holds
        from jabberd.core import log  # noqa: PLC0415 -- takes a while to import

        log.configure(loaded.log.level, loaded.log.format)
        _serve(standalone.serve(loaded, name, ready=_say))
    except (StartError, StorageError) as error:
        fail(str(error))


def _say(text: str) -> None:
    print(text, flush=True)


def check(config: _Config = None, data: _Data = None) -> None:
    """Say what is wrong with the configuration, if anything."""
    try:
        loaded = load(config, data=data)
    except StartError as error:
        fail(f"the configuration cannot be used\n{error}")
    source = loaded.source.file or "the configuration without a file"
    print(f"{source} is fine: it serves {', '.join(loaded.host)}.")


def show(
    config: _Config = None,
    data: _Data = None,
    json: Annotated[bool, typer.Option("--json", help="Answer in JSON.")] = False,
) -> None:
    """Show every key that is in force, with its value and where it was set."""
    try:
        loaded = load(config, data=data)
    except StartError as error:
        fail(f"the configuration cannot be used\n{error}")
    rows = [(one.key, one.value, one.origin) for one in effective(loaded)]
    table(("key", "value", "origin"), rows, as_json=json)


def _serve(work: Coroutine[None, None, T]) -> T:
    try:
        import uvloop  # noqa: PLC0415 -- there is none on some systems
    except ImportError:
        return asyncio.run(work)
    return uvloop.run(work)
