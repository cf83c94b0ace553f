"""Caches in the process: :class:`Cache`, :func:`cached`, :func:`cached_method`, :func:`lru_cache`."""

from __future__ import annotations

from .._base._stats import CacheInfo, CacheStats
from ._backend import CacheBackend
from ._cache import Cache
from ._cached import cached, cached_method, lru_cache

__all__ = [
    "Cache",
    "CacheBackend",
    "CacheInfo",
    "CacheStats",
    "cached",
    "cached_method",
    "lru_cache",
]
