"""Reports and advice as HTML, for notebooks and the command line. No scripts, nothing from elsewhere.

They are those of :mod:`._report`, which renders itself by this module.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

__all__ = ["SAMENESS", "advice_as_html", "page", "report_as_html"]

_STYLE = """<style>
.mcp-q{font:14px/1.45 system-ui,sans-serif;max-width:70rem;color:inherit}
.mcp-q code,.mcp-q pre{font:13px/1.4 ui-monospace,monospace;white-space:pre-wrap}
.mcp-q table{border-collapse:collapse;margin:.5rem 0}
.mcp-q td,.mcp-q th{padding:.2rem .6rem;text-align:left;vertical-align:top;border-bottom:1px solid #8884}
.mcp-q ul{margin:.2rem 0;padding-left:1.2rem}
.mcp-q .bar{display:inline-block;height:.7rem;background:#c0392b;vertical-align:middle;min-width:1px}
.mcp-q .bar.after{background:#27ae60}
.mcp-q .high{color:#c0392b;font-weight:600}
.mcp-q .warning{color:#b9770e;font-weight:600}
.mcp-q .info{opacity:.75}
.mcp-q mark{background:#f9e79f;color:#000}
</style>"""
_BAR = 220  # pixels of the longest
SAMENESS = {
    "proved": "the same rows",
    "data": "the same rows on the data as they are",
    "different": "another statement",
}
"""What is said of how far a rewrite is the same."""


def page(body: str, title: str) -> str:
    """A document of its own."""
    head = f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title></head>'
    return f"{head}<body>{body}</body></html>\n"


def _rows(rows: Iterable[Sequence[str]], heads: Sequence[str]) -> str:
    head = "".join(f"<th>{escape(one)}</th>" for one in heads)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _plan(steps: Sequence[Any]) -> str:
    text = ""
    depth = -1
    for step in steps:
        while depth > step.depth:
            text += "</li></ul>"
            depth -= 1
        if depth == step.depth:
            text += "</li><li>"
        while depth < step.depth:
            text += "<ul><li>"
            depth += 1
        text += f"<code>{escape(step.detail)}</code>"
        if step.rows is not None:
            text += f' <span class="info">{step.rows_text}</span>'
    return text + "</li></ul>" * (depth + 1)


def _issue(issue: Any) -> list[str]:
    return [
        f'<span class="{escape(issue.severity)}">{escape(issue.severity)}</span>',
        f"<code>{escape(issue.code)}</code>",
        escape(issue.message),
        escape(issue.suggestion),
    ]


def report_as_html(report: Any) -> str:
    """The findings, the plan as a tree, and what can be done."""
    parts = [f'{_STYLE}<div class="mcp-q"><pre>{escape(report.fingerprint)}</pre>']
    if report.issues:
        parts.append(_rows(map(_issue, report.issues), ("", "finding", "why", "what to do")))
    else:
        parts.append("<p>No findings.</p>")
    if report.plan:
        parts.append(f"<p>Plan</p>{_plan(report.plan)}")
    for index in report.indexes:
        parts.append(f"<pre>{escape(index.ddl)};</pre>")
    for rewrite in report.rewrites:
        same = SAMENESS[rewrite.equivalence]
        parts.append(f"<p><code>{escape(rewrite.rule)}</code>, {same}: {escape(rewrite.reason)}</p>")
        parts.append(f"<pre>{escape(rewrite.sql)}</pre>")
    return "".join(parts) + "</div>"


def _bars(before: float, after: float, most: float) -> str:
    def bar(value: float, kind: str) -> str:
        width = round(_BAR * value / most) if most > 0 else 0
        return f'<span class="bar {kind}" style="width:{width}px"></span> {value:.4g} s'

    return f"{bar(before, 'before')}<br>{bar(after, 'after')}"


def _index(index: Any, most: float) -> list[str]:
    measured = index.seconds_before is not None and index.seconds_after is not None
    size = "" if index.bytes is None else f"{index.bytes:,} bytes"
    return [
        f"<code>{escape(index.ddl)};</code>",
        _bars(index.seconds_before or 0, index.seconds_after or 0, most) if measured else "not run",
        f"{size}<br>{index.write_cost:,.0f} steps a write" if index.write_cost else size,
        escape(f"{index.confidence}: {index.reason}"),
    ]


def advice_as_html(advice: Any) -> str:
    """The indexes with bars of before and after, and what else was found."""
    most = max((index.seconds_before or 0 for index in advice), default=0)
    parts = [f'{_STYLE}<div class="mcp-q">']
    if advice:
        heads = ("index", "before and after", "price", "confidence")
        parts.append(_rows((_index(index, most) for index in advice), heads))
    else:
        parts.append("<p>No index would help.</p>")
    if advice.statistics is not None:
        gain = f"{advice.statistics.cost_before:,.0f} to {advice.statistics.cost_after:,.0f} units of work"
        parts.append(f"<p><code>ANALYZE;</code> {gain}</p>")
    for drop in advice.drops:
        parts.append(
            f"<p><code>{escape(drop.ddl)};</code> {escape(drop.reason)}: {escape(drop.evidence)}</p>"
        )
    if advice.statements:
        longest = max(one.seconds_before for one in advice.statements)
        rows = (
            [f"<code>{escape(one.fingerprint)}</code>", _bars(one.seconds_before, one.seconds_after, longest)]
            for one in advice.statements
        )
        parts.append(_rows(rows, ("statement", "one run, before and after")))
    parts.extend(f"<p>{escape(note)}</p>" for note in advice.notes)
    return "".join(parts) + "</div>"
