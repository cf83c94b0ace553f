"""Figures of a running process: what it uses, how it answers, what its caches and databases do, and
what would help."""

from __future__ import annotations

from ._monitor import PerformanceMonitor
from ._recommend import Recommendation

__all__ = [
    "PerformanceMonitor",
    "Recommendation",
]
