"""A call that passes several servers or middlewares of one monitor is one call, under its outermost name."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import fastmcp
import pytest
from fastmcp.exceptions import ToolError

from mcp_performance import PerformanceMonitor
from mcp_performance.integrations.fastmcp import PerformanceMiddleware


def made(name: str, monitor: PerformanceMonitor) -> fastmcp.FastMCP[Any]:
    server: fastmcp.FastMCP[Any] = fastmcp.FastMCP(name)
    server.add_middleware(PerformanceMiddleware(monitor))

    @server.tool
    def add(a: int, b: int) -> int:
        return a + b

    @server.tool
    def fails() -> int:
        raise ValueError

    @server.resource("data://{key}")
    def data(key: str) -> str:
        return key

    @server.prompt
    def greeting() -> str:
        return "hello"

    return server


def mounted(monitor: PerformanceMonitor) -> fastmcp.FastMCP[Any]:
    outer = fastmcp.FastMCP[Any]("outer")
    outer.add_middleware(PerformanceMiddleware(monitor))
    outer.mount(made("inner", monitor), namespace="in")
    return outer


def mounted_twice(monitor: PerformanceMonitor) -> fastmcp.FastMCP[Any]:
    outer = fastmcp.FastMCP[Any]("outermost")
    outer.add_middleware(PerformanceMiddleware(monitor))
    outer.mount(mounted(monitor), namespace="out")
    return outer


def with_two_middlewares(monitor: PerformanceMonitor) -> fastmcp.FastMCP[Any]:
    server = made("twice", monitor)
    server.add_middleware(PerformanceMiddleware(monitor))
    return server


@pytest.mark.parametrize(
    ("make", "prefix"), [(mounted, "in"), (mounted_twice, "out_in"), (with_two_middlewares, "")]
)
async def test_it_is_counted_once(make: Callable[[PerformanceMonitor], Any], prefix: str) -> None:
    monitor = PerformanceMonitor(caches=(), pools=(), tiers=())
    tool, path = f"{prefix}_" if prefix else "", "".join(f"{one}/" for one in prefix.split("_") if one)
    async with fastmcp.Client(make(monitor)) as client:
        for _ in range(2):
            await client.call_tool(f"{tool}add", {"a": 1, "b": 2})
        with suppress(ToolError):
            await client.call_tool(f"{tool}fails", {})
        await client.read_resource(f"data://{path}7")
        await client.get_prompt(f"{tool}greeting")
    counted = {
        (one["method"], one["name"]): (one["count"], one["errors"]) for one in monitor.metrics()["operations"]
    }
    assert counted == {
        ("tools/call", f"{tool}add"): (2, 0),
        ("tools/call", f"{tool}fails"): (1, 1),
        ("resources/read", f"data://{path}{{key}}"): (1, 0),
        ("prompts/get", f"{tool}greeting"): (1, 0),
    }


async def test_a_tool_that_calls_others_is_a_call_besides_theirs() -> None:
    monitor = PerformanceMonitor(caches=(), pools=(), tiers=())
    server, other = made("server", monitor), made("other", monitor)

    @server.tool
    async def both(a: int, b: int) -> int:
        own = await server.call_tool("add", {"a": a, "b": b})
        async with fastmcp.Client(other) as client:
            others = await client.call_tool("add", {"a": a + 1, "b": b})
        return own.structured_content["result"] + others.data  # type: ignore[index]

    async with fastmcp.Client(server) as client:
        assert (await client.call_tool("both", {"a": 1, "b": 2})).data == 7
    counted = {one["name"]: one["count"] for one in monitor.metrics()["operations"]}
    assert counted == {"both": 1, "add": 2}


async def test_each_monitor_on_the_way_counts() -> None:
    outer, inner = (PerformanceMonitor(caches=(), pools=(), tiers=()) for _ in range(2))
    server = made("server", inner)
    server.add_middleware(PerformanceMiddleware(outer))
    async with fastmcp.Client(server) as client:
        await client.call_tool("add", {"a": 1, "b": 2})
    for monitor in (outer, inner):
        assert [one["count"] for one in monitor.metrics()["operations"]] == [1]
