"""@cached on coroutine functions: answers that pass for coroutines, one load for many tasks and loops."""

from __future__ import annotations

import asyncio
import collections.abc
import contextvars
import copy
import gc
import inspect
import weakref
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from cache_support import Clock, settle
from mcp_performance import Cache, cached, cached_method


@pytest.fixture
def clock() -> Clock:
    return Clock()


@cached
async def double(x: int) -> int:
    return 2 * x


async def hit() -> Any:
    """An awaitable that has its answer."""
    await double(21)
    answer = double(21)
    assert type(answer).__name__ == "CachedAnswer"
    return answer


# ---- an answer passes for a coroutine


async def test_an_answer_goes_wherever_a_coroutine_goes() -> None:
    assert await (await hit()) == 42
    assert await asyncio.create_task(await hit()) == 42
    assert await asyncio.ensure_future(await hit()) == 42
    assert await asyncio.gather(await hit(), double(1), await hit()) == [42, 2, 42]
    assert await asyncio.wait_for(await hit(), 5) == 42
    assert await asyncio.shield(await hit()) == 42
    async with asyncio.TaskGroup() as group:
        task = group.create_task(await hit())
    assert task.result() == 42
    done, pending = await asyncio.wait([asyncio.create_task(await hit())])
    assert (done.pop().result(), pending) == (42, set())
    loop = asyncio.get_running_loop()
    answer = await hit()
    future = await asyncio.to_thread(lambda: asyncio.run_coroutine_threadsafe(answer, loop).result)
    assert await asyncio.to_thread(future, 30) == 42


def test_asyncio_run_takes_an_answer() -> None:
    assert asyncio.run(double(21)) == 42
    assert asyncio.run(double(21)) == 42


async def test_anyio_takes_a_cached_function() -> None:
    results = []

    async def collect() -> None:
        results.append(await double(21))

    await double(21)
    async with anyio.create_task_group() as group:
        group.start_soon(double, 21)  # a hit: anyio insists on a coroutine
        group.start_soon(collect)
    assert results == [42]


def test_uvloop_runs_cached_functions() -> None:
    import uvloop

    async def main() -> list[int]:
        return [await double(7), await double(7), *await asyncio.gather(double(7), double(8))]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(main()) == [14, 14, 14, 16]


async def test_an_answer_has_the_protocol_of_a_coroutine() -> None:
    answer = await hit()
    assert isinstance(answer, collections.abc.Coroutine)
    assert asyncio.iscoroutine(answer)
    assert inspect.isawaitable(answer)
    assert answer.__name__ == "double"
    assert answer.cr_code is double.__wrapped__.__code__
    assert (answer.cr_await, answer.cr_frame, answer.cr_running, answer.cr_origin) == (
        None,
        None,
        False,
        None,
    )
    assert "double" in repr(answer)
    with pytest.raises(StopIteration) as stop:
        answer.send(None)
    assert stop.value.value == 42


async def test_an_answer_is_single_use() -> None:
    answer = await hit()
    assert await answer == 42
    with pytest.raises(RuntimeError, match="already awaited"):
        await answer
    with pytest.raises(RuntimeError, match="already awaited"):
        answer.send(None)
    with pytest.raises(RuntimeError, match="already awaited"):
        answer.throw(ValueError)


async def test_an_answer_refuses_a_first_value_and_closes() -> None:
    answer = await hit()
    with pytest.raises(TypeError, match="just-started"):
        answer.send(1)
    answer.close()
    answer.close()
    with pytest.raises(RuntimeError, match="already awaited"):
        await answer


@pytest.mark.parametrize("thrown", [ValueError, ValueError("x")])
async def test_an_answer_takes_exceptions(thrown: Any) -> None:
    answer = await hit()
    with pytest.raises(ValueError):  # noqa: PT011
        answer.throw(thrown)
    answer = await hit()
    with pytest.raises(TypeError, match="exceptions must be"):
        answer.throw(3)
    with pytest.raises(ValueError, match="why"):
        answer.throw(ValueError, "why", None)


@pytest.mark.parametrize("value", [None, (), (1, 2), StopIteration(3), ValueError("v"), [1]])
async def test_any_value_is_an_answer(value: Any) -> None:
    @cached
    async def f(x: int) -> Any:
        return value

    assert await f(1) is value
    assert await f(1) is value
    answer = f(1)
    with pytest.raises(StopIteration) as stop:
        answer.send(None)
    assert stop.value.value is value
    assert next(iter([await asyncio.create_task(f(1))])) is value


async def test_an_answer_in_a_cycle_is_collected() -> None:
    class Value:
        pass

    @cached(maxsize=4)
    async def f(x: int) -> Any:
        return Value()

    value = await f(1)
    value.answer = f(1)
    reference = weakref.ref(value)
    f.cache_clear()
    del value
    gc.collect()
    assert reference() is None


