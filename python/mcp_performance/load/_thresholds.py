"""Conditions on a result, written the way people say them: ``p99<50ms``, ``success_rate>=0.999``.

``p99{GET /login}<50ms`` is about the requests of one name (k6's ``{name:...}`` means the same),
``p99{tag:checkout}<50ms`` about those that have a tag, and ``p99[10s..30s]<50ms`` about the seconds from 10
up to 30; an end that is left out is that of the run.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from .._base._checks import texts
from .._base._durations import seconds
from ..errors import ConfigurationError

__all__ = ["THRESHOLDS_HELP", "Threshold", "check_thresholds", "hopeless"]

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
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_FAILURES = ("success_rate", "error_rate", "failed")
_OF_A_KIND = (*_FAILURES, "avg_response_time", "p50", "p95", "p99", "p999", "max", "requests_per_second")
_OF_A_WINDOW = (*_FAILURES, "p50", "p95", "p99", "max", "requests_per_second")

_PATTERN = re.compile(
    r"\s*(?P<metric>[\w.]+)\s*(?:\{\s*(?:(?P<by>name|tag)\s*:)?\s*(?P<kind>[^}]+?)\s*\})?"
    r"\s*(?:\[\s*(?P<window>[^\]]*?)\s*\])?"
    r"\s*(?P<sign>[<>=!~]+)\s*(?P<limit>[^\s<>=!~]+?)\s*(?P<unit>[a-z%/]*)\s*",
    re.IGNORECASE,
)
_LIMIT = re.compile(r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:e[+-]?[0-9]+)?", re.ASCII)

THRESHOLDS_HELP = f"""\
thresholds: METRIC OPERATOR LIMIT, such as 'p99<50ms'
  times      {", ".join(_TIMES)}: with a unit, us, ms or s
  ratios     {", ".join(_RATIOS)}: 0.99 or 99%
  numbers    {", ".join(_NUMBERS)}
  operators  {" ".join(_OPERATORS)}
  of one kind of request, by its name: 'p99{{GET /login}}<50ms', or of those with a tag: 'p99{{tag:x}}<50ms'
  of some seconds of the run: 'p99[10s..30s]<50ms', 'error_rate[60s..]<1%' (times: each second's)
"""


@dataclass(frozen=True, slots=True)
class Threshold:
    """One condition. ``limit`` is in seconds, requests a second, or 0..1.

    ``kind`` is the name of the requests that it is about, or with ``by_tag`` a tag of theirs; ``window``
    the seconds from and up to which.
    """

    expression: str
    field: str
    compare: Callable[[float, float], bool]
    limit: float
    kind: str | None = None
    by_tag: bool = False
    window: tuple[float, float] | None = None

    def holds(self, result: Any) -> bool:
        """Whether the finished *result* meets it.

        What had no request meets nothing but ``failed``, and what had no answer has no time to meet.
        """
        value = self._value(result)
        return value is not None and self.compare(value, self.limit)

    def allows_failures(self, result: Any) -> bool:
        """Whether it says how many requests of the run may fail, and no more did."""
        whole = self.kind is None and self.window is None
        return whole and self.field in _FAILURES and self.holds(result)

    def _value(self, result: Any) -> float | None:
        if self.kind is not None:
            stats = (result.tags if self.by_tag else result.requests).get(self.kind)
            return None if stats is None else _of_kind(self.field, stats, result.elapsed)
        if self.window is not None:
            low, high = self.window
            part = [point for point in result.series if low <= point.second < high]
            return _of_window(self.field, part)
        if self.field == "error_rate":
            return 1 - float(result.success_rate)
        return float(getattr(result, self.field))


def _of_kind(field: str, stats: Any, elapsed: float) -> float | None:
    total = stats.successful + stats.failed
    if field == "failed":
        return float(stats.failed)
    if not total:
        return None
    if field == "requests_per_second":
        return float(stats.successful / elapsed) if elapsed else None
    if field in _RATIOS:
        return float((stats.failed if field == "error_rate" else stats.successful) / total)
    return float(getattr(stats, "avg" if field == "avg_response_time" else field))


def _of_window(field: str, part: Sequence[Any]) -> float | None:
    successful = sum(point.successful for point in part)
    failed = sum(point.failed for point in part)
    if field == "failed":
        return float(failed)
    if field == "requests_per_second":
        length = sum(point.seconds for point in part)
        return float(successful / length) if length else None
    if not successful + failed:
        return None
    if field in _RATIOS:
        return float((failed if field == "error_rate" else successful) / (successful + failed))
    # Of a second in which nothing was answered there is no time, and none to be met.
    return max(
        (float(getattr(point, field)) for point in part if point.successful + point.failed), key=_order
    )


def _order(value: float) -> float:
    return math.inf if math.isnan(value) else value


def check_thresholds(
    expressions: Sequence[str],
    kinds: Collection[str] | None = None,
    tags: Collection[str] | None = None,
    *,
    option: str = "thresholds",
    length: float | None = None,
) -> list[Threshold]:
    """The conditions that *expressions* say. Raises :class:`ConfigurationError` or ``TypeError``.

    *kinds* are the names of the requests of the target, *tags* what they are tagged with, *length* the
    seconds of the run; None where that is not known.
    """
    found = []
    for expression in texts(option, expressions):
        try:
            threshold = _parse(expression)
            known, what = (tags, "a tag") if threshold.by_tag else (kinds, "the name of a request")
            if known is not None and threshold.kind not in (None, *known):
                raise _Refused(f"{what}, one of {', '.join(map(repr, known))}")
            if length is not None and threshold.window is not None and threshold.window[0] >= length:
                raise _Refused(f"a window that begins within the run of {length:g} s")
        except _Refused as refused:
            raise ConfigurationError(f"{option}={expression!r}: expected {refused}") from None
        found.append(threshold)
    return found


class _Refused(Exception):
    """What was expected instead."""


def _parse(expression: str) -> Threshold:
    match = _PATTERN.fullmatch(expression)
    if match is None:
        raise _Refused("a condition such as 'p99<50ms'")
    name, sign, digits, unit = match["metric"], match["sign"], match["limit"], match["unit"]
    known = {**_TIMES, **_RATIOS, **_NUMBERS}
    if name not in known:
        raise _Refused(f"one of {', '.join(sorted(known))} instead of {name!r}")
    if sign not in _OPERATORS:
        raise _Refused(f"one of {' '.join(_OPERATORS)} instead of {sign!r}")
    if _LIMIT.fullmatch(digits) is None or not math.isfinite(float(digits)):
        raise _Refused(f"a number that is not negative, instead of {digits!r}")
    limit = _in_unit(expression, name, float(digits), unit)
    found = Threshold(expression, known[name], _OPERATORS[sign], limit)
    return _selected(found, match["kind"], match["window"], by_tag=match["by"] == "tag")


def _in_unit(expression: str, name: str, value: float, unit: str) -> float:
    """*value* in seconds, requests a second, or 0..1."""
    if name in _TIMES:
        if not unit:
            suggestion = expression.rstrip() + "ms"
            raise _Refused(f"a unit, us, ms or s, such as {suggestion!r}")
        if unit not in _UNITS:
            raise _Refused(f"a unit of time, us, ms or s, instead of {unit!r}")
        return value * _UNITS[unit]
    if name in _NUMBERS:
        if unit:
            raise _Refused(f"a plain number, which {unit!r} is no fitting unit of")
        return value
    if unit not in ("", "%"):
        raise _Refused(f"a ratio such as 0.99 or 99%, which {unit!r} is no fitting unit of")
    # "error_rate<1" is meant as 1 % as often as it is not, and would allow anything.
    if value > (100 if unit else 1) or (name == "error_rate" and value == 1 and not unit):
        suggestion = "" if unit else f", such as {value:g}%"
        raise _Refused(f"a ratio from 0 to 1, or a percentage up to 100%{suggestion}")
    return value / (100 if unit else 1)


def _selected(found: Threshold, kind: str | None, window: str | None, *, by_tag: bool) -> Threshold:
    if kind is None and window is None:
        return found
    if kind is not None and window is not None:
        raise _Refused("a name or a window, not both")
    known = _OF_A_WINDOW if kind is None else _OF_A_KIND
    if found.field not in known:
        raise _Refused(f"one of {', '.join(known)} there")
    part = None if window is None else _window(window)
    return Threshold(found.expression, found.field, found.compare, found.limit, kind, by_tag, part)


def _window(text: str) -> tuple[float, float]:
    low, dots, high = text.partition("..")
    try:
        first = float(_seconds(low)) if low.strip() else 0.0
        last = float(_seconds(high)) if high.strip() else float("inf")
    except ConfigurationError:
        dots = ""
        first = last = 0.0
    if not dots or not first < last:
        raise _Refused("a window such as [10s..30s]")
    if first % 1 or (last % 1 and math.isfinite(last)):
        raise _Refused("a window of whole seconds, such as [10s..30s]")
    return first, last


def _seconds(text: str) -> float:
    return seconds("window", text.strip(), zero=True) or 0.0


def hopeless(conditions: Sequence[Threshold], report: dict[str, Any]) -> bool:
    """Whether the run so far, if it went on like this, fails one of *conditions*.

    Only after a thousand requests, so that a cold start does not end a run, and only by conditions on
    the whole of it.
    """
    total = report["successful"] + report["failed"]
    if total < 1000:
        return False
    response = report["response"]
    for condition in conditions:
        if condition.kind is not None or condition.window is not None:
            continue
        if condition.field in _TIMES.values() and not response.count:
            return True  # nothing has been answered
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
