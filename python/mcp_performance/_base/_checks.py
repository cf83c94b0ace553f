"""Options that are counts or seconds."""

from __future__ import annotations

import math

from ..errors import ConfigurationError

__all__ = ["check_count", "check_seconds"]


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
