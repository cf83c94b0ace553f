"""Caches that processes share: :class:`RedisTier`, :class:`SQLiteTier`; :class:`TieredCache` in front."""

from __future__ import annotations

from ._redis import RedisTier, TierStats
from ._sqlite import SQLiteTier
from ._tiered import TieredCache

__all__ = ["RedisTier", "SQLiteTier", "TierStats", "TieredCache"]
