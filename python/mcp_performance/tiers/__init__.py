"""Caches that processes share: :class:`RedisTier`, and :class:`TieredCache` with memory in front of it."""

from __future__ import annotations

from ._redis import RedisTier, TierStats
from ._tiered import TieredCache

__all__ = ["RedisTier", "TierStats", "TieredCache"]
