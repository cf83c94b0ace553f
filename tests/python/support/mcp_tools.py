"""Servers of both frameworks of MCP, and what their tools say."""

from __future__ import annotations

from typing import Any

import fastmcp
from mcp.server.mcpserver import MCPServer


def servers() -> list[Any]:
    return [fastmcp.FastMCP("tools"), MCPServer("tools")]


async def call(server: Any, tool: str, **arguments: Any) -> Any:
    if isinstance(server, MCPServer):
        return (await server.call_tool(tool, arguments)).structured_content
    async with fastmcp.Client(server) as client:
        return (await client.call_tool(tool, arguments)).structured_content


async def schema(server: Any) -> dict[str, Any]:
    (tool,) = await server.list_tools()
    if isinstance(server, MCPServer):
        return dict(tool.model_dump())
    return dict(tool.to_mcp_tool().model_dump())
