"""Writes the database that later versions must be able to open.

Run `python -m tests.storage.make_fixture` once per schema, and keep what it made for ever.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from jabberd.storage.open import open_stores
from jabberd.storage.tables import REVISIONS
from tests.storage.values import FULL_ITEM, JULIET, JULIETS, NURSE, becomes

FIXTURES = Path(__file__).parent / "fixtures"


async def write(path: Path) -> None:
    """Make a database with something in every table."""
    stores = await open_stores(f"sqlite:///{path}")
    await stores.accounts.create(JULIETS)
    await stores.accounts.create(replace(JULIETS, owner=NURSE, keys=(), disabled="retired"))
    await stores.keyvalue.put(JULIET, "vcard", "", b"<vCard/>\x00")
    await stores.roster.change(JULIET, FULL_ITEM.contact, becomes(FULL_ITEM))
    await stores.roster.change(JULIET, NURSE, becomes(replace(FULL_ITEM, contact=NURSE)))
    await stores.roster.change(JULIET, NURSE, becomes(None))
    await stores.queue.append(JULIET, b"<message>1</message>", 1.5)
    await stores.queue.append(JULIET, b"<message>2</message>", 2.5)
    await stores.close()


if __name__ == "__main__":
    target = FIXTURES / f"schema-{REVISIONS[-1]}.sqlite"
    if target.exists():
        raise SystemExit(f"{target} is there already and must not change")
    asyncio.run(write(target))
