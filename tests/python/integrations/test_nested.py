"""A request is counted once, whatever it passes through; and asking for the figures is no request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from flask import Flask
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client as WsgiClient

from mcp_performance import PerformanceMiddleware, PerformanceMonitor, performance_app
from mcp_performance.integrations.flask import PerformanceMiddleware as Wsgi


async def hello(request: Request) -> Response:
    return PlainTextResponse("hello")


async def echo(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text(await socket.receive_text())
    await socket.close()


def made() -> PerformanceMonitor:
    return PerformanceMonitor(caches=(), pools=(), tiers=())


def routes() -> list[Any]:
    return [Route("/items/{i}", hello), WebSocketRoute("/echo/{i}", echo)]


def mounted(monitor: PerformanceMonitor) -> Any:
    inner = PerformanceMiddleware(Starlette(routes=routes()), monitor=monitor)
    return PerformanceMiddleware(Starlette(routes=[Mount("/sub", inner), *routes()]), monitor=monitor)


def twice(monitor: PerformanceMonitor) -> Any:
    inner = Starlette(routes=[Mount("/sub", routes=routes())])
    return PerformanceMiddleware(PerformanceMiddleware(inner, monitor=monitor), monitor=monitor)


def with_another_between(monitor: PerformanceMonitor) -> Any:
    return PerformanceMiddleware(PerformanceMiddleware(twice(monitor), monitor=made()), monitor=monitor)


def behind_a_copy_of_the_scope(monitor: PerformanceMonitor) -> Any:
    inner = twice(monitor)

    async def copying(scope: Any, receive: Any, send: Any) -> None:
        await inner({**scope}, receive, send)

    return PerformanceMiddleware(copying, monitor=monitor)


@pytest.mark.parametrize("make", [mounted, twice, with_another_between, behind_a_copy_of_the_scope])
def test_a_request_through_several_middlewares_of_one_monitor_is_one_request(
    make: Callable[[PerformanceMonitor], Any],
) -> None:
    monitor = made()
    client = TestClient(make(monitor))
    assert client.get("/sub/items/1").status_code == 200
    assert client.get("/sub/items/2").status_code == 200
    with client.websocket_connect("/sub/echo/1") as socket:
        socket.send_text("x")
        assert socket.receive_text() == "x"
    figures = monitor.metrics()
    assert [figures["requests"][name] for name in ("count", "active", "errors")] == [2, 0, 0]
    assert [(one["name"], one["count"]) for one in figures["operations"]] == [
        ("_UNMATCHED" if make is behind_a_copy_of_the_scope else "/sub/echo/{i}", 1)
    ]


async def test_every_monitor_on_the_way_counts() -> None:
    inner, outer = made(), made()
    app = PerformanceMiddleware(
        PerformanceMiddleware(Starlette(routes=routes()), monitor=inner), monitor=outer
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as http:
        await http.get("/items/1")
    for monitor in (inner, outer):
        (route,) = monitor.metrics()["requests"]["routes"]
        assert (route["route"], route["count"]) == ("/items/{i}", 1)


async def test_a_scope_that_is_used_again_is_another_request() -> None:
    monitor = made()
    app = PerformanceMiddleware(Starlette(routes=routes()), monitor=monitor)
    scope: dict[str, Any] = {"type": "http", "method": "GET", "path": "/items/1", "headers": []}

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        pass

    for _ in range(3):
        await app(scope, receive, send)
    assert monitor.metrics()["requests"]["count"] == 3


@pytest.mark.parametrize("path", ["metrics", "report", "nothing", "events?step=3", "dashboard"])
@pytest.mark.parametrize("options", [{"expose": True}, {"token": "t"}, {}])
def test_asking_endpoints_that_are_mounted_in_the_measured_application_is_no_traffic(
    path: str, options: dict[str, Any]
) -> None:
    monitor = made()
    within = [Mount("/perf", performance_app(monitor, **options)), *routes()]
    client = TestClient(PerformanceMiddleware(Starlette(routes=within), monitor=monitor))
    client.get(f"/perf/{path}")
    client.get("/items/1")
    requests = monitor.metrics()["requests"]
    assert [(one["route"], one["count"]) for one in requests["routes"]] == [("/items/{i}", 1)]
    assert requests["active"] == 0


def test_endpoints_of_an_inner_middleware_are_no_traffic_of_the_outer_one() -> None:
    monitor = made()
    inner = PerformanceMiddleware(Starlette(), monitor=monitor, prefix="/figures", expose=True)
    client = TestClient(PerformanceMiddleware(inner, monitor=monitor))
    assert client.get("/figures/metrics").json()["requests"]["active"] == 0
    assert monitor.metrics()["requests"]["count"] == 0


def test_wsgi_applications_inside_each_other_count_once_under_the_whole_route() -> None:
    monitor = made()
    shop, site = Flask("shop"), Flask("site")
    for flask in (shop, site):
        flask.add_url_rule("/items/<int:i>", "item", lambda i: f"{i}")
    shop.wsgi_app = Wsgi(shop.wsgi_app, monitor=monitor)  # type: ignore[method-assign]
    app = Wsgi(DispatcherMiddleware(site, {"/shop": shop}), monitor=monitor)
    client = WsgiClient(app)
    assert client.get("/shop/items/1").text == "1"
    assert client.get("/items/1").text == "1"
    requests = monitor.metrics()["requests"]
    assert {(one["route"], one["count"]) for one in requests["routes"]} == {
        ("/shop/items/<int:i>", 1),
        ("/items/<int:i>", 1),
    }
    assert requests["active"] == 0


def test_endpoints_of_an_inner_wsgi_application_are_no_traffic_of_the_outer_one() -> None:
    monitor = made()
    app = Wsgi(Wsgi(Flask("site").wsgi_app, monitor=monitor, expose=True), monitor=monitor)
    answer = WsgiClient(app).get("/api/mcp/performance/metrics").get_json()
    assert answer["requests"]["active"] == 0
    assert monitor.metrics()["requests"]["count"] == 0


async def test_an_application_may_name_its_route_in_the_scope() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["mcp_performance.route"] = "/mine/{i}"
        await PlainTextResponse("x")(scope, receive, send)

    monitor = made()
    outer = PerformanceMiddleware(Starlette(routes=[Mount("/sub/{tenant}", app)]), monitor=monitor)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(outer), base_url="http://localhost") as http:
        await http.get("/sub/a/mine/1")
    assert [one["route"] for one in monitor.metrics()["requests"]["routes"]] == ["/sub/{tenant}/mine/{i}"]
