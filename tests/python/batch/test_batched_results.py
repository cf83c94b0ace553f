"""What a function may be that is batched, and what it may return."""

import asyncio
import functools
import itertools
from array import array
from collections import ChainMap, Counter, deque
from collections.abc import AsyncIterator, Callable
from types import MappingProxyType
from typing import Any

import pytest

from mcp_performance import BatchError, batched

HOUR = 3600.0


class Calls(list):
    """Doubles every item, and keeps what it was called with."""

    async def __call__(self, items: list[int]) -> list[int]:
        self.append(list(items))
        return [2 * item for item in items]


async def one_by_one(items: list[int]) -> AsyncIterator[int]:
    for item in items:
        yield 2 * item


RESULTS: dict[str, Callable[[list[int]], Any]] = {
    "a list": lambda items: [2 * item for item in items],
    "a tuple": lambda items: tuple(2 * item for item in items),
    "a generator": lambda items: (2 * item for item in items),
    "a map": lambda items: map((2).__mul__, items),
    "an asynchronous generator": one_by_one,
    "a dict": lambda items: {item: 2 * item for item in reversed(items)},
    "a dict of more": lambda items: {item: 2 * item for item in range(100)},
    "a ChainMap": lambda items: ChainMap({}, {item: 2 * item for item in items}),
    "a mapping proxy": lambda items: MappingProxyType({item: 2 * item for item in items}),
    "values of a dict": lambda items: {-item: 2 * item for item in items}.values(),
    "a deque": lambda items: deque(2 * item for item in items),
    "an array": lambda items: array("q", [2 * item for item in items]),
}


@pytest.mark.parametrize("make", RESULTS.values(), ids=list(RESULTS))
async def test_results_may_come_as(make: Callable[[list[int]], Any]) -> None:
    @batched(max_wait=0)
    async def load(items: list[int]) -> Any:
        return make(items)

    assert await asyncio.gather(*map(load, [3, 1, 2])) == [6, 2, 4]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("abc", "a str"),
        (b"abc", "a bytes"),
        (bytearray(b"abc"), "a bytearray"),
        ({1, 2, 3}, "a set"),
        (frozenset([1, 2, 3]), "a frozenset"),
        (None, "None"),
        (3, "3"),
        ([1, 2], "2 results for 3 items"),
        ((1, 2, 3, 4), "4 results for 3 items"),
        (iter([1]), "1 results for 3 items"),
        (itertools.count(), "more than 3 results for 3 items"),
    ],
)
async def test_results_that_fit_no_item_are_an_error_at_every_caller(answer: Any, told: str) -> None:
    @batched(max_wait=0)
    async def load(items: list[int]) -> Any:
        return answer

    errors = await asyncio.gather(*map(load, range(3)), return_exceptions=True)
    assert len(set(map(id, errors))) == 3
    for error in errors:
        assert isinstance(error, BatchError)
        assert told in str(error)
        assert "load returned" in str(error)


async def test_an_item_that_a_mapping_lacks_fails_alone() -> None:
    @batched(max_wait=0)
    async def load(items: list[str]) -> dict[str, str]:
        return {item: item.upper() for item in items if item != "b"}

    a, b, c = await asyncio.gather(*map(load, "abc"), return_exceptions=True)
    assert (a, c) == ("A", "C")
    assert isinstance(b, BatchError)
    assert isinstance(b, KeyError)
    assert str(b).endswith("load returned no result for item 'b'")


async def test_a_mapping_holds_results_by_key() -> None:
    @batched(max_wait=0, key=lambda item: item["id"])
    async def load(items: list[dict[str, int]]) -> dict[int, Any]:
        return {item["id"]: LookupError() if item["id"] == 2 else item["id"] for item in items}

    one, two, three = await asyncio.gather(*(load({"id": n}) for n in [1, 2, 3]), return_exceptions=True)
    assert (one, three) == (1, 3)
    assert isinstance(two, LookupError)


async def test_items_that_cannot_be_keys_of_a_mapping_are_named() -> None:
    @batched(max_wait=0)
    async def load(items: list[Any]) -> dict[Any, Any]:
        return {3: 9}

    unhashable, three = await asyncio.gather(load([1]), load(3), return_exceptions=True)
    assert three == 9
    assert isinstance(unhashable, BatchError)
    assert "item [1]" in str(unhashable)


async def test_a_default_of_a_mapping_is_a_result() -> None:
    @batched(max_wait=0)
    async def load(items: list[str]) -> Counter[str]:
        return Counter("aab")

    assert await asyncio.gather(*map(load, "abc")) == [2, 1, 0]


def not_async(items: list[int]) -> list[int]:
    return items


class NotAsync:
    def __call__(self, items: list[int]) -> list[int]:
        return items

    async def yields(self, items: list[int]) -> AsyncIterator[int]:
        yield 1


@pytest.mark.parametrize(
    "function", [not_async, functools.partial(not_async), NotAsync(), NotAsync().yields, len, abs, list]
)
def test_a_function_that_is_not_async_is_refused(function: Any) -> None:
    with pytest.raises(TypeError, match="expected an `async def` function"):
        batched(function)
    with pytest.raises(TypeError, match="expected an `async def` function"):
        batched(max_size=3)(function)


async def test_functions_that_wrap_an_async_one_are_taken() -> None:
    calls = Calls()

    async def twice(items: list[int], *, factor: int = 1) -> list[int]:
        return [factor * item for item in await calls(items)]

    @functools.wraps(twice)
    def wrapped(items: list[int]) -> Any:
        return twice(items)

    for function in (functools.partial(twice, factor=3), wrapped, calls, calls.__call__):
        load = batched(max_wait=0)(function)
        assert await load(1) in (2, 6)
