"""Cancellation, and errors that are no Exception: each reaches who it is for, once, and stops there."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import pytest

from cache_support import run_python, settle, until
from mcp_performance import Cache, LoadTimeout, cached


class Stop(BaseException):
    """Ends a thread or a loop, as SystemExit does."""


class OwnCancelled(asyncio.CancelledError):
    pass


def decorated(load: Callable[[int], Any]) -> Any:
    return cached(load)


def of_a_cache(load: Callable[[int], Any]) -> Any:
    cache: Cache[int, Any] = Cache()

    async def call(x: int) -> Any:
        return await cache.aget_or_load(x, load)

    call.cache = cache  # type: ignore[attr-defined]
    return call


class Holder:
    def __init__(self, load: Callable[[int], Any]) -> None:
        self.load = load

    @cached
    async def get(self, x: int) -> Any:
        return await self.load(x)


def of_a_method(load: Callable[[int], Any]) -> Any:
    return Holder(load).get


FORMS = pytest.mark.parametrize("form", [decorated, of_a_cache, of_a_method])


@FORMS
@pytest.mark.parametrize("error", [asyncio.CancelledError, OwnCancelled("a", 1)])
@pytest.mark.parametrize("turns", [0, 1, 3])
async def test_a_loaders_own_cancellation_is_the_result_of_one_load(
    form: Any, error: Any, turns: int
) -> None:
    calls = []

    async def load(x: int) -> None:
        calls.append(x)
        for _ in range(turns):
            await asyncio.sleep(0)
        raise error

    get = form(load)
    tasks = [asyncio.ensure_future(get(1)) for _ in range(4)]
    await asyncio.wait(tasks, timeout=30)
    assert all(task.cancelled() for task in tasks)
    assert calls == [1]
    task = asyncio.ensure_future(get(1))
    await asyncio.wait([task], timeout=30)
    assert task.cancelled()
    assert calls == [1, 1]  # nothing was kept


@pytest.mark.parametrize("options", [{"negative_ttl": 60}, {"stale_ttl": 60, "ttl": 60}])
async def test_a_cancellation_is_not_remembered(options: dict[str, Any]) -> None:
    calls = []

    @cached(**options)
    async def f(x: int) -> None:
        calls.append(x)
        raise asyncio.CancelledError

    for _ in range(2):
        task = asyncio.ensure_future(f(1))
        await asyncio.wait([task])
        assert task.cancelled()
    assert calls == [1, 1]
    assert len(f.cache) == 0


async def test_a_loader_that_cancels_its_own_task_is_not_rerun() -> None:
    calls = []

    @cached
    async def f(x: int) -> None:
        calls.append(x)
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    tasks = [asyncio.ensure_future(f(1)) for _ in range(3)]
    await asyncio.wait(tasks, timeout=30)
    assert all(task.cancelled() for task in tasks)
    assert calls == [1]


def test_a_loaders_cancellation_reaches_the_waiters_of_every_loop_once() -> None:
    calls: list[int] = []
    go_on = threading.Event()

    @cached
    async def f(x: int) -> None:
        calls.append(x)
        await asyncio.to_thread(go_on.wait, 30)
        raise asyncio.CancelledError

    ends: list[bool] = []

    def run() -> None:
        async def main() -> None:
            task = asyncio.ensure_future(f(1))
            await asyncio.wait([task], timeout=30)
            ends.append(task.cancelled())

        asyncio.run(main())

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    while f.cache_info().misses < 3:
        pass
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert ends == [True] * 3
    assert calls == [1]


def test_a_sync_loaders_cancellation_is_the_result_of_one_load() -> None:
    calls: list[int] = []
    started, go_on = threading.Event(), threading.Event()

    @cached
    def f(x: int) -> None:
        calls.append(x)
        started.set()
        assert go_on.wait(30)
        raise asyncio.CancelledError

    seen: list[BaseException] = []

    def call() -> None:
        try:
            f(1)
        except asyncio.CancelledError as error:
            seen.append(error)

    threads = [threading.Thread(target=call) for _ in range(3)]
    threads[0].start()
    assert started.wait(30)
    for thread in threads[1:]:
        thread.start()
    while f.cache_info().misses < 3:
        pass
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert len({id(error) for error in seen}) == 3
    assert calls == [1]


@FORMS
async def test_a_caller_that_is_closed_leaves_as_one_that_is_cancelled(form: Any) -> None:
    ended = []
    go_on = asyncio.Event()

    async def load(x: int) -> int:
        try:
            await go_on.wait()
        finally:
            ended.append(x)
        return x

    get = form(load)
    first, second = get(1), get(1)
    first.send(None)
    await settle()
    second.send(None)
    first.close()
    await settle()
    assert ended == []  # somebody still waits
    second.close()
    await settle()
    assert ended == [1]


async def test_a_load_whose_loop_ends_is_done_again_by_waiters_elsewhere() -> None:
    calls: list[int] = []
    waiting = threading.Event()

    @cached
    async def f(x: int) -> int:
        calls.append(x)
        if len(calls) == 1:
            await asyncio.to_thread(waiting.wait, 30)
            raise Stop  # ends the loop; its other tasks are cancelled
        return x

    def lead() -> None:
        with pytest.raises(Stop):
            asyncio.run(f(1))

    leader = asyncio.create_task(asyncio.to_thread(lead))
    await until(lambda: calls == [1])
    mine = asyncio.create_task(f(1))
    await settle()
    waiting.set()
    assert await asyncio.wait_for(mine, 30) == 1
    await leader
    assert calls == [1, 1]


@FORMS
@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), Stop(1)])
async def test_what_ends_a_loop_reaches_the_caller_as_itself(form: Any, error: BaseException) -> None:
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    calls = []

    async def load(x: int) -> None:
        calls.append(x)
        await asyncio.sleep(0)
        raise error

    with pytest.raises(type(error)) as caught:
        await form(load)(1)
    assert caught.value is error
    assert calls == [1]
    gc.collect()
    await settle()
    assert complaints == []


async def test_of_many_callers_one_gets_what_ends_a_loop_and_the_others_try_again() -> None:
    calls = []
    go_on = asyncio.Event()

    @cached
    async def f(x: int) -> int:
        calls.append(x)
        if len(calls) == 1:
            await go_on.wait()
            raise Stop
        return x

    async def call() -> Any:
        try:
            return await f(1)
        except Stop as error:
            return error

    tasks = [asyncio.create_task(call()) for _ in range(4)]
    await settle()
    go_on.set()
    ends = await asyncio.gather(*tasks)
    assert isinstance(ends[0], Stop)
    assert ends[1:] == [1, 1, 1]
    assert calls == [1, 1]


@pytest.mark.parametrize("ending", ["SystemExit(3)", "KeyboardInterrupt()"])
@pytest.mark.parametrize("handled", [True, False])
def test_a_loop_ends_as_by_a_tasks_own_error(ending: str, handled: bool) -> None:
    script = f"""
