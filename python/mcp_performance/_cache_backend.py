"""How ``@cached(cache=backend)`` loads: through a backend that is no :class:`Cache`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from ._cache_types import CacheBackend

__all__ = ["attach", "make_loader"]

_MISSING: Any = object()


class Options(Protocol):
    """What a loader needs of the decorator's options."""

    ttl_ns: int | None
    ttl: Any
    ttl_of: Callable[[Any], int | None] | None
    condition: Callable[[Any], object] | None


def make_loader(
    backend: CacheBackend,
    function: Callable[..., Any],
    options: Options,
    tags_of: Callable[[Any, Any], Any] | None,
    is_async: bool,
) -> Callable[[Any, Any, Any], Any]:
    """``loader(key, args, kwargs)``: the backend's value, or the function's, stored in the backend."""

    def terms(value: Any, args: Any, kwargs: Any) -> dict[str, Any] | None:
        """Keywords for ``set``; ``None`` if the value is not to be stored."""
        if options.condition is not None and not options.condition(value):
            return None
        keywords: dict[str, Any] = {}
        if options.ttl_of is not None:
            lifetime = options.ttl_of(value)
            if lifetime == 0:
                return None
            keywords["ttl"] = None if lifetime is None else lifetime / 1e9
        elif options.ttl is not ...:
            keywords["ttl"] = None if options.ttl_ns is None else options.ttl_ns / 1e9
        if tags_of is not None:
            keywords["tags"] = tuple(tags_of(args, kwargs))
        return keywords

    def load(key: Any, args: Any, kwargs: Any) -> Any:
        value = backend.get(key, _MISSING)
        if value is _MISSING:
            value = function(*args, **kwargs)
            keywords = terms(value, args, kwargs)
            if keywords is not None:
                backend.set(key, value, **keywords)
        return value

    async def aload(key: Any, args: Any, kwargs: Any) -> Any:
        value = await backend.aget(key, _MISSING)
        if value is _MISSING:
            value = await function(*args, **kwargs)
            keywords = terms(value, args, kwargs)
            if keywords is not None:
                await backend.aset(key, value, **keywords)
        return value

    return aload if is_async else load


def attach(made: Any, backend: CacheBackend) -> None:
    """Let the methods of the cached function *made* that change or report entries speak of *backend*."""
    forget = made.cache_invalidate
    refresh = made.cache_refresh

    def cache_invalidate(*args: Any, **kwargs: Any) -> bool:
        """Forget the result for these arguments, in the backend too; whether there was one."""
        here = forget(*args, **kwargs)
        return backend.delete(made.cache_key(*args, **kwargs)) or here

    def cache_refresh(*args: Any, **kwargs: Any) -> Any:
        """Call the function now and store its result, whatever is cached."""
        cache_invalidate(*args, **kwargs)
        return refresh(*args, **kwargs)

    made._backend = backend
    made.cache_invalidate = cache_invalidate
    made.cache_refresh = cache_refresh
    made.stats = backend.stats
