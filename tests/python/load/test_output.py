"""What comes out of a load test: numbers, files, pages, verdicts."""

from __future__ import annotations

import asyncio
import builtins
import csv
import dataclasses
import io
import json
import math
import random
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from mcp_performance import (
    ConfigurationError,
    LoadTester,
    LoadTestError,
    LoadTestResult,
    Progress,
    merge_results,
)
from mcp_performance._core import LoadHistogram
from mcp_performance.load import RequestStats, SecondStats
from mcp_performance.load._live import shown
from mcp_performance.load._verdict import Evidence, judge


@pytest.fixture(scope="module")
def result() -> LoadTestResult:
    async def target() -> None:
        await asyncio.sleep(0)

    run = LoadTester(target).run_load_test(500, 5, thresholds=["p99<60s", "success_rate>=99%", "rps>1e12"])
    found = asyncio.run(run)
    series = tuple(SecondStats(i, 100 + i, i % 2, 10, 0.001, 0.002, 0.003, 0.004) for i in range(5))
    requests = {name: RequestStats(name, 3, 1, 9, 0.1, 0.1, 0.2, 0.3, 0.4) for name in ("GET /<a>", "GET /b")}
    return dataclasses.replace(found, series=series, requests=requests, errors={"<script>": 2})


def test_thresholds_are_told_one_by_one(result: LoadTestResult) -> None:
    assert result.thresholds == {"p99<60s": True, "success_rate>=99%": True, "rps>1e12": False}
    assert not result.passed


def test_json_holds_every_figure(result: LoadTestResult, tmp_path: Path) -> None:
    text = result.to_json(tmp_path / "r.json")
    plain = json.loads(text)
    assert json.loads((tmp_path / "r.json").read_text()) == plain
    for name in (
        "total_requests",
        "requests_per_second",
        "success_rate",
        "avg_response_time",
        "p50",
        "p95",
        "p99",
        "p999",
    ):
        assert plain[name] == getattr(result, name)
    assert sum(count for _, _, count in plain["histogram"]) == result.histogram.count
    assert plain["errors"] == {"<script>": 2}
    assert len(plain["series"]) == 5


def test_csv_has_a_line_a_second(result: LoadTestResult) -> None:
    rows = list(csv.DictReader(io.StringIO(result.to_csv())))
    assert [int(row["second"]) for row in rows] == [0, 1, 2, 3, 4]
    assert float(rows[3]["p99"]) == 0.003


def test_html_shows_the_verdict_and_escapes_what_it_was_given(result: LoadTestResult, tmp_path: Path) -> None:
    page = result.to_html(tmp_path / "r.html")
    assert page.startswith("<!doctype html>")
    assert "GET /&lt;a&gt;" in page
    assert "<script>" not in page
    assert result.reason in page
    assert ("INVALID" in page) == (not result.valid)
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert result._repr_html_() in page


def test_junit_has_a_case_for_each_condition(result: LoadTestResult) -> None:
    suite = ElementTree.fromstring(result.to_junit())
    assert suite.get("tests") == "4"
    failures = {case.get("name") for case in suite.iter("testcase") if case.find("failure") is not None}
    assert "rps>1e12" in failures
    assert "p99<60s" not in failures
    assert ("the run is valid" in failures) == (not result.valid)


def test_the_text_has_the_figures_people_look_for(result: LoadTestResult) -> None:
    text = str(result)
    for word in ("requests/s", "success rate", "p50", "p95", "p99", "threshold", "rps>1e12  FAILED"):
        assert word in text


def test_intervals_hold_the_percentile_as_often_as_they_say(result: LoadTestResult) -> None:
    """Exponential times, whose percentiles are known: 95 of 100 intervals, give or take four deviations."""
    chance = random.Random(5)
    inside = 0
    for _ in range(200):
        histogram = LoadHistogram()
        for _ in range(1000):
            histogram.record(chance.expovariate(100))
        low, high = dataclasses.replace(result, histogram=histogram).interval(95)
        inside += low <= math.log(20) / 100 <= high
    assert inside >= 178


