"""A process of a service over a tiered cache: it changes keys of a source, reads all, and writes down both.

``python tier_actor.py URL NAMESPACE SOURCE LOG NUMBER TOTAL SEED STEPS``. SOURCE is a file with a version of
eight bytes for each key, which all processes map; LOG becomes a pickle of (writes, reads), each of
(key, began, ended, version).
"""

from __future__ import annotations

import asyncio
import mmap
import pickle
import random
import sys
import time
import warnings
from pathlib import Path
from typing import Any

from mcp_performance import Cache, RedisTier, TieredCache, cached

KEYS = 6
now = time.perf_counter_ns


def main(url: str, namespace: str, source: str, log: str, *numbers: str) -> None:
    number, total, seed, steps = map(int, numbers)
    rng = random.Random(seed * 1000 + number)
    with Path(source).open("r+b") as file:
        # Eight bytes are one store, which nobody sees half of; struct.pack_into() clears them first.
        versions = memoryview(mmap.mmap(file.fileno(), KEYS * 8)).cast("q")
    tier = RedisTier(url, namespace=namespace, timeout=0.2)
    cache = TieredCache(Cache(rng.choice((2, 100))), tier)

    def version_of(key: int) -> int:
        return versions[key]

    @cached(cache=cache, name="f", tags=("all", "key {key}"))
    def f(key: int) -> int:
        version = version_of(key)
        time.sleep(rng.choice((0, 0, 1e-3)))
        return version

    @cached(cache=cache, name="f", tags=("all", "key {key}"))
    async def af(key: int) -> int:
        version = version_of(key)
        await asyncio.sleep(rng.choice((0, 0, 1e-3)))
        return version

    writes: list[tuple[int, int, int, int]] = []
    reads: list[tuple[int, int, int, int]] = []
    own = range(number, KEYS, total)
    acts: list[Any] = [
        f.cache_invalidate,
        af.cache_invalidate,
        lambda key: cache.delete(f.cache_key(key)),
        lambda key: cache.invalidate_tags(f"key {key}"),
        lambda _: f.cache_clear(),
    ]
    with asyncio.Runner() as runner:
        for _ in range(steps):
            if rng.random() < 0.1:
                key = rng.choice(own)
                began = now()
                version = version_of(key) + 1
                versions[key] = version
                rng.choice(acts)(key)
                writes.append((key, began, now(), version))
            else:
                key = rng.randrange(KEYS)
                began = now()
                version = f(key) if rng.random() < 0.5 else runner.run(af(key))
                reads.append((key, began, now(), version))
    last = time.monotonic() + 60
    while cache._debts and time.monotonic() < last:
        time.sleep(0.01)
    Path(log).write_bytes(pickle.dumps((writes, reads)))
    sys.stdin.read()  # the end is told when all have paid what they owe
    for key in range(KEYS):
        while (found := f(key)) != version_of(key):
            if time.monotonic() > last:
                sys.exit(f"key {key} stays {found}, and is {version_of(key)}")
            time.sleep(0.01)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(*sys.argv[1:])
