"""Results from the cache are never stale, and what may not be kept is not."""

import asyncio
import mmap
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mcp_performance import QueryError, SQLitePool

READS = int(os.environ.get("MCP_PERFORMANCE_TEST_READS", "40000"))

SQL = "SELECT v FROM t WHERE id = 1"


@pytest.fixture(params=["wal", "rollback", "memory"])
async def pool(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SQLitePool]:
    path = ":memory:" if request.param == "memory" else str(tmp_path / "a.db")
    async with SQLitePool(path, wal=request.param == "wal") as pool:
        await pool.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v)")
        await pool.execute("CREATE TABLE other (x)")
        await pool.execute("INSERT INTO t VALUES (1, 0)")
        yield pool


def hits(pool: SQLitePool) -> int:
    return pool.stats().cache.hits


async def test_a_repeated_select_is_served_and_a_write_ends_that(pool: SQLitePool) -> None:
    for value in range(5):
        await pool.execute("UPDATE t SET v = ?", (value,))
        before = hits(pool)
        assert [await pool.fetchval(SQL) for _ in range(3)] == [value] * 3
        assert hits(pool) == before + 2
        assert pool.blocking.fetchval(SQL) == value
        assert hits(pool) == before + 3


async def test_every_way_to_write_ends_it(pool: SQLitePool) -> None:
    async def check(value: int) -> None:
        for _ in range(2):
            assert await pool.fetchval(SQL) == value

    await check(0)
    await pool.executemany("UPDATE t SET v = ?", [(1,), (2,)])
    await check(2)
    assert await pool.fetchval("UPDATE t SET v = 3 RETURNING v") == 3
    await check(3)
    async with pool.transaction() as connection:
        await connection.execute("UPDATE t SET v = 4")
    await check(4)
    async with pool.acquire() as connection:
        await connection.execute("UPDATE t SET v = 5")
        await check(5)
        await connection.execute("BEGIN IMMEDIATE")
        await connection.execute("UPDATE t SET v = 6")
        await connection.execute("COMMIT")
    await check(6)
    pool.blocking.execute("REPLACE INTO t VALUES (1, 7)")
    await check(7)
    await pool.execute("CREATE TRIGGER touch AFTER INSERT ON other BEGIN UPDATE t SET v = new.x; END")
    await pool.execute("INSERT INTO other VALUES (8)")
    await check(8)
    await pool.execute("DELETE FROM t")
    assert await pool.fetchval(SQL) is None


async def test_a_transaction_that_is_undone_changes_nothing_served(pool: SQLitePool) -> None:
    assert await pool.fetchval(SQL) == 0
    with pytest.raises(ZeroDivisionError):  # noqa: PT012
        async with pool.transaction() as connection:
            await connection.execute("UPDATE t SET v = 1")
            assert await connection.fetchval(SQL) == 1
            raise ZeroDivisionError
    assert await pool.fetchval(SQL) == 0


async def test_a_schema_change_ends_it_and_the_new_rows_come(pool: SQLitePool) -> None:
    sql = "SELECT * FROM t"
    assert await pool.fetch(sql) == [(1, 0)]
    await pool.execute("ALTER TABLE t ADD COLUMN w DEFAULT 'new'")
    for _ in range(3):
        assert await pool.fetch(sql, row_type="dict") == [{"id": 1, "v": 0, "w": "new"}]
    assert await pool.fetch(sql) == [(1, 0, "new")]
    await pool.execute("DROP TABLE t")
    await pool.execute("CREATE TABLE t (only)")
    assert await pool.fetch(sql) == []


async def test_the_key_tells_types_kinds_and_row_types_apart(pool: SQLitePool) -> None:
    await pool.execute("INSERT INTO t VALUES (2, 'two')")
    for _ in range(2):
        for value, stored in [(1, "integer"), (1.0, "real"), ("1", "text"), (b"1", "blob"), (None, "null")]:
            assert await pool.fetchval("SELECT typeof(?) FROM t", (value,)) == stored
        assert await pool.fetch("SELECT id FROM t WHERE id = 1") == [(1,)]
        assert await pool.fetchrow("SELECT id FROM t WHERE id = 1") == (1,)
        assert await pool.fetchval("SELECT id FROM t WHERE id = 1") == 1
        assert await pool.fetchrow("SELECT id FROM t WHERE id = 1", row_type="dict") == {"id": 1}


