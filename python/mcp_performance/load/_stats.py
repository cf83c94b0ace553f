"""The parts of a result: figures of one second, and of one kind of request."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["RequestStats", "SecondStats"]


@dataclass(frozen=True, slots=True)
class SecondStats:
    """One second of a run; times in seconds."""

    second: int
    successful: int
    failed: int
    bytes: int
    p50: float
    p95: float
    p99: float
    max: float


@dataclass(frozen=True, slots=True)
class RequestStats:
    """The figures of one kind of request of a scenario; times in seconds."""

    name: str
    successful: int
    failed: int
    bytes: int
    avg: float
    p50: float
    p95: float
    p99: float
    max: float
