"""What held a target in this process back: latencies set against caches, SQL, the loop and GC."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .._base._registry import caches, pools

__all__ = ["Bottleneck", "WindowStats", "Witness", "find_bottleneck"]

_WINDOW = 1.0


@dataclass(frozen=True, slots=True)
class WindowStats:
    """One second of a run. Times in seconds; ``cpu`` in cores; ``cache_hit_rate`` None without look-ups;
    ``loop_lag`` the longest that the event loop took to come round."""

    second: int
    successful: int
    p99: float
    cpu: float
    gc_seconds: float
    database_seconds: float
    pool_waiting: int
    cache_hit_rate: float | None
    loop_lag: float = 0.0


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """What the target's requests spent their time on.

    ``kind`` is ``"gc"``, ``"writer"``, ``"connections"``, ``"database"``, ``"cpu"`` or ``"waiting"``.
    ``database_share`` is SQLite's part of the summed service time, ``writer_wait_share`` and
    ``reader_wait_share`` the parts that were waiting for the writer and for readers;
    ``gc_share`` is the garbage collector's part of the run, ``cpu`` the cores that the process used.
    ``follows`` names what p99 rose and fell with from second to second, where there were enough
    seconds to tell.
    """

    kind: str
    verdict: str
    cpu: float
    gc_share: float
    database_share: float
    cache_hit_rate: float | None
    loop_lag_p99: float | None
    follows: str | None
    writer_wait_share: float
    reader_wait_share: float
    windows: tuple[WindowStats, ...]

    def to_dict(self) -> dict[str, Any]:
        """Every figure as plain values, the windows as dicts."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "windows"}
        plain["windows"] = [
            {name: getattr(window, name) for name in WindowStats.__dataclass_fields__}
            for window in self.windows
        ]
        return plain


@dataclass(frozen=True, slots=True)
class _Reading:
    cpu: float
    gc_seconds: float
    database: float
    waiting: int
    hits: int
    misses: int
    loop_lag: float


def _waits() -> tuple[float, float]:
    """Seconds that requests have waited so far: for the writers of the pools, and for readers."""
    stats = [pool.stats() for pool in pools()]
    return (
        sum(one.writer_wait_seconds for one in stats),
        sum(one.reader_wait_seconds for one in stats),
    )


class Witness:
    """Reads the counters of this process once a second while a run goes on."""

    def __init__(self, loop: asyncio.AbstractEventLoop, worst_lag: Callable[[], float]) -> None:
        self._loop = loop
        self._worst_lag = worst_lag
        self._gc_began = 0.0
        self._gc_seconds = 0.0
        self._handle: asyncio.TimerHandle | None = None
        self._due = 0.0
        self.readings: list[_Reading] = []
        self.elapsed = 0.0
        self.waits = (0.0, 0.0)
        self._waits_before = (0.0, 0.0)
        self._began = 0.0

    def __enter__(self) -> Witness:
        self._waits_before = _waits()
        gc.callbacks.append(self._on_gc)
        self._began = self._due = self._loop.time()
        self._read()
        self._schedule()
        return self

    def _on_gc(self, phase: str, _: dict[str, int]) -> None:
        if phase == "start":
            self._gc_began = time.perf_counter()
        elif self._gc_began:
            self._gc_seconds += time.perf_counter() - self._gc_began
            self._gc_began = 0.0

    def _schedule(self) -> None:
        self._due += _WINDOW
        self._handle = self._loop.call_at(self._due, self._tick)

    def _tick(self) -> None:
        self._read()
        self._schedule()

    def _read(self) -> None:
        pool_stats = [pool.stats() for pool in pools()]
        cache_stats = [cache.stats() for cache in caches()]
        self.readings.append(
            _Reading(
                time.process_time(),
                self._gc_seconds,
                sum(stats.database_seconds for stats in pool_stats),
                sum(stats.waiting for stats in pool_stats),
                sum(stats.hits for stats in cache_stats),
                sum(stats.misses for stats in cache_stats),
                self._worst_lag(),
            )
        )

    def __exit__(self, *_: object) -> None:
        if self._handle is not None:
            self._handle.cancel()
        gc.callbacks.remove(self._on_gc)
        self._read()
        self.elapsed = self._loop.time() - self._began
        now = _waits()
        self.waits = (max(0.0, now[0] - self._waits_before[0]), max(0.0, now[1] - self._waits_before[1]))


