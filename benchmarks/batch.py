"""Batches beside their peers, in one run.

    python benchmarks/batch.py [--record] [--quick]

Rounds of all contestants are interleaved, and the median of each counts. Once the clock has stopped, what
each returned is compared item by item; a wrong answer ends the run. --quick: a small round of what is there.

- map: a sync function that returns its argument over 20,000 items, against ``ThreadPoolExecutor.map``; reach
  0.25 of its time.
- lag: how late a 1 ms ticker of the loop is during a map of 200,000 pure Python calls, against the same calls
  in chunks on ``ThreadPoolExecutor``, on all cores and on one; reach p99 10 ms and max 30 ms.
- sleeps: 100 sleeps of 10 ms on 10 workers; reach 105 ms.
- batched: 20,000 items from one ``gather`` in calls of 100, against aiodataloader; reach 0.25 of its time.
  The floor beside it is the same ``gather`` over bare futures of the loop, set in one go: no batching at all.
- fingerprints: 20,000 statements by ``map``, without the interpreter lock, against a Python loop.
- queries: 100 scans of 20,000 rows by ``map`` and 10 workers, against the same calls in a Python loop.
- requests: 2,000 GETs to nginx on one core, 10 at a time, by ``map`` of ``HttpClient.get``, against aiohttp.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import _native
import _nginx
import _peers
from _check import same, within

from mcp_performance import BatchProcessor, GilBoundWarning, HttpClient, SQLitePool, batched, fingerprint

ITEMS = 20_000
CALLS = 100
PURE_CALLS = 200_000
CHUNK = 1_000
WORKERS = 10
REQUESTS = 2_000
ROUNDS = 7


Contestants = dict[str, Callable[[], Awaitable[object]]]


class Size:
    """How much is done: less in a quick run."""

    items = ITEMS
    requests = REQUESTS
    pure_calls = PURE_CALLS
    rounds = ROUNDS


def empty(item: int) -> int:
    return item


def sleep(item: int) -> int:
    time.sleep(0.01)
    return item


def pure(item: int) -> int:
    """Some microseconds of nothing but Python."""
    total = 0
    for number in range(20):
        total += item * number
    return total


def pure_chunk(items: range) -> list[int]:
    return [pure(item) for item in items]


async def measure(
    what: str, contestants: Contestants, want: object, plain: Callable[[Any], object] = lambda got: got
) -> dict[str, float]:
    """Median seconds of each, over interleaved rounds; the first round warms up.

    What each returned has to be *want*, once *plain* has made it plain values.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(Size.rounds + 1):
        for name, run in contestants.items():
            gc.collect()  # what one leaves behind is not for the next one to clear away
            started = time.perf_counter()
            got = await run()
            took = time.perf_counter() - started
            same(f"{what}, {name}, round {number}", plain(got), want)
            del got
            if number:
                seconds[name].append(took)
    return {name: statistics.median(values) for name, values in seconds.items()}


async def results_of(batch: BatchProcessor, fn: Callable[[Any], object], items: Any) -> list[Any]:
    found = await batch.map(fn, items)
    found.raise_errors()
    return found.results


async def measure_threads() -> tuple[dict[str, float], dict[str, float]]:
    with ThreadPoolExecutor(WORKERS) as executor:
        async with BatchProcessor(WORKERS) as batch:

            async def theirs(fn: Callable[[int], int], count: int) -> list[int]:
                return list(executor.map(fn, range(count)))

            maps = await measure(
                "map",
                {
                    "ours": lambda: results_of(batch, empty, range(Size.items)),
                    "pool": lambda: theirs(empty, Size.items),
                },
                list(range(Size.items)),
            )
            sleeps = await measure(
                "sleeps",
                {
                    "ours": lambda: results_of(batch, sleep, range(CALLS)),
                    "pool": lambda: theirs(sleep, CALLS),
                },
                list(range(CALLS)),
            )
    return maps, sleeps


async def watch(lags_ms: list[float]) -> None:
    while True:
        started = time.perf_counter()
        await asyncio.sleep(0.001)
        lags_ms.append((time.perf_counter() - started) * 1e3 - 1)


async def lag_during(what: str, run: Callable[[], Awaitable[object]]) -> tuple[float, float, float]:
    """Seconds, and the loop's lag in ms: its 99th percentile and its maximum."""
    lags_ms: list[float] = []
    ticker = asyncio.create_task(watch(lags_ms))
    await asyncio.sleep(0.01)
    lags_ms.clear()
    started = time.perf_counter()
    got = await run()
    seconds = time.perf_counter() - started
    await asyncio.sleep(0.002)  # the tick that was late
    ticker.cancel()
    same(what, got, [190 * item for item in range(Size.pure_calls)])
    lags_ms.sort()
    return seconds, lags_ms[int(0.99 * len(lags_ms))], lags_ms[-1]


