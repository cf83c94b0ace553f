"""Requests that stand for others: the trace of one request for each bucket of a series."""

from __future__ import annotations

import bisect
import threading
from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["Exemplar", "Exemplars"]

_KEPT = 2048


class Exemplar(NamedTuple):
    """A request whose trace was kept."""

    trace_id: str
    span_id: str
    seconds: float
    time: float
    """Seconds since 1970."""


class Exemplars:
    """The newest exemplar of each bucket, those of this process. Bounded; safe from any thread."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._kept: dict[tuple[str, str, int, int], Exemplar] = {}
        self._lock = threading.Lock()

    def note(self, method: str, route: str, status: int, exemplar: Exemplar) -> None:
        """Keep *exemplar* for its bucket of the series."""
        key = method, route, status, bisect.bisect_left(self._bounds, exemplar.seconds)
        with self._lock:
            self._kept.pop(key, None)
            self._kept[key] = exemplar
            if len(self._kept) > _KEPT:
                del self._kept[next(iter(self._kept))]

    def of(self, route: Mapping[str, Any], bucket: int) -> Exemplar | None:
        """The one of that bucket of a series, or none."""
        return self._kept.get((route["method"], route["route"], route["status"], bucket))
