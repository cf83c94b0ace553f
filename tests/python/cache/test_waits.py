"""A wait for another's load ends: by its limit, or inline where it would never."""

from __future__ import annotations

import asyncio
import gc
import queue
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import pytest

from cache_support import settle
from mcp_performance import Cache, LoadTimeout, cached
from mcp_performance._base._waits import reached_from


def executor_result(pool: ThreadPoolExecutor, call: Any) -> Any:
    return pool.submit(call, 1).result()


def executor_exception(pool: ThreadPoolExecutor, call: Any) -> Any:
    future = pool.submit(call, 1)
    assert future.exception() is None
    return future.result()


def executor_map(pool: ThreadPoolExecutor, call: Any) -> Any:
    return next(iter(pool.map(call, [1])))


def executor_wait(pool: ThreadPoolExecutor, call: Any) -> Any:
    future = pool.submit(call, 1)
    wait([future])
    return future.result()


def through_another(pool: ThreadPoolExecutor, call: Any) -> Any:
    return pool.submit(lambda: pool.submit(call, 1).result()).result()


def joined_thread(pool: ThreadPoolExecutor, call: Any) -> Any:
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(call(1)))
    thread.start()
    thread.join()
    return results[0]


@pytest.mark.parametrize(
    "ask", [executor_result, executor_exception, executor_map, executor_wait, through_another, joined_thread]
)
@pytest.mark.parametrize("form", ["function", "cache"])
def test_a_loader_that_waits_for_a_thread_that_asks_for_its_key_ends(ask: Any, form: str) -> None:
    depth = threading.local()
    calls: list[int] = []
    cache: Cache[int, str] = Cache()
    with ThreadPoolExecutor(4) as pool:

        def load(x: int) -> str:
            calls.append(x)
            return "inner" if len(calls) > 1 else "outer of " + ask(pool, get)

        function = cached(load)

        def get(x: int) -> str:
            return function(x) if form == "function" else cache.get_or_load(x, load)

        assert get(1) == "outer of inner"
        assert get(1) == "outer of inner"
    assert calls == [1, 1]
    assert not hasattr(depth, "x")


def test_a_wait_for_another_thread_ends_at_its_limit() -> None:
    started, go_on = threading.Event(), threading.Event()

    @cached(wait_timeout=0.01)
    def slow(x: int) -> int:
        started.set()
        assert go_on.wait(30)
        return x

    results: list[int] = []
    leader = threading.Thread(target=lambda: results.append(slow(7)))
    leader.start()
    assert started.wait(30)
    with pytest.raises(LoadTimeout, match=r"slow.*waited 0\.01 seconds.*7") as caught:
        slow(7)
    assert isinstance(caught.value, TimeoutError)
    go_on.set()
    leader.join(30)
    assert results == [7]
    assert slow(7) == 7


def test_get_or_load_waits_no_longer_than_its_limit() -> None:
    started, go_on = threading.Event(), threading.Event()
    cache: Cache[str, int] = Cache(name="things")

    def load(key: str) -> int:
        started.set()
        assert go_on.wait(30)
        return 1

    leader = threading.Thread(target=cache.get_or_load, args=("a", load))
    leader.start()
    assert started.wait(30)
    with pytest.raises(LoadTimeout, match=r"things.*'a'"):
        cache.get_or_load("a", load, wait_timeout="10ms")
    go_on.set()
    leader.join(30)
    with pytest.raises(ValueError, match="wait_timeout"):
        cache.get_or_load("a", load, wait_timeout=-1)
    with pytest.raises(TypeError, match="wait_timeout"):
        cached(wait_timeout=[])  # type: ignore[call-overload]


@pytest.mark.parametrize("form", ["function", "cache"])
async def test_a_coroutine_waits_no_longer_than_its_limit(form: str) -> None:
    go_on = asyncio.Event()
    cache: Cache[int, int] = Cache(name="things")

    async def load(x: int) -> int:
        await go_on.wait()
        return x

    load.__qualname__ = "things"
    function = cached(wait_timeout=0.01)(load)

    def get(x: int) -> Any:
        return function(x) if form == "function" else cache.aget_or_load(x, load, wait_timeout=0.01)

    leader = asyncio.create_task(get(1))
    await settle()
    with pytest.raises(LoadTimeout, match=r"things.*1"):
        await get(1)
    assert not leader.done()  # whose own load it is waits for it
    go_on.set()
    assert await leader == 1


# Circles through tasks, loops and executors

Ask = Any


def on_the_loop_of_another_thread(loop: asyncio.AbstractEventLoop, call: Any) -> Any:
    async def ask() -> Any:
        return call()

    return asyncio.run_coroutine_threadsafe(ask(), loop).result()


def behind_tasks_on_that_loop(loop: asyncio.AbstractEventLoop, call: Any) -> Any:
    async def ask() -> Any:
        return call()

    async def outer() -> Any:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(ask())
        return (await asyncio.gather(asyncio.shield(task)))[0]

    return asyncio.run_coroutine_threadsafe(outer(), loop).result()


