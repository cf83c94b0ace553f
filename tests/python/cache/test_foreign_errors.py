"""Cancellation, and errors that are no Exception: each reaches who it is for, once, and stops there."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
from typing import Any

import pytest

from cache_support import run_python, settle, until
from load_forms import FORMS
from mcp_performance import Cache, cached


class Stop(BaseException):
    """Ends a thread or a loop, as SystemExit does."""


class OwnCancelled(asyncio.CancelledError):
    pass


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
from mcp_performance import Cache, cached

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


def test_a_fork_in_the_middle_of_a_load_leaves_both_sides_whole() -> None:
    script = """
import os, sys, threading
from mcp_performance import Cache, cached
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
