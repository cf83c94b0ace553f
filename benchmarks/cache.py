"""Cached functions and caches beside other libraries, in one run.

    python benchmarks/cache.py [--quick] [--record] [--only NAME ...]

Prints a table and draws a picture: .cache/cache.png, or benchmarks/cache.png with --record. Peers are
installed into .cache/bench-venv, never into the package's own environment. Rounds of all contestants are
interleaved; a figure is the median of its rounds, in nanoseconds a call, the loop around it included. Run
it on an idle machine. What every call returned is kept, twenty at a time, and compared once the clock has
stopped; caches that were written to are read back. --quick: few rounds of what is installed, and no picture.
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
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import _native
import _peers
from _check import same, within

import mcp_performance

HERE = Path(__file__).resolve().parent
sys.path.remove(str(HERE))  # some peers import redis, which is no module of this folder
MODULES = {
    "cachetools": "cachetools",
    "cachebox": "cachebox",
    "moka-py": "moka_py",
    "theine": "theine",
    "async-lru": "async_lru",
    "aiocache": "aiocache",
    "cashews": "cashews",
    "matplotlib": "matplotlib",
}
PEERS = tuple(MODULES)
CALLS = 3000
TURN = 20  # fewer or more cost a call some nanoseconds
ROUND_NS = 300_000  # shorter than a turn of the scheduler: the slow suffer no more than the quick

Contestants = dict[str, Callable[[int], float]]


def repeated(statement: str, names: Sequence[str]) -> Callable[..., list[tuple[Any, ...]]]:
    """``run(*values of names, turns)``: all that *statement* returned, TURN times in each of *turns*.

    The values stay on the stack until there are so many: keeping them costs about as much as dropping
    them, a nanosecond a call.
    """
    source = f"def run({', '.join(names)}, turns):\n  kept = []\n  for _ in turns:\n    "
    source += f"kept.append(({', '.join([statement] * TURN)}))\n  return kept"
    space: dict[str, Any] = {}
    exec(source, space)
    run: Callable[..., list[tuple[Any, ...]]] = space["run"]
    return run


def timed(
    statement: str, names: dict[str, Any], want: Any, setup: Callable[[], object] | None = None
) -> Callable[[int], float]:
    """``measure(calls)``: nanoseconds a call of *statement*, with *names* as its local variables.

    Each call has to return *want*.
    """
    run = repeated(statement, list(names))

    def measure(calls: int) -> float:
        if setup is not None:
            setup()
        turns = itertools.repeat(None, calls // TURN)
        begun = time.perf_counter_ns()
        kept = run(*names.values(), turns)
        took = time.perf_counter_ns() - begun
        same(statement, kept, [(want,) * TURN] * (calls // TURN))
        return took / calls

    return measure


def race(contestants: Contestants, rounds: int, calls: int = CALLS) -> dict[str, float]:
    """The median of each contestant's rounds, which are interleaved and last about as long as another."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    share = {}
    for name, measure in contestants.items():
        measure(TURN)
        fitting = round(ROUND_NS / min(measure(TURN) for _ in range(5)) / TURN) * TURN
        share[name] = max(TURN, min(calls, fitting))
    for _ in range(rounds):
        for name, measure in contestants.items():
            times[name].append(measure(share[name]))
    return {name: median(values) for name, values in times.items()}


# ---- decorators


def cachetools_decorator() -> Callable[[Any], Any]:
    import cachetools

    return lambda f: cachetools.cached(cachetools.TTLCache(1024, 300))(f)


def cachebox_decorator() -> Callable[[Any], Any]:
    import cachebox

    return lambda f: cachebox.cached(cachebox.TTLCache(1024, 300))(f)


def moka_decorator() -> Callable[[Any], Any]:
    import moka_py

    return lambda f: moka_py.cached(1024, ttl=300)(f)


def theine_decorator() -> Callable[[Any], Any]:
    import datetime

    import theine

    return theine.Memoize(1024, ttl=datetime.timedelta(seconds=300))


def decorators() -> dict[str, Callable[[Any], Any]]:
    """Of this package, and of the peers that are installed."""
    found: dict[str, Callable[[Any], Any]] = {
        "mcp_performance.cached": mcp_performance.cached(1024, ttl=300),
        "mcp_performance.lru_cache": mcp_performance.lru_cache(1024),
        "functools.lru_cache": functools.lru_cache(1024),
    }
    peers = {
        "cachetools TTL": ("cachetools", cachetools_decorator),
        "cachebox TTL": ("cachebox", cachebox_decorator),
        "moka-py TTL": ("moka_py", moka_decorator),
        "theine": ("theine", theine_decorator),
    }
    return found | {name: make() for name, (module, make) in peers.items() if _peers.has(module)}


def one(x: Any) -> Any:
    return x


