"""Idempotency keys for HTTP: a pure ASGI middleware."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterable
from typing import Any

import msgpack  # type: ignore[import-untyped]

from .._base._asgi import ASGIApp, BodyTooLarge, Disconnected, Message, Receive, Scope, Send, read_body
from .._base._checks import any_function, flag, instance, integer, text, texts
from ..errors import Error, InProgress, KeyReused
from ._principal import principal_of
from ._store import IdempotencyStore, Replay, Reservation, fingerprint_of

__all__ = ["IdempotencyMiddleware"]

_logger = logging.getLogger("mcp_performance.idempotency")
_LONGEST_KEY = 255
_PASSING = frozenset((401, 403, 407, 408, 421, 425, 429))
"""Statuses below 500 of requests that may be answered otherwise when they are repeated."""


class IdempotencyMiddleware:
    """Answers a repeated request with the first one's response: status, headers and body.

    Requests of *methods* that carry the header are identified by their key, their route (method, path and
    query) and their principal. What the application answers is stored before its last byte goes out, and
    replayed for the store's time to live, with ``idempotency-replayed: true``. An error of the server's, a
    401, 403, 407, 408, 421, 425 or 429, an exception or a disconnect before the end leaves no record: the
    repeat runs.

    The principal is the ``Authorization`` header, where there is one (or ``X-API-Key``, ``API-Key``,
    ``X-Auth-Token``, ``X-Access-Token``; all of them count), together with what *principal* names. A request
    without is told apart by what *principal* names, or by its ``Mcp-Session-Id`` and all its cookies, which
    are a new principal whenever one of them changes (an analytics cookie, say, between two tries): the first
    such request of a service that names none is logged as a warning.

    ==== ==================================================================================
    400  the key is empty, too long or not printable, or it is missing though *required*
    409  the first request is being served by another process, or (unless *wait*) by this one
    413  the request's body is larger than *max_body_bytes*
    422  the key was used with another body
    503  the store cannot be used: nothing was executed
    ==== ==================================================================================

    Args:
        app: the ASGI application.
        store: where responses are kept; one in this process's memory if not given.
        header: the header that carries the key.
        methods: the methods that it is read on.
        principal: the name of the cookie that says who calls, or several names; or a callable that tells
            callers apart by the ASGI scope, and decides alone.
        required: refuse requests of *methods* without a key.
        wait: let a repeat wait for the first request in this process.
        max_body_bytes: the largest request body, which is read as a whole, bytes.
        max_response_bytes: the largest response that is stored, bytes; a larger one passes unstored.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        store: IdempotencyStore | None = None,
        header: str = "Idempotency-Key",
        methods: Iterable[str] = ("POST", "PATCH"),
        principal: str | Iterable[str] | Callable[[Scope], str] | None = None,
        required: bool = False,
        wait: bool = True,
        max_body_bytes: int = 1 << 20,
        max_response_bytes: int = 1 << 20,
    ) -> None:
        text(
            "header",
            header,
            "the name of a header",
            fits=lambda name: name.isascii() and name.replace("-", "").isalnum(),
        )
        integer("max_body_bytes", max_body_bytes)
        integer("max_response_bytes", max_response_bytes)
        self.app = any_function("app", app)
        if store is not None:
            instance("store", store, IdempotencyStore, "an IdempotencyStore or None")
        self.store = IdempotencyStore() if store is None else store
        self._header = header.lower().encode()
        self._methods = frozenset(method.upper() for method in texts("methods", methods))
        self._principal = principal_of(principal)
        self._required = flag("required", required)
        self._wait = flag("wait", wait)
        self._max_body_bytes = max_body_bytes
        self._max_response_bytes = max_response_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http" or scope["method"] not in self._methods:
            return await self.app(scope, receive, send)
        keys = [value for name, value in scope["headers"] if name == self._header]
        if not keys:
            if not self._required:
                return await self.app(scope, receive, send)
            return await _refuse(send, 400, f"the header {self._header.decode()} is missing")
        if len(keys) > 1 or not _is_key(keys[0]):
            return await _refuse(
                send, 400, f"an idempotency key has 1 to {_LONGEST_KEY} printable characters"
            )
        try:
            body = await read_body(scope, receive, self._max_body_bytes)
        except BodyTooLarge:
            return await _refuse(send, 413, f"the body is larger than {self._max_body_bytes} bytes")
        except Disconnected:
            return None
        return await self._serve(scope, receive, send, keys[0], body)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, key: bytes, body: bytes) -> None:
        route = (
            scope["method"].encode(),
            scope["path"].encode("utf-8", "surrogatepass"),
            scope["query_string"],
        )
        kinds = [value for name, value in scope["headers"] if name == b"content-type"]
        principal: object = self._principal(scope)
        if not isinstance(principal, str):
            raise TypeError(f"principal= made a {type(principal).__qualname__}, expected str")
        name = fingerprint_of(principal.encode(), *route, key)
        try:
            found = await self.store.abegin(name, fingerprint_of(body, *kinds), wait=self._wait)
        except KeyReused:
            return await _refuse(send, 422, "this idempotency key was used with another request")
        except InProgress:
            return await _refuse(send, 409, "the first request with this key is being served", retry_after=1)
        except Error as error:
            _logger.error("a request was refused: %s", error)
            return await _refuse(send, 503, "idempotency keys cannot be checked now", retry_after=1)
        if isinstance(found, Replay):
            return await _replay(send, found.result)
        return await self._execute(scope, _Replayed(body, receive), send, found)

    async def _execute(self, scope: Scope, receive: Receive, send: Send, reservation: Reservation) -> None:
        recorder = _Recorder(send, reservation, self._max_response_bytes)
        try:
            await self.app(scope, receive, recorder)
        finally:
            if not recorder.is_stored:
                await reservation.arelease()


