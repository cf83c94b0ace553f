"""What a caller of a batched function awaits: a future, and a coroutine."""

import asyncio
import contextvars
import gc
import inspect
import pickle
import weakref
from collections.abc import Coroutine
from typing import Any

import anyio
import pytest
import uvloop

from mcp_performance import BatchedFuture, BatchProcessor, batched

HOUR = 3600.0
variable = contextvars.ContextVar("variable", default="unset")


class Calls(list):
    """Doubles every item, and keeps what it was called with."""

    async def __call__(self, items: list[int]) -> list[int]:
        self.append(list(items))
        return [2 * item for item in items]


async def test_it_is_a_future_and_a_coroutine_to_asyncio() -> None:
    future = batched(max_wait=0)(Calls())(1)
    assert isinstance(future, BatchedFuture)
    assert asyncio.isfuture(future)
    assert inspect.isawaitable(future)
    assert asyncio.iscoroutine(future)  # or create_task() and TaskGroup would refuse it
    assert isinstance(future, Coroutine)
    assert asyncio.ensure_future(future) is future
    assert future.get_loop() is asyncio.get_running_loop()
    assert not future.done()
    with pytest.raises(asyncio.InvalidStateError):
        future.result()
    with pytest.raises(asyncio.InvalidStateError):
        future.exception()
    assert await future == 2
    assert await future == 2  # more than once
    assert (future.done(), future.cancelled(), future.result(), future.exception()) == (True, False, 2, None)


async def test_wait_wait_for_shield_and_task_groups_take_it() -> None:
    double = batched(max_wait=0)(Calls())
    # asyncio.wait() takes no coroutine, be it a future as well.
    done, pending = await asyncio.wait([asyncio.create_task(double(1)), asyncio.create_task(double(2))])
    assert sorted(future.result() for future in done) == [2, 4]
    assert not pending
    assert await asyncio.wait_for(double(3), 60) == 6
    assert await asyncio.shield(double(4)) == 8
    assert [await future for future in asyncio.as_completed([double(5)])] == [10]

    async def ask(item: int) -> int:
        return await double(item)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(ask(item)) for item in range(3)]
    assert [task.result() for task in tasks] == [0, 2, 4]


TAKERS = [
    asyncio.create_task,
    asyncio.ensure_future,
    asyncio.gather,
    asyncio.shield,
    lambda future: asyncio.wait_for(future, 60),
    lambda future: asyncio.gather(asyncio.create_task(future), asyncio.create_task(future)),
    lambda future: asyncio.get_running_loop().create_task(future, name="ours"),
]


@pytest.mark.parametrize("take", TAKERS)
async def test_whoever_takes_what_an_async_function_returns_takes_it(take: Any) -> None:
    @batched(max_wait=0)
    async def load(items: list[int]) -> list[Any]:
        return [LookupError(item) if item < 0 else 2 * item for item in items]

    assert await take(load(1)) in (2, [2], [2, 2])
    with pytest.raises(LookupError):
        await take(load(-1))
    done = load(3)
    await done
    assert await take(done) in (6, [6], [6, 6])


async def test_a_task_group_takes_it() -> None:
    double = batched(max_wait=0)(Calls())
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(double(item)) for item in range(3)]
    assert [task.result() for task in tasks] == [0, 2, 4]


@pytest.mark.parametrize("started", [False, True])
async def test_a_cancelled_task_of_it_leaves_the_queue(started: bool) -> None:
    calls = Calls()
    double = batched(max_wait=0.01)(calls)
    task = asyncio.create_task(double(1))
    if started:
        await asyncio.sleep(0)
    task.cancel("enough")
    with pytest.raises(asyncio.CancelledError, match="enough"):
        await task
    assert await asyncio.gather(double(2), double(3)) == [4, 6]
    assert calls == [[2, 3]]


async def test_one_of_two_tasks_of_it_is_cancelled_alone() -> None:
    double = batched(max_wait=0.01)(Calls())
    first, second = asyncio.create_task(double(1)), asyncio.create_task(double(1))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == 2
    assert first.cancelled()


async def test_a_coroutine_that_is_closed_or_thrown_into_waits_no_longer() -> None:
    double = batched(max_wait=HOUR)(Calls())
    closed, thrown, awaited = double(1), double(2), double(3)
    closed.close()
    assert closed.cancelled()
    with pytest.raises(LookupError, match="thrown"):
        thrown.throw(LookupError("thrown"))
    assert thrown.cancelled()
    task = asyncio.ensure_future(asyncio.gather(awaited))
    await asyncio.sleep(0)
    awaited.close()  # somebody waits
    assert not awaited.cancelled()
    task.cancel()
    await asyncio.wait([task])


