"""Many awaiting callers, one call with their items."""

import asyncio
import contextvars
import gc
import math
import sys
import threading
import weakref
from typing import Any

import pytest

from mcp_performance import BatchError, ConfigurationError, batched

HOUR = 3600.0


class Calls(list):
    """Doubles every item, and keeps what it was called with."""

    async def __call__(self, items: list[int]) -> list[int]:
        self.append(list(items))
        return [2 * item for item in items]


async def test_callers_that_wait_together_are_one_call() -> None:
    calls = Calls()
    double = batched(calls)
    assert await asyncio.gather(*(double(item) for item in range(10))) == [2 * item for item in range(10)]
    assert calls == [list(range(10))]


async def test_a_full_batch_does_not_wait() -> None:
    calls = Calls()
    double = batched(max_size=3, max_wait=HOUR)(calls)
    assert await asyncio.gather(*(double(item) for item in range(6))) == [0, 2, 4, 6, 8, 10]
    assert calls == [[0, 1, 2], [3, 4, 5]]


async def test_what_is_left_goes_when_its_time_is_up() -> None:
    calls = Calls()
    double = batched(max_size=3, max_wait=0)(calls)
    assert await asyncio.gather(*(double(item) for item in range(4))) == [0, 2, 4, 6]
    assert calls == [[0, 1, 2], [3]]
    assert await double(9) == 18


async def test_equal_items_are_one_item_and_every_caller_gets_its_result() -> None:
    calls = Calls()
    double = batched(max_wait=0)(calls)
    assert await asyncio.gather(double(1), double(2), double(1)) == [2, 4, 2]
    assert calls == [[1, 2]]
    assert await double(1) == 2  # asked again later: another call
    assert calls == [[1, 2], [1]]


async def test_a_key_says_what_is_equal() -> None:
    seen: list[list[dict[str, int]]] = []

    @batched(max_wait=0, key=lambda item: item["id"])
    async def load(items: list[dict[str, int]]) -> list[int]:
        seen.append(items)
        return [item["id"] for item in items]

    assert await asyncio.gather(load({"id": 1}), load({"id": 2}), load({"id": 1})) == [1, 2, 1]
    assert seen == [[{"id": 1}, {"id": 2}]]


async def test_items_that_cannot_be_hashed_are_all_different() -> None:
    calls = Calls()
    double = batched(max_wait=0)(calls)
    assert await asyncio.gather(double([1]), double([1])) == [[1, 1], [1, 1]]
    assert calls == [[[1], [1]]]


async def test_an_exception_among_the_results_is_raised_at_its_callers_alone() -> None:
    @batched(max_wait=0)
    async def load(items: list[int]) -> list[int | BaseException]:
        return [LookupError(item) if item == 1 else item for item in items]

    results = await asyncio.gather(*map(load, [0, 1, 2, 1]), return_exceptions=True)
    assert [results[0], results[2]] == [0, 2]
    assert isinstance(results[1], LookupError)
    assert isinstance(results[3], LookupError)


async def test_what_the_function_raises_is_raised_at_every_caller() -> None:
    @batched(max_wait=0)
    async def load(items: list[int]) -> list[int]:
        raise OSError("down")

    results = await asyncio.gather(load(1), load(2), return_exceptions=True)
    assert [str(result) for result in results] == ["down", "down"]


@pytest.mark.parametrize("returned", [[], [1], [1, 2, 3]])
async def test_a_wrong_number_of_results_is_an_error_at_every_caller(returned: list[int]) -> None:
    @batched(max_wait=0)
    async def load(items: list[int]) -> list[int]:
        return returned

    results = await asyncio.gather(load(1), load(2), return_exceptions=True)
    assert all(isinstance(result, BatchError) for result in results)
    assert f"{len(returned)} results for 2 items" in str(results[0])


async def test_results_that_are_no_collection_are_an_error_at_every_caller() -> None:
    @batched(max_wait=0)
    async def load(items: list[int]) -> list[int]:
        return None  # type: ignore[return-value]

    with pytest.raises(TypeError):
        await load(1)


async def test_a_cancelled_caller_leaves_the_others_alone() -> None:
    calls = Calls()
    double = batched(max_wait=0)(calls)
    first, second, third = double(1), double(1), double(2)
    first.cancel()
    third.cancel()
    assert await second == 2
    assert calls == [[1]]  # nobody waited for the 2 any more


async def test_a_caller_that_is_cancelled_during_the_call_is_skipped() -> None:
    started, go = asyncio.Event(), asyncio.Event()

    @batched(max_wait=0)
    async def load(items: list[int]) -> list[int]:
        started.set()
        await go.wait()
        return items

    first, second = load(1), load(2)
    await started.wait()
    first.cancel()
    go.set()
    assert await second == 2
    assert first.cancelled()


