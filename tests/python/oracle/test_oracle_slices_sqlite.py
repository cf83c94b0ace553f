"""Answers of SQLite that are cut as small as it goes: one row a part, every deadline passed.

However the pieces of several answers mingle, each answer is whole and in order; and one that is dropped,
closed or forked in the middle leaves the others, and those that follow, as they are.
"""

from __future__ import annotations

import asyncio
import datetime
import os
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from mcp_performance import NamedRow, PoolClosed, SQLitePool

pytestmark = pytest.mark.usefixtures("smallest_slices")

COUNT = 300
DAY = datetime.date(2024, 2, 29)
ROWS = [(i, f"text {i} é", i / 8, None if i % 3 else bytes([i % 256]) * i) for i in range(COUNT)]
SQL = "SELECT * FROM t ORDER BY id"
ANSWERS = 5


@pytest.fixture
async def pool(tmp_path: Path) -> AsyncIterator[SQLitePool]:
    async with SQLitePool(tmp_path / "a.db", size=4, inline_budget=0, adapters=["date"]) as pool:
        await pool.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, part REAL, data BLOB)")
        await pool.executemany("INSERT INTO t VALUES (?, ?, ?, ?)", ROWS)
        yield pool


def part(start: int) -> tuple[str, tuple[int]]:
    """Another statement and other rows for each start, so that nothing is joined."""
    return f"SELECT * FROM t WHERE id >= ? ORDER BY id /* {start} */", (start,)


# Whole and in order, several at once


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("row_type", ["tuple", "named", "dict"])
async def test_fetches_at_once_are_each_whole(pool: SQLitePool, row_type: Any, cache: bool) -> None:
    for _ in range(2):  # the second time from what was kept
        answers = await asyncio.gather(
            *(pool.fetch(*part(i % ANSWERS), cache=cache, row_type=row_type) for i in range(2 * ANSWERS))
        )
        for i, answer in enumerate(answers):
            expected: list[Any] = ROWS[i % ANSWERS :]
            if row_type == "dict":
                expected = [dict(zip(("id", "name", "part", "data"), row, strict=True)) for row in expected]
            assert answer == expected
            assert row_type != "named" or all(isinstance(row, NamedRow) for row in answer)


async def test_converted_rows_are_each_whole(pool: SQLitePool) -> None:
    days = [(i, DAY + datetime.timedelta(days=i)) for i in range(COUNT)]
    await pool.execute("CREATE TABLE d (id INTEGER PRIMARY KEY, day DATE)")
    await pool.executemany("INSERT INTO d VALUES (?, ?)", days)
    queries = [f"SELECT id, day FROM d ORDER BY id /* {i} */" for i in range(ANSWERS)]
    for cache in (True, True, False):
        assert await asyncio.gather(*(pool.fetch(sql, cache=cache) for sql in queries)) == [days] * ANSWERS


async def test_streams_fetches_and_blocking_calls_at_once_are_each_whole(pool: SQLitePool) -> None:
    async def streamed(start: int) -> list[Any]:
        rows = []
        async for row in pool.stream(*part(start)):
            rows.append(row)
            if start % 2:  # a slow consumer
                await asyncio.sleep(0)
        return rows

    async def on_a_connection(start: int) -> list[Any]:
        async with pool.transaction(readonly=True) as connection:
            return [row async for row in connection.stream(*part(start))]

    kinds: list[Callable[[int], Any]] = [
        streamed,
        on_a_connection,
        lambda start: pool.fetch(*part(start)),
        lambda start: asyncio.to_thread(pool.blocking.fetch, *part(start)),
        lambda start: asyncio.to_thread(lambda: list(pool.blocking.stream(*part(start)))),
    ]
    starts = list(range(3 * len(kinds)))
    answers = await asyncio.gather(*(kinds[start % len(kinds)](start) for start in starts))
    assert answers == [ROWS[start:] for start in starts]


async def test_single_rows_and_values_among_fetches_are_their_own(pool: SQLitePool) -> None:
    asked: list[Any] = []
    for i in range(40):
        asked += [pool.fetchrow(*part(i)), pool.fetchval(*part(i)), pool.fetch(*part(i))]
    answers = await asyncio.gather(*asked)
    assert answers == [one for i in range(40) for one in (ROWS[i], i, ROWS[i:])]


async def test_rows_given_at_once_arrive_each_once_and_in_order(pool: SQLitePool) -> None:
    await pool.execute("CREATE TABLE w (place INTEGER PRIMARY KEY, source INTEGER, number INTEGER)")

    def rows(source: int) -> Iterator[tuple[int, int]]:
        yield from ((source, number) for number in range(COUNT))

    insert = "INSERT INTO w (source, number) VALUES (?, ?)"
    written = await asyncio.gather(*(pool.executemany(insert, rows(source)) for source in range(ANSWERS)))
    assert written == [COUNT] * ANSWERS
    found = await pool.fetch("SELECT source, number FROM w ORDER BY place")
    for source in range(ANSWERS):
        assert [row[1] for row in found if row[0] == source] == list(range(COUNT))
    runs = [row[0] for row in found[::COUNT]]
    assert sorted(runs) == list(range(ANSWERS))  # each in one transaction
    assert found == [(source, number) for source in runs for number in range(COUNT)]


async def test_commits_that_are_shared_tell_each_caller_its_own_outcome(pool: SQLitePool) -> None:
    async def write(i: int) -> Any:
        return await pool.execute("INSERT INTO t VALUES (?, 'new', 0, NULL)", (i,))

    outcomes = await asyncio.gather(*map(write, range(COUNT - 20, COUNT + 20)), return_exceptions=True)
    assert [isinstance(one, Exception) for one in outcomes] == [True] * 20 + [False] * 20
    assert outcomes[20:] == [1] * 20
    assert await pool.fetchval("SELECT count(*) FROM t") == COUNT + 20


