"""What adapters make of values that others have stored: the value, or an error that names the column."""

import datetime
import decimal
import sqlite3
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from mcp_performance import ConversionError, QueryError, SQLitePool

ADAPTERS = ("bool", "date", "datetime", "decimal", "json", "uuid")
KEY = uuid.UUID("00000000-0000-0000-0000-00000000000a")


@pytest.fixture
async def pool(tmp_path: Path) -> AsyncIterator[SQLitePool]:
    async with SQLitePool(tmp_path / "a.db", adapters=ADAPTERS) as pool:
        await pool.execute(
            "CREATE TABLE t (b BOOLEAN, d DATE, m TIMESTAMP(6), n DECIMAL(9, 2), j JSON, u UUID)"
        )
        yield pool


@pytest.mark.parametrize(
    ("column", "stored", "value"),
    [
        ("b", 2, True),
        ("b", 0.0, False),
        ("b", "1", True),
        ("b", "false", False),
        ("b", "TRUE", True),
        ("d", "2024-02-29", datetime.date(2024, 2, 29)),
        ("m", "2024-02-29", datetime.datetime(2024, 2, 29)),
        ("m", "2024-02-29T10:00:00Z", datetime.datetime(2024, 2, 29, 10, tzinfo=datetime.UTC)),
        ("n", "1e2", decimal.Decimal(100)),
        ("n", 0.1, decimal.Decimal("0.1")),
        ("j", "[1]", [1]),
        ("j", "5", 5),  # a text that looks like a number is one in such a column
        ("j", 1.5, 1.5),
        ("j", '"text"', "text"),
        ("j", "null", None),
        ("u", KEY.hex, KEY),
        ("u", str(KEY), KEY),
        ("u", KEY.bytes, KEY),
        ("u", None, None),
    ],
)
async def test_a_value_that_its_type_can_be_told_of_is_that(
    pool: SQLitePool, column: str, stored: Any, value: Any
) -> None:
    await pool.execute(f"INSERT INTO t ({column}) VALUES (?)", (stored,))
    found = await pool.fetchval(f"SELECT {column} FROM t")
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("column", "stored"),
    [
        ("b", "no"),
        ("b", ""),
        ("b", b"\0"),
        ("d", "20240229"),  # an integer, of days or seconds or digits
        ("d", "29.02.2024"),
        ("m", 1577836800),
        ("m", ""),
        ("n", "twelve"),
        ("n", b"12"),
        ("j", "{"),
        ("j", b"\xff"),
        ("u", "12345678901234567890123456789012"),  # kept as a float
        ("u", "no key"),
        ("u", b"short"),
    ],
)
async def test_a_value_of_another_type_is_an_error_that_names_the_column(
    pool: SQLitePool, column: str, stored: Any
) -> None:
    await pool.execute(f"INSERT INTO t ({column}) VALUES (NULL), (?)", (stored,))
    sql = f'SELECT 1, {column} AS "the column" FROM t'
    for _ in range(2):  # nothing of it is kept
        for row_type in ("tuple", "named", "dict"):
            with pytest.raises(ConversionError, match=r"^column 'the column': .") as caught:
                await pool.fetch(sql, row_type=row_type)  # type: ignore[call-overload]
    assert caught.value.column == "the column"
    assert isinstance(caught.value, QueryError | sqlite3.OperationalError)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value.__cause__, Exception)
    with pytest.raises(ConversionError):
        pool.blocking.fetch(sql)
    with pytest.raises(ConversionError):
        _ = [row async for row in pool.stream(sql)]
    assert await pool.fetchval(f"SELECT count({column} || '') FROM t") == 1  # the pool goes on
