"""ASGI applications and MCP tools under load, in the process of the test."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from load_servers import Received, responding, response, serve
from mcp_performance import (
    LoadTester,
    LoadTestError,
    McpTool,
    Request,
    mcp_request,
)


async def app(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


# ---- ASGI


async def test_an_asgi_app_gets_the_scenarios_requests() -> None:
    seen = []

    async def target(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise RuntimeError("no lifespan")
        message = await receive()
        seen.append(
            (scope["method"], scope["path"], scope["query_string"], dict(scope["headers"]), message["body"])
        )
        await send({"type": "http.response.start", "status": 201, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})

    scenario = [Request("POST", "/a b/{id}?q={id}", json={"id": "{id}", "n": [1]}, data=[{"id": 5}])]
    results = await LoadTester(target, scenario=scenario, headers={"X-A": "1"}).run_load_test(3, 1)
    assert results.successful == 3
    method, path, query, headers, body = seen[0]
    assert (method, path, query) == ("POST", "/a b/5", b"q=5")
    assert json.loads(body) == {"id": 5, "n": [1]}
    assert headers[b"x-a"] == b"1"
    assert headers[b"content-type"] == b"application/json"
    assert headers[b"content-length"] == str(len(body)).encode()


async def test_an_asgi_app_that_fails_is_counted_by_kind() -> None:
    async def target(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/raise":
            raise ValueError("no")
        if scope["path"] == "/silent":
            return
        await send({"type": "http.response.start", "status": 503, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    scenario = [Request("GET", path) for path in ("/raise", "/silent", "/busy")]
    results = await LoadTester(target, scenario=scenario, order="sequential").run_load_test(9, 1)
    assert results.errors == {"ValueError": 3, "no response": 3, "status 503": 3}
    assert {name: stats.failed for name, stats in results.requests.items()} == {
        "GET /raise": 3,
        "GET /silent": 3,
        "GET /busy": 3,
    }


START = {"type": "http.response.start", "status": 200, "headers": []}
BODY = {"type": "http.response.body", "body": b"whole"}


@pytest.mark.parametrize(
    ("messages", "errors"),
    [
        ([START], {"response not completed": 2}),
        ([START, {**BODY, "more_body": True}], {"response not completed": 2}),
        ([BODY], {"RuntimeError": 2}),
        ([START, START, BODY], {"RuntimeError": 2}),
        ([START, BODY, BODY], {"RuntimeError": 2}),
        ([START, {"type": "http.response.body", "body": "text"}], {"TypeError": 2}),
        ([START, {"type": "websocket.send", "text": "x"}, BODY], {"RuntimeError": 2}),
        ([START, {"type": "http.response.body"}], {}),
        ([START, {"type": "http.response.body", "body": bytearray(b"x"), "more_body": True}, BODY], {}),
    ],
)
async def test_what_a_server_would_not_send_as_an_answer_is_none(
    messages: list[dict[str, Any]], errors: dict[str, int]
) -> None:
    async def target(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise RuntimeError("no lifespan")
        for message in messages:
            await send(message)

    results = await LoadTester(target).run_load_test(2, 1)
    assert (dict(results.errors), results.successful) == (errors, 0 if errors else 2)


@pytest.mark.parametrize("listens_before", [False, True])
async def test_the_client_leaves_when_it_has_its_answer(listens_before: bool) -> None:
    async def target(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise RuntimeError("no lifespan")
        assert (await receive())["type"] == "http.request"
        gone = asyncio.create_task(receive())
        if listens_before:
            await asyncio.sleep(0)
        assert not gone.done()
        await send(START)
        await send(BODY)
        assert (await gone)["type"] == "http.disconnect"

    results = await LoadTester(target).run_load_test(5, 2)
    assert results.successful == 5


async def test_streaming_has_a_time_to_the_first_byte() -> None:
    async def target(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        await asyncio.sleep(0.02)
        await send({"type": "http.response.body", "body": b"last"})

    results = await LoadTester(target).run_load_test(10, 2)
    assert results.first_byte_p50 is not None
    assert results.p50 >= results.first_byte_p50 + 0.02 * 0.99  # each ends 20 ms after its first byte
    assert results.bytes_received == 10 * len(b"firstlast")


async def test_the_lifespan_of_the_app_surrounds_the_run() -> None:
    events = []

    async def target(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while (message := await receive())["type"] != "lifespan.shutdown":
                events.append(message["type"])
                await send({"type": "lifespan.startup.complete"})
            events.append("lifespan.shutdown")
            await send({"type": "lifespan.shutdown.complete"})
        else:
            events.append("http")
            await app(scope, receive, send)

    await LoadTester(target).run_load_test(1, 1)
    assert events == ["lifespan.startup", "http", "lifespan.shutdown"]


async def test_an_app_whose_startup_fails_is_not_tested() -> None:
    async def target(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    with pytest.raises(LoadTestError, match="no database"):
        await LoadTester(target).run_load_test(1, 1)


# ---- MCP


async def test_an_mcp_tool_is_a_target() -> None:
    calls = []

    class Result:
        def __init__(self, is_error: bool) -> None:
            self.isError = is_error

    class Session:
        async def call_tool(self, name: str, arguments: dict[str, Any]) -> Result:
            calls.append((name, arguments))
            await asyncio.sleep(0)
            return Result(len(calls) % 2 == 0)

    results = await LoadTester(McpTool(Session(), "search", {"q": "x"})).run_load_test(10, 1)
    assert calls == [("search", {"q": "x"})] * 10
    assert results.target == "MCP tool search"
    assert results.errors == {"ToolFailed": 5}
    with pytest.raises(TypeError, match="call_tool"):
        McpTool(object(), "search")


async def test_an_mcp_tool_over_http_is_a_json_rpc_call() -> None:
    seen: list[Received] = []
    scenario = [mcp_request("search", {"q": "{word}"}, data=[{"word": "a"}], headers={"Mcp-Session-Id": "s"})]
    async with serve(responding(lambda _: response(b'{"result": {}}'), seen)) as url:
        results = await LoadTester(url, scenario=scenario).run_load_test(20, 2)
    assert results.successful == 20
    messages = [json.loads(request.body) for request in seen]
    assert all(message["params"] == {"name": "search", "arguments": {"q": "a"}} for message in messages)
    assert len({message["id"] for message in messages}) == 20
    assert seen[0].target == "/mcp"
    assert seen[0].headers["mcp-session-id"] == "s"
    assert list(results.requests) == ["MCP tool search"]