# Dropped in the middle


async def test_cancelled_fetches_leave_the_others_as_they_are(pool: SQLitePool) -> None:
    for turns in range(12):
        dropped = [asyncio.ensure_future(pool.fetch(*part(i), cache=turns % 2 == 0)) for i in range(3)]
        kept = [asyncio.ensure_future(pool.fetch(*part(i), cache=turns % 2 == 0)) for i in range(ANSWERS)]
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in dropped:
            task.cancel()
        assert await asyncio.gather(*kept) == [ROWS[i:] for i in range(ANSWERS)]
        await asyncio.gather(*dropped, return_exceptions=True)
    assert await pool.fetch(SQL) == ROWS
    assert pool.stats().in_use == 0


async def test_a_stream_that_is_left_or_cancelled_leaves_the_next_whole(pool: SQLitePool) -> None:
    for taken in (0, 1, 2, 50):
        async with aclosing(pool.stream(SQL)) as rows:
            for i in range(taken):
                assert await anext(rows) == ROWS[i]
        consumer = asyncio.ensure_future(consume(pool, taken))
        await asyncio.sleep(0)
        consumer.cancel()
        await asyncio.gather(consumer, return_exceptions=True)
        assert [row async for row in pool.stream(SQL)] == ROWS
        assert await pool.fetch(SQL, cache=False) == ROWS


async def consume(pool: SQLitePool, most: int) -> None:
    async with aclosing(pool.stream(SQL)) as rows:
        for i in range(most):
            assert await anext(rows) == ROWS[i]
        await asyncio.Event().wait()


async def test_rows_that_fail_in_the_middle_leave_nothing(pool: SQLitePool) -> None:
    def rows() -> Iterator[tuple[int, str, float, None]]:
        yield from ((i, "new", 0.0, None) for i in range(COUNT, 2 * COUNT))
        raise KeyError("no more")

    with pytest.raises(KeyError):
        await pool.executemany("INSERT INTO t VALUES (?, ?, ?, ?)", rows())
    task = asyncio.ensure_future(pool.executemany("INSERT INTO t VALUES (?, ?, ?, ?)", rows()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await pool.fetch(SQL) == ROWS


# Closed, and on several loops


async def test_closing_waits_for_answers_and_they_are_whole(tmp_path: Path, pool: SQLitePool) -> None:
    fetches = [asyncio.ensure_future(pool.fetch(*part(i))) for i in range(ANSWERS)]
    await asyncio.sleep(0)
    await asyncio.gather(pool.close(), return_exceptions=True)
    for i, answer in enumerate(await asyncio.gather(*fetches, return_exceptions=True)):
        if not isinstance(answer, PoolClosed):
            assert answer == ROWS[i:]
    async with SQLitePool(tmp_path / "a.db") as again:
        assert await again.fetch(SQL) == ROWS


async def test_terminating_ends_each_answer_once(tmp_path: Path, pool: SQLitePool) -> None:
    fetches = [asyncio.ensure_future(pool.fetch(*part(i), cache=False)) for i in range(ANSWERS)]
    for _ in range(3):
        await asyncio.sleep(0)
    pool.terminate()
    for i, answer in enumerate(await asyncio.gather(*fetches, return_exceptions=True)):
        assert isinstance(answer, PoolClosed) or answer == ROWS[i:], answer
    async with SQLitePool(tmp_path / "a.db") as again:
        assert await again.fetch(SQL) == ROWS


async def test_answers_of_one_pool_reach_their_own_loops(pool: SQLitePool) -> None:
    async def several(offset: int) -> list[Any]:
        return await asyncio.gather(*(pool.fetch(*part(offset + i)) for i in range(ANSWERS)))

    found: dict[int, Any] = {}

    def other(offset: int) -> None:
        found[offset] = asyncio.run(several(offset))

    threads = [threading.Thread(target=other, args=(offset,)) for offset in (10, 20)]
    for thread in threads:
        thread.start()
    found[0] = await several(0)
    await asyncio.to_thread(lambda: [thread.join() for thread in threads])
    assert found == {offset: [ROWS[offset + i :] for i in range(ANSWERS)] for offset in (0, 10, 20)}


# Forked in the middle


async def test_a_fork_in_the_middle_leaves_both_processes_whole_answers(pool: SQLitePool) -> None:
    await pool.fetch(SQL)
    fetches = [asyncio.ensure_future(pool.fetch(*part(i))) for i in range(ANSWERS)]
    await asyncio.sleep(0)
    child = os.fork()
    if child == 0:
        os._exit(in_child(pool))
    assert await asyncio.gather(*fetches) == [ROWS[i:] for i in range(ANSWERS)]
    _, status = await asyncio.to_thread(os.waitpid, child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert await pool.fetch(SQL, cache=False) == ROWS


def in_child(pool: SQLitePool) -> int:
    """0 where the child's answers are whole, or the pool says that this file is refused."""
    try:
        asyncio.events._set_running_loop(None)
        asyncio.set_event_loop(None)
        with SQLitePool(pool.path + ".child", size=2).blocking as own:
            own.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
            own.executemany("INSERT INTO t VALUES (?)", [(i,) for i in range(COUNT)])
            assert own.fetch(SQL) == [(i,) for i in range(COUNT)]
            rows = asyncio.run(read(own._pool))
            assert rows == [(i,) for i in range(COUNT)]
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


async def read(pool: SQLitePool) -> list[Any]:
    answers = await asyncio.gather(*(pool.fetch(SQL, cache=False) for _ in range(3)))
    assert answers[0] == answers[1] == answers[2]
    return answers[0]
