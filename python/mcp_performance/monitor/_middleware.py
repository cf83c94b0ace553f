"""Measures the requests of an ASGI application, and serves the figures."""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Iterable, MutableMapping
from typing import Any

from .._base._asgi import ASGIApp, Receive, Scope, Send
from .._base._checks import any_function, several
from ._endpoints import PREFIX, Endpoints, checked_prefix
from ._errors import client_left, error_name
from ._monitor import PerformanceMonitor, checked_monitor, monitor_or_new
from ._routes import RouteNames
from ._service import checked_workers
from ._spans import Spans

__all__ = ["PerformanceMiddleware", "performance_app"]

_logger = logging.getLogger("mcp_performance.middleware")
_REQUESTS_A_CHECK = 64  # whether the loop's timer runs


def _route_path(scope: Scope) -> str:
    """The path without what a server or a mount has taken off its front."""
    path: str = scope["path"]
    root = scope.get("root_path", "")
    return path[len(root) :] if root and path.startswith(root + "/") else path


class PerformanceMiddleware:
    """Wraps an ASGI application: records every HTTP request by method, route template and status, serves
    the performance endpoints below *prefix*, and closes *resources* when the application shuts down.

    WebSockets pass through, and how long each was open is among the
    ``operations``. The application's own errors are never masked. A response's start, the last
    piece of its body and the application's return are timed apart, so that background tasks and slow
    streams show as what they are.

    A request that passes several of these with one *monitor* (of an application and of one that is mounted
    in it) is counted once, by the outermost. An application whose framework leaves no route in the scope may
    name it in ``scope["mcp_performance.route"]``.

    ``GET {prefix}/metrics`` (JSON, or Prometheus text where ``Accept`` asks for it), ``/report``,
    ``/slow-queries?limit=20``, ``/cache-stats``, ``/health``, ``/history?step=1``, ``/events?step=1`` and
    ``POST {prefix}/analyze`` (``{"sql": "..."}``, at most 64 KiB and 5 seconds; the statement is explained,
    never run) and ``/advice`` (as JSON too; indexes for the statements that ran, tried on a copy, which
    takes a core for up to 10 seconds): none is served without *token* or *expose*. ``/dashboard`` is the
    page that shows them: it holds no figures, and asks for the token itself.

    Args:
        app: the application.
        monitor: where requests are recorded; ``None`` makes one.
        prefix: where the endpoints are.
        token: what ``Authorization: Bearer`` must carry.
        expose: serve the endpoints without a token, to whoever reaches the port.
        resources: objects with ``aclose()`` or ``close()``, sync or async; closed at lifespan shutdown,
            after the application has shut down, the last first.
        allow_hosts: ``Host`` names to accept besides addresses and names without a dot (other names could
            be rebound to this address by a hostile page).
        allow_origins: origins to accept besides the endpoints' own.
        rate_limit: requests to the endpoints a second on average, ``5 * rate_limit`` at once.
        workers: with whom to count together: ``"auto"`` for the workers that one server started (uvicorn,
            gunicorn, hypercorn, granian), the name of a service for processes that belong together otherwise,
            ``"off"`` for none. They share one file of 78 MiB in ``/dev/shm``, of which each of at most 32
            workers takes about 2 MiB of memory; ``?workers=each`` shows them apart.

    Raises:
        ConfigurationError: a bad argument, by name.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        monitor: PerformanceMonitor | None = None,
        prefix: str = PREFIX,
        token: str | None = None,
        expose: bool = False,
        resources: Iterable[Any] = (),
        allow_hosts: Iterable[str] = (),
        allow_origins: Iterable[str] = (),
        rate_limit: float = 20.0,
        workers: str = "auto",
    ) -> None:
        self.app = any_function("app", app)
        self.monitor = monitor_or_new(monitor)
        self._workers = checked_workers(workers)
        self._prefix = checked_prefix(prefix)
        self._below = self._prefix + "/"
        self._resources = list(several("resources", resources, "several objects"))
        for resource in self._resources:
            if not callable(getattr(resource, "aclose", None) or getattr(resource, "close", None)):
                raise TypeError(f"resources: {resource!r} has neither aclose() nor close()")
        self._endpoints = Endpoints(
            self.monitor,
            token=token,
            expose=expose,
            allow_hosts=allow_hosts,
            allow_origins=allow_origins,
            rate_limit=rate_limit,
        )
        self._serves = self._endpoints.enabled
        routes = RouteNames(app)
        self._known, self._resolve = routes.known, routes.name
        self._watch = self.monitor.requests.watch
        self._mark = self.monitor.mark
        self._until_check = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI entry."""
        if scope["type"] != "http":
            await self._pass(scope, receive, send)
            return
        if self._serves and self._below in scope["path"]:
            path = _route_path(scope)
            if path.startswith(self._below):
                self.monitor.join(self._workers)
                await self._endpoints.serve(path[len(self._prefix) :], scope, receive, send)
                return
        if self._mark in scope:  # counted by the middleware around this one
            await self.app(scope, receive, send)
            return
        # One frame for everything else: this is what each request pays.
        self._until_check -= 1
        if self._until_check < 0:  # asking for the running loop is a system call
            self._until_check = _REQUESTS_A_CHECK
            self.monitor.join(self._workers)
            self.monitor.loop_lag.watch()
            self.monitor.sampler.start()
        if self.monitor.spans is not None:
            await self._traced(self.monitor.spans, scope, receive, send)
            return
        root_path = scope.get("root_path", "")
        watch = scope[self._mark] = self._watch(send)
        error = ""
        try:
            await self.app(scope, receive, watch)
        except BaseException as raised:
            error = error_name(raised)
            raise
        finally:
            scope.pop(self._mark, None)
            if watch.status == 0 and not error:
                error = client_left(receive)
            watch.finish(scope, root_path, error, self._known, self._resolve)

    async def _traced(self, spans: Spans, scope: Scope, receive: Receive, send: Send) -> None:
        """The same inside of a span."""
        with spans.request(scope) as ended:
            root_path, error = scope.get("root_path", ""), ""
            watch = scope[self._mark] = self._watch(send)
            start = time.perf_counter()
            try:
                await self.app(scope, receive, watch)
            except BaseException as raised:
                error = error_name(raised)
                raise
            finally:
                took = time.perf_counter() - start
                scope.pop(self._mark, None)
                if watch.status == 0 and not error:
                    error = client_left(receive)
                watch.finish(scope, root_path, error, self._known, self._resolve)
                ended(self._resolve(scope, root_path), watch.status, error, took)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _Lifespan(self, receive, send).run(scope)
        elif scope["type"] == "websocket":
            await self._connection(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _connection(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A WebSocket passes through; how long it was open is counted under its route."""
        if self._mark in scope:
            await self.app(scope, receive, send)
            return
        self.monitor.join(self._workers)
        root_path, start, error = scope.get("root_path", ""), time.perf_counter(), ""
        scope[self._mark] = True
        try:
            await self.app(scope, receive, send)
        except BaseException as raised:
            error = error_name(raised)
            raise
        finally:
            took = time.perf_counter() - start
            scope.pop(self._mark, None)
            self.monitor.requests.operation(
                "connect", self._resolve(scope, root_path), "websocket", error, took
            )

    async def close(self) -> list[Exception]:
        """Close the resources, the last first; what failed. A failing one does not keep the others open."""
        failures: list[Exception] = []
        while self._resources:
            resource = self._resources.pop()
            try:
                closed = (getattr(resource, "aclose", None) or resource.close)()
                if inspect.isawaitable(closed):
                    await closed
            except Exception as failure:
                _logger.exception("%r could not be closed", resource)
                failures.append(failure)
        return failures


class _Lifespan:
    """One lifespan conversation: the application's own, with our shutdown at its end.

    An application that does not speak the protocol (it raises or returns before it has said a word) is
    spoken for, so that resources are closed all the same.
    """

    def __init__(self, owner: PerformanceMiddleware, receive: Receive, send: Send) -> None:
        self._owner = owner
        self._receive = receive
        self._send = send
        self._received = ""
        self._spoke = False

    async def run(self, scope: Scope) -> None:
        try:
            await self._owner.app(scope, self.receive, self.send)
        except Exception:
            if self._spoke or not self._owner._resources:
                raise
            _logger.debug("the application does not take part in the lifespan protocol", exc_info=True)
        if not self._spoke and self._owner._resources:
            await self._speak()

    async def receive(self) -> MutableMapping[str, Any]:
        message = await self._receive()
        self._received = message["type"]
        return message

    async def send(self, message: MutableMapping[str, Any]) -> None:
        self._spoke = True
        kind = message["type"]
        if kind == "lifespan.startup.complete":
            self._owner.monitor.join(self._owner._workers)
            self._owner.monitor.loop_lag.watch()
            self._owner.monitor.sampler.start()
        elif kind in ("lifespan.shutdown.complete", "lifespan.shutdown.failed", "lifespan.startup.failed"):
            self._owner.monitor.loop_lag.stop()
            self._owner.monitor.sampler.stop()
            failures = await self._owner.close()
            if failures and kind == "lifespan.shutdown.complete":
                message = {"type": "lifespan.shutdown.failed", "message": f"closing failed: {failures[0]!r}"}
        await self._send(message)

    async def _speak(self) -> None:
        if self._received == "":
            await self.receive()
        if self._received == "lifespan.startup":
            await self.send({"type": "lifespan.startup.complete"})
            await self.receive()
        await self.send({"type": "lifespan.shutdown.complete"})


def performance_app(
    monitor: PerformanceMonitor,
    *,
    token: str | None = None,
    expose: bool = False,
    allow_hosts: Iterable[str] = (),
    allow_origins: Iterable[str] = (),
    rate_limit: float = 20.0,
) -> ASGIApp:
    """The endpoints of :class:`PerformanceMiddleware` as an application to mount or to serve by itself.

    Returns:
        An ASGI application that answers what :class:`PerformanceMiddleware` names, below the path it is
        mounted at; 404 to all of it without *token* or *expose*.

    Raises:
        ConfigurationError: a bad argument, by name.
    """
    endpoints = Endpoints(
        checked_monitor(monitor),
        token=token,
        expose=expose,
        allow_hosts=allow_hosts,
        allow_origins=allow_origins,
        rate_limit=rate_limit,
    )

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            while (message := await receive())["type"] != "lifespan.shutdown":
                await send({"type": message["type"] + ".complete"})
            await send({"type": "lifespan.shutdown.complete"})
        elif scope["type"] == "http":
            await endpoints.serve(_route_path(scope), scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    return app
