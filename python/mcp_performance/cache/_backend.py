"""What a cache that is no :class:`Cache` must offer, and how ``@cached(cache=backend)`` loads through it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol, runtime_checkable

from .._base._stats import CacheStats, Ttl
from ._cache import Cache

__all__ = ["CacheBackend", "attach", "make_loader"]

_MISSING: Any = object()


@runtime_checkable
class CacheBackend(Protocol):
    """What ``@cached(cache=...)`` needs of a cache that is not a :class:`Cache`.

    :class:`TieredCache` is one. The decorator calls the plain methods for sync functions and the ones with
    an ``a`` for coroutine functions. Keys are tuples: the function's name first, then its normalised
    arguments. Concurrent misses of one key in one process are already folded into one load.
    """

    @property
    def name(self) -> str | None:
        """What to call this cache in reports."""
        ...

    @property
    def memory(self) -> Cache[Any, Any] | None:
        """The in-process cache in front, or ``None``.

        Hits on it are answered natively, without a call of :meth:`get`. The backend keeps it filled
        (in :meth:`get` and :meth:`set`) and coherent.
        """
        ...

    def get(self, key: Any, default: Any = None) -> Any:
        """The value of *key*, or *default*."""
        ...

    def set(self, key: Any, value: Any, *, ttl: Ttl = ..., tags: Iterable[str] = ()) -> None:
        """Store *value*; without *ttl*, for the backend's own time to live."""
        ...

    def delete(self, key: Any) -> bool:
        """Forget *key*; whether there was something to forget."""
        ...

    async def aget(self, key: Any, default: Any = None) -> Any:
        """:meth:`get` without blocking the event loop."""
        ...

    async def aset(self, key: Any, value: Any, *, ttl: Ttl = ..., tags: Iterable[str] = ()) -> None:
        """:meth:`set` without blocking the event loop."""
        ...

    async def adelete(self, key: Any) -> bool:
        """:meth:`delete` without blocking the event loop."""
        ...

    def invalidate_tags(self, *tags: str) -> int:
        """Forget every entry that carries one of *tags*; how many were known to."""
        ...

    def stats(self) -> CacheStats:
        """Figures of the backend as a whole."""
        ...


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
