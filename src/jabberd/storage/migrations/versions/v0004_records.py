"""The records of services: gateways and the like."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make their table; there were none before."""
    text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    op.create_table(
        "records",
        sa.Column("service", text, primary_key=True),
        sa.Column("space", text, primary_key=True),
        sa.Column("owner", text, primary_key=True),
        sa.Column("key", text, primary_key=True),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
    )
    op.create_index("records_by_age", "records", ["service", "space", "at"])
    op.create_index("records_by_owner", "records", ["owner", "service"])
