"""How throughput grows with users, and what keeps it from growing further."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .._base._checks import function, integer, number, several
from .._base._durations import short
from .._core import LoadHistogram
from ..errors import ConfigurationError, LoadTestError
from ._capacity import GENERATOR_LIMITED, Runner
from ._options import MAX_USERS
from ._plot import plot_scalability
from ._result import LoadTestResult
from ._usl import UslFit, fit_usl

__all__ = ["Scalability", "ScalabilityLevel", "measure_scalability"]


@dataclass(frozen=True, slots=True)
class ScalabilityLevel:
    """One number of users: the mean over its rounds, times in seconds.

    A run in which no request ended in time is made again and is none of the ``rounds``; the level is not
    ``valid`` then, and the verdict says so.
    """

    users: int
    throughput: float
    p50: float
    p99: float
    success_rate: float
    valid: bool
    rounds: tuple[float, ...] = ()


@dataclass(frozen=True)
class Scalability:
    """Throughput by users, and the Universal Scalability Law through it.

    ``contention`` is the share of the work that only one user can do at a time, ``coherency`` what
    each pair of users costs; ``peak_users`` is where more users stop helping. ``results`` has the last
    run of each level.
    """

    levels: tuple[ScalabilityLevel, ...]
    fit: UslFit
    verdict: str
    results: tuple[LoadTestResult, ...] = field(default=(), repr=False, compare=False)

    @property
    def contention(self) -> float:
        """The share of the work that only one user can do at a time, from 0 to 1."""
        return self.fit.contention

    @property
    def coherency(self) -> float:
        """What each pair of users costs, as a share of the work of one."""
        return self.fit.coherency

    @property
    def peak_users(self) -> float:
        """How many users make the most throughput; infinite where more always help."""
        return self.fit.peak_users

    @property
    def peak_throughput(self) -> float:
        """Requests a second at the peak; without one, what throughput tends to."""
        return self.fit.peak_throughput

    @property
    def undecided(self) -> tuple[str, ...]:
        """The parameters that the data leave open, to a tenth of their values."""
        return self.fit.undecided

    def predict(self, users: float) -> float:
        """Requests a second that the law expects under *users* users."""
        return self.fit.predict(users)

    def plot(self) -> Any:
        """A matplotlib figure: measured throughput, the law, and its peak."""
        return plot_scalability(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain values; an infinite peak is None."""
        finite = {
            name: value
            for name in ("peak_users", "peak_throughput")
            if math.isfinite(value := getattr(self, name))
        }
        return {
            "verdict": self.verdict,
            "fit": {name: getattr(self.fit, name) for name in UslFit.__dataclass_fields__},
            "undecided": list(self.undecided),
            "peak_users": finite.get("peak_users"),
            "peak_throughput": finite.get("peak_throughput"),
            "levels": [
                {name: getattr(level, name) for name in ScalabilityLevel.__dataclass_fields__}
                for level in self.levels
            ],
        }

    def __str__(self) -> str:
        lines = [self.verdict, f"{'users':>8}{'requests/s':>14}{'law':>14}{'p50':>12}{'p99':>12}"]
        lines += [
            f"{level.users:>8}{level.throughput:>14,.1f}{self.predict(level.users):>14,.1f}"
            f"{short(level.p50):>12}{short(level.p99):>12}{'' if level.valid else '  INVALID'}"
            for level in self.levels
        ]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(str(self))}</pre>"


# Requests cut off at the end of a run blur its throughput by one part in as many as a user sends.
_REQUESTS_IN_A_RUN = 50
_FEWEST_LEVELS = 4
_SHORTEST_RUN, _LONGEST_RUN = 0.1, 10.0


async def measure_scalability(
    run: Runner,
    users: Sequence[int],
    *,
    duration: float | None,
    rounds: int,
    timeout: float | None,  # noqa: ASYNC109 - of each request
    progress: Callable[[str], None] | None,
) -> Scalability:
    """Run every level *rounds* times, in turns so that drift hits all alike, and fit the law."""
    levels = [integer("users", n, 1, MAX_USERS) for n in several("users", users, "several numbers")]
    if progress is not None:
        function("progress", progress)
    if len(set(levels)) < _FEWEST_LEVELS:
        raise ConfigurationError(
            f"users={tuple(users)!r}: expected at least four different numbers; six or more fit well"
        )
    if duration is not None:
        number("duration", duration, 0.01, 3600)
    integer("rounds", rounds, 1, 1000)
    runs: dict[int, _Runs] = {}
    warm = await run(None, max(levels), duration=min(duration or 0.2, 0.2), timeout=timeout)
    if duration is None:
        duration = min(max(_SHORTEST_RUN, _REQUESTS_IN_A_RUN * warm.p50), _LONGEST_RUN)
    for turn in range(rounds):
        for n in sorted(set(levels)):
            if progress is not None:
                progress(f"{n} users, round {turn + 1} of {rounds}")
            for _ in range(2):  # a run in which nothing ends is made again, once
                result = await run(None, n, duration=duration, timeout=timeout)
                if result.interrupted:
                    return _study(runs)
                if n not in runs:
                    runs[n] = _Runs(result)
                runs[n].add(result)
                if result.requests_per_second > 0 or result.errors:
                    break
    return _study(runs)


