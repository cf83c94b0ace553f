"""Caches that processes share: :class:`RedisTier`, and :class:`TieredCache` with memory in front of it."""

from __future__ import annotations

from ._redis_tier import RedisTier, TierStats
from ._tiered_cache import TieredCache

__all__ = ["RedisTier", "TierStats", "TieredCache"]
