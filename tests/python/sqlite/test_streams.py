"""Streams, copies, and what init= may do with a new connection."""

import asyncio
import sqlite3
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from mcp_performance import ConfigurationError, DatabaseError, PoolClosed, QueryError, SQLitePool

ROWS = 20_000


async def filled(path: Path, **options: Any) -> SQLitePool:
    pool = SQLitePool(path, **options)
    await pool.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT)")
    await pool.executemany("INSERT INTO t VALUES (?, ?)", ((i, f"name {i}") for i in range(ROWS)))
    return pool


async def test_a_stream_gives_every_row_in_order(tmp_path: Path) -> None:
    async with await filled(tmp_path / "a.db") as pool:
        rows = [row async for row in pool.stream("SELECT * FROM t WHERE id >= ? ORDER BY id", (5,))]
        assert rows == [(i, f"name {i}") for i in range(5, ROWS)]
        named = [row["name"] async for row in pool.stream("SELECT name FROM t LIMIT 2", row_type="named")]
        assert named == ["name 0", "name 1"]
        assert [row async for row in pool.stream("SELECT * FROM t WHERE id < 0")] == []
        assert pool.stats().in_use == 0


async def test_a_stream_is_one_snapshot_and_writers_go_on(tmp_path: Path) -> None:
    async with await filled(tmp_path / "a.db") as pool:
        count = 0
        async for _ in pool.stream("SELECT * FROM t"):
            if count == 0:
                await pool.execute("DELETE FROM t")
            count += 1
        assert count == ROWS
        assert await pool.fetchval("SELECT count(*) FROM t") == 0


async def test_a_stream_left_early_gives_its_connection_back(tmp_path: Path) -> None:
    async with await filled(tmp_path / "a.db", size=2, acquire_timeout=5) as pool:
        for _ in range(5):
            async with aclosing(pool.stream("SELECT * FROM t")) as rows:
                async for row in rows:
                    assert row == (0, "name 0")
                    break
        assert await pool.fetchval("SELECT count(*) FROM t") == ROWS


async def test_a_stream_holds_a_portion_not_the_result(tmp_path: Path) -> None:
    async with await filled(tmp_path / "a.db") as pool, pool.acquire() as connection:
        sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"  # endless
        seen = 0
        async for (number,) in connection.stream(sql):
            seen += 1
            assert number == seen
            if seen == 50_000:
                break


async def test_a_stream_that_writes_is_refused(tmp_path: Path) -> None:
    async with await filled(tmp_path / "a.db") as pool:
        with pytest.raises(QueryError, match="only read"):
            async for _ in pool.stream("DELETE FROM t RETURNING id"):
                pass
        assert await pool.fetchval("SELECT count(*) FROM t") == ROWS


async def test_a_stream_in_a_transaction_sees_its_changes(tmp_path: Path) -> None:
    async with await filled(tmp_path / "a.db") as pool, pool.transaction() as connection:
        await connection.execute("DELETE FROM t WHERE id > 2")
        assert [row[0] async for row in connection.stream("SELECT id FROM t")] == [0, 1, 2]


def test_a_blocking_stream(tmp_path: Path) -> None:
    pool = asyncio.run(filled(tmp_path / "a.db"))
    with pool.blocking as db:
        assert sum(1 for _ in db.stream("SELECT * FROM t")) == ROWS
        rows = db.stream("SELECT * FROM t")
        assert next(rows) == (0, "name 0")
        rows.close()
        while pool.stats().in_use > 0:
            pass  # a worker ends its statement


async def test_a_backup_is_a_sound_copy_of_one_snapshot(tmp_path: Path) -> None:
    async with await filled(tmp_path / "a.db") as pool:
        for _ in range(2):  # the second replaces the first
            await pool.backup(tmp_path / "copy.db")
        pool.blocking.backup(tmp_path / "copy2.db")
        with pytest.raises(ConfigurationError, match="the database itself"):
            await pool.backup(tmp_path / "a.db")
        with pytest.raises(DatabaseError):
            await pool.backup(tmp_path / "missing" / "copy.db")
        assert await pool.fetchval("SELECT count(*) FROM t") == ROWS
    for name in ("copy.db", "copy2.db"):
        copy = sqlite3.connect(tmp_path / name)
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert copy.execute("SELECT count(*) FROM t").fetchone() == (ROWS,)
        copy.close()


