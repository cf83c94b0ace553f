"""Situations with one known cause each, recorded from services that had it (``situations/record.py``): the
first recommendation names it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mcp_performance import PerformanceMonitor, Recommendation
from mcp_performance.monitor._recommend import recommend

SITUATIONS = Path(__file__).parent / "situations"
THRESHOLDS = PerformanceMonitor(caches=[], pools=[], tiers=[]).thresholds

Situation = dict[str, Any]


def recorded(name: str) -> Situation:
    situation: Situation = json.loads((SITUATIONS / f"{name}.json").read_text())
    return situation


def advice_for(situation: Situation) -> list[Recommendation]:
    queries, indexes = ([SimpleNamespace(**one) for one in situation[part]] for part in ("queries", "advice"))
    return recommend(situation["metrics"], queries, THRESHOLDS, indexes)


def throttled() -> Situation:
    """The computing service in half a core."""
    situation = recorded("computing")
    process = situation["metrics"]["process"]
    process.update(limited_by_cgroup=True, cpu_cores=0.5, cpu_used_cores=0.49, cpu_percent=98.0)
    process["throttled_share"] = 0.4
    return situation


def short_of_memory() -> Situation:
    """The healthy service in a container whose memory is nearly used up."""
    situation = recorded("healthy")
    process, limit = situation["metrics"]["process"], 512 << 20
    process.update(limited_by_cgroup=True, memory_limit_bytes=limit, memory_used_bytes=limit * 9 // 10)
    process["memory_percent"] = 90.0
    return situation


def too_many_workers() -> Situation:
    """Eight of the healthy service's process, for a minute."""
    situation = recorded("healthy")
    metrics = situation["metrics"]
    metrics["service"]["workers"] = 8
    metrics["process"].update(window_seconds=60.0, samples=61, cpu_cores=8.0, cpu_used_cores=0.3)
    return situation


def failing_tool() -> Situation:
    """An MCP server, one of whose tools fails a third of the time."""
    monitor = PerformanceMonitor(caches=[], pools=[], tiers=[])
    for number in range(60):
        monitor.requests.operation("tools/call", "search", "mcp", "" if number % 3 else "tool_error", 0.01)
        monitor.requests.operation("tools/call", "list", "mcp", "", 0.01)
    return {"metrics": monitor.metrics(), "queries": [], "advice": []}


def failing_anew() -> Situation:
    """A route that failed a thousand times last week, and another that fails now."""
    monitor = PerformanceMonitor(caches=[], pools=[], tiers=[])
    for number in range(1200):
        route, error = ("/old", "KeyError") if number < 1000 else ("/orders", "TimeoutError")
        monitor.requests.begin()
        monitor.requests.end("POST", route, "http", 500, error, 0.01, 0.01, 0.01)
    metrics = monitor.metrics()
    metrics["requests"]["last_minute"].update(count=1000, errors=200, errors_by_route={"POST /orders": 199.0})
    return {"metrics": metrics, "queries": [], "advice": []}


def breaking_off() -> Situation:
    """Responses that begin well and are broken off."""
    monitor = PerformanceMonitor(caches=[], pools=[], tiers=[])
    for number in range(300):
        monitor.requests.begin()
        error = "" if number % 4 else "OSError"
        monitor.requests.end("GET", "/export", "http", 200, error, 0.01, 0.01, 0.01)
    return {"metrics": monitor.metrics(), "queries": [], "advice": []}


def lost_tier() -> Situation:
    """A Redis server that most of the time does not answer: every call waits for the timeout first."""
    situation = recorded("upstream")
    figures = {"hits": 900, "misses": 300, "hit_rate": 0.75, "unavailable": 400, "connected": False}
    situation["metrics"]["tiers"] = [{"name": "shared", **figures}]
    return situation


def slow_tool() -> Situation:
    """An MCP server over HTTP, one of whose tools waits for another service."""
    situation = recorded("upstream")
    (route,) = situation["metrics"]["requests"]["routes"]
    monitor = PerformanceMonitor(caches=[], pools=[], tiers=[])
    for _ in range(route["count"]):
        monitor.requests.operation("tools/call", "search", "mcp", "", 0.2)
        monitor.requests.operation("tools/call", "list", "mcp", "", 0.001)
    situation["metrics"]["operations"] = monitor.metrics()["operations"]
    return situation


