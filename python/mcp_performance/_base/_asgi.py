"""The types of ASGI 3."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

__all__ = ["ASGIApp", "BodyTooLarge", "Disconnected", "Message", "Receive", "Scope", "Send", "read_body"]

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


class BodyTooLarge(Exception):
    """A request has a longer body than is taken."""


class Disconnected(Exception):
    """The client left before its request was whole."""


async def read_body(scope: Scope, receive: Receive, most: int) -> bytes:
    """The whole body of a request, of *most* bytes at most.

    Raises:
        BodyTooLarge: it is longer, or says that it will be; then nothing more is received.
        Disconnected: the client has left.
    """
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value[:20]) > most:
            raise BodyTooLarge
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise Disconnected
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > most:
            raise BodyTooLarge
        if not message.get("more_body", False):
            return b"".join(parts)
