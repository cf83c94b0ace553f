"""Writes of several callers share a commit where each would wait for the disk; no caller can tell."""

import asyncio
import itertools
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mcp_performance import IntegrityError, PoolTimeout, SQLitePool

INSERT = "INSERT INTO t VALUES (?, ?)"


@pytest.fixture
async def pool(tmp_path: Path) -> AsyncIterator[SQLitePool]:
    async with SQLitePool(tmp_path / "app.db") as pool:
        await pool.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v)")
        await pool.execute(INSERT, (0, "first"))
        yield pool


async def waiting(pool: SQLitePool, *writes: object) -> list[object]:
    """The outcomes of *writes*, which all waited while somebody else had the writer."""
    async with pool.transaction():
        tasks = [asyncio.ensure_future(write) for write in writes]  # type: ignore[call-overload]
        for _ in range(3):
            await asyncio.sleep(0)
    return await asyncio.gather(*tasks, return_exceptions=True)


async def test_waiting_writes_are_committed_together(pool: SQLitePool) -> None:
    before = pool.stats()
    assert await waiting(pool, *(pool.execute(INSERT, (i, i)) for i in range(1, 101))) == [1] * 100
    assert await pool.fetchval("SELECT count(*) FROM t") == 101
    after = pool.stats()
    assert after.writes - before.writes == 100
    assert 2 <= after.shared_commits - before.shared_commits <= 50
    (figures,) = (one for one in pool.query_stats() if one.fingerprint.lower().startswith("insert"))
    assert figures.calls == 101


async def test_what_fails_fails_alone(pool: SQLitePool) -> None:
    keys = [1, 0, 2, 1, 3]
    outcomes = await waiting(pool, *(pool.execute(INSERT, (key, "new")) for key in keys))
    assert [outcome == 1 or type(outcome) for outcome in outcomes] == [
        True,
        IntegrityError,
        True,
        IntegrityError,
        True,
    ]
    assert await pool.fetch("SELECT * FROM t ORDER BY id") == [
        (0, "first"),
        *((key, "new") for key in (1, 2, 3)),
    ]


async def test_returned_rows_are_those_that_were_committed(pool: SQLitePool) -> None:
    sql = "INSERT INTO t (v) VALUES (?) RETURNING id, v"
    await pool.fetchrow(sql, ("x",))
    rows = await waiting(pool, *(pool.fetchrow(sql, (i,)) for i in range(20)))
    assert rows == [(2 + i, i) for i in range(20)]


async def test_results_of_selects_are_not_stale_afterwards(pool: SQLitePool) -> None:
    sql = "SELECT v FROM t WHERE id = 0"
    update = "UPDATE t SET v = ? WHERE id = 0"
    await pool.execute(update, (-1,))
    for round_ in range(5):
        assert await pool.fetchval(sql) == await pool.fetchval(sql)
        await waiting(pool, *(pool.execute(update, (10 * round_ + i,)) for i in range(10)))
        assert await pool.fetchval(sql) == 10 * round_ + 9


async def test_a_caller_that_leaves_takes_only_its_own_write_along(pool: SQLitePool) -> None:
    async with pool.transaction():
        tasks = [asyncio.ensure_future(pool.execute(INSERT, (i, i))) for i in range(1, 6)]
        for _ in range(3):
            await asyncio.sleep(0)
        tasks[2].cancel()
        await asyncio.sleep(0)
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [int, int, asyncio.CancelledError, int, int]
    assert await pool.fetch("SELECT id FROM t ORDER BY id") == [(0,), (1,), (2,), (4,), (5,)]


async def test_a_foreign_lock_costs_only_the_callers_whose_time_runs_out(
    pool: SQLitePool, tmp_path: Path
) -> None:
    other = sqlite3.connect(tmp_path / "app.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    hasty = pool.execute(INSERT, (1, 1), timeout=0.05)
    tasks = [
        asyncio.ensure_future(write) for write in (hasty, *(pool.execute(INSERT, (i, i)) for i in (2, 3)))
    ]
    with pytest.raises(PoolTimeout):
        await tasks[0]
    other.execute("COMMIT")
    assert await asyncio.gather(*tasks[1:]) == [1, 1]
    assert await pool.fetch("SELECT id FROM t ORDER BY id") == [(0,), (2,), (3,)]
    other.close()


async def test_transactions_and_blocking_callers_keep_their_place_in_the_queue(pool: SQLitePool) -> None:
    seen: list[int] = []
    number = itertools.count(1)

    async def alone() -> None:
        async with pool.transaction() as connection:
            seen.append(await connection.fetchval("SELECT count(*) FROM t"))
            await connection.execute(INSERT, (1000 + len(seen), 0))

    def write() -> object:
        n = next(number)
        return pool.execute(INSERT, (n, n))

    await waiting(pool, write(), write(), alone(), write(), write(), alone())
    assert seen == [3, 6]
