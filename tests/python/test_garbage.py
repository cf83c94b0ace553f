"""A cycle that leads through a native object is garbage like any other: nothing that users can build out of
their functions and values, and objects of this package, lives for ever."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
import weakref
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

import mcp_performance as m


class Mark:
    """What each scene makes a part of its cycle."""

    def __init__(self) -> None:
        self.held: list[Any] = []


def cache_of_its_own_values(mark: Mark) -> None:
    cache = m.Cache[Any, Any](8)
    cache["value"], cache[mark] = mark, "key"
    mark.held.append(cache)


def hooks_of_a_cache(mark: Mark) -> None:
    cache = m.Cache[Any, Any](
        8, weigher=lambda *_: len([mark]), on_evict=lambda *_: mark, clock=lambda: float(len([mark]))
    )
    cache[1] = 1
    mark.held.append(cache)


def cached_function(mark: Mark) -> None:
    @m.cached(
        ttl=lambda _: len([mark]),
        condition=lambda _: bool([mark]),
        copy=lambda result: result or mark,
        tags=lambda *_: [str(mark)],
        vary=(lambda: [mark] and 1,),
    )
    def function(x: int) -> Mark:
        return mark

    function(1)
    mark.held.append(function)


def failure_that_is_remembered(mark: Mark) -> None:
    @m.cached(negative_ttl=60)
    def function(x: int) -> None:
        raise ValueError(mark)

    with contextlib.suppress(ValueError):
        function(1)
    mark.held.append(function)


def cached_method(mark: Mark) -> None:
    class Owner:
        @m.cached_method
        def method(self) -> Any:
            return self, mark

    owner = Owner()
    owner.method()
    mark.held.append(owner)


def load_that_was_given_up(mark: Mark) -> None:
    @m.cached
    async def function(x: int) -> Mark:
        await asyncio.get_running_loop().create_future()
        return mark

    async def give_up() -> None:
        task = asyncio.ensure_future(function(1))
        await asyncio.sleep(0)
        task.cancel()

    mark.held.append(function)
    asyncio.run(give_up())


def batched_function(mark: Mark) -> None:
    @m.batched(key=lambda item: (item, len([mark])))
    async def function(items: list[int]) -> list[Mark]:
        return [mark for _ in items]

    async def call() -> None:
        await function(1)

    mark.held.append(function)
    asyncio.run(call())


def items_that_wait_on_a_closed_loop(mark: Mark) -> None:
    @m.batched(max_wait=100)
    async def function(items: list[Mark]) -> list[Mark]:
        return items

    async def call() -> None:
        mark.held.append(function(mark))

    mark.held.append(function)
    asyncio.run(call())


def results_of_a_batch(mark: Mark) -> None:
    processor = m.BatchProcessor(2)
    mark.held.append(processor)
    mark.held.append(asyncio.run(processor.map(lambda _: mark, [1, 2, 3])))


def stream_of_a_batch_on_a_closed_loop(mark: Mark) -> None:
    items: AsyncIterator[Any] = m.BatchProcessor(2).stream(lambda _: mark, [1, 2, 3], ordered=True)

    async def begin() -> None:
        await anext(items)
        await anext(items)
        await anext(items)

    mark.held.append(items)
    _on_a_loop_that_closes(begin())


def pool_with_functions_of_its_own(mark: Mark) -> None:
    def init(connection: Any) -> None:
        connection.create_function("f", 1, lambda value: (mark, value)[1])
        connection.create_collation("c", lambda a, b: (mark, (a > b) - (a < b))[1])

    pool = m.SQLitePool("functions.db", init=init)
    mark.held.append(pool)

    async def use() -> None:
        assert await pool.fetch("SELECT f(a) FROM (SELECT 2 AS a UNION SELECT 1) ORDER BY a COLLATE c")

    asyncio.run(use())


def statement_and_connection(mark: Mark) -> None:
    pool = m.SQLitePool("held.db")
    mark.held += [pool, pool.fetch("SELECT 1"), pool.blocking.fetch]
    vars(pool)["mark"] = mark

    async def borrow() -> None:
        async with pool.acquire() as connection:
            await connection.fetch("SELECT 1")
            mark.held.append(connection)

    asyncio.run(borrow())


def stream_of_rows_on_a_closed_loop(mark: Mark) -> None:
    pool = m.SQLitePool("stream.db")
    vars(pool)["mark"] = mark
    rows = pool.stream("SELECT 1 UNION SELECT 2")
    mark.held.append(rows)

    async def begin() -> None:
        await anext(rows)

    _on_a_loop_that_closes(begin())


def tiers(mark: Mark) -> None:
    tiered = m.TieredCache(m.Cache(8), url="sqlite:///tier.db")

    @m.cached(cache=tiered)
    def function(x: int) -> int:
        return x + len([mark])

    function(1)
    mark.held += [tiered, function, m.RedisTier("redis://127.0.0.1:1")]
    tiered.memory["mark"] = mark


def middleware_and_monitor(mark: Mark) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [], "mark": mark})
        await send({"type": "http.response.body", "body": b""})

    async def nothing(message: Any = None) -> Any:
        return {"type": "http.request"}

    middleware = m.PerformanceMiddleware(app)
    mark.held.append(middleware)
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "scheme": "http", "route": mark}
    asyncio.run(middleware(scope, nothing, nothing))


def load_test(mark: Mark) -> None:
    async def target() -> None:
        raise ValueError(mark)

    tester = m.LoadTester(target)
    mark.held += [tester, asyncio.run(tester.run_load_test(5))]


def what_must_happen_once(mark: Mark) -> None:
    store = m.IdempotencyStore()
    function = m.idempotent(key="{x}", store=store)(lambda x: mark)
    function("a")
    mark.held += [store, function, m.JsonRpcDispatcher({"f": lambda: mark})]


def _on_a_loop_that_closes(coroutine: Any) -> None:
    """What is left on the loop is never cancelled, and asynchronous generators are not closed."""
    loop = asyncio.new_event_loop()
    loop.run_until_complete(coroutine)
    loop.close()


SCENES: list[Callable[[Mark], None]] = [
    *(cache_of_its_own_values, hooks_of_a_cache, cached_function, failure_that_is_remembered, cached_method),
    *(load_that_was_given_up, batched_function, items_that_wait_on_a_closed_loop, results_of_a_batch),
    *(stream_of_a_batch_on_a_closed_loop, pool_with_functions_of_its_own, statement_and_connection),
    *(stream_of_rows_on_a_closed_loop, tiers, middleware_and_monitor, load_test, what_must_happen_once),
]


@pytest.mark.filterwarnings("ignore")  # of coroutines and generators that are given up
@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_a_cycle_through_native_objects_is_collected(
    scene: Callable[[Mark], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def play() -> weakref.ref[Mark]:
        mark = Mark()
        scene(mark)
        return weakref.ref(mark)

    gone = play()
    until = time.monotonic() + 30
    while gone() is not None and time.monotonic() < until:  # threads let go of what they hold in a moment
        gc.collect()
        time.sleep(0.01)
    assert gone() is None