def test_frameworks_know_a_coroutine_function() -> None:
    assert inspect.iscoroutinefunction(double)
    assert asyncio.iscoroutinefunction(double)

    class Service:
        @cached_method
        async def ask(self, x: int) -> int:
            return x

    assert inspect.iscoroutinefunction(Service().ask)
    made = cached(as_function=True)(double.__wrapped__)
    assert inspect.iscoroutinefunction(made)
    assert inspect.isfunction(made)
    assert asyncio.run(made(4)) == 8


async def test_a_fastapi_route_may_be_cached() -> None:
    import fastapi
    import httpx

    app = fastapi.FastAPI()
    calls = []

    @app.get("/items/{item_id}")
    @cached(ttl=60)
    async def item(item_id: int, detail: bool = False) -> dict[str, Any]:
        calls.append(item_id)
        return {"id": item_id, "detail": detail}

    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        for _ in range(3):
            response = await client.get("/items/7?detail=true")
            assert response.json() == {"id": 7, "detail": True}
        assert (await client.get("/items/x")).status_code == 422
    assert calls == [7]


# ---- loads


async def test_a_miss_starts_at_the_first_send() -> None:
    calls = []

    @cached
    async def f(x: int) -> int:
        calls.append(x)
        return x

    pending = f(1)
    await settle()
    assert calls == []
    assert await pending == 1
    with pytest.raises(RuntimeError, match="already awaited"):
        await pending


async def test_concurrent_misses_run_the_function_once() -> None:
    calls = []
    go_on = asyncio.Event()

    @cached
    async def f(x: int) -> list[int]:
        calls.append(x)
        await go_on.wait()
        return [x]

    tasks = [asyncio.create_task(f(1)) for _ in range(10)]
    await settle()
    go_on.set()
    results = await asyncio.gather(*tasks)
    assert calls == [1]
    assert all(result is results[0] for result in results)
    assert await f(1) is results[0]
    assert f.cache_info() == (1, 10, 1024, 1)


async def test_a_slow_load_blocks_no_other_key() -> None:
    go_on = asyncio.Event()

    @cached
    async def f(x: int) -> int:
        if x == 1:
            await go_on.wait()
        return x

    task = asyncio.create_task(f(1))
    await settle()
    assert await f(2) == 2
    go_on.set()
    assert await task == 1


@pytest.mark.parametrize("cancelled", [0, 1, 2])
async def test_a_cancelled_caller_hurts_nobody(cancelled: int) -> None:
    calls = []
    go_on = asyncio.Event()

    @cached
    async def f(x: int) -> int:
        calls.append(x)
        await go_on.wait()
        return x

    tasks = [asyncio.create_task(f(1)) for _ in range(3)]
    await settle()
    tasks[cancelled].cancel()
    await settle()
    go_on.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results.pop(cancelled), asyncio.CancelledError)
    assert results == [1, 1]
    assert calls == [1]


