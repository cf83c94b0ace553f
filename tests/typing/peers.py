"""Programs for aiosqlite and async-lru, over this package. Not run: type checkers must find nothing in it."""

from __future__ import annotations

from typing import Any, assert_type

import mcp_performance as mp
from mcp_performance import aiosqlite
from mcp_performance.async_lru import alru_cache


@alru_cache(maxsize=32, ttl=5)
async def load(x: int) -> str:
    return str(x)


@alru_cache
async def bare(x: int) -> bytes:
    return b""


async def functions() -> None:
    assert_type(await load(1), str)
    assert_type(await bare(1), bytes)
    load.cache_invalidate(1)
    await load.cache_close()
    print(load.cache_info().hits)


async def connections(pool: mp.SQLitePool[Any]) -> None:
    async with aiosqlite.connect("a.db") as db:
        db.row_factory = aiosqlite.Row
        await db.executescript("CREATE TABLE t (a)")
        async with db.execute("SELECT ?", (1,)) as cursor:
            async for row in cursor:
                print(row)
            print(cursor.description, cursor.lastrowid, cursor.rowcount)
        await db.executemany("INSERT INTO t VALUES (?)", [(1,)])
        await db.commit()
        print(await db.execute_fetchall("SELECT * FROM t"))
    async with pool.connection() as lent:
        await lent.create_function("double", 1, lambda x: 2 * x)
        lent.row_factory = aiosqlite.Row
        print(await (await lent.execute("SELECT 1")).fetchone())
        assert_type(await lent.run(lambda connection: connection.total_changes), int)
    with pool.blocking.connection() as plain:
        assert_type(plain.total_changes, int)
