"""What OpenTelemetry's own reader collects of a monitor."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from mcp_performance import Cache, PerformanceMonitor
from mcp_performance.integrations.opentelemetry import instrument


def collected(reader: InMemoryMetricReader) -> dict[str, dict[tuple[tuple[str, Any], ...], Any]]:
    data: Any = reader.get_metrics_data()
    return {
        metric.name: {
            tuple(sorted(point.attributes.items())): point.value for point in metric.data.data_points
        }
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


def test_requests_operations_and_caches_are_collected_under_the_conventions_names() -> None:
    cache: Cache[str, int] = Cache(name="users")
    cache["a"] = 1
    cache.get("a")
    cache.get("b")
    monitor = PerformanceMonitor(caches=[cache], pools=(), tiers=())
    reader = InMemoryMetricReader()
    assert instrument(monitor, meter_provider=MeterProvider([reader])) is monitor
    for status in (200, 200, 503):
        monitor.requests.begin()
        monitor.requests.end("GET", "/users/{id}", "http", status, "", 0.1, 0.25, 0.25)
    monitor.requests.begin()
    monitor.requests.operation("tools/call", "add", "mcp", "tool_error", 0.5)
    found = collected(reader)
    route = {"http.request.method": "GET", "http.route": "/users/{id}", "url.scheme": "http"}
    fine = tuple(sorted({**route, "http.response.status_code": 200}.items()))
    failed = tuple(sorted({**route, "http.response.status_code": 503, "error.type": "503"}.items()))
    assert found["http.server.request.count"] == {fine: 2, failed: 1}
    assert found["http.server.request.time"][fine] == pytest.approx(0.5)
    assert list(found["http.server.active_requests"].values()) == [1]
    (called,) = found["mcp_performance.operation.count"]
    assert dict(called) == {
        "mcp.method.name": "tools/call",
        "gen_ai.tool.name": "add",
        "system": "mcp",
        "error.type": "tool_error",
    }
    assert found["cache.gets"] == {
        (("cache.name", "users"), ("cache.result", "hit")): 1,
        (("cache.name", "users"), ("cache.result", "miss")): 1,
    }
    assert next(iter(found["process.memory.usage"].values())) > 0


def test_a_wrong_monitor_is_an_error_that_names_it() -> None:
    with pytest.raises(TypeError, match="monitor=3"):
        instrument(3)  # type: ignore[arg-type]
