"""Caches in the process: :class:`Cache`, :func:`cached`, :func:`lru_cache` and their figures."""

from __future__ import annotations

from ._cache_types import CacheBackend, CacheInfo, CacheStats

__all__ = ["CacheBackend", "CacheInfo", "CacheStats"]