import asyncio, gc
from mcp_performance import cached

@cached
async def f(x):
    await asyncio.sleep(0)
    raise {ending}

async def main():
    if not {handled}:
        await asyncio.create_task(f(1))
    try:
        await f(1)
    except BaseException as error:
        print(type(error).__name__, flush=True)

def say(loop, context):
    print("complaint:", context["message"], flush=True)

async def start():
    asyncio.get_running_loop().set_exception_handler(say)
    await main()

try:
    asyncio.run(start())
except BaseException as error:
    print("out:", type(error).__name__, flush=True)
gc.collect()
"""
    name = ending.partition("(")[0]
    printed = run_python(script).splitlines()
    if handled:
        assert printed == [name]
    else:  # asyncio itself says of the caller's own task what it says of any
        assert printed[-1] == f"out: {name}"
        assert sum("never retrieved" in line for line in printed) <= 1


def test_a_sync_loaders_interruption_is_its_callers_alone() -> None:
    @cached(negative_ttl=60)
    def f(x: int) -> None:
        calls.append(x)
        raise SystemExit(4)

    calls: list[int] = []
    for _ in range(2):
        with pytest.raises(SystemExit):
            f(1)
    assert calls == [1, 1]
    assert len(f.cache) == 0


# ---- a wait that would never end


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


def test_a_fork_in_the_middle_of_a_load_leaves_both_sides_whole() -> None:
    script = """
import os, sys, threading
from mcp_performance import cached
started, go_on = threading.Event(), threading.Event()

@cached(negative_ttl=60)
def f(x):
    if x == 1:  # led by another thread: the child has none
        if os.getpid() == parent:
            started.set()
            assert go_on.wait(30)
        return "one"
    waiter = threading.Thread(target=lambda: got.append(f(2)))
    waiter.start()
    while f.cache_info().misses < 3:
        pass
    pids.append(os.fork())
    return "two"

parent, pids, got = os.getpid(), [], []
leader = threading.Thread(target=f, args=(1,))
leader.start()
started.wait()
assert f(2) == "two"  # the fork is in the middle of this load, which another thread waits for
if pids[0] == 0:
    assert f(1) == "one"
    assert f(2) == "two"
    f.cache_invalidate(2)
    os._exit(7)
status = os.waitpid(pids[0], 0)[1]
go_on.set()
leader.join()
while not got:
    pass
