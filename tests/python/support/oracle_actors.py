"""A source of versions, and actors on threads and event loops that change it and read it through a cache.

Each key has one actor that changes it, so that its versions come one after the other; all read all keys.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from oracle_history import INITIAL, History, now

ABSENT = object()
Act = Callable[[str, int], Any]
Read = Callable[[str], Any]


class Source:
    """What loaders read: the newest version of each key."""

    def __init__(self, keys: int) -> None:
        self.keys = [f"key {i}" for i in range(keys)]
        self.values = dict.fromkeys(self.keys, INITIAL)
        self.history = History()
        self.loads = 0

    def load(self, key: str) -> int:
        """A loader that other threads overtake."""
        self.loads += 1
        value = self.values[key]
        time.sleep(0 if value % 2 else 1e-5)
        return value

    async def aload(self, key: str) -> int:
        """A loader that other tasks overtake."""
        self.loads += 1
        value = self.values[key]
        for _ in range(value % 4):
            await asyncio.sleep(0)
        return value


class Actor:
    """One thread's or task's share: it changes its own keys and reads any."""

    def __init__(self, source: Source, number: int, actors: int, rng: random.Random) -> None:
        self.source = source
        self.rng = random.Random(rng.random())
        self.own = source.keys[number::actors]

    def _next(self) -> tuple[str, int]:
        key = self.rng.choice(self.own)
        return key, self.source.values[key] + 1

    def _wants_to_write(self) -> bool:
        return bool(self.own) and self.rng.random() < 0.2

    def run(self, steps: int, writes: list[Act], reads: list[Read]) -> None:
        """On a thread."""
        source = self.source
        for _ in range(steps):
            if self._wants_to_write():
                key, version = self._next()
                act = self.rng.choice(writes)
                with source.history.writing(key, version, act):
                    source.values[key] = version
                    act(key, version)
            else:
                key = self.rng.choice(source.keys)
                read = self.rng.choice(reads)
                began = now()
                value = read(key)
                if value is not ABSENT:
                    source.history.read(key, began, value, read)

    async def arun(self, steps: int, writes: list[Act], reads: list[Read]) -> None:
        """In a task. Some reads are cancelled."""
        source = self.source
        for _ in range(steps):
            if self._wants_to_write():
                key, version = self._next()
                act = self.rng.choice(writes)
                with source.history.writing(key, version, act):
                    source.values[key] = version
                    await _settled(act(key, version))
                continue
            key = self.rng.choice(source.keys)
            read = self.rng.choice(reads)
            began = now()
            reading = asyncio.ensure_future(_settled(read(key)))
            if self.rng.random() < 0.1:
                await asyncio.sleep(0)
                reading.cancel()
            try:
                value = await reading
            except asyncio.CancelledError:
                continue
            if value is not ABSENT:
                source.history.read(key, began, value, read)


async def _settled(made: Any) -> Any:
    return await made if isinstance(made, Awaitable) else made


def run_threads(*works: Callable[[], object]) -> None:
    """All at once; the first error is raised when all have ended."""
    barrier = threading.Barrier(len(works))

    def work(act: Callable[[], object]) -> None:
        barrier.wait()
        act()

    with ThreadPoolExecutor(len(works)) as threads:
        for future in [threads.submit(work, act) for act in works]:
            future.result()


def run_actors(
    source: Source,
    rng: random.Random,
    *,
    steps: int,
    threads: int = 0,
    loops: int = 0,
    writes: list[Act] | None = None,
    reads: list[Read] | None = None,
    awrites: list[Act] | None = None,
    areads: list[Read] | None = None,
    disturb: Callable[[], object] | None = None,
) -> None:
    """*threads* actors, and *loops* event loops with four each; *disturb* is called now and then."""
    total = threads + 4 * loops
    actors = [Actor(source, number, total, rng) for number in range(total)]
    works: list[Callable[[], object]] = [
        lambda actor=actor: actor.run(steps, writes or [], reads or [])  # type: ignore[misc]
        for actor in actors[:threads]
    ]

    async def together(several: list[Actor]) -> None:
        await asyncio.gather(*(actor.arun(steps, awrites or [], areads or []) for actor in several))

    for number in range(loops):
        several = actors[threads + 4 * number :][:4]
        works.append(lambda several=several: asyncio.run(together(several)))  # type: ignore[misc]
    if disturb is not None:
        works.append(lambda: [(disturb(), time.sleep(1e-4)) for _ in range(20)])
    run_threads(*works)
