"""Functions and collations in Python: they return what sqlite3 takes; what they raise fails the statement."""

import asyncio
import datetime
import math
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mcp_performance import QueryError, SQLitePool
from sqlite_entries import READS


class Whole(int):
    pass


RETURNED: list[Any] = [
    None,
    0,
    -(2**63),
    2**63 - 1,
    True,
    Whole(5),
    1.5,
    -0.0,
    math.inf,
    math.nan,
    "",
    "a\0b",
    "\U0001f529",
    b"",
    b"\0x",
    bytearray(b"xy"),
    memoryview(b"abc"),
    2**63,
    "\ud800",
    object(),
    [1],
    datetime.date(2024, 2, 29),
]
GIVEN = (
    "NULL",
    "-9223372036854775808",
    "1.5",
    "-1e999",
    "''",
    "'a' || char(0)",
    "x''",
    "x'00ff'",
    "char(128297)",
)


def compared(one: str, other: str) -> int:
    return (one > other) - (one < other)


def refusing_z(one: str, other: str) -> int:
    if "z" in (one, other):
        raise ValueError("no z")
    return compared(one, other)


ORDERS: dict[str, Any] = {
    "no_z": refusing_z,
    "wordless": lambda one, other: None,
    "textual": lambda one, other: "1",
    "huge": lambda one, other: compared(one, other) << 100,
}


def prepare(connection: Any) -> None:
    for i, value in enumerate(RETURNED):
        connection.create_function(f"f{i}", 0, lambda value=value: value)
    connection.create_function("numpy", 0, lambda: np.int16(7))
    connection.create_function("shown", 1, lambda value: f"{type(value).__name__} {value!r}")
    for name, order in ORDERS.items():
        connection.create_collation(name, order)


@pytest.fixture
async def pool(tmp_path: Path) -> AsyncIterator[SQLitePool]:
    async with SQLitePool(tmp_path / "app.db", size=2, synchronous="OFF", init=prepare) as pool:
        yield pool


async def test_what_a_function_gets_and_returns_is_as_with_sqlite3(pool: SQLitePool) -> None:
    reference = sqlite3.connect(":memory:")
    prepare(reference)
    queries = [f"SELECT f{i}(), typeof(f{i}())" for i in range(len(RETURNED))]
    queries += [f"SELECT shown({given}), 1" for given in GIVEN]
    for sql in queries:
        try:
            expected = reference.execute(sql).fetchone()
        except sqlite3.Error:
            with pytest.raises(QueryError, match="a user function raised"):
                await pool.fetch(sql)
        else:
            assert repr(await pool.fetch(sql)) == repr([expected])
    reference.close()
    assert await pool.fetchrow("SELECT numpy(), typeof(numpy())") == (7, "integer")  # as a parameter is


@pytest.mark.parametrize("entry", [name for name in READS if name != "map"])
async def test_an_order_that_raises_fails_the_statement(pool: SQLitePool, entry: str) -> None:
    rows = "WITH q (x) AS (VALUES (?), ('b'), ('a')) SELECT x FROM q ORDER BY x COLLATE"
    with pytest.raises(QueryError, match="a user collation raised ValueError: no z"):
        await READS[entry](pool, f"{rows} no_z", ("z",))
    for name in ("wordless", "textual"):
        with pytest.raises(QueryError, match="a user collation raised TypeError"):
            await READS[entry](pool, f"{rows} {name}", ("z",))
    assert tuple(await READS[entry](pool, f"{rows} huge", ("z",))) == ("a",)
    assert tuple(await READS[entry](pool, f"{rows} no_z", ("c",))) == ("a",)


async def test_an_order_that_cannot_be_had_of_a_text_fails_the_statement(pool: SQLitePool) -> None:
    with pytest.raises(QueryError, match="a user collation raised UnicodeDecodeError"):
        await pool.fetch("SELECT CAST(x'ff' AS TEXT) < 'a' COLLATE no_z")


async def in_a_block(pool: SQLitePool, insert: str) -> None:
    async with pool.transaction() as connection:
        await connection.execute(insert, ("d",))
        with pytest.raises(QueryError, match="no z"):
            await connection.execute(insert, ("z",))


async def test_an_order_that_raises_writes_nothing(pool: SQLitePool) -> None:
    await pool.execute("CREATE TABLE t (x TEXT COLLATE no_z UNIQUE)")
    await pool.executemany("INSERT INTO t VALUES (?)", [("b",), ("a",)])
    insert = "INSERT INTO t VALUES (?)"
    for write in (pool.execute(insert, ("z",)), pool.executemany(insert, [("c",), ("z",)])):
        with pytest.raises(QueryError, match="no z"):
            await write
    with pytest.raises(QueryError, match="rolled back"):
        await in_a_block(pool, insert)
    together = await asyncio.gather(*(pool.execute(insert, (x,)) for x in "ezfz"), return_exceptions=True)
    assert [outcome == 1 for outcome in together] == [True, False, True, False]
    assert await pool.fetch("SELECT x FROM t ORDER BY x") == [("a",), ("b",), ("e",), ("f",)]
    assert await pool.fetchval("PRAGMA integrity_check") == "ok"
