"""The page of a load test: what it must say, and that what it draws is what was measured."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from mcp_performance import LoadTester, LoadTestResult
from mcp_performance._core import LoadHistogram, __version__
from mcp_performance.cli import main
from mcp_performance.load import SecondStats
from mcp_performance.load._circumstances import shown_command

NAN = float("nan")
THROUGHPUT = "Throughput (the last second was 0.5 s long)"


async def target() -> None:
    await asyncio.sleep(0)


def with_times(result: LoadTestResult, factor: float) -> LoadTestResult:
    """Times up to 20 ms times *factor*, in ten seconds of 100 requests, of which the last is half as long."""
    histogram = LoadHistogram()
    for i in range(1, 2001):
        histogram.record(factor * i / 1e5)
    p50 = histogram.percentile(50)
    medians = [factor * (0.01 + i / 1e4) for i in range(10)]
    series = [SecondStats(i, 100, i, 0, median, 0.015, 0.02, 0.02) for i, median in enumerate(medians)]
    series[-1] = dataclasses.replace(series[-1], seconds=0.5)
    return dataclasses.replace(result, histogram=histogram, series=tuple(series), p50=p50)


@pytest.fixture(scope="module")
def result() -> LoadTestResult:
    plain = asyncio.run(LoadTester(target).run_load_test(100, 2))
    failed = {"failed": 45, "errors": {"status 500": 45}, "examples": {"status 500": "<b>no</b>"}}
    return with_times(dataclasses.replace(plain, **failed), 1)


def drawings(page: str) -> dict[str, ElementTree.Element]:
    found = [ElementTree.fromstring(svg) for svg in re.findall("<svg.*?</svg>", page, re.DOTALL)]
    return {svg.attrib["aria-label"]: svg for svg in found}


def words(svg: ElementTree.Element) -> list[str]:
    return [text.text or "" for text in svg.iter("text")]


def test_a_page_says_when_where_and_by_what(result: LoadTestResult) -> None:
    page = result.to_html()
    assert re.search(r"<th>Date</th><td>20\d\d-\d\d-\d\d \d\d:\d\d:\d\d", page)
    assert f"mcp-performance {__version__}, Python 3." in page
    assert re.search(r"<th>Machine</th><td>[^<]*\d+ cores, Linux", page)
    assert "2 users, closed model" in page
    assert "@media print" in page


def test_every_chart_has_a_title_labels_and_ticks(result: LoadTestResult) -> None:
    charts = drawings(result.to_html())
    labels = {
        THROUGHPUT: ("time, s", "requests/s"),
        "Response time by second": ("time, s", "response time, ms"),
        "Histogram of 2,000 response times": ("response time, ms (logarithmic)", "requests"),
        "Percentiles of the response time": ("percentile", "response time, ms"),
    }
    assert list(charts) == list(labels)
    for title, svg in charts.items():
        shown = words(svg)
        assert {title, *labels[title]} <= set(shown)
        assert len(shown) >= 3 + 4  # ticks
    assert {"50", "90", "99"} <= set(words(charts["Percentiles of the response time"]))


def test_bars_are_as_high_as_what_they_count(result: LoadTestResult) -> None:
    """The last second was half as long: 100 requests in it are 200 a second."""
    svg = drawings(result.to_html())[THROUGHPUT]
    bars = [rect.attrib for rect in svg.iter("rect") if rect.attrib["fill"] == "#1e88e5"]
    bars = [bar for bar in bars if bar["y"] != "6"]  # the legend
    assert len(bars) == 10
    assert float(bars[-1]["height"]) == pytest.approx(2 * float(bars[0]["height"]), abs=0.2)
    assert float(bars[-1]["width"]) == pytest.approx(float(bars[0]["width"]) / 2, abs=0.5)


def test_seconds_without_an_answer_break_the_line(result: LoadTestResult) -> None:
    dead = dataclasses.replace(result.series[4], successful=0, p50=NAN, p95=NAN, p99=NAN, max=NAN)
    gap = dataclasses.replace(result, series=(*result.series[:4], dead, *result.series[5:]))
    svg = drawings(gap.to_html())["Response time by second"]
    lines = [path.attrib["d"] for path in svg.iter("path") if path.attrib.get("stroke-width")]
    assert [line.count("M") for line in lines] == [2, 2, 2]


def test_errors_are_listed_by_kind(result: LoadTestResult) -> None:
    row = "<td>status 500</td><td class='n'>45</td><td class='n'>45.00%</td><td>&lt;b&gt;no&lt;/b&gt;</td>"
    assert row in result.to_html()


@pytest.mark.parametrize(
    ("factor", "said"), [(2.0, "slower by 100.0% (p ="), (0.5, "faster by 50.0%"), (1.0, "no difference")]
)
def test_two_runs_are_compared_by_a_test(result: LoadTestResult, factor: float, said: str) -> None:
    page = with_times(result, factor).to_html(baseline=result)
    assert "Compared with the baseline" in page
    assert said in page
    assert "Two-sided Mann-Whitney U test over medians of seconds: p = " in page


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["-H", "Authorization: Bearer x"], "-H 'Authorization: ***'"),
        (["-HAuthorization: Bearer x"], "'-HAuthorization: ***'"),
        (["--header", "X-Key: x"], "--header 'X-Key: ***'"),
        (["--header=X-Key: x"], "'--header=X-Key: ***'"),
        (["http://me:secret@host/p"], "'http://***@host/p'"),
        (["-n", "5", "http://host/a@b"], "-n 5 http://host/a@b"),
    ],
)
def test_a_command_is_shown_without_secrets(arguments: list[str], shown: str) -> None:
    assert shown_command(["load", *arguments]) == f"mcp-performance load {shown}"


def test_the_command_line_compares_with_a_saved_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved, page = str(tmp_path / "before.json"), tmp_path / "page.html"
    main(["load", "-n", "50", "-c", "1", "--quiet", "--save", saved])
    main(["load", "-n", "50", "-c", "1", "--quiet", "--baseline", saved, "--html", str(page)])
    assert "against the baseline" in capsys.readouterr().out
    assert "Compared with the baseline" in page.read_text()
    assert main(["load", "-n", "5", "--baseline", str(tmp_path / "none.json")]) == 2
