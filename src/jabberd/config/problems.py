"""What is wrong with a configuration, in words."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from jabberd.core.printable import printable

Path = tuple[str | int, ...]
"""Keys from the top, with indexes into lists."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        where: the file with its line, the environment variable, or "configuration".
        key: its path from the top, as TOML writes it; empty where it is about all of it.
        what: what was found and what is expected.
    """

    where: str
    key: str
    what: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.where, self.key, self.what) if part)


class StartError(Exception):
    """The server cannot start, or a command cannot work here; the text says why, and what to do."""


class ConfigError(StartError):
    """The configuration cannot be used.

    Args:
        problems: everything that is wrong with it.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


def dotted(path: Path) -> str:
    """A path as TOML writes it: ``host."example.org".key``; list indexes count from 1."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part + 1}]"
        elif re.fullmatch(r"[A-Za-z0-9_-]+", part):
            text += f".{part}" if text else part
        else:
            quoted = printable(part.replace("\\", "\\\\").replace('"', '\\"'), 100)
            text += f'."{quoted}"' if text else f'"{quoted}"'
    return text


def found(value: object) -> str:
    """A value with its type, as a person calls it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'the text "{printable(value, 60)}"'
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, Sequence):
        return "a list"
    return printable(repr(value), 60)


def no_such_key(name: str, known: Collection[str]) -> str:
    """Says that a key is unknown, and which one may have been meant."""
    close = difflib.get_close_matches(name, known, 1)
    if close:
        return f"there is no such key; did you mean {close[0]!r}?"
    if not known:
        return "there is no such key; there are no options here"
    return f"there is no such key; known here: {', '.join(sorted(known))}"


_EXPECTED: Final = {
    "string_type": "text in quotes",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a table",
    "mapping_type": "a table",
    "dataclass_type": "a table",
    "dataclass_exact_type": "a table",
}


def translate(error: Mapping[str, Any]) -> str:
    """One of pydantic's errors in the words of this file."""
    kind, context = error["type"], error.get("ctx", {})
    if kind in {"missing", "missing_argument", "missing_keyword_only_argument"}:
        return "missing: this key has no default"
    if kind == "value_error":
        text = str(context["error"])
        value = error["input"]
        return text if isinstance(value, Mapping | list) else f"found {found(value)}, {text}"
    if kind == "literal_error":
        expected = f"one of {context['expected']}"
    elif kind == "greater_than_equal":
        expected = f"{context['ge']} or more"
    elif kind == "less_than_equal":
        expected = f"{context['le']} or less"
    else:
        expected = _EXPECTED.get(kind, str(error["msg"]).removeprefix("Input should be "))
    return f"found {found(error['input'])}, expected {expected}"


def find_line(text: str, path: Path) -> int | None:
    """The line (from 1) of a TOML text where a key is set, or the nearest table around it."""
    best: tuple[int, int] | None = None
    table: Path = ()
    wanted = tuple(part for part in path if isinstance(part, str))
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[([^\[\]]+)\]\s*(#.*)?$", line)
        setting = None if header else re.match(r"""\s*((?:"[^"]*"|'[^']*'|[\w.\- ])+)=""", line)
        if header:
            here = table = _key(header[1])
        elif setting:
            here = (*table, *_key(setting[1]))
        else:
            continue
        if here and wanted[: len(here)] == here and (best is None or len(here) > best[0]):
            best = (len(here), number)
    return best[1] if best else None


def _key(text: str) -> Path:
    """The parts of a dotted key; nothing where this line is not a key after all."""
    try:
        value: Any = tomllib.loads(f"{text} = 0")
    except tomllib.TOMLDecodeError:
        return ()
    parts: list[str] = []
    while isinstance(value, dict):
        ((part, value),) = value.items()
        parts.append(part)
    return tuple(parts)
