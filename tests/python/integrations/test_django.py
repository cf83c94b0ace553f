"""Django with the middleware and the cache, over WSGI and ASGI."""

from __future__ import annotations

import asyncio
import sys
import types
from collections.abc import AsyncIterator
from typing import Any

import django
import httpx
import pytest
from django.conf import settings
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import include, path, re_path
from werkzeug.test import Client as WsgiClient

from mcp_performance import PerformanceMiddleware, PerformanceMonitor
from mcp_performance.integrations.flask import PerformanceMiddleware as Wsgi

MONITOR = PerformanceMonitor(caches=(), pools=(), tiers=())


def user(request: Any, number: int) -> HttpResponse:
    return HttpResponse(str(number))


async def later(request: Any, slug: str) -> HttpResponse:
    await asyncio.sleep(0)
    return HttpResponse(slug)


def fails(request: Any) -> HttpResponse:
    raise KeyError("no")


def streams(request: Any) -> StreamingHttpResponse:
    return StreamingHttpResponse([b"a", b"b"])


def breaks(request: Any) -> StreamingHttpResponse:
    return StreamingHttpResponse(b"a" if part else {}[part] for part in (1, 0))


def breaks_later(request: Any) -> StreamingHttpResponse:
    async def parts() -> AsyncIterator[bytes]:
        yield b"a"
        raise KeyError("no")

    return StreamingHttpResponse(parts())


async def waits(request: Any) -> HttpResponse:
    WAITING.set()
    await asyncio.Event().wait()
    raise AssertionError


WAITING = asyncio.Event()
urls: Any = types.ModuleType("mcp_performance_test_urls")
urls.urlpatterns = [
    path("users/<int:number>/", user),
    path("shop/", include([path("later/<slug:slug>/", later)])),
    path("fails/", fails),
    path("streams/", streams),
    path("breaks/", breaks),
    path("breaks-later/", breaks_later),
    path("waits/", waits),
    re_path(r"^old/(?P<number>\d+)/$", user),
]
sys.modules[urls.__name__] = urls

settings.configure(
    SECRET_KEY="test",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=urls.__name__,
    MIDDLEWARE=["mcp_performance.integrations.django.PerformanceMiddleware"],
    MCP_PERFORMANCE_MONITOR=MONITOR,
    MCP_PERFORMANCE_ENDPOINTS={"token": "secret", "rate_limit": 1000},
    CACHES={
        "default": {"BACKEND": "mcp_performance.integrations.django.Cache", "LOCATION": "one"},
        "same": {"BACKEND": "mcp_performance.integrations.django.Cache", "LOCATION": "one"},
        "small": {
            "BACKEND": "mcp_performance.integrations.django.Cache",
            "LOCATION": "small",
            "OPTIONS": {"MAX_ENTRIES": 10},
            "TIMEOUT": None,
        },
    },
)
django.setup()

from django.core.cache import cache, caches  # noqa: E402
from django.core.handlers.asgi import ASGIHandler  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.test import AsyncClient, Client, override_settings  # noqa: E402


def counts() -> dict[tuple[str, str, int], int]:
    routes = MONITOR.metrics()["requests"]["routes"]
    return {(one["method"], one["route"], one["status"]): one["count"] for one in routes}


PATHS = ["/users/7/", "/users/8/", "/shop/later/x/", "/fails/", "/none/", "/none2/", "/old/3/"]
EXPECTED = {
    ("GET", "/users/<int:number>/", 200): 2,
    ("GET", "/shop/later/<slug:slug>/", 200): 1,
    ("GET", "/fails/", 500): 1,
    ("GET", "/old/(?P<number>\\d+)/$", 200): 1,
    ("GET", "_UNMATCHED", 404): 2,
    ("GET", "/streams/", 200): 1,
}


def grown(before: dict[tuple[str, str, int], int]) -> dict[tuple[str, str, int], int]:
    return {key: count - before.get(key, 0) for key, count in counts().items() if count != before.get(key, 0)}


def test_requests_over_wsgi_are_counted_by_the_declared_route() -> None:
    before = counts()
    client = Client(raise_request_exception=False)
    for one in PATHS:
        client.get(one)
    assert b"".join(client.get("/streams/")) == b"ab"  # type: ignore[arg-type]
    assert grown(before) == EXPECTED
    assert MONITOR.metrics()["requests"]["active"] == 0


async def test_requests_over_asgi_are_counted_by_the_declared_route() -> None:
    before = counts()
    client = AsyncClient(raise_request_exception=False)
    for one in [*PATHS, "/streams/"]:
        response = await client.get(one)
        response.close()
    assert grown(before) == EXPECTED


def failures() -> dict[tuple[str, int, str], int]:
    routes = MONITOR.metrics()["requests"]["routes"]
    return {(one["route"], one["status"], one["error_type"]): one["count"] for one in routes}


@pytest.mark.parametrize(
    ("path", "status", "error"),
    [("/fails/", 500, "KeyError"), ("/breaks/", 200, "KeyError"), ("/breaks-later/", 200, "KeyError")],
)
async def test_what_a_view_or_a_stream_raises_is_counted_once_and_ends_the_request(
    path: str, status: int, error: str
) -> None:
    before = failures().get((path, status, error), 0)
    transport = httpx.ASGITransport(ASGIHandler(), raise_app_exceptions=False)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        await http.get(path)
    assert failures()[path, status, error] == before + 1
    assert MONITOR.metrics()["requests"]["active"] == 0


