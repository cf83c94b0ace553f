"""Which route a request took in Litestar, which says so in words of its own."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any
from urllib.parse import unquote_to_bytes

__all__ = ["litestar_route", "whole_path"]


def whole_path(scope: MutableMapping[str, Any]) -> str:
    """The path as it was asked for: Litestar changes the one in *scope*."""
    raw = scope.get("raw_path") or scope["path"].encode()
    return unquote_to_bytes(raw).decode(errors="replace")


def litestar_route(scope: MutableMapping[str, Any], _app: object, inner: str) -> str | None:
    """The template that Litestar left in *scope*, below what led to Litestar; of an application that it
    mounts with *inner*, the template of that one. ``None`` where *scope* is not Litestar's."""
    if "litestar_app" not in scope and "path_template" not in scope:
        return None
    template = scope.get("path_template")
    if isinstance(template, str):
        return template or _mount(scope) + (inner or "/{path}")
    if inner:
        return None
    path = whole_path(scope).removeprefix(scope.get("root_path", ""))
    return _refused(scope.get("litestar_app"), path, scope.get("method"))


def _mount(scope: MutableMapping[str, Any]) -> str:
    """What Litestar took off the front of the path; its mounts have no parameters."""
    whole = whole_path(scope).removeprefix(scope.get("root_path", "")).rstrip("/")
    return whole.removesuffix(scope["path"].strip("/")).rstrip("/")


def _refused(app: Any, path: str, method: str | None) -> str | None:
    """The template that takes *path* and refused *method*: Litestar leaves none then."""
    parts = [part for part in path.split("/") if part]
    for route in getattr(app, "routes", ()):
        methods = getattr(route, "methods", None)
        if methods and method not in methods and _takes(route.path_components, parts):
            return str(route.path_format)
    return None


def _takes(components: list[Any], parts: list[str]) -> bool:
    return len(components) == len(parts) and all(
        component == part
        for component, part in zip(components, parts, strict=True)
        if isinstance(component, str)
    )
