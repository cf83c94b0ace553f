"""Runs that several processes make together: one result, whole and true."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from load_servers import Received, responding, response, serve
from mcp_performance import LoadTester, LoadTestResult
from mcp_performance.errors import ConfigurationError, LoadTestError
from mcp_performance.load import Request, User

WORKERS = 3


async def suspending() -> None:
    await asyncio.sleep(0)


def blocking() -> None:
    time.sleep(0.0001)


async def failing() -> None:
    await asyncio.sleep(0.001)
    raise RuntimeError(f"in {os.getpid()}")


async def never() -> None:
    await asyncio.get_running_loop().create_future()


def children() -> list[int]:
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return [int(word) for word in file.read().split()]


def adds_up(results: LoadTestResult, total: int | None = None) -> None:
    """Every figure of a run is that of all its requests."""
    assert total in (None, results.total_requests)
    assert results.successful + results.failed == results.total_requests
    assert sum(second.successful for second in results.series) == results.successful
    assert sum(second.failed for second in results.series) == results.failed
    assert sum(stats.successful for stats in results.requests.values()) == results.successful
    assert sum(results.errors.values()) == results.failed
    assert results.histogram.count == results.successful


@pytest.mark.parametrize("target", [suspending, blocking, None], ids=["async", "sync", "sample"])
async def test_functions_and_apps_are_called_by_all_workers(target: Callable[..., Any] | None) -> None:
    results = await LoadTester(target, workers=WORKERS).run_load_test(1000, 7)
    adds_up(results, 1000)
    assert results.workers == WORKERS
    assert f"{WORKERS} processes" in results.summary()
    assert children() == []


@pytest.mark.parametrize("rate", [None, 400.0], ids=["closed", "open"])
async def test_requests_are_dealt_out_as_one_run(rate: float | None) -> None:
    """No number, and with it no request, is anybody's twice."""
    seen: list[Received] = []
    rows = [{"row": number} for number in range(200)]
    scenario = [Request("GET", "/{row}", data=rows), Request("POST", "/", body="{uuid}")]
    async with serve(responding(lambda _: response(), seen)) as url:
        tester = LoadTester(url, scenario=scenario, workers=WORKERS, seed=1)
        results = await tester.run_load_test(200, 7, rate=rate)
        together = list(seen)
        seen.clear()
        await LoadTester(url, scenario=scenario, seed=1).run_load_test(200, 7, rate=rate)
    adds_up(results, 200)
    assert sorted((item.target, item.body) for item in together) == sorted(
        (item.target, item.body) for item in seen
    )
    assert {name: stats.successful for name, stats in results.requests.items()} == {
        "GET /{row}": sum(item.method == "GET" for item in seen),
        "POST /": sum(item.method == "POST" for item in seen),
    }


@pytest.mark.parametrize("native", [True, False], ids=["scenario", "function"])
async def test_users_are_numbered_over_all_workers(native: bool) -> None:
    seen: list[Received] = []
    ended: list[Received] = []

    async def function(user: User) -> None:
        await user.get(f"/{user['name']}")

    async def goodbye(user: User) -> None:
        await user.get(f"/bye/{user.number}")

    def respond(request: Received) -> bytes:
        (ended if "bye" in request.target else seen).append(request)
        return response()

    users: dict[str, Any] = {"data": [{"name": f"user-{number}"} for number in range(7)], "teardown": goodbye}
    async with serve(responding(respond)) as url:
        if native:
            tester = LoadTester(url, scenario=[Request("GET", "/{name}")], workers=WORKERS, **users)
        else:
            tester = LoadTester(function, url=url, workers=WORKERS, **users)
        results = await tester.run_load_test(140, 7)
    adds_up(results, 140)
    assert {item.target for item in seen} == {f"/user-{number}" for number in range(7)}
    assert sorted(item.target for item in ended) == [f"/bye/{number}" for number in range(7)]


