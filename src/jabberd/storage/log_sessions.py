"""What sessions with stream management have to remember, in three tables."""

# ruff: noqa: S608 -- statements are made of constants; whatever comes from outside is an argument

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sqlalchemy import Connection

from jabberd.storage.log_api import Journaled, Restored, Saved, Unit
from jabberd.storage.log_dialects import VALUES, Dialect, Row, many

_SESSIONS: Final = (
    f"INSERT INTO log_sessions (number, owner, data) {VALUES}"
    " ON CONFLICT (number) DO UPDATE SET owner = excluded.owner, data = excluded.data"
)
_HANDLED: Final = (
    f"INSERT INTO log_handled (number, handled) {VALUES}"
    " ON CONFLICT (number) DO UPDATE SET handled = excluded.handled"
)
_JOURNAL: Final = f"INSERT INTO log_journal (number, first, stanzas, items) {VALUES}"
_FORGET: Final = (
    "DELETE FROM log_journal WHERE (number, first) IN (SELECT old.number, old.first"
    f" FROM ({VALUES}) AS asked CROSS JOIN log_journal AS old"
    " WHERE old.number = asked.column1 AND old.first + old.stanzas <= asked.column2)"
)


def remember(dialect: Dialect, connection: Connection, unit: Unit) -> None:
    """What sessions with stream management have to remember."""
    rows: list[Row]
    if unit.sessions:
        rows = [(number, saved.owner, saved.data) for number, saved in unit.sessions.items()]
        many(dialect, connection, _SESSIONS, rows)
    if unit.handled:
        many(dialect, connection, _HANDLED, list(unit.handled.items()))
    if unit.forget:
        many(dialect, connection, _FORGET, list(unit.forget.items()))
    if unit.journal:
        many(dialect, connection, _JOURNAL, unit.journal)
    if unit.ended:
        forget_sessions(dialect, connection, unit.ended)


def recover(connection: Connection, dialect: Dialect) -> list[Restored]:
    """The sessions that are there, and nothing of others."""
    for table in ("log_handled", "log_journal"):
        dialect.run(
            connection,
            f"DELETE FROM {table} WHERE number NOT IN (SELECT number FROM log_sessions)",
        )
    journal: dict[int, list[Journaled]] = {}
    for row in dialect.rows(
        connection,
        "SELECT number, first, stanzas, items FROM log_journal ORDER BY number, first",
    ):
        journal.setdefault(row[0], []).append(Journaled(*row))
    rows = dialect.rows(
        connection,
        "SELECT s.number, s.owner, s.data, coalesce(h.handled, 0) FROM log_sessions AS s"
        " LEFT JOIN log_handled AS h ON h.number = s.number ORDER BY s.number",
    )
    return [Restored(Saved(*row[:3]), row[3], tuple(journal.get(row[0], ()))) for row in rows]


def forget_sessions(dialect: Dialect, connection: Connection, numbers: Iterable[int]) -> None:
    """Delete everything about these sessions."""
    given = dialect.numbers(numbers)
    for table in ("log_sessions", "log_handled", "log_journal"):
        statement = f"DELETE FROM {table} WHERE number IN (SELECT value FROM {dialect.each})"
        dialect.run(connection, statement, (given,))
