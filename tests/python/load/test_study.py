"""Scalability, capacity, comparison and bottlenecks: what the studies conclude, on systems that are known."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import math
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mcp_performance import ConfigurationError, LoadTester, LoadTestError, LoadTestResult, SQLitePool
from mcp_performance._core import LoadHistogram
from mcp_performance.load import SecondStats, WindowStats
from mcp_performance.load._bottleneck import _follows, _name, _rank_correlation
from mcp_performance.load._capacity import find_capacity
from mcp_performance.load._compare import compare, mann_whitney
from mcp_performance.load._scalability import measure_scalability
from mcp_performance.load._usl import fit_usl


@pytest.fixture(scope="module")
def template() -> LoadTestResult:
    async def nothing() -> None:
        pass

    return asyncio.run(LoadTester(nothing).run_load_test(10, 1))


def law(n: float, rate: float, s: float, k: float) -> float:
    return rate * n / (1 + s * (n - 1) + k * n * (n - 1))


# The Universal Scalability Law


def test_the_fit_finds_the_parameters_of_a_noisy_system() -> None:
    """5 % noise, the default levels and rounds: all three within 10 % in at least 95 of 100 studies."""
    defaults = inspect.signature(LoadTester.scalability).parameters
    users, rounds = defaults["users"].default, defaults["rounds"].default
    assert users == (1, 2, 4, 8, 16, 32)
    true = (1000.0, 0.1, 0.002)
    chance = random.Random(2013)
    found = 0
    for _ in range(100):
        points = [(n, law(n, *true) * (1 + chance.gauss(0, 0.05))) for n in users for _ in range(rounds)]
        fit = fit_usl(points)
        found += all(
            abs(value / expected - 1) < 0.1
            for value, expected in zip((fit.rate, fit.contention, fit.coherency), true, strict=True)
        )
    assert found >= 95


def test_the_intervals_hold_the_parameters_as_often_as_they_say() -> None:
    chance = random.Random(7)
    inside = Counter[str]()
    for _ in range(200):
        points = [
            (n, law(n, 500, 0.08, 0.001) * (1 + chance.gauss(0, 0.03))) for n in (1, 2, 4, 8, 16, 32) * 4
        ]
        fit = fit_usl(points)
        inside["rate"] += abs(fit.rate - 500) <= fit.rate_error
        inside["contention"] += abs(fit.contention - 0.08) <= fit.contention_error
        inside["coherency"] += abs(fit.coherency - 0.001) <= fit.coherency_error
    assert all(count >= 180 for count in inside.values()), inside


@pytest.mark.parametrize(
    ("true", "noise", "rounds"),
    [((1000.0, 0.02, 0.0001), 0.05, 20), ((1000.0, 0.1, 0.0001), 0.05, 20), ((1000.0, 0.05, 0.001), 0.2, 5)],
)
def test_data_that_cannot_decide_are_said_to(
    true: tuple[float, float, float], noise: float, rounds: int
) -> None:
    """Weak bends: where a parameter is not called open, it is right to a tenth in 95 of 100 studies."""
    chance = random.Random(5)
    wrong = left_open = 0
    for _ in range(100):
        points = [
            (n, law(n, *true) * math.exp(chance.gauss(0, noise)))
            for n in (1, 2, 4, 8, 16, 32)
            for _ in range(rounds)
        ]
        fit = fit_usl(points)
        left_open += bool(fit.undecided)
        for name, expected in zip(("rate", "contention", "coherency"), true, strict=True):
            off = abs(getattr(fit, name) / expected - 1) > 0.1
            wrong += off and name not in fit.undecided
    assert left_open >= 95
    assert wrong <= 15  # 5 of 100 for each of the three


def test_data_that_decide_are_not_said_to_be_open() -> None:
    exact = fit_usl([(n, law(n, 250, 0.03, 0.0004)) for n in (1, 2, 4, 8, 16, 32)])
    assert exact.undecided == ()
    chance = random.Random(3)
    points = [(n, law(n, 1000, 0.1, 0.002) * (1 + chance.gauss(0, 0.02))) for n in (1, 2, 4, 8, 16, 32) * 60]
    assert fit_usl(points).undecided == ()


def test_without_noise_the_fit_is_exact() -> None:
    fit = fit_usl([(n, law(n, 250, 0.03, 0.0004)) for n in (1, 2, 4, 8, 16, 32)])
    assert fit.rate == pytest.approx(250)
    assert fit.contention == pytest.approx(0.03)
    assert fit.coherency == pytest.approx(0.0004)
    assert fit.peak_users == pytest.approx(math.sqrt(0.97 / 0.0004))
    assert fit.r_squared == pytest.approx(1)


def test_parameters_are_never_negative() -> None:
    linear = fit_usl([(n, 100.0 * n * (1.02 if n == 8 else 1)) for n in (1, 2, 4, 8)])
    assert linear.contention >= 0
    assert linear.coherency >= 0
    assert linear.predict(4) == pytest.approx(400, rel=0.02)
    amdahl = fit_usl([(n, law(n, 100, 0.2, 0)) for n in (1, 2, 4, 8, 16)])
    assert amdahl.contention == pytest.approx(0.2, rel=1e-3)
    assert amdahl.coherency == pytest.approx(0, abs=1e-6)


def test_too_few_levels_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="at least four"):
        fit_usl([(1, 10), (2, 20), (4, 30), (4, 31)])
    with pytest.raises(ConfigurationError, match="above 0"):
        fit_usl([(1, 10), (2, 20), (4, 30), (8, 0)])


async def test_scalability_says_where_the_target_stops_scaling(template: LoadTestResult) -> None:
    async def run(num_requests: int | None = None, concurrent_users: int = 10, **_: Any) -> LoadTestResult:
        return dataclasses.replace(
            template, requests_per_second=law(concurrent_users, 1000, 0.05, 0.005), valid=True
        )

    study = await measure_scalability(
        run, (1, 2, 4, 8, 16, 32), duration=0.1, rounds=2, timeout=1, progress=None
    )
    assert study.peak_users == pytest.approx(math.sqrt(0.95 / 0.005), rel=1e-3)
    assert study.verdict.startswith("stops scaling at 14 users")
    assert [level.users for level in study.levels] == [1, 2, 4, 8, 16, 32]
    assert len(study.levels[0].rounds) == 2
    assert study.to_dict()["peak_users"] == pytest.approx(study.peak_users)
    assert "stops scaling at 14 users" in str(study)


async def test_a_level_whose_requests_all_end_too_late_is_an_error_that_says_why(
    template: LoadTestResult,
) -> None:
    async def run(num_requests: int | None = None, concurrent_users: int = 10, **_: Any) -> LoadTestResult:
        rate = 0.0 if concurrent_users == 8 else 100.0 * concurrent_users
        return dataclasses.replace(
            template, requests_per_second=rate, successful=3, errors={}, reason="stalled"
        )

    with pytest.raises(LoadTestError, match="in time at some level: stalled"):
        await measure_scalability(run, (1, 2, 4, 8), duration=0.1, rounds=1, timeout=1, progress=None)


def silent(*which: int) -> Any:
    """Whether the n-th run of a level stands still."""
    return lambda n: n in which


@pytest.mark.parametrize(
    ("rounds", "stands_still", "left_out"),
    [
        (1, silent(0), 1),
        (2, silent(1), 1),
        (2, silent(0, 1), 2),
        (8, silent(3, 6), 2),
        (8, silent(*range(4, 9)), 5),
        (1, silent(0, 1), None),
        (2, silent(1, 2), 2),
        (8, silent(*range(2, 99)), None),
    ],
)
async def test_runs_in_which_the_machine_stood_still_are_made_again_and_said(
    template: LoadTestResult, rounds: int, stands_still: Callable[[int], bool], left_out: int | None
) -> None:
    runs = Counter[int]()

    async def run(_: int | None, concurrent_users: int, **__: Any) -> LoadTestResult:
        rate = law(concurrent_users, 1000, 0.05, 0.005)
        if len(runs) == 0:
            runs[0] += 1  # the warm-up
        elif concurrent_users == 4:
            rate *= not stands_still(runs[4])
            runs[4] += 1
        return dataclasses.replace(
            template, requests_per_second=rate, errors={}, valid=rate > 0, reason="stalled"
        )

    study = measure_scalability(run, (1, 2, 4, 8), duration=0.1, rounds=rounds, timeout=1, progress=None)
    if left_out is None:
        with pytest.raises(LoadTestError, match="in time at some level: stalled"):
            await study
        return
    result = await study
    assert result.contention == pytest.approx(0.05, rel=0.01)
    said = (
        f"left out: {left_out} of {runs[4]} runs under 4 users, in which no request ended in time (stalled)"
    )
    assert said in result.verdict
    assert [level.valid for level in result.levels] == [True, True, False, True]
    assert all(rate > 0 for level in result.levels for rate in level.rounds)
    assert all(one.requests_per_second > 0 for one in result.results)


@pytest.mark.parametrize(("p50", "duration"), [(0.0001, 0.1), (0.02, 1.0), (5.0, 10.0)])
async def test_a_run_of_a_study_is_long_enough_for_fifty_requests_of_a_user(
    template: LoadTestResult, p50: float, duration: float
) -> None:
    asked = []

    async def run(_: int | None, concurrent_users: int, **options: Any) -> LoadTestResult:
        asked.append(options["duration"])
        rate = law(concurrent_users, 1000, 0.05, 0.005)
        return dataclasses.replace(template, requests_per_second=rate, p50=p50)

    study = await measure_scalability(run, (1, 2, 4, 8), duration=None, rounds=3, timeout=1, progress=None)
    assert asked[1:] == [pytest.approx(duration)] * 12
    assert len(study.results) == 4


@pytest.mark.parametrize("after", [3, 9])
async def test_ctrl_c_ends_a_scalability_study_with_what_it_has(template: LoadTestResult, after: int) -> None:
    runs = 0

    async def run(_: int | None, concurrent_users: int, **__: Any) -> LoadTestResult:
        nonlocal runs
        runs += 1
        rate = law(concurrent_users, 1000, 0.05, 0.005)
        return dataclasses.replace(template, requests_per_second=rate, interrupted=runs > after)

    study = measure_scalability(run, (1, 2, 4, 8), duration=0.1, rounds=50, timeout=1, progress=None)
    if after == 3:
        with pytest.raises(KeyboardInterrupt):
            await study
    else:
        assert (await study).contention == pytest.approx(0.05, rel=0.01)
    assert runs == after + 1


async def test_ctrl_c_ends_a_capacity_search_with_what_it_has(template: LoadTestResult) -> None:
    rates = []

    async def run(_: int | None, __: int, *, rate: float, thresholds: Any, **___: Any) -> LoadTestResult:
        rates.append(rate)
        held = dict.fromkeys(thresholds, True)
        return dataclasses.replace(template, valid=True, thresholds=held, interrupted=len(rates) > 3)

    capacity = await find_capacity(
        run, "p99<1s", start=100, duration=1, tolerance=0.1, max_in_flight=8, timeout=1
    )
    assert rates == [100, 200, 400, 800]
    assert capacity.rate == 400
    assert capacity.verdict.startswith("interrupted; so far 400.0 requests/s")


async def test_scalability_of_a_real_target_finds_its_lock() -> None:
    """One request at a time gets through: contention is all there is."""
    lock = asyncio.Lock()

    async def target() -> None:
        async with lock:
            await asyncio.sleep(0.002)

    study = await LoadTester(target).scalability((1, 2, 4, 8), duration=0.1, rounds=2)
    assert study.contention > 0.5


async def test_a_target_that_fails_later_is_an_error(template: LoadTestResult) -> None:
    runs = 0

    async def run(_: int | None, concurrent_users: int, **__: Any) -> LoadTestResult:
        nonlocal runs
        runs += 1
        rate, errors = (0.0, {"connection refused": 9}) if runs > 30 else (100.0 * concurrent_users, {})
        return dataclasses.replace(template, requests_per_second=rate, errors=errors)

    with pytest.raises(LoadTestError, match="at some level: connection refused"):
        await measure_scalability(run, (1, 2, 4, 8), duration=0.1, rounds=8, timeout=1, progress=None)


async def test_scalability_of_a_target_that_fails_is_an_error() -> None:
    async def target() -> None:
        raise OSError("down")

    with pytest.raises(LoadTestError, match="OSError"):
        await LoadTester(target).scalability((1, 2, 3, 4), duration=0.05, rounds=1)
    with pytest.raises(ConfigurationError, match="users="):
        await LoadTester(target).scalability((1, 2, 3))


# Capacity


class Server:
    """A simulated target that holds its objective up to *limit* requests a second."""

    def __init__(self, template: LoadTestResult, limit: float, generator_limit: float = math.inf) -> None:
        self.template = template
        self.limit = limit
        self.generator_limit = generator_limit
        self.rates: list[float] = []

    async def __call__(
        self, num_requests: int | None = None, concurrent_users: int = 10, **options: Any
    ) -> LoadTestResult:
        rate = options.get("rate")
        if rate is None:
            return dataclasses.replace(self.template, requests_per_second=100.0)
        self.rates.append(rate)
        held = rate <= self.limit
        could = rate <= self.generator_limit
        return dataclasses.replace(
            self.template,
            valid=could,
            reason="the planned rate was held"
            if could
            else "generator-limited: its thread used 99% of a core",
            thresholds=dict.fromkeys(options["thresholds"], held),
        )


async def capacity(server: Server, slo: Any = "p99<50ms", **options: Any) -> Any:
    arguments = {
        "start": None,
        "duration": 1.0,
        "tolerance": 0.02,
        "max_in_flight": 100,
        "timeout": 1.0,
        **options,
    }
    return await find_capacity(server, slo, **arguments)


@pytest.mark.parametrize("limit", [3.7, 100, 1234.5, 200_000])
async def test_capacity_is_found_to_the_tolerance(template: LoadTestResult, limit: float) -> None:
    found = await capacity(Server(template, limit))
    assert limit * 0.96 <= found.rate <= limit
    assert found.limited_by == "target"
    assert found.result is not None
    assert found.steps[-1].held
    assert found.steps[-1].rate == found.rate


async def test_capacity_says_when_the_generator_was_the_limit(template: LoadTestResult) -> None:
    found = await capacity(Server(template, math.inf, generator_limit=900))
    assert found.limited_by == "generator"
    assert 860 <= found.rate <= 900
    assert "generator-limited" in found.verdict


async def test_an_objective_that_is_never_met_has_no_capacity(template: LoadTestResult) -> None:
    found = await capacity(Server(template, 0), ["p99<1us"])
    assert found.rate == 0
    assert found.verdict == "p99<1us was met at no rate"


async def test_a_bad_objective_is_refused(template: LoadTestResult) -> None:
    for slo in ((), "p99", ["fast"]):
        with pytest.raises(ConfigurationError):
            await capacity(Server(template, 1), slo)


async def test_every_step_of_a_real_search_is_told() -> None:
    async def target() -> None:
        await asyncio.sleep(0.005)

    found = await LoadTester(target).find_capacity("success_rate>=100%", start=20, duration=0.1, tolerance=1)
    assert found.steps[0].rate == 20
    assert all(step.success_rate == 1.0 for step in found.steps)
    assert all(step.held == (step.why == "") for step in found.steps)
    assert found.rate == 0 or any(step.held and step.rate == found.rate for step in found.steps)


# Comparison


def test_mann_whitney_gives_the_known_p_values() -> None:
    """The exact ones are U tables (Mann and Whitney 1947); the approximate one is R's wilcox.test."""
    assert mann_whitney(Counter([1, 2, 3]), Counter([4, 5, 6])) == pytest.approx(0.1)
    assert mann_whitney(Counter([1, 2, 3, 4, 5]), Counter([6, 7, 8, 9, 10])) == pytest.approx(2 / 252)
    assert mann_whitney(Counter([1, 4]), Counter([2, 3])) == 1.0
    assert mann_whitney(Counter([1.0] * 10), Counter([1.0] * 10)) == 1.0
    tied = mann_whitney(Counter({1: 3, 2: 4, 3: 3}), Counter({2: 3, 3: 4, 4: 3}))
    assert tied == pytest.approx(0.0225, abs=0.004)


