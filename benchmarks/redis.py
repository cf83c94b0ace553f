"""GET of 100 bytes over loopback: RedisTier against redis-py with hiredis, sync and asyncio, and Valkey
GLIDE, asyncio, in the same run; what memory keeps in front of it, against a Cache; many keys at once; and the
callers of one idempotency key.

RedisTier.get spells the key, checks the value's header and decodes it; the peers' get returns the bytes.
Rounds are interleaved; figures are medians of the rounds. Each value that was read is compared with the one
that was written under its key, while the clock stands. What was written is read back by redis-py.

    python benchmarks/redis.py [--record] [--quick] [--rounds N]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
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
add("redis==5.2.1", "hiredis==3.1.0", "valkey-glide==2.6.0", install="--quick" not in sys.argv)

from mcp_performance import (  # noqa: E402
    Cache,
    IdempotencyStore,
    RedisTier,
    TieredCache,
    cached,
    idempotent,
)

KEYS = 100
IN_FLIGHT = 50
MANY = 100_000
JOINERS = 400

Case = tuple[str, str]
OURS = "this"
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
    """The same of awaited calls. As in each(), the loop around them is part of the figure."""

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


def many(tier: Any, items: dict[str, int]) -> float:
    """Seconds for one key of those that are read at once."""
    begin = time.perf_counter()
    found = tier.get_many(items)
    took = time.perf_counter() - begin
    same("get_many", found, items)
    return took / len(items)


def many_set(tier: Any, url: str, items: dict[str, int]) -> float:
    """Seconds for one key of those that are stored at once, each time other values."""
    items.update({key: value + 1 for key, value in items.items()})
    begin = time.perf_counter()
    tier.set_many(items)
    took = time.perf_counter() - begin
    with RedisTier(url, timeout=5) as other:
        same("set_many", other.get_many(items), items)
    return took / len(items)


def peer_many(peer: Any, tier: RedisTier, items: dict[str, int]) -> float:
    """Seconds for one key of those that redis-py reads a thousand at a time, as a tier does: their records,
    which only the check reads."""
    names = [tier._spell(key) for key in items]
    begin = time.perf_counter()
    found = [
        value for start in range(0, len(names), 1000) for value in peer.mget(names[start : start + 1000])
    ]
    took = time.perf_counter() - begin
    assert tier._plain is not None
    same("mget", [tier._plain.read(record) for record in found], [(value,) for value in items.values()])
    return took / len(names)


def peer_many_set(peer: Any, items: dict[str, int]) -> float:
    """Seconds for one key of those that redis-py stores a thousand at a time: without a time to live, which
    MSET does not know, and without a stamp."""
    values = {f"mset:{key}": value for key, value in items.items()}
    names = list(values)
    begin = time.perf_counter()
    for start in range(0, len(names), 1000):
        peer.mset({name: values[name] for name in names[start : start + 1000]})
    took = time.perf_counter() - begin
    found = [
        value for start in range(0, len(names), 1000) for value in peer.mget(names[start : start + 1000])
    ]
    same("mset", found, [b"%d" % value for value in values.values()])
    return took / len(names)


async def joiners(store: IdempotencyStore, number: list[int]) -> float:
    """Seconds for which the loop stands still while so many callers join the work of one key."""
    gc.collect()  # of the rows before, which would stop the loop in the middle of this one
    number[0] += 1
    key, runs, gaps = f"key {number[0]}", 0, [0.0]
    go_on, ended = asyncio.Event(), asyncio.Event()

    @idempotent(key="{key}", store=store)
    async def work(key: str) -> str:
        nonlocal runs
        runs += 1
        await go_on.wait()
        return f"result of {key}"

    async def watch() -> None:
        while not ended.is_set():
            begin = time.perf_counter()
            await asyncio.sleep(0)
            gaps.append(time.perf_counter() - begin)

    watching = asyncio.create_task(watch())
    callers = [asyncio.create_task(work(key)) for _ in range(JOINERS)]
    await asyncio.sleep(0.05)
    go_on.set()
    same("joiners", await asyncio.gather(*callers), [f"result of {key}"] * JOINERS)
    same("executions", runs, 1)
    ended.set()
    await watching
    return max(gaps)


def stored(url: str, names: list[Any], values: list[str]) -> dict[Any, bytes]:
    """What the server holds under each name, which ends with the value."""
    import redis

    found = dict(zip(names, redis.Redis.from_url(url).mget(names), strict=True))
    for name, value in zip(names, values, strict=True):
        if not (found[name] or b"").endswith(value.encode()):
            wrong(f"stored under {name!r}", repr(found[name]))
    return found


def reads(tier: RedisTier, url: str, values: dict[str, str], run: Any, share: int) -> dict[Case, Timer]:
    """GETs, ours and redis-py's."""
    one, at_a_time = "one at a time", f"asyncio, {IN_FLIGHT} in flight"
    few, some, lots = 2000 // share, 5000 // share, 50_000 // share  # none is over in less than 0.2 s

    def asyncio_gets(who: str, get: Any, answers: dict[Any, Any], count: int) -> dict[Case, Timer]:
        return {
            (f"GET, asyncio, {one}", who): lambda: run(aeach(who, get, answers, few)),
            (f"GET, {at_a_time}", who): lambda: run(at_once(who, get, answers, count)),
        }

    timers: dict[Case, Timer] = {
        (f"GET, sync, {one}", OURS): lambda: each("RedisTier.get", tier.get, values, few)
    }
    timers |= asyncio_gets(OURS, tier.aget, values, lots)
    if not has("redis"):
        return timers
    import redis
    import redis.asyncio

    raw = stored(url, [tier._spell(key) for key in values], list(values.values()))
    peer = redis.Redis.from_url(url)
    apeer = redis.asyncio.Redis.from_url(url, max_connections=IN_FLIGHT)
    timers[f"GET, sync, {one}", "redis-py"] = lambda: each("redis-py", peer.get, raw, few)
    timers |= asyncio_gets("redis-py", apeer.get, raw, some)
    if has("glide"):
        timers |= asyncio_gets("GLIDE", run(glide_client(url)).get, raw, some)
    return timers


