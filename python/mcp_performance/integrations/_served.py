"""The performance endpoints for servers that speak WSGI: each answer whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any, NamedTuple

from ..monitor import PerformanceMonitor
from ..monitor._endpoints import PREFIX, Endpoints, checked_prefix

__all__ = ["MOST_BYTES", "Response", "Served", "headers_of"]

MOST_BYTES = (1 << 16) + 1
"""Of a body: one more than is taken."""


class Response(NamedTuple):
    """A whole response."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


def headers_of(environ: Mapping[str, Any]) -> list[tuple[bytes, bytes]]:
    """The headers that *environ* (or Django's ``META``) holds."""
    found = [
        (name[5:].replace("_", "-").lower().encode(), str(value).encode("latin-1", "replace"))
        for name, value in environ.items()
        if name.startswith("HTTP_")
    ]
    for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if environ.get(name):
            found.append(
                (name.replace("_", "-").lower().encode(), str(environ[name]).encode("latin-1", "replace"))
            )
    return found


class Served:
    """The endpoints of *monitor* below *prefix*; ``/events`` says what there is and ends, and the page asks
    again. See :class:`mcp_performance.PerformanceMiddleware` for the arguments."""

    def __init__(
        self,
        monitor: PerformanceMonitor,
        *,
        prefix: str = PREFIX,
        token: str | None = None,
        expose: bool = False,
        allow_hosts: Iterable[str] = (),
        allow_origins: Iterable[str] = (),
        rate_limit: float = 20.0,
    ) -> None:
        self._prefix = checked_prefix(prefix)
        self._endpoints = Endpoints(
            monitor,
            token=token,
            expose=expose,
            allow_hosts=allow_hosts,
            allow_origins=allow_origins,
            rate_limit=rate_limit,
        )

    def takes(self, path: str) -> bool:
        """Whether *path* is one of the endpoints'."""
        return self._endpoints.enabled and path.startswith(self._prefix + "/")

    async def answer(
        self, method: str, path: str, query: str, headers: list[tuple[bytes, bytes]], body: bytes
    ) -> Response:
        """What the endpoint at *path* says."""
        received = iter([{"type": "http.request", "body": body, "more_body": False}])
        status, fields, parts = 500, list[tuple[str, str]](), list[bytes]()

        async def receive() -> MutableMapping[str, Any]:
            return next(received, {"type": "http.disconnect"})

        async def send(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                fields.extend((name.decode(), value.decode("latin-1")) for name, value in message["headers"])
            else:
                parts.append(message.get("body", b""))

        scope: dict[str, Any] = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query.encode("latin-1", "replace"),
            "headers": headers,
        }
        await self._endpoints.serve(path[len(self._prefix) :], scope, receive, send)
        return Response(status, fields, b"".join(parts))
