"""Plain lists and counters, kept beside what reports figures."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

EPSILON = 1.5e-9
"""Figures are kept in whole nanoseconds."""


def nearest_rank(values: Sequence[float], percent: float) -> float:
    """The smallest of *values* that *percent* of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(round(len(ordered) * percent / 100, 6)) - 1)]


def check_percentile(found: float, values: Sequence[float], percent: float, digits: int) -> None:
    """*found* is the percentile of *values* to so many significant digits."""
    check_between(found, values, values, percent, digits)


def check_between(
    found: float, low: Sequence[float], high: Sequence[float], percent: float, digits: int
) -> None:
    """As :func:`check_percentile`, of values each of which is known to lie between two others."""
    error = 10**-digits
    least = nearest_rank(low, percent) * (1 - error) - EPSILON
    most = nearest_rank(high, percent) * (1 + error) + EPSILON
    assert least <= found <= most, f"p{percent} is {found} and not from {least} to {most}"


def durations_of(rng: random.Random, count: int, longest: float) -> list[float]:
    """Whole nanoseconds of any distribution: of one size, of all sizes, with ties and far outliers."""
    kind = rng.randrange(4)
    if kind == 0:
        found = [rng.choice((0.0, 1e-9, 1e-3, longest)) for _ in range(count)]
    elif kind == 1:
        found = [rng.uniform(0, longest) for _ in range(count)]
    elif kind == 2:
        found = [min(longest, rng.lognormvariate(-7, 2)) for _ in range(count)]
    else:
        found = [1e-6 * (1 + i / count) for i in range(count - 1)] + [longest]
    return [round(value, 9) for value in found]
