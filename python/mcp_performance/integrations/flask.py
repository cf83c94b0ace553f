"""Measures Flask, and any other WSGI: ``app.wsgi_app = PerformanceMiddleware(app.wsgi_app)``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ..monitor import PerformanceMonitor
from ..monitor._service import checked_workers
from ._wsgi import UNMATCHED, Body, Exchange

__all__ = ["PerformanceMiddleware"]


class PerformanceMiddleware:
    """Wraps a WSGI application: counts every request by method, route and status, with the other workers.

    A Flask application's routes are named by their rules, ``/users/<id>``, blueprints and static files too.
    Other applications may name theirs in ``environ["mcp_performance.route"]``; all else is one name.

    Args:
        app: the WSGI application, ``flask_app.wsgi_app`` for Flask.
        monitor: where requests are counted; ``None`` makes one.
        workers: see :class:`mcp_performance.PerformanceMiddleware`.

    Raises:
        ConfigurationError: a bad argument, by name.
    """

    def __init__(
        self,
        app: Callable[..., Iterable[bytes]],
        *,
        monitor: PerformanceMonitor | None = None,
        workers: str = "auto",
    ) -> None:
        if not callable(app):
            raise TypeError(f"app={app!r}: expected a WSGI application")
        if monitor is not None and not isinstance(monitor, PerformanceMonitor):
            raise TypeError(f"monitor={monitor!r}: expected a PerformanceMonitor or None")
        self.app = app
        self.monitor = PerformanceMonitor() if monitor is None else monitor
        self._workers = checked_workers(workers)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """The WSGI entry."""
        self.monitor.join(self._workers)
        self.monitor.sampler.start()
        exchange = Exchange(
            self.monitor, environ.get("REQUEST_METHOD", ""), environ.get("wsgi.url_scheme", "http")
        )

        def started(status: str, headers: Any, *info: Any) -> Any:
            exchange.started(int(status[:3]))
            return start_response(status, headers, *info)

        def end(error: str) -> None:
            exchange.route = _route_of(self.app, environ)
            exchange.end(error)

        try:
            return Body(self.app(environ, started), end)
        except BaseException as raised:
            end(type(raised).__name__)
            raise


def _route_of(app: Any, environ: dict[str, Any]) -> str:
    named = environ.get("mcp_performance.route")
    if isinstance(named, str):
        return named
    request = environ.get("werkzeug.request")  # Flask leaves it, and in it the rule that it matched
    rule = getattr(request, "url_rule", None)
    if rule is not None:
        return str(rule.rule)
    flask = getattr(app, "__self__", None)  # a bound wsgi_app; 405 leaves no rule
    if not hasattr(flask, "url_map"):
        return UNMATCHED
    return _refused_rule(flask, environ) or UNMATCHED


def _refused_rule(flask: Any, environ: dict[str, Any]) -> str | None:
    """The rule that took the path and refused the method."""
    adapter = flask.url_map.bind_to_environ(environ)
    try:
        methods = adapter.allowed_methods()
        rule, _ = adapter.match(method=next(iter(methods)), return_rule=True) if methods else (None, {})
    except Exception:  # of the application's own converters, or a redirect
        return None
    return None if rule is None else str(rule.rule)
