"""Hit ratios on real access traces, beside what other libraries and policies reach on them.

    python benchmarks/hit_ratio.py [--record] [--all] [--quick]

The traces are optional and are looked for in ../shared/traces: NAME.u64.gz (keys as little-endian unsigned
64-bit integers, one an access) and hit_ratios.csv (what others reach, measured beforehand). Every access
counts; the cache starts cold; a miss stores the key; the capacity is exact.

The program follows each replay with a plain set. Here its accesses are counted again, its LRU is compared
with one in plain Python, hit for hit, and no policy may hit more often than Belady's optimum. --quick: that
alone, on a small trace made here.
"""

from __future__ import annotations

import argparse
import array
import csv
import gzip
import heapq
import random
import sys
from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

import _native
from _check import same, within

from mcp_performance._core import CACHE_POLICIES

SAME_AS = {"lru": "LRU", "sieve": "SIEVE"}  # policies, and what simulators call them
TRACES = _native.ROOT.parent / "shared" / "traces"
SIMULATED = {"OPT", "reference"}  # no library: Belady's optimum, and the design simulated beforehand

LONG = 150_000  # accesses

Cell = tuple[str, int]


def read_peers(path: Path) -> dict[Cell, dict[str, float]]:
    cells: dict[Cell, dict[str, float]] = defaultdict(dict)
    with path.open() as file:
        for row in csv.DictReader(file):
            cell = (row["trace"], int(row["capacity"]))
            cells[cell][row["policy_or_library"]] = float(row["hit_ratio"])
    return cells


def hits_of(program: Path, policy: str, keys: array.array[int], sizes: list[int]) -> dict[int, int]:
    """Hits by capacity, of a replay of all *keys*."""
    hits = {}
    for line in _native.output_of(program, policy, *map(str, sizes), keys=keys.tobytes()).splitlines():
        capacity, hits[int(capacity)], accesses = line.split()[0], int(line.split()[1]), int(line.split()[2])
        within(f"{policy}, {capacity}: accesses", accesses, len(keys), len(keys))
    same(f"{policy}, capacities", list(hits), sizes)
    return hits


def lru_hits(keys: Sequence[int], capacity: int) -> int:
    """Least recently used, in plain Python."""
    inside: OrderedDict[int, None] = OrderedDict()
    hits = 0
    for key in keys:
        if key in inside:
            hits += 1
            inside.move_to_end(key)
        else:
            inside[key] = None
            if len(inside) > capacity:
                inside.popitem(last=False)
    return hits


def next_uses(keys: Sequence[int]) -> list[int]:
    """When each access's key is accessed again; beyond the end, if it is not."""
    later: dict[int, int] = {}
    found = [0] * len(keys)
    for at in range(len(keys) - 1, -1, -1):
        found[at] = later.get(keys[at], 2 * len(keys))
        later[keys[at]] = at
    return found


def belady_hits(keys: Sequence[int], uses: list[int], capacity: int) -> int:
    """Belady's optimum of a cache that stores every miss: what is needed last leaves for it."""
    inside: dict[int, int] = {}
    farthest: list[tuple[int, int]] = []
    hits = 0
    for key, use in zip(keys, uses, strict=True):
        if key in inside:
            hits += 1
        else:
            while len(inside) >= capacity:
                when, candidate = heapq.heappop(farthest)
                if inside.get(candidate) == -when:
                    del inside[candidate]
        inside[key] = use
        heapq.heappush(farthest, (-use, key))
    return hits


def check(
    trace: str,
    keys: array.array[int],
    hits: dict[str, dict[int, int]],
    optimum: dict[int, int] | None = None,
) -> None:
    """Hits of each policy by capacity, against the same replay in plain Python.

    Belady's takes a while: of a long trace the *optimum* is believed, if it is known.
    """
    accesses = keys.tolist()
    believed = optimum is not None and len(keys) > LONG
    uses = [] if believed else next_uses(accesses)
    for capacity in hits["lru"]:
        cell = f"{trace}, {capacity}"
        same(f"{cell}, hits of LRU", hits["lru"][capacity], lru_hits(accesses, capacity))
        most = optimum[capacity] if optimum and believed else belady_hits(accesses, uses, capacity)
        if optimum:
            same(f"{cell}, hits of Belady's optimum", most, optimum[capacity])
        for policy, by_capacity in hits.items():
            within(f"{cell}, hits of {policy} beside Belady's", by_capacity[capacity], 0, most)


