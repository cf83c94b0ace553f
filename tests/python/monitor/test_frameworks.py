"""Route templates of frameworks that keep them elsewhere than Starlette does, against the real ones."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from litestar import Litestar, Request, Router, asgi, get, post

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
    ],
)
async def test_routes_of_litestar_are_named_by_their_templates(
    method: str, path: str, route: str, status: int
) -> None:
    app = Litestar([root, files, Router("/api", route_handlers=[item, tag])], openapi_config=None)
    measured = PerformanceMiddleware(app, monitor=PerformanceMonitor(caches=(), pools=(), tiers=()))
    transport = httpx.ASGITransport(measured)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        await http.request(method, path)
    entries = measured.monitor.metrics()["requests"]["routes"]
    assert [(entry["method"], entry["route"], entry["status"]) for entry in entries] == [
        (method, route, status)
    ]
