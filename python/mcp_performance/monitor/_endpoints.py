"""The performance endpoints as an ASGI application."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from .._base._asgi import Receive, Scope, Send
from .._base._checks import flag, text
from ._admission import Admission, Refusal
from ._advising import Advising
from ._analyses import Analyses
from ._live import Events, read_history
from ._monitor import PerformanceMonitor
from ._page import page
from ._prometheus import CONTENT_TYPE, OPENMETRICS

__all__ = ["ENDPOINTS", "PREFIX", "Endpoints", "checked_prefix"]

PREFIX = "/api/mcp/performance"

_JSON = b"application/json"
_SAFE = [
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
]


def _is_path(path: str) -> bool:
    return path.startswith("/") and path.strip("/") != ""


def checked_prefix(prefix: str) -> str:
    """*prefix* without a slash at its end."""
    path = text("prefix", prefix, "a path such as '/performance'", fits=_is_path)
    return path.rstrip("/")


def _quality(accept: str, *types: str) -> float:
    """The weight that an ``Accept`` header gives to the best of *types*, named as such (RFC 9110, 12.5.1)."""
    best = 0.0
    for item in accept.split(","):
        name, *parameters = (part.strip() for part in item.split(";"))
        if name.lower() not in types:
            continue
        weight = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    weight = float(parameter[2:])
                except ValueError:
                    weight = 0.0
        best = max(best, weight)
    return best


def _format(headers: dict[bytes, bytes]) -> str:
    """The type of content that ``Accept`` wants figures in."""
    accept = headers.get(b"accept", b"").decode("latin-1")
    text, metrics = _quality(accept, "text/plain"), _quality(accept, "application/openmetrics-text")
    if max(text, metrics) == 0 or max(text, metrics) < _quality(accept, "application/json"):
        return _JSON.decode()
    return OPENMETRICS if metrics >= text else CONTENT_TYPE


def _limit(query: bytes) -> int:
    given = dict(parse_qsl(query.decode("latin-1"))).get("limit", "20")
    if not given.isascii() or not given.isdecimal() or len(given) > 4 or not 1 <= int(given) <= 1000:
        raise Refusal(422, "limit: expected a whole number from 1 to 1000")
    return int(given)


def _each(query: bytes) -> bool:
    given = dict(parse_qsl(query.decode("latin-1"))).get("workers", "sum")
    if given not in ("sum", "each"):
        raise Refusal(422, "workers: expected sum or each")
    return given == "each"


class Endpoints:
    """Serves figures, report, slow queries and cache statistics of *monitor* below any path, and analyzes
    statements.

    Answers 404 to everything unless there is a *token* or *expose* is true. See
    :class:`PerformanceMiddleware` for the arguments.
    """

    def __init__(
        self,
        monitor: PerformanceMonitor,
        *,
        token: str | None = None,
        expose: bool = False,
        allow_hosts: Iterable[str] = (),
        allow_origins: Iterable[str] = (),
        rate_limit: float = 20.0,
    ) -> None:
        flag("expose", expose)
        self._monitor = monitor
        self.enabled = expose or token is not None
        self._admission = Admission(
            token=token, allow_hosts=allow_hosts, allow_origins=allow_origins, rate=rate_limit
        )
        self._analyses = Analyses()
        self._advising = Advising()
        self._events = Events(monitor)

    async def serve(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request; *path* is what comes after the prefix. It is no traffic of the service,
        also where a middleware of the same monitor lies around."""
        counted = scope.get(self._monitor.mark)
        if counted is not None:
            counted.discard()
        try:
            endpoint = self._admitted(path, scope)
            if isinstance(endpoint, Stream):
                await endpoint.run(self, scope, receive, send)
                return
            content, body = await endpoint.answer(self, scope, receive)
            await _respond(scope, send, 200, content, body, endpoint.headers())
        except Refusal as refusal:
            body = json.dumps({"error": refusal.detail}).encode()
            await _respond(scope, send, refusal.status, _JSON, body, refusal.headers)

    def _admitted(self, path: str, scope: Scope) -> Endpoint | Stream:
        if not self.enabled:
            raise Refusal(404, "not found")
        endpoint = ENDPOINTS.get(path.rstrip("/"))
        self._admission.check(dict(scope["headers"]), public=endpoint is not None and endpoint.public)
        if endpoint is None:
            raise Refusal(404, "not found")
        if scope["method"] not in endpoint.methods:
            allowed = ", ".join(endpoint.methods).encode()
            raise Refusal(405, "method not allowed", [(b"allow", allowed)])
        return endpoint

    async def _metrics(self, scope: Scope, receive: Receive) -> tuple[bytes, bytes]:
        each = _each(scope.get("query_string", b""))
        wanted = _format(dict(scope["headers"]))
        if wanted != _JSON.decode():
            text = self._monitor.prometheus(each=each, openmetrics=wanted == OPENMETRICS)
            return wanted.encode(), text.encode()
        return _JSON, _json(self._monitor.metrics(each=each))

    async def _report(self, scope: Scope, receive: Receive) -> tuple[bytes, bytes]:
        # Index advice takes its time; the loop goes on meanwhile.
        each = _each(scope.get("query_string", b""))
        return _JSON, _json(await asyncio.to_thread(self._monitor.report, each=each))

    async def _slow_queries(self, scope: Scope, receive: Receive) -> tuple[bytes, bytes]:
        queries = self._monitor.slow_queries(_limit(scope.get("query_string", b"")))
        threshold = self._monitor.thresholds.slow_query_seconds
        found = [dataclasses.asdict(query) for query in queries]
        return _JSON, _json({"threshold_seconds": threshold, "queries": found})

    async def _cache_stats(self, scope: Scope, receive: Receive) -> tuple[bytes, bytes]:
        return _JSON, _json(self._monitor.cache_stats())

    async def _health(self, scope: Scope, receive: Receive) -> tuple[bytes, bytes]:
        # Index advice takes its time; the loop goes on meanwhile.
        found = await asyncio.to_thread(self._monitor.recommendations)
        critical = [one.code for one in found if one.severity == "critical"]
        return _JSON, _json({"status": "critical" if critical else "ok", "critical": critical})

    async def _history(self, scope: Scope, receive: Receive) -> tuple[bytes, bytes]:
        return _JSON, _json(read_history(self._monitor, scope))

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._events.run(scope, receive, send)

    async def _page(self, scope: Scope, receive: Receive) -> tuple[bytes, bytes]:
        return b"text/html; charset=utf-8", page().body

    async def _analyze(self, scope: Scope, receive: Receive) -> tuple[bytes, bytes]:
        return _JSON, _json(await self._analyses.answer(self._monitor.database, scope, receive))

    async def _advice(self, scope: Scope, receive: Receive) -> tuple[bytes, bytes]:
        return _JSON, _json(await self._advising.answer(self._monitor, scope))


