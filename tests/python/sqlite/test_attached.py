"""Databases that ``init=`` attaches to each connection."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from mcp_performance import SQLitePool


@pytest.mark.parametrize("how", ["execute", "transaction"])
async def test_the_log_of_an_attached_database_is_emptied_too(tmp_path: Path, how: str) -> None:
    aside = tmp_path / "aside.db"
    connection = sqlite3.connect(aside)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE parts (content)")
    connection.close()

    def init(connection: Any) -> None:
        connection.execute(f"ATTACH '{aside}' AS aside")

    async with SQLitePool(tmp_path / "a.db", 2, init=init, synchronous="OFF") as pool:
        await pool.execute("CREATE TABLE t (v)")
        for _ in range(20):
            if how == "execute":
                await pool.execute("INSERT INTO aside.parts VALUES (zeroblob(2000000))")
            else:
                async with pool.transaction() as borrowed:
                    await borrowed.execute("INSERT INTO aside.parts VALUES (zeroblob(2000000))")
                    await borrowed.execute("INSERT INTO t VALUES (1)")
        assert await pool.fetchval("SELECT sum(length(content)) FROM aside.parts") == 40_000_000
        assert (tmp_path / "aside.db-wal").stat().st_size < 8_000_000
        assert pool.stats().wal_bytes < 1_000_000  # of its own database