async def test_a_rate_is_that_of_all_workers() -> None:
    async with serve(responding(lambda _: response())) as url:
        results = await LoadTester(url, workers=WORKERS).run_load_test(duration=1.0, rate=200.0)
    assert results.total_requests + results.not_sent == 200
    assert results.target_rate == 200.0


async def test_stages_are_those_of_all_workers() -> None:
    connections = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await responding(lambda _: response())(reader, writer)

    async with serve(handle) as url:
        await LoadTester(url, workers=2).run_load_test(stages=[(0, 5), (0.5, 5)])
    assert connections == 5


async def test_there_are_no_more_workers_than_users_or_requests() -> None:
    assert (await LoadTester(suspending, workers=8).run_load_test(100, 2)).workers == 2
    assert (await LoadTester(suspending, workers=8).run_load_test(3, 10)).workers == 3
    assert (await LoadTester(suspending, workers=8).run_load_test(100, 1)).workers == 1


async def test_errors_of_all_workers_are_counted_with_an_example() -> None:
    results = await LoadTester(failing, workers=2).run_load_test(100, 4)
    assert results.errors == {"RuntimeError": 100}
    assert results.examples["RuntimeError"].startswith("in ")
    assert results.verdict == "failures"


async def test_a_frozen_server_is_a_stall_of_all_workers() -> None:
    thaw = asyncio.Event()
    count = 0

    async def respond(_: Received) -> bytes:
        nonlocal count
        count += 1
        if count == 300:
            asyncio.get_running_loop().call_later(1.0, thaw.set)
        if count >= 300:
            await thaw.wait()
        return response()

    async with serve(responding(respond)) as url:
        results = await LoadTester(url, workers=2).run_load_test(duration=2.0, concurrent_users=4)
    assert results.verdict == "stalled", results.reason
    assert max(seconds for _, seconds in results.stalls) >= 0.9


@pytest.mark.parametrize(
    ("number", "fate"), [(signal.SIGKILL, "was killed by SIGKILL"), (signal.SIGSTOP, "did not end in time")]
)
async def test_a_worker_that_is_lost_is_reported(number: signal.Signals, fate: str) -> None:
    async def harm(_: Any) -> None:
        nonlocal harmed
        if not harmed:
            harmed = True
            os.kill(children()[0], number)

    harmed = False
    results = await LoadTester(suspending, workers=WORKERS).run_load_test(
        duration=1.2, concurrent_users=6, drain=0.1, progress=harm
    )
    assert results.verdict == "partial"
    assert f"worker 1 of {WORKERS} {fate}" in results.reason
    assert results.total_requests == sum(second.successful for second in results.series) > 0
    assert children() == []


async def test_stop_ends_all_workers_and_keeps_their_results() -> None:
    tester = LoadTester(suspending, workers=2)
    results = await tester.run_load_test(
        duration=60,
        concurrent_users=4,
        progress=lambda progress: tester.stop() if progress.completed else None,
    )
    adds_up(results)
    assert results.interrupted
    assert results.total_requests > 0


async def test_workers_end_whatever_their_target_does() -> None:
    results = await LoadTester(never, workers=2).run_load_test(
        duration=0.3, concurrent_users=4, drain=0.1, timeout=None
    )
    assert results.errors == {"no answer by the end of the run": 4}
    assert children() == []


async def test_a_threshold_ends_the_run_of_all_workers() -> None:
    results = await LoadTester(failing, workers=2).run_load_test(
        duration=60, concurrent_users=200, thresholds=["error_rate<1%"], abort_on_fail=True
    )
    assert results.verdict == "partial"
    assert not results.passed


async def test_a_setup_that_fails_in_one_worker_is_an_error() -> None:
    async def setup(user: User) -> None:
        if user.number == 3:
            raise ValueError("no seat")

    async with serve(responding(lambda _: response())) as url:
        with pytest.raises(LoadTestError, match="setup of user 3: ValueError"):
            await LoadTester(url, setup=setup, workers=2).run_load_test(10, 4)
    assert children() == []


def test_workers_is_a_number() -> None:
    with pytest.raises(ConfigurationError, match="workers=0"):
        LoadTester(suspending, workers=0)
