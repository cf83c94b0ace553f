"""Measures a server of the MCP Python SDK: ``MCPServer(..., middleware=[PerformanceMiddleware()])``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..monitor import PerformanceMonitor
from ..monitor._monitor import monitor_or_new
from ..monitor._service import checked_workers
from ._extras import missing
from ._operations import Operations

try:
    import mcp  # noqa: F401
except ModuleNotFoundError as error:
    raise missing(error, "mcp", "mcp") from None

__all__ = ["PerformanceMiddleware"]

_NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}


class PerformanceMiddleware:
    """Counts calls, errors and times of each tool, resource and prompt in ``operations`` of the monitor's
    figures; a tool whose result says ``isError`` has failed. It observes and changes nothing.

    Args:
        server: the ``MCPServer``, which knows its tools, resources and prompts; what it has not declared is
            counted together, and so is everything where it is not given before the first call.
        monitor: where calls are counted; ``None`` makes one.
        workers: see :class:`mcp_performance.PerformanceMiddleware`.
    """

    def __init__(
        self, server: Any = None, monitor: PerformanceMonitor | None = None, *, workers: str = "auto"
    ) -> None:
        self.monitor = monitor_or_new(monitor)
        self.server = server
        self._operations = Operations(self.monitor, checked_workers(workers))

    async def __call__(self, context: Any, call_next: Any) -> Any:
        """The entry of the SDK's middleware."""
        parameter = _NAMED.get(context.method)
        if parameter is None:
            return await call_next(context)
        given = context.params.get(parameter) if isinstance(context.params, Mapping) else None
        name = given if isinstance(given, str) else ""

        async def declared() -> str | None:
            return await _declared(self.server, context.method, name)

        arguments = context.params.get("arguments") if isinstance(context.params, Mapping) else None
        return await self._operations.count(
            context.method,
            name,
            declared,
            lambda: call_next(context),
            server=self.server or self,
            arguments=arguments,
        )


async def _declared(server: Any, method: str, name: str) -> str | None:
    if server is None:
        return None
    if method == "tools/call":
        return name if name in {tool.name for tool in await server.list_tools()} else None
    if method == "prompts/get":
        return name if name in {prompt.name for prompt in await server.list_prompts()} else None
    if name in {str(resource.uri) for resource in await server.list_resources()}:
        return name
    for template in server._resource_manager.list_templates():
        if template.matches(name) is not None:
            return str(template.uri_template)
    return None
