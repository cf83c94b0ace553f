"""One error for many: each has its own, with the frames of its own call alone."""

import asyncio
import gc
import os
import traceback
import weakref
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import pytest

from mcp_performance import BatchError, BatchProcessor, batched


def frames(error: BaseException) -> int:
    return len(traceback.extract_tb(error.__traceback__))


async def awaited(waiter: Any) -> BaseException:
    try:
        await waiter
    except BaseException as error:
        return error
    raise AssertionError


async def errors_of(load: Any, items: list[Any]) -> list[BaseException]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(awaited(load(item))) for item in items]
    return [task.result() for task in tasks]


@pytest.mark.parametrize("items", [list(range(50)), [1] * 50])
async def test_callers_of_a_call_that_fails_have_errors_of_their_own(items: list[int]) -> None:
    cause = LookupError("why")

    @batched(max_wait=0)
    async def load(items: list[int]) -> list[int]:
        raise OSError(5, "down") from cause

    errors = await errors_of(load, items)
    assert len(set(map(id, errors))) == 50
    assert {(type(error), error.args) for error in errors} == {(OSError, (5, "down"))}
    assert all(error.__cause__ is cause for error in errors)
    assert {frames(error) for error in errors} == {frames(errors[0])}


async def test_results_that_are_the_same_error_are_raised_as_errors_of_their_own() -> None:
    missing = LookupError("missing")

    @batched(max_wait=0)
    async def load(items: list[int]) -> list[Any]:
        return [missing for _ in items]

    errors = await errors_of(load, list(range(20))) + await errors_of(load, [1] * 20)
    assert len(set(map(id, errors[:20]))) == len(set(map(id, errors[20:]))) == 20
    assert all(str(error) == "missing" for error in errors)
    assert max(map(frames, errors)) == min(map(frames, errors))


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
async def test_what_ends_the_program_reaches_one_caller(kind: type[BaseException]) -> None:
    @batched(max_wait=0)
    async def load(items: list[int]) -> list[int]:
        raise kind(3)

    errors = await asyncio.gather(*(awaited_inline(load(item)) for item in [1, 2, 2, 3]))
    assert [type(error) for error in errors].count(kind) == 1
    assert [type(error) for error in errors].count(BatchError) == 3
    assert kind.__name__ in str([error for error in errors if isinstance(error, BatchError)])
    fine = batched(max_wait=0)(same)
    assert await fine(1) == 1


async def same(items: list[int]) -> list[int]:
    return items


async def awaited_inline(waiter: Any) -> BaseException:
    try:
        await waiter
    except BaseException as error:
        return error
    raise AssertionError


async def test_a_call_that_is_cancelled_from_within_cancels_its_callers() -> None:
    @batched(max_wait=0)
    async def load(items: list[int]) -> list[int]:
        raise asyncio.CancelledError("from within")

    errors = [await awaited(load(item)) for item in [1, 2]]
    assert [type(error) for error in errors] == [asyncio.CancelledError] * 2


@pytest.mark.parametrize("kind", [None, "blocking", "cpu"])
async def test_the_same_error_of_many_items_has_the_frames_of_each_alone(kind) -> None:
    error = ValueError("known")

    def fail(item: int) -> int:
        raise error

    async with BatchProcessor(2) as batch:
        result = await batch.map(fail, range(300), kind=kind)
        streamed = [outcome.error async for outcome in batch.stream(fail, range(300), kind=kind)]
    for errors in (list(result.errors.values()), streamed):
        assert len(set(map(id, errors))) == 300
        assert {frames(each) for each in errors} == {1}
        assert all(type(each) is ValueError and str(each) == "known" for each in errors)
    assert error.__traceback__ is None


async def test_an_error_keeps_nothing_of_other_items() -> None:
    class Held:
        pass

    held: list[weakref.ref[Held]] = []

    def fail(item: int) -> int:
        local = Held()
        held.append(weakref.ref(local))
        if item != 1:
            return item
        raise LookupError(item)

    async with BatchProcessor(1) as batch:
        result = await batch.map(fail, range(4))
    gc.collect()
    assert [reference() is not None for reference in held] == [False, True, False, False]
    assert frames(result.errors[1]) == 1


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError])
@pytest.mark.parametrize("engine", ["threads", "blocking", "loop", "executor"])
async def test_what_ends_the_program_is_the_error_of_its_item(kind: type[BaseException], engine) -> None:
    def fail(item: int) -> int:
        if item == 2:
            raise kind(item)
        return item

    async def fail_async(item: int) -> int:
        await asyncio.sleep(0)
        return fail(item)

    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    with ThreadPoolExecutor(1) as executor:
        batch = BatchProcessor(2, executor=executor if engine == "executor" else None)
        result = await batch.map(
            fail_async if engine == "loop" else fail,
            range(5),
            kind="blocking" if engine == "blocking" else None,
            chunk_size=5 if engine == "executor" else None,
        )
        await batch.close()
    assert {index: type(error) for index, error in result.errors.items()} == {2: kind}
    assert result.results == [0, 1, None, 3, 4]
    gc.collect()
    assert told == []


def end_the_process(item: int) -> None:
    os._exit(1)


async def test_items_of_a_broken_executor_have_errors_of_their_own() -> None:
    with ProcessPoolExecutor(1) as executor:
        result = await BatchProcessor(executor=executor).map(end_the_process, range(10), chunk_size=5)
    errors = list(result.errors.values())
    assert len(set(map(id, errors))) == 10
    assert {type(error).__name__ for error in errors} == {"BrokenProcessPool"}


@pytest.mark.parametrize("items", [range(500), iter(range(500))])
async def test_a_progress_function_that_raises_loses_nothing(items: Any) -> None:
    told: list[Any] = []
    calls: list[int] = []

    def progress(done: int, total: int | None) -> None:
        calls.append(done)
        raise LookupError("no display")

    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))
    async with BatchProcessor() as batch:
        result = await batch.map(abs, items, progress=progress)
    assert result.results == list(range(500))
    assert len(calls) == 1
    assert [type(error) for error in told] == [LookupError]


async def progress_async(done: int, total: int | None) -> None:
    """Not awaited by anybody."""


@pytest.mark.parametrize("progress", [3, "yes", progress_async])
async def test_a_progress_that_cannot_be_called_is_refused(progress: Any) -> None:
    with pytest.raises(TypeError, match="progress="):
        await BatchProcessor().map(abs, [1], progress=progress)
