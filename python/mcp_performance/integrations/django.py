"""Measures a Django project, over WSGI and ASGI, and caches for it.

``"mcp_performance.integrations.django.PerformanceMiddleware"`` first in ``MIDDLEWARE``, and
``"BACKEND": "mcp_performance.integrations.django.Cache"`` in ``CACHES``.
"""

from __future__ import annotations

import copy
import inspect
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import Any

from ..cache import Cache as _NativeCache
from ..monitor import PerformanceMonitor
from ..monitor._errors import error_name
from ..monitor._service import checked_workers
from ._extras import missing
from ._served import MOST_BYTES, Served, headers_of
from ._wsgi import UNMATCHED, CountedOutside, Exchange

try:
    from asgiref.sync import async_to_sync, markcoroutinefunction
    from django.conf import settings  # type: ignore[import-untyped]
    from django.core.cache.backends.base import (  # type: ignore[import-untyped]
        DEFAULT_TIMEOUT,
        BaseCache,
    )
    from django.http import HttpResponse  # type: ignore[import-untyped]
except ModuleNotFoundError as error:
    raise missing(error, "django", "django") from None

__all__ = ["Cache", "PerformanceMiddleware", "monitor"]

_lock = threading.Lock()
_monitor: PerformanceMonitor | None = None


def monitor() -> PerformanceMonitor:
    """Where this process counts its requests: ``settings.MCP_PERFORMANCE_MONITOR``, or one of its own."""
    global _monitor
    with _lock:
        chosen = _monitor or getattr(settings, "MCP_PERFORMANCE_MONITOR", None) or PerformanceMonitor()
        _monitor = chosen
        return chosen


class PerformanceMiddleware:
    """Counts every request by method, route (``/users/<int:id>/``, as it was declared), status, and what a
    view raised where that became status 500; together with the other workers
    (``settings.MCP_PERFORMANCE_WORKERS``, see :class:`mcp_performance.PerformanceMiddleware`).

    ``settings.MCP_PERFORMANCE_ENDPOINTS = {"token": "..."}`` serves the endpoints and the page, as there;
    ``prefix``, ``expose``, ``allow_hosts``, ``allow_origins`` and ``rate_limit`` too.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self.get_response = get_response
        self.monitor = monitor()
        self._workers = checked_workers(getattr(settings, "MCP_PERFORMANCE_WORKERS", "auto"))
        self._served = Served(self.monitor, **getattr(settings, "MCP_PERFORMANCE_ENDPOINTS", {}))
        self._is_async = inspect.iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: Any) -> Any:
        """Django's entry."""
        if self._is_async:
            return self._respond(request)
        if self._served.takes(request.path_info):
            return async_to_sync(self._serve)(request)
        exchange = self._begin(request)
        try:
            response = self.get_response(request)
        except BaseException as raised:
            _end(exchange, request, None, error_name(raised))
            raise
        return _watched(exchange, request, response)

    async def _serve(self, request: Any) -> HttpResponse:
        counted = _carrier(request).get(self.monitor.mark)
        if counted is not None:
            counted.discard()
        self.monitor.join(self._workers)
        self.monitor.sampler.start()
        body = request.read(MOST_BYTES) if request.method == "POST" else b""
        query = request.META.get("QUERY_STRING", "")
        answer = await self._served.answer(
            request.method, request.path_info, query, headers_of(request.META), body
        )
        return HttpResponse(answer.body, status=answer.status, headers=dict(answer.headers))

    async def _respond(self, request: Any) -> Any:
        if self._served.takes(request.path_info):
            return await self._serve(request)
        exchange = self._begin(request)
        try:
            response = await self.get_response(request)
        except BaseException as raised:
            _end(exchange, request, None, error_name(raised))
            raise
        return _watched(exchange, request, response)

    def _begin(self, request: Any) -> Exchange | CountedOutside:
        self.monitor.join(self._workers)
        self.monitor.sampler.start()
        carrier = _carrier(request)
        if self.monitor.mark in carrier:
            return CountedOutside(carrier)
        exchange = Exchange(self.monitor, request.method or "", request.scheme or "http")
        carrier[self.monitor.mark] = request._mcp_performance = exchange
        return exchange

    def process_exception(self, request: Any, exception: BaseException) -> None:
        """Django's hook: what a response of status 500 will be made of."""
        exchange = getattr(request, "_mcp_performance", None)
        if exchange is not None:
            exchange.raised = error_name(exception)


def _carrier(request: Any) -> Any:
    """What travels with *request* through whatever lies around Django: the ASGI scope or the WSGI environ."""
    return getattr(request, "scope", request.META)


