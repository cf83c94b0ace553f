"""Measures Flask, and any other WSGI: ``app.wsgi_app = PerformanceMiddleware(app.wsgi_app)``."""

from __future__ import annotations

import asyncio
import http.client
import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..monitor import PerformanceMonitor
from ..monitor._errors import error_name
from ..monitor._monitor import monitor_or_new
from ..monitor._service import checked_workers
from ._served import MOST_BYTES, Response, Served, headers_of
from ._wsgi import NAMED, Body, Exchange

__all__ = ["PerformanceMiddleware"]

_DEPTH = 32  # of applications inside each other


class PerformanceMiddleware:
    """Wraps a WSGI application: counts every request by method, route and status, with the other workers.

    A Flask application's routes are named by their rules, ``/users/<id>``, blueprints, static files and what
    ``DispatcherMiddleware`` mounts too, whatever middleware is in between; a failure by the exception that
    became a response of status 500. Other applications may name theirs in
    ``environ["mcp_performance.route"]``; all else is one name.

    Args:
        app: the WSGI application, ``flask_app.wsgi_app`` for Flask.
        monitor: where requests are counted; ``None`` makes one.
        workers: see :class:`mcp_performance.PerformanceMiddleware`.
        endpoints: ``token`` or ``expose`` serve the endpoints and the page, as there; ``prefix``,
            ``allow_hosts``, ``allow_origins`` and ``rate_limit`` too.

    Raises:
        ConfigurationError: a bad argument, by name.
    """

    def __init__(
        self,
        app: Callable[..., Iterable[bytes]],
        *,
        monitor: PerformanceMonitor | None = None,
        workers: str = "auto",
        **endpoints: Any,
    ) -> None:
        if not callable(app):
            raise TypeError(f"app={app!r}: expected a WSGI application")
        self.app = app
        self.monitor = monitor_or_new(monitor)
        self._workers = checked_workers(workers)
        self._served = Served(self.monitor, **endpoints)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """The WSGI entry."""
        if not _listening:
            _listen_to_flask()
        self.monitor.join(self._workers)
        self.monitor.sampler.start()
        path = environ.get("PATH_INFO", "").encode("latin-1", "replace").decode(errors="replace")
        if self._served.takes(path):
            return self._serve(path, environ, start_response)
        if self.monitor.mark in environ:  # counted by the middleware around this one
            return self.app(environ, start_response)
        exchange = environ[self.monitor.mark] = Exchange(
            self.monitor, environ.get("REQUEST_METHOD", ""), environ.get("wsgi.url_scheme", "http")
        )
        environ[_EXCHANGE] = exchange, self.app, environ.get("SCRIPT_NAME", "")

        def started(status: Any, *rest: Any, **named: Any) -> Any:
            write = start_response(status, *rest, **named)  # raises where another one was sent already
            exchange.started(_code_of(status))
            return write

        def end(error: str) -> None:
            environ.pop(self.monitor.mark, None)
            named = environ.get(NAMED)
            if isinstance(named, str):
                exchange.route = named
            exchange.end(error)

        try:
            return Body(self.app(environ, started), end)
        except BaseException as raised:
            end(error_name(raised))
            raise

    def _serve(self, path: str, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        if self.monitor.mark in environ:
            environ[self.monitor.mark].discard()
        length = str(environ.get("CONTENT_LENGTH") or "0")
        most = min(int(length[:20]), MOST_BYTES) if length.isascii() and length.isdecimal() else 0
        body = environ["wsgi.input"].read(most) if most else b""
        method, query = environ["REQUEST_METHOD"], environ.get("QUERY_STRING", "")
        answer = _run(self._served.answer(method, path, query, headers_of(environ), body))
        phrase = http.client.responses.get(answer.status, "")
        start_response(f"{answer.status} {phrase}", answer.headers)
        return [answer.body]


def _run(answering: Coroutine[Any, Any, Response]) -> Response:
    """What *answering* returns; on a thread of its own where a loop runs on this one, as in an async test."""
    if asyncio._get_running_loop() is None:
        return asyncio.run(answering)
    with ThreadPoolExecutor(1, "mcp-endpoint") as thread:
        return thread.submit(asyncio.run, answering).result()


def _code_of(status: Any) -> int:
    """0 where it is none: the server judges that."""
    code = status[:3] if isinstance(status, str) else ""
    return int(code) if code.isascii() and code.isdecimal() else 0


_EXCHANGE = "mcp_performance.exchange"
_listening = False


def _listen_to_flask() -> None:
    """Flask says which rule it matched while it has the request; afterwards it has let go of it."""
    global _listening
    flask: Any = sys.modules.get("flask")
    if not _listening and hasattr(flask, "got_request_exception"):
        _listening = True
        flask.request_started.connect(_matched, weak=False)
        flask.got_request_exception.connect(_raised, weak=False)


def _matched(flask: Any, **_: Any) -> None:
    request = sys.modules["flask"].request
    found = request.environ.get(_EXCHANGE)
    if found is None:
        return
    exchange, app, root = found
    rule = request.url_rule or _refused_rule(flask, request.environ)
    if rule is not None:
        inner = request.environ.get("SCRIPT_NAME", "")
        prefix = _declared_prefix(app, inner[len(root) :]) if inner.startswith(root) else ""
        exchange.route = prefix + str(rule.rule)


def _raised(flask: Any, exception: BaseException, **_: Any) -> None:
    found = sys.modules["flask"].request.environ.get(_EXCHANGE)
    if found is not None:
        found[0].raised = error_name(exception)


def _refused_rule(flask: Any, environ: dict[str, Any]) -> Any:
    """The rule that took the path and refused the method."""
    try:
        adapter = flask.url_map.bind_to_environ(environ)
        methods = adapter.allowed_methods()
        return adapter.match(method=next(iter(methods)), return_rule=True)[0] if methods else None
    except Exception:  # of the application's own converters, or a redirect
        return None


def _declared_prefix(app: Any, prefix: str) -> str:
    """What of *prefix* Werkzeug's ``DispatcherMiddleware`` has declared; the rest came from a header."""
    for _ in range(_DEPTH):
        mounts = getattr(app, "mounts", None)
        if isinstance(mounts, Mapping):
            for path, mounted in mounts.items():
                if path and (prefix == path or prefix.startswith(path + "/")):
                    return str(path) + _declared_prefix(mounted, prefix[len(path) :])
        app = getattr(app, "app", None) or getattr(app, "wsgi_app", None) or getattr(app, "__self__", None)
        if not prefix or app is None:
            break
    return ""
