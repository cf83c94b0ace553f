"""The Universal Scalability Law (N. Gunther, 1993), fitted to measured throughput.

``X(N) = l N / (1 + s (N - 1) + k N (N - 1))``: *l* is the throughput of one user, *s* contention (the
share of the work that only one can do at a time: the interpreter lock, a database's writer), *k*
coherency (what users cost each other pairwise). Beyond ``sqrt((1 - s) / k)`` more users do less.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from ..errors import ConfigurationError

__all__ = ["UslFit", "fit_usl"]

_STEPS = 200
# A parameter is decided when its interval is this share of it to each side, or makes so little difference.
_DECIDED, _NEGLIGIBLE = 0.1, 0.02
# Two-sided 95 % quantiles of Student's t by degrees of freedom; beyond the last one, the normal's.
_T95 = (
    12.71,
    4.303,
    3.182,
    2.776,
    2.571,
    2.447,
    2.365,
    2.306,
    2.262,
    2.228,
    2.201,
    2.179,
    2.160,
    2.145,
    2.131,
)

Vector = list[float]


@dataclass(frozen=True, slots=True)
class UslFit:
    """Parameters with their 95 % intervals (half-widths), from the linearised fit."""

    rate: float
    contention: float
    coherency: float
    rate_error: float
    contention_error: float
    coherency_error: float
    r_squared: float
    most_users: float = math.inf
    """The highest number of users that was measured."""

    @property
    def undecided(self) -> tuple[str, ...]:
        """The parameters that the data leave open: their interval is wider than a tenth of the value to
        each side, and what lies within it makes a difference of over 2 % under the most users measured."""
        n = self.most_users
        below = 1 + self.contention * (n - 1) + self.coherency * n * (n - 1)
        open_ones = []
        for name, value, error, effect in (
            ("rate", self.rate, self.rate_error, self.rate_error / self.rate),
            ("contention", self.contention, self.contention_error, self.contention_error * (n - 1) / below),
            ("coherency", self.coherency, self.coherency_error, self.coherency_error * n * (n - 1) / below),
        ):
            if not math.isfinite(error) or (error > _DECIDED * value and effect > _NEGLIGIBLE):
                open_ones.append(name)
        return tuple(open_ones)

    def predict(self, users: float) -> float:
        """Requests a second under *users* users."""
        return _model(users, self.rate, self.contention, self.coherency)

    @property
    def peak_users(self) -> float:
        """Users at which throughput is highest; infinite without coherency cost."""
        if self.coherency <= 0:
            return math.inf
        return math.sqrt(max(0.0, 1 - self.contention) / self.coherency)

    @property
    def peak_throughput(self) -> float:
        """Requests a second at the peak; without one, what throughput tends to."""
        if math.isinf(self.peak_users):
            return self.rate / self.contention if self.contention > 0 else math.inf
        return self.predict(max(1.0, self.peak_users))


def _model(n: float, rate: float, s: float, k: float) -> float:
    return rate * n / (1 + s * (n - 1) + k * n * (n - 1))


def fit_usl(points: Sequence[tuple[float, float]]) -> UslFit:
    """Fit the law to (users, requests a second) pairs; several pairs may share their users.

    Errors are taken to be relative, so residuals are those of the logarithms. Contention and coherency are
    not negative: of the fits with neither, either or none of them held at 0, the best feasible one.

    Raises:
        ConfigurationError: fewer than four different numbers of users, or a throughput of 0.
    """
    if len({n for n, _ in points}) < 4:
        raise ConfigurationError(
            f"points={list(points)!r}: expected at least four different numbers of users"
        )
    if not all(n >= 1 and x > 0 and math.isfinite(x) for n, x in points):
        raise ConfigurationError(f"points={list(points)!r}: expected users from 1 and throughput above 0")
    best: tuple[float, Vector, list[int]] | None = None
    for with_s, with_k in product((True, False), repeat=2):
        free = [0, *([1] if with_s else []), *([2] if with_k else [])]
        theta = _refine(points, _start(points), free)
        if theta[1] < 0 or theta[2] < 0 or theta[0] <= 0:
            continue
        error = _squares(points, theta)
        # A constraint that costs nothing is no better than none: prefer the freer fit on ties.
        if best is None or error < best[0] * (1 - 1e-12):
            best = (error, theta, free)
    if best is None:
        raise ConfigurationError(f"points={list(points)!r}: expected throughput that the law can describe")
    error, theta, _ = best
    # Also of what is held at 0: it is only known to be about as small as its interval is wide.
    half_widths = _half_widths(points, theta, [0, 1, 2], error)
    mean = sum(x for _, x in points) / len(points)
    residual = sum((x - _model(n, *theta)) ** 2 for n, x in points)
    spread = sum((x - mean) ** 2 for _, x in points)
    rate, contention, coherency = theta
    r_squared = 1 - residual / spread if spread else 0.0
    return UslFit(rate, contention, coherency, *half_widths, r_squared, max(n for n, _ in points))


def _start(points: Sequence[tuple[float, float]]) -> Vector:
    """``N / X`` is a parabola in N; its weighted least squares give a first guess."""
    rows = [(x / n, [1.0, n, n * n], n / x) for n, x in points]
    matrix = [[sum(w * w * row[i] * row[j] for w, row, _ in rows) for j in range(3)] for i in range(3)]
    right = [sum(w * w * row[i] * y for w, row, y in rows) for i in range(3)]
    a0, a1, a2 = _solve(matrix, right)
    total = a0 + a1 + a2
    if total <= 0:
        return [max(x / n for n, x in points), 0.1, 0.001]
    rate = 1 / total
    return [rate, min(max(1 - rate * a0, 1e-6), 0.99), max(rate * a2, 1e-9)]


def _residuals(points: Sequence[tuple[float, float]], theta: Vector) -> Vector:
    return [math.log(_model(n, *theta) / x) for n, x in points]


def _squares(points: Sequence[tuple[float, float]], theta: Vector) -> float:
    return sum(r * r for r in _residuals(points, theta))


def _gradient(n: float, theta: Vector) -> Vector:
    """The derivatives of one residual by the three parameters."""
    rate, s, k = theta
    below = 1 + s * (n - 1) + k * n * (n - 1)
    return [1 / rate, -(n - 1) / below, -n * (n - 1) / below]


def _refine(points: Sequence[tuple[float, float]], start: Vector, free: list[int]) -> Vector:
    """Levenberg and Marquardt's method over the *free* parameters; the others are 0."""
    theta = [value if i in free else 0.0 for i, value in enumerate(start)]
    damping = 1e-3
    error = _squares(points, theta)
    for _ in range(_STEPS):
        normal, right = _normal_equations(points, theta, free)
        damped = [
            [v * (1 + damping) if i == j else v for j, v in enumerate(row)] for i, row in enumerate(normal)
        ]
        step = _solve(damped, [-value for value in right])
        candidate = list(theta)
        for i, change in zip(free, step, strict=True):
            candidate[i] += change
        new_error = _squares(points, candidate) if _positive(points, candidate) else math.inf
        if new_error < error:
            done = error - new_error < 1e-14 * (error + 1e-30)
            theta, error, damping = candidate, new_error, damping / 3
            if done:
                break
        else:
            damping *= 4
            if damping > 1e12:
                break
    return theta


