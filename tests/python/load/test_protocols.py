"""MCP over HTTP and stdio, WebSockets and server-sent events: what a request is, and what has failed."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import websockets

from load_servers import Received, free_port, read_request, responding, response, serve
from mcp_performance import ConfigurationError, LoadTester, Request, TargetRefused
from mcp_performance.errors import LoadTestError
from mcp_performance.load import _mcp_session

# MCP over streamable HTTP

FAILED = {"content": [{"type": "text", "text": "no such word"}], "isError": True}


class McpServer:
    """Speaks MCP: as JSON or as events, with sessions or without, and checks that its clients do."""

    def __init__(self, result: dict[str, Any], *, events: bool = False, sessions: bool = True) -> None:
        self.result = result
        self.events = events
        self.sessions = sessions
        self.state: dict[str, str] = {}
        self.calls: Counter[str] = Counter()
        self.wrong: list[str] = []

    def __call__(self, request: Received) -> bytes:
        session = request.headers.get("mcp-session-id", "")
        if request.method == "DELETE":
            self.state[session] = "closed"
            return response()
        message = json.loads(request.body)
        if request.target != "/mcp" or "text/event-stream" not in request.headers["accept"]:
            self.wrong.append(request.head.decode())
        if message["method"] == "initialize":
            session = f"s-{len(self.state)}"
            self.state[session] = "new"
            headers = f"Mcp-Session-Id: {session}\r\n" if self.sessions else ""
            return self.answer({"result": {"protocolVersion": "2025-03-26"}}, message, headers)
        if request.headers.get("mcp-protocol-version") != "2025-03-26" or (session != "") != self.sessions:
            self.wrong.append(request.head.decode())
        if message["method"] == "notifications/initialized":
            self.state[session] = "open"
            return response(b"", "202 Accepted")
        if message["method"] == "tools/list" and self.state[session] == "open":
            return self.answer({"error": {"code": -32601, "message": "Method not found"}}, message)
        if message["method"] != "tools/call" or self.state[session] != "open":
            self.wrong.append(request.head.decode())
        self.calls[session] += 1
        return self.answer({"params": message["params"], **self.result}, message)

    def answer(self, what: dict[str, Any], message: dict[str, Any], headers: str = "") -> bytes:
        text = json.dumps({"jsonrpc": "2.0", "id": message["id"], **what})
        if not self.events:
            return response(text.encode(), headers=f"{headers}Content-Type: application/json\r\n")
        progress = 'event: message\r\ndata: {"jsonrpc": "2.0", "method": "notifications/progress"}\r\n\r\n'
        body = f"{progress}event: message\r\ndata: {text}\r\n\r\n".encode()
        return response(body, headers=f"{headers}Content-Type: text/event-stream\r\n")


@pytest.mark.parametrize("events", [False, True])
@pytest.mark.parametrize("sessions", [True, False])
@pytest.mark.parametrize(
    ("result", "errors"),
    [
        ({"result": {"content": []}}, {}),
        ({"result": FAILED}, {"tool error": 20}),
        ({"error": {"code": -32602, "message": "Unknown tool"}}, {"JSON-RPC error -32602": 20}),
        ({}, {"no JSON-RPC answer": 20}),
    ],
)
async def test_an_mcp_tool_is_called_in_a_session_of_each_user(
    result: dict[str, Any], errors: dict[str, int], events: bool, sessions: bool
) -> None:
    server = McpServer(result, events=events, sessions=sessions)
    async with serve(responding(server)) as url:
        tester = LoadTester.mcp(f"{url}mcp", "search", {"q": "x"}, headers={"Authorization": "Bearer t"})
        run = await tester.run_load_test(20, 4)
    assert not server.wrong, server.wrong[0]
    assert run.errors == errors
    assert run.total_requests == sum(server.calls.values()) == 20
    assert list(run.requests) == ["MCP tool search"]
    if sessions:
        assert set(server.state) == set(server.calls) == {f"s-{number}" for number in range(4)}
        assert set(server.state.values()) == {"closed"}


async def test_arguments_of_an_mcp_tool_have_placeholders() -> None:
    seen: list[Received] = []
    async with serve(responding(McpServer({"result": {}}), seen)) as url:
        await LoadTester.mcp(f"{url}mcp", "search", {"q": "{uuid}"}).run_load_test(20, 2)
    calls = [json.loads(request.body) for request in seen if b"tools/call" in request.body]
    assert len({call["params"]["arguments"]["q"] for call in calls}) == 20
    assert len({call["id"] for call in calls}) == 20


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (response(b"no", "401 Unauthorized"), "initialize: status 401: no"),
        (response(b'{"error": {"code": -32600, "message": "old"}}'), "initialize: .*old"),
        (response(b"<html>"), "initialize: no JSON-RPC answer"),
    ],
)
async def test_a_session_that_cannot_be_opened_is_an_error(answer: bytes, why: str) -> None:
    async with serve(responding(lambda _: answer)) as url:
        with pytest.raises(LoadTestError, match=why):
            await LoadTester.mcp(url, "search").run_load_test(5, 1)


# MCP over stdio

STDIO = """
import json, sys
def say(**message):
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)
calls = 0
for line in sys.stdin:
    message = json.loads(line)
    method, number = message.get("method"), message.get("id")
    if method == "initialize":
        say(id=number, result={"protocolVersion": "2025-06-18", "capabilities": {}})
    elif method == "notifications/initialized":
        ready = True
    elif method == "tools/list" and ready:
        say(id=number, result={"tools": []})
    elif method == "tools/call" and ready:
        calls += 1
        name = message["params"]["name"]
        if name == "dies" and calls == 3:
            sys.exit(1)
        if name == "asks":
            say(method="notifications/progress", params={})
            say(id=number, method="ping")
            assert json.loads(sys.stdin.readline())["result"] == {}
        if name == "babbles":
            print("hello", flush=True)
        elif name == "unknown":
            say(id=number, error={"code": -32602, "message": "Unknown tool"})
        elif name == "hangs":
            while True: sys.stdin.readline()
        else:
            say(id=number, result={"content": [], "isError": name == "fails"})
