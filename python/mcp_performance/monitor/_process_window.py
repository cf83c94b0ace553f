"""CPU use of this process over the last minute, from cheap readings of its clocks."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from .. import _core

__all__ = ["ProcessWindow"]

_WINDOW = 60.0
_SPACING = 1.0


class _Reading(NamedTuple):
    at: float
    cpu_seconds: float
    throttled_seconds: float


class ProcessWindow:
    """Readings of the last minute, at least a second apart; the oldest one before it is kept as a base.

    Where nothing reads for longer than a minute, the window is that much longer.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        read: Callable[[], dict[str, Any]] = _core.process_stats,
        read_cpu: Callable[[], tuple[float, float]] = _core.cpu_times,
    ) -> None:
        self._clock = clock
        self._read = read
        self._read_cpu = read_cpu
        self._start_anew()
        _windows.add(self)

    def _start_anew(self) -> None:
        """Also in a forked child: its clocks are its own, and whoever held the lock may not be there."""
        self._lock = threading.Lock()
        self._readings = deque([_Reading(self._clock(), *self._read_cpu())])

    def note(self) -> None:
        """Take a reading, unless one was taken within the last second. Cheap."""
        if self._clock() - self._readings[-1].at >= _SPACING:
            self._add(_Reading(self._clock(), *self._read_cpu()))

    def _add(self, now: _Reading) -> _Reading:
        """The reading at the start of the window that ends *now*."""
        with self._lock:
            while len(self._readings) > 1 and self._readings[1].at <= now.at - _WINDOW:
                self._readings.popleft()
            if now.at - self._readings[-1].at >= _SPACING:
                self._readings.append(now)
            return self._readings[0]

    def look(self) -> dict[str, Any]:
        """The figures of ``process_stats()`` and, over the window, ``cpu_percent`` (of the cores that may
        be used), ``cpu_used_cores``, ``throttled_share`` (0 to 1), ``window_seconds`` and ``samples``."""
        stats = self._read()
        now = _Reading(self._clock(), stats["cpu_seconds"], stats["throttled_seconds"])
        base = self._add(now)
        seconds = now.at - base.at
        used = (now.cpu_seconds - base.cpu_seconds) / seconds if seconds > 0 else 0.0
        throttled = (now.throttled_seconds - base.throttled_seconds) / seconds if seconds > 0 else 0.0
        total = stats["memory_limit_bytes"]
        return {
            **stats,
            "cpu_used_cores": used,
            "cpu_percent": 100.0 * used / stats["cpu_cores"],
            "memory_percent": 100.0 * stats["memory_used_bytes"] / total if total else 0.0,
            "throttled_share": throttled,
            "window_seconds": seconds,
            "samples": len(self._readings),
        }


_windows: weakref.WeakSet[ProcessWindow] = weakref.WeakSet()


def _start_all_anew() -> None:
    for window in list(_windows):
        window._start_anew()


os.register_at_fork(after_in_child=_start_all_anew)
