"""The options of a pool, checked."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any, Literal, TypeAlias, TypedDict

from .. import _core, config
from .._base._checks import choice, flag, function, integer, number
from ._adapters import AdapterName, chosen_adapters

__all__ = ["PoolOptions", "Synchronous", "checked_settings", "place_of"]

Synchronous: TypeAlias = Literal["OFF", "NORMAL", "FULL", "EXTRA"]

_ROW_TYPES: dict[str, int] = {
    "tuple": _core.SQLITE_TUPLE,
    "named": _core.SQLITE_NAMED,
    "dict": _core.SQLITE_DICT,
}
_LEVELS = ("OFF", "NORMAL", "FULL", "EXTRA")
_LONGEST = 1e9  # seconds


class PoolOptions(TypedDict, total=False):
    """What a pool may be given by name, but for ``row_type``."""

    cache_pages: int | None
    wal: bool | None
    query_cache_ttl: float | None
    slow_query_threshold: float | None
    query_cache_bytes: int
    busy_timeout: float
    acquire_timeout: float
    inline_budget: float
    synchronous: Synchronous
    init: Callable[[_core.SQLiteNewConnection], object] | None
    adapters: Iterable[AdapterName]
    tracking: bool
    name: str | None


def place_of(path: str) -> dict[str, Any]:
    """Where the database is; relative paths are those of now."""
    is_address = path == ":memory:" or path.startswith("file:")
    return {"path": path if is_address else os.path.abspath(path), "memory": path == ":memory:"}


def _seconds(name: str, value: float) -> float:
    return number(name, value, 0, _LONGEST, unit="seconds")


def checked_settings(
    *,
    size: int | None,
    cache_pages: int | None,
    wal: bool | None,
    query_cache_ttl: float | None,
    slow_query_threshold: float | None,
    query_cache_bytes: int,
    busy_timeout: float,
    acquire_timeout: float,
    inline_budget: float,
    synchronous: str,
    row_type: str,
    init: Callable[[_core.SQLiteNewConnection], object] | None,
    adapters: Iterable[AdapterName],
    tracking: bool,
) -> dict[str, Any]:
    """The settings of the native pool; what is ``None`` comes from :mod:`mcp_performance.config`."""
    choice("row_type", row_type, _ROW_TYPES)
    choice("synchronous", synchronous, _LEVELS)
    if init is not None:
        function("init", init)
    return {
        "size": integer("size", config.DB_POOL_SIZE if size is None else size, 1, 1000),
        "cache_pages": integer(
            "cache_pages", config.DB_CACHE_SIZE if cache_pages is None else cache_pages, 1, 2**31 - 1
        ),
        "wal": flag("wal", config.DB_WAL_MODE if wal is None else wal),
        "query_cache_ttl": _seconds(
            "query_cache_ttl", config.QUERY_CACHE_TTL if query_cache_ttl is None else query_cache_ttl
        ),
        "slow_query_threshold": _seconds(
            "slow_query_threshold",
            config.SLOW_QUERY_THRESHOLD if slow_query_threshold is None else slow_query_threshold,
        ),
        "query_cache_bytes": integer("query_cache_bytes", query_cache_bytes, 0, 2**62),
        "busy_timeout": _seconds("busy_timeout", busy_timeout),
        "acquire_timeout": number(
            "acquire_timeout", acquire_timeout, 0, _LONGEST, above=True, unit="seconds"
        ),
        "inline_budget": _seconds("inline_budget", inline_budget),
        "synchronous": synchronous,
        "row_type": _ROW_TYPES[row_type],
        "init": init,
        "tracking": flag("tracking", tracking),
        **chosen_adapters(adapters),
    }