"""


@pytest.mark.parametrize(
    ("tool", "errors"),
    [
        ("works", {}),
        ("asks", {}),
        ("fails", {"tool error": 12}),
        ("unknown", {"JSON-RPC error -32602": 12}),
        ("babbles", {"bad answer: a line that is no JSON": 12}),
        ("dies", {"the server has ended": 4}),
    ],
)
async def test_an_mcp_server_is_run_for_each_user(tool: str, errors: dict[str, int], tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text(STDIO)
    command = [sys.executable, str(tmp_path / "server.py")]
    run = await LoadTester.mcp(command, tool, {"a": 1}).run_load_test(12, 1, timeout=60)
    assert run.errors == errors
    assert run.total_requests == 12
    assert list(run.requests) == [f"MCP tool {tool}"]
    assert (run.connect_avg or 0) > 0


async def test_a_server_that_hangs_is_a_timeout_and_is_ended(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text(STDIO)
    command = f"stdio:{sys.executable} {tmp_path}/server.py"
    run = await LoadTester.mcp(command, "hangs").run_load_test(None, 2, duration=0.5, drain=0.2)
    assert run.errors == {"no answer by the end of the run": 2}


async def test_a_server_that_lists_no_tools_is_called_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_mcp_session, "_LISTING", 0.1)
    (tmp_path / "server.py").write_text(STDIO.replace("tools/list", "none"))
    command = [sys.executable, str(tmp_path / "server.py")]
    run = await LoadTester.mcp(command, "works").run_load_test(12, 1, timeout=60)
    assert run.successful == 12


FASTMCP = """
import asyncio, socket, sys
import fastmcp, uvicorn
server = fastmcp.FastMCP("tests")
@server.tool
def add(a: int, b: int) -> int:
    return a + b
