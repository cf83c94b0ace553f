"""From figures to advice. Every rule is a function of a :meth:`PerformanceMonitor.metrics` dictionary.

A recommendation says what was seen, over how many samples, what to change, how, and what that should gain;
where the figures do not show a cause, or show too few samples, there is none. A cause stands before what it
explains.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from . import _advice_data as data
from . import _advice_process as process
from ._advice import Recommendation, Thresholds

__all__ = ["Recommendation", "Thresholds", "recommend"]

_RULES: tuple[Callable[[dict[str, Any], Thresholds], Iterator[Recommendation]], ...] = (
    process.errors,
    process.operations,
    process.memory,
    process.descriptors,
    process.cpu,
    process.workers,
    process.loop,
    process.upstream,
    data.caches,
    data.tiers,
    data.pools,
    data.slow_statements,
)

# Where nothing else decides: what has a remedy of its own before what may have many reasons.
_ORDER = (
    "file-descriptors",
    "tier-unavailable",
    "slow-query",
    "cpu-throttled",
    "raise-ttl",
    "raise-capacity",
    "narrow-invalidation",
    "repeated-query",
    "writer-waits",
    "pool-waits",
    "add-workers",
    "high-cpu",
    "server-errors",
    "failing-operation",
    "high-memory",
    "waits-elsewhere",
    "loop-blocked",
    "remove-workers",
)


def _explains(cause: Recommendation, effect: Recommendation) -> bool:
    if effect.code not in cause.explains:
        return False
    if effect.code == "slow-query" and effect.explains:  # it has a remedy of its own
        return False
    mutual = cause.code in effect.explains
    return not mutual or _ORDER.index(cause.code) < _ORDER.index(effect.code)


def _ordered(found: Sequence[Recommendation]) -> list[Recommendation]:
    """The critical and what explains them first, each behind its causes."""
    causes = {id(item): [other for other in found if _explains(other, item)] for item in found}
    urgent = [item for item in found if item.severity == "critical"]
    for item in urgent:  # grows while it is walked
        urgent.extend(cause for cause in causes[id(item)] if cause not in urgent)
    left = sorted(found, key=lambda item: (item not in urgent, _ORDER.index(item.code)))
    ordered: list[Recommendation] = []
    while left:
        free = (item for item in left if not any(cause in left for cause in causes[id(item)]))
        ordered.append(next(free, left[0]))
        left.remove(ordered[-1])
    return ordered


def recommend(
    metrics: dict[str, Any], queries: Sequence[Any], thresholds: Thresholds, advice: Sequence[Any] = ()
) -> list[Recommendation]:
    """Every rule over *metrics* and *queries* (``QueryStats``, those with the most time first); *advice* is
    what the analyzer found."""
    found = [item for rule in _RULES for item in rule(metrics, thresholds)]
    found.extend(data.slow_queries(metrics, queries, thresholds, advice))
    found.extend(data.repeated_queries(metrics, queries, thresholds))
    return _ordered(found)
