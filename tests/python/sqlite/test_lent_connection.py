"""pool.connection(): Python's own sqlite3 on the database of a pool, whose results stay true."""

import asyncio
import os
import sqlite3
import subprocess
import sys
import textwrap

import pytest

from mcp_performance import DatabaseError, PoolClosed, SQLitePool
from mcp_performance.sqlite import _library

KINDS = {"a file": "app.db", "a file without a log": "rollback.db", "memory": ":memory:"}


@pytest.fixture(params=KINDS, ids=KINDS)
async def pool(request, tmp_path):
    name = KINDS[request.param]
    path = name if name == ":memory:" else tmp_path / name
    async with SQLitePool(path, wal=name != "rollback.db", busy_timeout=60) as pool:
        await pool.execute("CREATE TABLE t (a)")
        await pool.execute("INSERT INTO t VALUES (1)")
        yield pool


async def test_what_it_commits_is_seen_by_the_next_fetch(pool):
    async with pool.connection() as db:
        for count in range(1, 50):
            for _ in range(3):  # the last of them from the cache
                assert await pool.fetchval("SELECT count(*) FROM t") == count
            await db.execute("INSERT INTO t VALUES (?)", (count,))
            await db.commit()
    assert await pool.fetchval("SELECT count(*) FROM t") == 50


async def test_what_the_pool_commits_is_seen_by_it(pool):
    async with pool.connection() as db:
        for count in range(1, 20):
            assert await db.execute_fetchall("SELECT count(*) FROM t") == [(count,)]
            await pool.execute("INSERT INTO t VALUES (?)", (count,))


async def test_a_file_keeps_its_result_cache_beside_it_and_memory_does_not(pool):
    async with pool.connection() as db:
        await pool.fetch("SELECT a FROM t")
        before = pool.stats().cache.hits
        await pool.fetch("SELECT a FROM t")
        kept = pool.stats().cache.hits - before
        assert kept == (0 if pool.path == ":memory:" else 1)
        assert db.in_transaction is False


async def test_what_is_not_committed_is_undone(pool):
    async with pool.connection() as db:
        await db.execute("INSERT INTO t VALUES (2)")
        assert db.in_transaction
    assert await pool.fetchval("SELECT count(*) FROM t") == 1


async def test_its_cursor_is_that_of_sqlite3(pool):
    async with pool.connection(isolation_level=None) as db:
        await db.execute("BEGIN IMMEDIATE")
        async with db.execute("INSERT INTO t VALUES (?)", (7,)) as cursor:
            assert (cursor.rowcount, cursor.lastrowid) == (1, 2)
        await db.execute("SAVEPOINT s")
        await db.execute("DELETE FROM t")
        await db.execute("ROLLBACK TO s")
        await db.execute("COMMIT")
        async with db.execute("SELECT a AS number FROM t") as cursor:
            assert [column[0] for column in cursor.description] == ["number"]
            assert await cursor.fetchmany(1) == [(1,)]
            assert await cursor.fetchall() == [(7,)]
        db.row_factory = sqlite3.Row
        assert (await db.execute_fetchall("SELECT a FROM t"))[0]["a"] == 1


async def test_its_errors_are_those_of_sqlite3(pool):
    async with pool.connection() as db:
        with pytest.raises(sqlite3.OperationalError, match="no such table: nowhere"):
            await db.execute("SELECT * FROM nowhere")
        await db.execute("CREATE UNIQUE INDEX u ON t(a)")
        with pytest.raises(sqlite3.IntegrityError, match=r"UNIQUE constraint failed: t\.a"):
            await db.execute("INSERT INTO t VALUES (1)")
        with pytest.raises(sqlite3.Error, match="not authorized"):
            await db.execute("SELECT load_extension('nothing')")  # off until it is enabled


async def test_it_has_the_settings_of_the_pool(tmp_path):
    def init(connection):
        connection.execute("PRAGMA foreign_keys=ON")
        connection.create_function("shout", 1, str.upper, deterministic=True)
        connection.create_collation("backwards", lambda one, other: (one < other) - (one > other))

    async with (
        SQLitePool(
            tmp_path / "app.db", init=init, synchronous="EXTRA", cache_pages=77, busy_timeout=9
        ) as pool,
        pool.connection() as db,
    ):
        for pragma, value in [
            ("journal_mode", "wal"),
            ("synchronous", 3),
            ("cache_size", 77),
            ("foreign_keys", 1),
            ("busy_timeout", 9000),
        ]:
            assert await db.execute_fetchall(f"PRAGMA {pragma}") == [(value,)]
        rows = await db.execute_fetchall(
            "SELECT shout(c) FROM (SELECT 'a' AS c UNION ALL SELECT 'b') ORDER BY c COLLATE backwards"
        )
        assert rows == [("B",), ("A",)]
        assert db.isolation_level == ""