def test_too_few_samples_have_no_upper_end(result: LoadTestResult) -> None:
    histogram = LoadHistogram()
    for value in range(1, 100):
        histogram.record(value / 1000)
    few = dataclasses.replace(result, histogram=histogram)
    assert few.interval(99)[1] == math.inf
    assert few.interval(50)[0] < 0.05 < few.interval(50)[1]
    with pytest.raises(ConfigurationError, match="percent=101"):
        few.interval(101)


def test_a_closed_loop_is_corrected_only_when_the_interval_is_given(result: LoadTestResult) -> None:
    """One request of 1 s among those of 10 ms, due every 100 ms: 900, 800, ... 100 ms are missing."""
    histogram = LoadHistogram()
    for value in [0.01] * 9 + [1.0]:
        histogram.record(value)
    closed = dataclasses.replace(result, model="closed", histogram=histogram, max=1.0)
    corrected = closed.corrected_by(0.1)
    assert corrected.count == 10 + 9
    assert corrected.percentile(100 * 10 / 19) == pytest.approx(0.1, rel=0.01)
    assert corrected.max == pytest.approx(1.0, rel=0.001)
    assert closed.histogram.count == 10
    with pytest.raises(ConfigurationError, match="open model"):
        dataclasses.replace(closed, model="open").corrected_by(0.1)
    with pytest.raises(ConfigurationError, match="interval=0"):
        closed.corrected_by(0)