async def test_at_the_limit_of_calls_the_tasks_take_turns() -> None:
    seen: list[list[str]] = []
    go = asyncio.Event()

    @batched(max_size=2, max_wait=0, max_concurrency=1)
    async def load(items: list[str]) -> list[str]:
        seen.append(items)
        await go.wait()
        return items

    async def ask(name: str, count: int) -> None:
        await asyncio.gather(*(load(f"{name}{number}") for number in range(count)))

    async with asyncio.TaskGroup() as group:
        group.create_task(ask("a", 8))
        await asyncio.sleep(0)
        group.create_task(ask("b", 1))
        await asyncio.sleep(0)
        go.set()
    assert seen[0] == ["a0", "a1"]
    assert "b0" in seen[1] + seen[2]
    assert sorted(item for items in seen for item in items) == sorted(
        [f"a{number}" for number in range(8)] + ["b0"]
    )


async def test_calls_never_exceed_their_limit() -> None:
    running = most = 0

    @batched(max_size=1, max_wait=0, max_concurrency=3)
    async def load(items: list[int]) -> list[int]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return items

    assert await asyncio.gather(*map(load, range(20))) == list(range(20))
    assert most == 3


variable = contextvars.ContextVar("variable", default="unset")


async def test_no_caller_lends_its_context_to_the_call() -> None:
    seen: list[str] = []

    @batched(max_wait=0)
    async def load(items: list[int]) -> list[int]:
        seen.append(variable.get())
        return items

    variable.set("a caller's")
    await load(1)
    assert seen == ["unset"]


async def test_each_instance_batches_on_its_own() -> None:
    class Loader:
        def __init__(self, factor: int) -> None:
            self.factor = factor
            self.calls: list[list[int]] = []

        @batched(max_wait=0)
        async def load(self, items: list[int]) -> list[int]:
            self.calls.append(items)
            return [self.factor * item for item in items]

    two, three = Loader(2), Loader(3)
    assert await asyncio.gather(two.load(1), three.load(1), two.load(2)) == [2, 3, 4]
    assert (two.calls, three.calls) == ([[1, 2]], [[1]])
    reference = weakref.ref(two)
    del two
    gc.collect()
    assert reference() is None


class OfAClass:
    @classmethod
    @batched
    async def load(cls, items: list[int]) -> list[int]:
        return items


class WithoutDict:
    __slots__ = ()

    @batched
    async def load(self, items: list[int]) -> list[int]:
        return items


@pytest.mark.parametrize(
    ("made", "expected"),
    [(OfAClass, r"load is batched by instance and cannot be a class method")] * (sys.version_info < (3, 13))
    + [(WithoutDict, r"WithoutDict has no __dict__ to hold the queue of WithoutDict\.load")],
)
def test_a_method_that_has_no_instance_to_hold_its_queue_is_refused(made: Any, expected: str) -> None:
    with pytest.raises(TypeError, match=expected):
        _ = made().load


def test_each_loop_has_a_queue_of_its_own() -> None:
    double = batched(max_wait=0)(Calls())

    async def ask() -> list[int]:
        return list(await asyncio.gather(double(1), double(2)))

    loops = []
    for _ in range(3):
        loop = asyncio.new_event_loop()
        assert loop.run_until_complete(ask()) == [2, 4]
        loop.close()
        loops.append(weakref.ref(loop))
        del loop
    gc.collect()
    assert [reference() for reference in loops] == [None] * 3


def test_the_time_of_one_loop_is_up_while_another_loop_starts_its_call() -> None:
    """Two loops on two threads: neither waits for, or loses, what the other one is about to start."""
    double = batched(max_wait=0)(Calls())
    answered = threading.Event()

    async def slow_to_start() -> int:
        loop = asyncio.get_running_loop()

        def make_task(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
            other.start()  # in the middle of what the timer does
            assert answered.wait(60)
            loop.set_task_factory(None)
            return asyncio.Task(coroutine, loop=loop, **options)

        loop.set_task_factory(make_task)
        return await double(1)

    async def ask() -> None:
        assert await asyncio.wait_for(double(2), 50) == 4
        answered.set()

    other = threading.Thread(target=lambda: asyncio.run(ask()))
    assert asyncio.run(slow_to_start()) == 2
    other.join()


def test_a_loop_that_ends_with_items_waiting_leaves_the_next_one_usable() -> None:
    double = batched(max_wait=HOUR)(Calls())

    async def leave() -> None:
        double(1)

    asyncio.run(leave())
    full = batched(max_size=1)(Calls())

    async def ask() -> int:
        return await full(4)

    assert asyncio.run(ask()) == 8


def test_it_needs_a_running_loop() -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        batched(Calls())(1)


async def test_it_keeps_the_name_and_the_function() -> None:
    @batched
    async def load(items: list[int]) -> list[int]:
        """Loads."""
        return items

    assert (load.__name__, load.__doc__) == ("load", "Loads.")
    assert await load.__wrapped__([1]) == [1]


@pytest.mark.parametrize(
    "options", [{"max_size": 0}, {"max_wait": -1}, {"max_wait": math.nan}, {"max_concurrency": 0}]
)
def test_a_bad_option_is_named_with_its_value(options) -> None:
    ((name, value),) = options.items()
    with pytest.raises(ConfigurationError, match=f"{name}={value}"):
        batched(**options)


def test_a_wrong_type_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="max_size=True"):
        batched(max_size=True)
    with pytest.raises(TypeError, match="function=3"):
        batched(3)  # type: ignore[call-overload]
