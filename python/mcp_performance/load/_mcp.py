"""MCP tools as targets of a load test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from .._base._checks import mapping, text
from .._base._headers import headers_of
from ..errors import LoadTestError
from ._keywords import RequestKeywords
from ._scenario import Request

__all__ = ["McpTool", "ToolFailed", "mcp_request"]


class ToolFailed(LoadTestError):
    """The tool answered, and its answer says that it failed."""


class McpTool:
    """One tool of an MCP session, as a target: ``LoadTester(McpTool(session, "search", {"q": "x"}))``.

    Args:
        session: anything with ``await session.call_tool(name, arguments)``, such as the ``ClientSession``
            of the MCP SDK or FastMCP's ``Client`` and ``FastMCP`` itself. One session carries all users.
        name: of the tool.
        arguments: of every call.

    A result that is marked as an error counts as a failure of the kind ``ToolFailed``.
    """

    def __init__(self, session: Any, name: str, arguments: Mapping[str, Any] | None = None) -> None:
        if not callable(getattr(session, "call_tool", None)):
            raise TypeError(f"session={session!r}: expected something with call_tool(name, arguments)")
        self._session = session
        self._name = text("name", name)
        self._arguments = dict(mapping("arguments", arguments))
        self.__qualname__ = f"MCP tool {name}"

    async def __call__(self) -> None:
        result = await self._session.call_tool(self._name, dict(self._arguments))
        if getattr(result, "isError", False) or getattr(result, "is_error", False):
            raise ToolFailed(self._name)


def mcp_request(
    name: str,
    arguments: Mapping[str, Any] | None = None,
    *,
    path: str = "/mcp",
    headers: Mapping[str, str] | None = None,
    **options: Unpack[RequestKeywords],
) -> Request:
    """A ``tools/call`` over MCP's streamable HTTP, for the scenario of a URL.

    For servers that keep no sessions, or with ``headers={"Mcp-Session-Id": ...}`` of one that was
    opened before; :meth:`LoadTester.mcp` opens one for each user. *arguments* may have placeholders;
    *options* are those of :class:`Request`. A JSON-RPC error and a result that says it is one
    (``isError``) are failures.
    """
    message = {
        "jsonrpc": "2.0",
        "id": "{seq}",
        "method": "tools/call",
        "params": {"name": text("name", name), "arguments": dict(mapping("arguments", arguments))},
    }
    accept = {"Accept": "application/json, text/event-stream"}
    return Request(
        "POST",
        text("path", path, "a path that begins with /"),
        json=message,
        headers={**accept, **headers_of(headers)},
        name=f"MCP tool {name}",
        json_rpc=True,
        **options,
    )
