"""Writes the database that later versions must be able to open.

Run `python -m tests.storage.make_fixture` once per schema, and keep what it made for ever.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from jabberd.storage.log_api import Doc, Entry, Flag, Journaled, Relay, Saved, Unit
from jabberd.storage.open import open_stores
from jabberd.storage.records import Record
from jabberd.storage.tables import REVISIONS
from tests.storage.values import FULL_ITEM, JULIET, JULIETS, NURSE, becomes, commit

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
    for number, at in ((1, 1.5), (2, 2.5)):
        key = stores.log.next_key(at)
        flags = int(Flag.VISIBLE | Flag.AWAITING)
        stanza = b"<message>%d</message>" % number
        entry = Entry(key, JULIET, JULIET, "", at, flags, f"id{number}", key, stanza)
        unit = Unit(entries=[entry], docs=[Doc(key, f"words {number}")])
        unit.sessions[number] = Saved(number, JULIET, b"data\x00")
        unit.handled[number] = 2**32 - number
        unit.journal.append(Journaled(number, 7, 3, b"items\x00"))
        await commit(stores.log, unit)
    relay = Relay(stores.log.next_key(3.5), "capulet.example", "montague.example", 4.5, b"<a>\x00")
    await commit(stores.log, Unit(relays=[relay]))
    record = Record(JULIET, "space", "key", b"value\x00", 5.5)
    await stores.records("service.example").write([record])
    await stores.close()


if __name__ == "__main__":
    target = FIXTURES / f"schema-{REVISIONS[-1]}.sqlite"
    if target.exists():
        raise SystemExit(f"{target} is there already and must not change")
    asyncio.run(write(target))
