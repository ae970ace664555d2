"""Making, marking, migrating and refusing databases."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, insert, text
from structlog.testing import capture_logs

from jabberd.storage.api import RosterPage, SchemaTooNew, StorageError, StorageFull, Stores
from jabberd.storage.engine import explain, make_engine, parse_url
from jabberd.storage.log_api import ArchiveQuery, Entry, Journaled, Relay, Restored, Saved, key_at
from jabberd.storage.open import open_stores
from jabberd.storage.records import Record
from jabberd.storage.schema import CURRENT, Schema, _migrate, prepare
from jabberd.storage.tables import METADATA, REVISION, REVISIONS
from tests.conftest import Cluster
from tests.storage.make_fixture import FIXTURES
from tests.storage.values import FULL_ITEM, JULIET, JULIETS, NURSE, ROMEO

LAST = REVISIONS[-1]
COMING = f"{int(LAST) + 1:04}"
NEXT = f"""
revision = "{COMING}"
down_revision = "{LAST}"
import sqlalchemy as sa
from alembic import op
def upgrade():
    op.create_table("extra", sa.Column("id", sa.Integer(), primary_key=True))
    op.execute("UPDATE accounts SET disabled = 'migrated'")
"""


@contextlib.contextmanager
def engine_of(url: str) -> Iterator[Engine]:
    engine = make_engine(parse_url(url, None), patience=1)
    yield engine
    engine.dispose()


def facts(engine: Engine) -> list[tuple[object, ...]]:
    """What the database itself says about its schema, down to every column's type."""
    if engine.dialect.name == "sqlite":
        question = "SELECT type, name, tbl_name, sql FROM sqlite_master"
    else:
        question = (
            "SELECT table_name, column_name, ordinal_position, column_default, is_nullable,"
            " data_type, character_maximum_length, collation_name, is_identity, '' AS x"
            " FROM information_schema.columns WHERE table_schema = 'public'"
            " UNION ALL SELECT tablename, indexname, 0, indexdef, '', '', 0, '', '', ''"
            " FROM pg_indexes WHERE schemaname = 'public' UNION ALL"
            " SELECT conrelid::regclass::text, conname, 0, pg_get_constraintdef(oid),"
            " '', '', 0, '', '', '' FROM pg_constraint WHERE connamespace = 'public'::regnamespace"
        )
    with engine.connect() as connection:
        rows = [tuple(row) for row in connection.execute(text(question))]
    squeezed = [
        tuple(re.sub(r"\s+", " ", one) if isinstance(one, str) else one for one in row)
        for row in rows
    ]
    return sorted(squeezed, key=repr)


def in_metadata(name: str | None, kind: str, _parents: object) -> bool:
    """Whether SQLAlchemy knows of it; `facts` compares the rest."""
    return not (name or "").startswith(("log_docs", "log_texts", "log_by_owner", "log_by_peer"))


def next_schema(tmp_path: Path, revision: str = NEXT) -> Schema:
    """The current schema and one revision more."""
    scripts = tmp_path / "50% migrations"
    shutil.copytree(CURRENT.scripts, scripts)
    (scripts / "versions" / f"v{COMING}_next.py").write_text(revision)
    return Schema(METADATA, (*REVISIONS, COMING), scripts)


def test_every_revision_is_known() -> None:
    scripts = list(ScriptDirectory(str(CURRENT.scripts)).walk_revisions())
    assert tuple(script.revision for script in reversed(scripts)) == REVISIONS


def test_every_schema_has_its_fixture() -> None:
    kept = sorted(path.name for path in FIXTURES.glob("schema-*.sqlite"))
    assert kept == [f"schema-{revision}.sqlite" for revision in REVISIONS]


