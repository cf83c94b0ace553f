"""Cached functions as FastMCP tools."""

from __future__ import annotations

import fastmcp

from mcp_performance import cached


async def test_a_cached_coroutine_function_is_a_tool() -> None:
    calls: list[str] = []

    @cached(ttl=60, as_function=True)
    async def greet(name: str, times: int = 1) -> str:
        """Say hello."""
        calls.append(name)
        return " ".join([f"hello {name}"] * times)

    server = fastmcp.FastMCP("tools")
    server.tool(greet)
    async with fastmcp.Client(server) as client:
        (tool,) = await client.list_tools()
        assert (tool.name, tool.description) == ("greet", "Say hello.")
        schema = tool.model_dump(by_alias=True)["inputSchema"]
        assert schema["required"] == ["name"]
        assert {name: field["type"] for name, field in schema["properties"].items()} == {
            "name": "string",
            "times": "integer",
        }
        assert schema["properties"]["times"]["default"] == 1
        # FastMCP fills the default in: both are one entry.
        for arguments in ({"name": "a"}, {"name": "a", "times": 1}, {"name": "a"}):
            assert (await client.call_tool("greet", arguments)).data == "hello a"
        assert (await client.call_tool("greet", {"name": "b", "times": 2})).data == "hello b hello b"
    assert calls == ["a", "b"]
    assert greet.cache_info()[:2] == (2, 2)


async def test_a_cached_plain_function_is_a_tool() -> None:
    calls: list[int] = []

    @cached(as_function=True)
    def square(x: int) -> int:
        calls.append(x)
        return x * x

    server = fastmcp.FastMCP("tools")
    server.tool(square)
    async with fastmcp.Client(server) as client:
        assert [(await client.call_tool("square", {"x": 7})).data for _ in range(3)] == [49, 49, 49]
    assert calls == [7]
    assert square.cache_info().hits == 2
