"""What is on its way to other servers, in one table.

A row lives for seconds, so it has the least that it can have: no index but its key, and its
domains as they are.
"""

# ruff: noqa: S608 -- statements are made of constants; whatever comes from outside is an argument

from __future__ import annotations

from itertools import chain
from typing import Any, Final

from sqlalchemy import Connection

from jabberd.storage.log_api import Relay, Unit
from jabberd.storage.log_dialects import VALUES, Dialect

_COLUMNS: Final = "key, local, remote, expires, stanza"
_WIDTH: Final = len(Relay._fields)
_ADD: Final = f"INSERT INTO log_relays ({_COLUMNS}) {VALUES}"


def relay(dialect: Dialect, connection: Connection, unit: Unit) -> None:
    """Keep what is on its way to other servers, and delete what has arrived."""
    if unit.relays:
        values: list[Any] = list(chain.from_iterable(unit.relays))
        values[3::_WIDTH] = map(float, values[3::_WIDTH])  # a column has one type
        dialect.run_values(connection, _ADD, values, _WIDTH)
    if unit.relayed:
        statement = f"DELETE FROM log_relays WHERE key IN (SELECT value FROM {dialect.each})"
        dialect.run(connection, statement, (dialect.numbers(unit.relayed),))


def read_relays(connection: Connection, dialect: Dialect) -> list[Relay]:
    """All that is there, in order of key."""
    statement = f"SELECT {_COLUMNS} FROM log_relays ORDER BY key"
    return [Relay(*row) for row in dialect.rows(connection, statement)]