async def test_init_runs_on_each_connection_and_adds_functions_and_collations(tmp_path: Path) -> None:
    kept: list[Any] = []

    def init(connection: Any) -> None:
        kept.append(connection)
        assert connection.execute("SELECT ?", (1,)) == [(1,)]
        connection.execute("CREATE TEMP TABLE scratch (x)")
        connection.create_function("shout", 1, lambda text: text.upper() + "!", deterministic=True)
        connection.create_function("fail", 0, lambda: 1 // 0)
        connection.create_collation("backwards", lambda a, b: (a < b) - (a > b))

    async with SQLitePool(tmp_path / "a.db", size=3, init=init) as pool:
        await pool.execute("CREATE TABLE t (x TEXT)")
        await pool.executemany("INSERT INTO t VALUES (?)", [("a",), ("c",), ("b",)])
        for _ in range(20):  # on workers and inline
            assert await pool.fetchval("SELECT shout('hey')") == "HEY!"
        assert await pool.fetch("SELECT x FROM t ORDER BY x COLLATE backwards") == [("c",), ("b",), ("a",)]
        with pytest.raises(QueryError, match="a user function raised ZeroDivisionError: integer division"):
            await pool.fetch("SELECT fail()")
        async with pool.acquire() as one, pool.acquire() as two:
            assert await one.fetch("SELECT * FROM scratch") == await two.fetch("SELECT * FROM scratch") == []
        assert len(kept) >= 2
        with pytest.raises(PoolClosed, match="while init runs"):
            kept[0].execute("SELECT 1")


async def test_an_init_that_raises_fails_the_request_and_not_the_pool(tmp_path: Path) -> None:
    failures = [ZeroDivisionError("first"), None]

    def init(connection: Any) -> None:
        failure = failures.pop(0) if failures else None
        if failure is not None:
            raise failure

    pool = SQLitePool(tmp_path / "a.db", size=1, init=init)
    with pytest.raises(ZeroDivisionError, match="first"):
        await pool.fetchval("SELECT 1")
    assert await pool.fetchval("SELECT 1") == 1
    await pool.close()


async def test_attach_through_init_and_its_rows_are_never_kept(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE o (x)")
    other.execute("INSERT INTO o VALUES (1)")
    other.commit()

    def init(connection: Any) -> None:
        connection.execute("ATTACH ? AS other", (str(tmp_path / "other.db"),))

    async with SQLitePool(tmp_path / "a.db", init=init) as pool:
        for sql in ("SELECT max(x) FROM o", "SELECT count(*) FROM o", "SELECT x FROM other.o"):
            assert await pool.fetchval(sql) == 1
        other.execute("UPDATE o SET x = 5")
        other.commit()
        assert await pool.fetchval("SELECT max(x) FROM o") == 5
        other.execute("INSERT INTO o VALUES (6)")
        other.commit()
        assert await pool.fetchval("SELECT count(*) FROM o") == 2
        assert pool.stats().cache.currsize == 0
    other.close()


WRITES_BESIDE_A_STREAM = [
    "UPDATE t SET name = 'new' WHERE id = 5",
    "INSERT INTO t (name) VALUES ('more')",
    "DELETE FROM t WHERE id > 100",
    "ALTER TABLE t ADD COLUMN more",
    "CREATE TEMP TABLE scratch (x)",
    "PRAGMA case_sensitive_like = 1",
    "BEGIN IMMEDIATE",
]


async def all_back(pool: SQLitePool) -> None:
    while pool.stats().in_use:  # noqa: ASYNC110 - a worker ends what was left open
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("write", WRITES_BESIDE_A_STREAM)
async def test_a_stream_goes_on_when_its_block_writes(tmp_path: Path, write: str) -> None:
    async with await filled(tmp_path / "a.db", size=3) as pool:
        async with pool.acquire() as connection:
            seen, beside = [], 0
            async with aclosing(connection.stream("SELECT id FROM t ORDER BY id")) as rows:
                async for (number,) in rows:
                    if number == 0:
                        await connection.execute(write)
                        beside = await connection.fetchval("SELECT count(*) FROM t")
                    seen.append(number)
            assert seen == list(range(ROWS))  # one snapshot, as that of the pool's own streams
            assert beside == {"I": ROWS + 1, "D": 101}.get(write[0], ROWS)
            if write.startswith("BEGIN"):
                await connection.execute("COMMIT")
            second = [number async for (number,) in connection.stream("SELECT id FROM t")]
            assert len(second) == beside
        await all_back(pool)


async def test_a_blocking_stream_goes_on_and_one_that_is_left_open_ends_with_its_block(
    tmp_path: Path,
) -> None:
    async with await filled(tmp_path / "a.db", size=3) as pool:
        with pool.blocking.acquire() as blocking:
            rows = blocking.stream("SELECT id FROM t ORDER BY id")
            seen = [next(rows)]
            blocking.execute("DELETE FROM t WHERE id = 7")
            seen += rows
            assert seen == [(i,) for i in range(ROWS)]
            left = [blocking.stream("SELECT id FROM t")]
            next(left[0])
        with pool.blocking.acquire() as blocking:
            left.append(blocking.stream("SELECT id FROM t"))
            next(left[1])
            blocking.execute("DELETE FROM t WHERE id = 8")
        await all_back(pool)
        for stream in left:
            with pytest.raises(PoolClosed):
                list(stream)


async def test_several_streams_of_a_block_go_on_beside_each_other(tmp_path: Path) -> None:
    async with await filled(tmp_path / "a.db", size=2) as pool, pool.acquire() as connection:
        streams = [connection.stream("SELECT id FROM t ORDER BY id") for _ in range(2)]
        seen = [[await anext(stream)] for stream in streams]
        await connection.execute("DELETE FROM t WHERE id % 2 = 1")
        streams.append(connection.stream("SELECT id FROM t ORDER BY id"))
        seen.append([await anext(streams[-1])])
        for stream, rows in zip(streams, seen, strict=True):
            rows += [row async for row in stream]
        assert seen[0] == seen[1] == [(i,) for i in range(ROWS)]
        assert seen[2] == [(i,) for i in range(0, ROWS, 2)]


@pytest.mark.parametrize("inline_budget", [0, 100e-6])
async def test_streams_and_writes_of_several_tasks_on_one_connection_lose_no_row(
    tmp_path: Path, inline_budget: float
) -> None:
    async with await filled(
        tmp_path / "a.db", size=2, inline_budget=inline_budget, synchronous="OFF"
    ) as pool:
        for _ in range(5):
            async with pool.acquire() as connection:

                async def stream(connection: Any = connection) -> list[Any]:
                    return [row async for row in connection.stream("SELECT id FROM t WHERE id < 5000")]

                async def write(connection: Any = connection) -> None:
                    for _ in range(3):
                        await connection.execute("UPDATE t SET name = 'new' WHERE id % 7 = 0")

                first, _, second, third = await asyncio.gather(stream(), write(), stream(), stream())
                assert first == second == third == [(i,) for i in range(5000)]
        await all_back(pool)


@pytest.mark.parametrize("place", ["a.db", ":memory:"])
async def test_without_a_log_a_block_with_an_open_stream_is_told_before_it_writes(
    tmp_path: Path, place: str
) -> None:
    path: Any = place if place == ":memory:" else tmp_path / place
    update = "UPDATE t SET name = 'new'"
    async with await filled(path, size=2, wal=False) as pool:
        async with pool.acquire() as connection:
            rows = connection.stream("SELECT id FROM t")
            await anext(rows)
            for _ in range(2):
                with pytest.raises(QueryError, match=r"a stream is open .* transaction\(\)"):
                    await connection.execute(update)
            assert len([row async for row in rows]) == ROWS - 1
            assert await connection.execute(update) == ROWS
        with pool.blocking.acquire() as blocking:
            left = blocking.stream("SELECT id FROM t")
            next(left)
            with pytest.raises(QueryError, match="a stream is open"):
                blocking.execute(update)
            assert len(list(left)) == ROWS - 1
        async with pool.transaction() as connection:
            rows = connection.stream("SELECT id FROM t")
            await anext(rows)
            await connection.execute(update)
            assert len([row async for row in rows]) == ROWS - 1


async def test_a_table_that_the_blocks_own_stream_reads_is_locked_at_once(tmp_path: Path) -> None:
    async with await filled(tmp_path / "a.db") as pool, pool.transaction() as connection:
        rows = connection.stream("SELECT id FROM t")
        await anext(rows)
        with pytest.raises(DatabaseError, match="table is locked"):
            await connection.execute("DROP TABLE t")
        assert len([row async for row in rows]) == ROWS - 1
