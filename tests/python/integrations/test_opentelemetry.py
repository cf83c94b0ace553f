"""What OpenTelemetry's own reader collects of a monitor, and the spans that its exporter gets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import sqlalchemy
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from mcp_performance import Cache, PerformanceMiddleware, PerformanceMonitor
from mcp_performance.integrations import sqlalchemy as sqlalchemy_integration
from mcp_performance.integrations._operations import Operations
from mcp_performance.integrations.opentelemetry import instrument
from mcp_performance.integrations.tasks import timed


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


@dataclass
class Traced:
    monitor: PerformanceMonitor
    exporter: InMemorySpanExporter
    reader: InMemoryMetricReader

    def spans(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())


@pytest.fixture
def traced() -> Traced:
    found = Traced(
        PerformanceMonitor(caches=(), pools=(), tiers=()), InMemorySpanExporter(), InMemoryMetricReader()
    )
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(found.exporter))
    instrument(found.monitor, tracer_provider=provider, meter_provider=MeterProvider([found.reader]))
    return found


TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


async def answer(request: Request) -> Response:
    if request.path_params["x"] == "broken":
        raise LookupError("no")
    return PlainTextResponse("fine", int(request.path_params["x"]))


async def ask(monitor: PerformanceMonitor, method: str, path: str, **headers: str) -> httpx.Response:
    routes = [Route("/a/{x}", answer, methods=["GET", "BREW"])]
    app = PerformanceMiddleware(Starlette(routes=routes), monitor=monitor, expose=True)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        return await http.request(method, path, headers=headers)


@pytest.mark.parametrize(
    ("method", "path", "name", "attributes", "failed"),
    [
        ("GET", "/a/200", "GET /a/{x}", {"http.route": "/a/{x}", "http.response.status_code": 200}, False),
        ("GET", "/a/404", "GET /a/{x}", {"http.route": "/a/{x}", "http.response.status_code": 404}, False),
        ("GET", "/a/503", "GET /a/{x}", {"error.type": "503", "http.response.status_code": 503}, True),
        ("GET", "/a/broken", "GET /a/{x}", {"error.type": "LookupError", "url.path": "/a/broken"}, True),
        ("GET", "/none", "GET", {"http.response.status_code": 404, "http.route": None}, False),
        ("BREW", "/a/200", "HTTP /a/{x}", {"http.request.method": "_OTHER"}, False),
    ],
)
async def test_a_request_is_a_span_of_its_route_below_the_one_that_its_headers_name(
    traced: Traced, method: str, path: str, name: str, attributes: dict[str, Any], failed: bool
) -> None:
    await ask(traced.monitor, method, path, traceparent=f"00-{TRACE}-{PARENT}-01")
    (span,) = traced.spans()
    assert (span.name, span.kind, span.parent and f"{span.parent.span_id:016x}") == (
        name,
        SpanKind.SERVER,
        PARENT,
    )
    assert f"{span.context.trace_id:032x}" == TRACE
    assert {key: (span.attributes or {}).get(key) for key in attributes} == attributes
    assert (span.status.status_code is StatusCode.ERROR) == failed
    assert traced.monitor.metrics()["requests"]["count"] == 1
    data: Any = traced.reader.get_metrics_data()
    (duration,) = [
        metric
        for metric in data.resource_metrics[0].scope_metrics[0].metrics
        if metric.name == "http.server.request.duration"
    ]
    assert [point.count for point in duration.data.data_points] == [1]


@pytest.mark.parametrize(("flags", "shown"), [("01", True), ("00", False)])
async def test_a_sampled_request_is_an_exemplar_of_its_bucket(
    traced: Traced, flags: str, shown: bool
) -> None:
    await ask(traced.monitor, "GET", "/a/200", traceparent=f"00-{TRACE}-{PARENT}-{flags}")
    text = (
        await ask(
            traced.monitor, "GET", "/api/mcp/performance/metrics", accept="application/openmetrics-text"
        )
    ).text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    found = [
        (float(sample.labels["le"]), sample.exemplar)
        for sample in families["http_server_request_duration_seconds"].samples
        if sample.exemplar is not None
    ]
    assert [exemplar.labels["trace_id"] for _, exemplar in found] == [TRACE] * shown
    assert all(exemplar.value <= bound for bound, exemplar in found)


async def test_a_tool_is_a_span_and_what_it_does_is_below_it(traced: Traced) -> None:
    engine = sqlalchemy.create_engine("sqlite://")
    sqlalchemy_integration.instrument(engine, traced.monitor)
    operations = Operations(traced.monitor, "off")

    @timed(traced.monitor, name="mail", workers="off")
    def task() -> None:
        raise KeyError("no")

    async def declared() -> str:
        return "orders"

    async def call() -> dict[str, bool]:
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text("SELECT 1 WHERE 2 = 3"))
        with pytest.raises(KeyError):
            task()
        return {"isError": True}

    await operations.count("tools/call", "orders", declared, call)
    statement, mail, tool = traced.spans()
    assert (tool.name, tool.kind, tool.status.status_code) == (
        "tools/call orders",
        SpanKind.SERVER,
        StatusCode.ERROR,
    )
    assert dict(tool.attributes or {}) == {
        "mcp.method.name": "tools/call",
        "gen_ai.tool.name": "orders",
        "error.type": "tool_error",
    }
    assert (mail.name, mail.kind, (mail.attributes or {})["error.type"]) == (
        "run mail",
        SpanKind.CONSUMER,
        "KeyError",
    )
    assert (statement.name, statement.kind) == ("SELECT ? WHERE ? = ?", SpanKind.CLIENT)
    assert (statement.attributes or {})["db.system.name"] == "sqlite"
    assert (statement.end_time or 0) >= (statement.start_time or 1)
    assert {mail.parent and mail.parent.span_id, statement.parent and statement.parent.span_id} == {
        tool.context.span_id
    }


async def test_another_instrumentation_may_make_the_spans(traced: Traced) -> None:
    monitor = PerformanceMonitor(caches=(), pools=(), tiers=())
    instrument(monitor, spans=False)
    await ask(monitor, "GET", "/a/200")
    assert traced.spans() == []
    with pytest.raises(TypeError, match="spans=3"):
        instrument(monitor, spans=3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="tracer_provider=3"):
        instrument(monitor, tracer_provider=3)  # type: ignore[arg-type]
