"""A FastMCP server with cached functions as its tools, and with the middleware, over every transport."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import fastmcp
import pytest
from fastmcp.client.transports import PythonStdioTransport, StreamableHttpTransport
from fastmcp.exceptions import ToolError
from fastmcp.tools.base import ToolResult
from mcp.server.mcpserver import MCPServer
from mcp.types import CallToolResult, TextContent

from mcp_performance import ConfigurationError, PerformanceMonitor, cached, cached_method
from mcp_performance.integrations import mcp as sdk
from mcp_performance.integrations.fastmcp import PerformanceMiddleware
from mcp_tools import call, schema, servers

Decorate = Callable[[Any], Any]


@pytest.mark.parametrize("server", servers(), ids=["FastMCP", "MCP SDK"])
@pytest.mark.parametrize("decorate", [cached, cached(ttl=60)], ids=["bare", "options"])
@pytest.mark.parametrize("is_async", [False, True])
async def test_a_tool_straight_over_a_cached_function_has_its_schema_and_is_cached(
    server: Any, decorate: Decorate, is_async: bool
) -> None:
    server = type(server)("tools")
    plain_server = type(server)("tools")
    calls: list[str] = []

    def greet(name: str, times: int = 1, *, loud: bool = False) -> dict[str, str]:
        """Say hello."""
        calls.append(name)
        return {"said": f"hello {name}" * times}

    async def greet_async(name: str, times: int = 1, *, loud: bool = False) -> dict[str, str]:
        """Say hello."""
        calls.append(name)
        return {"said": f"hello {name}" * times}

    function: Any = greet_async if is_async else greet
    function.__name__ = "greet"
    tool = server.tool()(decorate(function))
    plain_server.tool()(function)
    expected = await schema(plain_server)
    assert await schema(server) == expected
    for _ in range(3):
        assert await call(server, "greet", name="a") == {"said": "hello a"}
    assert await call(server, "greet", name="a", times=1) == {"said": "hello a"}
    assert calls == ["a"]
    assert tool.cache_info()[:2] == (3, 1)


async def test_descriptions_and_wrong_arguments_are_those_of_the_function() -> None:
    server = fastmcp.FastMCP("tools")

    @server.tool(annotations={"readOnlyHint": True})
    @cached
    def add(a: Annotated[int, "the first"], b: int = 2) -> int:
        """Add.

        Args:
            b: the second
        """
        return a + b

    async with fastmcp.Client(server) as client:
        (tool,) = await client.list_tools()
        described = tool.model_dump()
        properties = described["input_schema"]["properties"]
        assert (properties["a"]["description"], properties["b"]["description"]) == ("the first", "the second")
        assert described["annotations"]["read_only_hint"] is True
        with pytest.raises(ToolError, match="valid integer"):
            await client.call_tool("add", {"a": "x"})
        assert (await client.call_tool("add", {"a": "1"})).data == 3
    assert add.cache_info().misses == 1


@pytest.mark.parametrize("server", servers(), ids=["FastMCP", "MCP SDK"])
@pytest.mark.parametrize("is_async", [False, True])
async def test_a_cached_method_of_an_instance_is_a_tool_without_self(server: Any, is_async: bool) -> None:
    class Shop:
        def __init__(self) -> None:
            self.calls = 0

        @cached_method(ttl=60)
        def price(self, article: Annotated[str, "which"]) -> str:
            """What it costs."""
            self.calls += 1
            return f"{article}: 3"

        @cached_method(ttl=60)
        async def aprice(self, article: Annotated[str, "which"]) -> str:
            """What it costs."""
            self.calls += 1
            return f"{article}: 3"

    class Plain:
        async def aprice(self, article: Annotated[str, "which"]) -> str:
            """What it costs."""
            return ""

        def price(self, article: Annotated[str, "which"]) -> str:
            """What it costs."""
            return ""

    shop, name = Shop(), "aprice" if is_async else "price"
    tools, plain = type(server)("tools"), type(server)("tools")
    tools.tool()(getattr(shop, name))
    plain.tool()(getattr(Plain(), name))
    assert await schema(tools) == await schema(plain)
    for _ in range(3):
        assert await call(tools, name, article="lamp") == {"result": "lamp: 3"}
    assert shop.calls == 1
    assert list(inspect.signature(getattr(shop, name)).parameters) == ["article"]


async def test_templates_of_resources_take_a_real_function() -> None:
    server, calls = fastmcp.FastMCP("resources"), []

    @server.resource("data://{name}")
    @cached(ttl=60, as_function=True)
    async def read(name: str) -> str:
        calls.append(name)
        return name

    async with fastmcp.Client(server) as client:
        for _ in range(2):
            (content,) = await client.read_resource("data://lamp")
            assert content.text == "lamp"
    assert calls == ["lamp"]


async def test_the_middleware_caches_tools_whose_arguments_are_lists() -> None:
    server, calls = fastmcp.FastMCP("tools"), []
    server.add_middleware(PerformanceMiddleware(monitor(), cache_tools=["total"]))

    @server.tool
    async def total(prices: list[int], factors: dict[str, int]) -> int:
        calls.append(prices)
        return sum(prices) * factors["x"]

    async with fastmcp.Client(server) as client:
        for prices, expected in (([1, 2], 6), ([1, 2], 6), ([2, 1], 6), ([3], 6)):
            assert (await client.call_tool("total", {"prices": prices, "factors": {"x": 2}})).data == expected
    assert calls == [[1, 2], [2, 1], [3]]


def register_tool(server: Any) -> Decorate:
    return server.tool()  # type: ignore[no-any-return]


def register_prompt(server: Any) -> Decorate:
    return server.prompt()  # type: ignore[no-any-return]


def register_resource(server: Any) -> Decorate:
    return server.resource("data://{name}")  # type: ignore[no-any-return]


@pytest.mark.parametrize("server", servers(), ids=["FastMCP", "MCP SDK"])
@pytest.mark.parametrize("register", [register_tool, register_prompt, register_resource])
@pytest.mark.parametrize("decorate", [cached, cached(ttl=60)], ids=["bare", "options"])
@pytest.mark.parametrize("is_async", [False, True])
def test_a_cached_function_over_a_registered_one_is_refused(
    server: Any, register: Callable[[Any], Decorate], decorate: Decorate, is_async: bool
) -> None:
    server = type(server)("tools")
    if is_async:
        with pytest.raises(TypeError, match="put @cached below"):

            @decorate
            @register(server)
            async def later(name: str) -> str:
                return name
    else:
        with pytest.raises(TypeError, match="put @cached below"):

            @decorate
            @register(server)
            def sooner(name: str) -> str:
                return name


def test_functions_that_nobody_registered_cost_no_search(monkeypatch: pytest.MonkeyPatch) -> None:
    searches: list[Any] = []
    monkeypatch.setattr(gc, "get_referrers", lambda *objects: searches.append(objects) or [])

    @cached
    def bare(number: int) -> int:
        return number

    @cached(ttl=60)
    async def with_options(number: int) -> int:
        return number

    assert (bare(1), searches) == (1, [])


@pytest.mark.parametrize(
    "failed",
    [
        ToolResult(content="no", is_error=True),
        CallToolResult(content=[TextContent(type="text", text="no")], is_error=True),
        {"isError": True, "content": []},
    ],
    ids=lambda one: type(one).__name__,
)
def test_a_result_that_says_it_is_an_error_is_not_stored(failed: Any) -> None:
    results = [failed, failed, {"fine": 1}]

    @cached
    def tool() -> Any:
        return results.pop(0)

    assert [tool() for _ in range(4)] == [failed, failed, {"fine": 1}, {"fine": 1}]


def test_what_only_looks_like_such_a_result_is_stored_and_conditions_still_decide() -> None:
    @cached(condition=lambda result: result != 7)
    def picky(result: Any) -> Any:
        return {"isError": True} if result == "field" else result

    for result, stored in (("field", True), (7, False), (8, True)):
        picky(result)
        assert picky.cache_contains(result) is stored


# ---- the middleware


def make_server(monitor: PerformanceMonitor, calls: list[str], **options: Any) -> Any:
    server = fastmcp.FastMCP("measured")
    server.add_middleware(PerformanceMiddleware(monitor, **options))

    @server.tool
    async def slow(number: int) -> int:
        calls.append(f"slow {number}")
        await asyncio.sleep(0)
        return number

    @server.tool
    def fails() -> str:
        calls.append("fails")
        raise ValueError("no")

    @server.tool
    def refuses() -> ToolResult:
        calls.append("refuses")
        return ToolResult(content="no", is_error=True)

    @server.resource("data://all")
    def everything() -> str:
        calls.append("all")
        return "all"

    @server.resource("data://{name}/one")
    def one(name: str) -> str:
        calls.append(f"one {name}")
        return name

    @server.prompt
    def ask(name: str) -> str:
        return f"who is {name}?"

    return server


def counts(monitor: PerformanceMonitor) -> dict[tuple[str, str, str], int]:
    return {
        (one["method"], one["name"], one["error_type"]): one["count"]
        for one in monitor.metrics()["operations"]
    }


def monitor() -> PerformanceMonitor:
    return PerformanceMonitor(caches=(), pools=(), tiers=())


async def test_calls_errors_and_times_are_counted_by_declared_names() -> None:
    seen, calls = monitor(), list[str]()
    async with fastmcp.Client(make_server(seen, calls)) as client:
        for number in range(3):
            await client.call_tool("slow", {"number": number})
        for name in ("fails", "refuses", "none-1", "none-2", "none-3"):
            await client.call_tool(name, raise_on_error=False)
        for name in ("a", "b", "c"):
            await client.read_resource(f"data://{name}/one")
        await client.read_resource("data://all")
        for name in ("x", "y"):
            with pytest.raises(Exception, match=r"nknown|not found|resource"):
                await client.read_resource(f"data://{name}/none")
        await client.get_prompt("ask", {"name": "x"})
    found = counts(seen)
    assert found[("tools/call", "slow", "")] == 3
    assert found[("tools/call", "refuses", "tool_error")] == 1
    assert found[("resources/read", "data://{name}/one", "")] == 3
    assert found[("resources/read", "data://all", "")] == 1
    assert found[("prompts/get", "ask", "")] == 1
    by_name: dict[tuple[str, str], int] = {}
    for (method, name, error), count in found.items():
        by_name[method, name] = by_name.get((method, name), 0) + count
        assert (error != "") == (name in ("fails", "refuses", "_OTHER"))
    assert by_name[("tools/call", "_OTHER")] == 3
    assert by_name[("resources/read", "_OTHER")] == 2
    (slow,) = [one for one in seen.metrics()["operations"] if one["name"] == "slow"]
    assert 0 < slow["p50_seconds"] <= slow["p99_seconds"] <= slow["max_seconds"]
    assert (
        'mcp_server_operation_duration_seconds_count{method="tools/call",name="slow"} 3' in seen.prometheus()
    )


async def test_a_call_that_its_client_gave_up_is_counted_as_one() -> None:
    seen, begun, ended = monitor(), asyncio.Event(), asyncio.Event()
    server = fastmcp.FastMCP("tools")
    server.add_middleware(PerformanceMiddleware(seen))

    @server.tool
    async def waits() -> int:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return 1

    async with fastmcp.Client(server) as client:
        call = asyncio.ensure_future(client.call_tool("waits", {}))
        await begun.wait()
        call.cancel()
        await ended.wait()
        await client.list_tools()
    assert counts(seen) == {("tools/call", "waits", "CancelledError"): 1}


async def test_resources_and_chosen_tools_are_cached_and_errors_never() -> None:
    seen, calls = monitor(), list[str]()
    server = make_server(seen, calls, cache_tools=["slow", "fails", "refuses"])
    async with fastmcp.Client(server) as client:
        answers = await asyncio.gather(*(client.call_tool("slow", {"number": 1}) for _ in range(8)))
        assert [answer.data for answer in answers] == [1] * 8
        await client.call_tool("slow", {"number": 2})
        for name in ("fails", "refuses") * 2:
            await client.call_tool(name, raise_on_error=False)
        for _ in range(3):
            assert (await client.read_resource("data://x/one"))[0].text == "x"
    assert calls == ["slow 1", "slow 2", "fails", "refuses", "fails", "refuses", "one x"]
    assert counts(seen)[("tools/call", "slow", "")] == 9


async def test_without_lifetimes_nothing_is_cached() -> None:
    calls = list[str]()
    async with fastmcp.Client(make_server(monitor(), calls, resource_ttl=0)) as client:
        for _ in range(2):
            await client.read_resource("data://all")
            await client.call_tool("slow", {"number": 1})
    assert calls == ["all", "slow 1"] * 2


@pytest.mark.parametrize(("shared", "runs"), [(False, 2), (True, 1)])
async def test_each_user_has_entries_of_its_own_unless_they_share(shared: bool, runs: int) -> None:
    users = iter("abab")
    calls = list[str]()
    server = make_server(monitor(), calls, cache_tools=["slow"], user=None if shared else lambda: next(users))
    async with fastmcp.Client(server) as client:
        for _ in range(4):
            await client.call_tool("slow", {"number": 1})
    assert calls == ["slow 1"] * runs


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"cache_tools": "slow"}, TypeError, "cache_tools='slow'"),
        ({"cache_tools": {"slow": -1}}, ConfigurationError, "cache_tools"),
        ({"resource_ttl": -1}, ConfigurationError, "resource_ttl=-1"),
        ({"user": 3}, TypeError, "user=3"),
        ({"monitor": 3}, TypeError, "monitor=3"),
        ({"workers": "a/b"}, ConfigurationError, "workers='a/b'"),
    ],
)
def test_a_bad_argument_is_an_error_that_names_it(
    options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        PerformanceMiddleware(**options)


SERVER = """
import sys
import fastmcp
from mcp_performance import PerformanceMonitor, cached
from mcp_performance.integrations.fastmcp import PerformanceMiddleware