def with_median(template: LoadTestResult, seconds: float, jitter: random.Random) -> LoadTestResult:
    histogram = LoadHistogram()
    for _ in range(200):
        histogram.record(seconds * (1 + jitter.gauss(0, 0.05)))
    return dataclasses.replace(template, p50=histogram.percentile(50), histogram=histogram, series=())


def test_a_difference_counts_when_it_is_real_and_large_enough(template: LoadTestResult) -> None:
    chance = random.Random(1)
    base = [with_median(template, 0.010, chance) for _ in range(6)]
    same = [with_median(template, 0.010, chance) for _ in range(6)]
    slower = [with_median(template, 0.012, chance) for _ in range(6)]
    hardly = [with_median(template, 0.0102, chance) for _ in range(6)]
    assert not compare(base, same).significant
    worse = compare(base, slower)
    assert worse.regression
    assert worse.change == pytest.approx(0.2, abs=0.03)
    assert worse.method == "medians of runs"
    assert "slower by" in worse.verdict
    assert not compare(slower, base).regression
    assert compare(slower, base).significant
    small = compare(base, hardly, min_effect=0.05)
    assert not small.significant
    assert base[0].compare(slower[0]).method == "single requests"


def test_seconds_are_compared_where_runs_are_long_enough(template: LoadTestResult) -> None:
    def lasting(seconds: int, p50: float) -> LoadTestResult:
        series = tuple(SecondStats(i, 10, 0, 0, p50 * (1 + i / 100), p50, p50, p50) for i in range(seconds))
        return dataclasses.replace(with_median(template, p50, random.Random(2)), series=series)

    assert lasting(10, 0.01).compare(lasting(10, 0.02)).method == "medians of seconds"
    assert lasting(10, 0.01).compare(lasting(10, 0.02)).regression


