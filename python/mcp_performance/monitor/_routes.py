"""Which route a request took, as its template: ``/users/{id}``, never ``/users/17``.

A name is made of templates that the application declared, and of nothing that a request brought along.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from typing import Any

from .. import _core
from ._routes_litestar import litestar_route, whole_path

__all__ = ["NAMED", "UNMATCHED", "RouteNames", "declared_route"]

UNMATCHED = _core.LABEL_UNMATCHED
"""The one name of all requests that no route took."""

_REMEMBERED = 4096
_DEPTH = 32  # of applications inside each other
_REST = "/{path}"


class RouteNames:
    """Reads the template off a scope that the application has handled.

    Starlette and FastAPI leave the route in ``scope["route"]`` and what mounts consumed in
    ``scope["root_path"]``; the answer for each pair is remembered, within a bound. Where they leave no
    route (a mount of FastAPI, a middleware that copied the scope, an older Starlette), the declared routes of
    *app* are asked which of them takes the path. Before that other frameworks are asked, one after the other
    (``_READERS``).
    """

    def __init__(self, app: object = None) -> None:
        # The names of routes that no mount led to, by id; the native recorder looks here first. The route
        # is kept beside its name, so that its id stays its own.
        self.known: dict[int, tuple[object, str]] = {}
        self._mounted: dict[tuple[int, str], tuple[object, str]] = {}
        self._app = app

    def name(self, scope: MutableMapping[str, Any], root_path: str) -> str:
        """The template, in which *root_path* (the scope's, before the application saw it) has no part."""
        route = scope.get("route")
        inner = "" if route is None or _is_mount(route) else _template_of(route)
        for read in _READERS:
            if (found := read(scope, self._app, inner)) is not None:
                return self._consumed(scope, root_path) + found
        if route is None:
            return self._declared(scope, root_path)
        # FastAPI's included routers: the route is the original one, the context knows its prefix.
        included = scope.get("fastapi")
        if included is not None:
            context = included.get("effective_route_context")
            if getattr(context, "original_route", None) is route:
                route = context
        root = scope.get("root_path", "")
        if _is_mount(route) and _inner(route):  # what is mounted was reached, but left no route of its own
            return self._declared(scope, root_path, None)
        if root == root_path:
            known = self.known.get(id(route))
            if known is None:
                known = (route, _template_of(route) or self._declared(scope, root_path))
                if len(self.known) < _REMEMBERED:
                    self.known[id(route)] = known
            return known[1]
        key = (id(route), root)
        known = self._mounted.get(key)
        if known is None:
            known = (route, _mounted_template(scope, route, root_path, root))
            if len(self._mounted) < _REMEMBERED:
                self._mounted[key] = known
        return known[1]

    def _consumed(self, scope: MutableMapping[str, Any], root_path: str) -> str:
        """The templates of the mounts that led to an application of another framework."""
        consumed = scope.get("root_path", "").removeprefix(root_path)
        routes = _routes_of(scope.get("router")) or _routes_of(self._app)
        return _prefix(routes, whole_path(scope).removeprefix(root_path), consumed) or ""

    def _declared(self, scope: MutableMapping[str, Any], root_path: str, endpoint: object = ...) -> str:
        path = scope.get("path")
        if not isinstance(path, str):
            return UNMATCHED
        if root_path and path.startswith(root_path):
            path = path[len(root_path) :]
        host = next((value for name, value in scope.get("headers", ()) if name == b"host"), b"")
        endpoint = scope.get("endpoint") if endpoint is ... else endpoint
        request = _Request(scope.get("method"), host.decode("latin-1"), endpoint)
        routes = _routes_of(scope.get("router")) or _routes_of(self._app)
        return declared_route(routes, path, request) or UNMATCHED


NAMED = "mcp_performance.route"
"""Where an application, or a middleware in it that knows its routes, names the template."""


def _named(scope: MutableMapping[str, Any], app: object, inner: str) -> str | None:
    name = scope.get(NAMED)
    return name if isinstance(name, str) else None


_Reader = Callable[[MutableMapping[str, Any], object, str], str | None]
_READERS: tuple[_Reader, ...] = (_named, litestar_route)
"""One a framework: of a *scope* that it has handled, the application that the middleware wraps, and the
template of a route that an application in it has left (or ``""``), the template below whatever mounts led to
the framework; ``None`` where the scope is not the framework's."""


class _Request:
    """What decides between routes besides the path."""

    def __init__(self, method: str | None, host: str, endpoint: object) -> None:
        self.method = method
        self.host = host.partition(":")[0].lower()
        self.endpoint = endpoint

    def reaches(self, route: object) -> bool:
        """Whether *route* leads to the endpoint, as far as the scope tells which one that was."""
        if self.endpoint is None:
            return True
        ends = (getattr(route, "endpoint", None), getattr(route, "app", None))
        return any(end is self.endpoint for end in ends)

    def concerns(self, route: object) -> bool:
        """Routes of WebSockets have no methods, not even none."""
        return hasattr(route, "methods") == (self.method is not None)

    def allowed(self, route: object) -> bool:
        methods = getattr(route, "methods", None)
        return not methods or self.method in methods


def _template_of(route: object) -> str:
    text = getattr(route, "path_format", None) or getattr(route, "path", None)
    return text if isinstance(text, str) else ""


def _is_mount(route: object) -> bool:
    return hasattr(route, "path_regex") and hasattr(route, "routes")


def _is_host(route: object) -> bool:
    return hasattr(route, "host_regex")


def _routes_of(app: object) -> Iterable[object]:
    """The routes of the first application that has some, from *app* inwards."""
    for _ in range(_DEPTH):
        if app is None:
            break
        routes = getattr(app, "routes", None)
        if isinstance(routes, list | tuple):
            return routes
        app = getattr(app, "app", None)
    return ()


def _flat(routes: Iterable[object]) -> Iterator[object]:
    """*routes*, with those of FastAPI's included routers under their full paths."""
    for route in routes:
        included = getattr(route, "effective_route_contexts", None)
        if included is None:
            yield route
        else:
            for context in included():
                yield getattr(context, "starlette_route", None) or context


def _match(route: object, path: str) -> re.Match[str] | None:
    regex = getattr(route, "path_regex", None)
    return regex.match(path) if isinstance(regex, re.Pattern) else None


def declared_route(routes: Iterable[object], path: str, request: _Request) -> str | None:
    """The template of the route among *routes* that takes *path*; one that refuses the method only where no
    other takes it."""
    refusing: str | None = None
    for route in _flat(routes):
        found: str | None = None
        if _is_host(route):
            if route.host_regex.match(request.host):  # type: ignore[attr-defined]
                found = declared_route(_inner(route), path, request)
                if found is None and request.reaches(route):
                    found = _REST
        elif (match := _match(route, path)) is None:
            continue
        elif _is_mount(route):
            found = _below_mount(route, match, request)
        elif not request.concerns(route) or not request.reaches(route):
            continue
        elif request.allowed(route):
            found = _template_of(route)
        else:
            refusing = refusing or _template_of(route)
        if found is not None:
            return found
    return refusing


def _inner(route: object) -> Iterable[object]:
    return getattr(route, "routes", None) or _routes_of(getattr(route, "app", None))


def _prefix_of(mount: object) -> str:
    return _template_of(mount).removesuffix(_REST)


def _below_mount(mount: object, match: re.Match[str], request: _Request) -> str | None:
    rest = "/" + match.groupdict().get("path", "")
    found = declared_route(_inner(mount), rest, request)
    if found is not None:
        return _prefix_of(mount) + found
    return _prefix_of(mount) + _REST if request.reaches(mount) else None


def _mounted_template(scope: MutableMapping[str, Any], route: object, before: str, after: str) -> str:
    consumed = after.removeprefix(before)
    path = scope["path"].removeprefix(before)
    prefix = _prefix_behind(_routes_of(scope.get("router")), path, consumed)
    if _is_mount(route):  # the mounted application has no routes of its own; the mount is in the prefix
        return prefix + _REST
    if _is_host(route):
        return _REST
    return prefix + _template_of(route)


def _prefix_behind(routes: Iterable[object], path: str, consumed: str) -> str:
    """As :func:`_prefix`, where the application itself may have taken something off the front before its
    mounts (its ``root_path``), which is no part of a declared route."""
    while consumed:
        found = _prefix(routes, path, consumed)
        if found is not None:
            return found
        taken = consumed.find("/", 1)
        if taken < 0 or not path.startswith(consumed[:taken]):
            break
        path, consumed = path[taken:], consumed[taken:]
    return ""


def _prefix(routes: Iterable[object], path: str, consumed: str) -> str | None:
    """The templates of the chain of mounts that consumed *consumed* of *path*."""
    if not consumed:
        return ""
    for route in _flat(routes):
        if _is_host(route):
            found = _prefix(_inner(route), path, consumed)
            if found is not None:
                return found
            continue
        if not _is_mount(route) or (match := _match(route, path)) is None:
            continue
        rest = "/" + match.groupdict().get("path", "")
        matched = path[: len(path) - len(rest)]
        if consumed.startswith(matched):
            found = _prefix(_inner(route), rest, consumed[len(matched) :])
            if found is not None:
                return _prefix_of(route) + found
    return None
