"""A target that cancels the task it runs in: its call has failed, and nothing else ends."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from load_servers import responding, response, serve
from mcp_performance import LoadTester, LoadTestError, Request, User

calls = 0


def cancel_own_task() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


def counted() -> int:
    global calls
    calls += 1
    return calls


async def at_once() -> None:
    if counted() % 4 == 0:
        cancel_own_task()
        await asyncio.sleep(0)


async def twice() -> None:
    if counted() % 4 == 0:
        cancel_own_task()
        cancel_own_task()
        await asyncio.sleep(0)


async def raised() -> None:
    if counted() % 4 == 0:
        raise asyncio.CancelledError


async def by_another_task() -> None:
    if counted() % 4 == 0:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().call_soon(task.cancel)
        await asyncio.Event().wait()


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await at_once()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})


@pytest.mark.parametrize("target", [at_once, twice, raised, by_another_task, app])
@pytest.mark.parametrize("rate", [None, 2000.0])
async def test_a_call_that_cancels_its_own_task_has_failed_and_the_others_are_made(
    target: Callable[..., Any], rate: float | None
) -> None:
    global calls
    calls = 0
    result = await LoadTester(target).run_load_test(40, 3, rate=rate)
    assert (calls, result.total_requests, result.successful) == (40, 40, 30)
    assert sum(result.errors.values()) == 10
    assert result.verdict != "ok"


@pytest.mark.parametrize("rate", [None, 500.0])
async def test_a_cancel_that_comes_after_the_call_loses_none(rate: float | None) -> None:
    made = 0

    async def late() -> None:
        nonlocal made
        made += 1
        if made % 4 == 0:
            cancel_own_task()  # and returns: it arrives wherever the task waits next

    result = await LoadTester(late).run_load_test(40, 2, rate=rate)
    assert (made, result.total_requests) == (40, 40)


@pytest.mark.parametrize("when", ["before", "during", "after"])
async def test_a_user_that_cancels_its_own_task_goes_on(when: str) -> None:
    turns = 0

    async def function(user: User) -> None:
        nonlocal turns
        turns += 1
        mine = turns % 4 == 0
        if mine and when == "before":
            cancel_own_task()
            await asyncio.sleep(0)
        if mine and when == "during":
            task = asyncio.current_task()
            assert task is not None
            asyncio.get_running_loop().call_soon(task.cancel)
        await user.get("/")
        if mine and when == "after":
            cancel_own_task()
            await asyncio.sleep(0)

    async with serve(responding(lambda _: response())) as url:
        result = await asyncio.wait_for(LoadTester(function, url=url).run_load_test(40, 3), 60)
    assert result.total_requests == 40
    assert result.errors.get("CancelledError", 0) > 0
    assert result.verdict != "ok"


@pytest.mark.parametrize("how", [at_once, twice, raised, by_another_task])
async def test_a_set_up_or_tear_down_that_cancels_its_own_task_has_failed(how: Callable[..., Any]) -> None:
    global calls

    async def step(user: User) -> None:
        if user.number == 1:
            await how()

    async with serve(responding(lambda _: response())) as url:
        calls = 3
        tester = LoadTester(url, scenario=[Request("GET", "/")], setup=step)
        with pytest.raises(LoadTestError, match=r"setup of user 1: CancelledError"):
            await tester.run_load_test(6, 3)
        calls = 3
        tester = LoadTester(url, scenario=[Request("GET", "/")], teardown=step)
        result = await tester.run_load_test(6, 3)
    assert (result.total_requests, result.successful) == (6, 6)
    assert "teardown of 1 of 3 users failed, such as that of user 1: CancelledError" in result.summary()


async def test_a_run_that_is_cancelled_ends_all_the_same() -> None:
    begun = asyncio.Event()

    async def stubborn() -> None:
        begun.set()
        await asyncio.Event().wait()

    run = asyncio.create_task(LoadTester(stubborn).run_load_test(10, 2))
    await begun.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(run, 60)
