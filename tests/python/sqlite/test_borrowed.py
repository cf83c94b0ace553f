"""What one borrower of a connection leaves on it never reaches the next one."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from mcp_performance import DatabaseError, QueryError, SQLitePool


class Kind(NamedTuple):
    """A way to change a connection, and a statement whose rows tell."""

    name: str
    change: tuple[str, ...]
    look: str


def setting(name: str, value: object) -> Kind:
    return Kind(name, (f"PRAGMA {name}={value}",), f"PRAGMA {name}")


TEMPORARY = "SELECT type, name FROM sqlite_temp_schema ORDER BY name"
DATABASES = "SELECT name FROM pragma_database_list ORDER BY name"

KINDS = [
    setting("analysis_limit", 77),
    setting("automatic_index", 0),
    setting("auto_vacuum", 1),
    setting("busy_timeout", 7),
    setting("cache_size", 17),
    setting("cache_spill", 0),
    setting("cell_size_check", 1),
    setting("checkpoint_fullfsync", 1),
    setting("count_changes", 1),
    setting("defer_foreign_keys", 1),
    setting("empty_result_callbacks", 1),
    setting("foreign_keys", 1),
    setting("full_column_names", 1),
    setting("fullfsync", 1),
    setting("ignore_check_constraints", 1),
    setting("journal_size_limit", 4096),
    setting("legacy_alter_table", 1),
    setting("locking_mode", "EXCLUSIVE"),
    setting("max_page_count", 5000),
    setting("mmap_size", 65536),
    setting("query_only", 1),
    setting("read_uncommitted", 1),
    setting("recursive_triggers", 1),
    setting("reverse_unordered_selects", 1),
    setting("secure_delete", 1),
    setting("short_column_names", 0),
    setting("synchronous", 0),
    setting("temp_store", 1),
    setting("threads", 3),
    setting("trusted_schema", 0),
    setting("wal_autocheckpoint", 5),
    setting("writable_schema", 1),
    setting("main.cache_size", 23),
    Kind("a setting with parentheses", ("PRAGMA foreign_keys(1)",), "PRAGMA foreign_keys"),
    Kind("a setting by EXPLAIN", ("EXPLAIN PRAGMA foreign_keys=1",), "PRAGMA foreign_keys"),
    Kind("a setting in capitals", ("pragma FOREIGN_KEYS = ON",), "PRAGMA foreign_keys"),
    Kind("case_sensitive_like", ("PRAGMA case_sensitive_like=1",), "SELECT 'a' LIKE 'A'"),
    Kind("journal_mode", ("PRAGMA journal_mode=MEMORY",), "PRAGMA journal_mode"),
    Kind("attach", ("ATTACH ':memory:' AS side",), DATABASES),
    Kind("attach a file", ("ATTACH 'file:{directory}/side.db' AS side",), DATABASES),
    Kind("detach", ("DETACH given",), DATABASES),
    Kind("rows of an attached database", ("INSERT INTO given.t VALUES (1)",), "SELECT count(*) FROM given.t"),
    Kind("rows of a temporary table", ("INSERT INTO mine VALUES (1)",), "SELECT count(*) FROM mine"),
    Kind("a temporary table that goes", ("DROP TABLE mine",), TEMPORARY),
    Kind("a temporary table that changes", ("ALTER TABLE mine ADD COLUMN y",), "PRAGMA table_info(mine)"),
    Kind("a temporary table", ("CREATE TEMP TABLE t (x)", "INSERT INTO t VALUES (9)"), "SELECT * FROM t"),
    Kind("a table of the schema temp", ("CREATE TABLE temp.t AS SELECT 8 AS x",), "SELECT * FROM t"),
    Kind("a temporary view", ("CREATE TEMP VIEW t AS SELECT 5 AS x",), "SELECT * FROM t"),
    Kind(
        "a temporary trigger",
        ("CREATE TEMP TRIGGER eats BEFORE INSERT ON main.t BEGIN SELECT RAISE(IGNORE); END",),
        TEMPORARY,
    ),
    Kind("a temporary index", ("CREATE INDEX temp.i ON mine (x)",), TEMPORARY),
    Kind("a virtual table of the schema temp", ("CREATE VIRTUAL TABLE temp.f USING fts5(x)",), TEMPORARY),
    Kind("an open transaction", ("BEGIN IMMEDIATE", "INSERT INTO t VALUES (2)"), "SELECT * FROM main.t"),
    Kind("an open savepoint", ("SAVEPOINT s", "INSERT INTO t VALUES (2)"), "SELECT * FROM main.t"),
    Kind("last_insert_rowid", ("INSERT INTO kept VALUES (1)",), "SELECT last_insert_rowid()"),
    Kind("changes", ("INSERT INTO kept VALUES (1), (2)",), "SELECT changes()"),
    Kind("total_changes", ("INSERT INTO kept VALUES (1), (2)",), "SELECT total_changes()"),
]  # fmt: skip

by_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name.replace(" ", "-"))


class Opened(SQLitePool):
    """A pool whose connections have a temporary table and a database in memory, and are counted."""

    def __init__(self, path: Path, **options: Any) -> None:
        self.opens = 0
        super().__init__(path, init=self._prepare, busy_timeout=0.05, **options)

    def _prepare(self, connection: Any) -> None:
        self.opens += 1
        connection.execute("CREATE TEMP TABLE mine (x)")
        connection.execute("ATTACH ':memory:' AS given")
        connection.execute("CREATE TABLE given.t (x)")


@contextlib.asynccontextmanager
async def opened(path: Path, size: int) -> AsyncIterator[Opened]:
    async with Opened(path, size=size) as pool:
        await pool.execute("CREATE TABLE t (x)")
        await pool.execute("CREATE TABLE kept (x)")
        await pool.execute("INSERT INTO t VALUES (1)")
        yield pool


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    # A change that SQLite refuses where it stands (in a transaction, mostly) leaves nothing either.
    with contextlib.suppress(DatabaseError):
        yield


def changes_of(kind: Kind, path: Path) -> list[str]:
    return [sql.format(directory=path.parent) for sql in kind.change]


@pytest.mark.parametrize("size", [1, 2])
@by_kind
async def test_the_writer_comes_back_as_it_was(tmp_path: Path, kind: Kind, size: int) -> None:
    async with opened(tmp_path / "a.db", size) as pool:
        async with pool.transaction() as connection:
            before = await connection.fetch(kind.look)
        async with pool.acquire() as connection:
            for sql in changes_of(kind, tmp_path / "a.db"):
                with refusals():
                    await connection.execute(sql)
        async with pool.transaction() as connection:
            assert await connection.fetch(kind.look) == before
        if size == 1:
            assert await pool.fetch(kind.look) == before


@by_kind
def test_a_blocking_writer_comes_back_as_it_was(tmp_path: Path, kind: Kind) -> None:
    db = Opened(tmp_path / "a.db", size=1).blocking
    with db:
        for table in ("t", "kept"):
            db.execute(f"CREATE TABLE {table} (x)")
        db.execute("INSERT INTO t VALUES (1)")
        before = db.fetch(kind.look)
        with db.acquire() as connection:
            for sql in changes_of(kind, tmp_path / "a.db"):
                with refusals():
                    connection.execute(sql)
        with db.acquire() as connection:
            assert connection.fetch(kind.look) == before
        assert db.fetch(kind.look) == before


@pytest.mark.parametrize("readonly", [False, True])
@by_kind
async def test_a_transaction_leaves_the_connection_as_it_was(
    tmp_path: Path, kind: Kind, readonly: bool
) -> None:
    if kind.name == "journal_mode":  # to SQLite even asking for it is a write
        readonly = False
    async with opened(tmp_path / "a.db", 2) as pool:
        async with pool.transaction(readonly=readonly) as connection:
            before = await connection.fetch(kind.look)
        with contextlib.suppress(ZeroDivisionError):
            async with pool.transaction(readonly=readonly) as connection:
                for sql in changes_of(kind, tmp_path / "a.db"):
                    with refusals():
                        await connection.fetch(sql)
                raise ZeroDivisionError
        async with pool.transaction(readonly=readonly) as connection:
            assert await connection.fetch(kind.look) == before


@pytest.mark.parametrize("method", ["fetch", "execute"])
@by_kind
async def test_a_change_is_seen_by_whoever_made_it(tmp_path: Path, kind: Kind, method: str) -> None:
    async with opened(tmp_path / "a.db", 2) as pool, pool.acquire() as connection:
        await connection.fetch("SELECT * FROM t")
        with refusals():
            for sql in changes_of(kind, tmp_path / "a.db"):
                await getattr(connection, method)(sql)
            await connection.execute("UPDATE kept SET x = 1")  # by now at least it is the writer
        seen = await connection.fetch(kind.look)
    async with opened(tmp_path / "b.db", 1) as pool:
        unchanged = await pool.fetch(kind.look)
    ineffective = {  # SQLite's own: not in this build, or not after the database was made
        "auto_vacuum", "journal_mode", "changes", "mmap_size", "threads", "last_insert_rowid",
        "total_changes",
        "synchronous", "secure_delete", "an open transaction", "an open savepoint", "defer_foreign_keys",
        "max_page_count",
    }  # fmt: skip
    if kind.name not in ineffective:
        assert seen != unchanged


STATE = [
    kind
    for kind in KINDS
    if kind.name
    not in ("an open transaction", "an open savepoint", "last_insert_rowid", "changes", "total_changes")
]


@pytest.mark.parametrize("blocking", [False, True])
@pytest.mark.parametrize("kind", STATE, ids=lambda kind: kind.name.replace(" ", "-"))
async def test_a_statement_by_itself_that_would_change_one_connection_is_refused(
    tmp_path: Path, kind: Kind, blocking: bool
) -> None:
    async with opened(tmp_path / "a.db", 2) as pool:
        before = await pool.fetch(kind.look)
        async with pool.transaction() as connection:
            of_writer = await connection.fetch(kind.look)
        sql = changes_of(kind, tmp_path / "a.db")[0]
        for method in ("execute", "fetch"):
            with pytest.raises(QueryError, match="one connection of the pool"):
                await (
                    asyncio.to_thread(getattr(pool.blocking, method), sql)
                    if blocking
                    else getattr(pool, method)(sql)
                )
        assert await pool.fetch(kind.look) == before
        async with pool.transaction() as connection:
            assert await connection.fetch(kind.look) == of_writer
        assert pool.stats().replaced == 0


@pytest.mark.parametrize(
    "sql",
    [
        "PRAGMA foreign_keys",
        "PRAGMA cache_size",
        "PRAGMA user_version=7",
        "PRAGMA application_id=7",
        "PRAGMA table_info(t)",
        "PRAGMA main.table_xinfo('t')",
        "PRAGMA table_list",
        "PRAGMA index_list(t)",
        "PRAGMA foreign_key_check(t)",
        "PRAGMA integrity_check(1)",
        "PRAGMA quick_check",
        "PRAGMA wal_checkpoint(PASSIVE)",
        "PRAGMA incremental_vacuum(1)",
        "PRAGMA optimize",
        "PRAGMA optimize(2)",
        "PRAGMA shrink_memory",
        "PRAGMA compile_options",
        "SELECT * FROM pragma_table_info('t')",
        "ANALYZE main",
        "REINDEX",
        "VACUUM",
        "EXPLAIN QUERY PLAN SELECT * FROM t",
        "CREATE TABLE more (x)",
        "CREATE VIEW seen AS SELECT * FROM t",
        "CREATE TRIGGER counts AFTER INSERT ON t BEGIN INSERT INTO kept VALUES (1); END",
        "CREATE VIRTUAL TABLE words USING fts5(text)",
        "ALTER TABLE t ADD COLUMN y",
        "INSERT INTO t VALUES (3)",
        "DROP TABLE kept",
    ],
)
async def test_what_only_reads_or_writes_the_file_keeps_every_connection(tmp_path: Path, sql: str) -> None:
    async with opened(tmp_path / "a.db", 2) as pool:
        async with pool.transaction(readonly=True) as connection:
            await connection.fetch("SELECT 1")
        opens = pool.opens
        await pool.execute(sql)
        with refusals():
            async with pool.acquire() as connection:
                await connection.execute(sql)
        async with pool.transaction() as connection:
            await connection.execute("INSERT INTO t (x) VALUES (4)")
        assert await pool.fetchval("SELECT count(*) FROM t") > 1
        assert pool.opens == opens
        assert pool.stats().replaced == 0


async def test_a_clean_lease_opens_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path / "a.db", 3) as pool:
        for _ in range(50):
            async with pool.acquire() as connection:
                await connection.fetch("SELECT * FROM t")
                await connection.execute("INSERT INTO t VALUES (1)")
                async with connection.transaction():
                    await connection.execute("DELETE FROM t")
            async with pool.transaction() as connection:
                await connection.executemany("INSERT INTO t VALUES (?)", [(1,), (2,)])
            async with pool.transaction(readonly=True) as connection:
                assert [row async for row in connection.stream("SELECT * FROM t")]
        assert pool.opens <= 3
        assert pool.stats().replaced == 0


async def test_a_changed_connection_is_replaced_once(tmp_path: Path) -> None:
    async with opened(tmp_path / "a.db", 1) as pool:
        opens = pool.opens
        async with pool.acquire() as connection:
            for _ in range(3):
                await connection.execute("PRAGMA foreign_keys=ON")
        for _ in range(3):
            assert await pool.fetchval("PRAGMA foreign_keys") == 0
        assert pool.opens == opens + 1
        assert pool.stats().replaced == 1
        assert pool.stats().reconnects == 0


@pytest.mark.parametrize("name", ["soft_heap_limit", "hard_heap_limit"])
async def test_a_setting_of_the_whole_process_is_refused_to_every_borrower(tmp_path: Path, name: str) -> None:
    async with opened(tmp_path / "a.db", 2) as pool:
        before = await pool.fetchval(f"PRAGMA {name}")
        async with pool.acquire() as connection:
            for method in (connection.fetch, connection.execute):
                with pytest.raises(QueryError, match="all connections of the process"):
                    await method(f"PRAGMA {name}=100000000")
        for method in (pool.fetch, pool.execute):
            with pytest.raises(QueryError, match="all connections of the process"):
                await method(f"PRAGMA {name}=100000000")
        assert await pool.fetchval(f"PRAGMA {name}") == before


async def test_a_temporary_trigger_of_init_works_and_leaves_nothing(tmp_path: Path) -> None:
    def init(connection: Any) -> None:
        connection.execute("CREATE TABLE IF NOT EXISTS t (x)")
        connection.execute("CREATE TEMP TABLE log (x)")
        connection.execute("CREATE TEMP TRIGGER logs AFTER INSERT ON t BEGIN INSERT INTO log VALUES (1); END")

    async with SQLitePool(tmp_path / "a.db", size=1, init=init) as pool:
        for count in range(1, 4):
            assert await pool.execute("INSERT INTO t VALUES (1)") == 1
            assert await pool.fetchval("SELECT count(*) FROM log") == 0
            assert await pool.fetchval("SELECT count(*) FROM t") == count


async def test_a_borrower_counts_its_own_changes(tmp_path: Path) -> None:
    async with opened(tmp_path / "a.db", 2) as pool:
        figures = "SELECT changes(), total_changes(), last_insert_rowid()"
        async with pool.transaction() as connection:
            assert await connection.fetchrow(figures) == (0, 0, 0)
            await connection.execute("INSERT INTO kept VALUES (1), (2)")
            assert await connection.fetchrow(figures) == (2, 2, 2)
            await connection.execute("DELETE FROM kept WHERE x = 1")
            assert await connection.fetchrow(figures) == (1, 3, 2)
            await connection.execute("DELETE FROM kept WHERE x = 9")
            assert await connection.fetchrow(figures) == (0, 3, 2)
        async with pool.acquire() as connection:  # which moves to the writer with this statement
            await connection.execute("INSERT INTO kept VALUES (5)")
            assert await connection.fetchrow(figures) == (1, 1, 3)


async def test_writes_that_share_a_commit_do_not_see_each_other_s_changes(tmp_path: Path) -> None:
    async with opened(tmp_path / "a.db", 2) as pool:
        insert = "INSERT INTO kept VALUES (last_insert_rowid() + total_changes())"
        await pool.execute(insert)
        await asyncio.gather(*(pool.execute(insert) for _ in range(50)))
        assert await pool.fetch("SELECT DISTINCT x FROM kept") == [(0,)]