print(os.waitstatus_to_exitcode(status), got, f(1), f(2))
"""
    assert run_python(script) == "7 ['two'] one two\n"


# ---- other frameworks


def test_under_trio_the_first_miss_says_what_is_supported() -> None:
    import trio

    @cached
    async def f(x: int) -> int:
        return x

    cache: Cache[int, int] = Cache()

    async def main() -> None:
        with pytest.raises(RuntimeError, match="asyncio"):
            await f(1)
        with pytest.raises(RuntimeError, match="asyncio"):
            await cache.aget_or_load(1, lambda key: key)
        f.cache.set(f.cache_key(2), 2)
        assert await f(2) == 2  # what is there needs no load

    trio.run(main)


def test_under_anyio_on_asyncio_a_load_is_shared() -> None:
    import anyio

    calls = []

    @cached
    async def f(x: int) -> int:
        calls.append(x)
        await anyio.lowlevel.checkpoint()
        return x

    async def main() -> None:
        with contextlib.suppress(ExceptionGroup):
            async with anyio.create_task_group() as group:
                for _ in range(3):
                    group.start_soon(f, 1)

    anyio.run(main, backend="asyncio")
    assert calls == [1]
    with pytest.raises(RuntimeError, match="asyncio"):
        anyio.run(f, 2, backend="trio")


# ---- errors that many get


class Picky(Exception):
    def __init__(self, *, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code


@FORMS
@pytest.mark.parametrize("error", [ValueError(1, "a"), Picky(code=3), OSError(2, "no"), UnicodeError("x")])
async def test_each_waiter_gets_an_error_of_its_own(form: Any, error: Exception) -> None:
    async def load(x: int) -> None:
        await asyncio.sleep(0)
        raise error

    get = form(load)
    ends = await asyncio.gather(*(get(1) for _ in range(5)), return_exceptions=True)
    assert ends[0] is error
    for end in ends[1:]:
        assert type(end) is type(error)
        assert end.args == error.args  # type: ignore[union-attr]
        assert end.__cause__ is error  # type: ignore[union-attr]
        assert vars(end) == vars(error)
    assert len({id(end) for end in ends}) == 5


def depth_of(error: BaseException) -> int:
    depth, traceback = 0, error.__traceback__
    while traceback is not None:
        depth, traceback = depth + 1, traceback.tb_next
    return depth


@pytest.mark.parametrize("waiters", [1, 50])
async def test_a_traceback_does_not_grow_with_those_who_wait(waiters: int) -> None:
    @cached
    async def f(x: int) -> None:
        await asyncio.sleep(0)
        raise ValueError

    tasks = [asyncio.create_task(f(1)) for _ in range(waiters)]
    await asyncio.wait(tasks)
    assert max(depth_of(task.exception()) for task in tasks) <= 8  # type: ignore[arg-type]


class Local:
    """What a failing loader holds in a local variable."""


def chain() -> None:
    held = Local()
    references.append(weakref.ref(held))
    try:
        raise KeyError(1)
    except KeyError as error:
        raise ValueError(2) from error


def group() -> None:
    try:
        chain()
    except ValueError as error:
        raise ExceptionGroup("both", [error, ValueError(3)]) from error


references: list[Any] = []


@pytest.mark.parametrize("fail", [chain, group])
def test_what_is_remembered_holds_no_frame(fail: Any) -> None:
    references.clear()
    calls = []

    @cached(negative_ttl=60)
    def f(x: int) -> None:
        calls.append(x)
        fail()

    @cached(negative_ttl=60)
    async def g(x: int) -> None:
        calls.append(x)
        fail()

    for ask in (lambda: f(1), lambda: asyncio.run(g(1))):
        for _ in range(3):
            with contextlib.suppress(Exception):
                ask()
    assert calls == [1, 1]
    gc.collect()
    assert len(references) == 2
    assert [reference() for reference in references] == [None, None]
    with pytest.raises((ValueError, ExceptionGroup)) as first:
        f(1)
    with pytest.raises((ValueError, ExceptionGroup)) as second:
        f(1)
    assert first.value is not second.value
    assert isinstance(first.value.__cause__, (KeyError, ValueError))
    assert depth_of(first.value) == depth_of(second.value)


async def test_a_failed_load_leaves_nothing_for_the_collector() -> None:
    references.clear()
    cache: Cache[int, None] = Cache()
    gc.disable()
    try:
        with contextlib.suppress(ValueError):
            cache.get_or_load(1, lambda key: chain())
        with contextlib.suppress(ValueError):
            await cache.aget_or_load(1, lambda key: chain())
        await settle()
        assert [reference() for reference in references] == [None, None]
    finally:
        gc.enable()
