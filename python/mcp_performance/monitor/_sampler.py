"""Looks at the figures once a second, and keeps them."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, Protocol

from .. import _core
from ._history import STEPS, Counters, History, Key, Step

__all__ = ["Sampler", "Source"]

_logger = logging.getLogger("mcp_performance.monitor")
_IDLE_LOOKS = 300  # before what nobody asks for is forgotten
_PERCENTILES = ("p50", "p95", "p99")


class Source(Protocol):
    """Whose figures are kept."""

    @property
    def requests(self) -> _core.RequestMetrics: ...

    def current(self) -> dict[str, Any]:
        """``process``, ``caches`` and ``pools``, as in ``PerformanceMonitor.metrics()``."""
        ...


class _Look:
    """What happened since the last look, for the points of one step."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self.number: int | None = None
        self._at = 0.0
        self._requests = _core.RequestWindow()
        self._counters = Counters()
        self._idle: dict[tuple[str, str], int] = {}

    def begin(self, source: Source, current: dict[str, Any], at: float, number: int) -> None:
        self.number, self._at = number, at
        self.figures(source, current, at)

    def figures(self, source: Source, current: dict[str, Any], at: float) -> dict[Key, float]:
        seconds = max(at - self._at, 1e-3)
        self._at = at
        found: dict[Key, float] = {}
        asked = self._requests.advance(source.requests)
        self._requested("requests", "", asked, seconds, found)
        for group, named in (("route", asked["routes"]), ("operation", asked["operations"])):
            for name, figures in named.items():
                self._requested(group, name, figures, seconds, found)
        self._idled(found)
        if asked["loop_lag"]["count"]:
            found[Key("loop", "", "p99", "s")] = asked["loop_lag"]["p99_seconds"]
        self._process(current["process"], seconds, found)
        names: set[tuple[str, str]] = {("process", "")}
        for group, observed in (("cache", current["caches"]), ("pool", current["pools"])):
            for one in observed:
                names.add((group, one["name"]))
                self._observed(group, one, seconds, found)
        self._counters.forget_others(names)
        return found

    def _requested(
        self, group: str, name: str, figures: dict[str, Any], seconds: float, found: dict[Key, float]
    ) -> None:
        found[Key(group, name, "rate", "1/s")] = figures["count"] / seconds
        found[Key(group, name, "errors", "1/s")] = figures["errors"] / seconds
        if figures["count"]:  # without requests there are no response times: a gap
            for percentile in _PERCENTILES:
                found[Key(group, name, percentile, "s")] = figures[f"{percentile}_seconds"]

    def _idled(self, found: dict[Key, float]) -> None:
        """Routes and operations of before that nobody asked for: none a second, which is no gap."""
        busy = {(key.group, key.name) for key in found if key.figure == "rate" and key.name}
        looks = {known: looks + 1 for known, looks in self._idle.items() if looks < _IDLE_LOOKS}
        self._idle = {**looks, **dict.fromkeys(busy, 0)}
        for group, name in self._idle.keys() - busy:
            found[Key(group, name, "rate", "1/s")] = found[Key(group, name, "errors", "1/s")] = 0.0

    def _process(self, process: dict[str, Any], seconds: float, found: dict[Key, float]) -> None:
        grown = self._counters.advance(("process", ""), {"cpu": process["cpu_seconds"]})
        if "cpu" in grown:
            found[Key("process", "", "cores used", "1")] = grown["cpu"] / seconds
        found[Key("process", "", "cores allowed", "1")] = process["cpu_cores"]
        found[Key("process", "", "memory used", "B")] = process["memory_used_bytes"]
        if process["memory_limit_bytes"]:
            found[Key("process", "", "memory allowed", "B")] = process["memory_limit_bytes"]

    def _observed(self, group: str, one: dict[str, Any], seconds: float, found: dict[Key, float]) -> None:
        name = one["name"]
        cache = one["cache"] if group == "pool" else one
        counted = {"hits": cache["hits"], "misses": cache["misses"]}
        if group == "pool":
            counted["waited"] = one["writer_wait_seconds"] + one["reader_wait_seconds"]
            counted["statements"] = one["reads"] + one["writes"]
            found[Key(group, name, "in use", "1")] = one["in_use"]
            found[Key(group, name, "waiting", "1")] = one["waiting"]
        grown = self._counters.advance((group, name), counted)
        if not grown:
            return
        asked = grown["hits"] + grown["misses"]
        if asked > 0:
            found[Key(group, name, "hit ratio", "1")] = grown["hits"] / asked
        if group == "pool":
            found[Key(group, name, "waited", "1")] = grown["waited"] / seconds
            found[Key(group, name, "statements", "1/s")] = grown["statements"] / seconds


class Sampler:
    """Fills a :class:`History` with the figures of *source*, on a thread of its own once :meth:`start` was
    called. It ends with *source*, at :meth:`stop`, and does not outlive a fork: a child starts its own.

    Args:
        source: whose figures; not kept alive.
        history: where they go.
        clock: seconds since 1970, which say when a point was.
        steady: seconds that nobody sets, which say how much time passed; *clock* where that one is given.
    """

    def __init__(
        self,
        source: Source,
        history: History,
        *,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] | None = None,
    ) -> None:
        self._source = weakref.ref(source)
        self._history = history
        self._clock = clock
        self._steady = steady or (time.monotonic if clock is time.time else clock)
        self._looks = [_Look(step) for step in STEPS]
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._process = 0
        self._stopped = threading.Event()

    def start(self) -> None:
        """Sample from now on. Cheap to call again."""
        thread = self._thread
        if thread is not None and self._process == os.getpid() and thread.is_alive():
            return
        with self._lock:
            if self._thread is not None and self._process == os.getpid() and self._thread.is_alive():
                return
            self._stopped = threading.Event()
            self._looks = [_Look(step) for step in STEPS]
            self._process = os.getpid()
            self.sample()  # the start: all later figures are differences to it
            thread = threading.Thread(
                target=_run, args=(weakref.ref(self), self._stopped), name="mcp-history", daemon=True
            )
            thread.start()  # may fail: the next call tries again
            self._thread = thread

    def stop(self) -> None:
        """Sample no longer; waits for a look that is being taken."""
        self._stopped.set()
        thread, self._thread = self._thread, None
        if thread is not None and self._process == os.getpid() and thread is not threading.current_thread():
            thread.join()

    def sample(self) -> None:
        """Take one look: each step that has ended since the last one becomes a point."""
        source = self._source()
        if source is None:
            self._stopped.set()
            return
        now, at = self._clock(), self._steady()
        current: dict[str, Any] | None = None
        for look in self._looks:
            number = int(now // look.step.seconds)
            if look.number is not None and 0 <= number - look.number < 1:
                continue
            current = source.current() if current is None else current
            if look.number is None or number < look.number:  # the first, or the clock was set back
                self._history.rewind(look.step, number)
                look.begin(source, current, at, number)
                continue
            look.number = number
            self._history.put(look.step, number - 1, look.figures(source, current, at))

    def until_next(self) -> float:
        """Seconds until a step ends."""
        return 1.0 - self._clock() % 1.0 + 0.001


def _run(reference: weakref.ref[Sampler], stopped: threading.Event) -> None:
    while True:
        sampler = reference()
        if sampler is None:
            return
        seconds = sampler.until_next()
        del sampler  # a monitor that nobody holds ends its sampling
        if stopped.wait(seconds):
            return
        sampler = reference()
        if sampler is None:
            return
        try:
            sampler.sample()
        except Exception:
            _logger.exception("the figures of this second cannot be kept")
        del sampler
