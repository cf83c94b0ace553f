"""Values of 100 bytes in a SQLite file that processes share: SQLiteTier against diskcache, in the same run.

Another process writes the values that are read. diskcache reads its file at every hit; a TieredCache serves a
warm one from memory, after a look at the header of the file's wal-index. Rounds are interleaved; figures are
medians of the rounds. Each value that was read is compared with the one that the other process wrote under
its key, and each that was written is read back, while the clock stands.

    python benchmarks/sqlite_tier.py [--record] [--quick] [--rounds N]
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from _check import same, seconds_each
from _native import machine, record
from _peers import ENVIRONMENT, add, has, version

add("diskcache==5.6.3", install="--quick" not in sys.argv)

from mcp_performance import Cache, SQLiteTier, TieredCache, cached  # noqa: E402

KEYS = 500
Case = tuple[str, str]
Timer = Callable[[], float]

WRITER = """
import sys
folder, packages, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
sys.path.append(packages)
from mcp_performance import SQLiteTier
values = {f"key:{i}": f"key:{i}".ljust(100, "x") for i in range(count)}
with SQLiteTier(f"sqlite:///{folder}/tier.db") as tier:
    for key, value in values.items():
        tier.set(key, value, ttl=None)
if sys.argv[4] == "True":
    import diskcache
    with diskcache.Cache(f"{folder}/diskcache") as peer:
        for key, value in values.items():
            peer.set(key, value)
"""


def value_of(key: str) -> str:
    """A hundred characters that say whose they are."""
    return key.ljust(100, "x")


def reading(what: str, get: Callable[[Any], Any], values: dict[str, str], count: int) -> float:
    """Seconds for one call, one after the other."""

    def work(part: Sequence[Any]) -> list[Any]:
        return [get(key) for key in part]

    return seconds_each(what, work, (list(values) * (count // KEYS + 1))[:count], values.__getitem__)


def writing(
    what: str, put: Callable[[str, str], Any], get: Callable[[str], Any], count: int, number: Iterator[int]
) -> float:
    """Seconds for one call; what was written, each time another value, is read back afterwards."""
    turn = next(number)
    some = {f"written:{i}": value_of(f"{i}, in turn {turn}") for i in range(count)}
    begin = time.perf_counter()
    for key, value in some.items():
        put(key, value)
    took = time.perf_counter() - begin
    same(what, [get(key) for key in some], list(some.values()))
    return took / len(some)


def measure(folder: str, rounds: int, share: int) -> dict[Case, list[float]]:
    """Seconds of one call, by case and by who did it, one figure a round; *share* divides the calls."""
    packages = f"{ENVIRONMENT}/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    words = [folder, packages, str(KEYS), str(has("diskcache"))]
    subprocess.run([sys.executable, "-c", WRITER, *words], check=True)
    values = {f"key:{i}": value_of(f"key:{i}") for i in range(KEYS)}
    tier = SQLiteTier(f"sqlite:///{folder}/tier.db")
    tiered = TieredCache(Cache(1000), SQLiteTier(f"sqlite:///{folder}/tier.db"))
    function = cached(cache=tiered)(value_of)
    few, some, lots = KEYS // share, 5000 // share, 100_000 // share
    warm, first, write = "warm hit", "hit of what another process wrote", "write"
    ours, turns = "TieredCache, SQLiteTier", itertools.count()
    timers: dict[Case, Timer] = {
        (f"{warm}, get", ours): lambda: reading("TieredCache", tiered.get, values, lots),
        (f"{warm}, @cached", ours): lambda: reading("@cached", function, values, lots),
        (first, ours): lambda: reading("SQLiteTier.get", tier.get, values, some),
        (write, ours): lambda: writing("SQLiteTier.set", tier.set, tier.get, few, turns),
    }
    if has("diskcache"):
        import diskcache

        peer = diskcache.Cache(f"{folder}/diskcache")
        timers |= {
            (f"{warm}, get", "diskcache"): lambda: reading("diskcache", peer.get, values, some),
            (first, "diskcache"): lambda: reading("diskcache", peer.get, values, some),
            (write, "diskcache"): lambda: writing("diskcache.set", peer.set, peer.get, few, turns),
        }
    figures: dict[Case, list[float]] = {case: [] for case in timers}
    for timer in timers.values():
        timer()  # connections, caches
    for _ in range(rounds):
        for case, timer in timers.items():
            figures[case].append(timer())
    tiered.close()
    tiered.shared.close()
    tier.close()
    return figures


def table(figures: dict[Case, list[float]]) -> str:
    """A Markdown table: microseconds of one call, and the ratio."""
    medians = {case: statistics.median(values) * 1e6 for case, values in figures.items()}
    lines = ["| 100 bytes | TieredCache, SQLiteTier | diskcache | ratio |", "|---|---|---|---|"]
    for what in dict.fromkeys(what for what, _ in medians):
        ours, theirs = medians[what, "TieredCache, SQLiteTier"], medians.get((what, "diskcache"))
        ratio = "" if theirs is None else f"{ours / theirs:.3f}"
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
    with tempfile.TemporaryDirectory() as folder:
        text = table(measure(folder, options.rounds, 20 if options.quick else 1))
    head = f"## SQLite tier\n\n{machine()}; Python {sys.version.split()[0]}, {version('diskcache')}."
    print(f"{head}\n\n{text}")
    if options.record and not options.quick:
        record("sqlite tier", f"{head}\nMedians of {options.rounds} interleaved rounds.\n\n{text}")


if __name__ == "__main__":
    main()