def test_creating_and_migrating_give_the_same_schema(
    sql_url: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if sql_url.startswith("sqlite"):
        other = f"sqlite:///{tmp_path}/other.sqlite"
    else:
        cluster: Cluster = request.getfixturevalue("cluster")
        other = cluster.new_url()
    with engine_of(sql_url) as made, engine_of(other) as migrated:
        prepare(made)
        with migrated.begin() as connection:
            _migrate(connection, CURRENT)
        assert len(facts(made)) > len(METADATA.tables)
        assert facts(made) == facts(migrated)
        with migrated.connect() as connection:
            context = MigrationContext.configure(connection, opts={"include_name": in_metadata})
            assert compare_metadata(context, METADATA) == []
            assert context.get_current_revision() == REVISIONS[-1]


def test_an_older_database_is_migrated(sql_url: str, tmp_path: Path) -> None:
    schema = next_schema(tmp_path)
    account = {"owner": JULIET, "domain": "d", "scram": "", "created": 1.0, "disabled": None}
    with engine_of(sql_url) as engine:
        prepare(engine)
        with engine.begin() as connection:
            connection.execute(insert(METADATA.tables["accounts"]), account)
        with capture_logs() as logs:
            prepare(engine, schema)
            prepare(engine, schema)
        assert [(log["event"], log["before"], log["after"]) for log in logs] == [
            ("storage.migrated", LAST, COMING)
        ]
        with engine.connect() as connection:
            assert connection.execute(text("SELECT disabled FROM accounts")).all() == [
                ("migrated",)
            ]
            assert connection.execute(text("SELECT count(*) FROM extra")).scalar() == 0
        with pytest.raises(SchemaTooNew, match=f"'{COMING}'"):
            prepare(engine)
        if engine.dialect.name == "sqlite":
            copy = tmp_path / f"jabberd.sqlite.before-{COMING}"
            assert logs[0]["copy"] == str(copy)
            assert stat.S_IMODE(copy.stat().st_mode) == 0o600
            with contextlib.closing(sqlite3.connect(copy)) as old:
                assert old.execute("SELECT owner, disabled FROM accounts").fetchall() == [
                    (JULIET, None)
                ]
            assert list(tmp_path.glob("*.part*")) == []
        else:
            assert logs[0]["copy"].startswith("none")


def test_a_failed_migration_leaves_the_database_as_it_was(sql_url: str, tmp_path: Path) -> None:
    schema = next_schema(tmp_path, NEXT + "    op.execute('SELECT nonsense')\n")
    with engine_of(sql_url) as engine:
        prepare(engine)
        before = facts(engine)
        with pytest.raises(StorageError, match="nonsense"):
            prepare(engine, schema)
        assert facts(engine) == before
        prepare(engine)


async def newer(url: str) -> None:
    """A database that a later version of the server has marked."""
    await (await open_stores(url)).close()
    with engine_of(url) as engine, engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))


@pytest.mark.asyncio
async def test_a_newer_schema_is_refused(sql_url: str) -> None:
    await newer(sql_url)
    with pytest.raises(SchemaTooNew, match=r"'9999'.*newer jabberd"):
        await open_stores(sql_url)


@pytest.mark.asyncio
async def test_strange_databases_are_refused(sql_url: str) -> None:
    with engine_of(sql_url) as engine, engine.begin() as connection:
        connection.execute(text("CREATE TABLE accounts (id INTEGER)"))
    with pytest.raises(StorageError, match="accounts"):
        await open_stores(sql_url)


@pytest.mark.asyncio
async def test_an_unmarked_database_is_refused(sql_url: str) -> None:
    with engine_of(sql_url) as engine, engine.begin() as connection:
        REVISION.create(connection)
    with pytest.raises(StorageError, match="not marked"):
        await open_stores(sql_url)


@pytest.mark.asyncio
async def test_two_servers_may_start_at_once(sql_url: str) -> None:
    both = await asyncio.gather(open_stores(sql_url), open_stores(sql_url))
    for stores in both:
        assert await stores.accounts.count("example.org") == 0
        await stores.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("revision", REVISIONS)