def _positive(points: Sequence[tuple[float, float]], theta: Vector) -> bool:
    _, s, k = theta
    return theta[0] > 0 and all(1 + s * (n - 1) + k * n * (n - 1) > 1e-9 for n, _ in points)


def _normal_equations(
    points: Sequence[tuple[float, float]], theta: Vector, free: list[int]
) -> tuple[list[Vector], Vector]:
    size = len(free)
    normal = [[0.0] * size for _ in range(size)]
    right = [0.0] * size
    for (n, _), residual in zip(points, _residuals(points, theta), strict=True):
        gradient = _gradient(n, theta)
        for i, a in enumerate(free):
            right[i] += gradient[a] * residual
            for j, b in enumerate(free):
                normal[i][j] += gradient[a] * gradient[b]
    return normal, right


def _half_widths(
    points: Sequence[tuple[float, float]], theta: Vector, free: list[int], error: float
) -> tuple[float, float, float]:
    freedom = len(points) - len(free)
    normal, _ = _normal_equations(points, theta, free)
    t = _T95[freedom - 1] if 1 <= freedom <= len(_T95) else 1.96 if freedom > 0 else math.inf
    widths = [0.0, 0.0, 0.0]
    for position, parameter in enumerate(free):
        unit = [1.0 if i == position else 0.0 for i in range(len(free))]
        variance = _solve(normal, unit)[position] * error / max(1, freedom)
        widths[parameter] = t * math.sqrt(max(0.0, variance))
    return widths[0], widths[1], widths[2]


def _solve(matrix: list[Vector], right: Vector) -> Vector:
    """Gaussian elimination with scaling and pivots; a direction without information stays 0."""
    size = len(right)
    scale = [math.sqrt(abs(matrix[i][i])) or 1.0 for i in range(size)]
    rows = [
        [matrix[i][j] / (scale[i] * scale[j]) for j in range(size)] + [right[i] / scale[i]]
        for i in range(size)
    ]
    for column in range(size):
        pivot = max(range(column, size), key=lambda i: abs(rows[i][column]))
        rows[column], rows[pivot] = rows[pivot], rows[column]
        if abs(rows[column][column]) < 1e-14:
            rows[column] = [1.0 if j == column else 0.0 for j in range(size + 1)]
            continue
        for i in range(size):
            if i != column:
                factor = rows[i][column] / rows[column][column]
                rows[i] = [a - factor * b for a, b in zip(rows[i], rows[column], strict=True)]
    return [rows[i][size] / rows[i][i] / scale[i] for i in range(size)]
