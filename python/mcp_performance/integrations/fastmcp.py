"""Measures a FastMCP server, and caches its resources and the tools that are named.

``mcp.add_middleware(PerformanceMiddleware())`` is all of it.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping
from typing import Any

from .. import config
from .._base._checks import function
from .._base._durations import nanoseconds
from .._base._stats import Ttl
from ..cache import Cache
from ..monitor import PerformanceMonitor
from ..monitor._monitor import monitor_or_new
from ..monitor._service import checked_workers
from ._extras import missing
from ._operations import Operations, is_error

try:
    from fastmcp.server.dependencies import get_access_token
    from fastmcp.server.middleware import Middleware
except ModuleNotFoundError as error:
    raise missing(error, "fastmcp", "fastmcp") from None

__all__ = ["PerformanceMiddleware", "current_user"]


def current_user() -> Hashable:
    """Whoever the access token of the request stands for; ``None`` without one."""
    token = get_access_token()
    if token is None:
        return None
    claims = getattr(token, "claims", None) or {}
    subject = getattr(token, "subject", None) or claims.get("sub")
    return token.client_id, claims.get("iss"), subject, tuple(sorted(token.scopes))


class _NotKept(Exception):
    """Carries a result that must not be stored to all who waited for it."""

    def __init__(self, result: Any) -> None:
        super().__init__(result)
        self.result = result


def _ttls(cache_tools: Iterable[str] | Mapping[str, Ttl]) -> dict[str, Ttl]:
    if isinstance(cache_tools, str | bytes) or not isinstance(cache_tools, Iterable):
        raise TypeError(f"cache_tools={cache_tools!r}: expected names of tools, or a mapping to lifetimes")
    lifetimes: dict[str, Ttl] = (
        dict(cache_tools)
        if isinstance(cache_tools, Mapping)
        else dict.fromkeys(cache_tools, config.CACHE_TTL)
    )
    for name, ttl in lifetimes.items():
        if not isinstance(name, str):
            raise TypeError(f"cache_tools: {name!r}: expected the name of a tool")
        nanoseconds(f"cache_tools[{name!r}]", ttl)
    return lifetimes


def _continues(context: Any) -> bool:
    """Whether the request answers a question of an earlier one: it is part of a conversation of its own."""
    for holder in (context.message, context.fastmcp_context):
        for name in ("input_responses", "request_state"):
            if getattr(holder, name, None) is not None:
                return True
    return False


def _asks(result: Any) -> bool:
    return "InputRequired" in type(result).__name__


class PerformanceMiddleware(Middleware):
    """Counts calls, errors and times of each tool, resource (by its template) and prompt in ``operations`` of
    the monitor's figures; a tool that raises and one whose result says ``isError`` have failed. Caches
    resources, and the tools that are named.

    Concurrent requests for one entry run once. Errors are never stored.

    Args:
        monitor: where calls are counted; ``None`` makes one.
        cache_tools: names of tools whose results depend on nothing but their arguments and the user, and that
            change nothing; or a mapping of them to lifetimes. ``config.CACHE_TTL`` unless given.
        resource_ttl: how long a resource is kept; ``0`` not at all.
        user: what tells one user's entries from another's, asked at each request; :func:`current_user` reads
            the access token. ``None`` lets all users share.
        maxsize: entries held, tools and resources together.
        workers: see :class:`mcp_performance.PerformanceMiddleware`.

    Raises:
        ConfigurationError: a bad argument, by name.
    """

    def __init__(
        self,
        monitor: PerformanceMonitor | None = None,
        cache_tools: Iterable[str] | Mapping[str, Ttl] = (),
        resource_ttl: Ttl = 300,
        *,
        user: Callable[[], Hashable] | None = current_user,
        maxsize: int = 1024,
        workers: str = "auto",
    ) -> None:
        self.monitor = monitor_or_new(monitor)
        self._tools = _ttls(cache_tools)
        self._keeps_resources = nanoseconds("resource_ttl", resource_ttl, zero=True) != 0
        self._resource_ttl = resource_ttl
        self._user = None if user is None else function("user", user)
        self.cache: Cache[Hashable, Any] = Cache(maxsize, name="mcp")
        """What is kept; ``cache.clear()`` drops it."""
        self._operations = Operations(self.monitor, checked_workers(workers))

    async def on_call_tool(self, context: Any, call_next: Any) -> Any:
        """Count the call; answer it from the cache if the tool is one of those that are."""
        name = context.message.name

        async def declared() -> str | None:
            return name if await context.fastmcp_context.fastmcp.get_tool(name) is not None else None

        async def call() -> Any:
            if name not in self._tools:
                return await call_next(context)
            return await self._cached("tool", name, self._tools[name], context, call_next)

        return await self._counted("tools/call", name, declared, call, context)

    async def on_read_resource(self, context: Any, call_next: Any) -> Any:
        """Count the read; answer it from the cache."""
        uri = str(context.message.uri)

        async def declared() -> str | None:
            server = context.fastmcp_context.fastmcp
            template = await _found(server.get_resource_template, uri)
            if template is not None:
                return str(template.uri_template)
            return uri if await _found(server.get_resource, uri) is not None else None

        async def call() -> Any:
            if not self._keeps_resources:
                return await call_next(context)
            return await self._cached("resource", uri, self._resource_ttl, context, call_next)

        return await self._counted("resources/read", uri, declared, call, context)

    async def on_get_prompt(self, context: Any, call_next: Any) -> Any:
        """Count it."""
        name = context.message.name

        async def declared() -> str | None:
            return name if await context.fastmcp_context.fastmcp.get_prompt(name) is not None else None

        return await self._counted("prompts/get", name, declared, lambda: call_next(context), context)

    async def _counted(self, method: str, name: str, declared: Any, call: Any, context: Any) -> Any:
        server = getattr(context.fastmcp_context, "fastmcp", None)
        arguments = getattr(context.message, "arguments", None)
        return await self._operations.count(method, name, declared, call, server=server, arguments=arguments)

    async def _cached(self, kind: str, name: str, ttl: Ttl, context: Any, call_next: Any) -> Any:
        key = self._key(kind, name, context)
        if key is None:
            return await call_next(context)

        async def load(_: Hashable) -> Any:
            result = await call_next(context)
            if is_error(result) or _asks(result):
                raise _NotKept(result)
            return result

        try:
            kept = await self.cache.aget_or_load(key, load, ttl=ttl)
        except _NotKept as refused:
            return refused.result
        return copy.deepcopy(kept)  # outer middlewares may change what they get

    def _key(self, kind: str, name: str, context: Any) -> Hashable | None:
        if _continues(context):
            return None
        message = context.message
        meta = getattr(message, "meta", None) or {}
        version = meta.get("fastmcp") if isinstance(meta, Mapping) else getattr(meta, "fastmcp", None)
        try:
            arguments = json.dumps(getattr(message, "arguments", None) or {}, sort_keys=True)
            user = None if self._user is None else self._user()
            hash(user)
        except (TypeError, ValueError):  # from a client in this process: what JSON cannot say
            return None
        server = id(context.fastmcp_context.fastmcp) if context.fastmcp_context is not None else 0
        return kind, name, arguments, str(version), user, server


async def _found(get: Callable[[str], Awaitable[Any]], name: str) -> Any:
    try:
        return await get(name)
    except Exception:  # FastMCP 2 raises where later ones answer None
        return None