async def measure_lag() -> dict[str, tuple[float, float, float]]:
    """Medians over interleaved rounds, on all cores and on one."""
    loop = asyncio.get_running_loop()
    found: dict[str, list[tuple[float, float, float]]] = {}
    cores = os.sched_getaffinity(0)
    with ThreadPoolExecutor(WORKERS) as executor, warnings.catch_warnings():
        warnings.simplefilter("ignore", GilBoundWarning)
        for where, affinity in (("all cores", cores), ("one core", {min(cores)})):
            os.sched_setaffinity(0, affinity)
            async with BatchProcessor(WORKERS) as batch:

                async def ours(batch: BatchProcessor = batch) -> list[int]:
                    return await results_of(batch, pure, range(Size.pure_calls))

                async def theirs() -> list[int]:
                    chunks = (range(n, n + CHUNK) for n in range(0, Size.pure_calls, CHUNK))
                    calls = [loop.run_in_executor(executor, pure_chunk, chunk) for chunk in chunks]
                    return [value for values in await asyncio.gather(*calls) for value in values]

                for _ in range(Size.rounds):
                    for name, run in (("ours", ours), ("pool", theirs)):
                        what = f"{where}, {name}"
                        found.setdefault(what, []).append(await lag_during(what, run))
            os.sched_setaffinity(0, cores)
    return {
        name: tuple(statistics.median(column) for column in zip(*rounds, strict=True))  # type: ignore[misc]
        for name, rounds in found.items()
    }


async def measure_batched() -> dict[str, float]:
    async def double(items: list[int]) -> list[int]:
        return [2 * item for item in items]

    async def ours() -> list[int]:
        load = batched(max_size=100)(double)
        return await asyncio.gather(*[load(item) for item in range(Size.items)])

    async def theirs() -> list[int]:
        from aiodataloader import DataLoader  # type: ignore[import-not-found]

        loader = DataLoader(double, max_batch_size=100)
        return list(await asyncio.gather(*[loader.load(item) for item in range(Size.items)]))

    async def floor() -> list[int]:
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in range(Size.items)]

        def set_all() -> None:
            for item, future in enumerate(futures):
                future.set_result(2 * item)

        loop.call_soon(set_all)
        return await asyncio.gather(*futures)

    contestants: Contestants = {"ours": ours, "floor": floor}
    if _peers.has("aiodataloader"):
        contestants["aiodataloader"] = theirs
    return await measure("batched", contestants, [2 * item for item in range(Size.items)])


async def measure_fingerprints() -> dict[str, float]:
    # A hundred shapes, so that a fingerprint in another's place shows.
    statements = [
        f"SELECT a.id, b.name FROM a JOIN b ON a.id = b.a_id WHERE a.x{n % 100} = {n} AND b.y IN (1, 2, {n})"
        for n in range(Size.items)
    ]
    shapes = [fingerprint(sql) for sql in statements[:100]]
    within("shapes of statements", len({str(shape) for shape in shapes}), 100, 100)
    async with BatchProcessor(WORKERS) as batch:

        async def loop() -> list[object]:
            return [fingerprint(sql) for sql in statements]

        contestants: Contestants = {
            "ours": lambda: results_of(batch, fingerprint, statements),
            "loop": loop,
        }
        return await measure("fingerprints", contestants, [shapes[n % 100] for n in range(Size.items)])


async def measure_queries() -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        async with SQLitePool(f"{folder}/b.db") as pool, BatchProcessor(WORKERS) as batch:
            names = [f"name {n}" for n in range(Size.items)]
            await pool.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT)")
            await pool.executemany("INSERT INTO t VALUES (?, ?)", list(enumerate(names)))
            count = partial(pool.blocking.fetchval, "SELECT count(*) FROM t WHERE name LIKE ?", cache=False)
            patterns = [(f"%{n}%",) for n in range(CALLS)]

            async def loop() -> list[object]:
                return [count(pattern) for pattern in patterns]

            contestants: Contestants = {
                "ours": lambda: results_of(batch, count, patterns),
                "loop": loop,
            }
            want = [sum(str(n) in name for name in names) for n in range(CALLS)]
            return await measure("queries", contestants, want)


