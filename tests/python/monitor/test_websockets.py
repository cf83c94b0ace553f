"""What a WebSocket is counted as when it is over."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable

import pytest
from fastapi import FastAPI, WebSocket
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from mcp_performance import PerformanceMiddleware, PerformanceMonitor


async def client_leaves(socket: WebSocket) -> None:
    await socket.accept()
    while True:
        await socket.send_text(await socket.receive_text())


async def client_leaves_and_is_sent_to(socket: WebSocket) -> None:
    await socket.accept()
    await socket.receive()
    raise type("ClientDisconnected", (OSError,), {})  # what uvicorn's send() raises then


async def is_closed(socket: WebSocket) -> None:
    await socket.accept()
    await socket.close(1000)


async def is_refused(socket: WebSocket) -> None:
    await socket.close(1008)


async def is_refused_with_a_status(socket: WebSocket) -> None:
    await socket.send_denial_response(PlainTextResponse("no", 403))


async def raises(socket: WebSocket) -> None:
    await socket.accept()
    raise KeyError


@pytest.mark.parametrize(
    ("endpoint", "error", "errors"),
    [
        (client_leaves, "WebSocketDisconnect", 0),
        (client_leaves_and_is_sent_to, "ClientDisconnected", 0),
        (is_closed, "", 0),
        (is_refused, "", 0),
        (is_refused_with_a_status, "", 0),
        (raises, "KeyError", 1),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_connection_has_failed_where_the_service_did(
    endpoint: Callable[[WebSocket], Awaitable[None]], error: str, errors: int
) -> None:
    monitor = PerformanceMonitor(caches=(), pools=(), tiers=())
    app = FastAPI()
    app.add_api_websocket_route("/rooms/{room}", endpoint)
    client = TestClient(PerformanceMiddleware(app, monitor=monitor))
    with contextlib.suppress(Exception), client.websocket_connect("/rooms/7") as socket:
        if endpoint is not client_leaves_and_is_sent_to:
            socket.send_text("x")
            socket.receive_text()
    (found,) = monitor.metrics()["operations"]
    assert (found["name"], found["error_type"], found["errors"]) == ("/rooms/{room}", error, errors)