async def test_wait_for_that_runs_out_cancels_the_item() -> None:
    calls = Calls()
    double = batched(max_wait=HOUR)(calls)
    future = double(1)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(future, 0.001)
    assert future.cancelled()
    assert calls == []


async def test_a_cancelled_task_cancels_what_it_waits_for_with_its_message() -> None:
    future = batched(max_wait=HOUR)(Calls())(1)

    async def ask() -> int:
        return await future

    task = asyncio.ensure_future(ask())
    await asyncio.sleep(0)
    task.cancel("enough")
    with pytest.raises(asyncio.CancelledError, match="enough"):
        await task
    with pytest.raises(asyncio.CancelledError, match="enough"):
        future.result()
    assert not future.cancel()


async def test_a_cancelled_gather_cancels_all_of_them() -> None:
    double = batched(max_wait=HOUR)(Calls())
    futures = [double(item) for item in range(3)]
    gathered = asyncio.gather(*futures)
    gathered.cancel("all")
    with pytest.raises(asyncio.CancelledError):
        await gathered
    assert all(future.cancelled() for future in futures)


async def test_a_cancelled_shield_leaves_it_alone() -> None:
    double = batched(max_wait=0)(Calls())
    future = double(1)
    shielded = asyncio.shield(future)
    shielded.cancel()
    assert await future == 2


async def test_many_tasks_wait_for_one_future() -> None:
    future = batched(max_wait=0)(Calls())(1)

    async def ask() -> int:
        return await future

    assert await asyncio.gather(*(ask() for _ in range(5))) == [2] * 5


def test_callbacks_that_were_added_in_an_empty_context_share_none() -> None:
    seen = []

    async def same(items: list[int]) -> list[int]:
        return items

    def change(_: object) -> None:
        seen.append(variable.get())
        variable.set("changed")

    async def main() -> None:
        load = batched(same)
        futures = [load(1), load(2)]
        for future in futures:
            future.add_done_callback(change)
            future.add_done_callback(change)
        await asyncio.gather(*futures)
        await asyncio.sleep(0)
        assert variable.get() == "unset"

    contextvars.Context().run(asyncio.run, main())
    assert seen == ["unset"] * 4


async def test_callbacks_run_soon_in_their_context_and_can_be_removed() -> None:
    seen: list[tuple[str, Any]] = []

    def one(future: BatchedFuture[int]) -> None:
        seen.append((variable.get(), future.result()))

    def other(future: BatchedFuture[int]) -> None:
        raise AssertionError

    variable.set("mine")
    future = batched(max_wait=0)(Calls())(1)
    future.add_done_callback(one)
    future.add_done_callback(other)
    context = contextvars.copy_context()
    context.run(variable.set, "given")
    future.add_done_callback(one, context=context)
    future.add_done_callback(other)
    assert future.remove_done_callback(other) == 2
    variable.set("later")
    await future
    await asyncio.sleep(0)
    assert seen == [("mine", 2), ("given", 2)]
    future.add_done_callback(one)
    assert len(seen) == 2
    await asyncio.sleep(0)
    assert seen[2:] == [("later", 2)]


async def test_a_callback_that_raises_does_not_keep_the_others_from_running() -> None:
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))
    double = batched(max_wait=0)(Calls())
    first, second = double(1), double(2)
    first.add_done_callback(lambda _: 1 / 0)
    assert await second == 4
    assert [type(error) for error in told] == [ZeroDivisionError]


async def test_more_callers_than_one_turn_of_the_loop_wakes_all_get_their_results() -> None:
    double = batched(max_size=5000, max_wait=0)(Calls())
    assert await asyncio.gather(*map(double, range(5000))) == [2 * item for item in range(5000)]


async def test_an_error_that_nobody_looks_at_is_told_to_the_loop() -> None:
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))

    @batched(max_wait=0)
    async def load(items: list[int]) -> list[Any]:
        return [LookupError(item) for item in items]

    looked_at, ignored = load(1), load(2)
    with pytest.raises(LookupError):
        await looked_at
    del looked_at
    gc.collect()
    assert told == []
    del ignored
    gc.collect()
    assert [str(error) for error in told] == ["2"]


