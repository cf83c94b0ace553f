"""A process of a service over a tiered cache, which changes keys of a source, and judges each read at once.

``python tier_actor.py URL NAMESPACE SOURCE NUMBER TOTAL SEED STEPS``. It may be killed at any moment, and
started again. What it says on its output, a line each: ``ready``, ``done``, and at the end of its input, by
which time all others have paid what they owe, its figures. What is wrong is its last words, with an exit
status of 1.
"""

from __future__ import annotations

import asyncio
import json
import mmap
import random
import sys
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mcp_performance import Cache, RedisTier, SQLiteTier, TieredCache, cached

KEYS = 24
PATIENCE = 60.0
BURSTS = (1, 1, 4, 16, 64)
"""How many reads are judged together; what happens among them may be seen by each or not."""


class Source:
    """The truth, which all processes map: whole numbers that grow, three for each key.

    A key has one process that writes it. Eight bytes are one store, which nobody sees half of;
    ``struct.pack_into()`` clears them first.
    """

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            numbers = memoryview(mmap.mmap(file.fileno(), 3 * KEYS * 8)).cast("q")
        self.versions = numbers[:KEYS]
        """What the function reads. No cache may know of more."""
        self.settled = numbers[KEYS : 2 * KEYS]
        """From where on the end of all that is older is known to what the processes share."""
        self.heard = numbers[2 * KEYS :]
        """From where on everybody must have heard of that: nobody may read less."""

    @staticmethod
    def create(path: Path) -> Source:
        path.write_bytes(bytes(3 * KEYS * 8))
        return Source(path)


class Failed(Exception):
    """A load that failed."""


class Wrong(Exception):
    """A read that no order of the writes explains."""