def replay(program: Path, peers: dict[Cell, dict[str, float]], traces: Path) -> dict[str, dict[Cell, float]]:
    """The hit ratios of each policy, checked."""
    capacities: dict[str, list[int]] = defaultdict(list)
    for trace, capacity in peers:
        capacities[trace].append(capacity)
    ratios: dict[str, dict[Cell, float]] = {policy: {} for policy in CACHE_POLICIES}
    for trace, sizes in capacities.items():
        keys = array.array("Q", gzip.decompress((traces / f"{trace}.u64.gz").read_bytes()))
        by = {policy: hits_of(program, policy, keys, sizes) for policy in CACHE_POLICIES}
        optimum = {size: round(peers[trace, size]["OPT"] * len(keys)) for size in sizes}
        check(trace, keys, by, optimum)
        for policy, hits in by.items():
            ratios[policy] |= {(trace, size): hits[size] / len(keys) for size in sizes}
    return ratios


def check_small(program: Path) -> None:
    """Every policy on a small trace: skewed reads, with a loop now and then."""
    draw = random.Random(3)
    keys = array.array("Q")
    for _ in range(20):
        keys.extend(int(draw.paretovariate(0.6)) for _ in range(1000))
        keys.extend(range(10**12, 10**12 + 300))
    sizes = [1, 10, 100, 500]
    hits = {policy: hits_of(program, policy, keys, sizes) for policy in CACHE_POLICIES}
    check("a small trace", keys, hits)
    print(f"hits of {len(keys)}: {hits}")


def best_library(peers: dict[str, float]) -> tuple[float, str]:
    return max((ratio, name) for name, ratio in peers.items() if name not in SIMULATED)


def report(
    ratios: dict[str, dict[Cell, float]], peers: dict[Cell, dict[str, float]], every_cell: bool
) -> str:
    ours = ratios["adaptive"]
    names = sorted(set.intersection(*(set(cell) for cell in peers.values())))
    means = {name: mean(cell[name] for cell in peers.values()) for name in names}
    means |= {f"mcp_performance {policy}": mean(of.values()) for policy, of in ratios.items()}
    means["best library of each cell"] = mean(best_library(cell)[0] for cell in peers.values())
    lines = [
        f"Mean hit ratio over {len(ours)} cells",
        "",
        "| policy or library | mean | to ours |",
        "|---|--:|--:|",
    ]
    own = means["mcp_performance adaptive"]
    for name, ratio in sorted(means.items(), key=lambda item: -item[1]):
        lines.append(f"| {name} | {ratio:.4f} | {ratio / own:.3f} |")
    to_best = {cell: 100 * (ours[cell] - best_library(peers[cell])[0]) for cell in ours}
    to_lru = {cell: 100 * (ours[cell] - peers[cell]["LRU"]) for cell in ours}
    for label, points in (("the best library of the cell", to_best), ("LRU", to_lru)):
        worst = min(points, key=lambda cell: points[cell])
        lines += ["", f"Worst cell against {label}: {points[worst]:+.1f} points ({worst[0]}, {worst[1]})"]
    if every_cell:
        lines += ["", "| trace | capacity | ours | LRU | best library | |", "|---|--:|--:|--:|--:|---|"]
        for (trace, capacity), ratio in ours.items():
            best, name = best_library(peers[trace, capacity])
            lru = peers[trace, capacity]["LRU"]
            lines.append(f"| {trace} | {capacity} | {ratio:.4f} | {lru:.4f} | {best:.4f} | {name} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description="Hit ratios on access traces.")
    parser.add_argument("--record", action="store_true", help="write the table into RESULTS.md")
    parser.add_argument("--all", action="store_true", help="print every cell")
    parser.add_argument("--traces", type=Path, default=TRACES)
    parser.add_argument("--quick", action="store_true", help="only check a small trace")
    options = parser.parse_args()
    if options.quick:
        check_small(_native.program("hit_ratio", quick=True))
        return 0
    peers_file = options.traces / "hit_ratios.csv"
    if not peers_file.exists():
        print(f"hit_ratio: skipped, there are no traces in {options.traces}")
        return 0
    peers = read_peers(peers_file)
    ratios = replay(_native.program("hit_ratio", quick=False), peers, options.traces)
    text = report(ratios, peers, options.all or options.record)
    for policy, simulated in SAME_AS.items():
        drift = max(abs(ratios[policy][cell] - peers[cell][simulated]) for cell in peers)
        points = f"{100 * drift:.4f} points of the simulated {simulated}"
        text += f"\n\nThe `{policy}` policy is within {points} in every cell."
    print(text)
    if options.record:
        _native.record("hit-ratio", f"## Hit ratio\n\n{_native.machine()}\n\n{text}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