@pytest.mark.parametrize("ask", [on_the_loop_of_another_thread, behind_tasks_on_that_loop])
@pytest.mark.parametrize("form", ["sync function", "sync cache"])
async def test_a_thread_whose_load_waits_for_a_loop_that_asks_for_it_ends(ask: Any, form: str) -> None:
    calls: list[int] = []
    cache: Cache[int, str] = Cache()
    loop = asyncio.get_running_loop()

    def load(x: int) -> str:
        calls.append(x)
        return "inner" if len(calls) > 1 else "outer of " + ask(loop, lambda: get(x))

    function = cached(load)

    def get(x: int) -> str:
        return function(x) if form == "sync function" else cache.get_or_load(x, load)

    assert await asyncio.to_thread(get, 1) == "outer of inner"
    assert get(1) == "outer of inner"
    assert calls == [1, 1]


async def plainly(task: Any) -> Any:
    return await task


async def by_gather(task: Any) -> Any:
    return (await asyncio.gather(task))[0]


async def by_wait(task: Any) -> Any:
    done, _ = await asyncio.wait([task])
    return done.pop().result()


async def by_wait_for(task: Any) -> Any:
    return await asyncio.wait_for(task, 600)


async def by_shield(task: Any) -> Any:
    return await asyncio.shield(task)


HOW = [plainly, by_gather, by_wait, by_wait_for, by_shield]


@pytest.mark.parametrize("how", HOW)
async def test_a_task_that_waits_for_a_thread_that_waits_for_it_ends(how: Any) -> None:
    """The leader is a thread, which waits for a coroutine of this loop, which asks for the key."""
    cache: Cache[int, str] = Cache()
    calls: list[int] = []
    loop = asyncio.get_running_loop()

    def load(x: int) -> str:
        calls.append(x)
        if len(calls) > 1:
            return "inner"

        async def ask() -> Any:
            return await how(asyncio.ensure_future(cache.aget_or_load(x, load)))

        result: str = asyncio.run_coroutine_threadsafe(ask(), loop).result()
        return "outer of " + result

    assert await asyncio.to_thread(cache.get_or_load, 1, load) == "outer of inner"
    assert calls == [1, 1]


@pytest.mark.parametrize("how", HOW)
async def test_a_task_whose_load_waits_for_an_executor_that_asks_for_it_ends(how: Any) -> None:
    cache: Cache[int, str] = Cache()
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(2) as pool:

        async def load(x: int) -> str:
            inside = loop.run_in_executor(pool, lambda: cache.get_or_load(x, lambda _: "inner"))
            result: str = await how(inside)
            return "outer of " + result

        assert await cache.aget_or_load(1, load) == "outer of inner"


async def test_those_who_merely_wait_long_share_one_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """They look whether it waits for them, again and again, and it does not."""
    monkeypatch.setattr("mcp_performance.cache._async._FIRST_LOOK", 0.001)
    monkeypatch.setattr("mcp_performance.cache._async._NEXT_LOOK", 0.001)
    go_on = asyncio.Event()
    calls = 0

    @cached
    async def load(x: int) -> int:
        nonlocal calls
        calls += 1
        await go_on.wait()
        return x

    waiting = [asyncio.create_task(load(1)) for _ in range(100)]
    for _ in range(20):
        await asyncio.sleep(0.002)
    go_on.set()
    assert await asyncio.gather(*waiting) == [1] * 100
    assert calls == 1


@pytest.mark.parametrize("form", ["event", "queue"])
def test_a_circle_that_nobody_can_see_ends_at_the_limit_that_the_error_names(form: str) -> None:
    errors: list[LoadTimeout] = []

    @cached(wait_timeout=0.02)
    def load(x: str) -> str:
        asked: queue.Queue[None] = queue.Queue()
        done = threading.Event()

        def ask() -> None:
            try:
                load(x)
            except LoadTimeout as error:
                errors.append(error)
            asked.put(None)
            done.set()

        threading.Thread(target=ask).start()
        asked.get() if form == "queue" else done.wait()
        return "value"

    assert load("the key") == "value"
    [error] = errors
    for part in ("load", "'the key'", "0.02 seconds", "wait_timeout"):
        assert part in str(error)


def test_who_looks_for_a_circle_keeps_nothing_of_other_threads_alive() -> None:
    """What a thread has in its frames, a lease perhaps, dies when it returns, without a collection."""

    class Thing:
        pass

    began, go_on = threading.Event(), threading.Event()
    things: list[weakref.ref[Thing]] = []

    def hold() -> None:
        thing = Thing()
        things.append(weakref.ref(thing))
        began.set()
        go_on.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    assert began.wait(30)
    gc.disable()
    try:
        reached_from(thread.ident)
        go_on.set()
        thread.join()
        assert things[0]() is None
    finally:
        gc.enable()
        go_on.set()
