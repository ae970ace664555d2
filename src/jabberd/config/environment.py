"""Keys of the configuration from environment variables.

``JABBERD_LOG__LEVEL=debug`` sets ``log.level``: the path in capitals, two underscores between
its parts. Lists are separated by commas. ``JABBERD_HOSTS=example.org,example.com`` declares
hosts that need no options.
"""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from jabberd.config.problems import Path, Problem, no_such_key
from jabberd.config.shape import Config, Listener
from jabberd.config.walk import SWITCHED, bare, is_table, keys_of, type_at

PREFIX: Final = "JABBERD_"
HOSTS: Final = "JABBERD_HOSTS"
FILE: Final = "JABBERD_CONFIG"
"""Names the configuration file, where `--config` is not given."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One key from the environment.

    Attributes:
        name: of the variable.
        path: of the key.
        value: in the shape of the file.
    """

    name: str
    path: tuple[str, ...]
    value: Any


def read(environ: Mapping[str, str]) -> Iterator[Setting | Problem]:
    """The keys that an environment sets, and what is wrong with those that it cannot.

    A variable without two underscores that is no key is somebody else's (container platforms
    make such names), unless it looks like a misspelt key.
    """
    top = keys_of(Config)
    for name, text in sorted(environ.items()):
        if not name.startswith(PREFIX) or name == FILE:
            continue
        if name == HOSTS:
            for host in filter(None, map(str.strip, text.split(","))):
                yield Setting(name, ("host", host), {})
            continue
        path = tuple(name.removeprefix(PREFIX).lower().split("__"))
        if path == SWITCHED:
            path = (*path, "enabled")
        hint = type_at(path)
        if hint is not None:
            yield _setting(name, path, hint, text)
        elif len(path) > 1:
            around = type_at(path[:-1])
            known = list(keys_of(around)) if is_table(around) else []
            what = no_such_key(path[-1], known) if known else "there is no such key"
            yield Problem(name, "", what)
        elif close := difflib.get_close_matches(path[0], [*top, "hosts"], 1, 0.8):
            what = f"there is no such key; did you mean {PREFIX}{close[0].upper()}?"
            yield Problem(name, "", what)


def _setting(name: str, path: tuple[str, ...], hint: Any, text: str) -> Setting | Problem:
    origin = typing.get_origin(hint)
    if is_table(hint) or origin is Mapping or (path[0] == "host" and path[2:3] == ("modules",)):
        return Problem(name, "", "this is a table: set the keys in it, or use the file")
    if origin is not tuple:
        return Setting(name, path, _scalar(hint, text))
    item = bare(typing.get_args(hint)[0])
    parts = filter(None, map(str.strip, text.split(",")))
    return Setting(
        name, path, [part if item is Listener else _scalar(item, part) for part in parts]
    )


def _scalar(hint: Any, text: str) -> Any:
    """Text as the type wants it, or as it is: then validation says what is wrong with it."""
    if hint is bool:
        return {"true": True, "false": False}.get(text.lower(), text)
    try:
        if hint is int:
            return int(text)
        if hint is float:
            return float(text)
    except ValueError:
        pass
    return text


def where(path: Path, settings: Mapping[tuple[str, ...], str]) -> str | None:
    """The variable that set a key or something around it."""
    names = tuple(part for part in path if isinstance(part, str))
    for length in range(len(names), 0, -1):
        if names[:length] in settings:
            return settings[names[:length]]
    return None
