"""The command line. Nothing heavy is imported before it is known what is wanted."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `jabberd` with these arguments, and exit: 0 done, 1 failed, 2 not understood."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given == ["--version"]:  # the quick way; the tree knows the option too
        print(f"jabberd {version()}")
        return
    if given[:1] == ["gateway"] and len(given) > 1 and "." in given[1]:
        given.insert(1, "run")  # the name of a gateway, which is a domain, says enough
    from jabberd.cli.tree import build  # noqa: PLC0415 -- see the module's docstring

    try:
        build(given)(args=given, prog_name="jabberd")
    except BrokenPipeError:
        # Whoever read our output has enough; Python must not complain about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def version() -> str:
    """The version of the installed package."""
    from importlib import metadata  # noqa: PLC0415 -- only needed here

    try:
        return metadata.version("jabberd")
    except metadata.PackageNotFoundError:
        return "(run from its source, not installed)"
