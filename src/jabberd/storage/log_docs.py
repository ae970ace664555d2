"""Which texts are in SQLite's full-text index.

Each commit that adds to it leaves a piece which has to be merged with others later. So texts go
into the index many together; until then readers find them by looking through them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sqlalchemy import Connection

from jabberd.storage.log_dialects import Dialect

_MOST: Final = 500
"""So many texts may be missing in the index."""


class DocIndex:
    """Fills the full-text index. Runs in the writer's thread.

    Args:
        dialect: how to speak to the database.
        last: all texts up to this key are in the index.
    """

    def __init__(self, dialect: Dialect, last: int) -> None:
        self._dialect = dialect
        self._last = last
        self._count = 0
        # Of the transaction that is running.
        self._new = 0
        self._indexed = 0

    def add(self, connection: Connection, keys: Iterable[int]) -> None:
        """Texts were inserted."""
        last = self._indexed or self._last
        for key in keys:
            self._new += 1
            if key <= last:  # a unit that was overtaken
                statement = (
                    "INSERT INTO log_docs (rowid, words)"
                    " SELECT key, words FROM log_texts WHERE key = ?"
                )
                self._dialect.run(connection, statement, (key,))

    def keep_up(self, connection: Connection) -> None:
        """Add what is due."""
        if self._count + self._new >= _MOST:
            self.finish(connection)

    def finish(self, connection: Connection) -> None:
        """Add everything."""
        self._indexed = index_texts(self._dialect, connection)
        self._new = -self._count

    def ended(self, *, committed: bool) -> None:
        """The transaction has ended."""
        if committed:
            self._count += self._new
            self._last = self._indexed or self._last
        self._new = self._indexed = 0


def index_texts(dialect: Dialect, connection: Connection) -> int:
    """Add all texts that are not in the index; returns the last one's key."""
    dialect.run(
        connection,
        "INSERT INTO log_docs (rowid, words) SELECT key, words FROM log_texts"
        " WHERE key > (SELECT texts FROM log_state) ORDER BY key",
    )
    dialect.run(
        connection,
        "UPDATE log_state SET texts = max(texts, coalesce((SELECT max(key) FROM log_texts), 0))",
    )
    return int(dialect.rows(connection, "SELECT texts FROM log_state")[0][0])