async def test_databases_of_former_versions_open(revision: str, tmp_path: Path) -> None:
    path = tmp_path / "jabberd.sqlite"
    shutil.copyfile(FIXTURES / f"schema-{revision}.sqlite", path)
    stores = await open_stores("sqlite:", data=tmp_path)
    assert await stores.accounts.get(JULIET) == JULIETS
    nurse = await stores.accounts.get(NURSE)
    assert nurse is not None
    assert (nurse.keys, nurse.disabled) == ((), "retired")
    assert await stores.keyvalue.get(JULIET, "vcard", "") == b"<vCard/>\x00"
    page = await stores.roster.get(JULIET)
    assert page == RosterPage(page.version, (FULL_ITEM,))
    since = await stores.roster.get(JULIET, since=page.version - 1)
    assert since == RosterPage(page.version, (), (NURSE,), whole=False)
    queued = await stores.log.waiting(JULIET)
    assert [(one.at, one.stanza) for one in queued] == [
        (1.5, b"<message>1</message>"),
        (2.5, b"<message>2</message>"),
    ]
    assert await stores.roster.item(JULIET, ROMEO) == FULL_ITEM
    if revision >= "0002":
        await has_log(stores, queued)
    relays = await stores.log.relays()
    if revision >= "0003":
        key = relays[0].key
        assert relays == [Relay(key, "capulet.example", "montague.example", 4.5, b"<a>\x00")]
        assert key >= key_at(3.5)
    else:
        assert relays == []
    record = Record(JULIET, "space", "key", b"value\x00", 5.5)
    kept = await stores.records("service.example").get(JULIET, "space", "key")
    assert kept == (record if revision >= "0004" else None)
    last = max(one.key for one in (*queued, *relays))
    assert stores.log.next_key(0.0) == last + 1
    await stores.close()


async def has_log(stores: Stores, entries: Sequence[Entry]) -> None:
    """What later fixtures have beside the messages that wait."""
    log = stores.log
    assert [(one.peer, one.unique) for one in entries] == [(JULIET, "id1"), (JULIET, "id2")]
    assert (await log.page(JULIET, ArchiveQuery(peer=JULIET))).entries == tuple(entries)
    assert (await log.page(JULIET, ArchiveQuery(text="words 2"))).entries == (entries[1],)
    assert await log.recover() == [
        Restored(
            Saved(number, JULIET, b"data\x00"),
            2**32 - number,
            (Journaled(number, 7, 3, b"items\x00"),),
        )
        for number in (1, 2)
    ]


def test_a_first_start_does_without_alembic(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys; from pathlib import Path\n"
        "from jabberd.storage.open import open_stores\n"
        "async def main():\n"
        "    stores = await open_stores('memory:'); await stores.close()\n"
        "    assert 'sqlalchemy' not in sys.modules\n"
        "    stores = await open_stores('sqlite:', data=Path(sys.argv[1])); await stores.close()\n"
        "    assert 'sqlalchemy' in sys.modules and 'alembic' not in sys.modules\n"
        "asyncio.run(main())\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, timeout=60)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "storage must be"),
        ("mysql://localhost/x", "storage must be"),
        ("sqlite", "cannot be read"),
        ("sqlite:", "needs a data folder"),
        ("sqlite://", "write sqlite:///PATH"),
        ("sqlite:///:memory:", "memory:"),
        ("sqlite:///a?mode=ro", "write sqlite:///PATH"),
        ("postgresql://user:hunter2@host:port/x", "cannot be read"),
        ("postgresql:", "cannot be read"),
    ],
)
async def test_wrong_urls(url: str, said: str) -> None:
    with pytest.raises(StorageError, match=said) as caught:
        await open_stores(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.asyncio
async def test_files_that_are_no_database(tmp_path: Path) -> None:
    (tmp_path / "a.sqlite").write_bytes(b"This is a letter, not a database. " * 100)
    with pytest.raises(StorageError, match="damaged, or is none"):
        await open_stores(f"sqlite:///{tmp_path}/a.sqlite")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError, match="folder"):
        await open_stores(f"sqlite:///{tmp_path}/folder")
    with pytest.raises(StorageError, match=r"a\.sqlite"):
        await open_stores(f"sqlite:///{tmp_path}/a.sqlite/b")


@pytest.mark.asyncio
async def test_postgresql_out_of_reach(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="out of reach"):
        await open_stores(f"postgresql://user:hunter2@/x?host={tmp_path}")


def test_postgresql_without_its_driver() -> None:
    program = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from jabberd.storage.engine import make_engine, parse_url\n"
        "from jabberd.storage.api import StorageError\n"
        "try:\n    make_engine(parse_url('postgresql://h/x', None), patience=1)\n"
        "except StorageError as error:\n    assert 'jabberd[postgresql]' in str(error)\n"
        "else:\n    raise SystemExit('no error')\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_what_a_full_disk_says_while_copying() -> None:
    full = sqlite3.OperationalError("database or disk is full")
    full.sqlite_errorcode = sqlite3.SQLITE_FULL
    assert isinstance(explain(full), StorageFull)
