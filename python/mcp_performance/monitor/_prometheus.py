"""Figures as Prometheus text (exposition format 0.0.4, or OpenMetrics 1.0).

Native histograms are in neither: Prometheus takes them by protobuf alone, and makes some itself of what is
here (``convert_classic_histograms_to_nhcb: true``), with the same bounds.

Names and units follow OpenTelemetry's semantic conventions in Prometheus' spelling; caches, for which
there is no convention, follow Micrometer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

from ._exemplars import Exemplar, Exemplars

__all__ = ["CACHE", "CONTENT_TYPE", "OPENMETRICS", "POOL", "PROCESS", "Metric", "exposition"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_OPERATIONS = {"mcp": "mcp_server_operation", "db": "db_client_operation"}


class Metric(NamedTuple):
    """A figure that is a family of its own."""

    name: str
    kind: Literal["counter", "gauge"]
    """Counters are added up over all workers of a service that there ever were, gauges over those that are
    alive."""
    figure: str
    """Its name in :meth:`PerformanceMonitor.metrics`."""
    text: str
    shared: bool = False
    """Of the container or the machine: workers say the same, and nothing is added up."""


CACHE = (
    Metric("cache_evictions_total", "counter", "evictions", "Entries displaced for want of room."),
    Metric("cache_expirations_total", "counter", "expirations", "Entries whose time ran out."),
    Metric("cache_invalidations_total", "counter", "invalidations", "Entries removed by hand or by a write."),
    Metric("cache_size", "gauge", "currsize", "Entries held."),
)
"""Of caches, tiers and the results of pools, those that have it."""

_CONNECTION = "db_client_connection"
POOL = (
    Metric(f"{_CONNECTION}_pending_requests", "gauge", "waiting", "Requests that wait for a connection."),
    Metric(f"{_CONNECTION}_timeouts_total", "counter", "timeouts", "Requests whose time ran out."),
    Metric(f"{_CONNECTION}_wait_time_seconds_total", "counter", "queue_seconds", "Time spent waiting."),
    Metric(f"{_CONNECTION}_use_time_seconds_total", "counter", "database_seconds", "Time spent in SQLite."),
    Metric("db_client_operation_errors_total", "counter", "errors", "Statements that failed."),
    Metric("db_client_operations_total", "counter", "calls", "Statements that ran."),
    Metric(f"{_CONNECTION}_reconnects_total", "counter", "reconnects", "Connections that were replaced."),
)

_WORKING_SET = "Memory in use without reclaimable file pages, of the container or else the machine."
_LIMIT = "Memory of the container, or else the machine."
_THROTTLED = "Time that the container was held back by its quota."
_KILLED = "Processes of the container that were killed for want of memory."
PROCESS = (
    Metric("process_cpu_seconds_total", "counter", "cpu_seconds", "User and system time of this process."),
    Metric("process_cpu_cores", "gauge", "cpu_cores", "Cores that this process may use.", True),
    Metric("process_resident_memory_bytes", "gauge", "resident_bytes", "Memory that this process holds."),
    Metric("container_memory_working_set_bytes", "gauge", "memory_used_bytes", _WORKING_SET, True),
    Metric("container_memory_limit_bytes", "gauge", "memory_limit_bytes", _LIMIT, True),
    Metric("container_cpu_throttled_seconds_total", "counter", "throttled_seconds", _THROTTLED, True),
    Metric("container_oom_kills_total", "counter", "oom_kills", _KILLED, True),
    Metric("process_open_fds", "gauge", "open_fds", "Open file descriptors."),
    Metric("process_max_fds", "gauge", "max_fds", "Limit of open file descriptors."),
    Metric("process_threads", "gauge", "threads", "Threads of this process."),
    Metric("process_start_time_seconds", "gauge", "start_time", "Start, seconds since 1970.", True),
)

_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


class _Text:
    """Collects families; each is written once, its samples together."""

    def __init__(self, exemplars: Exemplars | None) -> None:
        self.exemplars = exemplars
        """In OpenMetrics alone."""
        self._families: dict[str, list[str]] = {}
        self._samples: list[str] = []
        self.common: dict[str, object] = {}
        """Labels of every sample that follows."""

    def family(self, name: str, kind: str, text: str) -> None:
        if self.exemplars is not None and kind == "counter":
            name = name.removesuffix("_total")  # which is the sample's name, there
        self._samples = self._families.setdefault(name, [f"# HELP {name} {text}", f"# TYPE {name} {kind}"])

    def sample(
        self,
        name: str,
        value: float,
        labels: Mapping[str, object] | None = None,
        exemplar: Exemplar | None = None,
    ) -> None:
        number = repr(float(value)) if isinstance(value, float) else str(int(value))
        all_labels = {**(labels or {}), **self.common}
        if all_labels:
            inside = ",".join(
                f'{key}="{str(label).translate(_ESCAPES)}"' for key, label in all_labels.items()
            )
            name = f"{name}{{{inside}}}"
        traced = ""
        if exemplar is not None:
            traced = (
                f' # {{trace_id="{exemplar.trace_id}",span_id="{exemplar.span_id}"}}'
                f" {exemplar.seconds!r} {exemplar.time:.3f}"
            )
        self._samples.append(f"{name} {number}{traced}")

    def single(self, name: str, kind: str, text: str, value: float) -> None:
        self.family(name, kind, text)
        self.sample(name, value)

    def figure(
        self, metric: Metric, rows: Iterable[tuple[Mapping[str, object] | None, Mapping[str, Any]]]
    ) -> None:
        """One sample for each of *rows*, labels and figures, that has it."""
        self.family(metric.name, metric.kind, metric.text)
        for labels, figures in rows:
            if metric.figure in figures:
                self.sample(metric.name, figures[metric.figure], labels)

    def __str__(self) -> str:
        end = "" if self.exemplars is None else "# EOF\n"
        return "\n".join(line for lines in self._families.values() for line in lines) + "\n" + end


def exposition(metrics: Mapping[str, Any], *, each: bool = False, exemplars: Exemplars | None = None) -> str:
    """The figures of :meth:`PerformanceMonitor.metrics` as text for a Prometheus scrape; with *each*, those
    of each worker, of which the one that is called ``ended`` is all that have; with *exemplars* as
    OpenMetrics."""
    text = _Text(exemplars)
    for part in metrics["workers"] if each else (metrics,):
        if each:
            text.common = {"worker": "ended" if part["number"] < 0 else part["number"]}
        _requests(text, part["requests"])
        _operations(text, part["operations"])
        _caches(text, part)
        _pools(text, part["pools"])
        _process(text, part)
    return str(text)


def _route_labels(route: Mapping[str, Any]) -> dict[str, object]:
    labels: dict[str, object] = {
        "http_request_method": route["method"],
        "http_route": route["route"],
        "http_response_status_code": route["status"],
        "url_scheme": route["scheme"],
    }
    if route["error_type"]:
        labels["error_type"] = route["error_type"]
    elif route["status"] >= 500:
        labels["error_type"] = route["status"]
    return labels


def _requests(text: _Text, requests: Mapping[str, Any]) -> None:
    name = "http_server_request_duration_seconds"
    text.family(name, "histogram", "Time from a request's arrival to the last piece of its response.")
    for route in requests["routes"]:
        labels = _route_labels(route)
        bounds = [*((repr(bound), count) for bound, count in route["buckets"]), ("+Inf", route["count"])]
        for at, (bound, count) in enumerate(bounds):
            exemplar = (
                text.exemplars.of(route, at) if text.exemplars is not None and not text.common else None
            )
            text.sample(f"{name}_bucket", count, {**labels, "le": bound}, exemplar)
        text.sample(f"{name}_sum", route["sum_seconds"], labels)
        text.sample(f"{name}_count", route["count"], labels)
    folded = "Series that made room for others and are counted together as _OTHER."
    text.single("http_server_folded_series_total", "counter", folded, requests["folded_series"])
    text.single("http_server_active_requests", "gauge", "Requests in progress.", requests["active"])


def _operations(text: _Text, operations: Iterable[Mapping[str, Any]]) -> None:
    operations = list(operations)
    for system in sorted({one["system"] for one in operations}):
        name = _OPERATIONS.get(system, f"{system or 'other'}_operation") + "_duration_seconds"
        text.family(name, "histogram", "Time that an operation took.")
        for one in operations:
            if one["system"] != system:
                continue
            labels = {"method": one["method"], "name": one["name"]}
            if one["error_type"]:
                labels["error_type"] = one["error_type"]
            for bound, count in one["buckets"]:
                text.sample(f"{name}_bucket", count, {**labels, "le": repr(bound)})
            text.sample(f"{name}_bucket", one["count"], {**labels, "le": "+Inf"})
            text.sample(f"{name}_sum", one["sum_seconds"], labels)
            text.sample(f"{name}_count", one["count"], labels)


def _cache_rows(metrics: Mapping[str, Any]) -> Iterable[tuple[dict[str, object], Mapping[str, Any]]]:
    for cache in metrics["caches"]:
        yield {"cache": cache["name"], "tier": "memory"}, cache
    for tier in metrics["tiers"]:
        yield {"cache": tier["name"], "tier": "shared"}, tier
    for pool in metrics["pools"]:
        yield {"cache": pool["name"], "tier": "query"}, pool["cache"]


def _caches(text: _Text, metrics: Mapping[str, Any]) -> None:
    rows = [(labels, cache) for labels, cache in _cache_rows(metrics) if "hits" in cache]
    text.family("cache_gets_total", "counter", "Lookups by their result.")
    for labels, cache in rows:
        for result, figure in (("hit", "hits"), ("miss", "misses")):
            text.sample("cache_gets_total", cache[figure], {**labels, "result": result})
    for metric in CACHE:
        text.figure(metric, rows)
    text.family("cache_loads_total", "counter", "Calls of loaders by their result.")
    for labels, cache in rows:
        for result, figure in (("success", "loads"), ("failure", "load_errors")):
            if figure in cache:
                text.sample("cache_loads_total", cache[figure], {**labels, "result": result})


def _pools(text: _Text, pools: Iterable[Mapping[str, Any]]) -> None:
    pools = list(pools)
    text.family("db_client_connection_count", "gauge", "Connections by their state.")
    for pool in pools:
        for state, figure in (("idle", "idle"), ("used", "in_use")):
            labels = {"db_client_connection_pool_name": pool["name"], "db_client_connection_state": state}
            text.sample("db_client_connection_count", pool[figure], labels)
    named = [({"db_client_connection_pool_name": pool["name"]}, pool) for pool in pools]
    for metric in POOL:
        text.figure(metric, named)


def _process(text: _Text, metrics: Mapping[str, Any]) -> None:
    process, lag = metrics["process"], metrics["loop_lag"]
    for metric in PROCESS:
        text.figure(metric, [(None, process)])
    text.family("event_loop_lag_seconds", "summary", "How late timers of the event loop ran, last minute.")
    for quantile, figure in (("0.5", "p50_seconds"), ("0.95", "p95_seconds"), ("0.99", "p99_seconds")):
        text.sample("event_loop_lag_seconds", lag[figure], {"quantile": quantile})
    for name, figure, help_text in (
        ("cpython_gc_collections_total", "collections", "Runs of the garbage collector."),
        ("cpython_gc_collected_objects_total", "collected", "Objects that it freed."),
        ("cpython_gc_uncollectable_objects_total", "uncollectable", "Objects that it could not free."),
    ):
        text.family(name, "counter", help_text)
        for generation, figures in enumerate(metrics["gc"]):
            text.sample(name, figures[figure], {"cpython_gc_generation": generation})
