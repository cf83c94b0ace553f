"""What the contenders of sqlite.py are asked to do, and what a right answer is.

The rows of the table are known by a formula, so that every contender checks what it read without another
SQLite in its process. What a case wrote is read back by the referee with the standard library, compared in
full and then undone: the table is the same before every case.
"""

from __future__ import annotations

import asyncio
import mmap
import random
import select
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from _check import PART, aseconds_each, same, within

POINT = "SELECT * FROM u WHERE id = ?"
ALL = "SELECT * FROM u"
SCAN = "SELECT count(*) FROM u WHERE email LIKE '%77%'"
INSERT = "INSERT INTO w VALUES (?, ?, ?)"
UPDATE = "UPDATE u SET score = score + 1 WHERE id = ?"
HOT = 7
TASKS = 50
READERS = 3

Row = tuple[int, str, str, float, int]
Fetch = Callable[[int], Awaitable[Any]]


@dataclass
class Size:
    """How much is done: less in a quick run."""

    rows: int = 200_000
    share: float = 1.0

    def calls(self, count: int) -> int:
        """So many calls, a multiple of the tasks."""
        return max(TASKS, int(count * self.share) // TASKS * TASKS)


SIZE = Size()


def be_quick() -> None:
    SIZE.rows, SIZE.share = 40_000, 0.05


# ---- the truth ----


def row_of(key: int) -> Row:
    return key, f"name {key}", f"user{key}@example.org", key * 0.5, key % 90


def all_rows() -> list[Row]:
    return [row_of(key) for key in range(SIZE.rows)]


def scan_count() -> int:
    return sum("77" in row_of(key)[2] for key in range(SIZE.rows))


def new_rows() -> list[tuple[int, str, float]]:
    return [(i, "text", i * 0.5) for i in range(SIZE.calls(10_000))]


def updates_of(case: str, figure: Any) -> Counter[int]:
    """How often *case* updates each row."""
    if case == "busy":
        return Counter({HOT: figure[1]})
    found: Counter[int] = Counter()
    if case in ("durable", "mixed"):
        for seed in range(TASKS):
            chosen = random.Random(seed)
            for _ in range(SIZE.calls(2_000 if case == "durable" else 10_000) // TASKS):
                key = chosen.randrange(SIZE.rows)
                found[key] += case == "durable" or chosen.random() < 0.1
    return found


class Tables:
    """The tables as the standard library reads them, in the referee's process."""

    def __init__(self, path: Path) -> None:
        self._rows = all_rows()
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute(
            "CREATE TABLE u (id INTEGER PRIMARY KEY, name TEXT, email TEXT, score REAL, age INTEGER)"
        )
        self._connection.execute("CREATE TABLE w (a, b, c)")
        self._connection.execute("BEGIN")
        self._connection.executemany("INSERT INTO u VALUES (?, ?, ?, ?, ?)", self._rows)
        self._connection.execute("COMMIT")

    def check_and_undo(self, name: str, case: str, figure: Any) -> None:
        """Compare all that is in the tables with what *case* had to write, and undo it."""
        if case not in ("busy", "durable", "insert", "mixed"):
            return
        updates, want = updates_of(case, figure), list(self._rows)
        for key, times in updates.items():
            want[key] = with_score(key, times)
        same(f"{name}, {case}, table u", self._connection.execute(f"{ALL} ORDER BY id").fetchall(), want)
        inserted = self._connection.execute("SELECT * FROM w ORDER BY rowid").fetchall()
        same(f"{name}, {case}, table w", inserted, new_rows() if case == "insert" else [])
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.execute("DELETE FROM w")
        scores = [(row_of(key)[3], key) for key in updates]
        self._connection.executemany("UPDATE u SET score = ? WHERE id = ?", scores)
        self._connection.execute("COMMIT")
        self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")


def with_score(key: int, updates: int) -> Row:
    number, name, email, score, age = row_of(key)
    return number, name, email, score + updates, age


@dataclass
class Seen:
    """Reads of rows that are updated meanwhile: so many updates had ended before, so many begun after."""

    reads: list[tuple[int, int, Any, int]] = field(default_factory=list)

    def check(self, what: str, row: Callable[[Any], Row]) -> None:
        for key, ended, got, begun in self.reads:
            found = row(got)
            updates = int(found[3] - row_of(key)[3])
            same(f"{what}, row {key}", found, with_score(key, updates))
            within(f"{what}, updates that a read of row {key} shows", updates, ended, begun)


# ---- the work ----


def keys(count: int) -> list[int]:
    chosen = random.Random(7)
    return [chosen.randrange(SIZE.rows) for _ in range(count)]


def timed(what: str, work: Callable[[], Any], want: object) -> float:
    start = time.perf_counter()
    result = work()
    took = time.perf_counter() - start
    same(what, result, want)
    return took


def percentile(values: list[float], percent: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * percent / 100))]


