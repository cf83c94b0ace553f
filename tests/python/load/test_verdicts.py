"""What a run is worth: stalls, failures, starved generators, hard ends."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from load_servers import Received, free_port, read_request, responding, response, serve
from mcp_performance import ConfigurationError, LoadTester, LoadTestResult, Request
from mcp_performance._core import LoadHistogram
from mcp_performance.load._stalls import Gap, Standing, corrected_percentiles, find_stalls, find_standing
from mcp_performance.load._verdict import Evidence, judge


def times(*parts: tuple[int, float]) -> LoadHistogram:
    histogram = LoadHistogram()
    for count, value in parts:
        for _ in range(count):
            histogram.record(value)
    return histogram


# Which gaps are stalls


@pytest.mark.parametrize(
    ("response", "gaps", "stalls"),
    [
        pytest.param(times((5000, 0.001)), [], 0, id="none"),
        pytest.param(times((5000, 0.001), (10, 2.0)), [(1.0, 2.0, 10)], 1, id="one"),
        pytest.param(
            times((5000, 0.001), (30, 0.5)), [(1, 0.5, 10), (2, 0.5, 10), (3, 0.5, 10)], 1 * 3, id="three"
        ),
        pytest.param(times((40, 0.1), (10, 2.0)), [(1.0, 2.0, 10)], 1, id="its victims are a fifth of all"),
        pytest.param(times((5000, 0.02), (10, 0.19)), [(1.0, 0.19, 10)], 0, id="less than ten times the P99"),
        pytest.param(times((5000, 0.02), (10, 0.21)), [(1.0, 0.21, 10)], 1, id="more than ten times the P99"),
        pytest.param(times((8, 0.5)), [(i / 2, 0.5, 1) for i in range(8)], 0, id="a slow target"),
        pytest.param(times((20, 0.3)), [(0, 0.3, 10), (0.3, 0.3, 10)], 0, id="users in step"),
        pytest.param(times((1, 0.5)), [(0, 0.5, 1)], 0, id="a single request"),
        pytest.param(
            times((950, 0.001), (50, 0.5)), [(i, 0.5, 1) for i in range(50)], 0, id="a slow kind of request"
        ),
    ],
)
def test_a_gap_far_longer_than_what_requests_take_is_a_stall(
    response: LoadHistogram, gaps: list[Gap], stalls: int
) -> None:
    assert len(find_stalls(gaps, response, answered=True)) == stalls


def test_a_target_that_never_answers_stalls_throughout() -> None:
    assert find_stalls([(0, 1.0, 4)], times((4, 2.0)), answered=False) == [(0, 1.0, 4)]
    assert find_stalls([(0, 1.0, 4)], LoadHistogram(), answered=False) == [(0, 1.0, 4)]


def test_corrected_percentiles_have_what_a_stall_kept_from_being_sent() -> None:
    """100 a second for 9 s and a stall of 1 s that one request saw: 99 more waited, each for its part."""
    response = times((900, 0.001), (1, 1.0))
    corrected = corrected_percentiles(response, [(3.0, 1.0, 1)], 10.0)
    assert response.percentile(99) == pytest.approx(0.001, rel=0.01)
    assert corrected.p99 == pytest.approx(0.9, abs=0.03)  # 1 % of 1,000: a tenth of the stall is above
    assert corrected.p50 == pytest.approx(0.001, rel=0.01)
    assert corrected.max == pytest.approx(1.0, rel=0.01)
    assert dict(corrected)["p99"] == corrected["p99"] == corrected.p99
    assert corrected_percentiles(response, [], 10.0).p99 == response.percentile(99)


@pytest.mark.parametrize(
    ("kinds", "count", "share"),
    [
        pytest.param([times((5000, 0.01))], 0, 0.0, id="none"),
        pytest.param([times((5000, 0.01), (5, 4.0))], 5, 0.4, id="half of the users, most of the time"),
        pytest.param([times((5000, 0.01), (5, 0.09))], 0, 0.0, id="shorter than a stall"),
        pytest.param([times((5000, 0.01), (100, 0.5))], 0, 0.0, id="the P99 has it"),
        pytest.param([times((5000, 0.01)), times((20, 1.0))], 0, 0.0, id="a slow kind"),
        pytest.param([times((2500, 0.01), (5, 4.0)), times((20, 1.0))], 5, 0.4, id="one beside a slow kind"),
        pytest.param([times((2500, 0.01), (2, 2.5)), times((2500, 0.01), (2, 2.5))], 4, 0.2, id="two kinds"),
    ],
)
def test_a_request_far_longer_than_others_of_its_kind_stands_still(
    kinds: list[LoadHistogram], count: int, share: float
) -> None:
    standing = find_standing({str(number): kind for number, kind in enumerate(kinds)}, 10, 5.0)
    assert standing.count == count
    assert standing.share == pytest.approx(share, rel=0.01)


def test_corrected_percentiles_have_what_users_that_stood_still_would_have_sent() -> None:
    """Ten users of 100 requests a second each; one of them stands still for the second half of 4 s."""
    response = times((3800, 0.01), (1, 2.0))
    corrected = corrected_percentiles(response, [], 4.0, find_standing({"": response}, 10, 4.0))
    assert response.percentile(99) == pytest.approx(0.01, rel=0.01)
    assert corrected.p99 == pytest.approx(1.6, abs=0.05)  # 200 of 4,000 waited: the upper fifth of them
    assert corrected.p50 == pytest.approx(0.01, rel=0.01)
    assert corrected.max == pytest.approx(2.0, rel=0.01)


# Which word


def report(**changes: Any) -> dict[str, Any]:
    response = times((5000, 0.01))
    base: dict[str, Any] = {
        "successful": 5000, "failed": 0, "abandoned": 0, "not_sent": 0, "waited_for_user": 0,
        "parked_users": 0, "generator_limit": "", "generator_cpu": 0.5, "elapsed": 5.0, "busy": 50.0,
        "errors": {}, "last_due": 5.0, "last_sent": 5.0, "send_lag": LoadHistogram(),
        "response": response, "service": response,
    }  # fmt: skip
    return {**base, **changes}


FAILED = {"successful": 4900, "failed": 100, "errors": {"status 500": 100}}
NONE = {"successful": 0, "failed": 9, "errors": {"connection refused": 9}, "response": LoadHistogram()}
STALL = {"stalls": [(1.0, 2.0, 10)]}
STANDING = {"standing": Standing(((3.0, 5),), 10, 5.0)}
LATE = {"late": times((100, 0.002)), "late_total": 0.2}


@pytest.mark.parametrize(
    ("changes", "evidence", "word"),
    [
        ({}, {}, "ok"),
        ({"successful": 4960, "failed": 40, "errors": {"status 500": 40}}, {}, "ok"),
        (FAILED, {}, "failures"),
        (FAILED, {"failures_allowed": True}, "ok"),
        (NONE, {"failures_allowed": True}, "failures"),
        ({}, STALL, "stalled"),
        (FAILED, STALL, "stalled"),
        ({}, STANDING, "stalled"),
        ({}, {"standing": Standing(((3.0, 1),), 10, 5.0)}, "ok"),
        ({"busy": 10.0}, {"http": True}, "generator-limited"),
        ({"busy": 10.0}, {**STALL, "http": True}, "stalled"),
        ({}, LATE, "generator-limited"),
        ({}, {**STALL, **LATE}, "stalled"),
        ({}, {**STALL, **LATE, "late_total": 2.0}, "generator-limited"),
        ({}, {"throttled": 1.0}, "generator-limited"),
        ({"generator_limit": "too many open files"}, STALL, "generator-limited"),
        ({"not_sent": 500}, {"open_model": True}, "generator-limited"),
        ({}, {"interrupted": True}, "partial"),
        (FAILED, {"aborted": True, **STALL}, "partial"),
    ],
)
def test_each_fault_has_its_word(changes: dict[str, Any], evidence: dict[str, Any], word: str) -> None:
    found = judge(
        report(**changes), Evidence(**{"open_model": False, "http": False, "users": 10, **evidence})
    )
    assert found.verdict == word, found.reason
    assert found.valid == (word == "ok")
    assert found.reason


def test_a_connection_that_stands_still_alone_is_pointed_out() -> None:
    """For 3 s, while the others go on: no gap, a fine P99, and a sentence."""

    def notes(*parts: tuple[int, float]) -> list[str]:
        found = judge(report(response=times(*parts)), Evidence(open_model=False, http=True, users=50)).notes
        return [note for note in found if "while others were answered" in note]

    assert notes((5000, 0.01)) == []
    assert notes((5000, 0.01), (3, 0.09)) == []
    assert notes((5000, 0.01), (2, 3.0))[0].startswith("2 requests took over ten times the P99, up to 3 s")


@pytest.mark.parametrize(
    ("late", "response", "valid"),
    [
        (0.00009, 0.0002, True),  # less than 100 us never counts
        (0.00011, 0.0002, False),
        (0.0009, 0.01, True),  # nor does less than a tenth
        (0.0011, 0.01, False),
    ],
)
def test_what_the_generator_adds_counts_by_its_share_and_from_100_us(
    late: float, response: float, valid: bool
) -> None:
    slow = times((5000, response))
    evidence = Evidence(open_model=False, http=True, users=10, late=times((1000, late)))
    assert judge(report(response=slow, service=slow), evidence).valid is valid


def spread(seed: int, count: int, draw: Callable[[random.Random], float]) -> LoadHistogram:
    chance = random.Random(seed)
    return times(*((1, draw(chance)) for _ in range(count)))


def fast(chance: random.Random) -> float:
    """A target with a P99 of 0.8 ms."""
    return chance.gammavariate(4, 80e-6)


def waking(chance: random.Random) -> float:
    """What timers of an idle machine are late by: 50 us and more, one in a hundred by far more."""
    return 50e-6 + chance.expovariate(1 / 20e-6) + (chance.random() < 0.01) * chance.expovariate(1 / 300e-6)


def starving(chance: random.Random) -> float:
    """A quota of the processor that is used up a third of the time."""
    return (chance.random() < 0.3) * chance.uniform(0, 0.02)


@pytest.mark.parametrize("open_model", [False, True])
@pytest.mark.parametrize("seed", range(20))
def test_a_healthy_machine_is_told_from_a_starved_one_below_a_millisecond(
    seed: int, open_model: bool
) -> None:
    def verdict(lateness: Callable[[random.Random], float]) -> str:
        late = spread(seed, 1000, lateness)
        service = spread(seed + 100, 5000, fast)
        response = spread(seed + 200, 5000, lambda chance: fast(chance) + lateness(chance))
        evidence = Evidence(open_model=open_model, http=True, users=10, late=late)
        lag = late if open_model else LoadHistogram()
        times_of = {"service": service if open_model else response, "response": response, "send_lag": lag}
        return judge(report(**times_of, busy=10 * 5.0), evidence).verdict

    assert verdict(waking) == "ok"
    assert verdict(starving) == "generator-limited"


# Targets that freeze


@pytest.mark.parametrize(
    ("after", "users", "threads"), [(0, 4, 1), (200, 4, 1), (200, 6, 2)], ids=["start", "middle", "threads"]
)
async def test_a_frozen_server_is_a_stall(after: int, users: int, threads: int) -> None:
    """Closed loop: as many slow requests as there are users, and a P99 that looks fine."""
    count = 0
    thaw = asyncio.Event()

    async def respond(_: Received) -> bytes:
        nonlocal count
        count += 1
        if count == after + 1:
            asyncio.get_running_loop().call_later(1.0, thaw.set)
        if count > after:
            await thaw.wait()
        return response()

    async with serve(responding(respond)) as url:
        tester = LoadTester(url, threads=threads)
        results = await tester.run_load_test(duration=2.0, concurrent_users=users)
    assert results.verdict == "stalled", results.reason
    assert not results.valid
    second, seconds = max(results.stalls, key=lambda stall: stall[1])
    assert seconds >= 0.9
    assert 0 <= second < 2.0
    assert results.corrected.p95 > results.p95
    assert "stall" in results.summary()


async def test_a_server_that_freezes_for_good_is_a_stall_up_to_the_end() -> None:
    count = 0

    async def respond(_: Received) -> bytes:
        nonlocal count
        count += 1
        if count > 500:
            await asyncio.get_running_loop().create_future()
        return response()

    async with serve(responding(respond)) as url:
        results = await LoadTester(url).run_load_test(duration=2.0, concurrent_users=2, drain=0.2)
    assert results.verdict == "stalled", results.reason
    second, seconds = results.stalls[-1]
    assert second + seconds == pytest.approx(2.0, abs=0.01)
    assert results.errors == {"no answer by the end of the run": 2}


async def test_users_whose_connections_fall_silent_are_a_stall_although_others_go_on() -> None:
    connections = 0

    async def every_other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        silent = connections % 2
        for answered in itertools.count():
            await read_request(reader)
            if silent and answered == 5:
                await asyncio.get_running_loop().create_future()
            await asyncio.sleep(0.002)
            writer.write(response())

    async with serve(every_other) as url:
        results = await LoadTester(url).run_load_test(duration=1.5, concurrent_users=4, drain=0.5)
    assert results.errors == {"no answer by the end of the run": 2}
    assert results.p99 < 0.1 < results.corrected.p99
    assert results.verdict == "stalled"
    assert "single users waited while others were answered" in results.reason


async def test_users_that_think_do_not_stall() -> None:
    async with serve(responding(lambda _: response())) as url:
        results = await LoadTester(url, think_time=0.3).run_load_test(4, 1)
    assert results.stalls == []


# Generators that starve


async def suspending() -> None:
    await asyncio.sleep(0)


async def blocking() -> None:
    await asyncio.sleep(0.001)
    time.sleep(0.02)  # noqa: ASYNC251 - the fault


async def test_a_busy_thread_beside_the_loop_makes_a_run_invalid() -> None:
    over = threading.Event()

    def spin() -> None:
        while not over.is_set():
            pass

    thread = threading.Thread(target=spin)
    thread.start()
    try:
        results = [await LoadTester(suspending).run_load_test(duration=0.5) for _ in range(3)]
    finally:
        over.set()
        thread.join()
    assert [result.verdict for result in results] == ["generator-limited"] * 3, results


async def test_a_target_that_blocks_the_loop_makes_a_run_invalid() -> None:
    results = [await LoadTester(blocking).run_load_test(duration=0.5) for _ in range(3)]
    assert not any(result.valid for result in results), results


async def test_a_core_shared_with_a_busy_process_makes_a_run_invalid() -> None:
    cores = os.sched_getaffinity(0)
    core = min(cores)
    spin = f"import os\nos.sched_setaffinity(0, {{{core}}})\nprint('spinning', flush=True)\nwhile True: pass"
    busy = subprocess.Popen([sys.executable, "-c", spin], stdout=subprocess.PIPE)  # noqa: ASYNC220
    try:
        assert busy.stdout is not None
        busy.stdout.readline()
        os.sched_setaffinity(0, {core})
        results = [await LoadTester(suspending).run_load_test(duration=0.7) for _ in range(3)]
    finally:
        os.sched_setaffinity(0, cores)
        busy.kill()
        busy.wait()
        assert busy.stdout is not None
        busy.stdout.close()
    assert not any(result.valid for result in results), results


async def test_a_slow_target_in_this_process_says_once_that_it_shares_the_machine() -> None:
    results = await LoadTester(suspending).run_load_test(100, 2)
    assert sum("share the machine" in note for note in results.notes) == 1


# Ends


async def never() -> None:
    await asyncio.get_running_loop().create_future()


async def swallows() -> None:
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            continue


async def silent_app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await asyncio.get_running_loop().create_future()
    await asyncio.get_running_loop().create_future()


def stuck() -> None:
    threading.Event().wait()


@pytest.mark.parametrize("target", [never, swallows, silent_app, stuck], ids=lambda target: target.__name__)
async def test_a_run_ends_whatever_its_target_does(target: Callable[..., Any]) -> None:
    run = LoadTester(target).run_load_test(duration=0.2, concurrent_users=2, timeout=None, drain=0.1)
    results = await asyncio.wait_for(run, 60)
    assert results.errors == {"no answer by the end of the run": 2}
    assert results.verdict == "failures"
    assert "no request was answered" in results.summary()
    assert "p50" not in results.summary()


async def black_hole(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.get_running_loop().create_future()


async def endless_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(b"x" * 1000)
        await writer.drain()
        await asyncio.sleep(0.001)


async def half_an_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
    await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("handle", [black_hole, endless_body, half_an_answer], ids=lambda one: one.__name__)
async def test_a_run_over_http_ends_whatever_the_peer_does(handle: Any) -> None:
    async with serve(handle) as url:
        run = LoadTester(url).run_load_test(duration=0.2, concurrent_users=2, timeout=None, drain=0.1)
        results = await asyncio.wait_for(run, 60)
    assert results.errors == {"no answer by the end of the run": 2}
    assert results.verdict == "failures"


async def test_stop_ends_a_run_and_keeps_its_results() -> None:
    tester = LoadTester(suspending)

    def progress(_: Any) -> None:
        tester.stop()

    results = await tester.run_load_test(duration=600, progress=progress)
    assert results.interrupted
    assert results.verdict == "partial"
    tester.stop()  # nothing runs: nothing happens


# Seconds


async def test_a_run_of_two_seconds_has_two() -> None:
    async def target() -> None:
        await asyncio.sleep(0.02)

    results = await LoadTester(target).run_load_test(duration=2, concurrent_users=4)
    assert [second.seconds for second in results.series] == [1.0, 1.0]
    assert not any(second.partial for second in results.series)
    assert sum(second.successful for second in results.series) == results.successful


async def test_the_second_in_which_a_run_ended_is_partial() -> None:
    async def target() -> None:
        await asyncio.sleep(0.02)

    results = await LoadTester(target).run_load_test(duration=1.25, concurrent_users=4)
    assert [second.seconds for second in results.series] == [1.0, pytest.approx(0.25)]
    assert [second.partial for second in results.series] == [False, True]
    few = await LoadTester(target).run_load_test(4, 4)
    assert few.series[0].partial


# Failures


async def test_each_kind_of_failure_has_an_example() -> None:
    def respond(received: Received) -> bytes:
        if received.target == "/ok":
            return response()
        return response(b"no such table: " + b"x" * 1000, status="500 Internal Server Error")

    scenario = [Request("GET", "/ok"), Request("GET", "/bad")]
    async with serve(responding(respond)) as url:
        results = await LoadTester(url, scenario=scenario, order="sequential").run_load_test(40, 2)
    assert results.verdict == "failures"
    assert results.examples["status 500"].startswith("no such table: xx")
    assert len(results.examples["status 500"]) <= 200
    assert "no such table" in results.summary()

    async def raises() -> None:
        raise ValueError("what was wrong")

    assert (await LoadTester(raises).run_load_test(5, 1)).examples == {"ValueError": "what was wrong"}


async def test_a_threshold_on_failures_that_holds_allows_them() -> None:
    calls = 0

    async def target() -> None:
        nonlocal calls
        calls += 1
        if calls % 10 == 0:
            raise ValueError

    async def run(*thresholds: str) -> LoadTestResult:
        return await LoadTester(target).run_load_test(200, 1, thresholds=thresholds)

    assert (await run()).verdict == "failures"
    for allowed in ("error_rate<=10%", "success_rate>=0.9", "failed<=20"):
        results = await run(allowed)
        assert results.failures_allowed
        assert results.verdict != "failures"
    for other in ("error_rate<5%", "p99<60s", "failed{other}<=20"):
        if "{" in other:
            with pytest.raises(ConfigurationError, match="other"):
                await run(other)
        else:
            assert (await run(other)).verdict == "failures"


async def test_nobody_there_prints_no_percentiles() -> None:
    results = await LoadTester(f"http://127.0.0.1:{free_port()}/").run_load_test(20, 2)
    assert results.verdict == "failures"
    assert "no request was answered" in results.summary()
    assert "p99" not in results.summary()