monitor = PerformanceMonitor()
mcp = fastmcp.FastMCP("measured")
mcp.add_middleware(PerformanceMiddleware(monitor, cache_tools=["double"]))
calls = []

@mcp.tool
def double(number: int) -> int:
    calls.append("double")
    return 2 * number

@mcp.tool
@cached
async def half(number: int) -> float:
    calls.append("half")
    return number / 2

@mcp.resource("data://all")
def everything() -> str:
    calls.append("all")
    return "all"

@mcp.tool
def figures() -> dict:
    found = {one["name"]: one["count"] for one in monitor.metrics()["operations"]}
    return {"counts": found, "calls": calls}

if len(sys.argv) > 1:
    mcp.run(transport="http", port=int(sys.argv[1]), show_banner=False)
else:
    mcp.run(show_banner=False)
"""


@asynccontextmanager
async def over(transport: str, script: Path) -> AsyncIterator[Any]:
    if transport == "stdio":
        async with fastmcp.Client(PythonStdioTransport(script, env=dict(os.environ))) as client:
            yield client
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([sys.executable, script, str(port)])  # noqa: ASYNC220
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None
                assert time.monotonic() < deadline
                await asyncio.sleep(0.05)
        async with fastmcp.Client(StreamableHttpTransport(f"http://127.0.0.1:{port}/mcp")) as client:
            yield client
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.parametrize("transport", ["stdio", "streamable HTTP"])
async def test_over_a_real_transport_the_same_is_counted_and_cached(transport: str, tmp_path: Path) -> None:
    script = tmp_path / "server.py"
    script.write_text(SERVER)
    async with over(transport, script) as client:
        for _ in range(3):
            assert (await client.call_tool("double", {"number": 4})).data == 8
            assert (await client.call_tool("half", {"number": 4})).data == 2.0
            assert (await client.read_resource("data://all"))[0].text == "all"
        figures = (await client.call_tool("figures")).data
    assert figures == {
        "counts": {"double": 3, "half": 3, "data://all": 3},
        "calls": ["double", "half", "all"],
    }


async def test_a_server_of_the_sdk_is_counted_by_declared_names() -> None:
    from mcp import Client

    seen = monitor()
    measured = sdk.PerformanceMiddleware(monitor=seen)
    server = MCPServer("measured", middleware=[measured])
    measured.server = server

    @server.tool()
    @cached
    def double(number: int) -> int:
        return 2 * number

    @server.tool()
    def refuses() -> CallToolResult:
        return CallToolResult(content=[TextContent(type="text", text="no")], is_error=True)

    @server.resource("data://{name}")
    def one(name: str) -> str:
        return name

    async with Client(server) as client:
        for _ in range(2):
            await client.call_tool("double", {"number": 4})
        await client.call_tool("refuses", {})
        for name in ("a", "b"):
            await client.read_resource(f"data://{name}")
        for name in ("none-1", "none-2"):
            with suppress(Exception):  # what it answers is the SDK's affair
                await client.call_tool(name, {})
    found = counts(seen)
    assert found[("tools/call", "double", "")] == 2
    assert found[("tools/call", "refuses", "tool_error")] == 1
    assert found[("resources/read", "data://{name}", "")] == 2
    assert sum(count for (_, name, _), count in found.items() if name == "_OTHER") == 2
    assert double.cache_info()[:2] == (1, 1)