def _hit_rate(before: _Reading, after: _Reading) -> float | None:
    # Caches may come and go during a run, and take their counts along.
    hits, misses = max(0, after.hits - before.hits), max(0, after.misses - before.misses)
    return hits / (hits + misses) if hits + misses else None


def _windows(witness: Witness, series: Sequence[tuple[Any, ...]]) -> tuple[WindowStats, ...]:
    result = []
    for second, ((successful, _, _, _, _, p99, _), before, after) in enumerate(
        zip(series, witness.readings, witness.readings[1:], strict=False)
    ):
        result.append(
            WindowStats(
                second,
                successful,
                p99,
                after.cpu - before.cpu,
                after.gc_seconds - before.gc_seconds,
                max(0.0, after.database - before.database),
                after.waiting,
                _hit_rate(before, after),
                after.loop_lag,
            )
        )
    return tuple(result)


def find_bottleneck(witness: Witness, report: dict[str, Any], loop_lag: float | None) -> Bottleneck:
    """Name what held the run back."""
    first, last = witness.readings[0], witness.readings[-1]
    elapsed = max(witness.elapsed, 1e-9)
    cpu = (last.cpu - first.cpu) / elapsed
    gc_share = (last.gc_seconds - first.gc_seconds) / elapsed
    busy = report["busy"] or float("inf")
    database = max(0.0, last.database - first.database) / busy
    waits = (witness.waits[0] / busy, witness.waits[1] / busy)
    hit_rate = _hit_rate(first, last)
    kind, verdict = _name(cpu, gc_share, database, hit_rate, last.waiting, waits)
    windows = _windows(witness, report["series"])
    follows = _follows(windows)
    return Bottleneck(kind, verdict, cpu, gc_share, database, hit_rate, loop_lag, follows, *waits, windows)


def _name(
    cpu: float,
    gc_share: float,
    database: float,
    hit_rate: float | None,
    waiting: int,
    waits: tuple[float, float] = (0.0, 0.0),
) -> tuple[str, str]:
    cached = f"; {hit_rate:.0%} of the cache look-ups hit" if hit_rate is not None else ""
    if gc_share > 0.1:
        return (
            "gc",
            f"garbage collection took {gc_share:.0%} of the time: gc.freeze() after start-up may help",
        )
    for kind, share, what in (
        ("writer", waits[0], "the database's writer, of which there is one"),
        ("connections", waits[1], "a connection to the database"),
    ):
        if share > 0.5:
            return kind, f"{min(share, 1):.0%} of the response time is waiting for {what}{cached}"
    if database > 0.5:
        queue = f", with {waiting} callers waiting for a connection" if waiting else ""
        return "database", f"{min(database, 1):.0%} of the response time is SQLite's{queue}{cached}"
    if cpu > 0.85:
        return "cpu", f"the process used {cpu:.2f} cores: Python code was the limit{cached}"
    return "waiting", f"the process used {cpu:.2f} cores: requests waited for something outside of it{cached}"


def _follows(windows: Sequence[WindowStats]) -> str | None:
    """The factor whose rank correlation with p99 is highest, if it is high and there are enough seconds."""
    whole = windows[:-1]
    if len(whole) < 8:
        return None
    factors = {
        "database time": [window.database_seconds for window in whole],
        "cache misses": [
            1 - (window.cache_hit_rate if window.cache_hit_rate is not None else 1.0) for window in whole
        ],
        "garbage collection": [window.gc_seconds for window in whole],
        "event loop lag": [window.loop_lag for window in whole],
        "cpu": [window.cpu for window in whole],
    }
    p99 = [window.p99 for window in whole]
    name, strength = max(
        ((name, _rank_correlation(values, p99)) for name, values in factors.items()), key=lambda pair: pair[1]
    )
    return name if strength > 0.8 else None


def _ranks(values: Sequence[float]) -> list[float]:
    order = sorted(range(len(values)), key=lambda i: values[i])
    ranks = [0.0] * len(values)
    at = 0
    while at < len(order):
        end = at
        while end < len(order) and values[order[end]] == values[order[at]]:
            end += 1
        for i in order[at:end]:
            ranks[i] = (at + end - 1) / 2
        at = end
    return ranks


def _rank_correlation(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's: that of Pearson, of the ranks. 0 where one of them never changes."""
    x, y = _ranks(a), _ranks(b)
    mean = (len(x) - 1) / 2
    covariance = sum((i - mean) * (j - mean) for i, j in zip(x, y, strict=True))
    spread = sum((i - mean) ** 2 for i in x) * sum((j - mean) ** 2 for j in y)
    return float(covariance / spread**0.5) if spread else 0.0
