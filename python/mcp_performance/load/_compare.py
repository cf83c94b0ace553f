"""Whether two load tests differ by more than chance."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from .._base._checks import number
from ..errors import ConfigurationError

if TYPE_CHECKING:
    from ._result import LoadTestResult

__all__ = ["Comparison", "compare", "mann_whitney"]

_LEAST_SECONDS = 5
_EXACT_UP_TO = 20


@dataclass(frozen=True, slots=True)
class Comparison:
    """The median response time of a candidate against a baseline, in seconds.

    ``p_value`` is that of a two-sided Mann-Whitney U test over ``method``: the medians of several runs
    of each (best, when they were interleaved), the medians of the seconds of one run of each, or
    single requests where a run is shorter than five seconds. Requests of one run are not
    independent of each other, so the last of these finds differences too easily.
    """

    baseline: float
    candidate: float
    change: float
    p_value: float
    significant: bool
    regression: bool
    method: str
    verdict: str


def compare(
    baseline: LoadTestResult | Sequence[LoadTestResult],
    candidate: LoadTestResult | Sequence[LoadTestResult],
    *,
    min_effect: float = 0.05,
    alpha: float = 0.05,
) -> Comparison:
    """Compare median response times of one or several runs of each.

    Args:
        min_effect: relative change below which a difference does not count, however certain it is.
        alpha: p-value below which a difference is taken to be real.
    """
    for name, value in (("min_effect", min_effect), ("alpha", alpha)):
        number(name, value, 0, 1, below=True)
    first, second = _runs("baseline", baseline), _runs("candidate", candidate)
    if not first or not second:
        raise ConfigurationError("baseline, candidate: expected at least one run of each")
    if not all(run.histogram.count for run in (*first, *second)):
        raise ConfigurationError("baseline, candidate: expected runs in which a request was answered")
    a, b, method = _samples(first, second)
    p_value = mann_whitney(a, b)
    before, after = _pooled_median(first), _pooled_median(second)
    change = after / before - 1 if before > 0 else math.inf
    significant = p_value < alpha and abs(change) >= min_effect
    regression = significant and change > 0
    if significant:
        verdict = f"{'slower' if regression else 'faster'} by {abs(change):.1%} (p = {p_value:.2g}, {method})"
    elif p_value < alpha:
        small = f"changed by {change:+.1%}, less than the {min_effect:.0%} that count"
        verdict = f"{small} (p = {p_value:.2g}, {method})"
    else:
        verdict = f"no difference that chance would not make (p = {p_value:.2g}, {method})"
    return Comparison(before, after, change, p_value, significant, regression, method, verdict)


def _runs(name: str, given: LoadTestResult | Sequence[LoadTestResult]) -> list[LoadTestResult]:
    runs = list(given) if isinstance(given, Sequence) else [given]
    for run in runs:
        if not hasattr(run, "histogram"):
            raise TypeError(f"{name}={run!r}: expected a LoadTestResult, or several")
    return runs


def _pooled_median(runs: Sequence[LoadTestResult]) -> float:
    pooled = runs[0].histogram.copy()
    for run in runs[1:]:
        pooled.merge(run.histogram)
    return pooled.percentile(50)


Weighted = Counter[float]


def _samples(
    first: Sequence[LoadTestResult], second: Sequence[LoadTestResult]
) -> tuple[Weighted, Weighted, str]:
    if len(first) >= 3 and len(second) >= 3:
        return Counter(run.p50 for run in first), Counter(run.p50 for run in second), "medians of runs"
    seconds = [_medians(runs) for runs in (first, second)]
    if min(len(values) for values in seconds) >= _LEAST_SECONDS:
        return Counter(seconds[0]), Counter(seconds[1]), "medians of seconds"
    return _slots(first), _slots(second), "single requests"


def _medians(runs: Sequence[LoadTestResult]) -> list[float]:
    return [second.p50 for run in runs for second in run.series if second.successful and not second.partial]


def _slots(runs: Sequence[LoadTestResult]) -> Weighted:
    values: Weighted = Counter()
    for run in runs:
        for _, high, count in run.histogram.slots():
            values[high] += count
    return values


def mann_whitney(a: Weighted, b: Weighted) -> float:
    """The two-sided p-value of the Mann-Whitney U test of two samples, given as counts of values.

    Exact for small samples without ties, with the normal approximation, corrected for ties and
    continuity, otherwise.
    """
    n, m = a.total(), b.total()
    u = 0.0
    ties = 0.0
    below = 0
    for value in sorted({*a, *b}):
        here_a, here_b = a[value], b[value]
        u += here_b * (below + here_a / 2)
        below += here_a
        together = here_a + here_b
        ties += together**3 - together
    if ties == 0 and n <= _EXACT_UP_TO and m <= _EXACT_UP_TO:
        return _exact(n, m, round(min(u, n * m - u)))
    total = n + m
    variance = n * m / 12 * (total + 1 - ties / (total * (total - 1)))
    if variance <= 0:
        return 1.0
    z = max(0.0, abs(u - n * m / 2) - 0.5) / math.sqrt(variance)
    return math.erfc(z / math.sqrt(2))


@cache
def _ways(n: int, m: int, u: int) -> int:
    """In how many orders of n and m values U is u."""
    if u < 0:
        return 0
    if n == 0 or m == 0:
        return 1 if u == 0 else 0
    return _ways(n - 1, m, u - m) + _ways(n, m - 1, u)


def _exact(n: int, m: int, u: int) -> float:
    tail = sum(_ways(n, m, value) for value in range(u + 1))
    return min(1.0, 2 * tail / math.comb(n + m, n))