def test_a_plot_without_matplotlib_names_what_to_install(
    result: LoadTestResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def refuse(name: str, *rest: Any, **options: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *rest, **options)

    monkeypatch.setattr("importlib.import_module", refuse)
    with pytest.raises(LoadTestError, match=r"mcp-performance\[notebook\]"):
        result.plot()


# Files and merging


def test_a_result_comes_back_from_its_file(result: LoadTestResult, tmp_path: Path) -> None:
    result.save(tmp_path / "run")
    back = LoadTestResult.load(tmp_path / "run")
    assert back.to_dict() == {**result.to_dict(), "bottleneck": None}
    assert back.histogram.state() == result.histogram.state()


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": "x", "version": 1}', "\x00"])
def test_a_file_that_is_no_result_is_an_error(text: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_text(text)
    with pytest.raises(LoadTestError, match="not a load test result"):
        LoadTestResult.load(tmp_path / "x")


def test_merged_percentiles_are_those_of_all_requests(result: LoadTestResult, tmp_path: Path) -> None:
    chance = random.Random(3)
    everything = LoadHistogram()
    parts: list[LoadTestResult | str | Path] = []
    for i in range(4):
        histogram = LoadHistogram()
        for _ in range(1000):
            value = chance.expovariate(1 / (0.01 * (i + 1)))
            histogram.record(value)
            everything.record(value)
        part = dataclasses.replace(
            result, histogram=histogram, service_histogram=histogram,
            total_requests=1000, successful=990, failed=10,
            errors={"timeout": 10}, requests_per_second=100.0, concurrent_users=5,
            valid=i != 2, verdict="ok" if i != 2 else "stalled", reason=f"reason {i}",
        )  # fmt: skip
        if i % 2:
            part.save(tmp_path / f"{i}")
            parts.append(tmp_path / f"{i}")
        else:
            parts.append(part)
    merged = merge_results(parts)
    assert merged.histogram.state() == everything.state()
    assert (merged.p50, merged.p99, merged.p999) == tuple(everything.percentile(q) for q in (50, 99, 99.9))
    assert merged.avg_response_time == pytest.approx(everything.mean)
    assert (merged.total_requests, merged.successful, merged.failed) == (4000, 3960, 40)
    assert merged.errors == {"timeout": 40}
    assert merged.requests_per_second == 400
    assert merged.concurrent_users == 20
    assert merged.success_rate == 0.99
    assert not merged.valid
    assert merged.verdict == "stalled"
    assert merged.reason == "reason 2"
    assert merged.series[0].successful == 400
    assert merged.requests["GET /b"].successful == 12


def test_what_cannot_be_merged_is_refused(result: LoadTestResult) -> None:
    with pytest.raises(ConfigurationError, match="at least one"):
        merge_results([])
    with pytest.raises(ConfigurationError, match="one model"):
        merge_results([result, dataclasses.replace(result, model="open")])


# Progress in the terminal


def test_progress_is_drawn_by_what_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    now = Progress(10, 1, 0.5, 0.5, 20.0)
    with shown(None, "x") as callback:
        assert callback is None
    with shown(print, "x") as callback:
        assert callback is print
    with shown(True, "[bold]x") as callback:
        assert callback is not None
        callback(now)
    with pytest.raises(TypeError, match="progress=3: expected a bool"), shown(3, "x"):  # type: ignore[arg-type]
        pass


# The saturation rules, one by one


def report(**changes: Any) -> dict[str, Any]:
    response = LoadHistogram()
    for _ in range(5000):
        response.record(0.01)
    base: dict[str, Any] = {
        "successful": 5000, "failed": 0, "abandoned": 0, "not_sent": 0, "waited_for_user": 0,
        "parked_users": 0,
        "generator_limit": "", "generator_cpu": 0.5, "elapsed": 5.0, "busy": 50.0, "errors": {},
        "last_due": 5.0, "last_sent": 5.0, "send_lag": LoadHistogram(),
        "response": response, "service": response,
    }  # fmt: skip
    return {**base, **changes}


def histogram_of(value: float) -> LoadHistogram:
    histogram = LoadHistogram()
    for _ in range(1000):
        histogram.record(value)
    return histogram


CLOSED = Evidence(open_model=False, http=True, users=10)
OPEN = Evidence(open_model=True, http=True, users=10)
INSIDE = Evidence(open_model=False, http=False, users=10)


@pytest.mark.parametrize(
    ("changes", "evidence", "reason"),
    [
        ({}, CLOSED, None),
        ({}, OPEN, None),
        ({}, INSIDE, None),
        ({"generator_cpu": 4.2}, CLOSED, "used 84% of a core"),
        ({"busy": 30.0}, CLOSED, "6.0 of 10 users were in a request"),
        ({"busy": 30.0}, dataclasses.replace(CLOSED, think=True), None),
        (
            {"generator_limit": "too many open files", "parked_users": 3},
            CLOSED,
            "3 users never got a connection",
        ),
        ({"not_sent": 60}, OPEN, "only 98.8% of the planned rate"),
        ({"last_sent": 5.2}, OPEN, "only 96.2% of the planned rate"),
        ({"send_lag": histogram_of(0.002)}, OPEN, "sent 2 ms late"),
        ({"send_lag": histogram_of(0.0009)}, OPEN, None),
        ({"waited_for_user": 100}, OPEN, "2.0% of the requests waited because 10 were in flight"),
        ({}, dataclasses.replace(INSIDE, null_cost=0.003), "30% of the median service time"),
        ({}, dataclasses.replace(INSIDE, null_cost=0.001), None),
        (
            {},
            dataclasses.replace(INSIDE, late=histogram_of(0.002)),
            "the event loop was late by 2 ms",
        ),
        ({}, dataclasses.replace(INSIDE, late=histogram_of(0.0009)), None),
        ({"successful": 0, "response": LoadHistogram()}, CLOSED, "no request succeeded"),
    ],
)
def test_each_rule_says_why_a_run_is_invalid(
    changes: dict[str, Any], evidence: Evidence, reason: str | None
) -> None:
    found = judge(report(**changes), evidence)
    assert found.valid == (reason is None), found.reason
    assert found.reason
    if reason is not None:
        assert reason in found.reason
