"""What is in force, where it came from, and what a reload can change."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from jabberd.config.problems import dotted
from jabberd.config.shape import Config, Listener
from jabberd.config.walk import Hidden, flatten

_LIVE_OF_HOST = {("certificate",), ("key",), ("client_ca",), ("federation",)}
FIXED_FEDERATION = {
    "enabled",
    "authorities",
    "nameservers",
    "trusted_dns",
    "networks",
    "verifications",
}
"""Keys of `federation` that need a restart."""


@dataclass(frozen=True, slots=True)
class Effective:
    """One key that is in force.

    Attributes:
        key: its path.
        value: as TOML writes it; secrets are left out.
        origin: "default", the file with its line, the environment variable, or "command line".
    """

    key: str
    value: str
    origin: str


@dataclass(frozen=True, slots=True)
class Changes:
    """What differs between two configurations.

    Attributes:
        live: keys that a reload applies.
        restart: keys that need a restart.
    """

    live: tuple[str, ...]
    restart: tuple[str, ...]


def effective(config: Config) -> list[Effective]:
    """Every key with its value and its origin."""
    return [
        Effective(dotted(path), _shown(path, value), _origin(path, config.source.origins))
        for path, value in flatten(config)
    ]


def reloadable_changes(old: Config, new: Config) -> Changes:
    """Which keys differ, by whether they can be applied to a running server.

    Live are certificates, the log level, the limits, how sessions and clients are kept, and most
    of what concerns other servers.
    """
    before, after = dict(flatten(old)), dict(flatten(new))
    changed = [
        path
        for path in dict.fromkeys([*before, *after])
        if path not in before or path not in after or before[path] != after[path]
    ]
    same_hosts = {name for name in old.host if name in new.host}
    live = [path for path in changed if _is_live(path, same_hosts)]
    return Changes(
        tuple(map(dotted, live)), tuple(dotted(path) for path in changed if path not in live)
    )


def _is_live(path: tuple[str, ...], hosts: set[str]) -> bool:
    if path[0] == "host":
        return path[1] in hosts and path[2:] in _LIVE_OF_HOST
    if path[0] == "federation":
        return path[1] not in FIXED_FEDERATION
    return path[0] in {"limits", "sessions", "clients", "peer", "route"} or path == ("log", "level")


def _origin(path: tuple[str, ...], origins: Mapping[tuple[str, ...], str]) -> str:
    for length in range(len(path), 0, -1):
        origin = origins.get(path[:length])
        if origin is not None:
            return origin
    if path[0] in {"component", "gateway"} and path[2:] == ("secret",):
        for key in ("secret_file", "secret_env"):
            if (*path[:2], key) in origins:
                return origins[(*path[:2], key)]
    return "default"


def _shown(path: tuple[str, ...], value: Any) -> str:
    if isinstance(value, Hidden):
        return "(secret)" if value.value else toml("")
    if path == ("storage",):
        return toml(re.sub(r"(://[^:/@]*):[^@/]*@", r"\1:(secret)@", value))
    return toml(value)


def toml(value: Any) -> str:
    """A value as TOML writes it; "-" for one that is not set."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, tuple | list | frozenset | set):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    if isinstance(value, Listener):
        given = {f.name: getattr(value, f.name) for f in fields(value)}
        given = {name: item for name, item in given.items() if item not in {None, ()}}
        if len(given) == 1:
            return toml(value.address)
        return "{ " + ", ".join(f"{name} = {toml(item)}" for name, item in given.items()) + " }"
    text = str(value) if isinstance(value, str | Path) else str(getattr(value, "value", value))
    return json.dumps(text, ensure_ascii=not text.isprintable())