def _study(runs: Mapping[int, _Runs]) -> Scalability:
    """What the runs say. Raises ``KeyboardInterrupt`` if Ctrl-C left too few levels to say anything."""
    if len(runs) < _FEWEST_LEVELS:
        raise KeyboardInterrupt
    failed = next((of_level for of_level in runs.values() if of_level.has_failed), None)
    if failed is not None:
        raise LoadTestError(f"no request succeeded in time at some level: {failed.nothing_succeeded}")
    points = [(float(n), rate) for n, of_level in runs.items() for rate in of_level.rates]
    fit = fit_usl(points)
    summaries = tuple(of_level.summary(n) for n, of_level in runs.items())
    return Scalability(
        summaries,
        fit,
        _scalability_verdict(fit, summaries, runs),
        tuple(of_level.latest for of_level in runs.values()),
    )


class _Runs:
    """The runs of one level, added up: memory does not grow with the rounds."""

    def __init__(self, first: LoadTestResult) -> None:
        self.rates: list[float] = []
        self.reasons: set[str] = set()  # of runs that are not valid
        self.left_out = 0  # runs in which nothing succeeded: no throughput that a law could explain
        self.only_errors = False  # in one of them
        self.nothing_succeeded = ""
        self.latest = first
        self._times = LoadHistogram(digits=first.histogram.digits, highest=first.histogram.highest)
        self._successful = self._total = 0

    @property
    def has_failed(self) -> bool:
        """A machine may stand still for a run or two; errors, or more than that, are the target's."""
        return self.only_errors or not self.rates or self.left_out > max(2, len(self.rates))

    def add(self, result: LoadTestResult) -> None:
        if not result.valid:
            self.reasons.add(result.reason)
        self._times.merge(result.histogram)
        self._successful += result.successful
        self._total += result.total_requests
        if result.requests_per_second > 0:
            self.rates.append(result.requests_per_second)
            self.latest = result
        else:  # what succeeds in the drain is no throughput
            self.left_out += 1
            self.only_errors |= bool(result.errors)
            self.nothing_succeeded = ", ".join(result.errors) or result.reason

    def summary(self, users: int) -> ScalabilityLevel:
        return ScalabilityLevel(
            users,
            sum(self.rates) / len(self.rates),
            self._times.percentile(50),
            self._times.percentile(99),
            self._successful / max(1, self._total),
            not self.reasons and not self.left_out,
            tuple(self.rates),
        )


def _scalability_verdict(fit: UslFit, levels: Sequence[ScalabilityLevel], runs: Mapping[int, _Runs]) -> str:
    most = levels[-1].users
    left_open = fit.undecided
    if fit.peak_users > most and "coherency" in left_open:
        verdict = f"no peak up to {most} users, and the data cannot decide where one would be"
    elif fit.peak_users <= most:
        verdict = (
            f"stops scaling at {max(1, round(fit.peak_users))} users ({fit.peak_throughput:,.0f} requests/s)"
        )
    elif math.isinf(fit.peak_users):
        limit = (
            f", towards {fit.peak_throughput:,.0f} requests/s" if math.isfinite(fit.peak_throughput) else ""
        )
        verdict = f"no peak up to {most} users{limit}"
    else:
        verdict = f"peak expected at {fit.peak_users:.0f} users, beyond the {most} that were measured"
    causes = []
    if fit.contention > 0.01:
        causes.append(f"{fit.contention:.1%} of the work is done one at a time")
    if fit.coherency > 1e-6:
        causes.append(f"users slow each other down (coherency {fit.coherency:.2g})")
    if causes:
        verdict += ": " + " and ".join(causes)
    if left_open:
        what = ", ".join(
            f"{name} {getattr(fit, name):.3g} ± {getattr(fit, f'{name}_error'):.2g}" for name in left_open
        )
        verdict += f"; the data cannot decide {what}: more rounds would, or more users"
    bottleneck = runs[most].latest.bottleneck
    if bottleneck is not None:
        verdict += f"; under {most} users {bottleneck.verdict}"
    for n, of_level in runs.items():
        if of_level.left_out:
            all_runs = of_level.left_out + len(of_level.rates)
            verdict += (
                f"; left out: {of_level.left_out} of {all_runs} runs under {n} users,"
                f" in which no request ended in time ({of_level.nothing_succeeded})"
            )
    limited = [n for n, of_level in runs.items() if any(GENERATOR_LIMITED in why for why in of_level.reasons)]
    if limited:
        verdict += f"; the generator was the limit under {', '.join(map(str, limited))} users"
    return verdict
