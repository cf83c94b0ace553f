"""Maps that items wait for: they get threads of their own, however they were called."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from mcp_performance import BatchError, BatchProcessor, batched


def negative(item: int) -> int:
    return -item


async def negative_async(item: int) -> int:
    await asyncio.sleep(0)
    return -item


def lazily(items: list[int]) -> Iterator[int]:
    yield from items


async def slowly(items: list[int]) -> AsyncIterator[int]:
    for item in items:
        yield item
        await asyncio.sleep(0)


Map = Callable[[BatchProcessor, Callable[[int], Any], list[int]], Any]


async def mapped(batch: BatchProcessor, fn: Callable[[int], Any], items: list[int], **options: Any) -> list:
    return (await batch.map(fn, items, **options)).results


async def streamed(batch: BatchProcessor, fn: Callable[[int], Any], items: list[int]) -> list:
    return [outcome.result() async for outcome in batch.stream(fn, items, ordered=True)]


async def fed(batch: BatchProcessor, fn: Callable[[int], Any], items: list[int]) -> list:
    return (await batch.map(fn, lazily(items))).results


async def fed_slowly(batch: BatchProcessor, fn: Callable[[int], Any], items: list[int]) -> list:
    return (await batch.map(fn, slowly(items))).results


MAPS = [
    mapped,
    partial(mapped, kind="blocking"),
    partial(mapped, kind="cpu"),
    partial(mapped, chunk_size=2),
    streamed,
    fed,
    fed_slowly,
]


def on_the_loop(make: Callable[[], Any], loop: asyncio.AbstractEventLoop) -> Any:
    return asyncio.run_coroutine_threadsafe(make(), loop).result()


def on_a_loop_of_its_own(make: Callable[[], Any], loop: asyncio.AbstractEventLoop) -> Any:
    return asyncio.run(make())


@pytest.mark.parametrize("inner", MAPS)
@pytest.mark.parametrize("outer", MAPS)
@pytest.mark.parametrize("wait", [on_the_loop, on_a_loop_of_its_own])
async def test_items_wait_for_maps_of_their_own_processor(outer: Map, inner: Map, wait) -> None:
    loop = asyncio.get_running_loop()
    async with BatchProcessor(max_workers=1) as batch:

        def item(number: int) -> list[int]:
            return wait(lambda: inner(batch, negative, [number, number + 1]), loop)

        assert await outer(batch, item, [1, 5, 9]) == [[-1, -2], [-5, -6], [-9, -10]]


@pytest.mark.parametrize("inner", [mapped, streamed, fed, fed_slowly])
@pytest.mark.parametrize("outer", MAPS)
async def test_items_wait_for_coroutines_of_their_own_processor(outer: Map, inner: Map) -> None:
    loop = asyncio.get_running_loop()
    async with BatchProcessor(max_workers=1) as batch:

        def item(number: int) -> list[int]:
            return on_the_loop(lambda: inner(batch, negative_async, [number, number + 1]), loop)

        assert await outer(batch, item, [1, 5]) == [[-1, -2], [-5, -6]]


@pytest.mark.parametrize("kind", [None, "blocking", "cpu"])
async def test_to_any_depth(kind) -> None:
    loop = asyncio.get_running_loop()
    async with BatchProcessor(max_workers=1) as batch:

        def item(depth: int) -> int:
            if not depth:
                return 0
            inner = asyncio.run_coroutine_threadsafe(batch.map(item, [depth - 1], kind=kind), loop).result()
            return 1 + inner.results[0]

        assert (await batch.map(item, [12, 3], kind=kind)).results == [12, 3]


async def test_through_coroutines_that_map_on_threads() -> None:
    loop = asyncio.get_running_loop()
    async with BatchProcessor(max_workers=1) as batch:

        async def middle(item: int) -> int:
            return (await batch.map(negative, [item])).results[0]

        def outer(item: int) -> int:
            return asyncio.run_coroutine_threadsafe(batch.map(middle, [item]), loop).result().results[0]

        assert (await batch.map(outer, range(5))).results == [0, -1, -2, -3, -4]
        assert (await batch.map(middle, range(5))).results == [0, -1, -2, -3, -4]


async def test_through_another_processor() -> None:
    loop = asyncio.get_running_loop()
    async with BatchProcessor(1) as one, BatchProcessor(1) as other:

        def call(batch: BatchProcessor, fn: Callable[[int], int], item: int) -> int:
            return asyncio.run_coroutine_threadsafe(batch.map(fn, [item]), loop).result().results[0]

        last = partial(call, one, negative)
        middle = partial(call, other, last)
        assert (await one.map(partial(call, other, middle), [7, 8])).results == [-7, -8]


async def test_through_a_batched_function() -> None:
    loop = asyncio.get_running_loop()
    async with BatchProcessor(max_workers=1) as batch:

        @batched(max_size=2, max_wait=0)
        async def load(items: list[int]) -> list[int | None]:
            return (await batch.map(negative, items)).results

        async def ask(item: int) -> int | None:
            return await load(item)

        def outer(item: int) -> int | None:
            return asyncio.run_coroutine_threadsafe(ask(item), loop).result()

        assert (await batch.map(outer, range(6))).results == [0, -1, -2, -3, -4, -5]
        assert (await batch.map(load, range(6))).results == [0, -1, -2, -3, -4, -5]


async def test_through_an_executor_of_threads() -> None:
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1) as executor:
        async with BatchProcessor(executor=executor) as batch:

            def outer(item: int) -> int | None:
                return asyncio.run_coroutine_threadsafe(batch.map(negative, [item]), loop).result().results[0]

            assert (await batch.map(outer, range(3))).results == [0, -1, -2]


async def test_an_item_that_closes_its_processor_is_told_that_it_would_wait_for_itself() -> None:
    loop = asyncio.get_running_loop()
    async with BatchProcessor(max_workers=1) as batch:

        async def close(item: int) -> None:
            await batch.close()

        def close_from_a_thread(item: int) -> None:
            asyncio.run_coroutine_threadsafe(batch.close(), loop).result()

        for fn in (close, close_from_a_thread):
            result = await batch.map(fn, [1])
            assert type(result.errors[0]) is BatchError
            assert "wait for itself" in str(result.errors[0])
        assert (await batch.map(negative, [1])).results == [-1]


async def test_a_batched_function_waits_for_items_of_its_own() -> None:
    @batched(max_wait=0, max_concurrency=1)
    async def depth(items: list[int]) -> list[int]:
        return [1 + await depth(item - 1) if item else 0 for item in items]

    assert await asyncio.gather(*map(depth, [4, 0, 2])) == [4, 0, 2]
