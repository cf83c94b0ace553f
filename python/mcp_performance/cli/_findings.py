"""What ``analyze`` found, in the forms that it is asked for: text, JSON, HTML, Markdown and SARIF 2.1.0."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from .._core import __version__
from ..query import Advice, IndexAdvice, Issue, PlanStep
from ..query._html import SAMENESS, advice_as_html, page, report_as_html

__all__ = ["as_html", "as_json", "as_markdown", "as_sarif", "as_text"]

_COLOURS = {"high": "31", "warning": "33", "info": "36", "dim": "2", "bold": "1"}
_SARIF_LEVELS = {"high": "error", "warning": "warning", "info": "note"}
# What a terminal would obey instead of showing it; a line's tab stays one.
_CONTROLS = {code: 0xFFFD for code in (*range(32), *range(127, 160)) if code != ord("\t")}
_WIDEST = 120
_AROUND = 50
_SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def tree(plan: Sequence[PlanStep]) -> list[str]:
    """The plan as lines of a drawn tree."""
    lines = []
    for number, step in enumerate(plan):
        prefix = beside = ""
        for depth in range(step.depth + 1):
            more = _goes_on(plan, number, depth)
            if depth == step.depth:
                prefix += "├─ " if more else "└─ "
            else:
                prefix += "│  " if more else "   "
            beside += "│  " if more else "   "
        lines.append(prefix + step.detail)
        if step.rows is not None:
            lines.append(f"{beside}  {step.rows_text}")
    return lines


def _goes_on(plan: Sequence[PlanStep], number: int, depth: int) -> bool:
    """Whether another step at *depth* follows under the same parent."""
    for later in plan[number + 1 :]:
        if later.depth == depth:
            return True
        if later.depth < depth:
            return False
    return False


def place_of(sql: str, issue: Issue) -> tuple[int, int, int] | None:
    """Line and column, both from 1, and the length in characters; ``None`` where it is not one place."""
    if issue.offset is None:
        return None
    before = sql[: issue.offset]
    return before.count("\n") + 1, issue.offset - (before.rfind("\n") + 1) + 1, issue.length


def plain(text: str) -> str:
    """*text* without what a terminal would obey."""
    return text.translate(_CONTROLS)


def _columns(text: str) -> int:
    """How many columns of a terminal *text* takes."""
    return sum(
        0 if unicodedata.combining(one) else 2 if unicodedata.east_asian_width(one) in "WF" else 1
        for one in text
    )


def _underlined(sql: str, issue: Issue) -> Iterator[str]:
    place = place_of(sql, issue)
    if place is None:
        return
    line, column, length = place
    text = plain(sql.split("\n")[line - 1].removesuffix("\r"))
    first, last = column - 1, min(column - 1 + length, len(text))
    before, marked, after = text[:first], text[first:last], text[last:]
    if len(text) > _WIDEST:
        before = before if len(before) <= _AROUND else "…" + before[-_AROUND:]
        marked = marked if len(marked) <= _WIDEST else marked[:_WIDEST]
        after = after if len(after) <= _AROUND else after[:_AROUND] + "…"
    yield before + marked + after
    margin = "".join(one if one == "\t" else " " * _columns(one) for one in before)
    yield margin + "^" * max(1, _columns(marked))


def _proof(index: IndexAdvice) -> str:
    if index.cost_before is None or index.cost_after is None:
        return "confirmed by the planner, not run"
    parts = [f"{index.cost_before:,.0f} -> {index.cost_after:,.0f} steps"]
    if index.seconds_before is not None and index.seconds_after is not None:
        parts.append(f"{index.seconds_before:.4g} -> {index.seconds_after:.4g} s")
    if index.rows_before is not None and index.rows_after is not None:
        parts.append(f"{index.rows_before:,.0f} -> {index.rows_after:,.0f} rows scanned")
    if index.bytes is not None:
        parts.append(f"{index.bytes:,} bytes")
    if index.write_cost:
        parts.append(f"{index.write_cost:,.0f} steps of writes")
    return ", ".join(parts) + f"; {index.runs} runs on a copy, confidence {index.confidence}"


def _fixes(one: Any) -> Iterator[tuple[str, str]]:
    for index in one.report.indexes:
        yield "index", f"{index.ddl};"
    for rewrite in one.report.rewrites:
        yield f"rewrite {rewrite.rule}, {SAMENESS[rewrite.equivalence]} ({rewrite.reason})", rewrite.sql


def as_text(analyzed: Sequence[Any], advice: Advice | None, *, colour: bool) -> str:
    """For a terminal."""

    def paint(kind: str, text: str) -> str:
        return f"\x1b[{_COLOURS[kind]}m{text}\x1b[0m" if colour else text

    lines = []
    for one in analyzed:
        where = f"{one.source}:{one.line}: " if one.source else ""
        lines.append(paint("bold", plain(where + one.report.fingerprint)))
        lines += [f"  {plain(line)}" for line in tree(one.report.plan)]
        for issue in one.report.issues:
            severity = paint(issue.severity, f"{issue.severity:7}")
            lines.append(f"  {severity} {issue.code}: {plain(issue.message)}")
            marks = list(_underlined(one.sql, issue))
            if marks:
                lines += [f"          {marks[0]}", f"          {paint(issue.severity, marks[1])}"]
            if issue.suggestion:
                lines.append(f"          {plain(issue.suggestion)}")
            if issue.evidence:
                lines.append(paint("dim", f"          because of: {plain(issue.evidence)}"))
        for kind, sql in _fixes(one):
            lines += [f"  {plain(kind)}:", *(f"    {plain(line)}" for line in sql.split("\n"))]
        if not one.report.issues:
            lines.append("  no findings")
    if advice is not None:
        lines += _advice_lines(advice, lambda kind, text: paint(kind, plain(text)))
    return "\n".join(lines)


def _advice_lines(advice: Advice, paint: Any) -> Iterator[str]:
    if not advice:
        yield paint("bold", "No index would help.")
    for index in advice:
        yield paint("bold", f"{index.ddl};")
        yield f"  {_proof(index)}"
        yield from (f"  used by {plain(fingerprint)}" for fingerprint in index.used_by)
    if advice.statistics is not None:
        yield paint("bold", "ANALYZE;")
        yield f"  {advice.statistics.cost_before:,.0f} -> {advice.statistics.cost_after:,.0f} units of work"
    for drop in advice.drops:
        yield paint("bold", f"{drop.ddl};")
        yield f"  {drop.reason}: {plain(drop.evidence)}"
    if advice.statements:
        yield f"workload: {advice.seconds_before:.4g} -> {advice.seconds_after:.4g} s"
    for one in advice.statements:
        at_least = "at least " if one.at_least else ""
        seconds = f"{at_least}{one.seconds_before:.4g} -> {one.seconds_after:.4g} s"
        rows = f"{one.rows_before:,.0f} -> {one.rows_after:,.0f} rows scanned"
        yield f"  {seconds}, {rows}: {plain(one.fingerprint)}"
    yield from (f"note: {plain(note)}" for note in advice.notes)


def as_json(analyzed: Sequence[Any], advice: Advice | None) -> dict[str, Any]:
    """Everything that is known."""
    found: dict[str, Any] = {
        "queries": [
            {"sql": one.sql, "source": one.source, "line": one.line, **one.report.to_dict()}
            for one in analyzed
        ],
        "advice": [] if advice is None else [index.to_dict() for index in advice],
    }
    if advice is not None:
        found["workload"] = {key: value for key, value in advice.to_dict().items() if key != "indexes"}
    return found


def as_html(analyzed: Sequence[Any], advice: Advice | None) -> str:
    """A page of its own."""
    parts = [f"<h2>{escape(one.source or 'Statement')}</h2>{report_as_html(one.report)}" for one in analyzed]
    if advice is not None:
        parts.append(f"<h2>Advice</h2>{advice_as_html(advice)}")
    return page("".join(parts), "Query analysis")


def _fenced(text: str, language: str) -> str:
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{text}\n{fence}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def as_markdown(analyzed: Sequence[Any], advice: Advice | None) -> str:
    """For a pull request."""
    parts = []
    for one in analyzed:
        where = f"{one.source}:{one.line}" if one.source else "Statement"
        parts += [f"## {where}", _fenced(one.sql, "sql")]
        if one.report.issues:
            rows = ["| severity | finding | why | what to do |", "|---|---|---|---|"]
            rows += [
                f"| {issue.severity} | `{issue.code}` | {_cell(issue.message)} | {_cell(issue.suggestion)} |"
                for issue in one.report.issues
            ]
            parts.append("\n".join(rows))
        else:
            parts.append("No findings.")
        if one.report.plan:
            parts.append(_fenced("\n".join(tree(one.report.plan)), "text"))
        for kind, sql in _fixes(one):
            parts += [f"{kind[0].upper()}{kind[1:]}:", _fenced(sql, "sql")]
    if advice is not None:
        parts += ["## Advice", "\n".join(_advice_lines(advice, lambda _, text: f"- `{text}`"))]
    return "\n\n".join(parts)


def _uri(path: str) -> str:
    return quote(Path(path).as_posix())


def _sarif_result(one: Any, issue: Issue) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": issue.code,
        "level": _SARIF_LEVELS[issue.severity],
        "message": {"text": f"{issue.message}. {issue.suggestion}".strip()},
        "properties": {"fingerprint": one.report.fingerprint, "evidence": issue.evidence},
    }
    region: dict[str, int] = {"startLine": one.line}
    place = place_of(one.sql, issue)
    if place is not None and issue.offset is not None:
        line, column, length = place
        marked = one.sql[issue.offset : issue.offset + length]
        lines = marked.count("\n")
        end = len(marked) - marked.rfind("\n") if lines else column + length
        region = {
            "startLine": one.line + line - 1,
            "startColumn": column + (one.column - 1 if line == 1 else 0),
            "endColumn": end + (one.column - 1 if line == 1 and not lines else 0),
        }
        if lines:
            region["endLine"] = region["startLine"] + lines
    if one.source:
        location = {"artifactLocation": {"uri": _uri(one.source)}, "region": region}
        result["locations"] = [{"physicalLocation": location}]
    return result


def as_sarif(analyzed: Sequence[Any], advice: Advice | None) -> dict[str, Any]:
    """For code scanners."""
    results = [_sarif_result(one, issue) for one in analyzed for issue in one.report.issues]
    results += [
        {"ruleId": "index-advice", "level": "warning", "message": {"text": f"{index.ddl}: {_proof(index)}"}}
        for index in advice or ()
    ]
    rules = sorted({result["ruleId"] for result in results})
    driver = {"name": "mcp-performance", "version": __version__, "rules": [{"id": rule} for rule in rules]}
    return {
        "$schema": _SARIF_SCHEMA,
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}],
    }
