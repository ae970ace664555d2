"""The records of services in SQL: one row each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Integer, bindparam, delete, select, tuple_

from jabberd.storage import limits
from jabberd.storage.records import Drop, Record
from jabberd.storage.tables import RECORDS
from jabberd.storage.upsert import Upsert
from jabberd.storage.worker import Database

_R = RECORDS.c
_FIELDS = (_R.owner, _R.space, _R.key, _R.value, _R.at)
_SPACE = (
    _R.service == bindparam("of"),
    _R.owner == bindparam("who"),
    _R.space == bindparam("where"),
)
_ONE = (*_SPACE, _R.key == bindparam("which"))
_MOST = bindparam("most", type_=Integer())
_GET = select(*_FIELDS).where(*_ONE)
_LIST = select(*_FIELDS).where(*_SPACE, _R.key > bindparam("after")).order_by(_R.key).limit(_MOST)
_EVERYONE = (
    select(*_FIELDS)
    .where(
        _R.service == bindparam("of"),
        _R.space == bindparam("where"),
        _R.owner != "",
        tuple_(_R.owner, _R.key) > tuple_(bindparam("after_owner"), bindparam("after")),
    )
    .order_by(_R.owner, _R.key)
    .limit(_MOST)
)
_DROP = delete(RECORDS).where(*_ONE)
_OLD = (
    select(_R.owner, _R.key)
    .where(
        _R.service == bindparam("of"), _R.space == bindparam("where"), _R.at < bindparam("before")
    )
    .limit(_MOST)
)
_ERASE = delete(RECORDS).where(_R.service == bindparam("of"), _R.owner == bindparam("who"))
_ERASE_OWNER = delete(RECORDS).where(_R.owner == bindparam("who"))
_MOST_ROWS = 10_000


class SqlRecords:
    """`Records` in a table.

    Args:
        database: runs the statements.
        upsert: of its dialect.
        service: whose records.
    """

    def __init__(self, database: Database, upsert: Upsert, service: str) -> None:
        limits.check_text(service)
        self._database = database
        self._put = upsert(RECORDS)
        self._service = service

    async def get(self, owner: str, space: str, key: str) -> Record | None:
        """See `Records.get`."""
        limits.check_text(owner, space, key)
        what = {"who": owner, "where": space, "which": key}
        rows = await self._read(_GET, what)
        return rows[0] if rows else None

    async def list(
        self, owner: str, space: str, *, after: str = "", limit: int = 100
    ) -> Sequence[Record]:
        """See `Records.list`."""
        limits.check_text(owner, space, after)
        what = {"who": owner, "where": space, "after": after, "most": _most(limit)}
        return await self._read(_LIST, what)

    async def everyone(
        self, space: str, *, after: tuple[str, str] = ("", ""), limit: int = 100
    ) -> Sequence[Record]:
        """See `Records.everyone`."""
        limits.check_text(space, *after)
        what = {
            "where": space,
            "after_owner": after[0],
            "after": after[1],
            "most": _most(limit),
        }
        return await self._read(_EVERYONE, what)

    async def write(self, changes: Sequence[Record | Drop]) -> None:
        """See `Records.write`."""
        for change in changes:
            limits.check_text(change.owner, change.space, change.key)
        if changes:
            await self._database.write(self._write, changes)

    async def prune(self, space: str, before: float, *, limit: int = 1_000) -> int:
        """See `Records.prune`."""
        limits.check_text(space)
        what = {"of": self._service, "where": space, "before": before, "most": _most(limit)}
        return await self._database.write(_prune, what)

    async def erase(self, owner: str) -> None:
        """See `Records.erase`."""
        limits.check_text(owner)
        what = {"of": self._service, "who": owner}
        await self._database.write(_run, (_ERASE, what))

    async def _read(self, statement: Any, what: dict[str, Any]) -> Sequence[Record]:
        question = (statement, {"of": self._service, **what})
        return await self._database.read(_records, question)

    def _write(self, connection: Connection, changes: Sequence[Record | Drop]) -> None:
        for change in changes:
            if isinstance(change, Record):
                row = {
                    "service": self._service,
                    "owner": change.owner,
                    "space": change.space,
                    "key": change.key,
                    "value": change.value,
                    "at": change.at,
                }
                connection.execute(self._put, row)
            else:
                what = {
                    "of": self._service,
                    "who": change.owner,
                    "where": change.space,
                    "which": change.key,
                }
                connection.execute(_DROP, what)


def erase_records(connection: Connection, owner: str) -> None:
    """Remove what every service has of an owner."""
    connection.execute(_ERASE_OWNER, {"who": owner})


def _most(limit: int) -> int:
    return max(0, min(limit, _MOST_ROWS))


def _records(connection: Connection, question: tuple[Any, dict[str, Any]]) -> Sequence[Record]:
    return [Record(*row) for row in connection.execute(*question)]


def _run(connection: Connection, change: tuple[Any, dict[str, Any]]) -> None:
    connection.execute(*change)


def _prune(connection: Connection, what: dict[str, Any]) -> int:
    rows = connection.execute(_OLD, what).all()
    for owner, key in rows:
        one = {"of": what["of"], "who": owner, "where": what["where"], "which": key}
        connection.execute(_DROP, one)
    return len(rows)
