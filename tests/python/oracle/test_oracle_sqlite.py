"""Every path from SQLite to a caller gives what the ``sqlite3`` module gives: rows, types, order, names."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mcp_performance import NamedRow, SQLitePool
from oracle_runs import Oracle, some_slices
from oracle_sql import (
    Query,
    Reference,
    Table,
    first_difference,
    large_table_of,
    query_of,
    reference,
    table_of,
    tell_apart,
)

ROW_TYPES = ("tuple", "named", "dict")
Mode = Callable[[SQLitePool, Query, str], Awaitable[list[Any]]]


async def fetched(pool: SQLitePool, query: Query, row_type: str) -> list[Any]:
    return await pool.fetch(*query, row_type=row_type)


async def fetched_anew(pool: SQLitePool, query: Query, row_type: str) -> list[Any]:
    return await pool.fetch(*query, cache=False, row_type=row_type)


async def joined(pool: SQLitePool, query: Query, row_type: str) -> list[Any]:
    """Several callers at once; each owns its list."""
    first, *others = await asyncio.gather(*(pool.fetch(*query, row_type=row_type) for _ in range(4)))
    for other in others:
        assert tell_apart(plain(other, row_type)) == tell_apart(plain(first, row_type))
        other.clear()
    return first


async def streamed(pool: SQLitePool, query: Query, row_type: str) -> list[Any]:
    return [row async for row in pool.stream(*query, row_type=row_type)]


async def blocking(pool: SQLitePool, query: Query, row_type: str) -> list[Any]:
    return await asyncio.to_thread(pool.blocking.fetch, *query, row_type=row_type)


async def blocking_stream(pool: SQLitePool, query: Query, row_type: str) -> list[Any]:
    return await asyncio.to_thread(lambda: list(pool.blocking.stream(*query, row_type=row_type)))


async def on_a_connection(pool: SQLitePool, query: Query, row_type: str) -> list[Any]:
    async with pool.acquire() as connection:
        return await connection.fetch(*query, row_type=row_type)


async def in_a_transaction(pool: SQLitePool, query: Query, row_type: str) -> list[Any]:
    async with pool.transaction() as connection:
        return await connection.fetch(*query, row_type=row_type)


async def streamed_in_a_snapshot(pool: SQLitePool, query: Query, row_type: str) -> list[Any]:
    async with pool.transaction(readonly=True) as connection:
        return [row async for row in connection.stream(*query, row_type=row_type)]


async def blocking_in_a_transaction(pool: SQLitePool, query: Query, row_type: str) -> list[Any]:
    def read() -> list[Any]:
        with pool.blocking.transaction() as connection:
            return connection.fetch(*query, row_type=row_type)  # type: ignore[no-any-return]

    return await asyncio.to_thread(read)


MODES: tuple[Mode, ...] = (
    fetched,
    fetched,
    fetched_anew,
    joined,
    streamed,
    blocking,
    blocking_stream,
    on_a_connection,
    in_a_transaction,
    streamed_in_a_snapshot,
    blocking_in_a_transaction,
)


def plain(rows: list[Any], row_type: str) -> list[Any]:
    """Named rows as the tuples that they are."""
    return [tuple(row) for row in rows] if row_type == "named" else rows


def check(rows: list[Any], expected: Reference, row_type: str, what: str) -> None:
    if row_type == "named" and rows:
        assert isinstance(rows[0], NamedRow), what
        assert list(rows[0].keys()) == expected.names, what
    found, wanted = plain(rows, row_type), expected.shaped(row_type)
    if tell_apart(found) != tell_apart(wanted):
        pytest.fail(f"{what}: {first_difference(found, wanted)}")


async def check_query(pool: SQLitePool, query: Query, expected: Reference, rng: random.Random) -> None:
    for mode in rng.sample(MODES, k=4):
        row_type = rng.choice(ROW_TYPES)
        what = f"{mode.__name__} {row_type} of {query[0]:.300} {query[1]!r:.300}"
        if expected.error is not None:
            with pytest.raises(expected.error_type):
                await mode(pool, query, row_type)
            continue
        rows = await mode(pool, query, row_type)
        check(rows, expected, row_type, what)
        rows.clear()  # a list of the caller's own: the next answer is not touched
    if expected.error is None:
        row = await pool.fetchrow(*query)
        value = await rng.choice((pool.fetchval, partial(asyncio.to_thread, pool.blocking.fetchval)))(*query)
        first = expected.rows[0] if expected.rows else None
        assert tell_apart(row) == tell_apart(first), query
        assert tell_apart(value) == tell_apart(None if first is None else first[0]), query


async def fill(pool: SQLitePool, connection: sqlite3.Connection, table: Table, rng: random.Random) -> None:
    """Put *table* into both; the pool's rows come by one of the ways in which rows go in."""
    connection.execute(table.ddl)
    connection.executemany(table.insert, table.rows)
    connection.commit()
    await pool.execute(table.ddl)
    way = rng.randrange(4)
    if way == 0 and len(table.rows) <= 500:
        for row in table.rows:
            await pool.execute(table.insert, row)
    elif way == 1 and len(table.rows) <= 500:
        await asyncio.gather(*(pool.execute(table.insert, row) for row in table.rows))
    elif way == 2:
        await asyncio.to_thread(pool.blocking.executemany, table.insert, table.rows)
    else:
        given = iter(table.rows) if rng.random() < 0.5 else table.rows
        assert await pool.executemany(table.insert, given) == len(table.rows)