async def lag_during(what: str, work: Awaitable[Any], want: object) -> tuple[float, float]:
    """The seconds that *work* takes, and the p99 of how late 1 ms timers fire meanwhile."""
    late: list[float] = []
    done = False

    async def ticker() -> None:
        while not done:
            start = time.perf_counter()
            await asyncio.sleep(0.001)
            late.append(time.perf_counter() - start - 0.001)

    task = asyncio.create_task(ticker())
    await asyncio.sleep(0.01)
    late.clear()
    start = time.perf_counter()
    result = await work
    took = time.perf_counter() - start
    done = True
    await task
    same(what, result, want)
    return took, percentile(late, 99)


async def sequential(
    what: str, fetch: Fetch, chosen: list[int], answer: Callable[[int], Any] = row_of
) -> float:
    async def work(part: Sequence[int]) -> list[Any]:
        return [await fetch(key) for key in part]

    return await aseconds_each(what, work, chosen, answer)


async def in_flight(what: str, fetch: Fetch, count: int, answer: Callable[[int], Any] = row_of) -> float:
    async def work(chosen: list[int]) -> list[Any]:
        return [await fetch(key) for key in chosen]

    share = [keys(count // TASKS) for _ in range(TASKS)]
    start = time.perf_counter()
    found = await asyncio.gather(*(work(one) for one in share))
    took = time.perf_counter() - start
    same(what, found, [[answer(key) for key in one] for one in share])
    return took / count


async def mixed(what: str, read: Fetch, write: Fetch, row: Callable[[Any], Row] = tuple) -> float:
    """The p99 of the latency of one operation: 90 % reads, 50 tasks."""
    took: list[float] = []
    begun: Counter[int] = Counter()
    ended: Counter[int] = Counter()
    seen = Seen()

    async def work(seed: int) -> None:
        chosen = random.Random(seed)
        for _ in range(SIZE.calls(10_000) // TASKS):
            key = chosen.randrange(SIZE.rows)
            if chosen.random() < 0.1:
                begun[key] += 1
                start = time.perf_counter()
                await write(key)
                took.append(time.perf_counter() - start)
                ended[key] += 1
            else:
                before = ended[key]
                start = time.perf_counter()
                got = await read(key)
                took.append(time.perf_counter() - start)
                seen.reads.append((key, before, got, begun[key]))

    await asyncio.gather(*(work(seed) for seed in range(TASKS)))
    seen.check(what, row)
    return percentile(took, 99)


async def writing(write: Fetch) -> float:
    """Seconds a write, of 50 tasks that write at the same time."""
    count = SIZE.calls(2_000)

    async def work(seed: int) -> None:
        chosen = random.Random(seed)
        for _ in range(count // TASKS):
            await write(chosen.randrange(SIZE.rows))

    start = time.perf_counter()
    await asyncio.gather(*(work(seed) for seed in range(TASKS)))
    return (time.perf_counter() - start) / count


def keep_writing(path: str, counters: str) -> None:
    """Update the hot row about every millisecond until standard input ends; print how often."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=60)
    connection.execute("PRAGMA synchronous=NORMAL")
    with open(counters, "r+b") as file, mmap.mmap(file.fileno(), 16) as shared:
        counts = memoryview(shared).cast("q")
        while not select.select([sys.stdin], [], [], 0.001)[0]:
            counts[0] += 1
            connection.execute(UPDATE, (HOT,))
            counts[1] += 1
            if counts[1] == 1:
                print("writing", flush=True)
        print(counts[1], flush=True)
        counts.release()


def busy(what: str, path: str, reads: Callable[[], Callable[[], list[Any]]], parts: int) -> tuple[float, int]:
    """Seconds a read of the hot row, by threads at once, while another process writes it; and its writes.

    Each thread makes its own ``read = reads()``, which reads a thousand times.
    """
    seen = Seen()
    spans: list[tuple[float, float]] = []
    ready = threading.Barrier(READERS)
    with tempfile.NamedTemporaryFile() as file:
        file.write(bytes(16))
        file.flush()
        command = [sys.executable, str(Path(__file__).with_name("sqlite.py")), "--writer", path, file.name]
        writer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        writer.stdout.readline()
        with mmap.mmap(file.fileno(), 16) as shared:
            counts = memoryview(shared).cast("q")

            def work() -> None:
                read, own = reads(), []
                ready.wait()
                start = time.perf_counter()
                for _ in range(parts):
                    before = counts[1]
                    got = read()
                    own.append((before, got, counts[0]))
                spans.append((start, time.perf_counter()))
                for before, got, after in own:
                    seen.reads.extend((HOT, before, one, after) for one in got)

            threads = [threading.Thread(target=work) for _ in range(READERS)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            counts.release()
        written = int(writer.communicate("", timeout=60)[0])
    within(f"{what}, reads", len(seen.reads), READERS * parts * PART, READERS * parts * PART)
    seen.check(what, lambda rows: only(what, rows))
    took = max(end for _, end in spans) - min(start for start, _ in spans)
    return took / len(seen.reads), written


def only(what: str, rows: list[Any]) -> Row:
    """The one row of an answer."""
    within(f"{what}, rows of one key", len(rows), 1, 1)
    row: Row = rows[0]
    return row
