"""What a caller of LoadTester relies on, for every kind of target."""

from __future__ import annotations

import asyncio
import functools
import gc
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from load_servers import Received, free_port, responding, response, serve
from mcp_performance import (
    LoadTester,
    Progress,
    Stage,
)


async def empty() -> None:
    pass


async def pause() -> None:
    await asyncio.sleep(0)


async def app(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


# The documented call


async def test_the_documented_call_over_http() -> None:
    async with serve(responding(lambda _: response(b"hello"))) as url:
        tester = LoadTester(url)
        results = await tester.run_load_test(num_requests=1000, concurrent_users=10)
    assert results.total_requests == results.successful == 1000
    assert results.failed == 0
    assert results.errors == {}
    assert results.success_rate == 1.0
    assert results.requests_per_second == pytest.approx(1000 / results.elapsed)
    assert 0 < results.p50 <= results.p95 <= results.p99 <= results.p999 <= results.max
    assert 0 < results.avg_response_time <= results.max
    assert results.histogram.count == 1000
    assert results.bytes_received > 1000 * len(b"hello")
    assert isinstance(results.valid, bool)
    assert results.reason


@pytest.mark.parametrize(
    "target", [empty, pause, lambda: None, app], ids=["async", "suspending", "sync", "asgi"]
)
async def test_the_documented_call_in_this_process(target: Any) -> None:
    results = await LoadTester(target).run_load_test(num_requests=1000, concurrent_users=10)
    assert results.total_requests == results.successful == 1000
    assert results.success_rate == 1.0
    assert results.histogram.count == 1000
    assert 0 < results.p50 <= results.max


async def test_a_run_without_arguments_sends_a_thousand_requests() -> None:
    assert (await LoadTester(empty).run_load_test()).total_requests == 1000


async def test_without_a_target_the_sample_service_is_tested() -> None:
    tester = LoadTester()
    results = await tester.run_load_test(num_requests=1000, concurrent_users=10)
    assert results.successful == 1000, (results.errors, results.exceptions)
    assert results.target == "built-in sample service"
    assert results.bottleneck is not None
    assert results.bottleneck.cache_hit_rate is not None
    assert results.bottleneck.database_share > 0
    assert (await tester.run_load_test(100, 2)).successful == 100


# Callables


async def test_a_callable_is_called_without_arguments_as_often_as_asked() -> None:
    calls = 0

    async def target() -> None:
        nonlocal calls
        calls += 1

    await LoadTester(functools.partial(target)).run_load_test(37, 5)
    assert calls == 37


async def test_the_most_calls_at_once_are_the_users() -> None:
    inside = most = 0

    async def target() -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0)
        inside -= 1

    await LoadTester(target).run_load_test(100, 7)
    assert most == 7


async def test_sync_calls_run_on_a_thread_for_each_user() -> None:
    together = threading.Barrier(4)
    threads = set()

    def target() -> None:
        threads.add(threading.get_ident())
        together.wait(30)

    results = await LoadTester(target).run_load_test(40, 4)
    assert results.successful == 40
    assert len(threads) == 4
    assert threading.get_ident() not in threads


async def test_a_batch_is_sent_together() -> None:
    inside = 0
    seen = []

    async def target() -> None:
        nonlocal inside
        inside += 1
        await asyncio.sleep(0)
        seen.append(inside)
        await asyncio.sleep(0)
        inside -= 1

    results = await LoadTester(target).run_load_test(60, 2, batch_size=5)
    assert results.successful == 60
    assert max(seen) == 10


async def test_a_batch_of_sync_calls_is_sent_together() -> None:
    together = threading.Barrier(3)
    results = await LoadTester(lambda: together.wait(30)).run_load_test(30, 1, batch_size=3)
    assert results.successful == 30


