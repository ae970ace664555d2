"""The roster in SQL: one row per contact, and one per owner for the version."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    and_,
    bindparam,
    delete,
    func,
    not_,
    or_,
    select,
    type_coerce,
    update,
)
from sqlalchemy.types import NULLTYPE

from jabberd.storage import limits
from jabberd.storage.api import RosterChange, RosterFull, RosterItem, RosterPage, Subscription
from jabberd.storage.tables import ROSTER_ITEMS, ROSTERS
from jabberd.storage.upsert import Upsert
from jabberd.storage.worker import Database

_R = ROSTERS.c
_I = ROSTER_ITEMS.c
# As the drivers give them: converting forty booleans one by one costs as much as the query.
_FIELDS = [
    type_coerce(column, NULLTYPE)
    for column in (
        _I.contact,
        _I.name,
        _I.group_names,
        _I.subscription,
        _I.ask,
        _I.pending_in,
        _I.approved,
        _I.listed,
    )
]
_SUBSCRIPTIONS = {value.value: value for value in Subscription}
# No version is negative, so that this asks for the whole roster.
_WHOLE = -1

# One statement sees one state of the database: version, items and removals belong together.
_since = bindparam("since", type_=BigInteger())
_partial = and_(_since >= _R.floor, _since <= _R.version)
_PAGE = (
    select(*_FIELDS, _R.version, _R.floor, _I.version, type_coerce(_I.gone, NULLTYPE))
    .select_from(
        ROSTERS.outerjoin(
            ROSTER_ITEMS,
            and_(
                _I.owner == _R.owner,
                or_(and_(not_(_partial), _I.gone.is_(False)), and_(_partial, _I.version > _since)),
            ),
        )
    )
    .where(_R.owner == bindparam("owner"))
)
_LIVE = and_(_I.owner == bindparam("owner"), _I.gone.is_(False))
_ITEM = select(*_FIELDS).where(_LIVE, _I.contact == bindparam("contact"))
_COUNT = select(func.count()).select_from(ROSTER_ITEMS).where(_LIVE)
_GONE = and_(_I.owner == bindparam("of"), _I.gone.is_(True))
_REMOVE = (
    update(ROSTER_ITEMS)
    .where(_I.owner == bindparam("of"), _I.contact == bindparam("who"))
    .values(version=bindparam("version"), gone=True, name="", group_names="", pending_in=None)
)
_OLDEST = select(_I.version).where(_GONE).order_by(_I.version.desc()).offset(limits.REMOVED_KEPT)
_FORGET = delete(ROSTER_ITEMS).where(_GONE, _I.version <= bindparam("upto"))
_SET_VERSION = (
    update(ROSTERS)
    .where(_R.owner == bindparam("of"))
    .values(version=bindparam("version"), floor=bindparam("floor"))
)
_ERASE_ITEMS = delete(ROSTER_ITEMS).where(_I.owner == bindparam("owner"))
_ERASE_ROSTER = delete(ROSTERS).where(_R.owner == bindparam("owner"))


@dataclass(frozen=True, slots=True)
class _Change:
    owner: str
    contact: str
    transition: Callable[[RosterItem | None], RosterItem | None]
    limit: int


class SqlRoster:
    """`Roster` in two tables."""

    def __init__(self, database: Database, upsert: Upsert) -> None:
        self._database = database
        # Taking the version locks the owner's row until the commit, on PostgreSQL too: changes
        # of one roster come one after the other, whichever process makes them.
        self._lock = upsert(ROSTERS, update={"version": _R.version}).returning(_R.version, _R.floor)
        self._put = upsert(ROSTER_ITEMS)

    async def get(self, owner: str, *, since: int | None = None) -> RosterPage:
        """See `Roster.get`."""
        limits.check_text(owner)
        if since is None or not 0 <= since <= limits.INTEGER_MAX:
            since = _WHOLE
        return await self._database.read(_page, {"owner": owner, "since": since})

    async def item(self, owner: str, contact: str) -> RosterItem | None:
        """See `Roster.item`."""
        limits.check_text(owner, contact)
        return await self._database.read(_item, {"owner": owner, "contact": contact})

    async def change(
        self,
        owner: str,
        contact: str,
        transition: Callable[[RosterItem | None], RosterItem | None],
        *,
        limit: int = 0,
    ) -> RosterChange:
        """See `Roster.change`."""
        limits.check_text(owner, contact)
        done = await self._database.write(self._change, _Change(owner, contact, transition, limit))
        if isinstance(done, Exception):
            raise done
        return done

    async def erase(self, owner: str) -> None:
        """See `Roster.erase`."""
        limits.check_text(owner)
        await self._database.write(erase_roster, owner)

    def _change(self, connection: Connection, change: _Change) -> RosterChange | Exception:
        """Change one item; an exception that is returned has written nothing.

        It is returned, not raised, so that it does not roll back what others wrote beside it.
        """
        start = limits.first_version()
        key = {"owner": change.owner, "contact": change.contact}
        version, floor = connection.execute(
            self._lock, {"owner": change.owner, "version": start, "floor": start}
        ).one()
        before = _item(connection, key)
        after = _decide(connection, change, before)
        if after == before or isinstance(after, Exception):
            if version == floor:  # nothing has ever been in this roster: leave no trace
                connection.execute(_ERASE_ROSTER, {"owner": change.owner})
                version = 0
            if isinstance(after, Exception):
                return after
            return RosterChange(version, before, before)
        version += 1
        if after is None:
            floor = _remove(connection, change, version, floor)
        else:
            connection.execute(self._put, {**key, **_row(after), "version": version})
        connection.execute(_SET_VERSION, {"of": change.owner, "version": version, "floor": floor})
        return RosterChange(version, before, after)


def erase_roster(connection: Connection, owner: str) -> None:
    """Remove everything of this owner, within a transaction."""
    connection.execute(_ERASE_ITEMS, {"owner": owner})
    connection.execute(_ERASE_ROSTER, {"owner": owner})


def _decide(
    connection: Connection, change: _Change, before: RosterItem | None
) -> RosterItem | Exception | None:
    try:
        after = change.transition(before)
        if after is not None and after != before:
            limits.check_item(after, change.contact)
    except Exception as error:
        return error
    if after is not None and before is None and change.limit > 0:
        count = connection.execute(_COUNT, {"owner": change.owner}).scalar_one()
        if count >= change.limit:
            return RosterFull(f"the roster of {change.owner} has {count} items already")
    return after


def _remove(connection: Connection, change: _Change, version: int, floor: int) -> int:
    """Mark an item as gone, forget the oldest such marks; returns the new floor."""
    owner = change.owner
    connection.execute(_REMOVE, {"of": owner, "who": change.contact, "version": version})
    oldest: int | None = connection.execute(_OLDEST, {"of": owner}).scalar()
    if oldest is None:
        return floor
    connection.execute(_FORGET, {"of": owner, "upto": oldest})
    return oldest


def _page(connection: Connection, key: dict[str, Any]) -> RosterPage:
    rows: Sequence[Sequence[Any]] = connection.execute(_PAGE, key).all()
    since = key["since"]
    if not rows:
        return RosterPage(0, (), whole=since != 0)
    version, floor = rows[0][8], rows[0][9]
    if not floor <= since <= version:
        return RosterPage(version, tuple([_read(row) for row in rows if row[0] is not None]))
    changed = sorted([row for row in rows if row[0] is not None], key=lambda row: row[10])
    return RosterPage(
        version,
        tuple([_read(row) for row in changed if not row[11]]),
        tuple([row[0] for row in changed if row[11]]),
        whole=False,
    )


def _item(connection: Connection, key: dict[str, Any]) -> RosterItem | None:
    row = connection.execute(_ITEM, key).first()
    return None if row is None else _read(row)


def _read(row: Sequence[Any]) -> RosterItem:
    contact, name, groups, subscription, ask, pending_in, approved, listed = row[:8]
    return RosterItem(
        contact,
        name,
        _read_groups(groups) if groups else (),
        _SUBSCRIPTIONS[subscription],
        bool(ask),
        pending_in,
        bool(approved),
        bool(listed),
    )


def _write_groups(groups: tuple[str, ...]) -> str:
    return json.dumps(groups, ensure_ascii=False, separators=(",", ":")) if groups else ""


def _read_groups(text: str) -> tuple[str, ...]:
    """Read what `_write_groups` wrote; without an escape in it, a split says the same, sooner."""
    if "\\" in text:
        return tuple(json.loads(text))
    return tuple(text[2:-2].split('","'))


def _row(item: RosterItem) -> dict[str, Any]:
    return {
        "gone": False,
        "name": item.name,
        "group_names": _write_groups(item.groups),
        "subscription": item.subscription.value,
        "ask": item.ask,
        "pending_in": item.pending_in,
        "approved": item.approved,
        "listed": item.listed,
    }
