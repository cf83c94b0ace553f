"""A process of a service over a tiered cache in a SQLite file, that may be killed at any moment.

``python sqlite_tier_actor.py URL SOURCE LOG NUMBER TOTAL SEED STEPS``. SOURCE is a file with a version of
eight bytes for each key, which all processes map; a key has one process that writes it. LOG is written as it
happens, lines that :func:`history_of` reads.
"""

from __future__ import annotations

import asyncio
import itertools
import mmap
import os
import random
import sys
import time
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mcp_performance import Cache, SQLiteTier, TieredCache, cached
from oracle_history import History

KEYS = 6
NEVER = 2**63
now = time.perf_counter_ns


def history_of(logs: Iterable[Path]) -> History:
    """What all processes wrote and read. What one was killed at may have happened, and is not settled.

    Each read is a reader's own: while a write is under way, one that loaded anew may be ahead of the next.
    """
    history = History()
    readers = itertools.count()
    for log in logs:
        writing: tuple[int, int, int] | None = None
        for line in log.read_text().splitlines():
            kind, *numbers = line.split()
            if kind == "read":
                key, began, ended, version = map(int, numbers)
                history.was_read(key, began, ended, version, next(readers))
                continue
            if writing is not None:
                key, began, version = writing
                history.wrote(key, began, int(numbers[0]) if kind == "wrote" else NEVER, version, log)
            writing = None if kind == "wrote" else (int(numbers[0]), int(numbers[1]), int(numbers[2]))
        if writing is not None:
            key, began, version = writing
            history.wrote(key, began, NEVER, version, log)
    return history


def main(url: str, source: str, log: str, *numbers: str) -> None:
    number, total, seed, steps = map(int, numbers)
    rng = random.Random(seed * 1000 + number + os.getpid())
    with Path(source).open("r+b") as file:
        # Eight bytes are one store, which nobody sees half of; struct.pack_into() clears them first.
        versions = memoryview(mmap.mmap(file.fileno(), KEYS * 8)).cast("q")
    told = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    cache = TieredCache(Cache(rng.choice((2, 100))), SQLiteTier(url, timeout=30.0))

    def tell(*words: object) -> None:
        os.write(told, (" ".join(map(str, words)) + "\n").encode())

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

    own = range(number, KEYS, total)

    def tags_of(key: int) -> tuple[str, str]:
        return "all", f"key {key}"  # of every value, so that each act ends all that there can be

    acts: list[Any] = [
        lambda key, _: f.cache_invalidate(key),
        lambda key, _: af.cache_invalidate(key),
        lambda key, _: cache.delete(f.cache_key(key)),
        lambda key, _: cache.invalidate_tags(f"key {key}"),
        lambda _, version: cache.invalidate_tags("all"),
        lambda key, version: cache.set(f.cache_key(key), version, tags=tags_of(key)),
        lambda key, version: runner.run(cache.aset(f.cache_key(key), version, tags=tags_of(key))),
    ]
    print("ready", flush=True)
    with asyncio.Runner() as runner:
        for _ in range(steps):
            if rng.random() < 0.1:
                key = rng.choice(own)
                began = now()
                version = version_of(key) + 1
                tell("writes", key, began, version)
                versions[key] = version
                rng.choice(acts)(key, version)
                tell("wrote", now())
            else:
                key = rng.randrange(KEYS)
                began = now()
                version = f(key) if rng.random() < 0.5 else runner.run(af(key))
                tell("read", key, began, now(), version)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(*sys.argv[1:])
