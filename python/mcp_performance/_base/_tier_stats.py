"""The figures of a tier."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

__all__ = ["SUMMED", "TierStats"]


@dataclass(frozen=True, slots=True)
class TierStats:
    """Figures of a :class:`RedisTier` and of every connection that was made from it."""

    hits: int = 0
    """Reads that found a value."""
    misses: int = 0
    """Reads that found none, or one that could not be read."""
    hit_rate: float = 0.0
    """``hits / (hits + misses)``; 0.0 when nothing was asked."""
    unreadable: int = 0
    """Values that were truncated, too large, forged, or of another codec. Counted in ``misses`` too."""
    unavailable: int = 0
    """Operations that failed because Redis could not serve them."""
    requests: int = 0
    """Requests sent."""
    refused: int = 0
    """Requests refused at once: the breaker was open, or too many were in flight."""
    timeouts: int = 0
    """Connections given up because an answer did not come in time."""
    connections: int = 0
    """Connections that were made."""
    losses: int = 0
    """Connections that were lost."""
    protocol_errors: int = 0
    """Connections dropped because the peer does not speak Redis."""
    invalidations: int = 0
    """Keys that the server announced as changed."""
    flushes: int = 0
    """Times that everything kept in memory was dropped."""
    in_flight: int = 0
    """Requests that wait for their answer now."""
    connected: bool = False
    """Whether a connection stands."""
    error_replies: Mapping[str, int] = field(default_factory=dict)
    """Error replies by their code, such as ``OOM`` or ``READONLY``."""


_OWN = {"hits", "misses", "hit_rate", "unreadable", "unavailable", "connected", "error_replies"}
SUMMED = tuple(one.name for one in fields(TierStats) if one.name not in _OWN)
"""The figures that the tier's clients count, each for itself."""
