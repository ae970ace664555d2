"""Accounts, key-value, rosters, queue."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the first tables."""
    text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "accounts",
        sa.Column("owner", text, primary_key=True),
        sa.Column("domain", text, nullable=False),
        sa.Column("scram", sa.Text(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("disabled", sa.Text(), nullable=True),
        sqlite_with_rowid=False,
    )
    op.create_index("accounts_by_domain", "accounts", ["domain", "owner"])
    op.create_table(
        "keyvalue",
        sa.Column("owner", text, primary_key=True),
        sa.Column("space", text, primary_key=True),
        sa.Column("key", text, primary_key=True),
        sa.Column("value", sa.LargeBinary(), nullable=False),
    )
    op.create_table(
        "rosters",
        sa.Column("owner", text, primary_key=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("floor", sa.BigInteger(), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "roster_items",
        sa.Column("owner", text, primary_key=True),
        sa.Column("contact", text, primary_key=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("gone", sa.Boolean(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("group_names", sa.Text(), nullable=False),
        sa.Column("subscription", sa.Text(), nullable=False),
        sa.Column("ask", sa.Boolean(), nullable=False),
        sa.Column("pending_in", sa.LargeBinary(), nullable=True),
        sa.Column("approved", sa.Boolean(), nullable=False),
        sa.Column("listed", sa.Boolean(), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "queue",
        sa.Column("id", serial, primary_key=True, autoincrement=True),
        sa.Column("owner", text, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("stanza", sa.LargeBinary(), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("queue_by_owner", "queue", ["owner", "id"])
