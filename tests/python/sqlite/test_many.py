"""executemany: all rows or none, in one transaction that nobody waits longer for than SQLite takes."""

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from mcp_performance import IntegrityError, PoolClosed, QueryError, SQLitePool

INSERT = "INSERT INTO item VALUES (?)"
SAFETY = 10_000_000
"""Rows after which a test gives up waiting for what should have happened long before."""


@pytest.fixture
async def pool(tmp_path: Path) -> AsyncIterator[SQLitePool]:
    async with SQLitePool(tmp_path / "app.db") as pool:
        await pool.execute("CREATE TABLE item (id INTEGER PRIMARY KEY)")
        await pool.execute(INSERT, (1,))
        yield pool


async def count(pool: SQLitePool) -> int:
    value = await pool.fetchval("SELECT count(*) FROM item")
    assert isinstance(value, int)
    return value


async def test_it_is_one_transaction(pool: SQLitePool) -> None:
    with pytest.raises(IntegrityError):
        await pool.executemany(INSERT, [(i,) for i in (10, 11, 12, 1)])
    assert await count(pool) == 1
    assert await pool.executemany(INSERT, ((i,) for i in range(10, 3010))) == 3000
    assert await pool.executemany(INSERT, []) == 0
    with pytest.raises(QueryError, match="write"):
        await pool.executemany("SELECT ?", [(1,)])


async def test_the_loop_has_its_turns_while_rows_are_read(pool: SQLitePool) -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    given = 0

    def rows() -> Iterator[tuple[int]]:
        nonlocal given
        for i in range(2, SAFETY):
            if turns > 3:
                return
            given += 1
            yield (i,)
        raise AssertionError("the other task had no turn")

    assert await pool.executemany(INSERT, rows()) == given
    task.cancel()
    assert await count(pool) == 1 + given


async def test_other_writers_go_on_while_rows_are_read(pool: SQLitePool) -> None:
    written = asyncio.Event()

    async def other() -> None:
        await pool.execute(INSERT, (-1,))
        written.set()

    def rows() -> Iterator[tuple[int]]:
        yield from ((i,) for i in itertools.takewhile(lambda _: not written.is_set(), range(2, SAFETY)))

    changed, _ = await asyncio.gather(pool.executemany(INSERT, rows()), other())
    assert written.is_set()
    assert await count(pool) == 2 + changed < SAFETY


async def test_threads_go_on_while_rows_are_read(pool: SQLitePool) -> None:
    begun = threading.Event()
    waits = threading.Lock()
    waits.acquire()

    def other() -> None:
        begun.wait()
        waits.release()

    def first(row: int) -> tuple[int, bool]:
        begun.set()
        return row, True

    # After the first all of it is C, which lets no other thread in by itself.
    endless = zip(itertools.count(3), iter(waits.locked, False))
    rows = itertools.chain(map(first, [2]), itertools.islice(endless, SAFETY))
    thread = threading.Thread(target=other)
    thread.start()
    changed = await asyncio.to_thread(
        pool.blocking.executemany, "INSERT INTO item VALUES (?1 + 0 * ?2)", rows
    )
    assert changed < SAFETY
    thread.join()


async def test_a_caller_that_leaves_while_rows_are_read_writes_nothing(pool: SQLitePool) -> None:
    closed = asyncio.Event()

    def rows() -> Iterator[tuple[int]]:
        try:
            yield from ((i,) for i in range(2, SAFETY))
        finally:
            closed.set()

    task = asyncio.create_task(pool.executemany(INSERT, rows()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert closed.is_set()
    assert await count(pool) == 1


async def test_an_iterable_that_raises_late_writes_nothing(pool: SQLitePool) -> None:
    def rows() -> Iterator[tuple[int]]:
        yield from ((i,) for i in range(2, 50_000))
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        await pool.executemany(INSERT, rows())
    with pytest.raises(TypeError, match="complex"):
        await pool.executemany(INSERT, [*((i,) for i in range(2, 50_000)), (1j,)])
    with pytest.raises(TypeError, match="int"):
        await pool.executemany(INSERT, [*((i,) for i in range(2, 50_000)), 7])  # type: ignore[list-item]
    assert await count(pool) == 1


async def test_a_connection_given_back_while_rows_are_read_is_not_written_to(pool: SQLitePool) -> None:
    async def keep_reading() -> int:
        return await connection.executemany(INSERT, ((i,) for i in itertools.count(2)))

    async with pool.acquire() as connection:
        task = asyncio.create_task(keep_reading())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    with pytest.raises(PoolClosed, match="given back"):
        await task
    assert await count(pool) == 1
