"""The log, in the place of the queue."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Sequence
from xml.parsers import expat

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_KEY_BITS = 20
_WAITS = sa.text("flags & 2 <> 0")
_POINTS = sa.text("doc <> 0 AND doc <> key")
_AT_ONCE = 1000
# Visible in the archive, and awaiting its owner.
_FLAGS = 1 | 2

_SQLITE = (
    """
CREATE TABLE log_by_owner (
    owner INTEGER NOT NULL, key INTEGER NOT NULL, visible INTEGER NOT NULL,
    PRIMARY KEY (owner, key)
) WITHOUT ROWID
""",
    """
CREATE TABLE log_by_peer (
    peer INTEGER NOT NULL, owner INTEGER NOT NULL, key INTEGER NOT NULL, visible INTEGER NOT NULL,
    PRIMARY KEY (peer, owner, key)
) WITHOUT ROWID
""",
    "CREATE TABLE log_texts (key INTEGER PRIMARY KEY, words TEXT NOT NULL)",
    """
CREATE VIRTUAL TABLE log_docs USING fts5(
    words, content = 'log_texts', content_rowid = 'key', detail = none, columnsize = 0,
    tokenize = "ascii tokenchars '@'"
)
""",
)
_POSTGRESQL = (
    "CREATE INDEX log_by_owner ON log (owner, key)",
    "CREATE INDEX log_by_peer ON log (peer, owner, key)",
    "CREATE TABLE log_docs (key BIGINT PRIMARY KEY, words TSVECTOR NOT NULL)",
    "CREATE INDEX log_docs_by_word ON log_docs USING gin (words)",
)


def upgrade() -> None:
    """Make the tables of the log, and move into it what waits in the queue."""
    _make_tables()
    connection = op.get_bind()
    own = _SQLITE if connection.dialect.name == "sqlite" else _POSTGRESQL
    for statement in own:
        connection.exec_driver_sql(statement)
    late, last = _move(connection)
    connection.execute(
        sa.text(
            "INSERT INTO log_state (id, secret, floor, checkpoint, indexed, texts, late, apart)"
            " VALUES (1, :secret, :last, :last, 0, 0, :late, 0)"
        ),
        {"secret": secrets.token_bytes(16), "last": last, "late": late},
    )
    op.drop_table("queue")


def _make_tables() -> None:
    text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "log_names",
        sa.Column("id", serial, primary_key=True, autoincrement=True),
        sa.Column("jid", text, nullable=False),
        sa.Column("domain", text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("log_names_by_jid", "log_names", ["jid"], unique=True)
    op.create_index("log_names_by_domain", "log_names", ["domain", "jid"])
    op.create_table(
        "log",
        sa.Column("key", serial, primary_key=True, autoincrement=False),
        sa.Column("owner", sa.BigInteger(), nullable=False),
        sa.Column("peer", sa.BigInteger(), nullable=False),
        sa.Column("flags", sa.Integer(), nullable=False),
        sa.Column("doc", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("mark", sa.Text(), nullable=False),
        sa.Column("stanza", sa.LargeBinary(), nullable=False),
    )
    for name, columns, where in (
        ("log_waiting", ["owner", "key"], _WAITS),
        ("log_by_doc", ["doc", "owner"], _POINTS),
    ):
        op.create_index(name, "log", columns, sqlite_where=where, postgresql_where=where)
    op.create_table(
        "log_state",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("floor", sa.BigInteger(), nullable=False),
        sa.Column("checkpoint", sa.BigInteger(), nullable=False),
        sa.Column("indexed", sa.BigInteger(), nullable=False),
        sa.Column("texts", sa.BigInteger(), nullable=False),
        sa.Column("late", sa.BigInteger(), nullable=False),
        sa.Column("apart", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "log_erased",
        sa.Column("owner", serial, primary_key=True, autoincrement=False),
        sa.Column("upto", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "log_sessions",
        sa.Column("number", serial, primary_key=True, autoincrement=False),
        sa.Column("owner", text, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
    )
    op.create_table(
        "log_handled",
        sa.Column("number", serial, primary_key=True, autoincrement=False),
        sa.Column("handled", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "log_journal",
        sa.Column("number", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("first", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("stanzas", sa.Integer(), nullable=False),
        sa.Column("items", sa.LargeBinary(), nullable=False),
        sqlite_with_rowid=False,
    )


def _move(connection: sa.Connection) -> tuple[int, int]:
    """Move the queue into the log; returns the greatest lateness (ms), and the last key."""
    add = sa.text(
        "INSERT INTO log (key, owner, peer, flags, doc, at, resource, mark, stanza)"
        " VALUES (:key, :owner, :peer, :flags, 0, :at, :resource, '', :stanza)"
    )
    read = sa.text(
        "SELECT id, owner, at, stanza FROM queue WHERE id > :after ORDER BY id LIMIT :most"
    )
    names: dict[str, int] = {}
    late = last = after = 0
    while found := connection.execute(read, {"after": after, "most": _AT_ONCE}).all():
        after = found[-1][0]
        rows = []
        for _, owner, at, stanza in found:
            # The order of the queue is kept, also where the clock had stepped back meanwhile.
            milliseconds = max(0, int(at * 1000))
            last = max(last + 1, milliseconds << _KEY_BITS)
            late = max(late, (last >> _KEY_BITS) - milliseconds)
            peer, _, resource = _sender(stanza, owner).partition("/")
            row = {"key": last, "at": at, "resource": resource, "stanza": stanza, "flags": _FLAGS}
            row["owner"] = _number(connection, names, owner)
            row["peer"] = _number(connection, names, peer)
            rows.append(row)
        connection.execute(add, rows)
    return late, last


def _sender(stanza: bytes, owner: str) -> str:
    """Whom a stanza is from; without `from` it is from the account itself (RFC 6120 §8.1.2.1)."""
    senders: list[str] = []

    def start(_name: str, attributes: Sequence[str] | dict[str, str]) -> None:
        if not senders and isinstance(attributes, dict):
            senders.append(attributes.get("from") or owner)

    parser = expat.ParserCreate("UTF-8")
    parser.StartElementHandler = start
    with contextlib.suppress(expat.ExpatError):  # of no use to anybody, but not ours to throw away
        parser.Parse(stanza, True)
    return senders[0] if senders else owner


def _number(connection: sa.Connection, names: dict[str, int], name: str) -> int:
    if name not in names:
        add = sa.text("INSERT INTO log_names (jid, domain) VALUES (:jid, :domain) RETURNING id")
        new = {"jid": name, "domain": name.rpartition("@")[2]}
        names[name] = connection.execute(add, new).scalar_one()
    return names[name]
