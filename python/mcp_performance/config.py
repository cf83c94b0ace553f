"""Defaults, each of which an environment variable ``MCP_PERFORMANCE_<NAME>`` can set.

They are read once, at import, where a bad value raises ConfigurationError; the ``mcp-performance`` command
says it in a line of its own instead. Assigning to one later affects objects that are made afterwards.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TypeVar

from ._base._durations import LONGEST
from .errors import ConfigurationError

__all__ = [
    "CACHE_TTL",
    "DB_CACHE_SIZE",
    "DB_POOL_SIZE",
    "DB_WAL_MODE",
    "HIGH_CPU_THRESHOLD",
    "HIGH_MEMORY_THRESHOLD",
    "IDEMPOTENCY_TTL",
    "LOW_CACHE_HIT_THRESHOLD",
    "QUERY_CACHE_TTL",
    "SLOW_QUERY_THRESHOLD",
]

_PREFIX = "MCP_PERFORMANCE_"
_COMMAND = "mcp-performance"
_T = TypeVar("_T")

_REFUSED: dict[str, str] = {}
"""In the command alone: by setting, what is wrong with its variable. The setting has its default."""


def _is_command() -> bool:
    """Whether the command is what imports this, as a script or by ``python -m``."""
    program = sys.argv[0] if getattr(sys, "argv", None) else ""  # embedded, there may be none
    if program != "-m":  # which stands there while the package of the module is imported
        return os.path.basename(program) == _COMMAND
    given = sys.orig_argv[: len(sys.orig_argv) - len(sys.argv) + 1]
    return "".join(given[-2:]).endswith(f"m{__package__}")


def _read(name: str, default: _T, parse: Callable[[str], _T], expected: str) -> _T:
    text = os.environ.get(_PREFIX + name)
    if text is None:
        return default
    try:
        return parse(text.strip())
    except ValueError:
        wrong = f"{_PREFIX}{name}={text!r}: expected {expected}"
        if not _is_command():
            raise ConfigurationError(wrong) from None
        _REFUSED[name] = wrong
        return default


def _number(low: float, high: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = float(text)
        if not low <= value <= high:
            raise ValueError
        return value

    return parse


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value <= LONGEST:
        raise ValueError
    return value


def _count(high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        value = int(text)
        if not 1 <= value <= high:
            raise ValueError
        return value

    return parse


def _flag(text: str) -> bool:
    value = {"1": True, "true": True, "yes": True, "on": True}.get(text.lower())
    if value is None:
        value = {"0": False, "false": False, "no": False, "off": False}.get(text.lower())
    if value is None:
        raise ValueError
    return value


# As far as the options go of which these are the defaults.
_SECONDS = f"a positive number of seconds, at most {LONGEST:g}"
_PERCENT = "a percentage from 0 to 100"

CACHE_TTL: float = _read("CACHE_TTL", 300.0, _positive, _SECONDS)
"""Lifetime of cached function results and resources, seconds."""

QUERY_CACHE_TTL: float = _read(
    "QUERY_CACHE_TTL", 60.0, _number(0, 1e9), "a number of seconds from 0 to 1e+09"
)
"""Upper bound on the age of a cached SELECT, seconds."""

IDEMPOTENCY_TTL: float = _read("IDEMPOTENCY_TTL", 86400.0, _positive, _SECONDS)
"""How long a stored response answers repeats of its request, seconds."""

DB_POOL_SIZE: int = _read("DB_POOL_SIZE", 5, _count(1000), "a whole number from 1 to 1000")
"""Connections of a pool: one writer, the others readers."""

DB_CACHE_SIZE: int = _read("DB_CACHE_SIZE", 10000, _count(1_000_000), "a whole number from 1 to 1000000")
"""Page cache of each connection, pages."""

DB_WAL_MODE: bool = _read("DB_WAL_MODE", True, _flag, "true or false")
"""Whether a pool switches its database to write-ahead logging."""

SLOW_QUERY_THRESHOLD: float = _read(
    "SLOW_QUERY_THRESHOLD", 0.05, _number(0, 86_400), "a number of seconds from 0 to 86400"
)
"""Queries that take longer are reported as slow, seconds."""

HIGH_CPU_THRESHOLD: float = _read("HIGH_CPU_THRESHOLD", 70.0, _number(0, 100), _PERCENT)
"""CPU use above which a recommendation is made, percent."""

HIGH_MEMORY_THRESHOLD: float = _read("HIGH_MEMORY_THRESHOLD", 80.0, _number(0, 100), _PERCENT)
"""Memory use above which a recommendation is made, percent."""

LOW_CACHE_HIT_THRESHOLD: float = _read("LOW_CACHE_HIT_THRESHOLD", 0.8, _number(0, 1), "a ratio from 0 to 1")
"""Cache hit ratio below which a recommendation is made."""