def options_of(rng: random.Random) -> dict[str, Any]:
    return {
        "size": rng.choice((1, 2, 5)),
        "inline_budget": rng.choice((0, 100e-6, 1)),
        "query_cache_bytes": rng.choice((0, 100_000, 64 << 20)),
        "synchronous": rng.choice(("OFF", "NORMAL", "FULL")),
        "wal": rng.random() < 0.8,
    }


async def test_any_query_of_any_schema_on_every_path(tmp_path: Path, oracle: Oracle) -> None:
    cells, most_rows = (3_000_000, 1_000_000) if oracle.long else (60_000, 20_000)
    for number, rng in enumerate(oracle.rounds()):
        size = rng.choice((1000, 10_000, cells))
        tables = [table_of(rng, f"t{i}", size, most_rows) for i in range(rng.choice((1, 2)))]
        path = tmp_path / f"{number}.db"
        connection = sqlite3.connect(":memory:")
        async with SQLitePool(path, **options_of(rng)) as pool:
            for table in tables:
                await fill(pool, connection, table, rng)
            with some_slices(rng):
                for _ in range(25):
                    query = query_of(rng, rng.choice(tables))
                    await check_query(pool, query, reference(connection, query), rng)
        connection.close()
        path.unlink()


async def test_texts_and_blobs_of_megabytes(tmp_path: Path, oracle: Oracle) -> None:
    largest = 10_000_000 if oracle.long else 1_000_000
    for number, rng in enumerate(oracle.rounds()):
        table = large_table_of(rng, "t", largest)
        path = tmp_path / f"{number}.db"
        connection = sqlite3.connect(":memory:")
        async with SQLitePool(path, **options_of(rng)) as pool:
            await fill(pool, connection, table, rng)
            for sql in ("SELECT * FROM t", "SELECT c1, c0, id FROM t ORDER BY id DESC"):
                await check_query(pool, (sql, ()), reference(connection, (sql, ())), rng)
        connection.close()
        path.unlink()


async def test_answers_of_many_queries_at_once_are_their_own(tmp_path: Path, oracle: Oracle) -> None:
    for number, rng in enumerate(oracle.rounds()):
        path = tmp_path / f"{number}.db"
        connection = sqlite3.connect(":memory:")
        table = table_of(rng, "t", 300_000 if oracle.long else 30_000, 20_000)
        async with SQLitePool(path, **options_of(rng)) as pool:
            await fill(pool, connection, table, rng)
            queries = [query_of(rng, table) for _ in range(12)]
            asked = [(rng.choice(MODES), rng.choice(ROW_TYPES), query) for query in queries * 2]
            with some_slices(rng):
                answers = await asyncio.gather(
                    *(mode(pool, query, row_type) for mode, row_type, query in asked), return_exceptions=True
                )
            for (mode, row_type, query), answer in zip(asked, answers, strict=True):
                expected = reference(connection, query)
                if expected.error is not None:
                    assert isinstance(answer, expected.error_type), (query, answer)
                    continue
                if isinstance(answer, BaseException):
                    raise answer
                check(answer, expected, row_type, f"{mode.__name__} {row_type} of {query[0]:.300}")
        connection.close()
        path.unlink()
