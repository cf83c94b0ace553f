"""A result as a page: what was run, where and when, what came out, and how it differs from another run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from .._base._durations import short
from ._charts import Bars, Line, Scale, chart, linear, logarithmic
from ._compare import compare

if TYPE_CHECKING:
    from ._result import LoadTestResult

__all__ = ["html_fragment", "html_page"]

_STYLE = """
.mcp-load { font: 14px/1.45 system-ui, sans-serif; max-width: 60rem }
.mcp-load table { border-collapse: collapse; margin: .6rem 0 }
.mcp-load td, .mcp-load th { padding: .15rem .6rem; border-bottom: 1px solid #8884; text-align: left;
  vertical-align: top; overflow-wrap: anywhere }
.mcp-load th { white-space: nowrap; font-weight: 600 }
.mcp-load td.n, .mcp-load th.n { text-align: right; font-variant-numeric: tabular-nums }
.mcp-load td.n { white-space: nowrap } .mcp-load th.n { white-space: normal }
.mcp-load .bad { color: #c62828; color: light-dark(#c62828, #ff8a80) }
.mcp-load .good { color: #2e7d32; color: light-dark(#2e7d32, #81c784) }
.mcp-load svg { display: block; max-width: 100%; height: auto; margin: .8rem 0; font-size: 12px }
.mcp-load svg text { fill: currentColor }
.mcp-load h2 { font-size: 16px; margin: 1.2rem 0 .2rem }
@media (max-width: 40rem) {
  .mcp-load { font-size: 12px }
  .mcp-load td, .mcp-load th { padding: .15rem .25rem }
  .mcp-load th, .mcp-load td.n { white-space: normal }
}
@media print {
  .mcp-load { max-width: none; color: #000; background: #fff }
  .mcp-load svg, .mcp-load table, .mcp-load tr { break-inside: avoid }
  .mcp-load h2 { break-after: avoid }
}
"""
_PAGE = """
@page { margin: 15mm }
:root { color-scheme: light dark }
body { margin: 1.5rem }
h1 { font: 600 20px system-ui; overflow-wrap: anywhere }
@media print { body { margin: 0 } }
"""
_BLUE, _RED, _ORANGE, _GREEN = "#1e88e5", "#d32f2f", "#ef6c00", "#43a047"
_BINS = 60
# The odds against a request above a percentile, and its name.
_QUANTILES = (
    (1.0, "0"),
    (2.0, "50"),
    (10.0, "90"),
    (100.0, "99"),
    (1e3, "99.9"),
    (1e4, "99.99"),
    (1e5, "99.999"),
)


def html_fragment(result: LoadTestResult) -> str:
    """What a notebook shows."""
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td{_mark(name, result)}>{escape(value.replace('  ', ', '))}</td></tr>"
        for name, value in result._rows()
    )
    parts = [f"<style>{_STYLE}</style><div class='mcp-load'><table>{rows}</table>"]
    if len(result.requests) > 1:
        parts.append(_requests_table(result))
    parts += [_throughput(result), _times(result), _distribution(result), _percentiles(result)]
    return "".join((*parts, "</div>"))


def html_page(result: LoadTestResult, baseline: LoadTestResult | None = None) -> str:
    """A page of its own, without anything from elsewhere."""
    title = escape(f"Load test of {result.target}")
    parts = [f"<h1>{title}</h1>", _table("What was run", _made(result)), html_fragment(result)]
    if result.errors:
        parts.append(_errors(result))
    if baseline is not None:
        parts.append(_comparison(baseline, result))
    return (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{title}</title>"
        "<meta name='viewport' content='width=device-width'>"
        f"<style>{_PAGE}</style><body><main>{''.join(parts)}</main></body></html>\n"
    )


def _made(result: LoadTestResult) -> list[tuple[str, str]]:
    rate = "" if result.target_rate is None else f", {result.target_rate:,g} requests/s planned"
    users = f"{result.concurrent_users:,} users{rate}, {result.model} model"
    made = [(name.capitalize(), text) for name, text in result.made.items() if text]
    return [*made, ("Load", users), ("Length", f"{result.elapsed:.2f} s")]


def _table(title: str, rows: Sequence[tuple[str, str]]) -> str:
    lines = "".join(f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in rows)
    return f"<div class='mcp-load'><h2>{escape(title)}</h2><table>{lines}</table></div>"


def _mark(name: str, result: LoadTestResult) -> str:
    if name == "verdict":
        return " class='good'" if result.valid else " class='bad'"
    return ""


def _errors(result: LoadTestResult) -> str:
    total = result.total_requests
    lines = "".join(
        f"<tr><td>{escape(kind)}</td><td class='n'>{count:,}</td><td class='n'>{count / total:.2%}</td>"
        f"<td>{escape(result.examples.get(kind, ''))}</td></tr>"
        for kind, count in result.errors.items()
    )
    head = "<tr><th>error</th><th class='n'>requests</th><th class='n'>of all</th><th>the first</th></tr>"
    return f"<div class='mcp-load'><h2>Errors by kind</h2><table>{head}{lines}</table></div>"


def _requests_table(result: LoadTestResult) -> str:
    head = "".join(
        f"<th class='n'>{text}</th>" for text in ("requests", "failed", "mean", "p50", "p95", "p99")
    )
    lines = []
    for stats in (*result.requests.values(), *result.tags.values()):
        shown = (stats.avg, stats.p50, stats.p95, stats.p99)
        tag = "" if result.requests.get(stats.name) is stats else "tag "
        times = "".join(f"<td class='n'>{_ms(value)}</td>" for value in shown)
        lines.append(
            f"<tr><td>{tag}{escape(stats.name)}</td><td class='n'>{stats.successful + stats.failed:,}</td>"
            f"<td class='n'>{stats.failed:,}</td>{times}</tr>"
        )
    return f"<table><tr><th>request (times in ms)</th>{head}</tr>{''.join(lines)}</table>"


def _ms(value: float) -> str:
    return "" if math.isnan(value) else f"{value * 1e3:.2f}"


# Charts


def _throughput(result: LoadTestResult) -> str:
    if len(result.series) < 2:
        return ""
    good, bad = [], []
    for point in result.series:
        begin, end = float(point.second), point.second + point.seconds
        low, high = point.successful / point.seconds, (point.successful + point.failed) / point.seconds
        good.append((begin, end, 0.0, low))
        bad.append((begin, end, low, high))
    top = max(box[3] for box in bad)
    layers = [Bars("successful", good, _BLUE)]
    if result.failed:
        layers.append(Bars("failed", bad, _RED))
    last = result.series[-1]
    title = f"Throughput (the last second was {last.seconds:.2g} s long)" if last.partial else "Throughput"
    return chart(title, _time_axis(result), "time, s", linear(0, top), "requests/s", layers)


def _time_axis(result: LoadTestResult) -> Scale:
    return linear(0, result.series[-1].second + result.series[-1].seconds, room=False)


def _times(result: LoadTestResult) -> str:
    times = [point.p99 for point in result.series if not math.isnan(point.p99)]
    if len(result.series) < 2 or not times:
        return ""
    layers = []
    for name, color in (("p50", _GREEN), ("p95", _ORANGE), ("p99", _RED)):
        points = [(point.second + point.seconds / 2, getattr(point, name) * 1e3) for point in result.series]
        layers.append(Line(name, points, color))
    top = linear(0, max(times) * 1e3)
    return chart("Response time by second", _time_axis(result), "time, s", top, "response time, ms", layers)


def _distribution(result: LoadTestResult) -> str:
    """How many requests took how long, in slots that are as wide as each other on a logarithmic axis."""
    slots = [(low * 1e3, high * 1e3, count) for low, high, count in result.histogram.slots()]
    if not slots:
        return ""
    low, high = max(slots[0][0], 1e-6), slots[-1][1]
    width = math.log(high / low) / _BINS if high > low else 1.0
    bins = [0] * _BINS
    for begin, end, count in slots:
        middle = math.sqrt(max(begin, low) * end)
        bins[min(_BINS - 1, max(0, int(math.log(middle / low) / width)))] += count
    boxes = [
        (low * math.exp(i * width), low * math.exp((i + 1) * width), 0.0, float(count))
        for i, count in enumerate(bins)
    ]
    return chart(
        f"Histogram of {result.histogram.count:,} response times",
        logarithmic(low, high),
        "response time, ms (logarithmic)",
        linear(0, max(bins)),
        "requests",
        [Bars("requests", boxes, _BLUE)],
    )


def _percentiles(result: LoadTestResult) -> str:
    """Up to the last percentile that ten requests are above."""
    histogram = result.histogram
    if not histogram.count:
        return ""
    last = max(2.0, histogram.count / 10)
    steps = 120
    odds = [last ** (i / steps) for i in range(steps + 1)]
    points = [(one, histogram.percentile(100 * (1 - 1 / one)) * 1e3) for one in odds]
    return chart(
        "Percentiles of the response time",
        logarithmic(1.0, last, _QUANTILES),
        "percentile",
        linear(0, max(time for _, time in points)),
        "response time, ms",
        [Line("response time", points, _BLUE)],
    )


# Two runs

_COMPARED = (
    ("throughput, requests/s", "requests_per_second", False),
    ("success rate", "success_rate", False),
    ("mean", "avg_response_time", True),
    ("p50", "p50", True),
    ("p95", "p95", True),
    ("p99", "p99", True),
    ("p99.9", "p999", True),
)


def _plain(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _comparison(before: LoadTestResult, after: LoadTestResult) -> str:
    lines = []
    for label, name, is_time in _COMPARED:
        old, new = float(getattr(before, name)), float(getattr(after, name))
        texts = (short(old), short(new)) if is_time else (_plain(old), _plain(new))
        change = f"{new / old - 1:+.1%}" if old and not math.isnan(new / old) else ""
        cells = "".join(f"<td class='n'>{text}</td>" for text in (*texts, change))
        lines.append(f"<tr><th>{escape(label)}</th>{cells}</tr>")
    if before.histogram.count and after.histogram.count:
        found = compare(before, after)
        mark = " class='bad'" if found.regression else " class='good'" if found.significant else ""
        test = f"Two-sided Mann-Whitney U test over {found.method}: p = {found.p_value:.3g}."
        said = f"<p{mark}>Median response time: {escape(found.verdict)}.</p><p>{escape(test)}</p>"
    else:
        said = "<p>One of them has no answered requests to compare.</p>"
    invalid = [word for word, run in (("baseline", before), ("this run", after)) if not run.valid]
    if invalid:
        said += f"<p class='bad'>Not valid: {' and '.join(invalid)}.</p>"
    names = ("figure", f"baseline {before.made.get('date', '')}", "this run", "change")
    head = "".join(f"<th{' class=n' * (at > 0)}>{escape(name)}</th>" for at, name in enumerate(names))
    table = f"<table><tr>{head}</tr>{''.join(lines)}</table>"
    return f"<div class='mcp-load'><h2>Compared with the baseline</h2>{table}{said}</div>"
