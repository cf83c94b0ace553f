"""Schedules of readers, loads and invalidations: nobody sees what was invalidated before they came."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from mcp_performance import Cache, cached

ROUNDS = int(os.environ.get("MCP_TEST_ROUNDS", "1"))


class Versioned:
    """A source of truth with two keys, and a cache before it whose loads move when they are told to."""

    def __init__(self, tags: Any, options: dict[str, Any]) -> None:
        self.version = {1: 0, 2: 0}
        self.gates: list[tuple[int, asyncio.Event]] = []

        @cached(cache=Cache(), tags=tags, **options)
        async def get(x: int) -> int:
            seen = self.version[x]
            gate = asyncio.Event()
            self.gates.append((x, gate))
            await gate.wait()
            if seen % 3 == 2:
                raise LookupError(seen)
            return seen

        self.get: Any = get
        self.readers: list[tuple[int, asyncio.Task[int]]] = []

    def read(self, x: int) -> None:
        self.readers.append((self.version[x], asyncio.ensure_future(self.get(x))))

    def write(self, x: int, how: str) -> None:
        self.version[x] += 1
        if how == "tag":
            self.get.cache.invalidate_tags(f"item:{x}")
        elif how == "common":
            self.version[3 - x] += 1
            self.get.cache.invalidate_tags("all")
        elif how == "key":
            self.get.cache_invalidate(x)
        else:
            self.version[3 - x] += 1
            self.get.cache.clear()

    def check(self, newest: dict[int, int]) -> None:
        """No reader got a version older than the one that stood when it came."""
        for least, task in self.readers:
            if not task.done():
                continue
            error = task.exception()
            seen = error.args[0] if error is not None else task.result()
            assert seen >= least, (seen, least)


STEPS = ["read 1", "read 2", "end first", "end last", "tag 1", "key 1", "common 1", "clear 1"]
MODELS = {
    "templates": (("all", "item:{x}"), {}),
    "callable": (lambda x: ("all", f"item:{x}"), {}),
    "negative": (("all", "item:{x}"), {"negative_ttl": 60}),
}


async def play(model: Versioned, steps: tuple[str, ...]) -> None:
    for step in steps:
        name, _, argument = step.partition(" ")
        if name == "read":
            model.read(int(argument))
        elif name == "end":
            if model.gates:
                model.gates.pop(0 if argument == "first" else -1)[1].set()
        else:
            model.write(int(argument), name)
        for _ in range(4):
            await asyncio.sleep(0)
        model.check(model.version)
    while model.gates or not all(task.done() for _, task in model.readers):
        for _, gate in model.gates:
            gate.set()
        model.gates.clear()
        await asyncio.sleep(0)
    model.check(model.version)
    for x in (1, 2):
        model.read(x)
    for _ in range(4):
        await asyncio.sleep(0)
    for _, gate in model.gates:
        gate.set()
    await asyncio.wait([task for _, task in model.readers])
    model.check(model.version)


@pytest.mark.parametrize("kind", MODELS)
async def test_no_schedule_of_model_lets_a_reader_see_what_was_invalidated(kind: str) -> None:
    tags, options = MODELS[kind]
    rng = random.Random(ROUNDS)
    short = itertools.product(STEPS, repeat=3)
    long = (tuple(rng.choices(STEPS, k=rng.randint(4, 14))) for _ in range(500 * ROUNDS))
    for steps in itertools.chain(short, long):
        try:
            await play(Versioned(tags, options), steps)
        except AssertionError as error:
            raise AssertionError(f"{steps}: {error}") from None


def test_threads_in_a_model_never_see_what_was_invalidated() -> None:
    """What a reader gets is never older than what was announced, after its invalidation, before it came."""
    source, announced = {1: 0, 2: 0}, {1: 0, 2: 0}

    @cached(tags=("all", "item:{x}"))
    def get(x: int) -> int:
        seen = source[x]
        os.sched_yield()
        return seen

    forget: list[Callable[[int], object]] = [
        lambda x: get.cache.invalidate_tags(f"item:{x}"),
        lambda x: get.cache_invalidate(x),
        lambda x: get.cache.pop(x, None),
    ]
    wrong: list[Any] = []

    def read(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(1000 * ROUNDS):
            x = rng.choice((1, 2))
            least = announced[x]
            seen = get(x)
            if seen < least:
                wrong.append((x, seen, least))

    def write(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(500 * ROUNDS):
            x = rng.choice((1, 2))
            source[x] += 1
            rng.choice(forget)(x)
            announced[x] = source[x]

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(3)]
    threads.append(threading.Thread(target=write, args=(99,)))
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
    finally:
        sys.setswitchinterval(interval)
    assert wrong == []
