"""Beside writers of any kind, each answer is one state that existed, as new as the last commit before it."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mcp_performance import SQLitePool
from oracle_history import History, now
from oracle_runs import Oracle, some_slices

Read = Callable[[SQLitePool, int], Awaitable[int]]
ROWS = "SELECT id, generation, payload FROM t"
NEXT = (
    "UPDATE t SET generation = generation + 1, payload = printf('%0*d', 5 + generation % 3, generation + 1)"
)


def generation_of(rows: Sequence[Any], count: int) -> int:
    """The one generation that *rows* are of; all the rows, in order."""
    ids = [row[0] for row in rows]
    generations = {row[1] for row in rows}
    assert ids == list(range(count)), f"rows {ids[:20]}..."
    assert len(generations) == 1, f"rows of several generations: {sorted(generations)}"
    (generation,) = generations
    assert {int(row[2]) for row in rows} == {generation}
    return int(generation)


async def fetch(pool: SQLitePool, count: int) -> int:
    return generation_of(await pool.fetch(ROWS), count)


async def fetch_anew(pool: SQLitePool, count: int) -> int:
    return generation_of(await pool.fetch(ROWS, cache=False), count)


async def stream(pool: SQLitePool, count: int) -> int:
    return generation_of([row async for row in pool.stream(ROWS)], count)


async def blocking(pool: SQLitePool, count: int) -> int:
    return generation_of(await asyncio.to_thread(pool.blocking.fetch, ROWS), count)


async def value(pool: SQLitePool, count: int) -> int:
    generation: int = await pool.fetchval("SELECT generation FROM t WHERE id = ?", (count - 1,))
    return generation


async def aggregate(pool: SQLitePool, count: int) -> int:
    low, high, rows = await pool.fetchrow("SELECT min(generation), max(generation), count(*) FROM t")
    assert (low, rows) == (high, count)
    return int(low)


async def snapshot(pool: SQLitePool, count: int) -> int:
    async with pool.transaction(readonly=True) as connection:
        first = await connection.fetchval("SELECT max(generation) FROM t")
        rows = [row async for row in connection.stream(ROWS)]
        assert generation_of(rows, count) == first
        assert generation_of(await connection.fetch(ROWS), count) == first
        return int(first)


READS: tuple[Read, ...] = (
    fetch,
    fetch,
    fetch_anew,
    stream,
    blocking,
    value,
    aggregate,
    snapshot,
)


class Writer:
    """One at a time brings the next generation into being."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.turn = asyncio.Lock()
        self.generation = 0

    async def write(self, act: Callable[[], Awaitable[Any]]) -> None:
        async with self.turn:
            self.generation += 1
            with self.history.writing("t", self.generation, act):
                await act()


async def noted(history: History, act: Read, pool: SQLitePool, count: int) -> None:
    began = now()
    history.read("t", began, await act(pool, count), act.__name__)


async def transaction(pool: SQLitePool) -> None:
    async with pool.transaction() as connection:
        await connection.execute(NEXT)


async def undone(pool: SQLitePool) -> None:
    with suppress(ZeroDivisionError):
        async with pool.transaction() as connection:
            await connection.execute(NEXT)
            raise ZeroDivisionError


async def cancelled(pool: SQLitePool) -> None:
    """A fetch that is dropped while its rows come."""
    task = asyncio.ensure_future(pool.fetch(ROWS, cache=False))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def left_early(pool: SQLitePool) -> None:
    async with aclosing(pool.stream(ROWS)) as rows:
        async for _ in rows:
            break


def from_elsewhere(path: Path) -> None:
    connection = sqlite3.connect(path, timeout=30)
    with connection:
        connection.execute(NEXT)
    connection.close()


