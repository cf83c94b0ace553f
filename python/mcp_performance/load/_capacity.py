"""The highest rate at which a target keeps its promises."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .._base._checks import integer, number, texts
from .._base._durations import short
from ..errors import ConfigurationError, LoadTestError
from ._options import MAX_RATE, MAX_USERS
from ._result import LoadTestResult
from ._thresholds import check_thresholds

__all__ = ["GENERATOR_LIMITED", "Capacity", "CapacityStep", "Runner", "find_capacity"]

GENERATOR_LIMITED = "generator-limited"


# LoadTester.run_load_test, or what behaves like it.
Runner = Callable[..., Awaitable[LoadTestResult]]


@dataclass(frozen=True, slots=True)
class CapacityStep:
    """One rate that was tried."""

    rate: float
    held: bool
    why: str
    p99: float
    success_rate: float


@dataclass(frozen=True)
class Capacity:
    """The highest rate, in requests a second, at which the objective was met; 0 if at none.

    ``limited_by`` is ``"target"``, or ``"generator"`` when the search ended because no more load could
    be made, so that the target may be able to do more.
    """

    rate: float
    limited_by: str
    slo: tuple[str, ...]
    verdict: str
    steps: tuple[CapacityStep, ...]
    result: LoadTestResult | None = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        lines = [self.verdict]
        lines += [
            f"{step.rate:>12,.1f}/s  {'held' if step.held else 'missed':<6}  "
            f"p99 {short(step.p99):>9}  {step.why}"
            for step in self.steps
        ]
        return "\n".join(lines)


class _Interrupted(Exception):
    """Ctrl-C ended a run of the search."""


class _Search:
    """Doubles until the objective is missed, bisects, and confirms, in the open model."""

    def __init__(
        self, run: Runner, slo: tuple[str, ...], duration: float, users: int, options: dict[str, Any]
    ) -> None:
        self._run = run
        self._slo = slo
        self._duration = duration
        self._users = users
        self._options = options
        self.steps: list[CapacityStep] = []
        self.generator_limited = False
        self.best: LoadTestResult | None = None
        self.best_rate = 0.0

    async def holds(self, rate: float, stretch: float = 1.0) -> bool:
        result = await self._run(
            None,
            self._users,
            rate=rate,
            duration=self._duration * stretch,
            thresholds=self._slo,
            abort_on_fail=True,
            **self._options,
        )
        if result.interrupted:
            raise _Interrupted
        missed = [expression for expression, held in result.thresholds.items() if not held]
        why = ", ".join(missed)
        if not missed and not result.valid:
            why = result.reason
            self.generator_limited = self.generator_limited or GENERATOR_LIMITED in result.reason
        self.steps.append(CapacityStep(rate, not why, why, result.p99, result.success_rate))
        if not why and rate >= self.best_rate:
            self.best, self.best_rate = result, rate
        return not why

    async def highest(self, start: float, tolerance: float) -> float:
        """The highest rate that is held, to the relative *tolerance*, confirmed by a longer run."""
        low, high = await self.bracket(start)
        while 0 < low < high < math.inf and high - low > tolerance * low:
            middle = math.sqrt(low * high)
            if await self.holds(middle):
                low = middle
            else:
                high = middle
        # A short run may hold by luck: a longer one decides, a little lower each time it does not.
        while low > 0.1 and not await self.holds(low, stretch=2):
            low *= 1 - tolerance
            self.best, self.best_rate = None, 0.0
        return low

    async def bracket(self, start: float) -> tuple[float, float]:
        """A rate that held (0: none did) and one that did not (inf: none)."""
        rate, held = start, 0.0
        if not await self.holds(rate):
            while rate > 0.1:
                rate, missed = rate / 2, rate
                if await self.holds(rate):
                    return rate, missed
            return 0.0, rate
        while rate < MAX_RATE:
            held, rate = rate, min(rate * 2, MAX_RATE)
            if not await self.holds(rate):
                return held, rate
        return rate, math.inf


async def find_capacity(
    run: Runner,
    slo: str | Sequence[str],
    *,
    start: float | None,
    duration: float,
    tolerance: float,
    max_in_flight: int,
    timeout: float | None,  # noqa: ASYNC109 - of each request
) -> Capacity:
    """The highest rate at which *slo* holds, to a relative *tolerance*."""
    conditions = (slo,) if isinstance(slo, str) else tuple(texts("slo", slo))
    check_thresholds(conditions, option="slo")
    if not conditions:
        raise ConfigurationError("slo=(): expected at least one condition, such as 'p99<50ms'")
    number("tolerance", tolerance, 0.001, 1)
    number("duration", duration, 0.05, 3600)
    integer("max_in_flight", max_in_flight, 1, MAX_USERS)
    if start is None:
        alone = await run(None, 1, duration=min(duration, 0.5), timeout=timeout)
        start = min(alone.requests_per_second, MAX_RATE)
        if not start:
            raise LoadTestError("no request succeeded: " + (", ".join(alone.errors) or alone.reason))
    number("start", start, 0, MAX_RATE, above=True)
    search = _Search(run, conditions, duration, max_in_flight, {"timeout": timeout})
    try:
        rate = await search.highest(start, tolerance)
    except _Interrupted:
        found = _capacity(search, search.best_rate, conditions)
        return dataclasses.replace(found, verdict=f"interrupted; so far {found.verdict}")
    return _capacity(search, rate, conditions)


def _capacity(search: _Search, rate: float, conditions: tuple[str, ...]) -> Capacity:
    limited_by = "generator" if search.generator_limited else "target"
    if search.best is None or rate <= 0.1:
        verdict = f"{', '.join(conditions)} was met at no rate"
        return Capacity(0.0, limited_by, conditions, verdict, tuple(search.steps))
    missed = min(
        (step for step in search.steps if not step.held and step.rate > rate),
        key=lambda s: s.rate,
        default=None,
    )
    verdict = f"{rate:,.1f} requests/s while {', '.join(conditions)}"
    if missed is not None:
        verdict += f"; at {missed.rate:,.1f}: {missed.why}"
    return Capacity(rate, limited_by, conditions, verdict, tuple(search.steps), search.best)
