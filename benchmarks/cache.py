"""Cached functions and caches beside other libraries, in one run.

    python benchmarks/cache.py [--quick] [--record] [--only NAME ...]

Prints a table and draws a picture: .cache/cache.png, or benchmarks/cache.png with --record. Peers are
installed into .cache/bench-venv, never into the package's own environment. Rounds of all contestants are
interleaved; a figure is the median of its rounds, in nanoseconds a call, the loop around it included. Run
it on an idle machine.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import _native
import _peers

import mcp_performance

HERE = Path(__file__).resolve().parent
PEERS = ("cachetools", "cachebox", "moka-py", "theine", "async-lru", "aiocache", "cashews", "matplotlib")
CALLS = 3000
ROUND_NS = 300_000  # shorter than a turn of the scheduler: the slow suffer no more than the quick

Contestants = dict[str, Callable[[int], float]]


def timed(statement: str, names: dict[str, Any], setup: Callable[[], object] | None = None) -> Any:
    """``run(calls)``: nanoseconds a call of *statement*, with *names* as its local variables."""
    source = f"def run({', '.join(names)}, turns):\n  for _ in turns:\n    " + "; ".join([statement] * 10)
    space: dict[str, Any] = {}
    exec(source, space)

    def measure(calls: int) -> float:
        if setup is not None:
            setup()
        turns = itertools.repeat(None, calls // 10)
        begun = time.perf_counter_ns()
        space["run"](*names.values(), turns)
        return (time.perf_counter_ns() - begun) / calls

    return measure


def race(contestants: Contestants, rounds: int, calls: int = CALLS) -> dict[str, float]:
    """The median of each contestant's rounds, which are interleaved and last about as long as another."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    share = {}
    for name, measure in contestants.items():
        measure(20)
        fitting = round(ROUND_NS / min(measure(20) for _ in range(5)), -1)
        share[name] = int(max(10, min(calls, fitting)))
    for _ in range(rounds):
        for name, measure in contestants.items():
            times[name].append(measure(share[name]))
    return {name: median(values) for name, values in times.items()}


# ---- decorators


def decorators() -> dict[str, Callable[[Any], Any]]:
    import cachebox
    import cachetools
    import moka_py

    return {
        "mcp_performance.cached": mcp_performance.cached(1024, ttl=300),
        "mcp_performance.lru_cache": mcp_performance.lru_cache(1024),
        "functools.lru_cache": functools.lru_cache(1024),
        "cachetools TTL": lambda f: cachetools.cached(cachetools.TTLCache(1024, 300))(f),
        "cachebox TTL": lambda f: cachebox.cached(cachebox.TTLCache(1024, 300))(f),
        "moka-py TTL": lambda f: moka_py.cached(1024, ttl=300)(f),
        "theine": theine_decorator(),
    }


def theine_decorator() -> Callable[[Any], Any]:
    import datetime

    import theine

    return theine.Memoize(1024, ttl=datetime.timedelta(seconds=300))


def one(x: Any) -> Any:
    return x


def three(a: Any, b: Any, c: Any) -> Any:
    return a


def keyword(a: Any, *, k: Any = 1) -> Any:
    return a


def nothing(x: Any) -> None:
    return None


TEXT = "an argument"
EQUAL_TEXT = "".join(["an ", "argument"])

HITS: dict[str, tuple[Callable[..., Any], str, dict[str, Any], float]] = {
    "hit, 1 int": (one, "f(a)", {"a": 987654}, 0.60),
    "hit, 1 str": (one, "f(a)", {"a": TEXT}, 0.60),
    "hit, 1 equal str": (one, "f(a)", {"a": EQUAL_TEXT}, 0.75),
    "hit, 1 tuple": (one, "f(a)", {"a": (1, 2)}, 0.55),
    "hit, 3 positional": (three, "f(a, b, c)", {"a": 1, "b": 2, "c": 3}, 0.60),
    "hit, 1 positional + 1 keyword": (keyword, "f(a, k=b)", {"a": 1, "b": 2}, 0.60),
}


