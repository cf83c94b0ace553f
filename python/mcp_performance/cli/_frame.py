"""One look at a service as lines that fit a terminal: ``mcp-performance top``. Pure functions of reports."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

__all__ = ["SORTS", "VIEWS", "Column", "View", "fit", "frame", "width_of"]

SORTS = ("count", "rate", "mean", "p95", "p99", "errors", "name")
VIEWS = ("route", "worker")

_SHORTEST_NAME = 16
_LONGEST_NAME = 60

Report = Mapping[str, Any]
Row = Mapping[str, Any]


class View(NamedTuple):
    """What is shown, and how."""

    by: str = "route"
    sort: str = "count"
    reverse: bool = False
    width: int = 120
    height: int = 0
    """Lines; 0 for as many as there are."""


class Column(NamedTuple):
    """A column of figures, right of the name."""

    head: str
    width: int
    show: Callable[[Row], str]
    rank: int
    """Where there is no room, the columns of the highest rank go first."""


def width_of(text: str) -> int:
    """Cells that *text* takes in a terminal."""
    return sum(_cells(one) for one in text)


def _cells(one: str) -> int:
    if unicodedata.combining(one):
        return 0
    return 2 if unicodedata.east_asian_width(one) in "WF" else 1


def _plain(text: str) -> str:
    """*text* without what a terminal would obey: names and statements come from elsewhere."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)


def fit(text: str, width: int, *, pad: bool = False) -> str:
    """*text* in at most *width* cells, its end cut off where it is longer; filled up with *pad*."""
    text = _plain(text)
    if width_of(text) > width:
        kept, used = [], 0
        for one in text:
            used += _cells(one)
            if used > width - 1:
                break
            kept.append(one)
        text = "".join(kept) + ("\N{HORIZONTAL ELLIPSIS}" if width > 0 else "")
    return text + " " * (width - width_of(text)) if pad else text


def _milliseconds(seconds: float) -> str:
    milliseconds = seconds * 1e3
    return f"{milliseconds:,.1f} ms" if milliseconds < 10_000 else f"{seconds:,.1f} s"


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"


def _mebibytes(count: float) -> str:
    return f"{count / 2**20:,.0f} MiB"


def _time_columns(first_rank: int) -> tuple[Column, ...]:
    def shown(figure: str) -> Callable[[Row], str]:
        return lambda row: _milliseconds(row[figure])

    return (
        Column("mean", 11, shown("mean_seconds"), first_rank + 2),
        Column("p95", 11, shown("p95_seconds"), first_rank),
        Column("p99", 11, shown("p99_seconds"), first_rank + 1),
    )


_ROUTE_COLUMNS = (
    Column("status", 10, lambda row: str(row["status"]), 5),
    Column("count", 11, lambda row: f"{row['count']:,}", 1),
    Column("/s", 9, lambda row: _rate(row["rate"]), 2),
    *_time_columns(3),
)
_WORKER_COLUMNS = (
    Column("count", 11, lambda row: f"{row['count']:,}", 1),
    Column("/s", 9, lambda row: _rate(row["rate"]), 2),
    *_time_columns(3),
    Column("errors", 8, lambda row: f"{row['errors']:,}", 6),
    Column("active", 7, lambda row: f"{row['active']:,}", 7),
    Column("cores", 6, lambda row: f"{row['cores']:.2f}", 8),
    Column("memory", 10, lambda row: _mebibytes(row["resident"]), 9),
)


def _routes(report: Report) -> Iterable[dict[str, Any]]:
    for route in report["requests"]["routes"]:
        status, error = route["status"], route["error_type"]
        shown = f"{status} {error}" if error else str(status)
        yield {**route, "name": f"{route['method']} {route['route']}", "status": shown}
    for one in report.get("operations", ()):
        yield {
            **one,
            "name": f"{one['method']} {one['name']}",
            "status": one["error_type"] or "ok",
        }


def _workers(report: Report) -> Iterable[dict[str, Any]]:
    for worker in report["workers"]:
        requests, process = worker.get("requests"), worker.get("process")
        if requests is None or process is None:
            continue
        ended = worker["number"] < 0
        yield {
            **{
                key: requests[key]
                for key in ("count", "mean_seconds", "p95_seconds", "p99_seconds", "errors")
            },
            "name": "ended" if ended else f"{worker['number']}  pid {worker['pid']}",
            "active": 0 if ended else requests["active"],
            "cores": 0.0 if ended else process["cpu_used_cores"],
            "resident": 0 if ended else process["resident_bytes"],
        }


def _identity(row: Row) -> tuple[str, str]:
    return row["name"], str(row.get("status", ""))


