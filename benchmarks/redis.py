"""GET of 100 bytes over loopback: RedisTier against redis-py, sync and asyncio, in the same run.

RedisTier.get spells the key, checks the value's header and decodes it; redis-py's get returns the bytes.
Rounds are interleaved; figures are medians of the rounds. Each value that was read is compared with the one
that was written under its key, while the clock stands.

    python benchmarks/redis.py [--record] [--quick] [--rounds N]
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "tests" / "python" / "support"))

from _check import aseconds_each, same, seconds_each, wrong  # noqa: E402
from _native import machine, record  # noqa: E402
from _peers import add, has, version  # noqa: E402

from redis_server import redis_server  # noqa: E402

# This file is called redis.py too: the library must be found first.
sys.path.remove(str(HERE))
sys.modules.pop("redis", None)
add("redis==5.2.1", install="--quick" not in sys.argv)

from mcp_performance import Cache, RedisTier, TieredCache, cached  # noqa: E402

KEYS = 100
IN_FLIGHT = 50

Case = tuple[str, str]
Timer = Callable[[], float]


def value_of(key: str) -> str:
    """A hundred characters that say whose they are."""
    return key.ljust(100, "x")


def each(what: str, get: Callable[[Any], Any], answers: dict[Any, Any], count: int) -> float:
    """Seconds for one call, one after the other."""

    def work(part: Sequence[Any]) -> list[Any]:
        return [get(key) for key in part]

    return seconds_each(what, work, (list(answers) * count)[:count], answers.__getitem__)


async def aeach(what: str, get: Callable[[Any], Any], answers: dict[Any, Any], count: int) -> float:
    async def work(part: Sequence[Any]) -> list[Any]:
        return [await get(key) for key in part]

    return await aseconds_each(what, work, (list(answers) * count)[:count], answers.__getitem__)


async def at_once(what: str, get: Callable[[Any], Any], answers: dict[Any, Any], count: int) -> float:
    """Seconds for one call, with so many callers at a time."""
    keys = list(answers)

    async def caller(first: int) -> list[Any]:
        return [await get(keys[(first + i) % KEYS]) for i in range(count // IN_FLIGHT)]

    begin = time.perf_counter()
    found = await asyncio.gather(*(caller(first) for first in range(IN_FLIGHT)))
    took = time.perf_counter() - begin
    expected = [
        [answers[keys[(first + i) % KEYS]] for i in range(count // IN_FLIGHT)] for first in range(IN_FLIGHT)
    ]
    same(what, found, expected)
    return took / (count // IN_FLIGHT * IN_FLIGHT)


def stored(url: str, names: list[Any], values: list[str]) -> dict[Any, bytes]:
    """What the server holds under each name, which ends with the value."""
    import redis

    found = dict(zip(names, redis.Redis.from_url(url).mget(names), strict=True))
    for name, value in zip(names, values, strict=True):
        if not (found[name] or b"").endswith(value.encode()):
            wrong(f"stored under {name!r}", repr(found[name]))
    return found


def measure(url: str, rounds: int, share: int) -> dict[Case, list[float]]:
    """Seconds of one GET, by case and by who did it, one figure a round; *share* divides the calls."""
    tier = RedisTier(url, timeout=5)
    tiered = TieredCache(Cache(1000), RedisTier(url, timeout=5))
    values = {f"key:{i}": value_of(f"key:{i}") for i in range(KEYS)}
    for key, value in values.items():
        tier.set(key, value, ttl=None)
    function = cached(cache=tiered)(value_of)
    loop = asyncio.new_event_loop()
    run = loop.run_until_complete
    one, many, kept = "one at a time", f"asyncio, {IN_FLIGHT} in flight", "kept in memory"
    few, some, lots = 2000 // share, 5000 // share, 100_000 // share
    timers: dict[Case, Timer] = {
        (f"sync, {one}", "RedisTier"): lambda: each("RedisTier.get", tier.get, values, few),
        (f"asyncio, {one}", "RedisTier"): lambda: run(aeach("RedisTier.aget", tier.aget, values, few)),
        (many, "RedisTier"): lambda: run(at_once("RedisTier.aget", tier.aget, values, some)),
        (f"{kept}, TieredCache.get", "RedisTier"): lambda: each("TieredCache", tiered.get, values, lots),
        (f"{kept}, @cached(cache=tiered)", "RedisTier"): lambda: each("@cached", function, values, lots),
    }
    if has("redis"):
        import redis
        import redis.asyncio

        raw = stored(url, [tier._spell(key) for key in values], list(values.values()))
        peer = redis.Redis.from_url(url)
        apeer = redis.asyncio.Redis.from_url(url, max_connections=IN_FLIGHT)
        timers |= {
            (f"sync, {one}", "redis-py"): lambda: each("redis-py", peer.get, raw, few),
            (f"asyncio, {one}", "redis-py"): lambda: run(aeach("redis.asyncio", apeer.get, raw, few)),
            (many, "redis-py"): lambda: run(at_once("redis.asyncio", apeer.get, raw, some)),
        }
    figures: dict[Case, list[float]] = {case: [] for case in timers}
    for timer in timers.values():
        timer()  # connections, caches
    for _ in range(rounds):
        for case, timer in timers.items():
            figures[case].append(timer())
    if has("redis"):
        run(apeer.aclose())
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
    parser.add_argument("--quick", action="store_true", help="one small round of what is installed")
    options = parser.parse_args()
    if options.quick:
        options.rounds = 1
    with redis_server() as server:
        text = table(measure(server.url, options.rounds, 20 if options.quick else 1))
    head = f"## Redis\n\n{machine()}; Python {sys.version.split()[0]}, {version('redis')}."
    print(f"{head}\n\n{text}")
    if options.record and not options.quick:
        record("redis", f"{head}\nMedians of {options.rounds} interleaved rounds.\n\n{text}")


if __name__ == "__main__":
    main()