def _watched(exchange: Exchange | CountedOutside, request: Any, response: Any) -> Any:
    exchange.started(response.status_code)
    if not getattr(response, "streaming", False):
        _end(exchange, request, response, "")
        return response

    def end(error: str = "") -> None:
        _end(exchange, request, response, error)

    # It ends when the server has taken all of it, or closes it; ASGI's does not close what failed.
    close = response.close

    def closed() -> None:
        try:
            close()
        except BaseException as raised:
            end(error_name(raised))
            raise
        end()

    response.close = closed
    if getattr(response, "file_to_stream", None) is None:  # else the server may send the file by itself
        parts = _aparts if response.is_async else _parts
        response.streaming_content = parts(response.streaming_content, end)
    return response


def _parts(content: Iterable[bytes], end: Callable[[str], None]) -> Iterator[bytes]:
    error = ""
    try:
        yield from content
    except GeneratorExit:
        raise
    except BaseException as raised:
        error = error_name(raised)
        raise
    finally:
        end(error)


async def _aparts(content: AsyncIterable[bytes], end: Callable[[str], None]) -> AsyncIterator[bytes]:
    error = ""
    try:
        async for part in content:
            yield part
    except GeneratorExit:
        raise
    except BaseException as raised:
        error = error_name(raised)
        raise
    finally:
        end(error)


def _end(exchange: Exchange | CountedOutside, request: Any, response: Any, error: str) -> None:
    match = getattr(request, "resolver_match", None)
    if match is not None:
        exchange.route = "/" + match.route.lstrip("^")
    elif response is None or response.status_code != 404:
        exchange.route = UNMATCHED
    exchange.end(error)


_caches: dict[tuple[str, int], _NativeCache[str, Any]] = {}


class Cache(BaseCache):  # type: ignore[misc]
    """Django's cache over the native one, in the memory of this process; values that can change are copied,
    as ``locmem`` does.

    ``OPTIONS``: ``MAX_ENTRIES`` (1024 unless given). ``LOCATION`` names the cache: those of one name are one.
    """

    def __init__(self, name: str, params: dict[str, Any]) -> None:
        super().__init__(params)
        options = params.get("OPTIONS", {})
        size = int(options.get("MAX_ENTRIES", params.get("MAX_ENTRIES", 1024)))
        with _lock:
            key = (name or "default", size)
            if key not in _caches:
                _caches[key] = _NativeCache(size, name=f"django:{name or 'default'}")
            self._cache = _caches[key]

    def _key(self, key: Any, version: Any) -> str:
        return str(self.make_and_validate_key(key, version=version))

    def _ttl(self, timeout: Any) -> float | None:
        """Seconds; 0 for what has expired at once."""
        if timeout is DEFAULT_TIMEOUT:
            timeout = self.default_timeout
        return None if timeout is None else max(0.0, float(timeout))

    def _store(self, key: str, value: Any, timeout: Any) -> None:
        ttl = self._ttl(timeout)
        if ttl == 0:
            self._cache.delete(key)
        else:
            self._cache.set(key, _copy(value), ttl=ttl)

    def get(self, key: Any, default: Any = None, version: Any = None) -> Any:
        """Django's."""
        found = self._cache.get(self._key(key, version), _MISSING)
        return default if found is _MISSING else _copy(found)

    def set(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: Any = None) -> None:
        """Django's."""
        self._store(self._key(key, version), value, timeout)

    def add(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: Any = None) -> bool:
        """Django's."""
        made = self._key(key, version)
        with _lock:
            if self._cache.get(made, _MISSING) is not _MISSING:
                return False
            self._store(made, value, timeout)
            return True

    def incr(self, key: Any, delta: int = 1, version: Any = None) -> int:
        """Django's: the lifetime stays."""
        made = self._key(key, version)
        with _lock:
            value = self._cache.get(made, _MISSING)
            if value is _MISSING:
                raise ValueError(f"Key '{key}' not found")
            left = self._cache.expires_in(made)
            changed: int = value + delta
            self._cache.set(made, changed, ttl=left)
            return changed

    def touch(self, key: Any, timeout: Any = DEFAULT_TIMEOUT, version: Any = None) -> bool:
        """Django's."""
        made, ttl = self._key(key, version), self._ttl(timeout)
        return self._cache.delete(made) if ttl == 0 else self._cache.touch(made, ttl=ttl)

    def delete(self, key: Any, version: Any = None) -> bool:
        """Django's."""
        return self._cache.delete(self._key(key, version))

    def has_key(self, key: Any, version: Any = None) -> bool:
        """Django's."""
        return self._key(key, version) in self._cache

    def clear(self) -> None:
        """Django's."""
        self._cache.clear()


_MISSING: Any = object()
_PLAIN: Iterable[type[Any]] = (str, bytes, int, float, bool, complex, type(None))


def _copy(value: Any) -> Any:
    return value if type(value) in _PLAIN else copy.deepcopy(value)
