"""The conditions of users: what they say, what holds, and what is refused with its reason."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mcp_performance import ConfigurationError, LoadTester, LoadTestResult
from mcp_performance.load import RequestStats, SecondStats
from mcp_performance.load._thresholds import check_thresholds


@pytest.fixture(scope="module")
def result() -> LoadTestResult:
    async def target() -> None:
        await asyncio.sleep(0)

    found = asyncio.run(LoadTester(target).run_load_test(100, 2))
    fields = {
        "series": tuple(SecondStats(i, 100, i, 0, 0.001, 0.002, 0.01 * (i + 1), 0.1) for i in range(4)),
        "requests": {
            "GET /fast": RequestStats("GET /fast", 90, 0, 0, 0.01, 0.01, 0.02, 0.02, 0.02, 0.02),
            "login": RequestStats("login", 5, 5, 0, 0.5, 0.5, 0.6, 0.7, 0.8, 0.8),
        },
        "elapsed": 4.0,
    }
    for name, value in fields.items():
        object.__setattr__(found, name, value)
    return found


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        ("p99{GET /fast}<50ms", True),
        ("p99{login}<50ms", False),
        ("p99{name:login}<1s", True),
        ("p99.9{login}<=800ms", True),
        ("error_rate{login}<=50%", True),
        ("success_rate{login}>0.5", False),
        ("rps{GET /fast}>20", True),
        ("avg{login}<0.6s", True),
        ("p99[0s..2s]<=20ms", True),
        ("p99[2s..4s]<=20ms", False),
        ("p99[2s..]<=40ms", True),
        ("p99[..1s]<=10ms", True),
        ("failed[1s..3s]<=3", True),
        ("error_rate[..1s]<=0", True),
        ("rps[0s..4s]>=100", True),
        ("p99[60s..]<1s", False),
        (" p99 < .05 s ", True),
        ("failed>=0", True),
        ("success_rate>=1", True),
        ("error_rate<=100%", True),
    ],
)
def test_a_condition_is_about_a_kind_or_a_window(
    result: LoadTestResult, expression: str, holds: bool
) -> None:
    (threshold,) = check_thresholds([expression], ["GET /fast", "login"])
    assert threshold.holds(result) is holds


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("p99<50", "'p99<50ms'"),
        ("max<1", "'max<1ms'"),
        ("p99{login}<50", "'p99{login}<50ms'"),
        ("p99[1s..2s]<50", r"'p99\[1s..2s\]<50ms'"),
        ("rps>5ms", "fitting unit"),
        ("success_rate>1ms", "fitting unit"),
        ("p99<50m", "us, ms or s, instead of 'm'"),
        ("p99<5%", "instead of '%'"),
        ("p90<5ms", "p95, .* instead of 'p90'"),
        ("P99<5ms", "instead of 'P99'"),
        ("p99==5ms", "instead of '=='"),
        ("p99=<5ms", "instead of '=<'"),
        ("p99<0,05s", "instead of '0,05'"),
        ("failed<-1", "not negative, instead of '-1'"),
        ("p99<nans", "not negative"),
        ("p99<1e999s", "not negative"),
        ("p99<5ms<6ms", "a condition such as"),
        ("p99", "a condition such as"),
        ("", "a condition such as"),
        ("success_rate>=99.9", "such as 99.9%"),
        ("success_rate>=101%", "up to 100%"),
        ("error_rate<1", "such as 1%"),
        ("p99[0.5s..2s]<5ms", "whole seconds"),
        ("p99[3s..]<5ms", "within the run of 3 s"),
        ("p99{nobody}<5ms", "nobody"),
        ("p99[2s..1s]<5ms", r"\[10s..30s\]"),
        ("p99[soon]<5ms", r"\[10s..30s\]"),
        ("avg[1s..2s]<5ms", "p50"),
        ("service_p99{login}<5ms", "p50"),
        ("p99{login}[1s..2s]<5ms", "not both"),
    ],
)
def test_a_condition_that_cannot_be_meant_is_refused(expression: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        check_thresholds([expression], ["login"], length=3.0)


@pytest.mark.parametrize("given", ["p99<5ms", b"p99<5ms", [None], [5], [b"p99<5ms"]])
def test_a_condition_is_a_text(given: Any) -> None:
    with pytest.raises(TypeError, match="thresholds"):
        check_thresholds(given)


async def test_a_failing_threshold_does_not_shorten_a_run_unless_told_to() -> None:
    async def fails() -> None:
        await asyncio.sleep(0)
        raise ValueError

    whole = await LoadTester(fails).run_load_test(5000, 2, thresholds=["failed<1"])
    assert whole.total_requests == 5000
    assert whole.verdict == "failures"
    cut = await LoadTester(fails).run_load_test(
        duration=600, concurrent_users=2, thresholds=["failed<1"], abort_on_fail=True
    )
    assert cut.elapsed < 600
    assert cut.verdict == "partial"
    assert "threshold" in cut.reason
