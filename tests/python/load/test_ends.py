"""What comes before and after a run ends as well, and takes nothing from what was measured."""

from __future__ import annotations

import asyncio
import json
import math
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from load_servers import free_port, responding, response, serve
from mcp_performance import LoadTester, LoadTestResult
from mcp_performance.errors import LoadTestError
from mcp_performance.load import _options, merge_results
from mcp_performance.load._thresholds import check_thresholds, hopeless

TIMES = ("avg_response_time", "p50", "p95", "p99", "p999", "max", "service_avg", "service_p50", "service_p99")


async def for_ever(*_: Any) -> None:
    await asyncio.get_running_loop().create_future()


async def black_hole(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await for_ever()


SILENT = [sys.executable, "-c", "import time; time.sleep(3600)"]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda url: LoadTester(url, setup=for_ever), "setup of user [01]: took over 0.3 s"),
        (lambda url: LoadTester(url, setup=for_ever, workers=2), "setup of user [01]: took over 0.3 s"),
        (lambda url: LoadTester.mcp(url, "tool"), "setup of user [01]: took over 0.3 s"),
        (lambda url: LoadTester.mcp(SILENT, "tool"), "a session took over 0.3 s"),
        (lambda url: LoadTester.websocket("ws" + url[4:], "hello"), "a session took over 0.3 s"),
        (lambda url: LoadTester(_app_that_never_starts), "startup took longer than 0.3 s"),
    ],
    ids=["setup", "workers", "mcp", "stdio", "websocket", "app"],
)
async def test_a_run_that_is_never_ready_is_an_error(
    make: Callable[[str], LoadTester], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not later than the run would have ended, although requests have all the time that they want."""
    monkeypatch.setattr(_options, "_SHORTEST_SETUP", 0.1)
    async with serve(black_hole) as url:
        run = make(url).run_load_test(duration=0.2, concurrent_users=2, timeout=None, drain=0.1)
        with pytest.raises(LoadTestError, match=said):
            await asyncio.wait_for(run, 60)


async def _app_that_never_starts(scope: Any, receive: Any, send: Any) -> None:
    await for_ever()


class Step:
    """Something that a run waits for, and that takes for ever."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()

    async def __call__(self, *_: Any) -> None:
        self.reached.set()
        await for_ever()

    async def startup(self, scope: Any, receive: Any, send: Any) -> None:
        await self()

    async def shutdown(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})
        elif (await receive())["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await self()

    async def black_hole(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self()


def by_signal(_: LoadTester) -> None:
    signal.raise_signal(signal.SIGINT)


def by_stop(tester: LoadTester) -> None:
    tester.stop()


@pytest.mark.parametrize("end", [by_signal, by_stop])
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    "make",
    [
        lambda url, step, **workers: LoadTester(url, setup=step, **workers),
        lambda url, step, **workers: LoadTester.mcp(url, "tool", **workers),
        lambda url, step, **workers: LoadTester.websocket("ws" + url[4:], "hello", **workers),
        lambda url, step, **workers: LoadTester(step.startup, **workers),
    ],
    ids=["setup", "mcp", "websocket", "app"],
)
async def test_who_asks_for_the_end_before_the_run_gets_a_run_of_nothing(
    make: Callable[..., LoadTester], workers: int, end: Callable[[LoadTester], None]
) -> None:
    """At once, although what it waits for is not over."""
    step = Step()
    async with serve(step.black_hole) as url:
        tester = make(url, step, workers=workers)
        run = asyncio.ensure_future(tester.run_load_test(duration=600, concurrent_users=2))
        # Steps of other processes are not seen from here: they are under way, or still to come.
        await (step.reached.wait() if workers == 1 else asyncio.sleep(0.1))
        end(tester)
        results = await asyncio.wait_for(run, 60)
    assert (results.verdict, results.interrupted) == ("partial", True)
    assert results.total_requests == 0
    assert math.isnan(results.p99)


@pytest.mark.parametrize("end", [by_signal, by_stop])
@pytest.mark.parametrize("after", ["teardown", "shutdown"])
async def test_who_asks_for_the_end_after_the_run_gets_all_of_it(
    after: str, end: Callable[[LoadTester], None]
) -> None:
    step = Step()
    async with serve(responding(lambda _: response())) as url:
        tester = LoadTester(url, teardown=step) if after == "teardown" else LoadTester(step.shutdown)
        run = asyncio.ensure_future(tester.run_load_test(20, 2, drain=600))
        await step.reached.wait()
        end(tester)
        results = await asyncio.wait_for(run, 60)
    assert (results.successful, results.interrupted) == (20, False)
    assert "what comes after the run was interrupted" in results.notes


async def test_a_run_that_is_cancelled_from_outside_is_cancelled_before_it_begins() -> None:
    step = Step()
    tester = LoadTester("http://127.0.0.1:9/", setup=step)
    run = asyncio.ensure_future(tester.run_load_test(20, 2))
    await step.reached.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run


async def broken(_: Any) -> None:
    raise ValueError("no")


@pytest.mark.parametrize(
    ("teardown", "why"),
    [(for_ever, "took over 0.3 s"), (broken, "ValueError('no')")],
    ids=["hangs", "raises"],
)
@pytest.mark.parametrize("workers", [1, 2])
async def test_a_teardown_that_fails_is_a_note(teardown: Any, why: str, workers: int) -> None:
    async with serve(responding(lambda _: response())) as url:
        tester = LoadTester(url, teardown=teardown, workers=workers)
        run = tester.run_load_test(duration=0.2, concurrent_users=2, drain=0.2)
        results = await asyncio.wait_for(run, 60)
    assert results.successful == results.total_requests > 0
    count = "2 of 2" if workers == 1 else "1 of 1"
    note = f"teardown of {count} users failed, such as that of user 0: {why}"
    assert note in results.notes
    assert note in results.summary()


@pytest.fixture(scope="module")
def unanswered() -> LoadTestResult:
    tester = LoadTester(f"http://127.0.0.1:{free_port()}/")
    return asyncio.run(tester.run_load_test(20, 2, thresholds=["p99<60s", "avg<60s", "max>0s", "failed<100"]))


def test_what_was_not_answered_has_no_times(unanswered: LoadTestResult) -> None:
    """Not 0, which would be the best of all."""
    assert all(math.isnan(getattr(unanswered, name)) for name in TIMES)
    assert all(math.isnan(time) for time in unanswered.corrected.values())
    assert all(math.isnan(second.p99) for second in unanswered.series)
    assert all(math.isnan(stats.p99) for stats in unanswered.requests.values())


def test_no_time_is_null_and_empty_in_files(unanswered: LoadTestResult, tmp_path: Path) -> None:
    plain = json.loads(unanswered.to_json())
    assert [plain[name] for name in TIMES] == [None] * len(TIMES)
    assert plain["corrected"]["p99"] is plain["series"][0]["p99"] is plain["requests"]["GET /"]["avg"] is None
    assert unanswered.to_csv().splitlines()[1].endswith(",,,,")
    assert "nan" not in unanswered.to_html()
    assert "nan" not in unanswered.summary()
    unanswered.save(tmp_path / "run.json")
    for again in (LoadTestResult.load(tmp_path / "run.json"), merge_results([unanswered, unanswered])):
        assert math.isnan(again.p99)
        assert math.isnan(again.series[0].max)
        assert math.isnan(again.requests["GET /"].p50)


def test_no_time_meets_no_condition(unanswered: LoadTestResult) -> None:
    assert unanswered.thresholds == {"p99<60s": False, "avg<60s": False, "max>0s": False, "failed<100": True}
    for expression in ("p99{GET /}<60s", "avg{GET /}>=0s", "p99[0s..]<60s", "max[..5s]<60s"):
        (condition,) = check_thresholds([expression])
        assert not condition.holds(unanswered), expression


def test_a_run_that_nobody_answers_cannot_meet_a_time(unanswered: LoadTestResult) -> None:
    report = {"successful": 0, "failed": 2000, "response": unanswered.histogram}
    assert hopeless(check_thresholds(["p99<60s"]), report)
    assert not hopeless(check_thresholds(["failed<3000"]), report)


async def test_the_times_of_one_run_are_those_of_a_merge_with_an_unanswered_one(
    unanswered: LoadTestResult,
) -> None:
    async with serve(responding(lambda _: response())) as url:
        answered = await LoadTester(url).run_load_test(20, 2)
    for runs in ([answered, unanswered], [unanswered, answered]):
        merged = merge_results(runs)
        assert merged.p99 == answered.p99
        assert merged.requests["GET /"].avg == pytest.approx(answered.requests["GET /"].avg, rel=1e-9)
        assert merged.series[0].p50 == answered.series[0].p50
