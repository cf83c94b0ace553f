"""Options that are counts, numbers or seconds."""

from __future__ import annotations

import math
from typing import Any

from ..errors import ConfigurationError

__all__ = ["MAX_DURATION", "check_count", "check_seconds", "integer", "number", "request_timeout"]

MAX_DURATION = 86_400.0
"""The longest that a request or a load test may take, seconds."""


def check_count(name: str, value: object, most: int) -> None:
    """Raise unless *value* is a whole number from 1 to *most*.

    Raises:
        TypeError: it is no whole number.
        ConfigurationError: it is another one.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}={value!r}: expected a whole number")
    if not 1 <= value <= most:
        raise ConfigurationError(f"{name}={value!r}: expected a whole number from 1 to {most}")


def check_seconds(name: str, value: object) -> None:
    """Raise unless *value* is ``None`` or a number of seconds, infinity among them.

    Raises:
        TypeError: it is no number.
        ConfigurationError: it is negative, or not a number.
    """
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name}={value!r}: expected seconds, or None")
    if math.isnan(value) or value < 0:
        raise ConfigurationError(f"{name}={value!r}: expected seconds, 0 or more, or None")


def integer(name: str, value: Any, low: int, high: int) -> int:
    """*value* if it is a whole number from *low* to *high*."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}={value!r}: expected a whole number")
    if not low <= value <= high:
        raise ConfigurationError(f"{name}={value!r}: expected a whole number from {low} to {high}")
    return value


def number(name: str, value: Any, low: float, high: float, *, above: bool = False) -> float:
    """*value* if it is a number from *low* (or *above* it) to *high*."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name}={value!r}: expected a number")
    if math.isnan(value) or not (low < value if above else low <= value) or value > high:
        span = f"above {low:g} up to {high:g}" if above else f"from {low:g} to {high:g}"
        raise ConfigurationError(f"{name}={value!r}: expected a number {span}")
    return float(value)


def request_timeout(value: Any) -> float:
    """The seconds that a request may take; a day where *value* is ``None``."""
    return MAX_DURATION if value is None else number("timeout", value, 0, MAX_DURATION, above=True)
