"""The shapes that every cache of this package shares: its figures, and what a backend must offer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    from .cache import Cache

__all__ = ["CacheBackend", "CacheInfo", "CacheStats", "Ttl"]

Ttl: TypeAlias = float | timedelta | str | None
"""A lifetime: seconds, a :class:`~datetime.timedelta`, text such as ``"90s"``, ``"5m"`` or ``"1h30m"``,
or ``None`` for ever."""


class CacheInfo(NamedTuple):
    """What ``cache_info()`` answers, in the order of :func:`functools.lru_cache`."""

    hits: int
    misses: int
    maxsize: int | None
    currsize: int


@dataclass(frozen=True, slots=True)
class CacheStats:
    """Figures of one cache since it was made or its statistics were cleared."""

    hits: int = 0
    """Lookups that were answered from the cache."""
    misses: int = 0
    """Lookups that were not."""
    hit_rate: float = 0.0
    """``hits / (hits + misses)``; 0.0 when nothing was asked."""
    loads: int = 0
    """Loader calls that returned."""
    load_errors: int = 0
    """Loader calls that raised."""
    load_seconds: float = 0.0
    """Time spent in loaders, failed ones included."""
    evictions: int = 0
    """Entries displaced for want of room."""
    expirations: int = 0
    """Entries whose time ran out."""
    invalidations: int = 0
    """Entries removed by hand: deleted, cleared or invalidated by a tag."""
    stale_served: int = 0
    """Hits answered with a value past its time to live, inside ``stale_ttl``. Counted in ``hits`` too."""
    misses_cold: int = 0
    """Misses on keys that the cache does not remember."""
    misses_expired: int = 0
    """Misses on entries whose time had run out."""
    misses_evicted: int = 0
    """Misses on keys that were displaced a short while ago: a larger cache would have kept them."""
    currsize: int = 0
    """Entries held."""
    maxsize: int | None = None
    """Capacity: entries, or weight when the cache has a weigher; ``None`` for no bound."""
    weight: int = 0
    """Sum of the weights held; equals ``currsize`` without a weigher."""


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
