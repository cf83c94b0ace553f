"""Spans of requests and operations by OpenTelemetry's API, under the names of its semantic conventions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from opentelemetry import propagate
from opentelemetry.metrics import Meter
from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer

from .._base._asgi import Scope
from ..monitor._errors import CLIENT_LEFT, error_name, status_of
from ..monitor._exemplars import Exemplar, Exemplars
from ..monitor._spans import Ended
from ._operations import OTHER

__all__ = ["TracerSpans", "operation_attributes"]

_BOUNDS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]
_METHODS = frozenset(
    {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"}
)
_MCP_NAMES = {
    "tools/call": "gen_ai.tool.name",
    "prompts/get": "gen_ai.prompt.name",
    "resources/read": "mcp.resource.uri",
}


def operation_attributes(method: str, name: str, system: str) -> dict[str, Any]:
    """What says which operation it was."""
    if system == "mcp":
        return {"mcp.method.name": method, _MCP_NAMES.get(method, "mcp.operation.name"): name}
    if system == "db":
        return {"db.system.name": method, "db.query.summary": name}
    return {"operation.method": method, "operation.name": name}


def _headers(scope: Scope) -> dict[str, str]:
    carrier: dict[str, str] = {}
    for name, value in scope.get("headers", ()):
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        carrier[key] = f"{carrier[key]},{text}" if key in carrier else text
    return carrier


def _request_attributes(scope: Scope, headers: Mapping[str, str]) -> dict[str, Any]:
    method = scope.get("method", "")
    attributes: dict[str, Any] = {
        "http.request.method": method if method in _METHODS else OTHER,
        "url.path": scope.get("path", ""),
        "url.scheme": scope.get("scheme", "http"),
        "network.protocol.version": scope.get("http_version", "1.1"),
    }
    if method not in _METHODS:
        attributes["http.request.method_original"] = method
    if "user-agent" in headers:
        attributes["user_agent.original"] = headers["user-agent"]
    for key, place in (("server", "server"), ("client", "client")):
        address = scope.get(key)
        if address:
            attributes[f"{place}.address"] = address[0]
            if address[1]:
                attributes[f"{place}.port"] = address[1]
    return attributes


class TracerSpans:
    """Makes spans by *tracer*, records their durations by *meter*, and keeps those that are sampled as
    *exemplars*."""

    def __init__(self, tracer: Tracer, meter: Meter, exemplars: Exemplars) -> None:
        self._tracer = tracer
        self._exemplars = exemplars
        self._duration = meter.create_histogram(
            "http.server.request.duration",
            unit="s",
            description="Duration of HTTP server requests.",
            explicit_bucket_boundaries_advisory=_BOUNDS,
        )

    @contextmanager
    def request(self, scope: Scope) -> Iterator[Ended]:
        """The span of an HTTP request, below the one that its headers name."""
        headers = _headers(scope)
        attributes = _request_attributes(scope, headers)
        method = attributes["http.request.method"]
        named = "HTTP" if method == OTHER else method
        with self._tracer.start_as_current_span(
            named, context=propagate.extract(headers), kind=SpanKind.SERVER, attributes=attributes
        ) as span:

            def ended(route: str, status: int, error_type: str, seconds: float) -> None:
                said = status_of(status or None, error_type)
                found: dict[str, Any] = {"http.response.status_code": said}
                if not route.startswith("_"):
                    found["http.route"] = route
                    span.update_name(f"{named} {route}")
                if error_type or said >= 500:
                    found["error.type"] = error_type or str(said)
                if said >= 500 or (error_type and error_type not in CLIENT_LEFT):
                    span.set_status(Status(StatusCode.ERROR))
                span.set_attributes(found)
                shared = {key: attributes[key] for key in ("http.request.method", "url.scheme")}
                self._duration.record(seconds, {**shared, **found})
                context = span.get_span_context()
                if context.trace_flags.sampled:
                    traced = Exemplar(
                        f"{context.trace_id:032x}", f"{context.span_id:016x}", seconds, time.time()
                    )
                    self._exemplars.note(method, route, said, traced)

            yield ended

    @contextmanager
    def operation(self, method: str, name: str, system: str) -> Iterator[Callable[[str], None]]:
        """The span of a tool, a task or the like."""
        kind = SpanKind.SERVER if system == "mcp" else SpanKind.CONSUMER
        attributes = operation_attributes(method, name, system)
        with self._tracer.start_as_current_span(f"{method} {name}", kind=kind, attributes=attributes) as span:

            def failed(error: str) -> None:
                span.set_attribute("error.type", error)
                span.set_status(Status(StatusCode.ERROR))

            try:
                yield failed
            except BaseException as raised:
                failed(error_name(raised))
                raise

    def statement(self, dialect: str, name: str, error_type: str, seconds: float) -> None:
        """The span of a statement that has just ended."""
        now = time.time_ns()
        attributes = {**operation_attributes(dialect, name, "db"), "db.query.text": name}
        span = self._tracer.start_span(
            name, kind=SpanKind.CLIENT, attributes=attributes, start_time=now - int(seconds * 1e9)
        )
        if error_type:
            span.set_attribute("error.type", error_type)
            span.set_status(Status(StatusCode.ERROR))
        span.end(now)
