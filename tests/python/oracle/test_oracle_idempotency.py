"""What a key stands for is done once, whoever asks how often, and all get the answer of that one time."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mcp_performance import IdempotencyStore, InProgress, KeyReused, RedisTier, idempotent
from oracle_actors import run_threads
from oracle_runs import Oracle
from redis_server import RedisServer, redis_server

LEASE = 600.0


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


class Failed(Exception):
    """An execution that did nothing."""


class Deeds:
    """What was done, by key, and what each caller was told."""

    def __init__(self, rng: random.Random) -> None:
        self._lock = threading.Lock()
        self._rng = rng
        self._number = 0
        self.under_way: set[str] = set()
        self.done: dict[str, list[int]] = defaultdict(list)
        self.told: dict[str, list[int]] = defaultdict(list)

    def begin(self, key: str) -> tuple[int, bool, float]:
        with self._lock:
            assert key not in self.under_way, f"{key} is executed twice at once"
            assert not self.done[key], f"{key} is executed again"
            self.under_way.add(key)
            self._number += 1
            return self._number, self._rng.random() < 0.2, self._rng.choice((0, 0.0002))

    def end(self, key: str, number: int | None) -> None:
        with self._lock:
            self.under_way.discard(key)
            if number is not None:
                self.done[key].append(number)

    def execute(self, key: str, amount: int) -> list[Any]:
        number, fails, seconds = self.begin(key)
        time.sleep(seconds)
        self.end(key, None if fails else number)
        if fails:
            raise Failed
        return [key, amount, number]

    async def aexecute(self, key: str, amount: int) -> list[Any]:
        number, fails, seconds = self.begin(key)
        finished = None
        try:
            for _ in range(number % 5):
                await asyncio.sleep(seconds)
            finished = None if fails else number
        finally:
            self.end(key, finished)
        if fails:
            raise Failed
        return [key, amount, number]

    def note(self, key: str, answer: list[Any]) -> None:
        assert answer[:2] == [key, amount_of(key)]
        with self._lock:
            self.told[key].append(answer[2])

    def check(self) -> None:
        assert not self.under_way
        assert any(self.told.values())
        for key, told in self.told.items():
            assert len(self.done[key]) == 1
            assert set(told) <= set(self.done[key])


def amount_of(key: str) -> int:
    return len(key) * 7


def callers(
    deeds: Deeds, store: IdempotencyStore, keys: list[str], seed: float
) -> list[Callable[[], object]]:
    """One thread, and one loop with tasks, that ask for the keys over and over."""
    options: Any = {"key": "{key}", "store": store, "scope": "deed"}
    execute = idempotent(**options)(deeds.execute)
    aexecute = idempotent(**options)(deeds.aexecute)

    def on_a_thread() -> None:
        rng = random.Random(seed)
        for key in rng.choices(keys, k=60):
            try:
                deeds.note(key, execute(key, amount_of(key)))
                if rng.random() < 0.1:  # beside others, who are not to be disturbed by it
                    with pytest.raises(KeyReused):
                        execute(key, amount_of(key) + 1)
            except (Failed, InProgress):
                continue

    async def ask(rng: random.Random) -> None:
        for key in rng.choices(keys, k=15):
            task = asyncio.ensure_future(aexecute(key, amount_of(key)))
            if rng.random() < 0.2:
                await asyncio.sleep(rng.choice((0, 0.0003)))
                task.cancel()
            try:
                deeds.note(key, await task)
            except (Failed, InProgress, asyncio.CancelledError):
                continue

    async def together() -> None:
        await asyncio.gather(*(ask(random.Random(seed + number)) for number in range(5)))

    return [on_a_thread, lambda: asyncio.run(together())]


def when_kept(again: Any, key: str) -> Any:
    """The answer, once it is kept: a store that was busy when it was told is offered it again."""
    while True:
        try:
            return again(key, amount_of(key))
        except InProgress:
            continue


@pytest.mark.parametrize("storage", ["memory", "file", "redis"])
def test_each_key_is_executed_once(tmp_path: Path, server: RedisServer, oracle: Oracle, storage: str) -> None:
    for number, rng in enumerate(oracle.rounds()):
        deeds = Deeds(random.Random(rng.random()))
        keys = [f"order {'x' * i}" for i in range(rng.choice((2, 15)))]
        tiers: list[RedisTier] = []

        def place(number: int = number, tiers: list[RedisTier] = tiers) -> Any:
            if storage == "redis":
                tiers.append(RedisTier(server.url, timeout=30, namespace=f"round {number}"))
                return tiers[-1]
            return tmp_path / f"{number}.db" if storage == "file" else None

        stores = [IdempotencyStore(place(), lease=LEASE) for _ in range(1 if storage == "memory" else 2)]
        works = [work for store in stores for work in callers(deeds, store, keys, rng.random())]
        run_threads(*works)
        deeds.check()
        again = idempotent(key="{key}", store=stores[-1], scope="deed")(deeds.execute)
        for key in deeds.told:
            deeds.note(key, when_kept(again, key))
            with pytest.raises(KeyReused):
                again(key, amount_of(key) + 1)
        deeds.check()
        for closing in [*stores, *tiers]:
            closing.close()


async def test_a_wrong_payload_that_is_still_asking_disturbs_nobody(tmp_path: Path) -> None:
    store = IdempotencyStore(tmp_path / "a.db")

    @idempotent(key="{key}", store=store)
    async def pay(key: str, amount: int) -> list[Any]:
        return [key, amount]

    assert await pay("order", 5) == ["order", 5]
    holder = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")  # whoever asks now waits
    wrong = asyncio.ensure_future(pay("order", 6))
    await asyncio.sleep(0)
    right = asyncio.ensure_future(pay("order", 5))
    await asyncio.sleep(0)
    holder.execute("COMMIT")
    holder.close()
    assert await right == ["order", 5]
    with pytest.raises(KeyReused):
        await wrong
    await store.aclose()
