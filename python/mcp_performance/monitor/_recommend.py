"""From figures to advice. Every rule is a function of a :meth:`PerformanceMonitor.metrics` dictionary.

A recommendation says what was seen, over how many samples, what to change and what that should gain;
where the figures do not show a cause, there is none.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Recommendation", "Thresholds", "recommend"]

_WRITES = frozenset({"INSERT", "REPLACE", "UPDATE", "DELETE"})
_QUERIES = _WRITES | {"SELECT", "WITH", "VALUES"}

_MIN_LOOKUPS = 100
_MIN_REQUESTS = 100
_MIN_CALLS = 20
_MIN_SHARE = 0.05  # of the lookups, before a kind of miss is worth a change
_MIN_WINDOW = 5.0  # seconds of CPU use
_LATE_LOOP = 0.05  # seconds
_SOLID_LAG_SAMPLES = 100
_THROTTLED_SHARE = 0.01
_ERROR_SHARE = 0.01
_FD_SHARE = 0.8


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Where advice starts; the defaults are those of :mod:`mcp_performance.config`."""

    cpu_percent: float
    memory_percent: float
    hit_rate: float
    slow_query_seconds: float


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One piece of advice and the evidence for it."""

    code: str
    """A stable name of the rule, for example ``"raise-ttl"``."""
    subject: str
    """What it is about: a cache, a pool, a statement's hash, the process."""
    message: str
    """All of it as one sentence or two."""
    evidence: str
    """What was seen."""
    samples: int
    """Over how many lookups, requests, calls or measurements."""
    action: str
    """What to change."""
    expected_gain: str
    """What that should bring; an upper bound where it says "up to"."""
    severity: str = "warning"
    """``"warning"``, or ``"critical"`` where requests fail or are about to."""
    details: dict[str, Any] = field(default_factory=dict)
    """The figures behind the evidence."""

    def to_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return dataclasses.asdict(self)


def _make(
    code: str, subject: str, evidence: str, samples: int, action: str, gain: str, **details: Any
) -> Recommendation:
    severity = details.pop("severity", "warning")
    message = f"{evidence}: {action} ({gain})."
    return Recommendation(code, subject, message, evidence, samples, action, gain, severity, details)


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %"


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 1 else f"{value * 1e3:.1f} ms"