def _rows(report: Report, before: Report | None, by: str) -> list[dict[str, Any]]:
    """The rows with what they did between two looks, of which nothing is known where a service began anew."""
    read = _workers if by == "worker" else _routes
    if before is not None and before["requests"]["count"] > report["requests"]["count"]:
        before = None
    seen = {_identity(row): row["count"] for row in read(before)} if before else {}
    seconds = report["time"] - before["time"] if before else 0.0
    rows = []
    for row in read(report):
        grown = row["count"] - seen.get(_identity(row), 0)
        known = seconds > 0 and grown >= 0
        rows.append({**row, "rate": grown / seconds if known else None})
    return rows


def _sorted(rows: Sequence[dict[str, Any]], sort: str, reverse: bool) -> list[dict[str, Any]]:
    if sort == "name":
        return sorted(rows, key=lambda row: row["name"], reverse=reverse)
    figure = {"mean": "mean_seconds", "p95": "p95_seconds", "p99": "p99_seconds"}.get(sort, sort)
    by_name = sorted(rows, key=lambda row: row["name"])
    return sorted(by_name, key=lambda row: row[figure] or 0, reverse=not reverse)


def _shown(columns: Sequence[Column], width: int) -> list[Column]:
    """Those for which there is room beside a name, in their order."""
    room, kept = width - _SHORTEST_NAME, set()
    for column in sorted(columns, key=lambda one: one.rank):
        room -= column.width + 1
        if room < 0:
            break
        kept.add(column)
    return [column for column in columns if column in kept]


def _table(rows: Sequence[dict[str, Any]], view: View) -> list[str]:
    columns = _shown(_WORKER_COLUMNS if view.by == "worker" else _ROUTE_COLUMNS, view.width)
    taken = sum(column.width + 1 for column in columns)
    name = max(1, min(view.width - taken, _LONGEST_NAME))

    def marked(column: Column) -> str:
        sorts = {"/s": "rate"}.get(column.head, column.head)
        return ("*" if sorts == view.sort else "") + column.head

    heads = "".join(f" {fit(marked(column), column.width):>{column.width}}" for column in columns)
    lines = [fit(("*" if view.sort == "name" else "") + view.by, name, pad=True) + heads]
    for row in rows:
        cells = "".join(f" {fit(column.show(row), column.width):>{column.width}}" for column in columns)
        lines.append(fit(row["name"], name, pad=True) + cells)
    return lines


def _hit_rate(report: Report) -> str:
    caches = [*report["caches"], *(pool["cache"] for pool in report["pools"])]
    hits = sum(cache["hits"] for cache in caches)
    asked = hits + sum(cache["misses"] for cache in caches)
    return f"{hits / asked:.1%} of {asked:,}" if asked else "none asked"


def _strip(report: Report) -> list[str]:
    process, requests, minute = report["process"], report["requests"], report["requests"]["last_minute"]
    rate = minute["count"] / max(minute["length_seconds"], 1e-9)
    database = sum(pool["database_seconds"] for pool in report["pools"])
    count = report.get("service", {}).get("workers", 1)
    return [
        f"cpu {process['cpu_percent']:.0f} %   memory {process['memory_percent']:.0f} %"
        f" ({_mebibytes(process['resident_bytes'])} resident)   files {process['open_fds']}"
        f"   workers {count}",
        f"requests {rate:,.1f} /s   p95 {_milliseconds(minute['p95_seconds'])}"
        f"   p99 {_milliseconds(minute['p99_seconds'])}   active {requests['active']}"
        f"   errors {minute['errors']} in the last minute",
        f"cache hits {_hit_rate(report)}   database {database:,.2f} s in all",
    ]


def _tail(report: Report) -> list[str]:
    lines: list[str] = []
    if report["slow_queries"]:
        lines += ["", "slow queries"]
        for query in report["slow_queries"][:5]:
            p95 = _milliseconds(query["p95_seconds"])
            lines.append(f"  {query['calls']:>8,} calls  p95 {p95:>11}  {' '.join(query['sample'].split())}")
    if report["recommendations"]:
        lines += ["", "recommendations"]
        for item in report["recommendations"][:5]:
            mark = "!" if item["severity"] == "critical" else "-"
            lines.append(f"  {mark} {item['message']}")
    return lines


def frame(report: Report, view: View | None = None, *, before: Report | None = None, note: str = "") -> str:
    """One look at a service as text, no line longer than ``view.width``.

    Args:
        report: what the service answered.
        view: what is shown.
        before: an earlier answer, for what was done between the two.
        note: a line of its own at the top.
    """
    chosen = View() if view is None else view
    top = [note] if note else []
    top += [*_strip(report), ""]
    rows = _sorted(_rows(report, before, chosen.by), chosen.sort, chosen.reverse)
    tail = _tail(report)
    if chosen.height:
        tail = tail[: max(0, chosen.height - len(top) - 1 - min(len(rows), 5))]
        rows = rows[: max(0, chosen.height - len(top) - 1 - len(tail))]
    elif chosen.by == "route":
        rows = rows[:12]
    table = _table(rows, chosen)
    lines = [*(fit(line, chosen.width) for line in top), *table, *(fit(line, chosen.width) for line in tail)]
    return "\n".join(lines[: chosen.height] if chosen.height else lines)