async def measure_requests() -> dict[str, float]:
    if not _peers.has("aiohttp") or not _nginx.program():
        print("requests: left out, without aiohttp or nginx")
        return {}
    from aiohttp import ClientSession, TCPConnector  # type: ignore[import-not-found]

    paths = [f"/echo/{number}" for number in range(Size.requests)]

    def plain(replies: list[Any]) -> list[tuple[int, bytes]]:
        return [reply if type(reply) is tuple else (reply.status, reply.body) for reply in replies]

    with _nginx.nginx() as server:
        connector = TCPConnector(limit=WORKERS)
        async with (
            BatchProcessor(WORKERS) as batch,
            ClientSession(server.url, connector=connector) as session,
        ):
            client = HttpClient(server.url)

            async def get(path: str) -> tuple[int, bytes]:
                async with session.get(path) as reply:
                    return reply.status, bytes(await reply.read())

            async def theirs() -> list[tuple[int, bytes]]:
                return await asyncio.gather(*[get(path) for path in paths])

            contestants: Contestants = {
                "ours": lambda: results_of(batch, client.get, paths),
                "aiohttp": theirs,
            }
            found = await measure("requests", contestants, [(200, path.encode()) for path in paths], plain)
        sent = Size.requests * 2 * (Size.rounds + 1)
        within("requests, as the server counts them", server.requests(), sent, sent)
        return found


def lag_table(lags: dict[str, tuple[float, float, float]]) -> str:
    rows = ["| 200,000 pure Python calls | seconds | lag p99, ms | lag max, ms |", "|---|--:|--:|--:|"]
    rows += [
        f"| {name} | {seconds:.3f} | {p99:.1f} | {most:.1f} |" for name, (seconds, p99, most) in lags.items()
    ]
    return "\n".join(rows)


def table(
    maps: dict[str, float],
    sleeps: dict[str, float],
    loads: dict[str, float],
    prints: dict[str, float],
    scans: dict[str, float],
    gets: dict[str, float],
) -> str:
    def row(what: str, ours: float, name: str, theirs: float, unit: str, reach: str) -> str:
        return f"| {what} | {ours:.3f} {unit} | {name} {theirs:.3f} {unit} | {ours / theirs:.3f} | {reach} |"

    each = 1e6 / ITEMS
    pool, loader = "ThreadPoolExecutor.map", _peers.version("aiodataloader")
    return "\n".join(
        [
            "| what | ours | peer | ratio | reach |",
            "|---|--:|--:|--:|---|",
            row(
                "sync function that returns its argument, an item",
                maps["ours"] * each,
                pool,
                maps["pool"] * each,
                "us",
                "0.25",
            ),
            row(
                "100 sleeps of 10 ms, 10 workers",
                sleeps["ours"] * 1e3,
                pool,
                sleeps["pool"] * 1e3,
                "ms",
                "105 ms",
            ),
            row(
                "@batched, an item", loads["ours"] * each, loader, loads["aiodataloader"] * each, "us", "0.25"
            ),
            row(
                "bare futures in that gather, an item",
                loads["floor"] * each,
                loader,
                loads["aiodataloader"] * each,
                "us",
                "the floor",
            ),
            row(
                "a fingerprint", prints["ours"] * each, "Python loop", prints["loop"] * each, "us", "below 1"
            ),
            row("100 scans", scans["ours"] * 1e3, "Python loop", scans["loop"] * 1e3, "ms", "below 1"),
            row(
                "2,000 GETs, 10 at a time",
                gets["ours"] * 1e3,
                _peers.version("aiohttp"),
                gets["aiohttp"] * 1e3,
                "ms",
                "below 1",
            ),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true", help="write the table into RESULTS.md")
    parser.add_argument("--quick", action="store_true", help="one small round of what is installed: no table")
    arguments = parser.parse_args()
    _peers.add("aiodataloader==0.4.2", "aiohttp==3.14.5", install=not arguments.quick)
    if arguments.quick:
        Size.items, Size.requests, Size.pure_calls, Size.rounds = 2_000, 200, 20_000, 1
    elif not _nginx.program():
        parser.error("nginx is not installed")
    maps, sleeps = asyncio.run(measure_threads())
    loads, prints = asyncio.run(measure_batched()), asyncio.run(measure_fingerprints())
    scans, gets = asyncio.run(measure_queries()), asyncio.run(measure_requests())
    lags = asyncio.run(measure_lag())
    if arguments.quick:
        print(maps, sleeps, loads, prints, scans, gets, lags, sep="\n")
        return
    text = table(maps, sleeps, loads, prints, scans, gets) + "\n\n" + lag_table(lags)
    print(text)
    if arguments.record:
        _native.record("batch", f"## Batches\n\n{_native.machine()}\n\n{text}\n")


if __name__ == "__main__":
    main()
