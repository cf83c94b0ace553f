"""``mcp-performance load`` of scenarios, users, MCP tools, WebSockets and streams of events."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import websockets.sync.server

from load_servers import Handler, Received, responding, response, serve
from mcp_performance.cli import main

MCP_SERVER = """
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if "id" in message:
        arguments = message["params"].get("arguments")
        result = {"protocolVersion": "2025-06-18", "isError": arguments == {"fail": True}}
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
"""

USER = """
async def visit(user):
    answer = await user.post("/login", body=user["name"])
    await user.get("/" + answer.text)
"""


@contextmanager
def serving(handler: Handler) -> Iterator[str]:
    """The URL of a server with an event loop of its own."""
    loop = asyncio.new_event_loop()
    urls: list[str] = []
    ready = threading.Event()
    over = asyncio.Event()

    async def run() -> None:
        async with serve(handler) as url:
            urls.append(url)
            ready.set()
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    try:
        assert ready.wait(60)
        yield urls[0]
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()


def figures(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_a_scenario_from_a_file_with_a_feed_and_cookies(tmp_path: Path) -> None:
    seen: list[Received] = []

    def respond(request: Received) -> bytes:
        token = json.dumps({"token": request.body.decode()})
        return response(token.encode(), headers="Set-Cookie: a=1; Path=/\r\n")

    (tmp_path / "users.csv").write_text("name\nann\nbob\n")
    (tmp_path / "scenario.json").write_text(
        json.dumps(
            [
                {"method": "POST", "path": "/login", "body": "{name}", "save": {"token": "json:token"}},
                {"method": "GET", "path": "/{token}", "check": {"json:token": ""}},
            ]
        )
    )
    out = tmp_path / "out.json"
    with serving(responding(respond, seen)) as url:
        files = ["--scenario", str(tmp_path / "scenario.json"), "--data", str(tmp_path / "users.csv")]
        code = main(["load", url, *files, "--cookies", "-n", "40", "-c", "2", "--json", str(out), "--quiet"])
    assert code in (0, 3)
    assert figures(out)["errors"] == {}
    assert {request.target for request in seen} == {"/login", "/ann", "/bob"}
    assert all("cookie" in request.headers for request in seen if request.method == "GET")


def test_a_user_from_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Received] = []
    (tmp_path / "a_user_of_tests.py").write_text(USER)
    (tmp_path / "users.json").write_text('[{"name": "ann"}]')
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "out.json"
    with serving(responding(lambda request: response(request.body or b"x"), seen)) as url:
        options = [
            "--base",
            url,
            "--data",
            "users.json",
            "-n",
            "21",
            "-c",
            "2",
            "--json",
            str(out),
            "--quiet",
        ]
        assert main(["load", "a_user_of_tests:visit", *options]) in (0, 3)
    assert {request.target for request in seen} == {"/login", "/ann"}
    assert len(seen) == figures(out)["total_requests"] == 21


@pytest.mark.parametrize(("arguments", "code"), [('{"q": 1}', (0, 3)), ('{"fail": true}', (1,))])
def test_an_mcp_tool_over_stdio(arguments: str, code: tuple[int, ...], tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text(MCP_SERVER)
    command = f"stdio:{sys.executable} {tmp_path}/server.py"
    options = ["--mcp-tool", "search", "--mcp-arguments", arguments, "-n", "20", "-c", "1", "--quiet"]
    assert main(["load", command, *options]) in code


def test_a_websocket(capsys: pytest.CaptureFixture[str]) -> None:
    def echo(socket: Any) -> None:
        for message in socket:
            socket.send(message)

    with websockets.sync.server.serve(echo, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"ws://127.0.0.1:{server.socket.getsockname()[1]}/"
        good = main(["load", url, "--body", "hello", "--expect", "hell", "-n", "20", "-c", "2", "--quiet"])
        bad = main(["load", url, "--body", "hello", "--expect", "bye", "-n", "20", "-c", "2", "--quiet"])
        server.shutdown()
        thread.join()
    assert good in (0, 3)
    assert bad == 1
    assert "check failed: body: 20, such as 'hello'" in capsys.readouterr().out


def test_a_stream_of_events(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    with serving(responding(lambda _: response(b"data: 1\n\ndata: 2\n\n"))) as url:
        assert main(["load", f"{url}feed", "--events", "3", "-n", "10", "--quiet"]) == 1
        assert main(["load", f"{url}feed", "--events", "2", "-n", "10", "--json", str(out), "--quiet"]) in (
            0,
            3,
        )
    assert figures(out)["successful"] == 10


def test_workers_share_one_run(tmp_path: Path) -> None:
    seen: list[Received] = []
    out = tmp_path / "out.json"
    with serving(responding(lambda _: response(), seen)) as url:
        main(["load", url, "-n", "201", "-c", "5", "--workers", "3", "--json", str(out), "--quiet"])
    assert len(seen) == figures(out)["total_requests"] == 201


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["http://127.0.0.1:9/", "--mcp-arguments", "{}"], "--mcp-arguments needs --mcp-tool"),
        (["--mcp-tool", "x"], "--mcp-tool needs the URL"),
        (["http://127.0.0.1:9/", "--mcp-tool", "x", "--mcp-arguments", "[1]"], "expected a JSON object"),
        (["http://127.0.0.1:9/", "--mcp-tool", "x", "--body", "b"], "--body does not go with --mcp-tool"),
        (["ws://127.0.0.1:9/", "--method", "PUT"], "--method does not go with a WebSocket"),
        (["http://127.0.0.1:9/", "--scenario", "/none.json"], "--scenario='/none.json'"),
        (["http://127.0.0.1:9/", "--cookies", "--batch-size", "2"], "batch_size=2"),
        (["http://127.0.0.1:9/", "--base", "http://127.0.0.1:9/"], "url="),
    ],
)
def test_what_does_not_go_together_is_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["load", *arguments, "-n", "1", "-c", "1", "--quiet"]) == 2
    assert message in capsys.readouterr().err
