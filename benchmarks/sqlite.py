"""The SQLite pool against aiosqlite, apsw, the standard library and SQLAlchemy's asyncio, in one run.

    python benchmarks/sqlite.py [--record] [--quick] [--rounds N] [--cases A,B]

Each contender runs in a process of its own, because some wheels bring their own SQLite and two copies
must not share a file in one process. The rounds of all contenders are interleaved; figures are medians.
A result lives until its clock has stopped: dropping 200,000 rows costs everybody the same. Then it is
compared in full (_sqlite_work.py); a wrong answer ends the run.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import _check
import _peers
import _sqlite_work as work
from _sqlite_work import (
    ALL,
    HOT,
    INSERT,
    POINT,
    SCAN,
    SIZE,
    UPDATE,
    busy,
    in_flight,
    keys,
    lag_during,
    mixed,
    new_rows,
    row_of,
    sequential,
    timed,
    writing,
)

PEERS = ("aiosqlite==0.22.1", "apsw==3.54.1.0", "sqlalchemy[asyncio]==2.1.9")

Case = Callable[[], Any]


# ---- the contenders: a dict of cases, each returning seconds ----


def ours(path: str) -> dict[str, Case]:
    from mcp_performance import SQLitePool

    loop = asyncio.new_event_loop()
    pool = SQLitePool(path, synchronous="NORMAL")
    durable = SQLitePool(path)
    everything, found = work.all_rows(), work.scan_count()

    def point(key: int) -> Awaitable[Any]:
        return pool.fetchrow(POINT, (key,), cache=False)

    def hit(key: int) -> Awaitable[Any]:
        return pool.fetchrow(POINT, (key,))

    async def scans() -> tuple[float, float]:
        async def run(count: int) -> float:
            start = time.perf_counter()
            got = await asyncio.gather(*(pool.fetchval(SCAN, cache=False) for _ in range(count)))
            took = time.perf_counter() - start
            _check.same("scans", got, [found] * count)
            return took

        await run(2)  # both page caches are warm
        return await run(1), await run(2)

    async def insert() -> float:
        rows = new_rows()
        start = time.perf_counter()
        await pool.executemany(INSERT, rows)
        return time.perf_counter() - start

    run = loop.run_until_complete
    run(pool.fetchval(SCAN))
    return ours_blocking(path, pool) | {
        "sequential": lambda: run(sequential("fetchrow", point, keys(SIZE.calls(20_000)))),
        "in_flight": lambda: run(in_flight("fetchrow, in flight", point, SIZE.calls(20_000))),
        "all_rows": lambda: run(lag_during("fetch", pool.fetch(ALL, cache=False), everything)),
        "idle_lag": lambda: run(lag_during("sleep", asyncio.sleep(0.1), None)),
        "scans": lambda: run(scans()),
        "cached_async": lambda: run(sequential("cached fetchrow", hit, [HOT] * SIZE.calls(20_000))),
        "insert": lambda: run(insert()),
        "mixed": lambda: run(mixed("mixed", point, lambda key: pool.execute(UPDATE, (key,)))),
        "durable": lambda: run(writing(lambda key: durable.execute(UPDATE, (key,)))),
    }


def ours_blocking(path: str, pool: Any) -> dict[str, Case]:
    """The cases of this package that need no event loop."""
    from mcp_performance import SQLitePool

    bare = SQLitePool(path, synchronous="NORMAL", tracking=False)

    def blocking(what: str, db: Any, cache: bool) -> float:
        chosen = [HOT] * SIZE.calls(20_000) if cache else keys(SIZE.calls(20_000))
        fetchrow = db.fetchrow

        def read(part: Sequence[int]) -> list[Any]:
            return [fetchrow(POINT, (key,), cache=cache) for key in part]

        return _check.seconds_each(what, read, chosen, row_of)

    def as_written() -> float:
        def read(part: Sequence[int]) -> list[Any]:
            return [pool.blocking.fetch(POINT, (key,)) for key in part]

        hot = [HOT] * SIZE.calls(20_000)
        return _check.seconds_each("pool.blocking.fetch", read, hot, lambda key: [row_of(key)])

    def hot_reader() -> Callable[[], list[Any]]:
        return lambda: [pool.blocking.fetch(POINT, (HOT,)) for _ in range(_check.PART)]

    def tracking() -> float:
        with_it, without = [], []
        for _ in range(5):
            with_it.append(blocking("tracking", pool.blocking, False))
            without.append(blocking("no tracking", bare.blocking, False))
        return statistics.median(with_it) - statistics.median(without)

    return {
        "blocking": lambda: blocking("blocking.fetchrow", pool.blocking, False),
        "cached_sync": lambda: blocking("cached blocking.fetchrow", pool.blocking, True),
        "as_written": as_written,
        "busy": lambda: busy("busy", path, hot_reader, max(1, int(40 * SIZE.share))),
        "tracking": tracking,
    }


def stdlib(path: str) -> dict[str, Case]:
    def connect() -> sqlite3.Connection:
        made = sqlite3.connect(path, isolation_level=None, timeout=60)
        made.execute("PRAGMA synchronous=NORMAL")
        made.execute("PRAGMA cache_size=10000")
        return made

    connection = connect()
    everything = work.all_rows()

    async def point(key: int) -> Any:
        return connection.execute(POINT, (key,)).fetchone()

    def blocking() -> float:
        def read(part: Sequence[int]) -> list[Any]:
            return [connection.execute(POINT, (key,)).fetchone() for key in part]

        return _check.seconds_each("execute", read, keys(SIZE.calls(20_000)), row_of)

    def as_written() -> float:
        def read(part: Sequence[int]) -> list[Any]:
            return [connection.execute(POINT, (key,)).fetchall() for key in part]

        hot = [HOT] * SIZE.calls(20_000)
        return _check.seconds_each("execute", read, hot, lambda key: [row_of(key)])

    def hot_reader() -> Callable[[], list[Any]]:
        own = connect()
        return lambda: [own.execute(POINT, (HOT,)).fetchall() for _ in range(_check.PART)]

    def insert() -> float:
        rows = new_rows()
        start = time.perf_counter()
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(INSERT, rows)
        connection.execute("COMMIT")
        return time.perf_counter() - start

    connection.execute(SCAN).fetchone()
    return {
        "in_flight": lambda: asyncio.run(in_flight("execute in a coroutine", point, SIZE.calls(20_000))),
        "blocking": blocking,
        "as_written": as_written,
        "busy": lambda: busy("busy", path, hot_reader, max(1, int(5 * SIZE.share))),
        "all_rows": lambda: (timed("fetchall", lambda: connection.execute(ALL).fetchall(), everything), 0.0),
        "insert": insert,
    }


def apsw_peer(path: str) -> dict[str, Case]:
    import apsw

    connection, second = apsw.Connection(path), apsw.Connection(path)
    for one in (connection, second):
        one.execute("PRAGMA cache_size=10000")
    everything, found = work.all_rows(), [(work.scan_count(),)]

    def scans() -> tuple[float, float]:
        def scan(one: Any) -> Any:
            return one.execute(SCAN).fetchall()

        def both() -> list[Any]:
            got = []
            other = threading.Thread(target=lambda: got.append(scan(second)))
            other.start()
            mine = scan(connection)
            other.join()
            return [mine, *got]

        both()  # both page caches are warm
        return timed("a scan", lambda: scan(connection), found), timed("scans", both, [found, found])

    def blocking() -> float:
        def read(part: Sequence[int]) -> list[Any]:
            return [connection.execute(POINT, (key,)).fetchone() for key in part]

        return _check.seconds_each("execute", read, keys(SIZE.calls(20_000)), row_of)

    connection.execute(SCAN).fetchone()
    return {
        "blocking": blocking,
        "all_rows": lambda: (timed("fetchall", lambda: connection.execute(ALL).fetchall(), everything), 0.0),
        "scans": scans,
    }


def aiosqlite_peer(path: str) -> dict[str, Case]:
    import aiosqlite

    loop = asyncio.new_event_loop()
    run = loop.run_until_complete
    everything = work.all_rows()

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

    def rows_of(key: int) -> list[Any]:
        return [row_of(key)]

    def only(rows: list[Any]) -> Any:
        return work.only("mixed", rows)

    run(connection.execute_fetchall(SCAN))
    return {
        "sequential": lambda: run(sequential("execute_fetchall", one_hop, keys(SIZE.calls(3_000)), rows_of)),
        "in_flight": lambda: run(
            in_flight("execute_fetchall, in flight", one_hop, SIZE.calls(10_000), rows_of)
        ),
        "all_rows": lambda: run(lag_during("all", connection.execute_fetchall(ALL), everything)),
        "mixed": lambda: run(mixed("mixed", one_hop, write, only)),
        "durable": lambda: run(writing(lambda key: durable.execute(UPDATE, (key,)))),
        "three_hops": lambda: run(sequential("execute", point, keys(SIZE.calls(3_000)))),
    }


def sqlalchemy_peer(path: str) -> dict[str, Case]:
    from sqlalchemy import text
    from sqlalchemy.ext.asyncio import create_async_engine

    loop = asyncio.new_event_loop()
    engine = create_async_engine(f"sqlite+aiosqlite:///{path}")
    statement = text("SELECT * FROM u WHERE id = :id")

    async def point(key: int) -> Any:
        async with engine.connect() as connection:
            return tuple((await connection.execute(statement, {"id": key})).first())

    loop.run_until_complete(point(1))
    run = loop.run_until_complete
    return {"sequential": lambda: run(sequential("execute", point, keys(SIZE.calls(1_000))))}


CONTENDERS: dict[str, Callable[[str], dict[str, Case]]] = {
    "mcp_performance": ours,
    "stdlib": stdlib,
    "apsw": apsw_peer,
    "aiosqlite": aiosqlite_peer,
    "sqlalchemy": sqlalchemy_peer,
}


NEEDS = {"apsw": ("apsw",), "aiosqlite": ("aiosqlite",), "sqlalchemy": ("sqlalchemy", "aiosqlite")}


def serve(name: str, path: str) -> None:
    """Run the cases that are named on standard input; print their figures."""
    cases = CONTENDERS[name](path)
    print(json.dumps(sorted(cases)), flush=True)
    gc.collect()
    gc.freeze()  # the rows that are known to be right are no work for the collector
    for line in sys.stdin:
        figure = cases[line.strip()]()
        gc.collect()  # nor is what one case leaves behind, in the next one
        print(json.dumps(figure), flush=True)
    os._exit(0)


# ---- the referee ----


class Contender:
    def __init__(self, name: str, path: Path, quick: bool) -> None:
        self.name = name
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--contender", name, str(path), *(["--quick"] if quick else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.cases = self._read("")
        self.figures: dict[str, list[Any]] = {case: [] for case in self.cases}

    def _read(self, during: str) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended early{during}: see above")
        return json.loads(line)

    def run(self, case: str) -> None:
        assert self.process.stdin is not None
        print(case, file=self.process.stdin, flush=True)
        self.figures[case].append(self._read(f" in {case}"))

    def median(self, case: str, part: int | None = None) -> float:
        values = self.figures[case]
        return statistics.median(value if part is None else value[part] for value in values)

    def end(self) -> None:
        self.process.communicate(timeout=60)


Row = tuple[str, str, str, float, float | None]


def row(what: str, mine: float, peer: float, peer_name: str, reach: float | None, unit: str = "us") -> Row:
    scale = {"us": 1e6, "ms": 1e3}[unit]
    return (
        what,
        f"{mine * scale:.2f} {unit}",
        f"{peer_name} {peer * scale:.2f} {unit}",
        mine / peer,
        reach,
    )


def bulk_rows(our: Contender, std: Contender, apsw: Contender) -> list[Row]:
    """Of large answers and of scans."""

    def speed_up(of: Contender) -> float:
        return statistics.median(2 * one / two for one, two in of.figures["scans"])

    one_scan, bare_scan = our.median("scans", 0), apsw.median("scans", 0)
    lag, idle = our.median("all_rows", 1), our.median("idle_lag", 1)
    return [
        row("200,000 rows, async", our.median("all_rows", 0), apsw.median("all_rows", 0), "apsw", 0.6, "ms"),
        row("", our.median("all_rows", 0), std.median("all_rows", 0), "stdlib", 1.0, "ms"),
        row("loop lag meanwhile, p99", lag, 0.002, "limit", 1.0, "ms"),
        ("of a loop with nothing to do", f"{idle * 1e3:.2f} ms", "the machine's own", idle / 0.002, None),
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
    ]


def table(by: dict[str, Contender]) -> list[Row]:
    """What, ours, the peer's, their ratio, the ratio to reach if there is one."""
    our, std, aio, apsw = by["mcp_performance"], by["stdlib"], by["aiosqlite"], by["apsw"]

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
        *bulk_rows(our, std, apsw),
        row("cached SELECT, sync", our.median("cached_sync"), std.median("blocking"), "stdlib runs it", 0.06),
        row(
            "cached SELECT, pool.blocking.fetch(...)",
            our.median("as_written"),
            std.median("as_written"),
            "stdlib runs it",
            0.06,
        ),
        row(
            "cached SELECT, 3 threads, a writer beside",
            our.median("busy", 0),
            std.median("busy", 0),
            "stdlib runs it",
            None,
        ),
        row("cached SELECT, async", our.median("cached_async"), aio.median("sequential"), "aiosqlite", 0.01),
        row("10,000-row executemany", our.median("insert"), std.median("insert"), "stdlib", 0.8, "ms"),
        row("tracking a statement", our.median("tracking"), 0.5e-6, "limit", 1.0),
        row("mixed, 50 tasks, p99", our.median("mixed"), aio.median("mixed"), "aiosqlite", 0.3, "ms"),
        row("50 tasks write, FULL", our.median("durable"), aio.median("durable"), "aiosqlite", 1.0),
    ]


