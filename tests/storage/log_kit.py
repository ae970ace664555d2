"""What the tests of the log share."""

from __future__ import annotations

from typing import Any

from jabberd.storage.log_api import ArchiveQuery, Doc, Entry, Flag, Log, Unit
from tests.storage.values import JULIET, ROMEO, commit

AT = 1_700_000_000.0
VISIBLE = int(Flag.VISIBLE)
AWAITING = int(Flag.AWAITING)
SENT = int(Flag.SENT)
SEEN = int(Flag.SEEN)


def entry(log: Log, owner: str = JULIET, peer: str = ROMEO, at: float = AT, **other: Any) -> Entry:
    """A visible entry with a new key."""
    key = log.next_key(at)
    made = Entry(key, owner, peer, "", at, VISIBLE, "", 0, b"<message id='%d'/>" % key)
    return made._replace(**other)


def message(log: Log, text: str, one: str = JULIET, other: str = ROMEO, at: float = AT) -> Unit:
    """Both copies of a message, and its text."""
    sent = entry(log, one, other, at, flags=VISIBLE | SENT)
    seen = entry(log, other, one, at, doc=sent.key)
    return Unit([sent._replace(doc=sent.key), seen], [Doc(sent.key, text)])


async def add(log: Log, *entries: Entry) -> None:
    """Commit entries in one unit."""
    await commit(log, Unit(entries=list(entries)))


async def keys(log: Log, owner: str = JULIET, **query: Any) -> list[int]:
    """Keys of a page."""
    return [row.key for row in (await log.page(owner, ArchiveQuery(**query))).entries]