class Actor:
    """One process: a thread that writes and reads, one that reads, and an event loop."""

    def __init__(self, source: Source, url: str, namespace: str, own: Sequence[int], seed: int) -> None:
        self._rng = random.Random(seed)
        self.source = source
        self.own = own
        self.settled = [0] * KEYS
        """What this process has settled itself: nothing older is given to it."""
        is_file = url.startswith("sqlite")
        self._all_settled = source.settled if is_file else source.heard
        tier: Any = (
            SQLiteTier(url, timeout=30.0) if is_file else RedisTier(url, namespace=namespace, timeout=0.2)
        )
        self.cache = TieredCache(Cache(self._rng.choice((5, 100))), tier)
        self.reads = self.writes = self.loads = 0
        self.load, self.aload = self._functions()
        self.runner = asyncio.Runner()
        self._acts = self._all_acts()

    def _functions(self) -> tuple[Any, Any]:
        rng, versions = self._rng, self.source.versions
        options: Any = {
            "cache": self.cache,
            "name": "f",
            "tags": ("all", "key {key}"),
            "ttl": rng.choice((None, 0.05, 2.0)),
            "stale_ttl": rng.choice((None, 0.5)),
            "negative_ttl": rng.choice((None, 0.02)),
            "refresh_ahead": rng.choice((None, 1.0)),
            "jitter": rng.choice((0.0, 0.5)),
        }
        if options["ttl"] is None:
            options["refresh_ahead"] = options["stale_ttl"] = None
            options["jitter"] = 0.0

        def begin(key: int) -> tuple[int, float]:
            self.loads += 1
            version, chance = versions[key], rng.random()
            if chance < 0.02:
                raise Failed
            return version, 1e-3 if chance < 0.3 else 0

        def f(key: int) -> int:
            version, seconds = begin(key)
            time.sleep(seconds)
            return version

        async def af(key: int) -> int:
            version, seconds = begin(key)
            await asyncio.sleep(seconds)
            return version

        return cached(**options)(f), cached(**options)(af)

    def _all_acts(self) -> list[Callable[[int, int], object]]:
        """What ends all that there is of a key, or puts the newest version in its place."""
        cache, load, aload = self.cache, self.load, self.aload
        name, run = load.cache_key, self.runner.run

        def tags(key: int) -> tuple[str, str]:
            return "all", f"key {key}"  # of every value, so that each act ends all that there can be

        return [
            lambda key, _: load.cache_invalidate(key),
            lambda key, _: aload.cache_invalidate(key),
            lambda key, _: cache.delete(name(key)),
            lambda key, _: run(cache.adelete(name(key))),
            lambda key, _: cache.delete_many([name(key), name(-1)]),
            lambda key, _: cache.invalidate_tags(f"key {key}"),
            lambda key, _: run(cache.ainvalidate_tags("nobody's", f"key {key}")),
            lambda _, __: cache.invalidate_tags("all"),
            lambda _, __: load.cache_clear(),
            lambda key, version: cache.set(name(key), version, tags=tags(key)),
            lambda key, version: run(cache.aset(name(key), version, tags=tags(key))),
            lambda key, version: cache.set_many({name(key): version}, tags=tags(key)),
        ]

    # -- Writing

    def write(self, key: int, act: Callable[[int, int], object]) -> None:
        version = self.source.versions[key] + 1
        self.source.versions[key] = version
        act(key, version)
        self.settled[key] = version
        self.writes += 1
        self.tell_settled()

    def tell_settled(self) -> None:
        settled = list(self.settled)
        if not self.cache._debts:
            for key in self.own:
                self.source.settled[key] = max(settled[key], self.source.settled[key])

    # -- Reading

    def read(self, keys: list[int], read: Callable[[list[int]], list[Any]], seen: list[int]) -> None:
        """Read *keys*, by who has *seen* these versions: never older than those that were settled by then."""
        oldest = list(map(max, self.settled, self._all_settled, seen))
        settled = list(self.source.settled)
        found = read(keys)
        newest = self.source.versions
        for key, version in zip(keys, found, strict=True):
            if version is None:  # it failed, or there was none
                continue
            if not oldest[key] <= version <= newest[key]:
                raise Wrong(
                    f"key {key} is {version}, and was {oldest[key]}, later {newest[key]}; {read.__name__}"
                )
            if seen[key] < version <= settled[key]:
                seen[key] = oldest[key] = version
        self.reads += len(found)

    def calls(self, keys: list[int]) -> list[Any]:
        try:
            return list(map(self.load, keys))
        except Failed:
            return [None] * len(keys)

    def acalls(self, keys: list[int]) -> list[Any]:
        async def call_each() -> list[Any]:
            try:
                return [await self.aload(key) for key in keys]
            except Failed:
                return [None] * len(keys)

        return self.runner.run(call_each())

    def acalls_together(self, keys: list[int]) -> list[Any]:
        async def call_all() -> list[Any]:
            return [
                None if isinstance(answer, Failed) else answer
                for answer in await asyncio.gather(*map(self.aload, keys), return_exceptions=True)
            ]

        # Which of them sees what comes in between is not told: each key once.
        return self.runner.run(call_all())

    def gets(self, keys: list[int]) -> list[Any]:
        return [self.cache.get(self.load.cache_key(key)) for key in keys]

    def gets_many(self, keys: list[int]) -> list[Any]:
        found = self.cache.get_many(map(self.load.cache_key, keys))
        return [found.get(self.load.cache_key(key)) for key in keys]

    def agets_many(self, keys: list[int]) -> list[Any]:
        found = self.runner.run(self.cache.aget_many(map(self.load.cache_key, keys)))
        return [found.get(self.load.cache_key(key)) for key in keys]

    # -- A life

    def work(self, steps: int) -> None:
        rng, seen = self._rng, [0] * KEYS
        forms = [self.calls, self.calls, self.acalls, self.acalls, self.gets, self.gets_many, self.agets_many]
        for _ in range(steps):
            if rng.random() < 0.1:
                self.write(rng.choice(self.own), rng.choice(self._acts))
                continue
            keys = rng.choices(range(KEYS), k=rng.choice(BURSTS))
            if rng.random() < 0.1:
                self.read(list(set(keys)), self.acalls_together, seen)
            else:
                self.read(keys, rng.choice(forms), seen)

    def read_beside(self, ended: threading.Event, wrong: list[BaseException]) -> None:
        rng, seen = random.Random(self._rng.random()), [0] * KEYS
        try:
            while not ended.wait(rng.choice((0, 1e-4, 2e-3))):
                self.read(rng.choices(range(KEYS), k=rng.choice(BURSTS)), self.calls, seen)
        except BaseException as error:
            wrong.append(error)

    def pay(self) -> None:
        last = time.monotonic() + PATIENCE
        while self.cache._debts:
            if time.monotonic() > last:
                raise Wrong(f"still owed: {self.cache._debts.names}, {self.cache._debts.tags}")
            time.sleep(0.01)
        self.tell_settled()

    def agree(self) -> None:
        """That nothing is lost: everybody reads what is true, in the end."""
        last = time.monotonic() + PATIENCE
        for key in range(KEYS):
            while (found := self.calls([key])) != [self.source.versions[key]]:
                if time.monotonic() > last:
                    raise Wrong(f"key {key} stays {found[0]}, and is {self.source.versions[key]}")
                time.sleep(0.01)


def main(url: str, namespace: str, path: str, *numbers: str) -> None:
    number, total, seed, steps = map(int, numbers)
    own = range(number, KEYS, total)
    actor = Actor(Source(Path(path)), url, namespace, own, seed)
    for key in own:  # whoever was here before may have been killed in the middle of a write
        actor.write(key, lambda key, _: actor.load.cache_invalidate(key))
    print("ready", flush=True)
    ended, wrong = threading.Event(), list[BaseException]()
    beside = threading.Thread(target=actor.read_beside, args=(ended, wrong), daemon=True)
    beside.start()
    try:
        actor.work(steps)
    finally:
        ended.set()
        beside.join()
    if wrong:
        raise wrong[0]
    actor.pay()
    print("done", flush=True)
    sys.stdin.read()
    actor.agree()
    print(json.dumps({"reads": actor.reads, "writes": actor.writes, "loads": actor.loads}), flush=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.setswitchinterval(1e-4)
    main(*sys.argv[1:])