async def test_exceptions_are_failures_by_their_type_and_one_of_each_is_kept() -> None:
    calls = 0

    async def target() -> None:
        nonlocal calls
        calls += 1
        if calls % 2:
            raise KeyError("odd")
        await asyncio.sleep(0)

    results = await LoadTester(target).run_load_test(10, 1)
    assert (results.successful, results.failed) == (5, 5)
    assert results.errors == {"KeyError": 5}
    assert isinstance(results.exceptions["KeyError"], KeyError)
    assert results.success_rate == 0.5
    assert results.histogram.count == 5


async def test_a_target_that_ends_in_cancellation_by_itself_is_a_failure() -> None:
    async def target() -> None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    results = await LoadTester(target).run_load_test(10, 2)
    assert results.errors == {"CancelledError": 10}


async def test_something_that_cannot_be_awaited_is_a_failure() -> None:
    async def template() -> None: ...

    def wrong() -> int:
        return 3

    functools.update_wrapper(wrong, template)
    results = await LoadTester(wrong).run_load_test(3, 1)
    assert results.errors == {"TypeError": 3}


async def returns_a_coroutine() -> Any:
    return asyncio.sleep(0)


async def returns_a_future() -> Any:
    return asyncio.get_running_loop().create_future()


def generates() -> Iterator[int]:
    yield 1


async def generates_asynchronously() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("target", "what"),
    [
        (lambda: asyncio.sleep(0), "coroutine, which was not awaited"),
        (functools.partial(lambda n: asyncio.sleep(n), 0), "coroutine, which was not awaited"),
        (returns_a_coroutine, "coroutine, which was not awaited"),
        (returns_a_future, "Future, which was not awaited"),
        (generates, "generator, which was not iterated over"),
        (generates_asynchronously, "async_generator, which was not iterated over"),
    ],
)
async def test_what_was_returned_instead_of_being_run_is_no_success(target: Any, what: str) -> None:
    results = await LoadTester(target).run_load_test(4, 2)
    assert results.errors == {"TypeError": 4}
    assert what in results.examples["TypeError"]


async def test_a_target_sees_its_own_task_and_may_use_timeouts_and_task_groups() -> None:
    tasks = set()

    async def target() -> None:
        tasks.add(asyncio.current_task())
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0))

    results = await LoadTester(target).run_load_test(50, 5)
    assert results.successful == 50
    assert len(tasks) == 5


async def test_a_call_that_never_waits_does_not_starve_the_event_loop() -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0)
            ticks += 1

    ticker = asyncio.ensure_future(tick())
    await LoadTester(empty).run_load_test(100_000, 10)
    ticker.cancel()
    assert ticks > 10


async def test_a_run_leaves_nothing_behind() -> None:
    class Target:
        async def __call__(self) -> None:
            await asyncio.sleep(0)

    target = Target()
    reference = weakref.ref(target)
    gc.collect()  # what earlier tests left
    before = len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks())
    runs = 10
    tester = LoadTester(target)
    for _ in range(runs):
        await tester.run_load_test(100, 10)
    del target, tester
    gc.collect()
    assert reference() is None
    # What earlier tests left may end meanwhile, or open something: that is not one for each run.
    assert len(os.listdir("/proc/self/fd")) < before[0] + runs
    assert len(asyncio.all_tasks()) <= before[1]


# Timeouts and stopping


async def test_a_call_that_hangs_is_a_timeout_at_its_time() -> None:
    async def target() -> None:
        await asyncio.get_running_loop().create_future()

    results = await LoadTester(target).run_load_test(6, 3, timeout=0.05)
    assert results.errors == {"timeout": 6}
    assert results.p50 == pytest.approx(0.05, rel=0.01)
    assert results.max == pytest.approx(0.05, rel=0.01)


async def test_a_call_that_swallows_its_cancellation_is_a_timeout_and_the_user_goes_on() -> None:
    calls = 0

    async def target() -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                return

    results = await LoadTester(target).run_load_test(5, 1, timeout=0.05)
    assert results.errors == {"timeout": 1}
    assert results.successful == 4


