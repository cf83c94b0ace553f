"""What the demo found, as text for a terminal and as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from string import Template

from .._base._durations import fixed

__all__ = ["Advice", "Figures", "Findings", "Slow", "as_html", "as_text"]


@dataclass(frozen=True, slots=True)
class Figures:
    """One half of the run. Times in seconds, rates from 0 to 1, throughput in requests a second."""

    label: str
    requests: int
    throughput: float
    mean: float
    p95: float
    p99: float
    success_rate: float
    cache_hit_rate: float | None
    database_seconds: float
    valid: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Slow:
    """A slow query of the first half: how often, how long, why."""

    sql: str
    calls: int
    mean: float
    p95: float
    causes: Sequence[str]


@dataclass(frozen=True, slots=True)
class Advice:
    """An index that the planner uses; costs are virtual-machine steps of the queries that use it."""

    ddl: str
    queries: int
    cost_before: float | None
    cost_after: float | None
    verified: bool


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything that the demo reports; every figure was measured in this run."""

    machine: str
    date: str
    flights: int
    before: Figures
    after: Figures
    slow: Sequence[Slow]
    advice: Sequence[Advice]
    recommendations: Sequence[str]


def _percent(value: float | None) -> str:
    return "none" if value is None else f"{value * 100:.1f} %"


_ROWS: tuple[tuple[str, Callable[[Figures], str]], ...] = (
    ("requests", lambda figures: f"{figures.requests:,}"),
    ("throughput", lambda figures: f"{figures.throughput:,.0f} /s"),
    ("mean", lambda figures: fixed(figures.mean)),
    ("P95", lambda figures: fixed(figures.p95)),
    ("P99", lambda figures: fixed(figures.p99)),
    ("success rate", lambda figures: _percent(figures.success_rate)),
    ("cache hit rate", lambda figures: _percent(figures.cache_hit_rate)),
    ("database time", lambda figures: fixed(figures.database_seconds)),
    ("trust in the numbers", lambda figures: "valid" if figures.valid else figures.reason),
)

# What a reader wants to know first: the higher, or the lower, the better.
_GAINS: dict[str, Callable[[Figures, Figures], float]] = {
    "throughput": lambda before, after: after.throughput / max(before.throughput, 1e-9),
    "mean": lambda before, after: before.mean / max(after.mean, 1e-9),
    "P95": lambda before, after: before.p95 / max(after.p95, 1e-9),
    "P99": lambda before, after: before.p99 / max(after.p99, 1e-9),
    "database time": lambda before, after: before.database_seconds / max(after.database_seconds, 1e-9),
}


def _where(findings: Findings) -> str:
    return f"{findings.flights:,} flights, {findings.machine}, {findings.date}"


def _table(findings: Findings) -> list[tuple[str, str, str, str]]:
    rows = []
    for name, show in _ROWS:
        gain = _GAINS.get(name)
        times = f"{gain(findings.before, findings.after):,.1f} x" if gain else ""
        rows.append((name, show(findings.before), show(findings.after), times))
    return rows


def _costs(advice: Advice) -> str:
    queries = f"{advice.queries} {'query' if advice.queries == 1 else 'queries'}"
    if advice.cost_before is None or advice.cost_after is None:
        return f"{queries}, confirmed by the planner"
    return f"{queries}, {advice.cost_before:,.0f} -> {advice.cost_after:,.0f} steps, tried on a copy"


def as_text(findings: Findings) -> str:
    """The report for a terminal."""
    halves = (findings.before, findings.after)
    doubts = {half.reason: half for half in halves if not half.valid}
    rows = [("", findings.before.label, findings.after.label, "gain")]
    for name, *cells in _table(findings):  # a reason is a sentence: it stands below
        before, after, gain = ("not valid" if cell in doubts else cell for cell in cells)
        rows.append((name, before, after, gain))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [_where(findings), ""]
    for number, (name, *cells) in enumerate(rows):
        shown = "  ".join(cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
        lines.append(f"{name.ljust(widths[0])}  {shown}".rstrip())
        if number == 0:
            lines.append("-" * (sum(widths) + 6))
    lines += [f"{half.label} is not valid: {reason}" for reason, half in doubts.items()]
    lines += ["", "Slow queries without indexes"] + ([] if findings.slow else ["  none"])
    for slow in findings.slow:
        lines.append(f"  {slow.calls:,} calls, mean {fixed(slow.mean)}, P95 {fixed(slow.p95)}")
        lines.append(f"    {slow.sql}")
        lines += [f"    - {cause}" for cause in slow.causes]
    lines += ["", "Index advice, created for the second half"] + ([] if findings.advice else ["  none"])
    lines += [f"  {advice.ddl}\n    {_costs(advice)}" for advice in findings.advice]
    lines += ["", "Recommendations of the running service"]
    lines += [f"  - {recommendation}" for recommendation in findings.recommendations or ["none"]]
    return "\n".join(lines)


def _bars(findings: Findings) -> str:
    longest = max(findings.before.p99, findings.after.p99, 1e-9)
    cells = []
    for figures, kind in ((findings.before, "before"), (findings.after, "after")):
        for name, value in (("mean", figures.mean), ("P95", figures.p95), ("P99", figures.p99)):
            cells.append(
                f"<span>{name}, {escape(figures.label)}</span>"
                f'<div class="{kind}" style="width:{value / longest * 100:.2f}%"></div>'
                f"<span>{fixed(value)}</span>"
            )
    return "".join(cells)


def _items(texts: Sequence[str]) -> str:
    return "".join(f"<li>{escape(text)}</li>" for text in texts)


def as_html(findings: Findings) -> str:
    """The same report as one page without any outside resource."""
    page = Template(resources.files("mcp_performance.demo").joinpath("report.html").read_text("utf-8"))
    rows = [
        "<tr>"
        + "".join(f"<td>{escape(cell)}</td>" for cell in row[:3])
        + f'<td class="gain">{row[3]}</td></tr>'
        for row in _table(findings)
    ]
    slow = [
        f"<p>{item.calls:,} calls, mean {fixed(item.mean)}, P95 {fixed(item.p95)}</p>"
        f"<pre>{escape(item.sql)}</pre><ul>{_items(item.causes)}</ul>"
        for item in findings.slow
    ]
    advice = [f"<pre>{escape(item.ddl)}</pre><p>{_costs(item)}</p>" for item in findings.advice]
    return page.substitute(
        where=escape(_where(findings)),
        before=escape(findings.before.label),
        after=escape(findings.after.label),
        table="".join(rows),
        bars=_bars(findings),
        slow="".join(slow) or "<p>none</p>",
        advice="".join(advice) or "<p>none</p>",
        recommendations=_items(findings.recommendations or ["none"]),
    )