def slow_statement_elsewhere() -> Situation:
    """A statement of another database, by SQLAlchemy, that all requests wait for."""
    situation = recorded("upstream")
    (route,) = situation["metrics"]["requests"]["routes"]
    monitor = PerformanceMonitor(caches=[], pools=[], tiers=[])
    for _ in range(route["count"]):
        monitor.requests.operation("postgresql", "SELECT * FROM orders WHERE customer = ?", "db", "", 0.19)
    situation["metrics"]["operations"] = monitor.metrics()["operations"]
    return situation


def exhausted_pool() -> Situation:
    """Five connections for too many callers, of which some give up."""
    situation = recorded("narrow_pool")
    metrics = situation["metrics"]
    metrics["pools"][0].update(size=5, timeouts=12, queue_seconds=300.0, reader_wait_seconds=300.0)
    (route,) = metrics["requests"]["routes"]
    metrics["requests"]["routes"].append(
        {**route, "count": 12, "errors": 12, "status": 500, "error_type": "PoolTimeout"}
    )
    metrics["requests"]["last_minute"].update(errors=12)
    return situation


def slow_among_many() -> Situation:
    """Twenty fast routes, and one that waits."""
    situation = recorded("upstream")
    routes = situation["metrics"]["requests"]["routes"]
    fast = {"count": 500, "first_byte_mean_seconds": 0.002, "sum_seconds": 1.0}
    routes[:0] = [{**routes[0], **fast, "route": f"/fast/{number}"} for number in range(20)]
    return situation


def too_many_rows() -> Situation:
    """A statement that is fast, and makes more objects than a request can want."""
    situation = recorded("healthy")
    (query,) = [one for one in situation["queries"] if one["fingerprint"].startswith("SELECT")]
    query.update(calls=200, mean_seconds=0.12, p95_seconds=0.15, max_seconds=0.3, total_seconds=180.0)
    query.update(step_seconds=24.0, convert_seconds=150.0, queue_seconds=1.0)
    return situation


def stuck() -> Situation:
    """An event loop that hardly runs."""
    situation = recorded("blocked")
    situation["metrics"]["loop_lag"].update(count=30, mean_seconds=1.5, p99_seconds=3.0)
    return situation


CAUSES: dict[str, tuple[Callable[[], Situation], str, str, str]] = {
    "a time to live that is too short": (lambda: recorded("ttl"), "raise-ttl", "prices", "ttl="),
    "a cache that is too small": (lambda: recorded("capacity"), "raise-capacity", "articles", "maxsize=40"),
    "invalidation of too much": (
        lambda: recorded("invalidation"),
        "narrow-invalidation",
        "users",
        "invalidate_tags",
    ),
    "an index that is missing": (lambda: recorded("index"), "slow-query", "", "CREATE INDEX"),
    "a pool that is too small": (lambda: recorded("narrow_pool"), "pool-waits", "shop", "size=4"),
    "long transactions": (lambda: recorded("writer"), "writer-waits", "shop", "transaction"),
    "a statement for each row": (lambda: recorded("repeated"), "repeated-query", "", "JOIN"),
    "a blocking call": (lambda: recorded("blocked"), "loop-blocked", "event loop", "to_thread"),
    "one worker on two cores": (lambda: recorded("computing"), "add-workers", "process", "--workers 2"),
    "a route that fails": (lambda: recorded("failing"), "server-errors", "GET /failing/{number}", "log"),
    "files that are never closed": (lambda: recorded("leaking"), "file-descriptors", "process", "ulimit"),
    "a slow service behind": (
        lambda: recorded("upstream"),
        "waits-elsewhere",
        "GET /upstream/{number}",
        "@cached",
    ),
    "a processor quota": (throttled, "cpu-throttled", "process", "--cpus"),
    "too little memory": (short_of_memory, "high-memory", "process", "--memory"),
    "more workers than work": (too_many_workers, "remove-workers", "process", "--workers 2"),
    "a server of a tier that is lost": (lost_tier, "tier-unavailable", "shared", "redis-cli"),
    "a tool that waits": (slow_tool, "waits-elsewhere", "tools/call search", "@cached"),
    "a statement of another database": (
        slow_statement_elsewhere,
        "slow-query",
        "SELECT * FROM orders WHERE customer = ?",
        "EXPLAIN",
    ),
    "a pool that is exhausted": (exhausted_pool, "pool-waits", "shop", "size=10"),
    "one slow route of many": (slow_among_many, "waits-elsewhere", "GET /upstream/{number}", "@cached"),
    "more rows than anybody needs": (too_many_rows, "slow-query", "", "stream"),
    "a loop that hardly runs": (stuck, "loop-blocked", "event loop", "to_thread"),
    "a route that fails now": (failing_anew, "server-errors", "POST /orders", "log"),
    "responses that break off": (breaking_off, "server-errors", "GET /export", "log"),
    "a tool that fails": (failing_tool, "failing-operation", "tools/call search", "log"),
}
LEVELS = {"files that are never closed", "too little memory"}  # one reading is enough