def three(a: Any, b: Any, c: Any) -> Any:
    return a


def keyword(a: Any, *, k: Any = 1) -> Any:
    return a


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
        contestants[name] = timed(statement, {"f": made, **names}, names["a"])
    return race(contestants, rounds)


def race_misses(rounds: int) -> dict[str, float]:
    fresh = itertools.count(10**6)

    def misser(made: Callable[[int], Any]) -> Callable[[int], float]:
        def measure(calls: int) -> float:
            keys = list(itertools.islice(fresh, calls))
            begun = time.perf_counter_ns()
            found = [made(key) for key in keys]
            took = time.perf_counter_ns() - begun
            same("misses", found, keys)
            return took / calls

        return measure

    return race({name: misser(decorate(copy_of(one))) for name, decorate in decorators().items()}, rounds)


def race_threads(rounds: int) -> dict[str, float]:
    """Two threads call at once; the time is a call of either."""

    def pair(made: Callable[[int], Any]) -> Callable[[int], float]:
        run = repeated("f(a)", ["f", "a"])

        def measure(calls: int) -> float:
            barrier = threading.Barrier(3)
            kept: list[list[tuple[Any, ...]]] = []

            def work() -> None:
                barrier.wait()
                kept.append(run(made, 987654, itertools.repeat(None, calls * 20 // TURN)))

            threads = [threading.Thread(target=work) for _ in range(2)]
            for thread in threads:
                thread.start()
            barrier.wait()
            begun = time.perf_counter_ns()
            for thread in threads:
                thread.join()
            took = time.perf_counter_ns() - begun
            same("hits of two threads", kept, [[(987654,) * TURN] * (calls * 20 // TURN)] * 2)
            return took / (calls * 40)

        return measure

    chosen = ("mcp_performance.cached", "functools.lru_cache")
    made = {name: pair(decorators()[name](copy_of(one))) for name in chosen}
    return race(made, max(5, rounds // 10))


# ---- coroutines


async def plain(x: int) -> int:
    return x


def coroutine_functions() -> dict[str, Callable[[int], Any]]:
    """Of this package, and of the peers that are installed."""
    functions: dict[str, Callable[[int], Any]] = {
        "mcp_performance.cached": mcp_performance.cached(1024, ttl=300)(copy_of(plain)),
        "a plain coroutine": plain,
    }
    if _peers.has("async_lru"):
        import async_lru

        functions["async_lru"] = async_lru.alru_cache(maxsize=1024, ttl=300)(copy_of(plain))
    if _peers.has("aiocache"):
        import aiocache

        functions["aiocache"] = aiocache.cached(ttl=300)(copy_of(plain))
    if _peers.has("cashews"):
        import cashews

        cashews.cache.setup("mem://")
        functions["cashews"] = cashews.cache(ttl=300)(copy_of(plain))
    return functions


def race_coroutines(rounds: int) -> dict[str, float]:
    source = "async def run(f, turns):\n  kept = []\n  for _ in turns:\n    "
    source += f"kept.append(({', '.join(['await f(7)'] * TURN)}))\n  return kept"
    space: dict[str, Any] = {}
    exec(source, space)

    async def run(function: Callable[[int], Any], calls: int) -> float:
        await function(7)
        turns = itertools.repeat(None, calls // TURN)
        begun = time.perf_counter_ns()
        kept = await space["run"](function, turns)
        took = time.perf_counter_ns() - begun
        same("async hits", kept, [(7,) * TURN] * (calls // TURN))
        return took / calls

    with asyncio.Runner() as runner:

        def measurer(function: Callable[[int], Any]) -> Callable[[int], float]:
            return lambda calls: runner.run(run(function, calls))

        measures = {name: measurer(function) for name, function in coroutine_functions().items()}
        return race(measures, max(5, rounds // 10), CALLS // 3)


# ---- cache objects


def caches() -> dict[str, tuple[Any, Callable[[Any, Any], Any]]]:
    """By name: the cache, and what puts an entry into it."""
    ours: Any = mcp_performance.Cache(1024, ttl=300)
    lru: Any = mcp_performance.Cache(1024, policy="lru")
    found = {"mcp_performance.Cache": (ours, ours.set), "mcp_performance.Cache lru": (lru, lru.set)}
    if _peers.has("cachebox"):
        import cachebox

        box = cachebox.TTLCache(1024, 300)
        found["cachebox TTLCache"] = box, box.insert
    if _peers.has("cachetools"):
        import cachetools

        tools: Any = cachetools.TTLCache(1024, 300)
        found["cachetools TTLCache"] = tools, tools.__setitem__
    if _peers.has("moka_py"):
        import moka_py

        moka = moka_py.Moka(1024, ttl=300)
        found["moka-py"] = moka, moka.set
    table: Any = {}
    found["dict"] = table, table.__setitem__
    return found


def getter(cache: Any, put: Callable[[Any, Any], Any]) -> Callable[[int], float]:
    return timed("get(k)", {"get": cache.get, "k": "512"}, 1, lambda: put("512", 1))


def replacer(cache: Any, put: Callable[[Any, Any], Any]) -> Callable[[int], float]:
    source = f"def run(put, k, v, turns):\n  for _ in turns:\n    {'; '.join(['put(k, v)'] * TURN)}"
    space: dict[str, Any] = {}
    exec(source, space)
    values = itertools.count(10**6)

    def measure(calls: int) -> float:
        value = next(values)
        turns = itertools.repeat(None, calls // TURN)
        begun = time.perf_counter_ns()
        space["run"](put, "512", value, turns)
        took = time.perf_counter_ns() - begun
        same("the value that was put", cache.get("512"), value)
        return took / calls

    return measure


def filler(cache: Any, put: Callable[[Any, Any], Any]) -> Callable[[int], float]:
    fresh = itertools.count(10**6)

    def measure(calls: int) -> float:
        numbers = list(itertools.islice(fresh, calls))
        keys = list(map(str, numbers))
        begun = time.perf_counter_ns()
        for key, number in zip(keys, numbers, strict=True):
            put(key, number)
        took = time.perf_counter_ns() - begun
        # A look at all of them would tell the cache that they are in use. Every policy here but moka's keeps
        # the newest.
        found = cache.get(keys[-1])
        if found is not None or not type(cache).__name__.startswith("Moka"):
            same("the value of the newest key", found, numbers[-1])
        if hasattr(cache, "__len__"):
            within("entries", len(cache), 1, 1024)
        return took / calls

    return measure


def race_caches(case: str, rounds: int) -> dict[str, float]:
    make = {"Cache.get": getter, "Cache.set, present key": replacer}.get(case, filler)
    contestants: Contestants = {}
    filled = caches()
    for name, (cache, put) in filled.items():
        for i in range(1024):
            put(str(i), i)
        if make is not filler or name != "dict":
            contestants[name] = make(cache, put)
    times = race(contestants, rounds)
    for name, (cache, _) in filled.items():
        check_entries(f"{case}, {name}", cache)
    return times


def check_entries(what: str, cache: Any) -> None:
    """Whatever is left of the entries is under its own key; the key 512 was put again."""
    found = {key: cache.get(key) for key in map(str, range(1024)) if key != "512"}
    for key, value in found.items():
        if value is not None:
            same(f"{what}, entry {key}", value, int(key))


MEMORY = """
import os, sys
sys.path.append({path!r})
def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
{make}
keys = list(range({entries}))
before = resident()
for key in keys:
    put(key, None)
grown = resident() - before
if (held := count()) != len(keys):
    raise SystemExit(f"{{held:,}} entries, not {{len(keys):,}}")
print(grown / len(keys))
"""

# By name: the module, how to make the cache, what puts an entry, and how many it says that it has.
MAKERS = {
    "mcp_performance.Cache": ("mcp_performance", "Cache({entries}, ttl=300)", "c.set", "len(c)"),
    "dict": ("builtins", "dict()", "c.__setitem__", "len(c)"),
    "cachebox TTLCache": ("cachebox", "TTLCache({entries}, 300)", "c.insert", "len(c)"),
    "cachetools TTLCache": ("cachetools", "TTLCache({entries}, 300)", "c.__setitem__", "len(c)"),
    "moka-py": ("moka_py", "Moka({entries}, ttl=300)", "c.set", "(c.run_pending_tasks(), c.count())[1]"),
}


def memory(entries: int = 1_000_000) -> dict[str, float]:
    """Resident bytes an entry beyond key and value, in fresh processes; all entries have to be there."""
    found = {}
    for name, (module, make, put, count) in MAKERS.items():
        if not _peers.has(module):
            continue
        made = f"import {module}; c = {module}.{make.format(entries=entries)}; put = {put}"
        made += f"\ndef count():\n    return {count}"
        script = MEMORY.format(path=sys.path[-1], make=made, entries=entries)
        done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        if done.returncode:
            raise SystemExit(f"{name} ended with status {done.returncode}: see above")
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
    parser.add_argument("--quick", action="store_true", help="few rounds of what is installed: no table")
    parser.add_argument("--record", action="store_true", help="write the table into RESULTS.md")
    parser.add_argument("--only", nargs="+", default=(), help="cases whose name contains one of these")
    options = parser.parse_args()
    _peers.add(*PEERS, install=not options.quick)
    if options.quick:
        for case, (run, *_) in cases().items():
            print(case, {name: round(value, 1) for name, value in run(2).items()}, flush=True)
        print("memory", memory(10_000))
        return
    rounds = 200
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
