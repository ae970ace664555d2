"""The history of the schema, for Alembic: one file per revision under `versions`."""