def measure(names: list[str], chosen: str, rounds: int, quick: bool) -> dict[str, Contender]:
    """The figures of these contenders, whose rounds are interleaved."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "bench.db"
        tables = work.Tables(path)
        by = {name: Contender(name, path, quick) for name in names}
        cases = chosen.split(",") if chosen else sorted({case for one in by.values() for case in one.cases})
        for _ in range(rounds):
            for case in cases:
                for one in by.values():
                    if case in one.cases:
                        one.run(case)
                        tables.check_and_undo(one.name, case, one.figures[case][-1])
        for one in by.values():
            one.end()
    return by


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--record", action="store_true", help="write the table to RESULTS.md")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cases", default="", help="only these, by comma: no table, the medians")
    parser.add_argument("--quick", action="store_true", help="one small round of what is installed: no table")
    parser.add_argument("--contender", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--writer", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.writer:
        work.keep_writing(*arguments.writer)
        return
    if arguments.quick:
        work.be_quick()
    _peers.add(*PEERS, install=not (arguments.quick or arguments.contender))
    if arguments.contender:
        serve(*arguments.contender)
    names = [name for name in CONTENDERS if not arguments.quick or _peers.has(*NEEDS.get(name, ()))]
    rounds = 1 if arguments.quick else arguments.rounds
    by = measure(names, arguments.cases, rounds, arguments.quick)
    if arguments.cases or arguments.quick:
        for name, contender in by.items():
            print(name, {case: found for case, found in contender.figures.items() if found})
        return
    lines = ["| what | mcp_performance | peer | ratio | to reach |", "|---|---|---|---|---|"]
    for what, mine, peer, ratio, reach in table(by):
        bound = "" if reach is None else f">= {reach}" if "speed-up" in what else f"<= {reach}"
        lines.append(f"| {what} | {mine} | {peer} | {ratio:.3f} | {bound} |")
    print("\n".join(lines))
    if arguments.record:
        import _native

        text = f"## SQLite pool\n\n{_native.machine()}, SQLite {sqlite3.sqlite_version}. Medians of "
        _native.record("sqlite", f"{text}{rounds} interleaved rounds.\n\n" + "\n".join(lines))


if __name__ == "__main__":
    main()
