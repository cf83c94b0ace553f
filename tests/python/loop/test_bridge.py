"""Native completions reach the right future of the right loop, or nobody."""

import asyncio
import gc
import os
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import pytest

import wake_ups
from mcp_performance import _core
from wake_ups import wake_up_seconds

SUPPORT = str(Path(wake_ups.__file__).parent)
WITH_SUPPORT = {**os.environ, "PYTHONPATH": os.pathsep.join([SUPPORT, os.environ.get("PYTHONPATH", "")])}


async def test_each_completion_resolves_its_future() -> None:
    seconds = await wake_up_seconds(1000)
    assert len(seconds) == 1000
    assert all(value >= 0 for value in seconds)


async def test_a_burst_is_delivered_in_far_fewer_ticks_than_completions() -> None:
    loop = asyncio.get_running_loop()
    futures = _core.wake_up_times(5000)
    ticks = 0

    def count() -> None:
        nonlocal ticks
        ticks += 1
        if not futures[-1].done():
            loop.call_soon(count)

    loop.call_soon(count)
    await asyncio.gather(*futures)
    assert 0 < ticks < len(futures)


async def test_a_cancelled_future_is_skipped_and_the_others_are_served() -> None:
    loop = asyncio.get_running_loop()
    reported: list[dict[str, object]] = []
    loop.set_exception_handler(lambda _, context: reported.append(context))
    futures = _core.wake_up_times(10)
    for future in futures[::2]:
        future.cancel()
    await asyncio.gather(*futures[1::2])
    await wake_up_seconds(1)  # behind the cancelled ones in the queue
    assert all(future.cancelled() for future in futures[::2])
    assert reported == []


def test_a_loop_closed_before_completion_drops_it_quietly(capfd: pytest.CaptureFixture[str]) -> None:
    async def leave_behind() -> None:
        await wake_up_seconds(1)
        for _ in range(20):
            _core.wake_up_times(100)

    for _ in range(5):
        asyncio.run(leave_behind())
    assert asyncio.run(wake_up_seconds(3))
    assert capfd.readouterr() == ("", "")


def test_a_closed_loop_is_freed_with_its_bridge_and_its_descriptor() -> None:
    asyncio.run(wake_up_seconds(1))
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    references = []
    for _ in range(20):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(wake_up_seconds(2))
        loop.close()
        references.append(weakref.ref(loop))
        del loop
    gc.collect()
    assert [reference() for reference in references] == [None] * 20
    # One a loop would be twenty more; what other parts of the process open meanwhile is not looked for.
    assert len(os.listdir("/proc/self/fd")) < before + 20


def test_two_loops_each_get_their_own() -> None:
    results: dict[int, list[float]] = {}

    def run(number: int) -> None:
        results[number] = asyncio.run(wake_up_seconds(200 + number))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {number: len(values) for number, values in results.items()} == {n: 200 + n for n in range(4)}


def test_it_needs_a_running_loop() -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        _core.wake_up_times(1)


def test_a_forked_child_has_a_bridge_of_its_own_and_leaves_the_parents_alone() -> None:
    code = """
import asyncio, os, sys
from wake_ups import wake_up_seconds
from mcp_performance import _core

async def parent():
    await wake_up_seconds(1)
    futures = _core.wake_up_times(2000)   # pushed around the fork
    child = os.fork()
    if child == 0:
        asyncio._set_running_loop(None)
        os._exit(0 if len(asyncio.run(wake_up_seconds(5))) == 5 else 1)
    await asyncio.gather(*futures)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

sys.exit(asyncio.run(parent()))
"""
    for _ in range(5):
        run = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=WITH_SUPPORT
        )
        assert run.returncode == 0, run.stderr


async def test_uvloop_is_served_too() -> None:
    import uvloop

    def run() -> list[float]:
        return uvloop.run(wake_up_seconds(50))

    assert len(await asyncio.to_thread(run)) == 50


def test_no_descriptor_left_is_an_oserror_and_passes() -> None:
    code = """
import asyncio, resource
from mcp_performance import _core
from wake_ups import wake_up_seconds

async def main():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        _core.wake_up_times(1)
    except OSError:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        return await wake_up_seconds(4)

print(len(asyncio.run(main())))
"""
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=WITH_SUPPORT
    )
    assert run.stdout == "4\n", run.stderr
