"""Decimals keep every digit, or are refused."""

import decimal
import itertools
import random
import sqlite3
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from mcp_performance import ConfigurationError, QueryError, SQLitePool

SHORT = [
    "0", "-0", "1", "1.10", "-0.5", "100.00", "1E+3", "1E+20", "123456789012345", "-1.23456789012345",
    "0.000000123456789012345", "1.23456789012345E+17", "1.23456789012345E+18", "9.22337203685477E+18",
    "9.22337203685478E+18", "123456789012345000", "9007199254740990", "9.0071992547410E+15", "1E-290",
    "1.23456789012345E-280", "9.99999999999999E+300", "NaN", "Infinity", "-Infinity",
]  # fmt: skip
LONG = [
    "1234567890123456", "0.1234567890123456", "12345678901234567890", "1234567890.12345678901234567890",
    "9223372036854775807", "-9223372036854775808.5", "1E+301", "1E-291", "1E-400", "1E+400",
    "3.1415926535897932384626433832795028841971",
]  # fmt: skip
# Declared type, and whether it keeps a text.
COLUMNS = {
    "DECIMAL": False,
    "DECIMAL(30, 20)": False,
    "NUMERIC": False,
    "DECIMAL_TEXT": True,
    "NUMERIC_TEXT": True,
    "DECIMAL TEXT": True,
}


def _columns() -> str:
    return ", ".join(f"c{i} {kind}" for i, kind in enumerate(COLUMNS))


async def _through(pool: SQLitePool, value: Any) -> list[Any]:
    await pool.execute("DELETE FROM t")
    await pool.execute(f"INSERT INTO t VALUES ({', '.join('?' * len(COLUMNS))})", (value,) * len(COLUMNS))
    return list(await pool.fetchrow("SELECT * FROM t"))


def _equal(left: Any, right: Decimal) -> bool:
    return isinstance(left, Decimal) and (left == right or (left.is_nan() and right.is_nan()))


async def test_a_short_decimal_comes_back_equal_from_every_column(tmp_path: Path) -> None:
    async with SQLitePool(tmp_path / "a.db", adapters=("decimal",)) as pool:
        await pool.execute(f"CREATE TABLE t ({_columns()})")
        for text in SHORT:
            value = Decimal(text)
            for kind, got in zip(COLUMNS, await _through(pool, value), strict=True):
                assert _equal(got, value), (kind, text, got)


async def test_decimals_of_15_digits_come_back_whatever_they_are(tmp_path: Path) -> None:
    draw = random.Random(14)
    async with SQLitePool(tmp_path / "a.db", adapters=("decimal",)) as pool:
        await pool.execute("CREATE TABLE t (i INTEGER PRIMARY KEY, n NUMERIC, d DECIMAL, x DECIMAL_TEXT)")
        values = [
            Decimal(draw.randrange(-(10**15) + 1, 10**15)).scaleb(draw.randrange(*exponents))
            for exponents in ((-280, 280), (-17, 7))
            for _ in range(4000)
        ]
        await pool.executemany(
            "INSERT INTO t VALUES (?, ?, ?, ?)", [(i, v, v, v) for i, v in enumerate(values)]
        )
        for value, got in zip(values, await pool.fetch("SELECT n, d, x FROM t ORDER BY i"), strict=True):
            assert got == (value,) * 3


@pytest.mark.parametrize("text", LONG)
async def test_a_long_decimal_is_refused_or_kept_whole(tmp_path: Path, text: str) -> None:
    value = Decimal(text)
    async with SQLitePool(tmp_path / "a.db", adapters=("decimal",)) as pool:
        await pool.execute("CREATE TABLE t (d DECIMAL)")
        with pytest.raises(ValueError, match=r"parameter 1: .* more than 15 digits.*decimal_text"):
            await pool.execute("INSERT INTO t VALUES (?)", (value,))
        assert await pool.fetch("SELECT * FROM t") == []
    async with SQLitePool(tmp_path / "b.db", adapters=("decimal_text",)) as pool:
        await pool.execute(f"CREATE TABLE t ({_columns()})")
        await _through(pool, None)
        for (number, kind), many in itertools.product(enumerate(COLUMNS), (False, True)):
            await pool.execute("DELETE FROM t")
            insert = f"INSERT INTO t (c{number}) VALUES (?)"
            await (pool.executemany(insert, [(value,)]) if many else pool.execute(insert, (value,)))
            select = f"SELECT c{number} FROM t"
            if COLUMNS[kind]:
                got = await pool.fetchval(select)
                assert (got, str(got)) == (value, text)
            else:
                with pytest.raises(QueryError, match=r"may have lost digits.*DECIMAL_TEXT"):
                    await pool.fetchval(select)


async def test_the_text_adapter_keeps_how_a_decimal_is_written(tmp_path: Path) -> None:
    async with SQLitePool(tmp_path / "a.db", adapters=("decimal_text",)) as pool:
        await pool.execute("CREATE TABLE t (d DECIMAL_TEXT)")
        for text in [*SHORT, *LONG]:
            await pool.execute("DELETE FROM t")
            await pool.execute("INSERT INTO t VALUES (?)", (Decimal(text),))
            assert str(await pool.fetchval("SELECT d FROM t")) == str(Decimal(text))
            assert await pool.fetchval("SELECT count(*) FROM t WHERE d = ?", (Decimal(text),)) == 1


async def test_a_decimal_finds_what_was_stored(tmp_path: Path) -> None:
    async with SQLitePool(tmp_path / "a.db", adapters=("decimal",)) as pool:
        await pool.execute("CREATE TABLE t (d DECIMAL)")
        for text in SHORT:
            await pool.execute("INSERT INTO t VALUES (?)", (Decimal(text),))
            assert await pool.fetchval("SELECT count(*) FROM t WHERE d = ?", (Decimal(text),)) >= 1


async def test_a_decimal_without_an_adapter_is_refused(tmp_path: Path) -> None:
    async with SQLitePool(tmp_path / "a.db") as pool:
        with pytest.raises(TypeError, match=r"parameter 1: a value of type decimal\.Decimal cannot be bound"):
            await pool.fetchval("SELECT ?", (Decimal(1),))


async def test_what_others_stored_comes_out_as_sqlite_writes_it(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "a.db")
    connection.execute("CREATE TABLE t (d DECIMAL)")
    connection.execute("INSERT INTO t VALUES (0.1 + 0.2), (7), (2.5)")
    connection.commit()
    connection.close()
    async with SQLitePool(tmp_path / "a.db", adapters=("decimal",)) as pool:
        rows = await pool.fetch("SELECT d FROM t")
        assert rows == [(decimal.Decimal("0.3"),), (decimal.Decimal(7),), (decimal.Decimal("2.5"),)]


def test_one_adapter_for_decimals_is_enough(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="one of decimal and decimal_text"):
        SQLitePool(tmp_path / "a.db", adapters=("decimal", "decimal_text"))