async def test_the_last_caller_to_leave_cancels_the_load() -> None:
    ended = []

    @cached
    async def f(x: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(x)

    tasks = [asyncio.create_task(f(1)) for _ in range(2)]
    await settle()
    for task in tasks:
        assert ended == []
        task.cancel()
        await settle()
    assert ended == [1]
    assert len(asyncio.all_tasks()) == 1

    @cached
    async def again(x: int) -> int:
        return x

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(f(2), 0.001)
    assert await again(1) == 1


async def test_a_failed_load_reaches_everyone_and_is_not_kept() -> None:
    calls = []

    @cached
    async def f(x: int) -> int:
        calls.append(x)
        await asyncio.sleep(0)
        raise LookupError(x)

    results = await asyncio.gather(*(f(1) for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [LookupError] * 3
    assert calls == [1]
    with pytest.raises(LookupError):
        await f(1)
    assert calls == [1, 1]


async def test_recursion_computes_inline() -> None:
    @cached
    async def fib(n: int) -> int:
        return n if n < 2 else await fib(n - 1) + await fib(n - 2)

    depth = 0

    @cached
    async def same(x: int) -> int:
        nonlocal depth
        depth += 1
        return await same(x) + 1 if depth < 3 else 0

    @cached
    async def spread(n: int) -> int:
        return n if n < 2 else sum(await asyncio.gather(spread(n - 1), spread(n - 2)))

    assert await fib(40) == 102334155
    assert await same(1) == 2
    assert await spread(30) == 832040


async def test_loaders_that_need_each_other_both_return() -> None:
    calls = {"a": 0, "b": 0}

    def first(name: str) -> bool:
        calls[name] += 1
        return calls[name] == 1

    @cached
    async def a(x: int) -> str:
        if not first("a"):
            return "a"
        await asyncio.sleep(0)
        return "a" + await b(x)

    @cached
    async def b(x: int) -> str:
        if not first("b"):
            return "b"
        await asyncio.sleep(0)
        return "b" + (await asyncio.gather(a(x)))[0]

    both = await asyncio.wait_for(asyncio.gather(a(1), b(1)), 30)
    assert all(result[0] == name for result, name in zip(both, "ab", strict=True))


@pytest.mark.parametrize("forget", ["invalidate", "clear", "tag"])
async def test_an_invalidation_during_a_load_wins(forget: str) -> None:
    go_on = asyncio.Event()
    made = 0

    @cached(cache=Cache(), tags=("t",))
    async def f(x: int) -> int:
        nonlocal made
        made += 1
        mine = made
        await go_on.wait()
        return mine

    before = asyncio.create_task(f(1))
    await settle()
    act: dict[str, Callable[[], object]] = {
        "invalidate": lambda: f.cache_invalidate(1),
        "clear": f.cache_clear,
        "tag": lambda: f.cache.invalidate_tags("t"),
    }
    act[forget]()
    if forget != "tag":
        after = asyncio.create_task(f(1))  # does not join the load that began before
        await settle()
        assert made == 2
        go_on.set()
        assert (await before, await after) == (1, 2)
        assert await f(1) == 2
    else:
        go_on.set()
        assert await before == 1
        assert not f.cache_contains(1)


async def test_context_variables_reach_the_load() -> None:
    user: contextvars.ContextVar[str] = contextvars.ContextVar("user")

    @cached
    async def f(x: int) -> str:
        return user.get()

    user.set("ada")
    assert await f(1) == "ada"


async def test_refresh_loads_anew_and_stores() -> None:
    made = 0

    @cached
    async def f(x: int) -> int:
        nonlocal made
        made += 1
        return made

    assert await f(1) == 1
    assert await f.cache_refresh(1) == 2
    assert await f(1) == 2


async def test_copy_negative_ttl_condition_and_stale(clock: Clock) -> None:
    calls = []
    fail = False

    @cached(
        cache=Cache(clock=clock),
        ttl=10,
        stale_ttl=20,
        negative_ttl=5,
        copy=list,
        condition=lambda result: result != [0],
    )
    async def f(x: int) -> list[int]:
        calls.append(x)
        if fail:
            raise LookupError(x)
        return [x]

    (await f(1)).append(9)
    (await f(1)).append(9)
    assert await f(1) == [1]
    await f(0)
    await f(0)
    assert calls == [1, 0, 0]
    fail = True
    for _ in range(3):
        with pytest.raises(LookupError):
            await f(2)
    assert calls == [1, 0, 0, 2]
    clock.now += 11
    assert await f(1) == [1]
    assert f.stats().stale_served == 1
    clock.now += 20
    with pytest.raises(LookupError):
        await f(1)


async def test_stale_is_served_while_one_caller_refreshes(clock: Clock) -> None:
    go_on = asyncio.Event()
    slow = False

    @cached(cache=Cache(clock=clock), ttl=10, stale_ttl=20)
    async def f(x: int) -> float:
        if slow:
            await go_on.wait()
        return clock.now

    old = await f(1)
    slow = True
    clock.now += 11
    leader = asyncio.create_task(f(1))
    await settle()
    assert [await f(1), await f(1)] == [old, old]
    go_on.set()
    assert await leader == clock.now
    assert await f(1) == clock.now


async def test_methods_may_be_coroutines() -> None:
    class Service:
        def __init__(self, name: str) -> None:
            self.name = name

        @cached
        async def shared(self, x: int) -> str:
            return self.name

        @cached_method
        async def own(self, x: int) -> str:
            return self.name

    one, other = Service("one"), Service("other")
    for _ in range(2):
        assert [await s.own(1) for s in (one, other)] == ["one", "other"]
        assert [await s.shared(1) for s in (one, other)] == ["one", "other"]
    assert one.own.cache_info() == (1, 1, 1024, 1)
    clone = copy.copy(one)
    clone.name = "clone"
    assert await clone.own(1) == "clone"


async def test_aget_or_load_is_single_flight() -> None:
    cache: Cache[str, int] = Cache()
    calls = []
    go_on = asyncio.Event()

    async def load(key: str) -> int:
        calls.append(key)
        await go_on.wait()
        return 1

    tasks = [asyncio.create_task(cache.aget_or_load("a", load)) for _ in range(5)]
    await settle()
    tasks[0].cancel()
    await settle()
    cache.delete("a")
    go_on.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert results[1:] == [1] * 4
    assert calls == ["a"]
    assert "a" not in cache


@pytest.mark.parametrize("late_outcome", [ValueError("late"), "old"])
async def test_an_abandoned_load_that_ends_late_leaves_the_newer_entry_alone(late_outcome: object) -> None:
    go_on = [asyncio.Event(), asyncio.Event()]
    calls = 0

    @cached(ttl=60)
    async def load(key: str) -> object:
        nonlocal calls
        number, calls = calls, calls + 1
        await go_on[number].wait()
        if number == 1:
            return "new"
        if isinstance(late_outcome, Exception):
            raise late_outcome
        return late_outcome

    old = asyncio.ensure_future(load("k"))
    await asyncio.sleep(0)
    load.cache_invalidate("k")
    new = asyncio.ensure_future(load("k"))
    await asyncio.sleep(0)
    go_on[1].set()
    assert await new == "new"
    go_on[0].set()
    # A failure has a true value to give way to by now.
    assert await old == ("new" if isinstance(late_outcome, Exception) else "old")
    await asyncio.sleep(0)  # whatever the old load still has to call
    assert await load("k") == "new"
    assert calls == 2
