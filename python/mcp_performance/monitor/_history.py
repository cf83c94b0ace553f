"""Figures over time, in memory that does not grow: the last 10 minutes by the second, 3 hours by ten seconds,
24 hours by the minute.

A pure state machine: whoever samples says what the time is. A step in which nobody looked is a gap, not a
zero and not a line between its neighbours.
"""

from __future__ import annotations

import math
import os
import threading
import weakref
from array import array
from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["MAX_SERIES", "STEPS", "Counters", "History", "Key", "Step", "step_of"]

MAX_SERIES = 448
_AHEAD = 2  # steps that a worker may be behind the one that answered before


class Step(NamedTuple):
    """How far apart points are, and how many are kept."""

    seconds: int
    kept: int


STEPS = (Step(1, 600), Step(10, 1080), Step(60, 1440))


def step_of(seconds: int) -> Step:
    """The step of that length.

    Raises:
        KeyError: there is none.
    """
    return {step.seconds: step for step in STEPS}[seconds]


class Key(NamedTuple):
    """What a series shows."""

    group: str
    """``requests``, ``route``, ``operation``, ``process``, ``loop``, ``cache``, ``pool``."""
    name: str
    """Of the route, the operation, the cache, the pool; else empty."""
    figure: str
    unit: str
    """``1/s``, ``s``, ``B``, ``1`` (a share from 0 to 1, or a number of things)."""


class Counters:
    """What counters that only grow did between two looks."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], dict[str, float]] = {}

    def advance(self, name: tuple[str, str], now: Mapping[str, float]) -> dict[str, float]:
        """The growth of each of *now* since the last call. Those that shrank began anew; those never seen
        before say nothing yet, and are not there."""
        before = self._seen.get(name, {})
        self._seen[name] = dict(now)
        return {
            key: value - before[key] if value >= before[key] else value
            for key, value in now.items()
            if key in before
        }

    def forget_others(self, names: set[tuple[str, str]]) -> None:
        """Drop what no longer exists."""
        for name in self._seen.keys() - names:
            del self._seen[name]


class _Ring:
    def __init__(self, step: Step) -> None:
        self.step = step
        self.newest = -1
        self.numbers = array("q", [-1]) * step.kept
        self.series: dict[Key, array[float]] = {}
        self.left_out = 0

    def put(self, number: int, figures: Mapping[Key, float]) -> None:
        slot = number % self.step.kept
        self.numbers[slot] = number
        self.newest = number
        for values in self.series.values():
            values[slot] = math.nan
        self.left_out = 0
        for key, value in figures.items():
            kept = self._values(key)
            if kept is None:
                self.left_out += 1
            else:
                kept[slot] = value

    def rewind(self, number: int) -> None:
        for slot, known in enumerate(self.numbers):
            if known >= number:
                self.numbers[slot] = -1
                for values in self.series.values():
                    values[slot] = math.nan
        self.newest = max(self.numbers)

    def _values(self, key: Key) -> array[float] | None:
        values = self.series.get(key)
        if values is None:
            if len(self.series) >= MAX_SERIES and not self._drop_empty():
                return None
            values = self.series[key] = array("f", [math.nan]) * self.step.kept
        return values

    def _drop_empty(self) -> bool:
        """Drop the series that no longer have a point; whether there was one."""
        empty = [key for key, values in self.series.items() if all(map(math.isnan, values))]
        for key in empty:
            del self.series[key]
        return bool(empty)

    def read(self, since: int) -> tuple[list[int], list[int | None]]:
        """The numbers of the steps after *since*, and the slot of each; ``None`` where nobody looked."""
        first = max(since + 1, self.newest - self.step.kept + 1, 0)
        known = [number for number in self.numbers if first <= number <= self.newest]
        numbers = list(range(min(known), self.newest + 1)) if known else []
        kept = self.step.kept
        return numbers, [n % kept if self.numbers[n % kept] == n else None for n in numbers]


class History:
    """Keeps what :class:`Sampler` sees. Safe from any thread.

    Memory: 4 bytes a point and series, :data:`MAX_SERIES` series at most: 6 MB at the very most, made as
    series come. A forked child begins anew.
    """

    def __init__(self) -> None:
        self._start_anew()
        _histories.add(self)

    def _start_anew(self) -> None:
        self._lock = threading.Lock()
        self._rings = {step: _Ring(step) for step in STEPS}

    def put(self, step: Step, number: int, figures: Mapping[Key, float]) -> None:
        """Keep *figures* of the step that began at ``number * step.seconds`` (seconds since 1970). A step
        that is not newer than the newest is passed over: the clock was set back."""
        with self._lock:
            ring = self._rings[step]
            if number > ring.newest:
                ring.put(number, figures)

    def newest(self, step: Step) -> int:
        """The number of the newest step; -1 before the first."""
        return self._rings[step].newest

    def rewind(self, step: Step, number: int) -> None:
        """Forget the points of *step* from *number* on: the clock was set back to there."""
        with self._lock:
            self._rings[step].rewind(number)

    def sums(self, step: Step, group: str, figure: str, points: int) -> dict[str, float]:
        """What the rates of *figure* add up to over the newest *points* steps, by name, where they do."""
        with self._lock:
            ring = self._rings[step]
            _, slots = ring.read(ring.newest - points)
            found = {
                key.name: step.seconds
                * math.fsum(values[slot] for slot in slots if slot is not None and values[slot] > 0)
                for key, values in ring.series.items()
                if (key.group, key.figure) == (group, figure)
            }
        return {name: total for name, total in found.items() if total > 0}

    def read(self, step: Step, since: int = -1) -> dict[str, Any]:
        """The points after step number *since*, ready for JSON.

        Returns:
            ``step`` and ``kept``, ``newest`` (to be the next *since*), ``time`` (the start of each step,
            seconds since 1970) and ``series``: ``group``, ``name``, ``figure``, ``unit`` and ``values``, one
            a time, ``None`` for a gap. ``left_out``: series beyond what is kept. All that is kept where
            *since* is of times to come: the clock was set back, and what was told before is no more.
        """
        with self._lock:
            ring = self._rings[step]
            if since > ring.newest + _AHEAD:
                since = -1
            numbers, slots = ring.read(since)
            series = [
                {**key._asdict(), "values": [_shown(values, slot) for slot in slots]}
                for key, values in sorted(ring.series.items())
            ]
            newest, left_out = ring.newest, ring.left_out
        return {
            "step": step.seconds,
            "kept": step.kept,
            "newest": newest,
            "time": [number * step.seconds for number in numbers],
            "series": [one for one in series if any(value is not None for value in one["values"])],
            "left_out": left_out,
        }


def _shown(values: array[float], slot: int | None) -> float | None:
    if slot is None or math.isnan(values[slot]):
        return None
    return float(f"{values[slot]:.6g}")


_histories: weakref.WeakSet[History] = weakref.WeakSet()


def _start_all_anew() -> None:
    for history in list(_histories):
        history._start_anew()


os.register_at_fork(after_in_child=_start_all_anew)
