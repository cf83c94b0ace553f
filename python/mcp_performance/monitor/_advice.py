"""What a piece of advice is, and how its figures are written."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "MIN_CALLS",
    "MIN_REQUESTS",
    "Recommendation",
    "Thresholds",
    "as_bytes",
    "as_percent",
    "make",
]

MIN_REQUESTS = 100
MIN_CALLS = 20


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Where advice starts; the defaults are those of :mod:`mcp_performance.config`."""

    cpu_percent: float
    memory_percent: float
    hit_rate: float
    slow_query_seconds: float


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One piece of advice and the evidence for it."""

    code: str
    """A stable name of the rule, for example ``"raise-ttl"``."""
    subject: str
    """What it is about: a cache, a pool, a statement's hash, a route, the process."""
    message: str
    """All of it as one sentence or two."""
    evidence: str
    """What was seen."""
    samples: int
    """Over how many lookups, requests, calls or measurements."""
    action: str
    """What to change."""
    expected_gain: str
    """What that should bring; an upper bound where it says "up to"."""
    severity: str = "warning"
    """``"warning"``, or ``"critical"`` where requests fail or are about to."""
    details: dict[str, Any] = field(default_factory=dict)
    """The figures behind the evidence."""
    how_to_apply: str = ""
    """The statement, option or command that does it."""
    explains: tuple[str, ...] = ()
    """Codes of other advice that this is probably the cause of; it stands before them."""

    def to_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return dataclasses.asdict(self)


def make(
    code: str,
    subject: str,
    evidence: str,
    samples: int,
    action: str,
    gain: str,
    apply: str,
    *,
    severity: str = "warning",
    explains: tuple[str, ...] = (),
    **details: Any,
) -> Recommendation:
    """A :class:`Recommendation` whose message is made of its parts."""
    message = f"{evidence}: {action} ({gain})."
    return Recommendation(
        code, subject, message, evidence, samples, action, gain, severity, details, apply, explains
    )


def as_percent(share: float) -> str:
    """*share* (0 to 1) as text."""
    return f"{share * 100:.0f} %"


def as_bytes(count: float) -> str:
    """*count* bytes as text."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
