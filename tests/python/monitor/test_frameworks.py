"""Route templates of frameworks that keep them elsewhere than Starlette does, against the real ones."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from litestar import Litestar, Request, Router, asgi, get, post
from litestar.types import Receive, Scope, Send
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from mcp_performance import PerformanceMiddleware, PerformanceMonitor


@get("/")
async def root() -> str:
    return "root"


@get("/items/{item:int}")
async def item(request: Request[Any, Any, Any]) -> str:
    return str(request.path_params["item"])


@post("/items/{item:int}/tags/{tag:str}")
async def tag(request: Request[Any, Any, Any]) -> str:
    return str(request.path_params["tag"])


@asgi("/files", is_mount=True)
async def files(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"file"})


async def hello(request: Any) -> PlainTextResponse:
    return PlainTextResponse("hello")


INSIDE = Starlette(routes=[Route("/users/{name}/", hello)])  # Litestar ends paths in a slash


@asgi("/inside", is_mount=True, copy_scope=False)
async def inside(scope: Scope, receive: Receive, send: Send) -> None:
    await INSIDE(scope, receive, send)  # type: ignore[arg-type]


def litestar() -> Litestar:
    routers = Router("/api", route_handlers=[item, tag])
    return Litestar([root, files, inside, routers], openapi_config=None)


async def counted(app: Any, method: str, path: str) -> list[tuple[str, str, int]]:
    measured = PerformanceMiddleware(app, monitor=PerformanceMonitor(caches=(), pools=(), tiers=()))
    transport = httpx.ASGITransport(measured)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        await http.request(method, path)
    entries = measured.monitor.metrics()["requests"]["routes"]
    return [(entry["method"], entry["route"], entry["status"]) for entry in entries]


@pytest.mark.parametrize(
    ("method", "path", "route", "status"),
    [
        ("GET", "/", "/", 200),
        ("GET", "/api/items/7", "/api/items/{item}", 200),
        ("POST", "/api/items/7/tags/red", "/api/items/{item}/tags/{tag}", 201),
        ("GET", "/files/a/b.txt", "/files/{path}", 200),
        ("GET", "/files/a%20b", "/files/{path}", 200),
        ("GET", "/api/items/none", "_UNMATCHED", 404),
        ("GET", "/nowhere", "_UNMATCHED", 404),
        ("PUT", "/api/items/7", "/api/items/{item}", 405),
        ("PUT", "/api/items/none", "/api/items/{item}", 405),
        ("GET", "/inside/users/a", "/inside/users/{name}/", 200),
        ("GET", "/inside/none", "/inside/{path}", 404),
    ],
)
async def test_routes_of_litestar_are_named_by_their_templates(
    method: str, path: str, route: str, status: int
) -> None:
    assert await counted(litestar(), method, path) == [(method, route, status)]
    # Below a mount of another framework, whose parameters come from outside.
    mounted = Starlette(routes=[Mount("/tenants/{tenant}", litestar())])
    inside = "/{path}" if route == "_UNMATCHED" else route.rstrip("/") if path == "/" else route
    found = await counted(mounted, method, "/tenants/acme" + path)
    assert found == [(method, "/tenants/{tenant}" + (inside or "/"), status)]
