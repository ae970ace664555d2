"""The tables of the SQL back end, as they are today; `migrations/` tells how they came to be.

Texts are compared by code point on both databases (SQLite's BINARY, PostgreSQL's "C"), so that
a listing has the same order everywhere.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    event,
    text,
)

REVISIONS = ("0001", "0002", "0003", "0004")
"""Every schema there ever was, oldest first; the last one is the one below."""

METADATA = MetaData()
"""Everything that holds data."""

_TEXT = Text().with_variant(Text(collation="C"), "postgresql")
_SERIAL = BigInteger().with_variant(Integer(), "sqlite")

ACCOUNTS = Table(
    "accounts",
    METADATA,
    Column("owner", _TEXT, primary_key=True),
    Column("domain", _TEXT, nullable=False),
    Column("scram", Text(), nullable=False),
    Column("created", Double(), nullable=False),
    Column("disabled", Text(), nullable=True),
    Index("accounts_by_domain", "domain", "owner"),
    sqlite_with_rowid=False,
)

KEYVALUE = Table(
    "keyvalue",
    METADATA,
    Column("owner", _TEXT, primary_key=True),
    Column("space", _TEXT, primary_key=True),
    Column("key", _TEXT, primary_key=True),
    Column("value", LargeBinary(), nullable=False),
)

ROSTERS = Table(
    "rosters",
    METADATA,
    Column("owner", _TEXT, primary_key=True),
    Column("version", BigInteger(), nullable=False),
    Column("floor", BigInteger(), nullable=False),
    sqlite_with_rowid=False,
)

# A removed item stays for a while as a row that is `gone`, for clients that know an older
# version (RFC 6121 §2.6); below `rosters.floor` such rows have been dropped.
ROSTER_ITEMS = Table(
    "roster_items",
    METADATA,
    Column("owner", _TEXT, primary_key=True),
    Column("contact", _TEXT, primary_key=True),
    Column("version", BigInteger(), nullable=False),
    Column("gone", Boolean(), nullable=False),
    Column("name", Text(), nullable=False),
    Column("group_names", Text(), nullable=False),
    Column("subscription", Text(), nullable=False),
    Column("ask", Boolean(), nullable=False),
    Column("pending_in", LargeBinary(), nullable=True),
    Column("approved", Boolean(), nullable=False),
    Column("listed", Boolean(), nullable=False),
    sqlite_with_rowid=False,
)

# In this order a service's records of one kind lie together, for whoever goes through all of them.
RECORDS = Table(
    "records",
    METADATA,
    Column("service", _TEXT, primary_key=True),
    Column("space", _TEXT, primary_key=True),
    Column("owner", _TEXT, primary_key=True),
    Column("key", _TEXT, primary_key=True),
    Column("at", Double(), nullable=False),
    Column("value", LargeBinary(), nullable=False),
    Index("records_by_age", "service", "space", "at"),
    Index("records_by_owner", "owner", "service"),
)

# Owners and peers of the log. AUTOINCREMENT: the number of a name that went is never used again,
# so that no cache and no index can take one account for another.
LOG_NAMES = Table(
    "log_names",
    METADATA,
    Column("id", _SERIAL, primary_key=True, autoincrement=True),
    Column("jid", _TEXT, nullable=False),
    Column("domain", _TEXT, nullable=False),
    Index("log_names_by_jid", "jid", unique=True),
    Index("log_names_by_domain", "domain", "jid"),
    sqlite_autoincrement=True,
)

# What is looked at while rows are skipped stands before what is long.
LOG = Table(
    "log",
    METADATA,
    Column("key", _SERIAL, primary_key=True, autoincrement=False),
    Column("owner", BigInteger(), nullable=False),
    Column("peer", BigInteger(), nullable=False),
    Column("flags", Integer(), nullable=False),
    Column("doc", BigInteger(), nullable=False),
    Column("at", Double(), nullable=False),
    Column("resource", Text(), nullable=False),
    Column("mark", Text(), nullable=False),
    Column("stanza", LargeBinary(), nullable=False),
)
_waits = text("flags & 2 <> 0")
_points = text("doc <> 0 AND doc <> key")
Index(
    "log_waiting",
    LOG.c.owner,
    LOG.c.key,
    sqlite_where=_waits,
    postgresql_where=_waits,
)
# The entry whose key a text has needs no index to be found.
Index(
    "log_by_doc",
    LOG.c.doc,
    LOG.c.owner,
    sqlite_where=_points,
    postgresql_where=_points,
)

# One row. `late` and `apart` are milliseconds: see `log_shared.Shared`.
LOG_STATE = Table(
    "log_state",
    METADATA,
    Column("id", Integer(), primary_key=True, autoincrement=False),
    Column("secret", LargeBinary(), nullable=False),
    Column("floor", BigInteger(), nullable=False),
    Column("checkpoint", BigInteger(), nullable=False),
    Column("indexed", BigInteger(), nullable=False),
    Column("texts", BigInteger(), nullable=False),
    Column("late", BigInteger(), nullable=False),
    Column("apart", BigInteger(), nullable=False),
)

# Archives that are being erased: what has a key up to this one is not there any more.
LOG_ERASED = Table(
    "log_erased",
    METADATA,
    Column("owner", _SERIAL, primary_key=True, autoincrement=False),
    Column("upto", BigInteger(), nullable=False),
)

LOG_SESSIONS = Table(
    "log_sessions",
    METADATA,
    Column("number", _SERIAL, primary_key=True, autoincrement=False),
    Column("owner", _TEXT, nullable=False),
    Column("data", LargeBinary(), nullable=False),
)

# Apart from the sessions, because it changes with every message: many to a page.
LOG_HANDLED = Table(
    "log_handled",
    METADATA,
    Column("number", _SERIAL, primary_key=True, autoincrement=False),
    Column("handled", BigInteger(), nullable=False),
)

LOG_JOURNAL = Table(
    "log_journal",
    METADATA,
    Column("number", BigInteger(), primary_key=True, autoincrement=False),
    Column("first", BigInteger(), primary_key=True, autoincrement=False),
    Column("stanzas", Integer(), nullable=False),
    Column("items", LargeBinary(), nullable=False),
    sqlite_with_rowid=False,
)

LOG_RELAYS = Table(
    "log_relays",
    METADATA,
    Column("key", _SERIAL, primary_key=True, autoincrement=False),
    Column("local", Text(), nullable=False),
    Column("remote", Text(), nullable=False),
    Column("expires", Double(), nullable=False),
    Column("stanza", LargeBinary(), nullable=False),
)

# What the databases have each in their own way.
#
# SQLite writes whole pages, and each account's place in an index is a page of its own: keeping the
# indexes of the log by every commit costs three times what the rows cost, and that by words twice.
# So there they are tables of our own, to which rows are added later, many together (`log_index`,
# `log_docs`). All rows up to `log_state.indexed` and `.texts` are in them.
_BY_OWNER = """
CREATE TABLE log_by_owner (
    owner INTEGER NOT NULL, key INTEGER NOT NULL, visible INTEGER NOT NULL,
    PRIMARY KEY (owner, key)
) WITHOUT ROWID
"""
_BY_PEER = """
CREATE TABLE log_by_peer (
    peer INTEGER NOT NULL, owner INTEGER NOT NULL, key INTEGER NOT NULL, visible INTEGER NOT NULL,
    PRIMARY KEY (peer, owner, key)
) WITHOUT ROWID
"""
_TEXTS = "CREATE TABLE log_texts (key INTEGER PRIMARY KEY, words TEXT NOT NULL)"
_DOCS = """
CREATE VIRTUAL TABLE log_docs USING fts5(
    words, content = 'log_texts', content_rowid = 'key', detail = none, columnsize = 0,
    tokenize = "ascii tokenchars '@'"
)
"""
_OWN = {
    "sqlite": (_BY_OWNER, _BY_PEER, _TEXTS, _DOCS),
    "postgresql": (
        "CREATE INDEX log_by_owner ON log (owner, key)",
        "CREATE INDEX log_by_peer ON log (peer, owner, key)",
        "CREATE TABLE log_docs (key BIGINT PRIMARY KEY, words TSVECTOR NOT NULL)",
        "CREATE INDEX log_docs_by_word ON log_docs USING gin (words)",
    ),
}


@event.listens_for(METADATA, "after_create")
def _create_own(_metadata: MetaData, connection: Connection, **_: object) -> None:
    for statement in _OWN[connection.dialect.name]:
        connection.exec_driver_sql(statement)


# Alembic's own table, made by hand so that a first start need not import Alembic.
REVISION = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