class _Replayed:
    """``receive`` for the application: the body that was read already, then what comes."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Message:
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}


class _Recorder:
    """``send`` for the application: passes the response on, and stores it before its last byte."""

    def __init__(self, send: Send, reservation: Reservation, limit: int) -> None:
        self._send = send
        self._reservation = reservation
        self._limit = limit
        self._start: Message | None = None
        self._parts: list[bytes] = []
        self._size = 0
        self._is_storable = True
        self.is_stored = False

    async def __call__(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start":
            self._start = message
            status = message["status"]
            self._is_storable = status < 500 and status not in _PASSING and not message.get("trailers", False)
        elif kind == "http.response.body" and self._is_storable:
            await self._record(message)
        elif kind not in ("http.response.body", "http.response.debug"):
            self._is_storable = False  # an extension that sends what is not seen here
        await self._send(message)

    async def _record(self, message: Message) -> None:
        part = bytes(message.get("body", b""))
        self._size += len(part)
        if self._size > self._limit:
            self._is_storable = False
            self._parts.clear()
            return
        self._parts.append(part)
        if message.get("more_body", False) or self._start is None or self.is_stored:
            return
        headers = [[bytes(name), bytes(value)] for name, value in self._start.get("headers", ())]
        response = msgpack.packb([self._start["status"], headers, b"".join(self._parts)])
        self.is_stored = True
        await asyncio.shield(asyncio.ensure_future(self._reservation.acomplete(response)))


async def _replay(send: Send, stored: bytes) -> None:
    try:
        status, headers, body = msgpack.unpackb(stored, use_list=False)
        start: dict[str, Any] = {"type": "http.response.start", "status": int(status)}
        start["headers"] = [(bytes(name), bytes(value)) for name, value in headers]
        start["headers"].append((b"idempotency-replayed", b"true"))
        message = {"type": "http.response.body", "body": bytes(body)}
    except Exception as error:  # the storage may hold anything
        _logger.error("a stored response cannot be read: %r", error)
        return await _refuse(send, 503, "the stored response cannot be read")
    await send(start)
    await send(message)
    return None


async def _refuse(send: Send, status: int, detail: str, *, retry_after: int | None = None) -> None:
    body = json.dumps({"status": status, "detail": detail}).encode()
    headers = [(b"content-type", b"application/problem+json"), (b"content-length", b"%d" % len(body))]
    if retry_after is not None:
        headers.append((b"retry-after", b"%d" % retry_after))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _is_key(key: bytes) -> bool:
    return 0 < len(key) <= _LONGEST_KEY and all(0x21 <= byte <= 0x7E for byte in key)
