"""Which route a request took, as its template: ``/users/{id}``, never ``/users/17``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import unquote_to_bytes

__all__ = ["UNMATCHED", "RouteNames"]

UNMATCHED = "_UNMATCHED"
"""The one name of all requests that no route took."""

_REMEMBERED = 4096


class RouteNames:
    """Reads the template off a scope that the application has handled.

    Starlette and FastAPI leave the route in ``scope["route"]`` and what mounts consumed in
    ``scope["root_path"]``. The answer for each pair is remembered, within a bound. Frameworks that leave no
    route are asked one after the other (``_READERS``).
    """

    def __init__(self) -> None:
        # The names of routes that no mount led to, by id; the native recorder looks here first. The route
        # is kept beside its name, so that its id stays its own.
        self.known: dict[int, tuple[object, str]] = {}
        self._mounted: dict[tuple[int, str], tuple[object, str]] = {}

    def name(self, scope: MutableMapping[str, Any], root_path: str) -> str:
        """The template, in which *root_path* (the scope's, before the application saw it) has no part."""
        route = scope.get("route")
        if route is None:
            return next((name for read in _READERS if (name := read(scope))), UNMATCHED)
        # FastAPI's included routers: the route is the original one, the context knows its prefix.
        included = scope.get("fastapi")
        if included is not None:
            context = included.get("effective_route_context")
            if getattr(context, "original_route", None) is route:
                route = context
        root = scope.get("root_path", "")
        if root == root_path:
            known = self.known.get(id(route))
            if known is None:
                known = (route, _template(route) or UNMATCHED)
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


def _litestar(scope: MutableMapping[str, Any]) -> str:
    """Litestar leaves the template itself; of what it mounts, only the path that is left."""
    template = scope.get("path_template")
    if not isinstance(template, str):
        return ""
    if template:
        return template
    whole = unquote_to_bytes(scope["raw_path"]).decode(errors="replace").rstrip("/")
    rest: str = scope["path"].strip("/")
    return whole.removesuffix(rest).rstrip("/") + "/{path}"


_READERS: tuple[Callable[[MutableMapping[str, Any]], str], ...] = (_litestar,)
"""One a framework that leaves no route: the template in a scope that is the framework's, or nothing."""


def _template(route: object) -> str:
    text = getattr(route, "path_format", None) or getattr(route, "path", None)
    return text if isinstance(text, str) else ""


def _is_mount(route: object) -> bool:
    return hasattr(route, "path_regex") and hasattr(route, "routes")


def _mounted_template(scope: MutableMapping[str, Any], route: object, before: str, after: str) -> str:
    consumed = after.removeprefix(before)
    path = scope["path"].removeprefix(before)
    router = scope.get("router")
    prefix = _prefix(getattr(router, "routes", ()), path, consumed)
    if prefix is None:
        prefix = _masked(consumed, scope.get("path_params", {}))
    if _is_mount(route):  # the mounted application has no routes of its own; the mount is in the prefix
        return prefix + "/{path}"
    return prefix + _template(route)


def _prefix(routes: Iterable[object], path: str, consumed: str) -> str | None:
    """The templates of the chain of mounts that consumed *consumed* of *path*."""
    if not consumed:
        return ""
    for route in routes:
        inner = getattr(route, "routes", ())
        if hasattr(route, "host_regex"):
            found = _prefix(inner, path, consumed)
            if found is not None:
                return found
            continue
        if not _is_mount(route):
            continue
        match = route.path_regex.match(path)  # type: ignore[attr-defined]
        if match is None:
            continue
        rest = "/" + match.groupdict().get("path", "")
        matched = path[: len(path) - len(rest)]
        if consumed.startswith(matched):
            found = _prefix(inner, rest, consumed[len(matched) :])
            if found is not None:
                return _template(route).removesuffix("/{path}") + found
    return None


def _masked(prefix: str, params: MutableMapping[str, Any]) -> str:
    """*prefix* with the segments that are values of parameters replaced by their names."""
    names = {str(value): name for name, value in params.items()}
    segments = (f"{{{names[segment]}}}" if segment in names else segment for segment in prefix.split("/"))
    return "/".join(segments)
