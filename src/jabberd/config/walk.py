"""The types behind the keys: for environment variables, for hints and for the manual."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal

from jabberd.config.shape import Config, ModuleChoice

SWITCHED: Final = ("federation",)
"""A table that `true` or `false` stands for as well: it is the value of `enabled` in it then."""


OWN: Final = ("networks", "source")
"""Fields of `Config` that are no keys: what was made of the keys, and where they came from."""


@dataclasses.dataclass(frozen=True, slots=True)
class Hidden:
    """A value that is compared but never shown.

    Attributes:
        value: it.
    """

    value: Any = dataclasses.field(repr=False)


def keys_of(cls: type[Any]) -> dict[str, Any]:
    """The keys of a table with their types; what is `Config`'s own is not one."""
    hints = typing.get_type_hints(cls, include_extras=True)
    names = [f.name for f in dataclasses.fields(cls) if f.init]
    return {name: hints[name] for name in names if not (cls is Config and name in OWN)}


def bare(hint: Any) -> Any:
    """A type without its `Annotated` and without its `| None`."""
    if typing.get_origin(hint) is typing.Annotated:
        return bare(typing.get_args(hint)[0])
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        members = [member for member in typing.get_args(hint) if member is not types.NoneType]
        return bare(members[0]) if len(members) == 1 else hint
    return hint


def is_table(hint: Any) -> bool:
    """Whether a type is one of our dataclasses."""
    return isinstance(hint, type) and dataclasses.is_dataclass(hint)


def type_at(path: tuple[str | int, ...], top: Any = Config) -> Any:
    """The type of what a path leads to; None where it leads nowhere."""
    hint = bare(top)
    for part in path:
        args = typing.get_args(hint)
        if isinstance(part, int):
            hint = bare(args[0]) if typing.get_origin(hint) is tuple else None
        elif is_table(hint):
            hint = bare(keys_of(hint).get(part))
        elif typing.get_origin(hint) is Mapping:
            hint = bare(args[1])
        else:
            return None
    return hint


def describe(hint: Any) -> str:
    """A type in words, for the manual."""
    hint = bare(hint)
    if typing.get_origin(hint) is Literal:
        return "one of " + ", ".join(f'"{value}"' for value in typing.get_args(hint))
    if typing.get_origin(hint) in {tuple, list, frozenset, set}:
        item = bare(typing.get_args(hint)[0])
        return f"list of {describe(item)}" if item is not ModuleChoice else "table of modules"
    if typing.get_origin(hint) in {Mapping, dict} or is_table(hint):
        return "table"
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return " or ".join(map(describe, typing.get_args(hint)))
    words = {str: "text", int: "whole number", float: "number", bool: "true or false"}
    return words.get(hint, "file name" if hint is Path else getattr(hint, "__name__", str(hint)))


def flatten(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every key of a configuration that is not a table, with its value."""
    if isinstance(value, tuple) and any(isinstance(item, ModuleChoice) for item in value):
        for choice in value:
            here = (*path, choice.name)
            yield from flatten(choice.options, here)
            if not dataclasses.fields(choice.options):
                yield here, True
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        secret = {f.name for f in dataclasses.fields(value) if f.metadata.get("secret")}
        for name in keys_of(type(value)):
            inner = getattr(value, name)
            if name in secret:
                yield (*path, name), Hidden(inner)
            else:
                yield from flatten(inner, (*path, name))
        if isinstance(value, Config):
            for domain, choice in value.networks.items():
                yield from flatten(choice.options, ("gateway", domain))
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from flatten(item, (*path, str(name)))
    else:
        yield path, value
