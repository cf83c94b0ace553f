"""What a cache that is no :class:`Cache` must offer, and how ``@cached(cache=backend)`` loads through it."""

from __future__ import annotations

from collections.abc import Coroutine, Iterable
from typing import Any, Protocol, runtime_checkable

from .._base._stats import CacheStats, Ttl
from ..errors import ConfigurationError
from ._cache import Cache

__all__ = ["CacheBackend", "LifetimeBackend", "attach", "check_options", "make_adapter"]

_MISSING: Any = object()


@runtime_checkable
class CacheBackend(Protocol):
    """What ``@cached(cache=...)`` needs of a cache that is not a :class:`Cache`.

    :class:`TieredCache` is one. The decorator calls the plain methods for sync functions and the ones with
    an ``a`` for coroutine functions. Keys are tuples: the function's name first, then its normalised
    arguments. Concurrent misses of one key in one process are already folded into one load. Failures
    (*negative_ttl*) are remembered in the process, not here.
    """

    @property
    def name(self) -> str | None:
        """What to call this cache in reports."""
        ...

    @property
    def memory(self) -> Cache[Any, Any] | None:
        """The in-process cache in front, or ``None``.

        Hits on it are answered natively, without a call of :meth:`get`. The backend keeps it filled
        (in :meth:`get` and :meth:`set`) and coherent: :meth:`delete` and :meth:`invalidate_tags` pass on
        to it what they forget, which also keeps a load that began before from being stored or joined.
        Without a memory only ``cache_invalidate()`` of the function itself does that.
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

    def aget(self, key: Any, default: Any = None) -> Coroutine[Any, Any, Any]:
        """:meth:`get` without blocking the event loop."""
        ...

    def aset(
        self, key: Any, value: Any, *, ttl: Ttl = ..., tags: Iterable[str] = ()
    ) -> Coroutine[Any, Any, None]:
        """:meth:`set` without blocking the event loop."""
        ...

    def adelete(self, key: Any) -> Coroutine[Any, Any, bool]:
        """:meth:`delete` without blocking the event loop."""
        ...

    def invalidate_tags(self, *tags: str) -> int:
        """Forget every entry that carries one of *tags*; how many were known to."""
        ...

    def stats(self) -> CacheStats:
        """Figures of the backend as a whole."""
        ...


@runtime_checkable
class LifetimeBackend(Protocol):
    """A :class:`CacheBackend` that also says how long its values still live. :class:`TieredCache` is one."""

    @property
    def ttl(self) -> float | None:
        """The lifetime of values that are stored without one, seconds."""
        ...

    def _look_behind(self, key: Any, cause: int, stale: float, load: float) -> Found: ...

    async def _alook_behind(self, key: Any, cause: int, stale: float, load: float) -> Found: ...

    def _look_again(self, key: Any, lease: Any) -> tuple[bool, Any]: ...

    async def _alook_again(self, key: Any, lease: Any) -> tuple[bool, Any]: ...

    def _store_behind(self, key: Any, value: Any, terms: Terms, lease: Any, scope: str) -> None: ...

    async def _astore_behind(self, key: Any, value: Any, terms: Terms, lease: Any, scope: str) -> None: ...

    def _withdraw(self, key: Any, lease: Any) -> None: ...

    async def _awithdraw(self, key: Any, lease: Any) -> None: ...

    def _begin_scope(self, scope: str) -> None: ...

    def _end_scope(self, scope: str) -> None: ...


class Options(Protocol):
    """What is needed of the decorator's options."""

    ttl: Any
    stale_ns: int
    refresh_ahead: float
    jitter: float


def check_options(backend: CacheBackend, options: Options) -> None:
    """Refuse what *backend* cannot do.

    Raises:
        ConfigurationError: the message names the option and the reason.
    """
    if isinstance(backend, LifetimeBackend):
        return
    for name, value in (("stale_ttl", options.stale_ns / 1e9), ("refresh_ahead", options.refresh_ahead)):
        if value:
            raise ConfigurationError(
                f"{name}={value!r}: {backend!r} does not say, as TieredCache does, how long values live on"
            )
    if options.jitter and options.ttl is ...:
        raise ConfigurationError(
            f"jitter={options.jitter!r}: expected ttl= too, since {backend!r} has its own"
        )


def make_adapter(backend: CacheBackend, options: Options, scope: str) -> _Adapter:
    """What the native core asks for values behind the memory of *backend*. *scope* names the function."""
    if isinstance(backend, LifetimeBackend):
        return _LifetimeAdapter(backend, options, scope)
    return _Adapter(backend, options)