def copy_of(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of its own: some decorators keep one cache per name."""
    import types

    made = types.FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__
    )
    made.__kwdefaults__ = function.__kwdefaults__
    return made


def race_hits(case: str, rounds: int) -> dict[str, float]:
    function, statement, names, _ = HITS[case]
    contestants = {}
    for name, decorate in decorators().items():
        made = decorate(copy_of(function))
        if EQUAL_TEXT in names.values():
            made(TEXT)
        contestants[name] = timed(statement, {"f": made, **names})
    return race(contestants, rounds)


def race_misses(rounds: int) -> dict[str, float]:
    fresh = itertools.count(10**6)

    def misser(made: Callable[[int], Any]) -> Callable[[int], float]:
        def measure(calls: int) -> float:
            keys = list(itertools.islice(fresh, calls))
            begun = time.perf_counter_ns()
            for key in keys:
                made(key)
            return (time.perf_counter_ns() - begun) / calls

        return measure

    return race({name: misser(decorate(copy_of(nothing))) for name, decorate in decorators().items()}, rounds)


def race_threads(rounds: int) -> dict[str, float]:
    """Two threads call at once; the time is a call of either."""

    def pair(made: Callable[[int], Any]) -> Callable[[int], float]:
        run = timed("f(a)", {"f": made, "a": 987654})

        def measure(calls: int) -> float:
            barrier = threading.Barrier(3)

            def work() -> None:
                barrier.wait()
                run(calls * 20)

            threads = [threading.Thread(target=work) for _ in range(2)]
            for thread in threads:
                thread.start()
            barrier.wait()
            begun = time.perf_counter_ns()
            for thread in threads:
                thread.join()
            return (time.perf_counter_ns() - begun) / (calls * 40)

        return measure

    chosen = ("mcp_performance.cached", "functools.lru_cache")
    made = {name: pair(decorators()[name](copy_of(one))) for name in chosen}
    return race(made, max(5, rounds // 10))


# ---- coroutines


def race_coroutines(rounds: int) -> dict[str, float]:
    import aiocache
    import async_lru
    import cashews

    async def plain(x: int) -> int:
        return x

    cashews.cache.setup("mem://")
    functions = {
        "mcp_performance.cached": mcp_performance.cached(1024, ttl=300)(copy_of(plain)),
        "a plain coroutine": plain,
        "async_lru": async_lru.alru_cache(maxsize=1024, ttl=300)(copy_of(plain)),
        "aiocache": aiocache.cached(ttl=300)(copy_of(plain)),
        "cashews": cashews.cache(ttl=300)(copy_of(plain)),
    }

    async def run(function: Callable[[int], Any], calls: int) -> float:
        await function(7)
        begun = time.perf_counter_ns()
        for _ in range(calls):
            await function(7)
        return (time.perf_counter_ns() - begun) / calls

    with asyncio.Runner() as runner:

        def measurer(function: Callable[[int], Any]) -> Callable[[int], float]:
            return lambda calls: runner.run(run(function, calls))

        measures = {name: measurer(function) for name, function in functions.items()}
        return race(measures, max(5, rounds // 10), CALLS // 3)


# ---- cache objects


def caches() -> dict[str, tuple[Any, Callable[[Any, Any], Any]]]:
    import cachebox
    import cachetools
    import moka_py

    def prefixed(cache: Any, put: Any) -> tuple[Any, Any]:
        return cache, put

    ours: Any = mcp_performance.Cache(1024, ttl=300)
    lru: Any = mcp_performance.Cache(1024, policy="lru")
    box = cachebox.TTLCache(1024, 300)
    tools: Any = cachetools.TTLCache(1024, 300)
    moka = moka_py.Moka(1024, ttl=300)
    table: Any = {}
    return {
        "mcp_performance.Cache": prefixed(ours, ours.set),
        "mcp_performance.Cache lru": prefixed(lru, lru.set),
        "cachebox TTLCache": prefixed(box, box.insert),
        "cachetools TTLCache": prefixed(tools, tools.__setitem__),
        "moka-py": prefixed(moka, moka.set),
        "dict": prefixed(table, table.__setitem__),
    }


def race_caches(case: str, rounds: int) -> dict[str, float]:
    contestants: Contestants = {}
    fresh = map(str, itertools.count(10**6))
    for name, (cache, put) in caches().items():
        for i in range(1024):
            put(str(i), i)
        if case == "Cache.get":
            contestants[name] = timed("get(k)", {"get": cache.get, "k": "512"}, lambda p=put: p("512", 1))
        elif case == "Cache.set, present key":
            contestants[name] = timed("put(k, 1)", {"put": put, "k": "512"})
        elif name != "dict":

            def measure(calls: int, put: Any = put) -> float:
                keys = list(itertools.islice(fresh, calls))
                begun = time.perf_counter_ns()
                for key in keys:
                    put(key, 1)
                return (time.perf_counter_ns() - begun) / calls

            contestants[name] = measure
    return race(contestants, rounds)


MEMORY = """
import os, sys
sys.path.append({path!r})
def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
{make}
keys = list(range(1_000_000))
before = resident()
for key in keys:
    put(key, None)
print((resident() - before) / 1_000_000)
"""

MAKERS = {
    "mcp_performance.Cache": "import mcp_performance as m; put = m.Cache(1_000_000, ttl=300).set",
    "dict": "put = {}.__setitem__",
    "cachebox TTLCache": "import cachebox; put = cachebox.TTLCache(1_000_000, 300).insert",
    "cachetools TTLCache": "import cachetools; put = cachetools.TTLCache(1_000_000, 300).__setitem__",
    "moka-py": "import moka_py; put = moka_py.Moka(1_000_000, ttl=300).set",
}


def memory() -> dict[str, float]:
    """Resident bytes an entry beyond key and value, 1,000,000 entries, in fresh processes."""
    found = {}
    for name, make in MAKERS.items():
        script = MEMORY.format(path=sys.path[-1], make=make)
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        found[name] = float(done.stdout)
    return found


# ---- the table

Case = tuple[Callable[[int], dict[str, float]], str, str, float]


def cases() -> dict[str, Case]:
    """By name: how to run it, whose figure counts, against whose, and the ratio to reach."""
    ours, lru = "mcp_performance.cached", "functools.lru_cache"
    table: dict[str, Case] = {
        case: (functools.partial(race_hits, case), ours, lru, limit)
        for case, (_, _, _, limit) in HITS.items()
    }
    table["hit, 2 threads"] = (race_threads, ours, lru, 0.70)
    table["miss, empty function"] = (race_misses, ours, lru, 1.40)
    table["async hit"] = (race_coroutines, ours, "async_lru", 0.25)
    for case, limit in (
        ("Cache.get", 0.8),
        ("Cache.set, present key", 0.8),
        ("Cache.set, new key at capacity", 1.0),
    ):
        run = functools.partial(race_caches, case)
        table[case] = (run, "mcp_performance.Cache", "cachebox TTLCache", limit)
    return table


def draw(results: dict[str, dict[str, float]], path: Path) -> None:
    """One panel a case: a bar a contestant, nanoseconds on a logarithmic axis."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker

    columns = 3
    rows = -(-len(results) // columns)
    figure, axes = pyplot.subplots(rows, columns, figsize=(15, 2.6 * rows), layout="constrained")
    for axis, (case, times) in itertools.zip_longest(axes.flat, results.items(), fillvalue=("", {})):
        if not case:
            axis.axis("off")
            continue
        ranked = sorted(times.items(), key=lambda item: -item[1])
        colours = ["#1b7837" if name.startswith("mcp_") else "#9ecae1" for name, _ in ranked]
        bars = axis.barh([name for name, _ in ranked], [value for _, value in ranked], color=colours)
        axis.bar_label(bars, fmt="%.0f", padding=3, fontsize=8)
        axis.set_xscale("log")
        axis.set_xlim(10, 4 * max(times.values()))
        axis.xaxis.set_minor_formatter(ticker.NullFormatter())
        axis.set_title(case, fontsize=10)
        axis.tick_params(labelsize=8)
    figure.suptitle("Nanoseconds a call (bytes an entry in the last panel), logarithmic; shorter is better")
    figure.savefig(path, dpi=110)


def versions() -> str:
    return f"CPython {sys.version.split()[0]}, {', '.join(_peers.version(name) for name in PEERS[:-1])}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--record", action="store_true", help="write the table into RESULTS.md")
    parser.add_argument("--only", nargs="+", default=(), help="cases whose name contains one of these")
    options = parser.parse_args()
    _peers.add(*PEERS)
    rounds = 40 if options.quick else 200
    lines = ["| case | ours | to | theirs | ratio | reach |", "|---|--:|---|--:|--:|--:|"]
    results: dict[str, dict[str, float]] = {}
    for case, (run, ours, theirs, limit) in cases().items():
        if options.only and not any(part in case for part in options.only):
            continue
        times = results[case] = run(rounds)
        ratio = times[ours] / times[theirs]
        mine, other = f"{times[ours]:.1f} ns", f"{times[theirs]:.1f} ns"
        lines.append(f"| {case} | {mine} | {theirs} | {other} | {ratio:.2f} | {limit:.2f} |")
        print(lines[-1], flush=True)
        others = ", ".join(f"{name} {value:.0f}" for name, value in times.items())
        print(f"    {others}", flush=True)
    if not options.only:
        times = results["memory, bytes an entry"] = memory()
        lines.append(
            f"| memory an entry at 1 M, TTL on | {times['mcp_performance.Cache']:.0f} B | cachebox TTLCache "
            f"| {times['cachebox TTLCache']:.0f} B | | 80 B |"
        )
        print(lines[-1])
        draw(results, (HERE if options.record else HERE.parent / ".cache") / "cache.png")
    if options.record:
        everyone = ["", "| case | " + "all, ns |", "|---|---|"]
        for case, times in results.items():
            ranked = sorted(times.items(), key=lambda item: item[1])
            everyone.append(
                f"| {case} | " + ", ".join(f"{name} {value:.0f}" for name, value in ranked) + " |"
            )
        head = f"## Cached functions and caches\n\n{_native.machine()}. {versions()}.\n\n"
        _native.record("cache", head + "\n".join(lines + everyone) + "\n\n![](cache.png)")


if __name__ == "__main__":
    os.chdir(HERE)
    main()