@pytest.mark.parametrize("cause", CAUSES)
def test_the_first_recommendation_names_the_cause(cause: str) -> None:
    build, code, subject, remedy = CAUSES[cause]
    first, *others = advice_for(build())
    assert first.code == code
    assert first.subject == subject or (not subject and len(first.subject) == 16)
    assert first.samples > 0
    assert first.evidence
    assert first.expected_gain
    assert remedy in first.how_to_apply
    assert not [other.code for other in others if first.code in other.explains]


def test_a_service_without_a_fault_needs_nothing() -> None:
    assert advice_for(recorded("healthy")) == []


COUNTS = (
    *("count", "hits", "misses", "misses_cold", "misses_expired", "misses_evicted", "invalidations", "loads"),
    *("errors", "calls", "full_scans", "rows_scanned", "sorts", "samples", "unavailable"),
)


def few(situation: Any, divisor: float) -> Any:
    """The same situation after a short while: all counts a fraction, and a second of CPU use."""
    if isinstance(situation, list):
        return [few(one, divisor) for one in situation]
    if not isinstance(situation, dict):
        return situation
    found = {key: few(value, divisor) for key, value in situation.items()}
    for key in COUNTS:
        if isinstance(found.get(key), int):
            found[key] = int(found[key] / divisor)
    if "window_seconds" in found:
        found["window_seconds"] = 1.0
    return found


@pytest.mark.parametrize("cause", sorted(CAUSES.keys() - LEVELS))
def test_no_rule_speaks_after_a_few_samples(cause: str) -> None:
    situation = CAUSES[cause][0]()
    metrics = situation["metrics"]
    calls = max((query["calls"] for query in situation["queries"]), default=0)
    calls = max(
        [calls, *(one["count"] for one in metrics["operations"]), *(one["calls"] for one in metrics["pools"])]
    )
    asked = (*metrics["caches"], *metrics["tiers"])
    lookups = max((one["hits"] + one["misses"] + one.get("unavailable", 0) for one in asked), default=0)
    most = max(metrics["requests"]["count"] / 5, calls, lookups / 5, metrics["loop_lag"]["count"] / 5)
    assert advice_for(few(situation, most / 15)) == []


def test_what_explains_a_failure_stands_before_it() -> None:
    """A missing index fills the pool, whose waiters time out, which fails requests."""
    situation = recorded("index")
    metrics = copy.deepcopy(recorded("failing")["metrics"])
    metrics["pools"] = situation["metrics"]["pools"]
    metrics["pools"][0].update(timeouts=12, queue_seconds=1e3, reader_wait_seconds=1e3)
    situation["metrics"] = metrics
    found = [item.code for item in advice_for(situation)]
    assert found[:3] == ["slow-query", "pool-waits", "server-errors"]


def test_the_critical_stands_before_a_warning_that_has_nothing_to_do_with_it() -> None:
    situation = recorded("failing")
    situation["metrics"]["caches"] = recorded("ttl")["metrics"]["caches"]
    found = advice_for(situation)
    assert [(item.code, item.severity) for item in found[:2]] == [
        ("server-errors", "critical"),
        ("raise-ttl", "warning"),
    ]


def test_a_loop_that_hardly_runs_is_judged_by_fewer_timers() -> None:
    monitor = PerformanceMonitor(caches=[], pools=[], tiers=[], high_memory=100)
    for _ in range(20):
        monitor.requests.record_lag(2.0)
    assert [item.code for item in monitor.recommendations()] == ["loop-blocked"]


def test_one_slow_call_among_many_is_no_slow_query() -> None:
    situation = recorded("index")
    (query,) = [one for one in situation["queries"] if one["fingerprint"].startswith("SELECT id")]
    query.update(calls=1000, p95_seconds=0.004, max_seconds=3.0)
    assert "slow-query" not in [item.code for item in advice_for(situation)]
