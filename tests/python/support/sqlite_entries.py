"""Every way in which parameters and SQL reach SQLite, under one signature."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from mcp_performance import BatchProcessor, QueryAnalyzer, SQLitePool

Entry = Callable[[SQLitePool, str, Any], Awaitable[Any]]


async def _fetch(pool: SQLitePool, sql: str, params: Any) -> Any:
    rows = await pool.fetch(sql, params)
    return rows[0] if rows else None


async def _fetchrow(pool: SQLitePool, sql: str, params: Any) -> Any:
    return await pool.fetchrow(sql, params)


async def _stream(pool: SQLitePool, sql: str, params: Any) -> Any:
    rows = [row async for row in pool.stream(sql, params)]
    return rows[0] if rows else None


async def _acquired(pool: SQLitePool, sql: str, params: Any) -> Any:
    async with pool.acquire() as connection:
        return await connection.fetchrow(sql, params)


async def _acquired_stream(pool: SQLitePool, sql: str, params: Any) -> Any:
    async with pool.acquire() as connection:
        rows = [row async for row in connection.stream(sql, params)]
    return rows[0] if rows else None


async def _transaction(pool: SQLitePool, sql: str, params: Any) -> Any:
    async with pool.transaction() as connection:
        return await connection.fetchrow(sql, params)


async def _blocking(pool: SQLitePool, sql: str, params: Any) -> Any:
    return pool.blocking.fetchrow(sql, params)


async def _blocking_stream(pool: SQLitePool, sql: str, params: Any) -> Any:
    rows = list(pool.blocking.stream(sql, params))
    return rows[0] if rows else None


async def _mapped(pool: SQLitePool, sql: str, params: Any) -> Any:
    async with BatchProcessor() as batch:
        result = await batch.map(functools.partial(pool.blocking.fetchrow, sql), [params])
    if result.errors:
        raise result.errors[0]
    return result.results[0]


READS: dict[str, Entry] = {
    "fetch": _fetch,
    "fetchrow": _fetchrow,
    "stream": _stream,
    "acquire": _acquired,
    "acquire.stream": _acquired_stream,
    "transaction": _transaction,
    "blocking": _blocking,
    "blocking.stream": _blocking_stream,
    "map": _mapped,
}
"""Run one SELECT and return its first row, or None."""


async def _execute(pool: SQLitePool, sql: str, params: Any) -> Any:
    return await pool.execute(sql, params)


async def _executemany(pool: SQLitePool, sql: str, params: Any) -> Any:
    return await pool.executemany(sql, [params])


async def _acquired_executemany(pool: SQLitePool, sql: str, params: Any) -> Any:
    async with pool.acquire() as connection:
        return await connection.executemany(sql, [params])


async def _blocking_execute(pool: SQLitePool, sql: str, params: Any) -> Any:
    return pool.blocking.execute(sql, params)


async def _blocking_executemany(pool: SQLitePool, sql: str, params: Any) -> Any:
    return pool.blocking.executemany(sql, iter([params]))


WRITES: dict[str, Entry] = {
    "execute": _execute,
    "executemany": _executemany,
    "acquire.executemany": _acquired_executemany,
    "blocking.execute": _blocking_execute,
    "blocking.executemany": _blocking_executemany,
}
"""Run one statement that writes."""


async def _init(pool: SQLitePool, sql: str, params: Any) -> Any:
    found: list[Any] = []
    async with SQLitePool(
        pool.path, size=1, init=lambda connection: found.extend(connection.execute(sql, params))
    ):
        return found[0] if found else None


async def _analyze(pool: SQLitePool, sql: str, params: Any) -> Any:
    return QueryAnalyzer(Path(pool.path)).analyze(sql, params)


OTHERS: dict[str, Entry] = {"init": _init, "analyze": _analyze}
"""Neither takes part in what a pool remembers."""


BOUND = [*READS, *WRITES, "init"]
"""The entries that bind values, for :func:`bound`."""


async def bound(pool: SQLitePool, entry: str, placeholders: str, params: Any) -> Any:
    """The two values that SQLite got for two placeholders, by this way in.

    The pool has a table ``sink`` of two columns.
    """
    if entry in WRITES:
        await pool.execute("DELETE FROM sink")
        await WRITES[entry](pool, f"INSERT INTO sink VALUES ({placeholders})", params)
        return await pool.fetchrow("SELECT a, b FROM sink", cache=False)
    return await {**READS, **OTHERS}[entry](pool, f"SELECT {placeholders}", params)
