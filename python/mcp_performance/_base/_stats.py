"""The figures that every cache of this package has, and how a lifetime is written."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple, TypeAlias

__all__ = ["CacheInfo", "CacheStats", "Ttl"]

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
    """Misses on keys whose time had run out, and that did not come back since."""
    misses_evicted: int = 0
    """Misses on keys that were displaced a short while ago: a larger cache would have kept them."""
    currsize: int = 0
    """Entries that live, as iteration shows them: neither what has expired nor remembered failures."""
    maxsize: int | None = None
    """Capacity: entries, or weight when the cache has a weigher; ``None`` for no bound."""
    weight: int = 0
    """Sum of the weights of these entries; equals ``currsize`` without a weigher."""