async def test_a_sync_call_that_hangs_is_replaced_by_another_thread() -> None:
    release = threading.Event()
    calls = 0

    def target() -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            release.wait(60)

    try:
        results = await LoadTester(target).run_load_test(20, 1, timeout=0.05)
    finally:
        release.set()
    assert results.errors == {"timeout": 1}
    assert results.successful == 19


async def test_ctrl_c_gives_the_results_so_far() -> None:
    calls = 0

    async def target() -> None:
        nonlocal calls
        calls += 1
        if calls == 50:
            os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(0)

    before = signal.getsignal(signal.SIGINT)
    results = await LoadTester(target).run_load_test(duration=600, concurrent_users=2)
    assert results.interrupted
    assert results.successful >= 48
    assert signal.getsignal(signal.SIGINT) is before


async def test_ctrl_c_gives_the_results_so_far_over_http() -> None:
    def respond(_: Received) -> bytes:
        nonlocal count
        count += 1
        if count == 200:
            os.kill(os.getpid(), signal.SIGINT)
        return response()

    count = 0
    async with serve(responding(respond)) as url:
        results = await LoadTester(url).run_load_test(duration=600, concurrent_users=4)
    assert results.interrupted
    assert results.successful >= 190


async def test_a_cancelled_run_stops_and_the_tester_can_be_used_again() -> None:
    started, before = asyncio.Event(), set(threading.enumerate())

    def respond(_: Received) -> bytes:
        started.set()
        return response()

    async with serve(responding(respond)) as url:
        tester = LoadTester(url)
        run = asyncio.ensure_future(tester.run_load_test(duration=600))
        await started.wait()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        own = set(threading.enumerate()) - before
        for thread in own:
            if thread.name.startswith("mcp-load"):
                await asyncio.to_thread(thread.join, 30)
                assert not thread.is_alive()
        assert (await tester.run_load_test(10, 2)).successful == 10


