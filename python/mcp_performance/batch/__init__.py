"""Batches: one function over many items, and many callers in one call.

:class:`BatchProcessor` runs a function over items on native threads, on the loop or on any
executor. :func:`batched` gathers the items of many awaiting callers into one call.
"""

from __future__ import annotations

from ._batched import Batched, BatchedFuture, batched
from ._gil import GilBoundWarning
from ._processor import BatchProcessor
from ._results import BatchItem, BatchResult

__all__ = [
    "BatchItem",
    "BatchProcessor",
    "BatchResult",
    "Batched",
    "BatchedFuture",
    "GilBoundWarning",
    "batched",
]