class Endpoint(NamedTuple):
    """What is served below one path."""

    methods: tuple[str, ...]
    answer: Callable[[Endpoints, Scope, Receive], Awaitable[tuple[bytes, bytes]]]
    """The type of the content, and the content."""
    summary: str
    public: bool = False
    """It holds no figures, and needs no token."""
    headers: Callable[[], list[tuple[bytes, bytes]]] = list
    """Besides those of every answer, or instead of them."""


class Stream(NamedTuple):
    """What is served below one path, a piece at a time."""

    methods: tuple[str, ...]
    run: Callable[[Endpoints, Scope, Receive, Send], Awaitable[None]]
    summary: str
    public: bool = False


def _page_policy() -> list[tuple[bytes, bytes]]:
    return [(b"content-security-policy", page().policy)]


_GET = ("GET", "HEAD")

ENDPOINTS: dict[str, Endpoint | Stream] = {
    "/metrics": Endpoint(
        _GET,
        Endpoints._metrics,
        "all figures: JSON, or Prometheus text or OpenMetrics if Accept asks; ?workers=each",
    ),
    "/report": Endpoint(_GET, Endpoints._report, "figures, slow queries with advice, recommendations"),
    "/slow-queries": Endpoint(_GET, Endpoints._slow_queries, "the slowest statements; ?limit=20"),
    "/cache-stats": Endpoint(_GET, Endpoints._cache_stats, "hits and misses of caches, results and tiers"),
    "/health": Endpoint(_GET, Endpoints._health, "ok, or the codes of what is critical; always 200"),
    "/history": Endpoint(_GET, Endpoints._history, "figures over time; ?step=1, 10 or 60 seconds, &since="),
    "/events": Stream(("GET",), Endpoints._stream, "the same as server-sent events, with a report every 5 s"),
    "/dashboard": Endpoint(_GET, Endpoints._page, "the page of all this", True, _page_policy),
    "/analyze": Endpoint(("POST",), Endpoints._analyze, 'what is wrong with {"sql": "..."}, up to 64 KiB'),
    "/advice": Endpoint(("POST",), Endpoints._advice, "indexes for what ran, tried on a copy: takes seconds"),
}
"""By the path behind the prefix. A new one is a method above and a line here; a test asks that README and the
docstring of :class:`~mcp_performance.PerformanceMiddleware` name it."""


def _json(value: Any) -> bytes:
    return json.dumps(value, default=str).encode()


async def _respond(
    scope: Scope,
    send: Send,
    status: int,
    content: bytes,
    body: bytes,
    headers: Iterable[tuple[bytes, bytes]] = (),
) -> None:
    given = list(headers)
    safe = [field for field in _SAFE if field[0] not in dict(given)]
    fields = [(b"content-type", content), (b"content-length", str(len(body)).encode()), *safe, *given]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
