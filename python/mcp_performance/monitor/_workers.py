"""The figures of all workers of a service as one: written into rows that the workers share, and added up.

Counters are added up over all workers that there ever were, gauges over those that are alive.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from .. import _core
from .._base._stats import CacheStats
from .._base._tier_stats import TierStats
from ..sqlite import PoolStats, QueryStats
from ._prometheus import CACHE, POOL, PROCESS, Metric

__all__ = ["add_up", "queries_of_rows", "rows_of"]

_ROWS_A_KIND = 40
_OTHER = _core.LABEL_OTHER

# Those that have no metric of their own; the others are gauges where their metric says so.
_GAUGES = frozenset(
    (
        "hit_rate",
        "maxsize",
        "weight",
        "size",
        "open",
        "idle",
        "in_use",
        "cache_bytes",
        "wal_bytes",
        "in_flight",
        "connected",
        "cpu_used_cores",
        "min_seconds",
        "mean_seconds",
        "stddev_seconds",
        "first_seen",
        "p95_seconds",
        "p99_seconds",
    )
)
_MAXIMA = frozenset({"max_seconds", "last_seen"})


def _numeric(cls: type[Any], *without: str) -> tuple[str, ...]:
    texts = {"fingerprint", "hash", "sample", "cache", *without}
    return tuple(field.name for field in dataclasses.fields(cls) if field.name not in texts)


class _Kind(NamedTuple):
    fields: tuple[str, ...]
    gauges: frozenset[str]
    counters: int
    maxima: int


def _kind(fields: Sequence[str], metrics: Iterable[Metric] = ()) -> _Kind:
    gauges = _GAUGES | {metric.figure for metric in metrics if metric.kind == "gauge"}
    counters = sum(1 << at for at, name in enumerate(fields) if name not in gauges | _MAXIMA)
    maxima = sum(1 << at for at, name in enumerate(fields) if name in _MAXIMA)
    return _Kind(tuple(fields), gauges, counters, maxima)


_POOL = (*_numeric(PoolStats), "calls", "queue_seconds", "step_seconds", "convert_seconds")
_PROCESS = ("cpu_used_cores", *(metric.figure for metric in PROCESS if not metric.shared))
_KINDS = {
    "process": _kind(_PROCESS, PROCESS),
    "gc": _kind(("collections", "collected", "uncollectable")),
    "cache": _kind(_numeric(CacheStats), CACHE),
    "pool": _kind(_POOL, POOL),
    "results": _kind(_numeric(CacheStats), CACHE),
    "tier": _kind(_numeric(TierStats, "error_replies"), CACHE),
    "query": _kind(_numeric(QueryStats)),
}

Row = tuple[str, str, str, tuple[float, ...], int, int, Any, bytes]
"""Kind, name, text, values, the bits of the counters and the maxima among them, what the row is of, and where
in it the counters stand that the native part tells with each request."""

_PLACES = {
    kind: bytes(described.fields.index(name) for name in _core.counter_names(kind))
    for kind, described in _KINDS.items()
}


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _row(kind: str, name: str, figures: Mapping[str, Any], text: str = "", source: Any = None) -> Row:
    of = _KINDS[kind]
    values = tuple(_number(figures.get(field, 0)) for field in of.fields)
    return kind, name, text, values, of.counters, of.maxima, source, _PLACES[kind]


def _bounded(
    kind: str, named: Sequence[tuple[str, Mapping[str, Any], str]], sources: Mapping[str, Any]
) -> Iterable[Row]:
    """Rows of the first of *named*, and the others added up in one."""
    for name, figures, text in named[:_ROWS_A_KIND]:
        yield _row(kind, name, figures, text, sources.get(name))
    rest = [figures for _, figures, _ in named[_ROWS_A_KIND:]]
    if rest:
        yield _row(kind, _OTHER, _sum(kind, [(figures, True) for figures in rest]))


def rows_of(
    metrics: Mapping[str, Any], queries: Iterable[Any], sources: Mapping[str, Mapping[str, Any]]
) -> Iterable[Row]:
    """What the other workers are to know of this one: its own figures, and its statements, those with the
    most time first; *sources* are the objects behind them, by kind and name."""
    yield _row("process", "", metrics["process"])
    for generation, figures in enumerate(metrics["gc"]):
        yield _row("gc", str(generation), figures)
    for kind, key in (("cache", "caches"), ("pool", "pools"), ("tier", "tiers")):
        busiest = sorted(
            metrics[key], key=lambda one: one.get("hits", 0) + one.get("misses", 0), reverse=True
        )
        yield from _bounded(kind, [(one["name"], one, "") for one in busiest], sources.get(kind, {}))
    results = [(one["name"], one["cache"], "") for one in metrics["pools"]]
    yield from _bounded("results", results, sources.get("pool", {}))
    statements = [dataclasses.asdict(query) for query in queries]
    yield from _bounded("query", [(one["hash"], one, one["fingerprint"]) for one in statements], {})


def _plain(field: str, value: float) -> Any:
    if math.isnan(value):
        return None
    if field == "connected":
        return value > 0
    whole = not field.endswith(("_seconds", "_rate", "_cores", "_seen")) and value.is_integer()
    return int(value) if whole else value


def _mean(parts: Sequence[tuple[Mapping[str, Any], bool]]) -> float:
    calls = sum(figures["calls"] for figures, _ in parts)
    return sum(figures["step_seconds"] for figures, _ in parts) / calls if calls else 0.0


def _sum(kind: str, parts: Sequence[tuple[Mapping[str, Any], bool]]) -> dict[str, Any]:
    """*parts* are figures, each with whether its worker is alive."""
    result: dict[str, Any] = {}
    for field in _KINDS[kind].fields:
        gone = field not in _KINDS[kind].gauges
        values = [_number(figures.get(field, 0)) for figures, alive in parts if alive or gone]
        if field in _MAXIMA or field.startswith(("p95", "p99", "stddev")):
            value = max(values, default=0.0)
        elif field in ("min_seconds", "first_seen"):
            value = min((one for one in values if one > 0), default=0.0)
        else:
            value = math.fsum(values)
        result[field] = _plain(field, value)
    if "hit_rate" in result:
        asked = result["hits"] + result["misses"]
        result["hit_rate"] = result["hits"] / asked if asked else 0.0
    if "mean_seconds" in result:
        result["mean_seconds"] = _mean(parts)
    return result


def _gather(workers: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, list[tuple[dict[str, Any], bool]]]]:
    found: dict[str, dict[str, list[tuple[dict[str, Any], bool]]]] = {kind: {} for kind in _KINDS}
    for worker in workers:
        for kind, name, text, values in worker["rows"]:
            if kind in found:
                figures: dict[str, Any] = dict(zip(_KINDS[kind].fields, values, strict=False))
                found[kind].setdefault(name, []).append(({**figures, "text": text}, worker["alive"]))
    return found


def add_up(workers: Iterable[Mapping[str, Any]], own: Mapping[str, Any]) -> dict[str, Any]:
    """The parts ``process``, ``gc``, ``caches``, ``pools`` and ``tiers`` of metrics over *workers*; what
    only a process can say of itself, or says of its container, is from *own*."""
    found = {
        kind: {name: _sum(kind, parts) for name, parts in named.items()}
        for kind, named in _gather(workers).items()
    }
    process = {**own["process"], **found["process"].get("", {})}
    process["cpu_percent"] = 100.0 * process["cpu_used_cores"] / process["cpu_cores"]
    known = {key: {one["name"]: one for one in own[key]} for key in ("caches", "pools", "tiers")}

    def named(kind: str, key: str) -> list[dict[str, Any]]:
        return [{**known[key].get(name, {}), "name": name, **one} for name, one in found[kind].items()]

    pools = [
        {**pool, "cache": found["results"].get(pool["name"], _sum("results", []))}
        for pool in named("pool", "pools")
    ]
    generations = [found["gc"][name] for name in sorted(found["gc"])]
    return {
        "process": process,
        "gc": generations,
        "caches": named("cache", "caches"),
        "pools": pools,
        "tiers": named("tier", "tiers"),
    }


def queries_of_rows(workers: Iterable[Mapping[str, Any]], own: Iterable[Any]) -> list[QueryStats]:
    """The statements of all workers, those with the most time first. ``p95_seconds``, ``p99_seconds`` and
    ``stddev_seconds`` are the largest of any worker that is alive: no percentile of all is above them."""
    texts = {query.hash: query for query in own}
    found = []
    for name, parts in _gather(workers)["query"].items():
        mine = texts.get(name)
        fingerprint = mine.fingerprint if mine else parts[0][0]["text"] or _OTHER
        sample = mine.sample if mine else fingerprint
        found.append(QueryStats(fingerprint=fingerprint, hash=name, sample=sample, **_sum("query", parts)))
    return sorted(found, key=lambda query: query.total_seconds, reverse=True)
