"""The stores in SQL, the same code for SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    Integer,
    bindparam,
    delete,
    func,
    select,
    update,
)

from jabberd.storage import limits
from jabberd.storage.api import Account, AccountExists, Accounts, ScramKeys
from jabberd.storage.log_write import LogWriter
from jabberd.storage.recent import RecentAccounts
from jabberd.storage.records import Records
from jabberd.storage.sql_log import SqlLog, Start
from jabberd.storage.sql_records import SqlRecords, erase_records
from jabberd.storage.sql_roster import SqlRoster, erase_roster
from jabberd.storage.tables import ACCOUNTS, KEYVALUE
from jabberd.storage.upsert import Upsert
from jabberd.storage.worker import Database

_A = ACCOUNTS.c
_K = KEYVALUE.c

_ACCOUNT = select(_A.owner, _A.scram, _A.created, _A.disabled)
_ACCOUNT_GET = _ACCOUNT.where(_A.owner == bindparam("owner"))
_ACCOUNT_LIST = (
    _ACCOUNT.where(_A.domain == bindparam("domain"), _A.owner > bindparam("after"))
    .order_by(_A.owner)
    .limit(bindparam("most", type_=Integer()))
)
_ACCOUNT_COUNT = select(func.count()).where(_A.domain == bindparam("domain"))
_ACCOUNT_KEYS = update(ACCOUNTS).where(_A.owner == bindparam("of")).values(scram=bindparam("scram"))
_ACCOUNT_DISABLED = (
    update(ACCOUNTS).where(_A.owner == bindparam("of")).values(disabled=bindparam("disabled"))
)
_ACCOUNT_ERASE = delete(ACCOUNTS).where(_A.owner == bindparam("owner"))

_SPACE = (_K.owner == bindparam("owner"), _K.space == bindparam("space"))
_VALUE_GET = select(_K.value).where(*_SPACE, _K.key == bindparam("key"))
_VALUE_GET_MANY = select(_K.owner, _K.value).where(
    _K.owner.in_(bindparam("owners", expanding=True)),
    _K.space == bindparam("space"),
    _K.key == bindparam("key"),
)
_VALUE_KEYS = select(_K.key).where(*_SPACE).order_by(_K.key)
_VALUE_DELETE = delete(KEYVALUE).where(*_SPACE, _K.key == bindparam("key"))
_VALUE_ERASE = delete(KEYVALUE).where(_K.owner == bindparam("owner"))

_MOST = 2**31 - 1
# How many owners one question names: a statement has a bound on its parameters.
_OWNERS_AT_ONCE = 500


def _write_keys(keys: Sequence[ScramKeys]) -> str:
    """One line per hash function, bytes in hexadecimal: small, and quick to read back."""
    return "\n".join(
        f"{key.hash}:{key.iterations}:{key.salt.hex()}:{key.stored.hex()}:{key.server.hex()}"
        for key in keys
    )


def _read_keys(text: str) -> tuple[ScramKeys, ...]:
    keys = []
    for line in text.splitlines():
        name, iterations, salt, stored, server = line.split(":")
        of_hex = bytes.fromhex
        keys.append(ScramKeys(name, of_hex(salt), int(iterations), of_hex(stored), of_hex(server)))
    return tuple(keys)


def _read_account(row: Sequence[Any]) -> Account:
    owner, scram, created, disabled = row
    return Account(owner, _read_keys(scram), created, disabled)


class SqlAccounts:
    """`Accounts` in a table."""

    def __init__(self, database: Database, upsert: Upsert) -> None:
        self._database = database
        self._insert = upsert.or_nothing(ACCOUNTS).returning(_A.owner)

    async def create(self, account: Account) -> None:
        """See `Accounts.create`."""
        limits.check_text(account.owner, account.disabled or "")
        row = {
            "owner": account.owner,
            "domain": limits.domain_of(account.owner),
            "scram": _write_keys(account.keys),
            "created": account.created,
            "disabled": account.disabled,
        }
        if not await self._database.write(self._create, row):
            raise AccountExists(f"there is an account {account.owner} already")

    async def get(self, owner: str) -> Account | None:
        """See `Accounts.get`."""
        limits.check_text(owner)
        return await self._database.read(self._get, owner)

    async def list(self, domain: str, *, after: str = "", limit: int = 100) -> Sequence[Account]:
        """See `Accounts.list`."""
        limits.check_text(domain, after)
        what = {"domain": domain, "after": after, "most": min(limits.clamp(limit), _MOST)}
        rows = await self._database.read(_rows, (_ACCOUNT_LIST, what))
        return [_read_account(row) for row in rows]

    async def count(self, domain: str) -> int:
        """See `Accounts.count`."""
        limits.check_text(domain)
        rows = await self._database.read(_rows, (_ACCOUNT_COUNT, {"domain": domain}))
        return int(rows[0][0])

    async def set_keys(self, owner: str, keys: Sequence[ScramKeys]) -> bool:
        """See `Accounts.set_keys`."""
        limits.check_text(owner)
        what = {"of": owner, "scram": _write_keys(keys)}
        return await self._database.write(_change, (_ACCOUNT_KEYS, what)) > 0

    async def set_disabled(self, owner: str, reason: str | None) -> bool:
        """See `Accounts.set_disabled`."""
        limits.check_text(owner, reason or "")
        what = {"of": owner, "disabled": reason}
        return await self._database.write(_change, (_ACCOUNT_DISABLED, what)) > 0

    async def erase(self, owner: str) -> bool:
        """See `Accounts.erase`."""
        limits.check_text(owner)
        return await self._database.write(_change, (_ACCOUNT_ERASE, {"owner": owner})) > 0

    def _create(self, connection: Connection, row: dict[str, Any]) -> bool:
        return connection.execute(self._insert, row).first() is not None

    @staticmethod
    def _get(connection: Connection, owner: str) -> Account | None:
        row = connection.execute(_ACCOUNT_GET, {"owner": owner}).first()
        return None if row is None else _read_account(row)


class SqlKeyValue:
    """`KeyValue` in a table."""

    def __init__(self, database: Database, upsert: Upsert) -> None:
        self._database = database
        self._put = upsert(KEYVALUE)

    async def get(self, owner: str, space: str, key: str) -> bytes | None:
        """See `KeyValue.get`."""
        limits.check_text(owner, space, key)
        what = {"owner": owner, "space": space, "key": key}
        rows = await self._database.read(_rows, (_VALUE_GET, what))
        return rows[0][0] if rows else None

    async def get_many(self, owners: Sequence[str], space: str, key: str) -> Mapping[str, bytes]:
        """See `KeyValue.get_many`."""
        limits.check_text(*owners, space, key)
        found: dict[str, bytes] = {}
        for start in range(0, len(owners), _OWNERS_AT_ONCE):
            some = list(owners[start : start + _OWNERS_AT_ONCE])
            what = {"owners": some, "space": space, "key": key}
            rows = await self._database.read(_rows, (_VALUE_GET_MANY, what))
            found.update((owner, value) for owner, value in rows)
        return found

    async def put(self, owner: str, space: str, key: str, value: bytes | None) -> None:
        """See `KeyValue.put`."""
        limits.check_text(owner, space, key)
        what = {"owner": owner, "space": space, "key": key}
        if value is None:
            await self._database.write(_change, (_VALUE_DELETE, what))
        else:
            await self._database.write(_change, (self._put, {**what, "value": value}))

    async def keys(self, owner: str, space: str) -> Sequence[str]:
        """See `KeyValue.keys`."""
        limits.check_text(owner, space)
        what = {"owner": owner, "space": space}
        return [row[0] for row in await self._database.read(_rows, (_VALUE_KEYS, what))]

    async def erase(self, owner: str) -> None:
        """See `KeyValue.erase`."""
        limits.check_text(owner)
        await self._database.write(_change, (_VALUE_ERASE, {"owner": owner}))


class SqlStores:
    """`Stores` in a database that `schema.prepare` has seen. Belongs to the running loop.

    Args:
        engine: of that database.
        begun: what `sql_log.start` said of it.
        patience: how long a call waits in line, and then for a lock, in seconds.

    Attributes:
        database: runs work of your own in the same threads and transactions.
        accounts: who may log in.
        keyvalue: small values of modules.
        roster: contacts and subscription states.
        log: messages, and sessions with stream management.
    """

    def __init__(self, engine: Engine, begun: Start, *, patience: float) -> None:
        upsert = self._upsert = Upsert(engine.dialect.name)
        self._writer = LogWriter(begun.dialect, begun.shared, begun.texts)
        self.database = Database(engine, patience=patience, ended=self._writer.ended)
        accounts = SqlAccounts(self.database, upsert)
        self._recent = RecentAccounts(accounts) if engine.dialect.name == "sqlite" else None
        self.accounts: Accounts = self._recent or accounts
        self.keyvalue = SqlKeyValue(self.database, upsert)
        self.roster = SqlRoster(self.database, upsert)
        self.log = SqlLog(begun, self._writer, self.database)

    def records(self, service: str) -> Records:
        """See `Stores.records`."""
        return SqlRecords(self.database, self._upsert, service)

    async def erase(self, owner: str) -> bool:
        """See `Stores.erase`."""
        limits.check_text(owner)
        try:
            existed = await self.database.write(self._erase, owner)
            self.log.sweep()
            return existed
        finally:
            if self._recent is not None:
                self._recent.forget(owner)

    async def close(self) -> None:
        """See `Stores.close`; calls after it raise StorageError."""
        await self.log.close()
        await self.database.close()

    def _erase(self, connection: Connection, owner: str) -> bool:
        what = {"owner": owner}
        connection.execute(_VALUE_ERASE, what)
        erase_roster(connection, owner)
        erase_records(connection, owner)
        self._writer.erase(connection, owner)
        return connection.execute(_ACCOUNT_ERASE, what).rowcount > 0


def _rows(connection: Connection, question: tuple[Any, dict[str, Any]]) -> Sequence[Sequence[Any]]:
    rows: Sequence[Sequence[Any]] = connection.execute(*question).all()
    return rows


def _change(connection: Connection, change: tuple[Any, dict[str, Any]]) -> int:
    """Run a statement; returns how many rows it touched."""
    return connection.execute(*change).rowcount
