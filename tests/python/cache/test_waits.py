"""A wait for another's load ends: by its limit, or inline where it would never."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import pytest

from cache_support import settle
from mcp_performance import Cache, LoadTimeout, cached


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