@pytest.mark.parametrize(
    "expression",
    [
        "random()",
        "datetime('now')",
        "CURRENT_TIMESTAMP",
        "changes()",
        "last_insert_rowid()",
        "total_changes()",
    ],
)
async def test_what_changes_by_itself_is_not_kept(pool: SQLitePool, expression: str) -> None:
    for _ in range(3):
        await pool.fetchval(f"SELECT {expression} FROM t")
    await pool.fetch("SELECT name FROM pragma_table_info('t')")
    await pool.fetch("SELECT name FROM sqlite_schema")
    assert pool.stats().cache.currsize == 0


async def test_virtual_and_temporary_tables_are_not_kept(tmp_path: Path) -> None:
    def init(connection: Any) -> None:
        connection.execute("CREATE TEMP TABLE scratch (x)")
        connection.execute("CREATE TEMP VIEW seen AS SELECT * FROM scratch")

    async with SQLitePool(tmp_path / "a.db", init=init) as pool:
        await pool.execute("CREATE VIRTUAL TABLE words USING fts5(text)")
        await pool.execute("INSERT INTO words VALUES ('one two')")
        for sql in (
            "SELECT text FROM words WHERE words MATCH 'two'",
            "SELECT count(*) FROM words",
            "SELECT x FROM scratch",
            "SELECT count(*) FROM seen",
        ):
            for _ in range(3):
                await pool.fetch(sql)
        await pool.execute("INSERT INTO words VALUES ('two three')")
        assert await pool.fetchval("SELECT count(*) FROM words") == 2
        assert pool.stats().cache.currsize == 0


@pytest.mark.parametrize(
    ("kind", "write", "reads"),
    [
        ("fts5(x)", "INSERT INTO v_w VALUES ('new')", "SELECT id, block FROM v_w_data"),
        ("fts5(x)", "UPDATE V_W SET x = 'new'", "SELECT c0 FROM v_w_content"),
        ("fts5(x)", "DELETE FROM v_w", "SELECT count(*) FROM V_W_CONTENT"),
        ("fts5(x)", "INSERT INTO v_w VALUES ('new')", "SELECT c0 FROM seen"),
        ("fts5(x)", "INSERT INTO plain VALUES ('new')", "SELECT sz FROM v_w_docsize"),
        ("fts4(x)", "INSERT INTO v_w VALUES ('new')", "SELECT count(*) FROM v_w_segdir"),
        ("rtree(id, a, b)", "INSERT INTO v_w VALUES (7, 0, 1)", "SELECT data FROM v_w_node"),
        ("rtree(id, a, b)", "DELETE FROM v_w", "SELECT nodeno FROM v_w_rowid"),
    ],
)
async def test_the_tables_below_a_virtual_table_are_never_stale(
    pool: SQLitePool, kind: str, write: str, reads: str
) -> None:
    first = "VALUES (1, 0, 1)" if kind.startswith("rtree") else "VALUES ('old')"
    await pool.execute(f"CREATE VIRTUAL TABLE v_w USING {kind}")
    await pool.execute(f"INSERT INTO v_w {first}")
    await pool.execute("CREATE TABLE plain (x)")
    if kind == "fts5(x)":
        await pool.execute("CREATE VIEW seen AS SELECT c0 FROM v_w_content")
        await pool.execute(
            "CREATE TRIGGER plain_text AFTER INSERT ON plain BEGIN INSERT INTO v_w VALUES (new.x); END"
        )
    before = await pool.fetch(reads)
    assert await pool.fetch(reads) == before
    await pool.execute(write)
    after = await pool.fetch(reads)
    assert after != before
    assert after == await pool.fetch(reads, cache=False)


async def test_a_name_with_the_beginning_of_another_table_is_kept(pool: SQLitePool) -> None:
    await pool.execute("CREATE TABLE user (id)")
    await pool.execute("CREATE TABLE user_roles (id)")
    await pool.execute("CREATE VIRTUAL TABLE user_texts USING fts5(x)")
    before = hits(pool)
    for _ in range(3):
        await pool.fetch("SELECT id FROM user_roles")
    assert hits(pool) == before + 2


