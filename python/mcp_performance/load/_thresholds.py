"""Conditions on a result, written the way people say them: ``p99<50ms``, ``success_rate>=0.999``."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigurationError

__all__ = ["Threshold", "check_thresholds", "hopeless"]

_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_TIMES = {
    "avg": "avg_response_time",
    "avg_response_time": "avg_response_time",
    "p50": "p50",
    "p95": "p95",
    "p99": "p99",
    "p999": "p999",
    "p99.9": "p999",
    "max": "max",
    "service_p50": "service_p50",
    "service_p95": "service_p95",
    "service_p99": "service_p99",
}
_PERCENTS = {"p50": 50.0, "p95": 95.0, "p99": 99.0, "p999": 99.9}
_NUMBERS = {"rps": "requests_per_second", "requests_per_second": "requests_per_second", "failed": "failed"}
_RATIOS = {"success_rate": "success_rate", "error_rate": "error_rate"}
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "": 1.0}

_PATTERN = re.compile(
    r"\s*([a-z_0-9.]+)\s*(<=|>=|<|>)\s*([0-9]+(?:\.[0-9]+)?(?:e-?[0-9]+)?)\s*(us|ms|s|%)?\s*"
)


@dataclass(frozen=True, slots=True)
class Threshold:
    """One condition. ``limit`` is in seconds, requests a second, or 0..1."""

    expression: str
    field: str
    compare: Callable[[float, float], bool]
    limit: float

    def holds(self, result: Any) -> bool:
        """Whether the finished *result* meets it."""
        value = 1 - result.success_rate if self.field == "error_rate" else getattr(result, self.field)
        return self.compare(value, self.limit)


def check_thresholds(expressions: Sequence[str]) -> list[Threshold]:
    """The conditions that *expressions* say. Raises :class:`ConfigurationError`."""
    if isinstance(expressions, str):
        raise TypeError(f"thresholds={expressions!r}: expected a sequence of conditions")
    return [_parse(expression) for expression in expressions]


def _parse(expression: str) -> Threshold:
    match = _PATTERN.fullmatch(expression)
    if match is None:
        raise ConfigurationError(f"thresholds={expression!r}: expected a condition such as 'p99<50ms'")
    name, sign, digits, unit = match[1], match[2], match[3], match[4] or ""
    if name in _TIMES and unit != "%":
        return Threshold(expression, _TIMES[name], _OPERATORS[sign], float(digits) * _UNITS[unit])
    if name in _RATIOS and unit in ("", "%"):
        return Threshold(expression, _RATIOS[name], _OPERATORS[sign], float(digits) / (100 if unit else 1))
    if name in _NUMBERS and unit == "":
        return Threshold(expression, _NUMBERS[name], _OPERATORS[sign], float(digits))
    known = ", ".join(sorted({*_TIMES, *_RATIOS, *_NUMBERS}))
    raise ConfigurationError(f"thresholds={expression!r}: expected one of {known} and a fitting unit")


def hopeless(conditions: Sequence[Threshold], report: dict[str, Any]) -> bool:
    """Whether the run so far, if it went on like this, fails one of *conditions*.

    Only after a thousand requests, so that a cold start does not end a run.
    """
    total = report["successful"] + report["failed"]
    if total < 1000:
        return False
    response = report["response"]
    for condition in conditions:
        if condition.field in _PERCENTS:
            value = response.percentile(_PERCENTS[condition.field])
        elif condition.field == "max":
            value = response.max
        elif condition.field == "avg_response_time":
            value = response.mean
        elif condition.field in ("success_rate", "error_rate"):
            failed = report["failed"] / total
            value = 1 - failed if condition.field == "success_rate" else failed
        elif condition.field == "failed":
            value = report["failed"]
        else:
            continue
        if not condition.compare(value, condition.limit):
            return True
    return False
