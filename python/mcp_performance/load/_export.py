"""A result as HTML, CSV and JUnit XML."""

from __future__ import annotations

import csv
import io
from html import escape
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from ._stats import fields_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._result import LoadTestResult

__all__ = ["csv_text", "html_fragment", "html_page", "junit_text"]

_STYLE = """
.mcp-load { font: 14px/1.45 system-ui, sans-serif; max-width: 60rem }
.mcp-load table { border-collapse: collapse; margin: .6rem 0 }
.mcp-load td, .mcp-load th { padding: .15rem .7rem; border-bottom: 1px solid #8884; text-align: left }
.mcp-load td.n, .mcp-load th.n { text-align: right; font-variant-numeric: tabular-nums }
.mcp-load .bad { color: #c62828 } .mcp-load .good { color: #2e7d32 }
"""
_WIDTH, _HEIGHT = 640, 160


def html_fragment(result: LoadTestResult) -> str:
    """What a notebook shows."""
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td{_mark(name, result)}>{escape(value)}</td></tr>"
        for name, value in result._rows()
    )
    parts = [f"<style>{_STYLE}</style><div class='mcp-load'><table>{rows}</table>"]
    if len(result.requests) > 1:
        parts.append(_requests_table(result))
    if sum(not second.partial for second in result.series) > 1:
        whole = [second for second in result.series if not second.partial]
        last = f", and {result.series[-1].seconds:.2g} s more" if result.series[-1].partial else ""
        parts.append(_chart(f"requests/s{last}", [float(second.successful) for second in whole]))
        parts.append(_chart("p99, ms", [second.p99 * 1e3 for second in whole]))
    parts.append("</div>")
    return "".join(parts)


def _mark(name: str, result: LoadTestResult) -> str:
    if name == "verdict":
        return " class='good'" if result.valid else " class='bad'"
    return ""


def _requests_table(result: LoadTestResult) -> str:
    head = "".join(
        f"<th class='n'>{text}</th>" for text in ("requests", "failed", "mean", "p50", "p95", "p99")
    )
    lines = []
    for stats in result.requests.values():
        shown = (stats.avg, stats.p50, stats.p95, stats.p99)
        times = "".join(f"<td class='n'>{value * 1e3:.2f}</td>" for value in shown)
        lines.append(
            f"<tr><td>{escape(stats.name)}</td><td class='n'>{stats.successful + stats.failed:,}</td>"
            f"<td class='n'>{stats.failed:,}</td>{times}</tr>"
        )
    return f"<table><tr><th>request (times in ms)</th>{head}</tr>{''.join(lines)}</table>"


def _chart(label: str, values: Sequence[float]) -> str:
    top = max(values) or 1.0
    step = _WIDTH / max(1, len(values) - 1)
    points = " ".join(
        f"{i * step:.1f},{_HEIGHT - value / top * (_HEIGHT - 20):.1f}" for i, value in enumerate(values)
    )
    return (
        f"<svg viewBox='0 0 {_WIDTH} {_HEIGHT}' width='{_WIDTH}' "
        f"role='img' aria-label='{escape(label)} by second'>"
        f"<text x='0' y='12' font-size='12' fill='currentColor'>{escape(label)}, up to {top:,.4g}</text>"
        f"<polyline points='{points}' fill='none' stroke='#1565c0' stroke-width='1.5'/></svg>"
    )


def html_page(result: LoadTestResult) -> str:
    """A page of its own, without anything from elsewhere."""
    title = escape(f"Load test of {result.target}")
    return (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{title}</title>"
        f"<body><h1 style='font:600 20px system-ui'>{title}</h1>{html_fragment(result)}</body></html>\n"
    )


def csv_text(result: LoadTestResult) -> str:
    """One line a second."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    columns = ("second", "seconds", "successful", "failed", "bytes", "p50", "p95", "p99", "max")
    writer.writerow(columns)
    for second in result.series:
        writer.writerow(["" if value is None else value for value in map(fields_of(second).get, columns)])
    return out.getvalue()


def junit_text(result: LoadTestResult) -> str:
    """A test suite with one case for the validity of the run and one for each threshold."""
    cases: list[tuple[str, str | None]] = [
        ("the run is valid", None if result.valid else f"{result.verdict}: {result.reason}")
    ]
    cases += [
        (expression, None if held else f"{expression} does not hold")
        for expression, held in result.thresholds.items()
    ]
    suite = ElementTree.Element(
        "testsuite",
        name=f"load test of {result.target}",
        tests=str(len(cases)),
        failures=str(sum(failure is not None for _, failure in cases)),
        time=f"{result.elapsed:.3f}",
    )
    for name, failure in cases:
        case = ElementTree.SubElement(suite, "testcase", classname="mcp_performance.load", name=name)
        if failure is not None:
            ElementTree.SubElement(case, "failure", message=failure)
    ElementTree.SubElement(suite, "system-out").text = result.summary()
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True)
