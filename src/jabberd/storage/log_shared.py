"""What the writer and the readers of the log have in common."""

# ruff: noqa: S608 -- statements are made of constants; whatever comes from outside is an argument

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import Connection

from jabberd.storage.log_dialects import Dialect


@dataclass(slots=True)
class Shared:
    """What the readers need to know of what was committed.

    Attributes:
        names: numbers of names, as many as are known by heart.
        recent: entries that are not in the index yet, by number of the owner: see `read_recent`.
        erased: archives that are being erased: number of the owner and the last key that goes.
        late: by how many milliseconds a key's time was ever ahead of its entry's: the clock had
            stepped back.
        apart: how many milliseconds the key of an entry was ever away from that of its text.
        last: the greatest key that was ever given out; of the loop.
    """

    names: dict[str, int] = field(default_factory=dict)
    recent: dict[int, list[int]] = field(default_factory=dict)
    erased: dict[int, int] = field(default_factory=dict)
    late: int = 0
    apart: int = 0
    last: int = 0


def number_of(dialect: Dialect, connection: Connection, name: str) -> int | None:
    """The number of a name in the database; None where there is none."""
    rows = dialect.rows(connection, "SELECT id FROM log_names WHERE jid = ?", (name,))
    return int(rows[0][0]) if rows else None


def raise_state(dialect: Dialect, connection: Connection, column: str, to: int) -> None:
    """Raise a number in the state of the log; it never falls."""
    statement = f"UPDATE log_state SET {column} = ? WHERE {column} < ?"
    dialect.run(connection, statement, (to, to))