async def test_a_stop_iteration_does_not_end_the_caller_quietly() -> None:
    @batched(max_wait=0)
    async def load(items: list[int]) -> list[Any]:
        return [StopIteration(items[0]), 5]

    first, second = load(1), load(2)
    with pytest.raises(RuntimeError, match="StopIteration") as caught:
        await first
    assert isinstance(caught.value.__cause__, StopIteration)
    assert await second == 5


@pytest.mark.parametrize("value", [(1, 2), ValueError, StopIteration])
async def test_results_of_any_type_arrive_as_they_are(value: Any) -> None:
    @batched(max_wait=0)
    async def load(items: list[int]) -> list[Any]:
        return [value for _ in items]

    assert await load(1) is value
    future = load(2)
    await future
    with pytest.raises(StopIteration) as stop:
        next(iter(future))
    assert stop.value.value is value


async def test_a_key_that_raises_reaches_the_caller_and_spoils_nothing() -> None:
    class Bad:
        def __hash__(self) -> int:
            raise OSError("hash")

    double = batched(max_wait=0)(Calls())
    with pytest.raises(OSError, match="hash"):
        double(Bad())  # type: ignore[arg-type]
    assert await double(1) == 2


async def test_a_key_that_queues_items_while_it_is_compared_is_harmless() -> None:
    more: list[BatchedFuture[Any]] = []

    class Nosy:
        def __hash__(self) -> int:
            return 1

        def __eq__(self, other: object) -> bool:
            more.append(load(len(more) + 100))
            return False

    @batched(max_size=3, max_wait=0)
    async def load(items: list[Any]) -> list[Any]:
        return items

    nosy = [Nosy() for _ in range(4)]
    assert await asyncio.gather(*map(load, nosy)) == nosy
    assert await asyncio.gather(*more) == [100 + number for number in range(len(more))]
    assert more


async def test_the_call_that_cannot_start_fails_its_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    double = batched(max_size=2, max_wait=HOUR)(Calls())
    first = double(1)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "create_task", lambda *_, **__: 1 / 0)
        second = double(2)
    for future in (first, second):
        with pytest.raises(ZeroDivisionError):
            await future


def test_items_that_wait_on_a_closed_loop_do_not_keep_it() -> None:
    double = batched(max_wait=HOUR)(Calls())

    async def leave() -> None:
        double(1)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(leave())
    loop.close()
    reference = weakref.ref(loop)
    del loop
    asyncio.run(leave())  # the next loop's queue
    gc.collect()
    assert reference() is None


def test_it_works_on_uvloop() -> None:
    double = batched(max_size=3, max_wait=0.001)(Calls())

    async def ask() -> list[int]:
        return list(await asyncio.gather(*map(double, range(10))))

    loop = uvloop.new_event_loop()
    try:
        assert loop.run_until_complete(ask()) == [2 * item for item in range(10)]
    finally:
        loop.close()


async def test_it_works_under_anyio() -> None:
    double = batched(max_wait=0)(Calls())
    got: list[int] = []

    async def ask(item: int) -> None:
        got.append(await double(item))

    async with anyio.create_task_group() as group:
        for item in range(4):
            group.start_soon(ask, item)
    assert sorted(got) == [0, 2, 4, 6]
    never = batched(max_wait=HOUR)(Calls())(1)
    with anyio.move_on_after(0.001):
        await never
    assert never.cancelled()


async def test_a_batch_maps_it_as_the_coroutine_function_that_it_is() -> None:
    calls = Calls()
    async with BatchProcessor() as batch:
        result = await batch.map(batched(max_size=4)(calls), range(8))
    assert result.results == [2 * item for item in range(8)]
    assert calls == [[0, 1, 2, 3], [4, 5, 6, 7]]


@batched(max_wait=0)
async def by_name(items: list[int]) -> list[int]:
    return items


def test_it_is_pickled_by_name() -> None:
    assert pickle.loads(pickle.dumps(by_name)) is by_name


async def test_nothing_is_left_of_a_future_and_its_item() -> None:
    class Item:
        pass

    @batched(max_wait=0, key=id)
    async def load(items: list[Item]) -> list[int]:
        return [1] * len(items)

    item = Item()
    reference = weakref.ref(item)
    futures = [load(item), load(item), load(item)]
    cancelled = load(Item())
    cancelled.cancel()
    assert await asyncio.gather(*futures) == [1, 1, 1]
    await asyncio.sleep(0)
    del item, futures, cancelled
    gc.collect()
    assert reference() is None


async def test_very_many_callers_of_one_item_are_let_go_without_recursion() -> None:
    double = batched(max_wait=0)(Calls())
    futures = [double(1) for _ in range(200_000)]
    assert await futures[-1] == 2
    del futures
