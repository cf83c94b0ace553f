"""The native cache for C++ callers: time of a get from one thread and from several, memory of an entry.

    python benchmarks/native_cache.py [--record] [--rounds N] [--threads N]

95 % hits, keys of a Zipf(0.99) distribution, 100,000 entries; a miss stores the key. One and several threads
alternate; the figures are medians of the rounds. One row is what the machine allows: the same threads look
the same keys up in an array of the same size that nobody writes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from statistics import median

import _native


def measure(program: Path, threads: int) -> list[float]:
    output = subprocess.run([str(program), str(threads)], capture_output=True, text=True, check=True).stdout
    return [float(figure) for figure in output.split()]


def main() -> int:
    parser = argparse.ArgumentParser(description="The native concurrent cache.")
    parser.add_argument("--record", action="store_true", help="write the table into RESULTS.md")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    program = _native.build("concurrent_cache")
    one, many = [], []
    for _ in range(options.rounds):
        one.append(measure(program, 1))
        many.append(measure(program, options.threads))
    alone = median(run[0] for run in one)
    steps = median(run[2] for run in one)
    together = median(run[0] for run in many)
    # One thread's time for its gets, while all run: so many times as many gets are done in it.
    speedup = median(options.threads * a[0] / b[0] for a, b in zip(one, many, strict=True))
    bare = median(options.threads * a[2] / b[2] for a, b in zip(one, many, strict=True))
    text = "\n".join(
        [
            "| native cache, 100,000 entries, Zipf 0.99 | |",
            "|---|--:|",
            f"| hit ratio | {median(run[1] for run in one):.3f} |",
            f"| a get, one thread | {alone:.1f} ns |",
            f"| a look into an array of its size, each waiting for the last, one thread | {steps:.1f} ns |",
            f"| a get, {options.threads} threads | {together:.1f} ns each |",
            f"| throughput of {options.threads} threads to one | {speedup:.2f} |",
            f"| the same of reading an array that nobody writes | {bare:.2f} |",
            f"| bytes an entry at 1,000,000, key and value pointers included | {one[0][3]:.1f} |",
        ]
    )
    print(text)
    if options.record:
        _native.record("native-cache", f"## Native cache\n\n{_native.machine()}\n\n{text}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
