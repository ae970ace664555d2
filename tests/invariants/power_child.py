"""The process whose disk is recorded: `python -m tests.invariants.power_child SUBJECT FOLDER`."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any, Final

from jabberd.storage import engine
from jabberd.storage.open import open_stores
from tests.invariants.power_log import LogSubject
from tests.invariants.power_subjects import PARTS, KeyValueSubject, Subject

SUBJECTS: Final[dict[str, Subject]] = {"keyvalue": KeyValueSubject(), "log": LogSubject()}

# A checkpoint after so many pages, so that there are many of them in a short record.
_CHECKPOINT: Final = 40


def _adjust(careless: bool) -> None:
    """Have every connection do a little more than the stores ask for."""
    connect = engine._on_sqlite_connect

    def adjusted(
        patience: float, durability: engine.Durability, connection: Any, _record: object
    ) -> None:
        connect(patience, durability, connection, _record)
        connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT}").fetchall()
        if careless:
            connection.execute("PRAGMA synchronous = NORMAL").fetchall()

    engine._on_sqlite_connect = adjusted


async def _work(subject: Subject, folder: Path) -> None:
    file = os.open(folder / "marks", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def mark(*what: str | int) -> None:
        os.write(file, json.dumps(what).encode() + b"\n")

    for part in range(PARTS):
        stores = await open_stores("sqlite:", data=folder)
        await subject.work(stores, part, mark)
        await stores.close()
    os.close(file)


def main() -> None:
    """Let the subject work on the folder."""
    name, folder, *rest = sys.argv[1:]
    _adjust(careless=bool(rest))
    asyncio.run(_work(SUBJECTS[name], Path(folder)))


if __name__ == "__main__":
    main()
