"""Rules about caches, pools and statements."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from .._base._durations import fixed
from ._advice import MIN_CALLS, MIN_REQUESTS, Recommendation, Thresholds, as_percent, make

__all__ = ["caches", "pools", "repeated_queries", "slow_queries", "slow_statements", "tiers"]

_WRITES = frozenset({"INSERT", "REPLACE", "UPDATE", "DELETE"})
_QUERIES = _WRITES | {"SELECT", "WITH", "VALUES"}

_MIN_LOOKUPS = 100
_MIN_SHARE = 0.05  # of the lookups, before a kind of miss is worth a change
_MANY_A_REQUEST = 10
_REPEATED_SHARE = 0.2  # of the time of requests, or of the processor
_MOST_SLOW = 20
_UNAVAILABLE_SHARE = 0.01
_OTHER = "_OTHER"

_SPARED = ("waits-elsewhere", "high-cpu", "add-workers", "pool-waits", "repeated-query", "slow-query")


def _gain(cache: dict[str, Any], more: int) -> str:
    lookups, loads = cache["hits"] + cache["misses"], cache.get("loads", 0)
    gain = f"up to {as_percent((cache['hits'] + more) / lookups)} hits"
    if loads and cache.get("load_seconds"):
        gain += f", {fixed(min(more / loads, 1.0) * cache['load_seconds'])} of loading so far"
    return gain


def _cache_rules(
    cache: dict[str, Any], what: str, thresholds: Thresholds, memory_is_short: bool
) -> Iterator[Recommendation]:
    lookups = cache["hits"] + cache["misses"]
    if lookups < _MIN_LOOKUPS or cache["hit_rate"] >= thresholds.hit_rate:
        return
    name = cache["name"]
    seen = f"{what} {name!r} answered {as_percent(cache['hit_rate'])} of {lookups:,} lookups"
    expired, evicted = cache.get("misses_expired", 0), cache.get("misses_evicted", 0)
    invalidated = cache.get("invalidations", 0)
    removed = min(invalidated, cache.get("misses_cold", 0))
    others = cache.get("expirations", 0) + cache.get("evictions", 0) + (cache.get("currsize") or 0)
    details = {"hit_rate": cache["hit_rate"], "misses_expired": expired, "misses_evicted": evicted}
    if expired / lookups >= _MIN_SHARE:
        yield make(
            "raise-ttl",
            name,
            f"{seen}, and {expired:,} misses were on entries whose time had run out",
            lookups,
            "raise its time to live, or refresh ahead of expiry",
            _gain(cache, expired),
            "ttl= of that cache, or stale_ttl= for a value while a new one is loaded",
            explains=_SPARED,
            **details,
        )
    if evicted / lookups >= _MIN_SHARE:
        capacity = cache.get("maxsize")
        action = f"raise its capacity (now {capacity:,})" if capacity else "raise its capacity"
        if memory_is_short:
            action += ", after making room: memory is short too"
        yield make(
            "raise-capacity",
            name,
            f"{seen}, and {evicted:,} misses were on entries displaced for want of room",
            lookups,
            action,
            _gain(cache, evicted),
            f"maxsize={2 * capacity} to begin with" if capacity else "maxsize= of that cache",
            explains=_SPARED,
            maxsize=capacity,
            **details,
        )
    if removed / lookups >= _MIN_SHARE and invalidated > others:
        yield make(
            "narrow-invalidation",
            name,
            f"{seen}, while {invalidated:,} entries were invalidated before their time",
            lookups,
            "invalidate only what a change touches",
            _gain(cache, removed),
            'tags by record (tags=["user:{id}"], invalidate_tags) in place of clear()',
            explains=_SPARED,
            invalidations=invalidated,
            **details,
        )


def caches(metrics: dict[str, Any], thresholds: Thresholds) -> Iterator[Recommendation]:
    """Caches whose misses have a cause that can be changed."""
    memory_is_short = metrics["process"]["memory_percent"] > thresholds.memory_percent
    for kind, what in (("caches", "cache"), ("tiers", "tier")):
        for cache in metrics[kind]:
            if {"hits", "misses", "hit_rate"} <= cache.keys():
                yield from _cache_rules(cache, what, thresholds, memory_is_short)
    for pool in metrics["pools"]:
        cache = {**pool["cache"], "name": pool["name"]}
        yield from _cache_rules(cache, "the query cache of", thresholds, memory_is_short)


def tiers(metrics: dict[str, Any], _: Thresholds) -> Iterator[Recommendation]:
    """Servers of shared tiers that cannot be reached: each call waits for its timeout, and shares nothing."""
    for tier in metrics["tiers"]:
        failed = tier.get("unavailable", 0)
        asked = tier["hits"] + tier["misses"] + failed
        if failed < MIN_CALLS or asked < _MIN_LOOKUPS or failed / asked <= _UNAVAILABLE_SHARE:
            continue
        yield make(
            "tier-unavailable",
            tier["name"],
            f"{failed:,} of {asked:,} operations of tier {tier['name']!r} found its server out of reach or "
            f"had no answer in time{'' if tier.get('connected', True) else '; it is not connected now'}",
            asked,
            "bring the server back, or look at its load and the network between",
            "what processes share is shared again, and no call waits for a timeout",
            "redis-cli -u URL ping, and INFO; timeout= of the tier bounds what a call waits meanwhile",
            explains=("server-errors", "failing-operation", *_SPARED),
            unavailable=failed,
        )


def slow_statements(metrics: dict[str, Any], thresholds: Thresholds) -> Iterator[Recommendation]:
    """Statements of databases behind SQLAlchemy that are slow more than once in a while."""
    limit = thresholds.slow_query_seconds
    slow = [
        one
        for one in metrics["operations"]
        if one["system"] == "db" and not one["error_type"] and one["name"] != _OTHER
        if one["count"] >= MIN_CALLS and one["p95_seconds"] > limit
    ]
    for one in sorted(slow, key=lambda one: one["sum_seconds"], reverse=True)[:_MOST_SLOW]:
        yield make(
            "slow-query",
            one["name"],
            f"{one['name']} took {fixed(one['mean_seconds'])} on average, {fixed(one['p95_seconds'])} at P95 "
            f"and {fixed(one['max_seconds'])} at most in {one['count']:,} calls",
            one["count"],
            f"look at its plan in {one['method']}, and give it the index that it lacks",
            "a look-up in place of a scan, where it is one",
            "EXPLAIN ANALYZE of the statement; QueryAnalyzer(path) tries indexes on a SQLite file",
            explains=("waits-elsewhere",),
            total_seconds=one["sum_seconds"],
        )


def pools(metrics: dict[str, Any], _: Thresholds) -> Iterator[Recommendation]:
    """Statements that wait for a connection: for any of the readers, or for the one writer."""
    for pool in metrics["pools"]:
        calls, queued = pool["calls"], pool["queue_seconds"]
        worked = pool["step_seconds"] + pool["convert_seconds"]
        if calls < MIN_CALLS or (pool["timeouts"] == 0 and queued <= worked):
            continue
        writer = pool.get("writer_wait_seconds", 0.0) > pool.get("reader_wait_seconds", 0.0)
        evidence = (
            f"statements of pool {pool['name']!r} waited {fixed(queued)} for "
            f"{'its one writer' if writer else 'a connection'} and ran {fixed(worked)}"
        )
        if pool["timeouts"]:
            evidence += f", and {pool['timeouts']:,} gave up waiting or running"
        more = f"give it more connections (now {pool['size']}), or shorten the statements and transactions"
        yield make(
            "writer-waits" if writer else "pool-waits",
            pool["name"],
            evidence,
            calls,
            "shorten the transactions that write: more connections would not help" if writer else more,
            f"up to {as_percent(queued / (queued + worked))} of the time of a statement"
            if queued + worked
            else "the waiting",
            "no await of anything else inside a transaction; executemany() for many rows"
            if writer
            else f"SQLitePool(path, size={2 * pool['size']}), or MCP_PERFORMANCE_DB_POOL_SIZE",
            severity="critical" if pool["timeouts"] else "warning",
            explains=("slow-query", *(("server-errors", "failing-operation") if pool["timeouts"] else ())),
            timeouts=pool["timeouts"],
        )


def _first_word(query: Any) -> str:
    return str(query.fingerprint.partition(" ")[0]).upper()


class _Remedy(NamedTuple):
    action: str
    gain: str
    apply: str
    is_cause: bool
    """Whether the statement itself is at fault, not what it waits for."""


_INDEX_BY_HAND = "QueryAnalyzer(pool).advise() tries indexes on a copy and says which help"


def _remedy(query: Any, advice: Sequence[Any]) -> _Remedy:
    for index in advice:
        if query.fingerprint not in index.used_by:
            continue
        action = f"create the index: {index.ddl}"
        if index.cost_before is None or not index.cost_after:
            return _Remedy(action, "the planner uses it for this statement", index.ddl, True)
        proof = "tried on a copy" if index.verified else "estimated by the planner"
        gain = f"{index.cost_before / index.cost_after:.1f} times fewer steps, {proof}"
        return _Remedy(action, gain, index.ddl, True)
    if _first_word(query) in _WRITES and not query.full_scans:
        return _Remedy(
            "write more rows a transaction: each commit waits for the disk",
            "one wait instead of many",
            "pool.executemany(), or async with pool.transaction()",
            True,
        )
    rows = query.rows_scanned / max(query.full_scans, 1)
    index = f"give it an index ({rows:,.0f} rows scanned a call)"
    if query.queue_seconds > query.step_seconds + query.convert_seconds:
        action, gain = "look at the pool: it waits longer than it runs", "up to its waiting time"
        if query.full_scans:
            return _Remedy(f"{index}, and {action}", f"{gain}, and the scan", _INDEX_BY_HAND, True)
        return _Remedy(action, gain, "size= of the pool", False)
    if query.convert_seconds > query.step_seconds:
        return _Remedy(
            "fetch fewer rows or columns, or stream them",
            "up to the time of making objects",
            "pool.stream()",
            True,
        )
    if query.full_scans:
        return _Remedy(index, "the scan goes where an index fits", _INDEX_BY_HAND, True)
    if query.sorts:
        return _Remedy(
            "give it an index in the order that it sorts by", "the sort goes", _INDEX_BY_HAND, True
        )
    return _Remedy(
        "look at its plan with QueryAnalyzer",
        "depends on the plan",
        "QueryAnalyzer(pool).analyze(sql)",
        False,
    )


def _effects_of_statement(query: Any, metrics: dict[str, Any]) -> tuple[str, ...]:
    effects = ["pool-waits", "writer-waits", "waits-elsewhere"]
    if query.step_seconds > metrics["process"]["cpu_seconds"] / 2:
        effects += ["high-cpu", "add-workers", "cpu-throttled"]
    if any(pool["timeouts"] for pool in metrics["pools"]):
        effects.append("server-errors")
    return tuple(effects)


def slow_queries(
    metrics: dict[str, Any], queries: Iterable[Any], thresholds: Thresholds, advice: Sequence[Any]
) -> Iterator[Recommendation]:
    """Statements that are slow more than once in a while."""
    limit, found = thresholds.slow_query_seconds, 0
    for query in queries:
        if min(query.max_seconds, query.p95_seconds) <= limit or query.calls < MIN_CALLS:
            continue
        if _first_word(query) not in _QUERIES or found == _MOST_SLOW:
            continue
        found += 1
        remedy = _remedy(query, advice)
        yield make(
            "slow-query",
            query.hash,
            f"{query.sample} took {fixed(query.mean_seconds)} on average, "
            f"{fixed(query.p95_seconds)} at P95 and {fixed(query.max_seconds)} at most "
            f"in {query.calls:,} calls",
            query.calls,
            remedy.action,
            remedy.gain,
            remedy.apply,
            explains=_effects_of_statement(query, metrics) if remedy.is_cause else (),
            total_seconds=query.total_seconds,
        )


def repeated_queries(
    metrics: dict[str, Any], queries: Iterable[Any], thresholds: Thresholds
) -> Iterator[Recommendation]:
    """Statements that requests run again and again, each fast."""
    requests = metrics["requests"]["count"]
    spent = sum(route["sum_seconds"] for route in metrics["requests"]["routes"])
    if requests < MIN_REQUESTS or spent <= 0:
        return
    for query in queries:
        often, share = query.calls / requests, min(1.0, query.total_seconds / spent)
        busy = (query.step_seconds + query.convert_seconds) / max(metrics["process"]["cpu_seconds"], 1e-9)
        share = max(share, min(1.0, busy))
        if often < _MANY_A_REQUEST or share < _REPEATED_SHARE or _first_word(query) not in _QUERIES:
            continue
        if query.p95_seconds > thresholds.slow_query_seconds:
            continue
        yield make(
            "repeated-query",
            query.hash,
            f"{query.sample} ran {often:,.0f} times a request, {query.calls:,} times in all",
            query.calls,
            "read what a request needs in one statement",
            f"up to {as_percent(share * (1 - 1 / often))} of the time of requests",
            "a JOIN or WHERE ... IN (...), executemany() for writes, or @batched around the lookup",
            explains=("pool-waits", "writer-waits", "high-cpu", "add-workers", "waits-elsewhere"),
            total_seconds=query.total_seconds,
        )