def test_bad_comparisons_are_refused(template: LoadTestResult) -> None:
    with pytest.raises(ConfigurationError, match="min_effect=-1"):
        template.compare(template, min_effect=-1)
    empty = dataclasses.replace(template, histogram=LoadHistogram())
    with pytest.raises(ConfigurationError, match="answered"):
        template.compare(empty)


# Bottlenecks


@pytest.mark.parametrize(
    ("cpu", "gc_share", "database", "kind"),
    [(0.5, 0.3, 0.9, "gc"), (0.5, 0, 0.9, "database"), (0.99, 0.01, 0.1, "cpu"), (0.1, 0, 0, "waiting")],
)
def test_the_bottleneck_is_named(cpu: float, gc_share: float, database: float, kind: str) -> None:
    assert _name(cpu, gc_share, database, 0.5, 0)[0] == kind


@pytest.mark.parametrize(("waits", "kind"), [((0.7, 0.1), "writer"), ((0.1, 0.7), "connections")])
def test_waiting_for_connections_is_named_before_the_database(waits: tuple[float, float], kind: str) -> None:
    assert _name(0.99, 0, 0.9, None, 0, waits)[0] == kind


async def test_many_writers_wait_for_the_one_writer(tmp_path: Path) -> None:
    async with SQLitePool(tmp_path / "a.db", inline_budget=0) as pool:
        await pool.execute("CREATE TABLE seat (id INTEGER PRIMARY KEY, taken INTEGER)")
        await pool.execute("INSERT INTO seat VALUES (1, 0)")

        async def book() -> None:
            async with pool.transaction() as connection:
                await connection.execute("UPDATE seat SET taken = taken + 1 WHERE id = 1")

        results = await LoadTester(book).run_load_test(400, 16)
    assert results.bottleneck is not None
    assert results.bottleneck.kind == "writer", results.bottleneck
    assert "the database's writer" in results.bottleneck.verdict
    assert results.bottleneck.writer_wait_share > 0.5


async def test_a_target_that_computes_is_bound_by_the_cpu_and_one_that_sleeps_waits() -> None:
    def compute() -> None:
        sum(range(2000))

    async def sleep() -> None:
        await asyncio.sleep(0.01)

    computing = await LoadTester(compute).run_load_test(duration=0.4, concurrent_users=2)
    sleeping = await LoadTester(sleep).run_load_test(duration=0.4, concurrent_users=2)
    assert computing.bottleneck is not None
    assert sleeping.bottleneck is not None
    assert computing.bottleneck.cpu > sleeping.bottleneck.cpu
    assert sleeping.bottleneck.kind == "waiting"
    assert sleeping.to_dict()["bottleneck"]["kind"] == "waiting"


def test_what_p99_follows_is_found_by_ranks() -> None:
    assert _rank_correlation([1, 2, 3, 4], [10, 20, 30, 1000]) == pytest.approx(1)
    assert _rank_correlation([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)
    assert _rank_correlation([1, 1, 1], [1, 2, 3]) == 0
    windows = [WindowStats(i, 100, 0.01 * (i % 4), 0.5, 0.0, 0.1 * (i % 4), 0, None) for i in range(12)]
    assert _follows(windows) == "database time"
    assert _follows(windows[:5]) is None