async def glide_client(url: str) -> Any:
    """A client of Valkey GLIDE, whose core is Rust."""
    import glide

    host, port = url.removeprefix("redis://").split("/")[0].split(":")
    return await glide.GlideClient.create(
        glide.GlideClientConfiguration([glide.NodeAddress(host, int(port))], request_timeout=5000)
    )


def kept(tiered: TieredCache, values: dict[str, str], run: Any, share: int) -> dict[Case, Timer]:
    """What memory answers: a tiered cache's, and a cache's that nothing is behind."""
    memory: Cache[Any, Any] = Cache(1000)
    for key, value in values.items():
        memory.set(key, value)
    behind, alone = cached(cache=tiered)(value_of), cached(value_of)
    lots = 100_000 // share
    get, aget, function = "kept, TieredCache.get", "kept, TieredCache.aget", "kept, @cached(cache=tiered)"
    return {
        (get, OURS): lambda: each(get, tiered.get, values, lots),
        (get, "Cache.get"): lambda: each("Cache.get", memory.get, values, lots),
        (aget, OURS): lambda: run(aeach(aget, tiered.aget, values, lots)),
        (aget, "Cache.get"): lambda: each("Cache.get", memory.get, values, lots),
        (function, OURS): lambda: each(function, behind, values, lots),
        (function, "@cached"): lambda: each("@cached", alone, values, lots),
    }


def shared(url: str, tier: RedisTier, tiered: TieredCache, run: Any, share: int) -> dict[Case, Timer]:
    """Many keys at once, and many callers of one idempotency key."""
    items = {f"many:{i}": i for i in range(MANY // share)}
    tier.set_many(items)
    number = [0]
    alone, at_redis = IdempotencyStore(), IdempotencyStore(tier)
    count, callers = f"{MANY:,} keys", f"loop blocked by {JOINERS} callers of one idempotency key"
    set_many, get_many = f"{count}, RedisTier.set_many, a key", f"{count}, RedisTier.get_many, a key"
    peers: dict[Case, Timer] = {}
    if has("redis"):
        import redis

        peer = redis.Redis.from_url(url)
        peers = {
            (set_many, "redis-py, mset"): lambda: peer_many_set(peer, items),
            (get_many, "redis-py, mget"): lambda: peer_many(peer, tier, items),
        }
    return peers | {
        (set_many, OURS): lambda: many_set(tier, url, items),
        (get_many, OURS): lambda: many(tier, items),
        (f"{count}, TieredCache.set_many, a key", OURS): lambda: many_set(tiered, url, items),
        (f"{count}, TieredCache.get_many, a key", OURS): lambda: many(tiered, items),
        (f"{callers}, memory", OURS): lambda: run(joiners(alone, number)),
        (f"{callers}, Redis", OURS): lambda: run(joiners(at_redis, number)),
    }


def measure(url: str, rounds: int, share: int) -> dict[Case, list[float]]:
    """Seconds, by case and by who did it, one figure a round; *share* divides the calls."""
    tier = RedisTier(url, timeout=5)
    tiered = TieredCache(Cache(1000), RedisTier(url, timeout=5))
    busy = TieredCache(Cache(1000), RedisTier(url, timeout=5))  # many keys push out what is kept
    values = {f"key:{i}": value_of(f"key:{i}") for i in range(KEYS)}
    tier.set_many(values, ttl=None)
    with asyncio.Runner() as runner:
        run = runner.run
        timers = reads(tier, url, values, run, share)
        timers |= kept(tiered, values, run, share)
        timers |= shared(url, tier, busy, run, share)
        figures: dict[Case, list[float]] = {case: [] for case in timers}
        for timer in timers.values():
            timer()  # connections, caches
        for _ in range(rounds):
            for case, timer in timers.items():
                figures[case].append(timer())
    for cache in (tiered, busy):
        cache.close()
        cache.shared.close()
    tier.close()
    return figures


def table(figures: dict[Case, list[float]]) -> str:
    """A Markdown table: microseconds, and the ratio to who is beside."""
    medians = {case: statistics.median(values) * 1e6 for case, values in figures.items()}
    lines = ["| work | this | beside | ratio |", "|---|---|---|---|"]
    for what in dict.fromkeys(what for what, _ in medians):
        ours = medians[what, OURS]
        beside = {who: figure for (row, who), figure in medians.items() if row == what and who != OURS}
        if not beside:
            lines.append(f"| {what} | {ours:.3g} us |  |  |")
        for who, figure in beside.items():
            lines.append(f"| {what} | {ours:.3g} us | {who} {figure:.3g} us | {ours / figure:.2f} |")
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
    python = f"Python {sys.version.split()[0]}"
    head = f"## Redis\n\n{machine()}; {python}, {version('redis')}, {version('valkey-glide')}."
    print(f"{head}\n\n{text}")
    if options.record and not options.quick:
        record("redis", f"{head}\nMedians of {options.rounds} interleaved rounds.\n\n{text}")


if __name__ == "__main__":
    main()