async def test_a_client_that_leaves_before_the_answer_is_no_error_of_the_server() -> None:
    before = failures().get(("/waits/", 499, "CancelledError"), 0)
    scope = {
        **{"type": "http", "method": "GET", "path": "/waits/", "headers": [], "query_string": b""},
        **{"scheme": "http", "root_path": "", "server": ("localhost", 80), "client": ("localhost", 1)},
    }
    messages = iter([{"type": "http.request", "body": b"", "more_body": False}])

    async def receive() -> Any:
        if (message := next(messages, None)) is not None:
            return message
        await WAITING.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        raise AssertionError(message)

    await ASGIHandler()(scope, receive, send)
    assert failures()["/waits/", 499, "CancelledError"] == before + 1
    assert MONITOR.metrics()["requests"]["active"] == 0


@pytest.mark.parametrize(
    ("path", "headers", "status", "words"),
    [
        ("metrics", {"Authorization": "Bearer secret"}, 200, b'"requests"'),
        ("metrics", {"Authorization": "Bearer secret", "Accept": "text/plain"}, 200, b"# TYPE"),
        ("metrics", {}, 401, b"token"),
        ("dashboard", {}, 200, b"<!doctype html>"),
        ("events", {"Authorization": "Bearer secret"}, 200, b"event: report"),
    ],
)
async def test_the_endpoints_are_served_over_wsgi_and_asgi_and_count_as_no_traffic(
    path: str, headers: dict[str, str], status: int, words: bytes
) -> None:
    before = counts()
    asked = {"Host": "localhost", **headers}
    over_wsgi = await asyncio.to_thread(Client().get, f"/api/mcp/performance/{path}", headers=asked)
    transport = httpx.ASGITransport(ASGIHandler())  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        over_asgi = await http.get(f"/api/mcp/performance/{path}", headers=headers)
    assert (over_wsgi.status_code, over_asgi.status_code) == (status, status)
    assert over_wsgi.headers["Content-Type"] == over_asgi.headers["Content-Type"]
    assert words in over_wsgi.content
    assert words in over_asgi.content
    assert counts() == before


OURS = "mcp_performance.integrations.django.PerformanceMiddleware"


@pytest.mark.parametrize("within", [[OURS], [OURS, OURS]], ids=["once", "twice"])
@pytest.mark.parametrize("outside", [None, MONITOR], ids=["alone", "in_a_middleware"])
async def test_a_request_through_several_middlewares_of_one_monitor_is_one_under_its_route(
    within: list[str], outside: PerformanceMonitor | None
) -> None:
    paths = ["/users/7/", "/none/", "/streams/"]
    expected = {
        ("GET", "/users/<int:number>/", 200): 1,
        ("GET", "_UNMATCHED", 404): 1,
        ("GET", "/streams/", 200): 1,
    }
    with override_settings(MIDDLEWARE=within):
        before = counts()
        over_wsgi: Any = get_wsgi_application()
        over_asgi: Any = ASGIHandler()
        if outside is not None:
            over_wsgi = Wsgi(over_wsgi, monitor=outside)
            over_asgi = PerformanceMiddleware(over_asgi, monitor=outside)
        client = WsgiClient(over_wsgi)
        for one in paths:
            await asyncio.to_thread(client.get, one, buffered=True)
        await asyncio.to_thread(client.get, "/api/mcp/performance/metrics", buffered=True)
        assert grown(before) == expected
        before = counts()
        transport = httpx.ASGITransport(over_asgi)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            for one in [*paths, "/api/mcp/performance/metrics"]:
                await http.get(one)
        assert grown(before) == expected
    assert MONITOR.metrics()["requests"]["active"] == 0


def test_the_cache_does_what_djangos_own_do() -> None:
    cache.clear()
    assert cache.get("a", "none") == "none"
    cache.set("a", {"list": [1]})
    got = cache.get("a")
    got["list"].append(2)
    assert cache.get("a") == {"list": [1]}
    assert caches["same"].get("a") == {"list": [1]}
    assert (cache.add("a", 1), cache.add("b", 1)) == (False, True)
    assert (cache.incr("b"), cache.decr("b", 2)) == (2, 0)
    with pytest.raises(ValueError, match="not found"):
        cache.incr("missing")
    assert cache.get_or_set("c", lambda: 7) == 7
    assert cache.get_many(["b", "c", "d"]) == {"b": 0, "c": 7}
    assert cache.set_many({"d": 1, "e": None}) == []
    assert ("e" in cache, cache.get("e", "none")) == (True, None)
    assert (cache.touch("d", 60), cache.touch("missing")) == (True, False)
    assert (cache.delete("d"), cache.delete("d")) == (True, False)
    cache.set("gone", 1, timeout=0)
    assert cache.get("gone") is None
    cache.set("v", 1, version=1)
    cache.set("v", 2, version=2)
    assert (cache.get("v", version=1), cache.get("v", version=2)) == (1, 2)
    cache.delete_many(["a", "b"])
    assert cache.get_many(["a", "b"]) == {}


def test_the_cache_is_bounded_and_an_increment_keeps_the_lifetime() -> None:
    small = caches["small"]
    for number in range(100):
        small.set(f"k{number}", number)
    assert sum(f"k{number}" in small for number in range(100)) <= 10
    small.set("forever", 1, timeout=None)
    small.incr("forever")
    assert small.get("forever") == 2


async def test_the_cache_is_asked_asynchronously_too() -> None:
    await cache.aset("x", 1)
    assert await cache.aget("x") == 1
    assert await cache.aincr("x") == 2
