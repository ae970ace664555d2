"""INSERT … ON CONFLICT, which both databases have and SQLAlchemy spells per dialect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite

Insert: TypeAlias = sqlite.Insert | postgresql.Insert


class Upsert:
    """Builds statements for one dialect.

    Args:
        dialect: SQLAlchemy's name of it, "sqlite" or "postgresql".
    """

    def __init__(self, dialect: str) -> None:
        self._sqlite = dialect == "sqlite"

    def __call__(self, table: Table, *, update: Mapping[str, Any] | None = None) -> Insert:
        """Insert a row; where its key is taken, set `update`, or all columns without it."""
        insert = self._insert(table)
        values = update or {
            column.name: insert.excluded[column.name]
            for column in table.columns
            if not column.primary_key
        }
        return insert.on_conflict_do_update(index_elements=list(table.primary_key), set_=values)

    def or_nothing(self, table: Table) -> Insert:
        """Insert a row; where its key is taken, do nothing (and return nothing)."""
        insert = self._insert(table)
        return insert.on_conflict_do_nothing(index_elements=list(table.primary_key))

    def _insert(self, table: Table) -> Insert:
        return sqlite.insert(table) if self._sqlite else postgresql.insert(table)
