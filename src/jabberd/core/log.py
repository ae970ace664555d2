"""Logging: structlog over the standard library's.

A person on a terminal gets a line per event, a machine gets JSON. The standard library's
loggers (what `net` and libraries use) go the same way, so that everything is escaped, has the
same fields and obeys the same level.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, MutableMapping
from contextlib import AbstractContextManager
from typing import Any, Final, Literal, TextIO

import structlog

from jabberd.core.printable import printable

Level = Literal["debug", "info", "warning", "error"]
Style = Literal["auto", "console", "json"]

_LONGEST: Final = 2000  # characters of one value; peers choose what errors quote
_SECRET: Final = ("password", "secret", "token", "salted", "proof")


def configure(level: Level = "info", style: Style = "auto", stream: TextIO | None = None) -> None:
    """Set logging up for this process; calling it again replaces what was set before.

    Args:
        level: the least severe events that are written.
        style: "auto" is "console" on a terminal and "json" elsewhere.
        stream: where to; standard error unless given.
    """
    stream = stream or sys.stderr
    terminal = stream.isatty()
    people = style == "console" or (style == "auto" and terminal)
    renderer: structlog.typing.Processor
    if people:
        renderer = structlog.dev.ConsoleRenderer(
            colors=terminal, pad_event_to=0, exception_formatter=structlog.dev.plain_traceback
        )
    else:
        renderer = structlog.processors.JSONRenderer(ensure_ascii=False)
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.StackInfoRenderer(),
                structlog.processors.format_exc_info,
                clean,
                renderer,
            ],
        )
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    set_level(level)


def set_level(level: Level) -> None:
    """Change the level of a running process."""
    logging.getLogger().setLevel(level.upper())


def logger(name: str, **context: str) -> structlog.stdlib.BoundLogger:
    """A logger that puts `context` on each of its lines.

    Args:
        name: of the Python module.
        context: for example `stream` and `account`.
    """
    return structlog.stdlib.get_logger(name, **context)


def context(**values: str) -> AbstractContextManager[None]:
    """Put values on every line that the running task logs meanwhile, whoever logs it."""
    return structlog.contextvars.bound_contextvars(**values)


def clean(_: object, __: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Structlog processor: escape what a peer may have said, and leave out secrets."""
    return {
        printable(key): "(secret)"
        if any(word in key.lower() for word in _SECRET)
        else _clean(value, lines=key in {"exception", "stack"})
        for key, value in event.items()
    }


def _clean(value: object, *, lines: bool = False) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    text = value if isinstance(value, str) else repr(value)
    if not lines:
        return printable(text, _LONGEST)
    # A traceback keeps its line ends; a bar before each line keeps a line end that came with
    # an exception's text from starting what looks like an entry of its own.
    return "\n".join(f"  | {printable(line, _LONGEST)}" for line in text.split("\n"))
