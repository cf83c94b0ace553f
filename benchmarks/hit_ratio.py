"""Hit ratios on real access traces, beside what other libraries and policies reach on them.

    python benchmarks/hit_ratio.py [--record] [--all]

The traces are optional and are looked for in ../shared/traces: NAME.u64.gz (keys as little-endian unsigned
64-bit integers, one an access) and hit_ratios.csv (what others reach, measured beforehand). Every access
counts; the cache starts cold; a miss stores the key; the capacity is exact.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean

import _native

TRACES = _native.ROOT.parent / "shared" / "traces"
SIMULATED = {"OPT", "reference"}  # no library: Belady's optimum, and the design simulated beforehand

Cell = tuple[str, int]


def read_peers(path: Path) -> dict[Cell, dict[str, float]]:
    cells: dict[Cell, dict[str, float]] = defaultdict(dict)
    with path.open() as file:
        for row in csv.DictReader(file):
            cell = (row["trace"], int(row["capacity"]))
            cells[cell][row["policy_or_library"]] = float(row["hit_ratio"])
    return cells


def replay(program: Path, policy: str, cells: list[Cell], traces: Path) -> dict[Cell, float]:
    capacities: dict[str, list[int]] = defaultdict(list)
    for trace, capacity in cells:
        capacities[trace].append(capacity)
    ratios = {}
    for trace, sizes in capacities.items():
        keys = gzip.decompress((traces / f"{trace}.u64.gz").read_bytes())
        command = [str(program), policy, *map(str, sizes)]
        output = subprocess.run(command, input=keys, capture_output=True, check=True).stdout
        for line in output.decode().splitlines():
            capacity, hits, accesses = map(int, line.split())
            ratios[trace, capacity] = hits / accesses
    return ratios


def best_library(peers: dict[str, float]) -> tuple[float, str]:
    return max((ratio, name) for name, ratio in peers.items() if name not in SIMULATED)


def report(ours: dict[Cell, float], peers: dict[Cell, dict[str, float]], every_cell: bool) -> str:
    names = sorted(set.intersection(*(set(cell) for cell in peers.values())))
    means = {name: mean(cell[name] for cell in peers.values()) for name in names}
    means["mcp_performance adaptive"] = mean(ours.values())
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
    options = parser.parse_args()
    peers_file = options.traces / "hit_ratios.csv"
    if not peers_file.exists():
        print(f"hit_ratio: skipped, there are no traces in {options.traces}")
        return 0
    peers = read_peers(peers_file)
    program = _native.build("hit_ratio")
    ours = replay(program, "adaptive", list(peers), options.traces)
    lru = replay(program, "lru", list(peers), options.traces)
    drift = max(abs(lru[cell] - peers[cell]["LRU"]) for cell in peers)
    text = report(ours, peers, options.all or options.record)
    text += f"\n\nThe `lru` policy is within {100 * drift:.4f} points of the simulated LRU in every cell."
    print(text)
    if options.record:
        _native.record("hit-ratio", f"## Hit ratio\n\n{_native.machine()}\n\n{text}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