@pytest.mark.parametrize("kind", ["async", "sync", "http"])
def test_a_loop_that_is_closed_under_a_run_leaves_no_thread(kind: str) -> None:
    code = f"""
import asyncio, gc, socket, threading, time
from mcp_performance import LoadTester
listener = socket.create_server(("127.0.0.1", 0))
url = f"http://127.0.0.1:{{listener.getsockname()[1]}}/"
async def wait(): await asyncio.sleep(0)
def call(): time.sleep(0.001)
target = {{"async": wait, "sync": call, "http": url}}["{kind}"]
loop = asyncio.new_event_loop()
task = loop.create_task(LoadTester(target).run_load_test(duration=600))
async def some():
    for _ in range(100): await asyncio.sleep(0)
loop.run_until_complete(some())
loop.close()
print("closed")
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    assert run.stdout == "closed\n"


async def test_progress_tells_how_far_the_run_is() -> None:
    seen: list[Progress] = []
    release = asyncio.Event()

    async def target() -> None:
        await release.wait()

    def progress(now: Progress) -> None:
        seen.append(now)
        release.set()

    await LoadTester(target).run_load_test(100, 10, progress=progress)
    assert seen[0].completed == 0
    assert seen[0].fraction == 0
    assert seen[-1].completed == 100
    assert seen[-1].fraction == 1


async def test_an_exception_in_the_progress_callback_ends_the_run() -> None:
    def progress(_: Progress) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        await LoadTester(pause).run_load_test(duration=600, progress=progress)


# Models


async def test_an_arrival_rate_sends_what_is_due_and_no_more() -> None:
    results = await LoadTester(pause).run_load_test(duration=0.5, rate=200)
    assert results.model == "open"
    assert results.total_requests + results.not_sent == 100
    assert results.target_rate == 200


async def test_poisson_arrivals_are_the_same_for_the_same_seed() -> None:
    async def counts(seed: int) -> int:
        results = await LoadTester(pause, seed=seed).run_load_test(duration=0.3, rate=300, arrivals="poisson")
        return results.total_requests + results.not_sent

    assert await counts(5) == await counts(5)


async def test_a_stall_of_the_target_shows_in_the_response_times_of_an_open_model() -> None:
    """Half a second during which nothing is answered: closed-loop tools see one slow request."""
    stalled = False
    answered = 0

    async def respond(_: Received) -> bytes:
        nonlocal stalled, answered
        answered += 1
        if answered == 100:
            stalled = True
            asyncio.get_running_loop().call_later(0.5, release)
        if stalled:
            await gate.wait()
        return response()

    def release() -> None:
        nonlocal stalled
        stalled = False
        gate.set()

    gate = asyncio.Event()
    async with serve(responding(respond)) as url:
        results = await LoadTester(url).run_load_test(duration=2, rate=400, concurrent_users=4)
    assert results.p99 > 0.3
    assert results.service_p95 < 0.3  # the server's own view: four slow requests
    assert results.waited_for_user > 100


async def test_stages_of_users_rise_and_fall() -> None:
    inside = most = 0

    async def target() -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0)
        inside -= 1

    results = await LoadTester(target).run_load_test(stages=[(0.2, 6), Stage(0.1, users=6), (0.1, 0)])
    assert most == 6
    assert results.concurrent_users == 6


async def test_stages_that_take_no_time_are_steps_and_spikes() -> None:
    """Two users, eight for a moment, two again: the most at once in each phase, and never in between."""
    inside = 0
    levels = set()

    async def target() -> None:
        nonlocal inside
        inside += 1
        await asyncio.sleep(0)
        levels.add(inside)
        await asyncio.sleep(0)
        inside -= 1

    spike = [(0, 2), (0.1, 2), (0, 8), (0.1, 8), (0, 2), (0.1, 2)]
    results = await LoadTester(target).run_load_test(stages=spike)
    assert {2, 8} <= levels
    assert max(levels) == 8
    assert results.failed == 0


async def test_stages_of_rates_send_their_area() -> None:
    results = await LoadTester(pause).run_load_test(stages=[Stage(0.4, rate=200), Stage(0.1, rate=200)])
    assert results.model == "open"
    assert results.total_requests + results.not_sent == 60


async def test_the_warmup_is_left_out_and_shown() -> None:
    results = await LoadTester(lambda: None).run_load_test(100, 2, warmup=0.05)
    assert results.total_requests == 100
    assert results.warmup_requests > 0


async def test_think_time_is_no_service_time() -> None:
    results = await LoadTester(pause, think_time=0.01).run_load_test(20, 1)
    assert results.elapsed >= 19 * 0.01
    assert results.p99 < results.elapsed / 4


# Judgement


async def test_calling_nothing_measures_the_generator_and_says_so() -> None:
    results = await LoadTester(empty).run_load_test(5000, 10)
    assert any("calling nothing costs" in note for note in results.notes)


async def test_a_target_that_costs_enough_is_valid() -> None:
    def work() -> None:
        sum(range(20_000))

    results = await LoadTester(work).run_load_test(400, 1)
    # A machine that has no processor to spare is no fault of the target's, and is told as such.
    assert results.valid or "processor" in results.reason, results.reason


async def test_too_few_samples_for_a_percentile_are_pointed_out() -> None:
    results = await LoadTester(empty).run_load_test(100, 1)
    assert any("too few for p99 (needs 368)" in note for note in results.notes)
    assert not any("p95" in note for note in results.notes)


async def test_a_rate_that_cannot_be_held_is_invalid() -> None:
    async def slow() -> None:
        await asyncio.sleep(0.01)

    results = await LoadTester(slow).run_load_test(duration=0.5, rate=1000, concurrent_users=2)
    assert not results.valid
    assert "of the planned rate" in results.reason
    assert "raise concurrent_users" in results.reason
    assert results.not_sent > 300


async def test_no_success_is_not_valid() -> None:
    results = await LoadTester(f"http://127.0.0.1:{free_port()}/").run_load_test(20, 2)
    assert not results.valid
    assert results.errors == {"connection refused": 20}
    assert results.requests_per_second == 0
