"""Databases whose connections share a page cache, and its locks (``cache=shared``)."""

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from mcp_performance import PoolTimeout, SQLitePool


@pytest.fixture(params=["memory", "file"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "memory":
        return f"file:{tmp_path.name}?mode=memory&cache=shared"
    return f"file:{tmp_path}/a.db?cache=shared"


async def test_a_reader_waits_for_the_table_that_a_writer_has(address: str) -> None:
    async with SQLitePool(address, 3, wal=False) as pool:
        await pool.execute("CREATE TABLE t (v)")
        await pool.execute("INSERT INTO t VALUES (1)")
        async with pool.transaction() as connection:
            await connection.execute("UPDATE t SET v = 2")
            readers = [asyncio.create_task(pool.fetchval("SELECT v FROM t")) for _ in range(4)]
            with pytest.raises(PoolTimeout):
                await pool.fetchval("SELECT v FROM t", timeout=0.01)
            assert not any(reader.done() for reader in readers)
        assert await asyncio.gather(*readers) == [2] * 4
        for value in range(3, 20):
            await asyncio.gather(
                pool.execute("UPDATE t SET v = ?", (value,)), pool.fetch("SELECT v, random() FROM t")
            )
            assert [await pool.fetchval("SELECT v FROM t") for _ in range(2)] == [value] * 2


def test_a_function_that_runs_on_one_connection_is_waited_for_without_the_interpreter_lock(
    address: str,
) -> None:
    inside = threading.Event()

    def slowly(value: int) -> int:
        inside.set()
        time.sleep(0.02)  # lets the other thread in, and has to come back
        return value

    def init(connection: Any) -> None:
        connection.create_function("slowly", 1, slowly)

    pool = SQLitePool(address, 3, wal=False, init=init)
    with pool.blocking:
        pool.blocking.execute("CREATE TABLE t (v)")
        pool.blocking.execute("INSERT INTO t VALUES (1)")
        for _ in range(3):  # known to be short from here on
            assert pool.blocking.fetchval("SELECT v FROM t") == 1
        found: list[int] = []
        thread = threading.Thread(
            target=lambda: found.append(pool.blocking.fetchval("SELECT slowly(v) FROM t"))
        )
        thread.start()
        inside.wait()
        assert pool.blocking.fetchval("SELECT v FROM t") == 1
        thread.join()
        assert found == [1]
