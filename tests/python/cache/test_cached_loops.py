"""Cached coroutine functions across event loops, threads and frameworks."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from cache_support import settle, until
from mcp_performance import Cache, cached


@cached
async def double(x: int) -> int:
    return 2 * x


def in_loop(main: Callable[[], Awaitable[Any]]) -> tuple[threading.Thread, list[Any]]:
    """Run *main* on an event loop in a thread of its own."""
    results: list[Any] = []

    async def run() -> None:
        results.append(await main())

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    return thread, results


async def test_two_loops_wait_for_one_load_each_on_its_own() -> None:
    calls = []
    started = asyncio.Event()
    go_on = asyncio.Event()

    @cached
    async def f(x: int) -> list[int]:
        calls.append(x)
        started.set()
        await go_on.wait()
        return [x]

    mine = asyncio.create_task(f(1))
    await started.wait()
    others = [in_loop(lambda: f(1)) for _ in range(3)]
    await until(lambda: f.cache_info().misses == 4)
    go_on.set()
    value = await mine
    for thread, results in others:
        await asyncio.to_thread(thread.join, 30)
        assert results[0] is value
    assert calls == [1]


async def test_a_load_on_a_loop_that_ended_holds_nobody_up() -> None:
    calls = []

    @cached
    async def f(x: int) -> int:
        calls.append(x)
        if len(calls) == 1:
            await asyncio.Event().wait()
        return x

    loop = asyncio.new_event_loop()

    def begin() -> None:
        task = loop.create_task(f(1))
        loop.run_until_complete(asyncio.sleep(0))
        loop.run_until_complete(asyncio.sleep(0))
        assert calls == [1]
        assert not task.done()

    await asyncio.to_thread(begin)
    assert await asyncio.wait_for(f(1), 30) == 1  # the loop stands still
    loop.close()
    assert await asyncio.wait_for(f(2), 30) == 2
    gc.collect()


async def test_a_waiter_whose_loop_closed_is_dropped_quietly() -> None:
    started = asyncio.Event()
    go_on = asyncio.Event()

    @cached
    async def f(x: int) -> int:
        started.set()
        await go_on.wait()
        return x

    mine = asyncio.create_task(f(1))
    await started.wait()
    other = asyncio.new_event_loop()
    waiting: list[asyncio.Task[int]] = []

    def wait_elsewhere() -> None:
        waiting.append(other.create_task(f(1)))
        for _ in range(3):
            other.run_until_complete(asyncio.sleep(0))
        other.close()

    await asyncio.to_thread(wait_elsewhere)
    go_on.set()
    assert await mine == 1
    gc.collect()


async def test_a_thread_waits_for_a_coroutines_load() -> None:
    cache: Cache[str, int] = Cache()
    go_on = asyncio.Event()

    async def load(key: str) -> int:
        await go_on.wait()
        return 1

    mine = asyncio.create_task(cache.aget_or_load("a", load))
    await settle()
    assert cache.get_or_load("a", lambda key: 2) == 2  # on the loop's own thread: inline
    other = asyncio.create_task(asyncio.to_thread(cache.get_or_load, "a", lambda key: 3))
    await until(lambda: cache.stats().misses == 3)
    go_on.set()
    assert await mine == 1
    assert await other == 1


async def test_a_coroutine_waits_for_a_threads_load() -> None:
    cache: Cache[str, int] = Cache()
    started, go_on = threading.Event(), threading.Event()

    def load(key: str) -> int:
        started.set()
        assert go_on.wait(30)
        return 1

    other = asyncio.create_task(asyncio.to_thread(cache.get_or_load, "a", load))
    await asyncio.to_thread(started.wait, 30)
    mine = asyncio.create_task(cache.aget_or_load("a", lambda key: 2))
    await settle()
    go_on.set()
    assert await mine == 1
    assert await other == 1


async def test_a_loop_of_hits_does_not_starve_the_event_loop() -> None:
    await double(3)
    turns = 0
    stop = False

    def tick() -> None:
        nonlocal turns
        turns += 1
        if not stop:
            loop.call_soon(tick)

    loop = asyncio.get_running_loop()
    loop.call_soon(tick)
    awaits = 0
    while turns < 10 and awaits < 10**7:  # seconds of hits
        await double(3)
        awaits += 1
    stop = True
    assert turns == 10


def test_hits_never_suspend_outside_asyncio() -> None:
    asyncio.run(double(3))

    async def many() -> int:
        total = 0
        for _ in range(200_000):  # many milliseconds
            total += await double(3)
        return total

    coroutine = many()
    with pytest.raises(StopIteration):
        coroutine.send(None)


def test_a_miss_works_without_asyncio() -> None:
    @cached
    async def f(x: int) -> int:
        if x < 0:
            raise LookupError
        return x

    with pytest.raises(StopIteration) as stop:
        f(5).send(None)
    assert stop.value.value == 5
    assert f.cache_contains(5)
    with pytest.raises(LookupError):
        f(-1).send(None)