async def test_each_answer_is_one_state_that_existed(tmp_path: Path, oracle: Oracle) -> None:
    for number, rng in enumerate(oracle.rounds()):
        history = History()
        count = rng.choice((1, 40, 1500))
        path = tmp_path / f"{number}.db"
        async with SQLitePool(path, size=rng.choice((1, 2, 4))) as pool:
            await pool.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, generation INTEGER, payload TEXT)")
            await pool.executemany("INSERT INTO t VALUES (?, 0, '0')", ((i,) for i in range(count)))
            writer = Writer(history)
            writes = (
                partial(pool.execute, NEXT),
                partial(transaction, pool),
                partial(asyncio.to_thread, pool.blocking.execute, NEXT),
                partial(asyncio.to_thread, from_elsewhere, path),
            )
            disturb = (partial(undone, pool), partial(cancelled, pool), partial(left_early, pool))

            steps: list[Awaitable[Any]] = []
            for _ in range(60):
                kind = rng.random()
                if kind < 0.25:
                    steps.append(writer.write(rng.choice(writes)))
                elif kind < 0.35:
                    steps.append(rng.choice(disturb)())
                else:
                    steps.append(noted(history, rng.choice(READS), pool, count))
            with some_slices(rng):
                for start in range(0, len(steps), 12):
                    await asyncio.gather(*steps[start : start + 12])
        history.check()
        path.unlink()


OTHER_PROCESS = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
for generation in range(1, 10**9):
    began = time.perf_counter_ns()
    connection.execute(sys.argv[2])
    print(began, time.perf_counter_ns(), flush=True)
    if not sys.stdin.readline():
        break
"""


def test_a_result_that_is_kept_is_never_older_than_a_commit_of_another_process(
    tmp_path: Path, oracle: Oracle
) -> None:
    path, count, history = tmp_path / "a.db", 20, History()
    stop = threading.Event()
    with SQLitePool(path, size=3).blocking as db:
        db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, generation INTEGER, payload TEXT)")
        db.executemany("INSERT INTO t VALUES (?, 0, '0')", [(i,) for i in range(count)])

        def read() -> None:
            while not stop.is_set():
                began = now()
                history.read("t", began, generation_of(db.fetch(ROWS), count))

        other = subprocess.Popen(
            [sys.executable, "-c", OTHER_PROCESS, str(path), NEXT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        with ThreadPoolExecutor() as threads:
            readers = [threads.submit(read) for _ in range(2)]
            try:
                version = 0
                for rng in oracle.rounds():
                    version = write_elsewhere(other, history, version, rng)
            finally:
                stop.set()
                rest, _ = other.communicate()
            for last, line in enumerate(rest.splitlines(), version + 1):
                history.wrote("t", *map(int, line.split()), version=last)
            for reader in readers:
                reader.result()
    assert history.reads > 0
    history.check()


def write_elsewhere(other: subprocess.Popen[str], history: History, version: int, rng: random.Random) -> int:
    """Let the other process commit a few times, at any distance."""
    assert other.stdin is not None
    assert other.stdout is not None
    for _ in range(rng.randint(1, 20)):
        began, settled = map(int, other.stdout.readline().split())
        version += 1
        history.wrote("t", began, settled, version)
        other.stdin.write("\n")
        other.stdin.flush()
    return version


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("blocking", [False, True])
@pytest.mark.parametrize("undo", [False, True])
async def test_a_transaction_that_reads_hides_no_commit(
    tmp_path: Path, size: int, blocking: bool, undo: bool
) -> None:
    """The only connection of a pool ends it after a commit from elsewhere that nobody has looked at yet."""
    path = tmp_path / "a.db"

    async def read(pool: SQLitePool) -> None:
        async with pool.transaction(readonly=True) as connection:
            assert await connection.fetchval("SELECT generation FROM t") == 0
            await asyncio.to_thread(from_elsewhere, path)
            if undo:
                raise ZeroDivisionError

    def blocking_read(pool: SQLitePool) -> None:
        with pool.blocking.transaction(readonly=True) as connection:
            assert connection.fetchval("SELECT generation FROM t") == 0
            from_elsewhere(path)
            if undo:
                raise ZeroDivisionError

    async with SQLitePool(path, size=size) as pool:
        await pool.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, generation INTEGER, payload TEXT)")
        await pool.execute("INSERT INTO t VALUES (0, 0, '0')")
        assert await fetch(pool, 1) == 0
        with suppress(ZeroDivisionError):
            await (asyncio.to_thread(blocking_read, pool) if blocking else read(pool))
        assert await fetch(pool, 1) == 1
