"""Why statements are slow, and which indexes would help."""

from __future__ import annotations

from .._core import fingerprint
from ._analyzer import QueryAnalyzer
from ._report import IndexAdvice, Issue, PlanStep, QueryReport, Rewrite, WorkloadStatistics
from ._untrusted import analyze_untrusted

__all__ = [
    "IndexAdvice",
    "Issue",
    "PlanStep",
    "QueryAnalyzer",
    "QueryReport",
    "Rewrite",
    "WorkloadStatistics",
    "analyze_untrusted",
    "fingerprint",
]