def _bytes(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


# ---- caches


def _cache_rules(
    cache: dict[str, Any], what: str, thresholds: Thresholds, memory_is_short: bool
) -> Iterator[Recommendation]:
    lookups = cache["hits"] + cache["misses"]
    if lookups < _MIN_LOOKUPS or cache["hit_rate"] >= thresholds.hit_rate:
        return
    name = cache["name"]
    seen = f"{what} {name!r} answered {_percent(cache['hit_rate'])} of {lookups:,} lookups"
    expired, evicted = cache.get("misses_expired", 0), cache.get("misses_evicted", 0)
    details = {"hit_rate": cache["hit_rate"], "misses_expired": expired, "misses_evicted": evicted}
    if expired / lookups >= _MIN_SHARE:
        yield _make(
            "raise-ttl",
            name,
            f"{seen}, and {expired:,} misses were on entries whose time had run out",
            lookups,
            "raise its time to live, or refresh ahead of expiry",
            f"up to {_percent((cache['hits'] + expired) / lookups)} hits",
            **details,
        )
    if evicted / lookups >= _MIN_SHARE:
        capacity = cache.get("maxsize")
        action = f"raise its capacity (now {capacity:,})" if capacity else "raise its capacity"
        if memory_is_short:
            action += ", after making room: memory is short too"
        yield _make(
            "raise-capacity",
            name,
            f"{seen}, and {evicted:,} misses were on entries displaced for want of room",
            lookups,
            action,
            f"up to {_percent((cache['hits'] + evicted) / lookups)} hits",
            maxsize=capacity,
            **details,
        )


def _caches(metrics: dict[str, Any], thresholds: Thresholds) -> Iterator[Recommendation]:
    memory_is_short = metrics["process"]["memory_percent"] > thresholds.memory_percent
    for kind, what in (("caches", "cache"), ("tiers", "tier")):
        for cache in metrics[kind]:
            if {"hits", "misses", "hit_rate"} <= cache.keys():
                yield from _cache_rules(cache, what, thresholds, memory_is_short)
    for pool in metrics["pools"]:
        cache = {**pool["cache"], "name": pool["name"]}
        yield from _cache_rules(cache, "the query cache of", thresholds, memory_is_short)


# ---- process


def _cpu(metrics: dict[str, Any], thresholds: Thresholds) -> Iterator[Recommendation]:
    process = metrics["process"]
    cores, used = process["cpu_cores"], process["cpu_used_cores"]
    window, samples = process["window_seconds"], process["samples"]
    if window < _MIN_WINDOW:
        return
    busy = f"the process used {used:.2f} of {cores:g} cores over {window:.0f} s"
    throttled = process["throttled_share"]
    if throttled > _THROTTLED_SHARE:
        yield _make(
            "cpu-throttled",
            "process",
            f"the container was held back by its CPU quota for {_percent(throttled)} of {window:.0f} s",
            samples,
            f"raise the quota (cpu.max, now {cores:g} cores)",
            "the pauses go, and with them the tail they put on response times",
            throttled_share=throttled,
        )
    if process["cpu_percent"] > thresholds.cpu_percent:
        yield _make(
            "high-cpu",
            "process",
            f"{busy} ({process['cpu_percent']:.0f} %)",
            samples,
            "give it more cores or another machine, or spare work: " + _costliest(metrics),
            f"below {thresholds.cpu_percent:.0f} % the queueing that a busy processor adds stays small",
            cpu_percent=process["cpu_percent"],
        )
    elif cores >= 2 and used * 100 > thresholds.cpu_percent:
        workers = math.floor(cores)
        yield _make(
            "add-workers",
            "process",
            f"{busy}; one interpreter runs Python code on one core at a time",
            samples,
            f"run {workers} worker processes",
            f"up to {workers / max(used, 1.0):.1f} times the throughput while nothing else is shared",
            cpu_used_cores=used,
        )


def _costliest(metrics: dict[str, Any]) -> str:
    routes = sorted(metrics["requests"]["routes"], key=lambda route: route["sum_seconds"], reverse=True)
    if not routes:
        return "profile it"
    top = routes[0]
    return (
        f"{top['method']} {top['route']} took {_seconds(top['sum_seconds'])} in total, the most of all routes"
    )


def _memory(metrics: dict[str, Any], thresholds: Thresholds) -> Iterator[Recommendation]:
    process = metrics["process"]
    if process["memory_percent"] <= thresholds.memory_percent:
        return
    owner = "container" if process["limited_by_cgroup"] else "machine"
    yield _make(
        "high-memory",
        "process",
        f"the {owner} uses {_bytes(process['memory_used_bytes'])} of "
        f"{_bytes(process['memory_limit_bytes'])} ({process['memory_percent']:.0f} %), "
        f"{_bytes(process['resident_bytes'])} of it this process",
        process["samples"],
        "lower the capacity of caches with few hits, or raise the limit",
        "room before the kernel ends the process",
        severity="critical" if process["memory_percent"] > 95 else "warning",
        memory_percent=process["memory_percent"],
    )


def _descriptors(metrics: dict[str, Any], _: Thresholds) -> Iterator[Recommendation]:
    process = metrics["process"]
    if process["open_fds"] <= _FD_SHARE * process["max_fds"]:
        return
    yield _make(
        "file-descriptors",
        "process",
        f"{process['open_fds']:,} of {process['max_fds']:,} file descriptors are open",
        1,
        "raise the limit (ulimit -n), or look for connections that are never closed",
        "new connections are refused at the limit",
        severity="critical",
    )


def _loop(metrics: dict[str, Any], _: Thresholds) -> Iterator[Recommendation]:
    lag = metrics["loop_lag"]
    if lag["count"] < _SOLID_LAG_SAMPLES or lag["p99_seconds"] <= _LATE_LOOP:
        return
    yield _make(
        "loop-blocked",
        "event loop",
        f"timers of the event loop ran {_seconds(lag['p99_seconds'])} late at the 99th percentile",
        lag["count"],
        "move what blocks out of coroutines (a thread, an awaitable call), or split it",
        "every other request stops waiting for it",
        p99_seconds=lag["p99_seconds"],
    )


def _errors(metrics: dict[str, Any], _: Thresholds) -> Iterator[Recommendation]:
    minute = metrics["requests"]["last_minute"]
    if minute["count"] < _MIN_REQUESTS or minute["errors"] / minute["count"] <= _ERROR_SHARE:
        return
    worst = max(
        (route for route in metrics["requests"]["routes"] if route["status"] >= 500),
        key=lambda route: route["count"],
    )
    yield _make(
        "server-errors",
        f"{worst['method']} {worst['route']}",
        f"{minute['errors']:,} of the last minute's {minute['count']:,} requests failed",
        minute["count"],
        f"look at {worst['method']} {worst['route']}: {worst['status']} {worst['count']:,} times so far",
        "failed requests are paid for and bring nothing",
        severity="critical",
    )


# ---- database


def _pools(metrics: dict[str, Any], _: Thresholds) -> Iterator[Recommendation]:
    for pool in metrics["pools"]:
        calls, queued = pool["calls"], pool["queue_seconds"]
        worked = pool["step_seconds"] + pool["convert_seconds"]
        if calls < _MIN_CALLS or (pool["timeouts"] == 0 and queued <= worked):
            continue
        evidence = (
            f"statements of pool {pool['name']!r} waited {_seconds(queued)} for a connection and ran "
            f"{_seconds(worked)}"
        )
        if pool["timeouts"]:
            evidence += f", and {pool['timeouts']:,} gave up waiting or running"
        yield _make(
            "pool-waits",
            pool["name"],
            evidence,
            calls,
            f"give it more connections (now {pool['size']}), or shorten the statements and transactions",
            f"up to {_percent(queued / (queued + worked))} of the time of a statement",
            severity="critical" if pool["timeouts"] else "warning",
        )


def _first_word(query: Any) -> str:
    return str(query.fingerprint.partition(" ")[0]).upper()


def _query_action(query: Any, advice: Sequence[Any]) -> tuple[str, str]:
    for index in advice:
        if query.fingerprint not in index.used_by:
            continue
        action = f"create the index: {index.ddl}"
        if index.cost_before is None or not index.cost_after:
            return action, "the planner uses it for this statement"
        proof = "tried on a copy" if index.verified else "estimated by the planner"
        return action, f"{index.cost_before / index.cost_after:.1f} times fewer steps, {proof}"
    if _first_word(query) in _WRITES and not query.full_scans:
        return "write more rows a transaction: each commit waits for the disk", "one wait instead of many"
    if query.queue_seconds > query.step_seconds + query.convert_seconds:
        return "look at the pool: it waits longer than it runs", "up to its waiting time"
    if query.convert_seconds > query.step_seconds:
        return "fetch fewer rows or columns, or stream them", "up to the time of making objects"
    if query.full_scans:
        return (
            f"give it an index ({query.rows_scanned / max(query.full_scans, 1):,.0f} rows scanned a call)",
            "the scan goes where an index fits",
        )
    if query.sorts:
        return "give it an index in the order that it sorts by", "the sort goes"
    return "look at its plan with QueryAnalyzer", "depends on the plan"


def _queries(
    queries: Iterable[Any], thresholds: Thresholds, advice: Sequence[Any]
) -> Iterator[Recommendation]:
    for query in queries:
        if query.max_seconds <= thresholds.slow_query_seconds or _first_word(query) not in _QUERIES:
            continue
        action, gain = _query_action(query, advice)
        yield _make(
            "slow-query",
            query.hash,
            f"{query.sample} took {_seconds(query.mean_seconds)} on average, "
            f"{_seconds(query.p95_seconds)} at P95 and {_seconds(query.max_seconds)} at most "
            f"in {query.calls:,} call{'s' if query.calls != 1 else ''}",
            query.calls,
            action,
            gain,
            total_seconds=query.total_seconds,
        )


_RULES: tuple[Callable[[dict[str, Any], Thresholds], Iterator[Recommendation]], ...] = (
    _errors,
    _memory,
    _descriptors,
    _cpu,
    _loop,
    _caches,
    _pools,
)


def recommend(
    metrics: dict[str, Any], queries: Sequence[Any], thresholds: Thresholds, advice: Sequence[Any] = ()
) -> list[Recommendation]:
    """Every rule over *metrics* and *queries* (``QueryStats``); *advice* is what the analyzer found."""
    found = [item for rule in _RULES for item in rule(metrics, thresholds)]
    found.extend(_queries(queries, thresholds, advice))
    return sorted(found, key=lambda item: item.severity != "critical")
