"""The tables of the SQL back end, as they are today; `migrations/` tells how they came to be.

Texts are compared by code point on both databases (SQLite's BINARY, PostgreSQL's "C"), so that
a listing has the same order everywhere.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
)

REVISIONS = ("0001",)
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

# AUTOINCREMENT: an id is never used again, also when the newest entries have been discarded.
QUEUE = Table(
    "queue",
    METADATA,
    Column("id", _SERIAL, primary_key=True, autoincrement=True),
    Column("owner", _TEXT, nullable=False),
    Column("at", Double(), nullable=False),
    Column("stanza", LargeBinary(), nullable=False),
    Index("queue_by_owner", "owner", "id"),
    sqlite_autoincrement=True,
)

# Alembic's own table, made by hand so that a first start need not import Alembic.
REVISION = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