Found = tuple[bool, Any, bool, Any]
"""Whether there is a value, the value, whether it is stale, and what lets the load that follows be stored."""
Terms = tuple[float | None, float, tuple[str, ...], float]
"""How to store a value: for how long, how long it may be stale after that, under which tags, and how long it
took to load, seconds; 0.0 where that is of no interest."""
_NOTHING: Found = (False, None, False, None)
_MISS = 0
"""_core's word for the cause of a load that looks behind the memory; for the others it is there that a newer
value is wanted."""


class _Adapter:
    """Looks a key up behind the memory, stores it there, and takes back what an invalidation overtook."""

    def __init__(self, backend: CacheBackend, options: Options) -> None:
        self._backend: Any = backend
        self._has_own_ttl = options.ttl is ... and not options.jitter and not options.stale_ns

    def look(self, key: Any, cause: int) -> Found:
        if cause != _MISS:
            return _NOTHING
        value = self._backend.get(key, _MISSING)
        return _NOTHING if value is _MISSING else (True, value, False, None)

    async def alook(self, key: Any, cause: int) -> Found:
        if cause != _MISS:
            return _NOTHING
        value = await self._backend.aget(key, _MISSING)
        return _NOTHING if value is _MISSING else (True, value, False, None)

    def store(self, key: Any, value: Any, terms: Terms, lease: Any) -> None:
        self._backend.set(key, value, **self._keywords(terms))

    async def astore(self, key: Any, value: Any, terms: Terms, lease: Any) -> None:
        await self._backend.aset(key, value, **self._keywords(terms))

    def forget(self, key: Any, lease: Any) -> None:
        self._backend.delete(key)

    async def aforget(self, key: Any, lease: Any) -> None:
        await self._backend.adelete(key)

    def clear(self) -> None:
        """Forget what is behind the memory, as far as the backend can."""

    def _keywords(self, terms: Terms) -> dict[str, Any]:
        ttl, stale, tags, _ = terms
        keywords: dict[str, Any] = {}
        if not self._has_own_ttl:
            keywords["ttl"] = None if ttl is None else ttl + stale
        if tags:
            keywords["tags"] = tags
        return keywords


class _LifetimeAdapter(_Adapter):
    """Knows by its remaining lifetime whether a value is stale, and how long loads take by the last one."""

    def __init__(self, backend: LifetimeBackend, options: Options, scope: str) -> None:
        super().__init__(backend, options)  # type: ignore[arg-type]
        self._stale = options.stale_ns / 1e9
        self._load = 0.0
        self._scope = scope
        backend._begin_scope(scope)

    def look(self, key: Any, cause: int) -> Found:
        found: Found = self._backend._look_behind(key, cause, self._stale, self._load)
        return found

    async def alook(self, key: Any, cause: int) -> Found:
        found: Found = await self._backend._alook_behind(key, cause, self._stale, self._load)
        return found

    def look_again(self, key: Any, lease: Any) -> tuple[bool, Any]:
        """Whether there is a value, and the value, now that the load under *lease* has failed."""
        found: tuple[bool, Any] = self._backend._look_again(key, lease)
        return found

    async def alook_again(self, key: Any, lease: Any) -> tuple[bool, Any]:
        found: tuple[bool, Any] = await self._backend._alook_again(key, lease)
        return found

    def store(self, key: Any, value: Any, terms: Terms, lease: Any) -> None:
        self._load = terms[3]
        self._backend._store_behind(key, value, terms, lease, self._scope)

    async def astore(self, key: Any, value: Any, terms: Terms, lease: Any) -> None:
        self._load = terms[3]
        await self._backend._astore_behind(key, value, terms, lease, self._scope)

    def forget(self, key: Any, lease: Any) -> None:
        self._backend._withdraw(key, lease)

    async def aforget(self, key: Any, lease: Any) -> None:
        await self._backend._awithdraw(key, lease)

    def clear(self) -> None:
        self._backend._end_scope(self._scope)


def attach(made: Any, backend: CacheBackend, adapter: _Adapter) -> None:
    """Let the methods of the cached function *made* that change or report entries speak of *backend*."""
    forget = made.cache_invalidate
    clear = made.cache_clear

    def cache_invalidate(*args: Any, **kwargs: Any) -> bool:
        """Forget the result for these arguments, in the backend too; whether there was one."""
        here = forget(*args, **kwargs)  # also fences the load under way, before the backend forgets
        there = backend.delete(made.cache_key(*args, **kwargs))
        forget(*args, **kwargs)  # and one that has read the backend in between
        return there or here

    def cache_clear() -> None:
        """Forget all results of the function, in a :class:`TieredCache` those of other processes too."""
        clear()
        adapter.clear()
        clear()

    made._backend = backend
    made.cache_invalidate = cache_invalidate
    made.cache_clear = cache_clear
    made.stats = backend.stats
