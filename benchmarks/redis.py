"""GET of 100 bytes over loopback: RedisTier against redis-py, sync and asyncio, in the same run.

RedisTier.get spells the key, checks the value's header and decodes it; redis-py's get returns the bytes.
Rounds are interleaved; figures are medians of the rounds.

    python benchmarks/redis.py [--record] [--rounds N]
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "tests" / "python"))

from _native import machine, record  # noqa: E402
from _peers import add, version  # noqa: E402

from redis_server import redis_server  # noqa: E402

# This file is called redis.py too: the library must be found first.
sys.path.remove(str(HERE))
sys.modules.pop("redis", None)
add("redis==5.2.1")

import redis  # noqa: E402
import redis.asyncio  # noqa: E402

from mcp_performance import Cache, RedisTier, TieredCache, cached  # noqa: E402

KEYS = 100
IN_FLIGHT = 50
VALUE = "x" * 100

Case = tuple[str, str]
Timer = Callable[[], float]


def each(get: Callable[[Any], Any], keys: list[Any], count: int) -> float:
    """Seconds for one call, one after the other."""
    begin = time.perf_counter()
    for i in range(count):
        get(keys[i % KEYS])
    return (time.perf_counter() - begin) / count


async def aeach(get: Callable[[Any], Any], keys: list[Any], count: int, in_flight: int) -> float:
    """Seconds for one call, with so many callers at a time."""

    async def caller(first: int) -> None:
        for i in range(count // in_flight):
            await get(keys[(first + i) % KEYS])

    begin = time.perf_counter()
    await asyncio.gather(*(caller(first) for first in range(in_flight)))
    return (time.perf_counter() - begin) / (count // in_flight * in_flight)


def measure(url: str, rounds: int) -> dict[Case, list[float]]:
    """Seconds of one GET, by case and by who did it, one figure a round."""
    tier = RedisTier(url, timeout=5)
    tiered = TieredCache(Cache(1000), RedisTier(url, timeout=5))
    keys: list[Any] = [f"key:{i}" for i in range(KEYS)]
    names = [tier._spell(key) for key in keys]
    for key in keys:
        tier.set(key, VALUE, ttl=None)
    function = cached(cache=tiered)(lambda key: VALUE)
    peer = redis.Redis.from_url(url)
    loop = asyncio.new_event_loop()
    apeer = redis.asyncio.Redis.from_url(url, max_connections=IN_FLIGHT)
    timers: dict[Case, Timer] = {
        ("sync, one at a time", "RedisTier"): lambda: each(tier.get, keys, 2000),
        ("sync, one at a time", "redis-py"): lambda: each(peer.get, names, 2000),
        ("asyncio, one at a time", "RedisTier"): lambda: loop.run_until_complete(
            aeach(tier.aget, keys, 2000, 1)
        ),
        ("asyncio, one at a time", "redis-py"): lambda: loop.run_until_complete(
            aeach(apeer.get, names, 2000, 1)
        ),
        (f"asyncio, {IN_FLIGHT} in flight", "RedisTier"): lambda: loop.run_until_complete(
            aeach(tier.aget, keys, 5000, IN_FLIGHT)
        ),
        (f"asyncio, {IN_FLIGHT} in flight", "redis-py"): lambda: loop.run_until_complete(
            aeach(apeer.get, names, 5000, IN_FLIGHT)
        ),
        ("kept in memory, TieredCache.get", "RedisTier"): lambda: each(tiered.get, keys, 100_000),
        ("kept in memory, @cached(cache=tiered)", "RedisTier"): lambda: each(function, keys, 100_000),
    }
    figures: dict[Case, list[float]] = {case: [] for case in timers}
    for timer in timers.values():
        timer()  # connections, caches
    for _ in range(rounds):
        for case, timer in timers.items():
            figures[case].append(timer())
    loop.run_until_complete(apeer.aclose())
    loop.close()
    tiered.close()
    tiered.shared.close()
    tier.close()
    return figures


def table(figures: dict[Case, list[float]]) -> str:
    """A Markdown table: microseconds of one GET, and the ratio."""
    medians = {case: statistics.median(values) * 1e6 for case, values in figures.items()}
    lines = ["| GET of 100 bytes | RedisTier | redis-py | ratio |", "|---|---|---|---|"]
    for what in dict.fromkeys(what for what, _ in medians):
        ours, theirs = medians[what, "RedisTier"], medians.get((what, "redis-py"))
        ratio = "" if theirs is None else f"{ours / theirs:.2f}"
        lines.append(f"| {what} | {ours:.3g} us | {'' if theirs is None else f'{theirs:.3g} us'} | {ratio} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and write with --record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with redis_server() as server:
        text = table(measure(server.url, options.rounds))
    head = f"## Redis\n\n{machine()}; Python {sys.version.split()[0]}, {version('redis')}."
    print(f"{head}\n\n{text}")
    if options.record:
        record("redis", f"{head}\nMedians of {options.rounds} interleaved rounds.\n\n{text}")


if __name__ == "__main__":
    main()