@pytest.mark.parametrize(
    ("schema", "write", "before", "after"),
    [
        ("CREATE TABLE k (id PRIMARY KEY, v) WITHOUT ROWID", "UPDATE k SET v = 9", 1, 9),
        ("CREATE TABLE k (id PRIMARY KEY, v)", "INSERT OR REPLACE INTO k VALUES (1, 9)", 1, 9),
        ("CREATE TABLE k (id PRIMARY KEY, v)", "DELETE FROM k", 1, None),  # by truncation
        ("CREATE TABLE k (id PRIMARY KEY, v)", "ALTER TABLE k RENAME TO gone", 1, QueryError),
        (
            "CREATE TABLE k (id PRIMARY KEY, v)",
            "INSERT INTO k VALUES (1, 2) ON CONFLICT DO UPDATE SET v = 9",
            1,
            9,
        ),
    ],
)
async def test_writes_that_hooks_would_miss_end_it(
    pool: SQLitePool, schema: str, write: str, before: object, after: object
) -> None:
    sql = "SELECT v FROM k WHERE id = 1"
    await pool.execute(schema)
    await pool.execute("INSERT INTO k VALUES (1, 1)")
    for _ in range(2):
        assert await pool.fetchval(sql) == before
    await pool.execute(write)
    if after is QueryError:
        with pytest.raises(QueryError, match="no such table"):
            await pool.fetchval(sql)
    else:
        assert await pool.fetchval(sql) == after


async def test_a_foreign_key_and_a_view_are_followed_to_their_tables(tmp_path: Path) -> None:
    def init(connection: Any) -> None:
        connection.execute("PRAGMA foreign_keys=ON")

    async with SQLitePool(tmp_path / "a.db", init=init) as pool:
        await pool.execute("CREATE TABLE parent (id INTEGER PRIMARY KEY)")
        await pool.execute("CREATE TABLE child (p REFERENCES parent ON DELETE CASCADE)")
        await pool.execute("CREATE VIEW children AS SELECT count(*) AS n FROM child")
        await pool.execute("INSERT INTO parent VALUES (1)")
        await pool.execute("INSERT INTO child VALUES (1)")
        for _ in range(2):
            assert await pool.fetchval("SELECT n FROM children") == 1
        assert hits(pool) == 1
        await pool.execute("DELETE FROM parent")
        assert await pool.fetchval("SELECT n FROM children") == 0


async def test_writes_to_another_table_leave_a_result_and_vacuum_does_not(pool: SQLitePool) -> None:
    assert await pool.fetchval(SQL) == 0
    if not await pool.fetchval(
        "SELECT 1 FROM pragma_journal_mode WHERE journal_mode IN ('delete', 'truncate')"
    ):
        await pool.execute("INSERT INTO other VALUES (1)")
        before = hits(pool)
        assert await pool.fetchval(SQL) == 0
        assert hits(pool) == before + 1
    before = hits(pool)
    await pool.execute("VACUUM")
    assert await pool.fetchval(SQL) == 0
    assert hits(pool) == before


