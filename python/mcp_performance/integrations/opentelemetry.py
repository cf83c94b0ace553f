"""Hands the figures of a monitor to OpenTelemetry, and makes spans: ``instrument(monitor)``.

Names and units are those of the semantic conventions. Whatever the application exports its metrics and
traces with exports these too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .._base._checks import flag
from ..monitor import PerformanceMonitor
from ..monitor._monitor import monitor_or_new
from ._extras import missing

try:
    from opentelemetry import metrics, trace
    from opentelemetry.metrics import CallbackOptions, Observation
except ModuleNotFoundError as error:
    raise missing(error, "opentelemetry", "opentelemetry") from None

from ._spans import TracerSpans, operation_attributes

__all__ = ["instrument"]

_Read = Callable[[Mapping[str, Any]], Iterable[Observation]]


def instrument(
    monitor: PerformanceMonitor | None = None,
    *,
    meter_provider: metrics.MeterProvider | None = None,
    tracer_provider: trace.TracerProvider | None = None,
    spans: bool = True,
) -> PerformanceMonitor:
    """Observe the figures of *monitor* whenever metrics are collected, and make spans of what it counts.

    Metrics: counts and sums of times of requests and operations, requests in progress, lookups of caches,
    connections of pools, CPU and memory of the process. OpenTelemetry's API takes no histogram that is there
    already, so ``http.server.request.duration`` is recorded again, with each span.

    Spans: of requests that pass :class:`~mcp_performance.PerformanceMiddleware` (below the one that
    ``traceparent`` names), of tools, resources and prompts, of tasks, and of statements of SQLAlchemy. Those
    that are sampled are the exemplars of the monitor's OpenMetrics text.

    Args:
        monitor: whose figures; ``None`` makes one.
        meter_provider: the global one unless given.
        tracer_provider: the global one unless given.
        spans: ``False`` where another instrumentation makes them.

    Returns:
        The monitor.

    Raises:
        TypeError: a bad argument, by name.
    """
    flag("spans", spans)
    chosen = monitor_or_new(monitor)
    if meter_provider is not None and not callable(getattr(meter_provider, "get_meter", None)):
        raise TypeError(f"meter_provider={meter_provider!r}: expected a MeterProvider or None")
    if tracer_provider is not None and not callable(getattr(tracer_provider, "get_tracer", None)):
        raise TypeError(f"tracer_provider={tracer_provider!r}: expected a TracerProvider or None")
    meter = metrics.get_meter("mcp_performance", meter_provider=meter_provider)

    def observed(read: _Read) -> Callable[[CallbackOptions], Iterable[Observation]]:
        return lambda options: list(read(chosen.metrics()))

    for name, unit, text, read in _COUNTERS:
        meter.create_observable_counter(name, [observed(read)], unit=unit, description=text)
    for name, unit, text, read in _GAUGES:
        meter.create_observable_up_down_counter(name, [observed(read)], unit=unit, description=text)
    if spans:
        tracer = trace.get_tracer("mcp_performance", tracer_provider=tracer_provider)
        chosen.spans = TracerSpans(tracer, meter, chosen.exemplars)
    return chosen


def _route(one: Mapping[str, Any]) -> dict[str, Any]:
    attributes = {
        "http.request.method": one["method"],
        "http.route": one["route"],
        "http.response.status_code": one["status"],
        "url.scheme": one["scheme"],
    }
    error = one["error_type"] or (str(one["status"]) if one["status"] >= 500 else "")
    return {**attributes, "error.type": error} if error else attributes


def _operation(one: Mapping[str, Any]) -> dict[str, Any]:
    attributes = {**operation_attributes(one["method"], one["name"], one["system"]), "system": one["system"]}
    return {**attributes, "error.type": one["error_type"]} if one["error_type"] else attributes


def _requests(figure: str) -> _Read:
    return lambda seen: (Observation(one[figure], _route(one)) for one in seen["requests"]["routes"])


def _operations(figure: str) -> _Read:
    return lambda seen: (Observation(one[figure], _operation(one)) for one in seen["operations"])


def _lookups(seen: Mapping[str, Any]) -> Iterable[Observation]:
    for cache in seen["caches"]:
        for result, figure in (("hit", "hits"), ("miss", "misses")):
            yield Observation(cache[figure], {"cache.name": cache["name"], "cache.result": result})


def _connections(seen: Mapping[str, Any]) -> Iterable[Observation]:
    for pool in seen["pools"]:
        for state, figure in (("idle", "idle"), ("used", "in_use")):
            named = {"db.client.connection.pool.name": pool["name"], "db.client.connection.state": state}
            yield Observation(pool[figure], named)


def _process(figure: str) -> _Read:
    return lambda seen: (Observation(seen["process"][figure]),)


_COUNTERS: tuple[tuple[str, str, str, _Read], ...] = (
    ("http.server.request.count", "{request}", "Requests that ended.", _requests("count")),
    ("http.server.request.time", "s", "Time that they took, all together.", _requests("sum_seconds")),
    (
        "mcp_performance.operation.count",
        "{operation}",
        "Tools, statements and the like.",
        _operations("count"),
    ),
    ("mcp_performance.operation.time", "s", "Time that they took.", _operations("sum_seconds")),
    ("cache.gets", "{lookup}", "Lookups by their result.", _lookups),
    ("process.cpu.time", "s", "User and system time.", _process("cpu_seconds")),
)
_GAUGES: tuple[tuple[str, str, str, _Read], ...] = (
    (
        "http.server.active_requests",
        "{request}",
        "Requests in progress.",
        lambda seen: (Observation(seen["requests"]["active"]),),
    ),
    ("db.client.connection.count", "{connection}", "Connections by their state.", _connections),
    ("process.memory.usage", "By", "Memory that the process holds.", _process("resident_bytes")),
)
