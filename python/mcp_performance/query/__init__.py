"""Why statements are slow, and which indexes would help."""

from __future__ import annotations

from .._core import fingerprint
from ._analyzer import QueryAnalyzer
from ._report import (
    Advice,
    DropAdvice,
    IndexAdvice,
    Issue,
    PlanStep,
    QueryReport,
    Rewrite,
    StatementEffect,
    StatisticsAdvice,
    WorkloadStatistics,
)
from ._untrusted import analyze_untrusted
from ._workload import read_workload

__all__ = [
    "Advice",
    "DropAdvice",
    "IndexAdvice",
    "Issue",
    "PlanStep",
    "QueryAnalyzer",
    "QueryReport",
    "Rewrite",
    "StatementEffect",
    "StatisticsAdvice",
    "WorkloadStatistics",
    "analyze_untrusted",
    "fingerprint",
    "read_workload",
]
