"""From the configuration's `storage` to stores that work."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Literal

from jabberd.storage.api import Stores
from jabberd.storage.memory import MemoryStores


async def open_stores(
    url: str,
    *,
    data: Path | None = None,
    patience: float = 5.0,
    durability: Literal["power", "process"] = "power",
) -> Stores:
    """Open the stores; make or migrate the database where that is needed.

    Use them on this event loop only, and close them at the end.

    Args:
        url: "memory:" (or "memory"), "sqlite:" (the file jabberd.sqlite in the data folder),
            "sqlite:///relative/path", "sqlite:////absolute/path", or "postgresql://…".
        data: the data folder; needed for "sqlite:" only.
        patience: how long a call waits in line, and then for a lock, in seconds.
        durability: what a write that has returned survives. "power": a power cut, and the end of
            the process (with PostgreSQL: what its own settings say). "process": the end of the
            process only; a power cut, or the end of PostgreSQL, may take the last moments.

    Raises:
        SchemaTooNew: a newer version of the server wrote the database.
        StorageError: the URL is wrong, or the database cannot be opened or migrated.
    """
    if url in {"memory", "memory:"}:
        return MemoryStores()
    # Imported here because SQLAlchemy takes a while, which a server in memory need not wait for.
    from jabberd.storage import engine as dialects  # noqa: PLC0415 -- as said above
    from jabberd.storage.schema import prepare  # noqa: PLC0415 -- as said above
    from jabberd.storage.sql import SqlStores  # noqa: PLC0415 -- as said above
    from jabberd.storage.sql_log import start  # noqa: PLC0415 -- as said above

    engine = dialects.make_engine(
        dialects.parse_url(url, data), patience=patience, durability=durability
    )
    try:
        await asyncio.to_thread(prepare, engine)
        begun = await asyncio.to_thread(start, engine)
    except BaseException:
        engine.dispose()
        raise
    return SqlStores(engine, begun, patience=patience)
