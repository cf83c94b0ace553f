"""Lifetimes as people write them, checked and turned into nanoseconds."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from typing import Any

from ..errors import ConfigurationError

__all__ = ["fixed", "nanoseconds", "seconds", "short"]

LONGEST = 3.2e9
"""The longest lifetime, seconds: a hundred years."""

_UNITS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw])")
_TEXT = re.compile(rf"(?:{_PART.pattern})+")
_EXPECTED = "a positive number of seconds, a timedelta, text such as '5m' or '1h30m', or None"


def seconds(name: str, value: Any, *, zero: bool = False) -> float | None:
    """*value* in seconds; ``None`` for ever.

    Raises:
        ConfigurationError: it is negative, zero (unless *zero*), not finite or over a hundred years.
        TypeError: it is no duration at all.
    """
    if value is None:
        return None
    if isinstance(value, bool):
        raise TypeError(f"{name}={value!r}: expected {_EXPECTED}")
    if isinstance(value, str):
        text = value.strip().lower()
        if _TEXT.fullmatch(text) is None:
            raise ConfigurationError(f"{name}={value!r}: expected {_EXPECTED}")
        number = sum(float(amount) * _UNITS[unit] for amount, unit in _PART.findall(text))
    elif isinstance(value, timedelta):
        number = value.total_seconds()
    elif isinstance(value, (int, float)):
        number = float(value) if abs(value) < 1e18 else math.inf
    else:
        raise TypeError(f"{name}={value!r}: expected {_EXPECTED}")
    if not (0 < number <= LONGEST or (zero and number == 0)):
        raise ConfigurationError(f"{name}={value!r}: expected {_EXPECTED}")
    return number


def nanoseconds(name: str, value: Any, *, zero: bool = False) -> int | None:
    """:func:`seconds` as the native core takes it."""
    number = seconds(name, value, zero=zero)
    return None if number is None else max(round(number * 1e9), 0 if zero else 1)


def short(value: float) -> str:
    """*value*, seconds, with three digits and a unit that fits; nan as "none"."""
    if math.isnan(value):
        return "none"
    for unit, scale in (("s", 1.0), ("ms", 1e3)):
        if value * scale >= 1:
            return f"{value * scale:.3g} {unit}"
    return f"{value * 1e6:.3g} us"


def fixed(value: float) -> str:
    """*value*, seconds, for sentences: two digits of a second, one of a millisecond."""
    if value >= 1:
        return f"{value:.2f} s"
    return f"{value * 1e3:.1f} ms" if value >= 1e-3 else f"{value * 1e6:.0f} us"