def test_two_loops_that_want_one_result_are_each_woken_on_their_own(tmp_path: Path) -> None:
    pool = SQLitePool(tmp_path / "a.db", inline_budget=0)
    pool.blocking.execute("CREATE TABLE t (x)")
    pool.blocking.executemany("INSERT INTO t VALUES (?)", [(i,) for i in range(500)])
    sql = "SELECT count(*) FROM t a, t b WHERE a.x < b.x AND b.x < ?"
    pool.blocking.fetchval(sql, (1,))  # known to be cacheable from here on
    answers: list[list[int]] = []
    together = threading.Barrier(3)

    async def ask() -> None:
        for turn in range(10):
            together.wait()
            answers.append(await asyncio.gather(*(pool.fetchval(sql, (100 + turn,)) for _ in range(5))))

    threads = [threading.Thread(target=asyncio.run, args=(ask(),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 30
    for turn in range(10):
        n = 100 + turn
        assert answers.count([n * (n - 1) // 2] * 5) == 3
    pool.terminate()


async def test_cache_false_neither_serves_nor_keeps(pool: SQLitePool) -> None:
    for _ in range(3):
        await pool.fetchval(SQL, cache=False)
    stats = pool.stats().cache
    assert (stats.hits, stats.misses, stats.currsize) == (0, 0, 0)


async def test_the_cache_is_bounded_in_bytes(tmp_path: Path) -> None:
    async with SQLitePool(tmp_path / "a.db", query_cache_bytes=100_000) as pool:
        await pool.execute("CREATE TABLE t (x)")
        await pool.execute("INSERT INTO t VALUES (?)", ("x" * 1000,))
        for i in range(500):
            await pool.fetchval("SELECT x || ? FROM t", (i,))
        stats = pool.stats()
        assert 50_000 < stats.cache_bytes <= 100_000
        assert stats.cache.evictions > 300


@pytest.mark.parametrize("option", [{"query_cache_ttl": 0}, {"query_cache_bytes": 0}])
async def test_the_cache_can_be_switched_off(tmp_path: Path, option: dict[str, int]) -> None:
    async with SQLitePool(tmp_path / "a.db", **option) as pool:  # type: ignore[arg-type]
        await pool.execute("CREATE TABLE t (x)")
        for _ in range(3):
            assert await pool.fetch("SELECT x FROM t") == []
        assert pool.stats().cache.hits == pool.stats().cache.currsize == 0


async def test_the_time_to_live_is_an_upper_bound(tmp_path: Path) -> None:
    async with SQLitePool(tmp_path / "a.db", query_cache_ttl=0.02) as pool:
        await pool.execute("CREATE TABLE t (x)")
        while pool.stats().cache.expirations == 0:
            assert await pool.fetch("SELECT x FROM t") == []


async def test_a_foreign_commit_and_even_a_checkpoint_are_noticed(tmp_path: Path) -> None:
    async with SQLitePool(tmp_path / "a.db") as pool:
        await pool.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v)")
        await pool.execute("INSERT INTO t VALUES (1, 0)")
        other = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
        for value in range(1, 20):
            other.execute("UPDATE t SET v = ?", (value,))
            if value % 5 == 0:
                other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            assert [await pool.fetchval(SQL), await pool.fetchval(SQL)] == [value] * 2
        other.close()


@pytest.mark.parametrize("by_hand", [False, True], ids=["execute", "COMMIT"])
def test_what_somebody_has_seen_is_never_followed_by_something_older(
    request: pytest.FixtureRequest, by_hand: bool
) -> None:
    request.addfinalizer(partial(sys.setswitchinterval, sys.getswitchinterval()))
    sys.setswitchinterval(1e-5)
    older: list[tuple[int, int]] = []
    pool = SQLitePool(":memory:", 3)
    with pool.blocking as blocking:
        blocking.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v)")
        blocking.execute("INSERT INTO t VALUES (1, 0)")
        written = threading.Event()

        def read() -> None:
            while not written.is_set():
                seen = blocking.fetchval(SQL, cache=False)
                kept = blocking.fetchval(SQL)
                if kept < seen:
                    older.append((seen, kept))

        threads = [threading.Thread(target=read) for _ in range(3)]
        for thread in threads:
            thread.start()
        for value in range(1, 2000):
            if by_hand:
                with blocking.acquire() as connection:
                    connection.execute("BEGIN IMMEDIATE")
                    connection.execute("UPDATE t SET v = ?", (value,))
                    connection.execute("COMMIT")
            else:
                blocking.execute("UPDATE t SET v = ?", (value,))
        written.set()
        for thread in threads:
            thread.join()
    assert older == []


WRITER = """
import mmap, os, sqlite3, struct, sys
path, board = sys.argv[1:]
shown = mmap.mmap(os.open(board, os.O_RDWR), 16)
connection = sqlite3.connect(path, isolation_level=None, timeout=60)
connection.execute("PRAGMA synchronous=OFF")
value = 0
while shown[8] == 0:
    value += 1
    connection.execute("UPDATE t SET v = ? WHERE id = 1", (value,))
    struct.pack_into("=q", shown, 0, value)    # after the commit
    if value % 7 == 0:
        connection.execute("UPDATE other SET x = x + 1")
"""


@pytest.mark.timeout(1200)
async def test_a_foreign_process_writes_while_eight_tasks_read_and_no_row_is_stale(tmp_path: Path) -> None:
    board = tmp_path / "board"
    board.write_bytes(bytes(16))
    async with SQLitePool(tmp_path / "a.db") as pool:
        await pool.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v)")
        await pool.execute("CREATE TABLE other (x)")
        await pool.execute("INSERT INTO t VALUES (1, 0)")
        with open(board, "r+b") as file:  # noqa: ASYNC230
            shown = mmap.mmap(file.fileno(), 16)
        process = subprocess.Popen([sys.executable, "-c", WRITER, tmp_path / "a.db", board])  # noqa: ASYNC220
        stale = 0

        def floor() -> int:
            return int.from_bytes(shown[:8], sys.byteorder)

        async def read() -> None:
            nonlocal stale
            for turn in range(READS // 8):
                least = floor()
                if await pool.fetchval(SQL) < least:
                    stale += 1
                if turn % 500 == 0:
                    await pool.execute("INSERT INTO other VALUES (1)")  # own commits in between

        try:
            while floor() == 0:
                assert process.poll() is None
                await asyncio.sleep(0)
            await asyncio.gather(*(read() for _ in range(8)))
        finally:
            shown[8] = 1
            process.wait(timeout=60)
        assert stale == 0
        assert hits(pool) > READS // 10
        shown.close()
