"""Under which name a request is counted, with the real frameworks: templates that were declared, and nothing
that came from outside."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Host, Mount, Route, Router, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.testclient import TestClient
from starlette.websockets import WebSocket

from mcp_performance import PerformanceMiddleware, PerformanceMonitor

UNMATCHED = "_UNMATCHED"


async def hello(request: Request) -> Response:
    return PlainTextResponse("hello")


class Both(HTTPEndpoint):
    async def get(self, request: Request) -> Response:
        return PlainTextResponse("hello")


async def raw(scope: Any, receive: Any, send: Any) -> None:
    await PlainTextResponse("raw")(scope, receive, send)


async def talk(socket: WebSocket) -> None:
    await socket.accept()
    await socket.close()


class Copies:
    """A middleware that hands a copy of the scope on, as many do."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(dict(scope), receive, send)


class Shifts:
    """An application that takes the first part of the path for its own."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        root = scope.get("root_path", "")
        first = "/" + scope["path"].removeprefix(root).split("/")[1]
        scope["root_path"] = root + first
        await self.app(scope, receive, send)


def files() -> StaticFiles:
    return StaticFiles(directory=Path(__file__).parent)


STATIC = Path(__file__).name


def inner() -> Router:
    return Router(
        [
            Route("/users/{name:path}", hello),
            Route("/n/{n:int}", hello, methods=["GET"]),
            Route("/n/{n:int}", hello, methods=["DELETE"], name="delete"),
            WebSocketRoute("/talk/{room}", talk),
        ]
    )


def starlette() -> Any:
    return Starlette(
        routes=[
            Route("/a/{x}", hello),
            Route("/both", Both),
            Mount("/static", files()),
            Mount("/raw", raw),
            Mount("/tenants/{tenant}", inner()),
            Mount("/wrapped/{y}", Copies(inner())),
            Mount("/with", routes=[Route("/{z}", hello)], middleware=[Middleware(Copies)]),
            WebSocketRoute("/talk", talk),
        ]
    )


def hosts() -> Any:
    return Starlette(routes=[Host("{sub}.example.org", inner()), Host("raw.localhost", raw)])


def fastapi() -> Any:
    async def item(i: int) -> int:
        return i

    app, sub, deep = FastAPI(), FastAPI(), FastAPI()
    router, outer = APIRouter(prefix="/r"), APIRouter(prefix="/outer")
    router.add_api_route("/{i}", item)
    outer.include_router(router, prefix="/{kind}")
    app.include_router(router, prefix="/api/{version}")
    app.include_router(outer)
    app.add_route("/added/{x}", hello)  # type: ignore[arg-type]
    app.add_api_route("/put/{i}", item, methods=["PUT"])
    app.mount("/static", files())
    app.mount("/raw", raw)
    sub.add_api_route("/items/{i}", item)
    deep.add_api_route("/deep/{i}", item)
    deep.mount("/files", files())
    sub.mount("/{z}", deep)
    app.mount("/sub", sub)
    app.add_api_websocket_route("/talk/{room}", talk)
    return app


class Case(NamedTuple):
    make: Any
    request: str
    route: str
    status: int = 200
    host: str = "localhost"


def with_middleware(make: Any, middleware: Any) -> Any:
    def made() -> Any:
        app = make()
        app.add_middleware(middleware)
        return app

    return made


async def passes(request: Request, call_next: Any) -> Response:
    response: Response = await call_next(request)
    return response


def passing() -> Any:
    app = starlette()
    app.add_middleware(BaseHTTPMiddleware, dispatch=passes)
    return app


CASES = [
    Case(starlette, "GET /a/17", "/a/{x}"),
    Case(starlette, "POST /a/17", "/a/{x}", 405),
    Case(starlette, "GET /both", "/both"),
    Case(starlette, "POST /both", "/both", 405),
    Case(starlette, f"GET /static/{STATIC}", "/static/{path}"),
    Case(starlette, "GET /static/none/at/all", "/static/{path}", 404),
    Case(starlette, "GET /raw/1/2", "/raw/{path}"),
    Case(starlette, "GET /tenants/42/n/7", "/tenants/{tenant}/n/{n}"),
    Case(starlette, "DELETE /tenants/42/n/7", "/tenants/{tenant}/n/{n}"),
    Case(starlette, "GET /tenants/n/users/a/b", "/tenants/{tenant}/users/{name}"),
    Case(starlette, "GET /tenants/42/none", "/tenants/{tenant}/{path}", 404),
    Case(starlette, "GET /wrapped/42/n/7", "/wrapped/{y}/n/{n}"),
    Case(starlette, "GET /wrapped/42/none", "/wrapped/{y}/{path}", 404),
    Case(starlette, "GET /with/7", "/with/{z}"),
    Case(starlette, "GET /talk", UNMATCHED, 404),
    Case(starlette, "GET /none", UNMATCHED, 404),
    Case(lambda: Copies(starlette()), "GET /a/17", "/a/{x}"),
    Case(lambda: Copies(starlette()), "GET /tenants/42/n/7", "/tenants/{tenant}/n/{n}"),
    Case(lambda: Copies(starlette()), "GET /none", UNMATCHED, 404),
    Case(lambda: Shifts(starlette()), "GET /who/a/17", "/a/{x}"),
    Case(with_middleware(starlette, Copies), "GET /a/17", "/a/{x}"),
    Case(passing, "GET /tenants/42/n/7", "/tenants/{tenant}/n/{n}"),
    Case(hosts, "GET /n/7", "/n/{n}", 200, "a.example.org"),
    Case(hosts, "GET /x/7", "/{path}", 200, "raw.localhost"),
    Case(hosts, "GET /n/7", UNMATCHED, 404, "elsewhere"),
    Case(fastapi, "GET /api/2/r/7", "/api/{version}/r/{i}"),
    Case(fastapi, "GET /api/2/r/word", "/api/{version}/r/{i}", 422),
    Case(fastapi, "GET /outer/k/r/7", "/outer/{kind}/r/{i}"),
    Case(fastapi, "GET /added/7", "/added/{x}"),
    Case(fastapi, "PUT /put/7", "/put/{i}"),
    Case(fastapi, "POST /put/7", "/put/{i}", 405),
    Case(fastapi, f"GET /static/{STATIC}", "/static/{path}"),
    Case(fastapi, "GET /static/none", "/static/{path}", 404),
    Case(fastapi, "GET /raw/7/8", "/raw/{path}"),
    Case(fastapi, "GET /docs", "/docs"),
    Case(fastapi, "GET /openapi.json", "/openapi.json"),
    Case(fastapi, "GET /redoc", "/redoc"),
    Case(fastapi, "GET /sub/items/7", "/sub/items/{i}"),
    Case(fastapi, "GET /sub/docs", "/sub/docs"),
    Case(fastapi, "GET /sub/9/deep/7", "/sub/{z}/deep/{i}"),
    Case(fastapi, f"GET /sub/9/files/{STATIC}", "/sub/{z}/files/{path}"),
    Case(fastapi, "GET /none", UNMATCHED, 404),
    Case(with_middleware(fastapi, Copies), "GET /added/7", "/added/{x}"),
    Case(with_middleware(fastapi, Copies), "GET /api/2/r/7", "/api/{version}/r/{i}"),
]


def measured(app: Any) -> PerformanceMiddleware:
    return PerformanceMiddleware(app, monitor=PerformanceMonitor(caches=(), pools=(), tiers=()))


def names(app: PerformanceMiddleware) -> set[tuple[str, int]]:
    return {(one["route"], one["status"]) for one in app.monitor.metrics()["requests"]["routes"]}


async def send(app: Any, *requests: str, host: str = "localhost", root_path: str = "") -> None:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, root_path=root_path)
    async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as http:
        for request in requests:
            method, path = request.split()
            await http.request(method, root_path + path)


@pytest.mark.parametrize(
    "case", CASES, ids=lambda case: f"{getattr(case.make, '__name__', '')} {case.request}"
)
@pytest.mark.parametrize("root_path", ["", "/behind/a/proxy"])
async def test_a_request_is_counted_under_the_route_that_took_it(case: Case, root_path: str) -> None:
    app = measured(case.make())
    await send(app, case.request, case.request, host=case.host, root_path=root_path)
    assert names(app) == {(case.route, case.status)}
    assert app.monitor.metrics()["requests"]["count"] == 2


@pytest.mark.parametrize("make", [starlette, fastapi, hosts])
async def test_nothing_that_comes_from_outside_becomes_a_name(make: Any) -> None:
    app = measured(make())
    prefixes = ["", "/a", "/n", "/static", "/raw", "/sub", "/sub/9", "/tenants/42", "/api/2/r", "/added"]
    await send(app, *(f"GET {prefix}/{uuid.uuid4()}" for prefix in prefixes for _ in range(20)))
    await send(app, *(f"GET /{uuid.uuid4()}/{uuid.uuid4()}" for _ in range(50)), host="a.example.org")
    await send(app, *(f"X{number} /a/7" for number in range(50)))
    routes = app.monitor.metrics()["requests"]["routes"]
    declared = {route for route, _ in names(app)}
    assert not any("-" in route for route in declared)
    assert len(routes) < 30
    assert {route["method"] for route in routes} == {"GET", "_OTHER"}


def test_websockets_are_counted_under_their_route() -> None:
    monitor = PerformanceMonitor(caches=(), pools=(), tiers=())
    for make, path in ((starlette, "/talk"), (starlette, "/tenants/9/talk/7"), (fastapi, "/talk/8")):
        app = PerformanceMiddleware(make(), monitor=monitor)
        with TestClient(app) as http, http.websocket_connect(path):
            pass
    operations = monitor.metrics()["operations"]
    assert {(one["system"], one["name"], one["count"]) for one in operations} == {
        ("websocket", "/talk", 1),
        ("websocket", "/tenants/{tenant}/talk/{room}", 1),
        ("websocket", "/talk/{room}", 1),
    }


async def test_a_mount_keeps_its_name_where_the_application_takes_a_root_path_off_by_itself() -> None:
    async def item(i: int) -> int:
        return i

    service, sub, deep = FastAPI(), FastAPI(), FastAPI()
    deep.add_api_route("/deep/{i}", item)
    sub.add_api_route("/items/{i}", item)
    sub.mount("/of/{z}", deep)
    service.mount("/sub", sub)

    service.root_path = "/proxy/a"
    app = measured(service)
    await send(app, "GET /proxy/a/sub/items/7", "GET /proxy/a/sub/of/9/deep/7")
    assert names(app) == {("/sub/items/{i}", 200), ("/sub/of/{z}/deep/{i}", 200)}
