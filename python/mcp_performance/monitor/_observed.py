"""Reads the figures of caches, pools and tiers into plain dictionaries, ready for JSON."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["observe", "observe_pools", "queries_of"]

_logger = logging.getLogger("mcp_performance.monitor")


def _unique(name: str, taken: set[str]) -> str:
    candidate, number = name, 1
    while candidate in taken:
        number += 1
        candidate = f"{name}#{number}"
    taken.add(candidate)
    return candidate


def _gather(
    kind: str, items: Iterable[Any], read: Callable[[Any], dict[str, Any]], sources: dict[str, Any] | None
) -> list[dict[str, Any]]:
    """One failing source is logged and left out; the others still answer."""
    found: list[dict[str, Any]] = []
    taken: set[str] = set()
    for item in items:
        try:
            figures = read(item)
        except Exception:
            _logger.exception("the figures of a %s cannot be read", kind)
            continue
        name = getattr(item, "name", None)
        unique = _unique(str(name) if name else kind, taken)
        found.append({"name": unique, **figures})
        if sources is not None:
            sources[unique] = item
    return found


def observe(kind: str, items: Iterable[Any], sources: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """``{"name": ..., <every field of stats()>}`` of each of *items*; names are made unique. *sources*
    is told which item has which name."""
    return _gather(kind, items, lambda item: dataclasses.asdict(item.stats()), sources)


def observe_pools(pools: Iterable[Any], sources: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """As :func:`observe`, with the statements' time apart: waiting, in SQLite, making objects."""

    def read(pool: Any) -> dict[str, Any]:
        figures = dataclasses.asdict(pool.stats())
        queries = pool.query_stats()
        figures["calls"] = sum(query.calls for query in queries)
        for part in ("queue_seconds", "step_seconds", "convert_seconds"):
            figures[part] = sum(getattr(query, part) for query in queries)
        return figures

    return _gather("pool", pools, read, sources)


def queries_of(pools: Iterable[Any]) -> list[Any]:
    """The :class:`QueryStats` of all *pools*, the most expensive in total first."""
    found: list[Any] = []
    for pool in pools:
        try:
            found.extend(pool.query_stats())
        except Exception:
            _logger.exception("the statements of a pool cannot be read")
    return sorted(found, key=lambda query: query.total_seconds, reverse=True)