@server.tool
def fail() -> int:
    raise ValueError("no")
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen()
print(listener.getsockname()[1], flush=True)
config = uvicorn.Config(server.http_app(), log_level="critical")
asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))
"""


async def test_tools_of_a_real_server_are_called(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text(FASTMCP)
    server = await asyncio.create_subprocess_exec(
        sys.executable, str(tmp_path / "server.py"), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{int(await server.stdout.readline())}/mcp"
        good = await LoadTester.mcp(url, "add", {"a": 1, "b": 2}).run_load_test(40, 2, timeout=60)
        bad = await LoadTester.mcp(url, "fail").run_load_test(20, 2, timeout=60)
        wrong = await LoadTester.mcp(url, "add", {"a": "x"}, workers=2).run_load_test(20, 2, timeout=60)
    finally:
        server.kill()
        await server.wait()
    assert good.successful == 40, good.errors
    assert bad.errors == wrong.errors == {"tool error": 20}
    assert "no" in bad.examples["tool error"]


@pytest.mark.parametrize("command", [["/no/such/program"], ["true"]])
async def test_a_command_that_is_no_server_is_an_error(command: list[str]) -> None:
    with pytest.raises(LoadTestError):
        await LoadTester.mcp(command, "x").run_load_test(5, 1)


# WebSockets


async def echo(socket: Any) -> None:
    async for message in socket:
        await socket.send(message)


async def talkative(socket: Any) -> None:
    async for message in socket:
        await socket.ping()
        await socket.send([message[:1], message[1:]])  # in fragments


async def leaves(socket: Any) -> None:
    for _ in range(4):
        await socket.send(await socket.recv())
    await socket.recv()
    await socket.close(1011)


async def headers(socket: Any) -> None:
    async for _ in socket:
        await socket.send(socket.request.headers["authorization"] + socket.request.path)


@pytest.mark.parametrize(
    ("handler", "message", "expect", "errors"),
    [
        (echo, "hello", "hello", {}),
        (echo, "é" * 70, "é", {}),
        (echo, b"\x00\xff" * 40_000, b"\xff\x00", {}),
        (echo, "", "", {}),
        (echo, "hello", "bye", {"check failed: body": 20}),
        (talkative, "hello", "hello", {}),
        (leaves, "hello", "", {"closed by the server: 1011": 4}),
        (headers, "x", "Bearer t/chat?room=1", {}),
    ],
)
async def test_a_round_trip_over_a_websocket_is_a_request(
    handler: Any, message: str | bytes, expect: str | bytes, errors: dict[str, int]
) -> None:
    async with websockets.serve(handler, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/chat?room=1"
        tester = LoadTester.websocket(url, message, expect=expect, headers={"Authorization": "Bearer t"})
        run = await tester.run_load_test(20, 2)
    assert run.errors == errors
    assert run.total_requests == 20
    assert list(run.requests) == ["WebSocket /chat"]
    assert (run.connect_avg or 0) > 0


async def test_an_answer_that_was_late_is_not_the_next_ones() -> None:
    async def slow_once(socket: Any) -> None:
        nonlocal calls
        async for message in socket:
            calls += 1
            if calls == 2:
                await asyncio.sleep(3.0)
            await socket.send(f"{message} {calls}")

    calls = 0
    async with websockets.serve(slow_once, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        run = await LoadTester.websocket(url, "n").run_load_test(4, 1, timeout=1.0)
    assert run.errors == {"timeout": 1}
    assert run.successful == 3


async def test_a_websocket_that_cannot_be_opened_is_an_error() -> None:
    with pytest.raises(LoadTestError, match="could not be opened"):
        await LoadTester.websocket(f"ws://127.0.0.1:{free_port()}/", "x").run_load_test(2, 1)
    with pytest.raises(TargetRefused):
        await LoadTester.websocket("ws://93.184.216.34/", "x").run_load_test(2, 1)
    async with serve(responding(lambda _: response())) as url:
        with pytest.raises(LoadTestError, match="status 200"):
            await LoadTester.websocket(url.replace("http", "ws"), "x").run_load_test(2, 1)


# Server-sent events


async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await read_request(reader):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n: welcome\n\n")
        number = 0
        while True:
            number += 1
            writer.write(f'id: {number}\r\ndata: {{"n": {number}}}\r\n\r\n'.encode())
            await writer.drain()
            await asyncio.sleep(0.02)


async def test_a_stream_is_over_after_so_many_events() -> None:
    async with serve(endless) as url:
        first = await LoadTester.sse(f"{url}feed?a=1").run_load_test(10, 2)
        third = await LoadTester.sse(f"{url}feed", 3).run_load_test(10, 2)
        scenario = [Request("GET", "/feed", events=2, check={"json:n": 1})]
        checked = await LoadTester(url, scenario=scenario).run_load_test(10, 2)
    assert first.errors == third.errors == checked.errors == {}
    assert first.successful == third.successful == 10
    assert first.reconnects == 0
    assert third.p50 >= 0.04
    assert 0 < (third.first_byte_p50 or 0) < third.p50


async def test_a_stream_that_ends_too_early_has_failed() -> None:
    body = b"data: 1\n\ndata: 2\n\n"
    async with serve(responding(lambda _: response(body))) as url:
        assert (await LoadTester.sse(url, 2).run_load_test(5, 1)).errors == {}
        assert (await LoadTester.sse(url, 3).run_load_test(5, 1)).errors == {
            "the stream ended after 2 events": 5
        }


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LoadTester.sse("http://127.0.0.1/", 1, http2=True), "http2"),
        (lambda: LoadTester.mcp("ftp://x/", "t"), "expected an http:// or https:// URL"),
        (lambda: LoadTester.mcp([], "t"), "expected a command"),
        (lambda: LoadTester.mcp("http://127.0.0.1/", "t", cookies=True), "cookies"),
        (lambda: LoadTester.websocket("http://127.0.0.1/", "t"), "ws://"),
    ],
)
def test_what_is_none_of_these_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make()
