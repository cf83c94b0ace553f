"""A batch gives what ``map`` gives: each result at its own index, each error at its own, and nothing else."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import aclosing
from typing import Any

import pytest

from mcp_performance import BatchProcessor, BatchResult, batched
from oracle_runs import Oracle, some_slices
from oracle_sql import tell_apart

Item = tuple[int, Any]


class Refused(Exception):
    """What the function raises, with the item that it was called with."""


def work(item: Item) -> Any:
    """Some items are refused; the answer says whose it is."""
    number, value = item
    if number % 7 == 3:
        raise Refused(item)
    return number * 3, value


async def awork(item: Item) -> Any:
    for _ in range(item[0] % 3):
        await asyncio.sleep(0)
    return work(item)


def items_of(rng: random.Random, most: int) -> list[Item]:
    count = rng.choice((0, 1, 2, 31, rng.randint(0, most)))
    values = (None, "é", b"\x00", 2**80, math.inf, (1, "a"))
    return [(rng.randrange(10**6), rng.choice(values)) for _ in range(count)]


def expected_of(items: list[Item]) -> tuple[list[Any], dict[int, Item]]:
    """The results, and by index the items that are refused."""
    results: list[Any] = []
    refused: dict[int, Item] = {}
    for index, item in enumerate(items):
        try:
            results.append(work(item))
        except Refused:
            results.append(None)
            refused[index] = item
    return results, refused


def check(result: BatchResult[Any], items: list[Item]) -> None:
    results, refused = expected_of(items)
    assert tell_apart(result.results) == tell_apart(results)
    assert list(result.errors) == list(refused)
    for index, error in result.errors.items():
        assert isinstance(error, Refused)
        assert error.args == (refused[index],)
    assert (result.succeeded, result.failed) == (len(items) - len(refused), len(refused))


# Feeds


def lazily(items: list[Item]) -> Iterator[Item]:
    yield from items


async def slowly(items: list[Item]) -> AsyncIterator[Item]:
    for place, item in enumerate(items):
        if place % 5 == 0:
            await asyncio.sleep(0)
        yield item


class OneByOne:
    """An iterable of no known length."""

    def __init__(self, items: list[Item]) -> None:
        self._items = items

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items)


FEEDS: tuple[Callable[[list[Item]], Any], ...] = (list, tuple, lazily, slowly, iter, OneByOne)


def options_of(rng: random.Random) -> dict[str, Any]:
    kind = rng.choice((None, "cpu", "blocking", "async"))
    return {
        "fn": awork if kind == "async" else work,
        "kind": kind,
        "concurrency": rng.choice((None, 1, 2)),
        "chunk_size": rng.choice((None, 1, 3, 1000)),
    }


@pytest.mark.filterwarnings("ignore::mcp_performance.GilBoundWarning")
async def test_maps_at_once_are_each_whole(oracle: Oracle) -> None:
    async with BatchProcessor(4) as batch:
        for rng in oracle.rounds():
            given = [items_of(rng, 3000) for _ in range(4)]
            with some_slices(rng):
                answers = await asyncio.gather(
                    *(batch.map(items=rng.choice(FEEDS)(items), **options_of(rng)) for items in given)
                )
            for items, answer in zip(given, answers, strict=True):
                check(answer, items)


@pytest.mark.filterwarnings("ignore::mcp_performance.GilBoundWarning")
async def test_a_map_that_is_cancelled_leaves_the_others_whole(oracle: Oracle) -> None:
    async with BatchProcessor(3) as batch:
        for rng in oracle.rounds():
            items = items_of(rng, 2000)
            dropped = asyncio.ensure_future(
                batch.map(items=rng.choice(FEEDS)(items_of(rng, 2000)), **options_of(rng))
            )
            kept = asyncio.ensure_future(batch.map(items=rng.choice(FEEDS)(items), **options_of(rng)))
            for _ in range(rng.randrange(6)):
                await asyncio.sleep(0)
            dropped.cancel()
            check(await kept, items)
            await asyncio.gather(dropped, return_exceptions=True)
            check(await batch.map(items=items, **options_of(rng)), items)


@pytest.mark.filterwarnings("ignore::mcp_performance.GilBoundWarning")
async def test_a_stream_yields_each_outcome_once(oracle: Oracle) -> None:
    async with BatchProcessor(3) as batch:
        for rng in oracle.rounds():
            items = items_of(rng, 600)
            results, refused = expected_of(items)
            ordered = rng.random() < 0.5
            stop_at = rng.choice((None, None, len(items) // 2))
            seen: list[int] = []
            stream = batch.stream(
                items=rng.choice(FEEDS)(items),
                ordered=ordered,
                buffer=rng.choice((None, 1, 17)),
                **options_of(rng),
            )
            async with aclosing(stream) as outcomes:
                async for outcome in outcomes:
                    assert tell_apart(outcome.value) == tell_apart(results[outcome.index])
                    assert (outcome.error is not None) == (outcome.index in refused)
                    assert outcome.error is None or outcome.error.args == (refused[outcome.index],)
                    seen.append(outcome.index)
                    if len(seen) == stop_at:
                        break
                    if outcome.index % 50 == 0:  # a slow consumer
                        await asyncio.sleep(0)
            assert len(set(seen)) == len(seen)
            assert not ordered or seen == list(range(len(seen)))
            assert stop_at is not None or sorted(seen) == list(range(len(items)))


class InputBroke(Exception):
    pass


async def drain(stream: AsyncIterator[Any], seen: list[int]) -> None:
    async for outcome in stream:
        seen.append(outcome.index)


async def test_an_input_that_breaks_raises_its_own_error(oracle: Oracle) -> None:
    def breaking(items: list[Item]) -> Iterator[Item]:
        yield from items
        raise InputBroke

    async def abreaking(items: list[Item]) -> AsyncIterator[Item]:
        for item in items:
            yield item
        raise InputBroke

    async with BatchProcessor(2) as batch:
        for rng in oracle.rounds():
            items = items_of(rng, 300)
            feed = rng.choice((breaking, abreaking))
            with pytest.raises(InputBroke):
                await batch.map(awork, feed(items))
            seen: list[int] = []
            with pytest.raises(InputBroke):
                await drain(batch.stream(awork, feed(items)), seen)
            assert sorted(seen) == list(range(len(items)))


async def test_batches_nest(oracle: Oracle) -> None:
    async with BatchProcessor(2) as outer, BatchProcessor(2) as inner:

        async def group(items: list[Item]) -> BatchResult[Any]:
            return await inner.map(awork, lazily(items), concurrency=3)

        for rng in oracle.rounds():
            groups = [items_of(rng, 60) for _ in range(rng.randint(1, 8))]
            result = await outer.map(group, groups)
            result.raise_errors()
            for items, answer in zip(groups, result.results, strict=True):
                assert answer is not None
                check(answer, items)


@pytest.mark.parametrize("make", [ThreadPoolExecutor, ProcessPoolExecutor])
async def test_any_executor_gives_the_same(oracle: Oracle, make: Callable[[int], Executor]) -> None:
    with make(2) as executor:
        async with BatchProcessor(executor=executor) as batch:
            for rng in oracle.rounds():
                items = items_of(rng, 500)
                chunk_size = rng.choice((None, 1, 40))
                found = await batch.map(work, rng.choice(FEEDS)(items), chunk_size=chunk_size)
                check(found, items)


# Many callers in one call


async def test_each_caller_of_a_batched_function_gets_its_own(oracle: Oracle) -> None:
    for rng in oracle.rounds():
        calls: list[int] = []
        most = rng.choice((1, 3, 100))
        fails = rng.random() < 0.1

        async def answers(
            items: list[Item], rng: random.Random = rng, fails: bool = fails, calls: list[int] = calls
        ) -> list[Any]:
            calls.append(len(items))
            await asyncio.sleep(rng.choice((0, 0, 0.001)))
            if fails and len(calls) % 2:
                raise Refused("all of them")
            return [Refused(item) if item[0] % 7 == 3 else (item[0] * 3, item[1]) for item in items]

        function = batched(
            max_size=most, max_wait=rng.choice((0, 0.001)), max_concurrency=rng.choice((None, 1, 3))
        )(answers)
        items = [(rng.randrange(200), rng.choice((None, "a", 2.5))) for _ in range(rng.choice((1, 250)))]
        with some_slices(rng):
            asked = []
            for item in items:
                asked.append(function(item))
                if rng.random() < 0.1:
                    await asyncio.sleep(0)
                if rng.random() < 0.05:
                    rng.choice(asked).cancel()
            outcomes = await asyncio.gather(*asked, return_exceptions=True)
        assert max(calls, default=0) <= most
        for item, outcome in zip(items, outcomes, strict=True):
            if isinstance(outcome, asyncio.CancelledError):
                continue
            if isinstance(outcome, Refused):
                assert outcome.args in ((item,), ("all of them",))
                assert fails or item[0] % 7 == 3
            else:
                assert item[0] % 7 != 3
                assert outcome == (item[0] * 3, item[1])
