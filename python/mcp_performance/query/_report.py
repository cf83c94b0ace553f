"""What the analyzer finds out: issues, plans, index advice, rewrites and totals, as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["IndexAdvice", "Issue", "PlanStep", "QueryReport", "Rewrite", "WorkloadStatistics"]


@dataclass(frozen=True, slots=True)
class Issue:
    """One reason why a statement is, or will become, slow or wrong."""

    code: str
    """Stable: ``select-star``, ``missing-where``, ``leading-wildcard-like``, ``full-scan``, ``temp-b-tree``,
    ``auto-index``, ``function-on-column``, ``implicit-cast``, ``missing-index``."""
    severity: str
    """``"info"`` (nothing to do now, for example because the table is small), ``"warning"`` or ``"high"``."""
    message: str
    suggestion: str
    table: str | None = None
    column: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class PlanStep:
    """One line of SQLite's query plan."""

    id: int
    parent: int
    """The ``id`` of the step that this one is part of; 0 at the top."""
    detail: str
    """As SQLite words it, for example ``SEARCH t USING INDEX i (a=?)``."""
    depth: int = 0
    """Steps around this one."""

    def __str__(self) -> str:
        return "  " * self.depth + self.detail

    def to_dict(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class IndexAdvice:
    """An index that is worth having."""

    ddl: str
    """``CREATE INDEX ...``, ready to run."""
    table: str
    columns: tuple[str, ...]
    used_by: tuple[str, ...]
    """Fingerprints of the statements in whose plan it is."""
    cost_before: float | None = None
    """Opcodes that SQLite's virtual machine runs for the statements of ``used_by`` without the index: the sum
    over them of weight times opcodes a run. ``None`` where nothing was run."""
    cost_after: float | None = None
    """The same with the index."""
    write_cost: float = 0.0
    """Opcodes that keeping the index adds to the workload's INSERT, UPDATE and DELETE, weighted likewise."""
    verified: bool = False
    """Whether the index was made, and the statements were run before and after, on a copy of the data (on a
    sample where the database is larger than 256 MiB). Otherwise the planner was asked on an empty clone."""

    def to_dict(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Rewrite:
    """Another way to write a statement, which gives the same rows. Proved by its rule; never applied."""

    rule: str
    """``or-to-in``, ``redundant-distinct`` or ``count-to-exists``."""
    sql: str
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class QueryReport:
    """What can be said of one statement without running it."""

    fingerprint: str
    """The statement without its values."""
    hash: str
    """16 hexadecimal digits of the fingerprint: FNV-1a, the same on every machine."""
    issues: tuple[Issue, ...] = ()
    plan: tuple[PlanStep, ...] = ()
    indexes: tuple[IndexAdvice, ...] = ()
    """Indexes that the planner would use; :meth:`QueryAnalyzer.advise` tries them."""
    rewrites: tuple[Rewrite, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class WorkloadStatistics:
    """All statements together, since they were first counted. Times are seconds in SQLite."""

    calls: int = 0
    errors: int = 0
    total_seconds: float = 0.0
    mean_seconds: float = 0.0
    p95_seconds: float = 0.0
    p99_seconds: float = 0.0
    max_seconds: float = 0.0
    rows: int = 0
    """Rows returned."""
    rows_scanned: int = 0
    """Rows visited by full table scans."""
    fingerprints: int = 0
    """Different statements remembered."""

    def to_dict(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        return asdict(self)


def advice_from(found: Mapping[str, Any]) -> IndexAdvice:
    """From the core's JSON."""
    return IndexAdvice(**{**found, "columns": tuple(found["columns"]), "used_by": tuple(found["used_by"])})


def _plan_from(steps: Sequence[Mapping[str, Any]]) -> tuple[PlanStep, ...]:
    depths = {0: -1}
    plan = []
    for step in steps:
        depths[step["id"]] = depth = depths.get(step["parent"], -1) + 1
        plan.append(PlanStep(**step, depth=depth))
    return tuple(plan)


def report_from(found: Mapping[str, Any]) -> QueryReport:
    """From the core's JSON."""
    return QueryReport(
        fingerprint=found["fingerprint"],
        hash=found["hash"],
        issues=tuple(Issue(**issue) for issue in found["issues"]),
        plan=_plan_from(found["plan"]),
        indexes=tuple(advice_from(index) for index in found["indexes"]),
        rewrites=tuple(Rewrite(**rewrite) for rewrite in found["rewrites"]),
    )