async def test_the_blocking_twin_is_a_connection_of_sqlite3(tmp_path):
    pool = SQLitePool(tmp_path / "app.db")
    with pool.blocking:
        with pool.blocking.connection() as db:
            assert type(db) is sqlite3.Connection
            db.executescript("CREATE TABLE t (a); INSERT INTO t VALUES (1);")
            assert pool.blocking.fetchval("SELECT count(*) FROM t") == 1
            db.execute("INSERT INTO t VALUES (2)")
        assert pool.blocking.fetchval("SELECT count(*) FROM t") == 1
    with pytest.raises(PoolClosed), pool.blocking.connection():
        pass


async def test_a_closed_pool_lends_nothing(tmp_path):
    pool = SQLitePool(tmp_path / "app.db")
    await pool.close()
    with pytest.raises(PoolClosed):
        await pool.connection()


@pytest.mark.parametrize("size", [0, -1])
async def test_a_chunk_size_is_positive(tmp_path, size):
    with pytest.raises(ValueError, match=f"iter_chunk_size={size}"):
        SQLitePool(tmp_path / "app.db").connection(iter_chunk_size=size)


async def test_writers_stand_in_line_behind_its_transaction(tmp_path):
    async with SQLitePool(tmp_path / "app.db", busy_timeout=60) as pool:
        await pool.execute("CREATE TABLE t (a)")
        async with pool.connection() as db:
            await db.execute("INSERT INTO t VALUES (1)")
            waiting = asyncio.create_task(pool.execute("INSERT INTO t VALUES (2)"))
            assert await pool.fetchval("SELECT count(*) FROM t") == 0
            await db.commit()
            await waiting
        assert await pool.fetch("SELECT a FROM t") == [(1,), (2,)]


async def test_a_file_that_was_replaced_is_not_touched_any_more(tmp_path):
    path, other = tmp_path / "app.db", tmp_path / "other.db"
    for name, value in ((path, 1), (other, 2)):
        with sqlite3.connect(name) as made:
            made.execute("CREATE TABLE t (a)")
            made.execute("INSERT INTO t VALUES (?)", (value,))
        made.close()
    async with SQLitePool(path) as pool:
        db = await pool.connection()
        assert await db.execute_fetchall("SELECT a FROM t") == [(1,)]
        os.replace(other, path)
        with pytest.raises(sqlite3.OperationalError, match="was replaced"):
            await db.execute("INSERT INTO t VALUES (3)")
        await db.close()
        assert await pool.fetch("SELECT a FROM t") == [(2,)]


async def test_two_copies_of_sqlite_never_open_one_file(tmp_path, monkeypatch):
    monkeypatch.setattr(_library, "is_shared", lambda: False)
    async with SQLitePool(tmp_path / "app.db") as pool:
        with pytest.raises(DatabaseError, match="two copies of SQLite"):
            await pool.connection()
        with pytest.raises(DatabaseError, match="two copies of SQLite"), pool.blocking.connection():
            pass


@pytest.mark.parametrize("closed", [False, True], ids=["open at the fork", "closed before it"])
def test_a_child_refuses_a_file_that_was_lent_at_the_fork(tmp_path, closed):
    program = """
        import asyncio, os, sys
        from mcp_performance import DatabaseError, SQLitePool
        async def main():
            pool = SQLitePool(sys.argv[1])
            await pool.execute("CREATE TABLE t (a)")
            db = await pool.connection()
            await db.execute_fetchall("SELECT * FROM t")
            if sys.argv[2] == "True":
                await db.close()
            child = os.fork()
            if child == 0:
                try:
                    pool.blocking.fetch("SELECT * FROM t")
                    os._exit(7)
                except DatabaseError as error:
                    os._exit(8 if "forked while a connection" in str(error) else 9)
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
            await db.close()
        asyncio.run(main())
    """
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(program), tmp_path / "app.db", str(closed)],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (ran.stdout, ran.stderr) == ("7\n" if closed else "8\n", "")
