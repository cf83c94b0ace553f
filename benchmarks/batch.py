"""Batches beside their peers, in one run.

    python benchmarks/batch.py [--record]

Rounds of all contestants are interleaved, and the median of each counts.

- map: an empty sync function over 20,000 items, against ``ThreadPoolExecutor.map``; reach 0.25 of its time.
- sleeps: 100 sleeps of 10 ms on 10 workers; reach 105 ms.
- batched: 20,000 items from one ``gather`` in calls of 100, against aiodataloader; reach 0.3 of its time. The
  floor beside it is the same ``gather`` over bare futures of the loop, set in one go: no batching at all.
- fingerprints: 20,000 statements by ``map``, without the interpreter lock, against a Python loop.
- queries: 100 scans of 20,000 rows by ``map`` and 10 workers, against the same calls in a Python loop.
- requests: 2,000 GETs to nginx on one core, 10 at a time, by ``map`` of ``HttpClient.get``, against aiohttp.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import _native
import _peers
from _nginx import nginx

from mcp_performance import BatchProcessor, HttpClient, SQLitePool, batched, fingerprint

ITEMS = 20_000
CALLS = 100
WORKERS = 10
REQUESTS = 2_000
ROUNDS = 7


def empty(item: int) -> None:
    """Nothing."""


def sleep(item: int) -> None:
    time.sleep(0.01)


async def measure(contestants: dict[str, Callable[[], Awaitable[object]]]) -> dict[str, float]:
    """Median seconds of each, over interleaved rounds; the first round warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(ROUNDS + 1):
        for name, run in contestants.items():
            gc.collect()  # what one leaves behind is not for the next one to clear away
            started = time.perf_counter()
            await run()
            if number:
                seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


async def measure_threads() -> tuple[dict[str, float], dict[str, float]]:
    with ThreadPoolExecutor(WORKERS) as executor:
        async with BatchProcessor(WORKERS) as batch:

            async def ours(fn: Callable[[int], None], count: int) -> None:
                (await batch.map(fn, range(count))).raise_errors()

            async def theirs(fn: Callable[[int], None], count: int) -> None:
                list(executor.map(fn, range(count)))

            maps = await measure({"ours": lambda: ours(empty, ITEMS), "pool": lambda: theirs(empty, ITEMS)})
            sleeps = await measure({"ours": lambda: ours(sleep, CALLS), "pool": lambda: theirs(sleep, CALLS)})
    return maps, sleeps


async def measure_batched() -> dict[str, float]:
    _peers.add("aiodataloader==0.4.2")
    from aiodataloader import DataLoader  # type: ignore[import-not-found]

    async def same(items: list[int]) -> list[int]:
        return items

    async def ours() -> None:
        load = batched(max_size=100)(same)
        await asyncio.gather(*[load(item) for item in range(ITEMS)])

    async def theirs() -> None:
        loader = DataLoader(same, max_batch_size=100)
        await asyncio.gather(*[loader.load(item) for item in range(ITEMS)])

    async def floor() -> None:
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in range(ITEMS)]

        def set_all() -> None:
            for item, future in enumerate(futures):
                future.set_result(item)

        loop.call_soon(set_all)
        await asyncio.gather(*futures)

    return await measure({"ours": ours, "aiodataloader": theirs, "floor": floor})


async def measure_fingerprints() -> dict[str, float]:
    statements = [
        f"SELECT a.id, b.name FROM a JOIN b ON a.id = b.a_id WHERE a.x = {n} AND b.y IN (1, 2, {n}) LIMIT 10"
        for n in range(ITEMS)
    ]
    async with BatchProcessor(WORKERS) as batch:

        async def ours() -> None:
            (await batch.map(fingerprint, statements)).raise_errors()

        async def loop() -> None:
            [fingerprint(sql) for sql in statements]

        return await measure({"ours": ours, "loop": loop})


async def measure_queries() -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        async with SQLitePool(f"{folder}/b.db") as pool, BatchProcessor(WORKERS) as batch:
            await pool.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT)")
            await pool.executemany("INSERT INTO t VALUES (?, ?)", [(n, f"name {n}") for n in range(20_000)])
            count = partial(pool.blocking.fetchval, "SELECT count(*) FROM t WHERE name LIKE ?", cache=False)
            patterns = [(f"%{n}%",) for n in range(CALLS)]

            async def ours() -> None:
                (await batch.map(count, patterns)).raise_errors()

            async def loop() -> None:
                [count(pattern) for pattern in patterns]

            return await measure({"ours": ours, "loop": loop})


async def measure_requests() -> dict[str, float]:
    _peers.add("aiohttp==3.14.5")
    from aiohttp import ClientSession, TCPConnector  # type: ignore[import-not-found]

    with nginx() as url:
        connector = TCPConnector(limit=WORKERS)
        async with BatchProcessor(WORKERS) as batch, ClientSession(connector=connector) as session:
            client = HttpClient(url)

            async def ours() -> None:
                (await batch.map(client.get, ["/"] * REQUESTS)).raise_errors()

            async def get() -> bytes:
                async with session.get(url) as reply:
                    return bytes(await reply.read())

            async def theirs() -> None:
                await asyncio.gather(*[get() for _ in range(REQUESTS)])

            return await measure({"ours": ours, "aiohttp": theirs})


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
            row("empty sync function, an item", maps["ours"] * each, pool, maps["pool"] * each, "us", "0.25"),
            row(
                "100 sleeps of 10 ms, 10 workers",
                sleeps["ours"] * 1e3,
                pool,
                sleeps["pool"] * 1e3,
                "ms",
                "105 ms",
            ),
            row(
                "@batched, an item", loads["ours"] * each, loader, loads["aiodataloader"] * each, "us", "0.3"
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
    arguments = parser.parse_args()
    maps, sleeps = asyncio.run(measure_threads())
    loads, prints = asyncio.run(measure_batched()), asyncio.run(measure_fingerprints())
    scans, gets = asyncio.run(measure_queries()), asyncio.run(measure_requests())
    text = table(maps, sleeps, loads, prints, scans, gets)
    print(text)
    if arguments.record:
        _native.record("batch", f"## Batches\n\n{_native.machine()}\n\n{text}\n")


if __name__ == "__main__":
    main()
