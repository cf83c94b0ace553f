"""The SQLite pool against aiosqlite, apsw, the standard library and SQLAlchemy's asyncio, in one run.

Each contender runs in a process of its own, because some wheels bring their own SQLite and two copies
must not share a file in one process. The rounds of all contenders are interleaved; figures are medians.
A result lives until its clock has stopped: dropping 200,000 rows costs everybody the same.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import _peers

PEERS = ("aiosqlite==0.22.1", "apsw==3.54.1.0", "sqlalchemy[asyncio]==2.1.9")
ROWS = 200_000
POINT = "SELECT * FROM u WHERE id = ?"
ALL = "SELECT * FROM u"
SCAN = "SELECT count(*) FROM u WHERE email LIKE '%zz%'"
INSERT = "INSERT INTO w VALUES (?, ?, ?)"
UPDATE = "UPDATE u SET score = score + 1 WHERE id = ?"

Case = Callable[[], Any]


def make_database(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute(
        "CREATE TABLE u (id INTEGER PRIMARY KEY, name TEXT, email TEXT, score REAL, age INTEGER)"
    )
    connection.execute("CREATE TABLE w (a, b, c)")
    connection.executemany(
        "INSERT INTO u VALUES (?, ?, ?, ?, ?)",
        ((i, f"name {i}", f"user{i}@example.org", i * 0.5, i % 90) for i in range(ROWS)),
    )
    connection.commit()
    connection.close()


def keys(count: int) -> list[int]:
    chosen = random.Random(7)
    return [chosen.randrange(ROWS) for _ in range(count)]


def timed(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    result = work()
    took = time.perf_counter() - start
    del result
    return took


def percentile(values: list[float], percent: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * percent / 100))]


async def lag_during(work: Awaitable[Any]) -> tuple[float, float]:
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
    del result
    return took, percentile(late, 99)


async def sequential(fetch: Callable[[int], Awaitable[Any]], count: int) -> float:
    chosen = keys(count)
    start = time.perf_counter()
    for key in chosen:
        await fetch(key)
    return (time.perf_counter() - start) / count


async def in_flight(fetch: Callable[[int], Awaitable[Any]], count: int, tasks: int = 50) -> float:
    async def work(chosen: list[int]) -> None:
        for key in chosen:
            await fetch(key)

    share = [keys(count // tasks) for _ in range(tasks)]
    start = time.perf_counter()
    await asyncio.gather(*(work(one) for one in share))
    return (time.perf_counter() - start) / count


async def mixed(
    read: Callable[[int], Awaitable[Any]], write: Callable[[int], Awaitable[Any]], count: int
) -> float:
    """The p99 of the latency of one operation: 90 % reads, 50 tasks."""
    took: list[float] = []

    async def work(seed: int) -> None:
        chosen = random.Random(seed)
        for _ in range(count // 50):
            key = chosen.randrange(ROWS)
            start = time.perf_counter()
            await (write(key) if chosen.random() < 0.1 else read(key))
            took.append(time.perf_counter() - start)

    await asyncio.gather(*(work(seed) for seed in range(50)))
    return percentile(took, 99)


async def writing(write: Callable[[int], Awaitable[Any]], count: int) -> float:
    """Seconds a write, of 50 tasks that write at the same time."""

    async def work(seed: int) -> None:
        chosen = random.Random(seed)
        for _ in range(count // 50):
            await write(chosen.randrange(ROWS))

    start = time.perf_counter()
    await asyncio.gather(*(work(seed) for seed in range(50)))
    return (time.perf_counter() - start) / count


# ---- the contenders: a dict of cases, each returning seconds ----


def ours(path: str) -> dict[str, Case]:
    from mcp_performance import SQLitePool

    loop = asyncio.new_event_loop()
    pool = SQLitePool(path, synchronous="NORMAL")
    bare = SQLitePool(path, synchronous="NORMAL", tracking=False)
    durable = SQLitePool(path)

    def point(key: int) -> Awaitable[Any]:
        return pool.fetchrow(POINT, (key,), cache=False)

    def hit(_: int) -> Awaitable[Any]:
        return pool.fetchrow(POINT, (7,))

    def blocking(db: Any, cache: bool) -> float:
        chosen = keys(20_000) if not cache else [7] * 20_000
        fetchrow = db.fetchrow

        def work() -> None:
            for key in chosen:
                fetchrow(POINT, (key,), cache=cache)

        return timed(work) / len(chosen)

    def tracking() -> float:
        with_it, without = [], []
        for _ in range(5):
            with_it.append(blocking(pool.blocking, False))
            without.append(blocking(bare.blocking, False))
        return statistics.median(with_it) - statistics.median(without)

    async def scans() -> tuple[float, float]:
        async def run(count: int) -> float:
            start = time.perf_counter()
            await asyncio.gather(*(pool.fetchval(SCAN, cache=False) for _ in range(count)))
            return time.perf_counter() - start

        await run(2)  # both page caches are warm
        return await run(1), await run(2)

    async def insert() -> float:
        rows = [(i, "text", i * 0.5) for i in range(10_000)]
        start = time.perf_counter()
        await pool.executemany(INSERT, rows)
        return time.perf_counter() - start

    run = loop.run_until_complete
    run(pool.fetchval(SCAN))
    return {
        "sequential": lambda: run(sequential(point, 20_000)),
        "in_flight": lambda: run(in_flight(point, 20_000)),
        "blocking": lambda: blocking(pool.blocking, False),
        "all_rows": lambda: run(lag_during(pool.fetch(ALL, cache=False))),
        "idle_lag": lambda: run(lag_during(asyncio.sleep(0.1))),
        "scans": lambda: run(scans()),
        "cached_sync": lambda: blocking(pool.blocking, True),
        "cached_async": lambda: run(sequential(hit, 20_000)),
        "insert": lambda: run(insert()),
        "tracking": tracking,
        "mixed": lambda: run(mixed(point, lambda key: pool.execute(UPDATE, (key,)), 10_000)),
        "durable": lambda: run(writing(lambda key: durable.execute(UPDATE, (key,)), 2_000)),
    }


def stdlib(path: str) -> dict[str, Case]:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA cache_size=10000")

    async def point(key: int) -> Any:
        return connection.execute(POINT, (key,)).fetchone()

    def blocking() -> float:
        chosen = keys(20_000)

        def work() -> None:
            for key in chosen:
                connection.execute(POINT, (key,)).fetchone()

        return timed(work) / len(chosen)

    def insert() -> float:
        rows = [(i, "text", i * 0.5) for i in range(10_000)]
        start = time.perf_counter()
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(INSERT, rows)
        connection.execute("COMMIT")
        return time.perf_counter() - start

    connection.execute(SCAN).fetchone()
    return {
        "in_flight": lambda: asyncio.run(in_flight(point, 20_000)),
        "blocking": blocking,
        "all_rows": lambda: (timed(lambda: connection.execute(ALL).fetchall()), 0.0),
        "insert": insert,
    }


def apsw_peer(path: str) -> dict[str, Case]:
    _peers.add(*PEERS)
    import apsw

    connection, second = apsw.Connection(path), apsw.Connection(path)
    for one in (connection, second):
        one.execute("PRAGMA cache_size=10000")

    def scans() -> tuple[float, float]:
        def scan(one: Any) -> None:
            one.execute(SCAN).fetchall()

        def both() -> None:
            other = threading.Thread(target=scan, args=(second,))
            other.start()
            scan(connection)
            other.join()

        both()  # both page caches are warm
        return timed(lambda: scan(connection)), timed(both)

    def blocking() -> float:
        chosen = keys(20_000)

        def work() -> None:
            for key in chosen:
                connection.execute(POINT, (key,)).fetchone()

        return timed(work) / len(chosen)

    connection.execute(SCAN).fetchone()
    return {
        "blocking": blocking,
        "all_rows": lambda: (timed(lambda: connection.execute(ALL).fetchall()), 0.0),
        "scans": scans,
    }


def aiosqlite_peer(path: str) -> dict[str, Case]:
    _peers.add(*PEERS)
    import aiosqlite

    loop = asyncio.new_event_loop()
    run = loop.run_until_complete

    async def connect(synchronous: str) -> Any:
        connection = await aiosqlite.connect(path, isolation_level=None)
        await connection.execute(f"PRAGMA synchronous={synchronous}")
        await connection.execute("PRAGMA cache_size=10000")
        return connection

    connection, durable = run(connect("NORMAL")), run(connect("FULL"))

    async def point(key: int) -> Any:
        async with connection.execute(POINT, (key,)) as cursor:
            return await cursor.fetchone()

    async def one_hop(key: int) -> Any:
        return await connection.execute_fetchall(POINT, (key,))

    async def write(key: int) -> None:
        await connection.execute(UPDATE, (key,))

    run(connection.execute_fetchall(SCAN))
    return {
        "sequential": lambda: run(sequential(one_hop, 3_000)),
        "in_flight": lambda: run(in_flight(one_hop, 10_000)),
        "all_rows": lambda: run(lag_during(connection.execute_fetchall(ALL))),
        "mixed": lambda: run(mixed(one_hop, write, 10_000)),
        "durable": lambda: run(writing(lambda key: durable.execute(UPDATE, (key,)), 2_000)),
        "three_hops": lambda: run(sequential(point, 3_000)),
    }


def sqlalchemy_peer(path: str) -> dict[str, Case]:
    _peers.add(*PEERS)
    from sqlalchemy import text
    from sqlalchemy.ext.asyncio import create_async_engine

    loop = asyncio.new_event_loop()
    engine = create_async_engine(f"sqlite+aiosqlite:///{path}")
    statement = text("SELECT * FROM u WHERE id = :id")

    async def point(key: int) -> Any:
        async with engine.connect() as connection:
            return (await connection.execute(statement, {"id": key})).first()

    loop.run_until_complete(point(1))
    return {"sequential": lambda: loop.run_until_complete(sequential(point, 1_000))}


CONTENDERS: dict[str, Callable[[str], dict[str, Case]]] = {
    "mcp_performance": ours,
    "stdlib": stdlib,
    "apsw": apsw_peer,
    "aiosqlite": aiosqlite_peer,
    "sqlalchemy": sqlalchemy_peer,
}


def serve(name: str, path: str) -> None:
    """Run the cases that are named on standard input; print their figures."""
    cases = CONTENDERS[name](path)
    print(json.dumps(sorted(cases)), flush=True)
    for line in sys.stdin:
        print(json.dumps(cases[line.strip()]()), flush=True)
    os._exit(0)


# ---- the referee ----


class Contender:
    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--contender", name, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.cases = self._read()
        self.figures: dict[str, list[Any]] = {case: [] for case in self.cases}

    def _read(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended early")
        return json.loads(line)

    def run(self, case: str) -> None:
        assert self.process.stdin is not None
        print(case, file=self.process.stdin, flush=True)
        self.figures[case].append(self._read())

    def median(self, case: str, part: int | None = None) -> float:
        values = self.figures[case]
        return statistics.median(value if part is None else value[part] for value in values)

    def end(self) -> None:
        self.process.communicate(timeout=60)


Row = tuple[str, str, str, float, float | None]


def table(by: dict[str, Contender]) -> list[Row]:
    """What, ours, the peer's, their ratio, the ratio to reach if there is one."""
    our, std, aio, apsw = by["mcp_performance"], by["stdlib"], by["aiosqlite"], by["apsw"]

    def row(what: str, mine: float, peer: float, peer_name: str, reach: float, unit: str = "us") -> Row:
        scale = {"us": 1e6, "ms": 1e3}[unit]
        return (
            what,
            f"{mine * scale:.2f} {unit}",
            f"{peer_name} {peer * scale:.2f} {unit}",
            mine / peer,
            reach,
        )

    def speed_up(of: Contender) -> float:
        return statistics.median(2 * one / two for one, two in of.figures["scans"])

    one_scan, bare_scan = our.median("scans", 0), apsw.median("scans", 0)
    lag, idle = our.median("all_rows", 1), our.median("idle_lag", 1)
    return [
        row(
            "key SELECT, async, one at a time",
            our.median("sequential"),
            aio.median("sequential"),
            "aiosqlite",
            0.08,
        ),
        row("", our.median("sequential"), by["sqlalchemy"].median("sequential"), "SQLAlchemy", 0.08),
        row(
            "key SELECT, async, 50 in flight",
            our.median("in_flight"),
            aio.median("in_flight"),
            "aiosqlite",
            0.17,
        ),
        row("", our.median("in_flight"), std.median("in_flight"), "stdlib in a coroutine", 0.85),
        row("key SELECT, blocking", our.median("blocking"), std.median("blocking"), "stdlib", 1.0),
        row("", our.median("blocking"), apsw.median("blocking"), "apsw", 1.0),
        row("200,000 rows, async", our.median("all_rows", 0), apsw.median("all_rows", 0), "apsw", 1.0, "ms"),
        row("", our.median("all_rows", 0), std.median("all_rows", 0), "stdlib", 1.0, "ms"),
        row("loop lag meanwhile, p99", lag, 0.005, "limit", 1.0, "ms"),
        ("of a loop with nothing to do", f"{idle * 1e3:.2f} ms", "the machine's own", idle / 0.005, None),
        (
            "two scans at once, speed-up",
            f"{speed_up(our):.2f}x",
            f"one {one_scan * 1e3:.1f} ms",
            speed_up(our),
            1.7,
        ),
        (
            "by two threads of bare apsw",
            f"{speed_up(apsw):.2f}x",
            f"one {bare_scan * 1e3:.1f} ms",
            speed_up(apsw),
            None,
        ),
        row("cached SELECT, sync", our.median("cached_sync"), std.median("blocking"), "stdlib runs it", 0.06),
        row("cached SELECT, async", our.median("cached_async"), aio.median("sequential"), "aiosqlite", 0.01),
        row("10,000-row executemany", our.median("insert"), std.median("insert"), "stdlib", 0.8, "ms"),
        row("tracking a statement", our.median("tracking"), 0.5e-6, "limit", 1.0),
        row("mixed, 50 tasks, p99", our.median("mixed"), aio.median("mixed"), "aiosqlite", 0.3, "ms"),
        row("50 tasks write, FULL", our.median("durable"), aio.median("durable"), "aiosqlite", 1.0),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", action="store_true", help="write the table to RESULTS.md")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cases", default="", help="only these, by comma: no table, the medians")
    parser.add_argument("--contender", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contender:
        serve(*arguments.contender)
    _peers.add(*PEERS)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "bench.db"
        make_database(path)
        by = {name: Contender(name, path) for name in CONTENDERS}
        cases = sorted({case for one in by.values() for case in one.cases})
        if arguments.cases:
            cases = arguments.cases.split(",")
        for _ in range(arguments.rounds):
            for case in cases:
                for one in by.values():
                    if case in one.cases:
                        one.run(case)
        rows = [] if arguments.cases else table(by)
        for one in by.values():
            one.end()
    if arguments.cases:
        for name, contender in by.items():
            print(name, {case: found for case, found in contender.figures.items() if found})
        return
    lines = ["| what | mcp_performance | peer | ratio | to reach |", "|---|---|---|---|---|"]
    for what, mine, peer, ratio, reach in rows:
        bound = "" if reach is None else f">= {reach}" if "speed-up" in what else f"<= {reach}"
        lines.append(f"| {what} | {mine} | {peer} | {ratio:.3f} | {bound} |")
    print("\n".join(lines))
    if arguments.record:
        import _native

        text = f"## SQLite pool\n\n{_native.machine()}, SQLite {sqlite3.sqlite_version}. Medians of "
        _native.record("sqlite", f"{text}{arguments.rounds} interleaved rounds.\n\n" + "\n".join(lines))


if __name__ == "__main__":
    main()
