"""What the analyzer finds out: issues, plans, index advice, rewrites and totals, as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ._html import advice_as_html, report_as_html

__all__ = [
    "Advice",
    "DropAdvice",
    "IndexAdvice",
    "Issue",
    "PlanStep",
    "QueryReport",
    "Rewrite",
    "StatementEffect",
    "StatisticsAdvice",
    "WorkloadStatistics",
]


@dataclass(frozen=True, slots=True)
class Issue:
    """One reason why a statement is, or will become, slow or wrong."""

    code: str
    """Stable: ``select-star``, ``missing-where``, ``leading-wildcard-like``, ``full-scan``, ``temp-b-tree``,
    ``auto-index``, ``function-on-column``, ``implicit-cast``, ``random-order``, ``missing-index``,
    ``count-for-existence``, ``not-in-null``, ``offset-paging``, ``or-on-columns``, ``correlated-subquery``,
    ``distinct-fan-out``, ``collation-mismatch``."""
    severity: str
    """``"info"`` (nothing to do now, for example because the table is small), ``"warning"`` or ``"high"``."""
    message: str
    suggestion: str
    table: str | None = None
    column: str | None = None
    evidence: str | None = None
    """The step of the plan, or the fact of the schema, that shows it."""
    offset: int | None = None
    """Where it is in the statement, in characters; ``None``: the whole of it."""
    length: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class PlanStep:
    """One line of SQLite's query plan.

    There is no time of a step: SQLite measures that only where it was built with
    ``SQLITE_ENABLE_STMT_SCANSTATUS``, as hardly any is. Times are of whole statements, see
    :class:`StatementEffect`.
    """

    id: int
    parent: int
    """The ``id`` of the step that this one is part of; 0 at the top."""
    detail: str
    """As SQLite words it, for example ``SEARCH t USING INDEX i (a=?)``."""
    rows: float | None = None
    """Rows that it goes over each time, by ``ANALYZE``, a count or a unique key; ``None``: not known."""
    depth: int = 0
    """Steps around this one."""

    def __str__(self) -> str:
        return "  " * self.depth + self.detail

    @property
    def rows_text(self) -> str:
        """The rows, as they are shown beside the step; empty where they are not known."""
        if self.rows is None:
            return ""
        return f"{self.rows:,.0f} row{'' if round(self.rows) == 1 else 's'} each time"

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
    seconds_before: float | None = None
    """Processor time of those runs, the least of a few; summed likewise."""
    seconds_after: float | None = None
    rows_before: float | None = None
    """Rows that full scans and automatic indexes go over in those runs; summed likewise."""
    rows_after: float | None = None
    runs: int = 0
    """Runs behind those figures: the fewest of any statement."""
    bytes: int | None = None
    """What the index takes in the file, as on the copy."""
    write_cost: float = 0.0
    """Opcodes that keeping the index adds to the workload's INSERT, UPDATE and DELETE, weighted likewise."""
    write_costs: Mapping[str, float] = field(default_factory=dict)
    """The same by fingerprint, for one run of the statement."""
    confidence: str = "low"
    """``"high"``: measured with the statement's own values; ``"medium"``: with values from the tables or on a
    sample; ``"low"``: the planner's word."""
    reason: str = ""
    verified: bool = False
    """Whether the index was made, and the statements were run before and after, on a copy of the data (on a
    sample where the database is larger than 256 MiB). Otherwise the planner was asked on an empty clone."""

    def to_dict(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class DropAdvice:
    """An index of the database that can go. It is never dropped for you."""

    ddl: str
    """``DROP INDEX ...``, ready to run."""
    index: str
    table: str
    reason: str
    """``"redundant"``: another index does all that it does. ``"unused"``: nothing in the workload uses it."""
    evidence: str
    bytes: int | None = None
    write_cost: float = 0.0
    """Opcodes that the workload's writes are spared, weighted."""

    def to_dict(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class StatisticsAdvice:
    """``ANALYZE``, where the planner chooses better with fresh statistics; tried on the copy."""

    ddl: str
    cost_before: float
    """Units of work of the whole workload with the indexes that would be advised without it."""
    cost_after: float

    def to_dict(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class StatementEffect:
    """One run of a statement of the workload, before and with all that is advised."""

    fingerprint: str
    weight: float
    cost_before: float
    """Opcodes of SQLite's virtual machine."""
    cost_after: float
    seconds_before: float
    """Processor time, the least of a few runs."""
    seconds_after: float
    rows_before: float
    """Rows that full scans and automatic indexes go over."""
    rows_after: float
    runs: int
    at_least: bool
    """The run before was stopped at its limit: it costs more than these figures."""

    def to_dict(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        return asdict(self)


class Advice(list[IndexAdvice]):
    """The indexes that a workload lacks, the most useful first, and what else was found out."""

    drops: tuple[DropAdvice, ...] = ()
    statistics: StatisticsAdvice | None = None
    statements: tuple[StatementEffect, ...] = ()
    """Of the statements that were run."""
    notes: tuple[str, ...] = ()
    """Statements that were left out, with the reason, and those whose plan depends on the values."""
    database_bytes: int | None = None
    sampled: bool = False
    """The database is large: all was measured on a sample of its rows."""
    applied: tuple[str, ...] = ()
    """The statements that ``apply=True`` has run."""

    @property
    def seconds_before(self) -> float:
        """Of the whole workload, weighted."""
        return sum(one.weight * one.seconds_before for one in self.statements)

    @property
    def seconds_after(self) -> float:
        """The same with all that is advised."""
        return sum(one.weight * one.seconds_after for one in self.statements)

    @property
    def bytes(self) -> int:
        """Of all advised indexes that were made."""
        return sum(index.bytes or 0 for index in self)

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {
            "indexes": [index.to_dict() for index in self],
            "drops": [drop.to_dict() for drop in self.drops],
            "statistics": self.statistics.to_dict() if self.statistics else None,
            "statements": [one.to_dict() for one in self.statements],
            "notes": list(self.notes),
            "database_bytes": self.database_bytes,
            "sampled": self.sampled,
            "applied": list(self.applied),
            "seconds_before": self.seconds_before,
            "seconds_after": self.seconds_after,
        }

    def _repr_html_(self) -> str:
        return advice_as_html(self)


@dataclass(frozen=True, slots=True)
class Rewrite:
    """Another way to write a statement. Never applied."""

    rule: str
    """Stable: ``or-to-in``, ``or-to-union``, ``redundant-distinct``, ``distinct-to-exists``,
    ``count-to-exists``, ``not-in-to-not-exists``, ``exists-to-in``, ``correlated-to-join``,
    ``function-to-range``, ``lower-to-nocase``, ``arithmetic-to-bare``, ``coalesce-to-bare``,
    ``literal-type``, ``cast-other-side``, ``collation-narrow``, ``offset-to-keyset``, ``star-to-columns``."""
    sql: str
    reason: str
    """What makes it the same statement, or how it differs."""
    equivalence: str = "proved"
    """``"proved"``: the same rows whatever the data, by the text and the schema (NOT NULL, UNIQUE, STRICT,
    affinity, collation). ``"data"``: the same rows now, by a condition that was checked on every row and that
    the schema does not force. ``"different"``: another statement, which asks for what is needed at less cost;
    ``reason`` says how it differs."""
    offset: int | None = None
    """Where the first change is in the statement, in characters."""
    length: int = 0
    parameters: Mapping[str, str] = field(default_factory=dict)
    """Parameters that it adds, each with the column whose value is bound: those of the last row of the page
    before, for ``offset-to-keyset``."""

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

    def _repr_html_(self) -> str:
        return report_as_html(self)


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


def index_from(found: Mapping[str, Any]) -> IndexAdvice:
    """From the core's JSON."""
    whole = None if found["bytes"] is None else int(found["bytes"])
    columns, used_by = tuple(found["columns"]), tuple(found["used_by"])
    return IndexAdvice(**{**found, "columns": columns, "used_by": used_by, "bytes": whole})


def advice_from(found: Mapping[str, Any]) -> Advice:
    """From the core's JSON."""
    advice = Advice(index_from(index) for index in found["indexes"])
    advice.drops = tuple(
        DropAdvice(**{**drop, "bytes": None if drop["bytes"] is None else int(drop["bytes"])})
        for drop in found["drops"]
    )
    if "statistics" in found:
        advice.statistics = StatisticsAdvice(**found["statistics"])
    advice.statements = tuple(StatementEffect(**one) for one in found["statements"])
    advice.notes = tuple(found["notes"])
    advice.database_bytes = None if found["database_bytes"] is None else int(found["database_bytes"])
    advice.sampled = found["sampled"]
    return advice


def _plan_from(steps: Sequence[Mapping[str, Any]]) -> tuple[PlanStep, ...]:
    depths = {0: -1}
    plan = []
    for step in steps:
        depths[step["id"]] = depth = depths.get(step["parent"], -1) + 1
        plan.append(PlanStep(**step, depth=depth))
    return tuple(plan)


def _placed(found: dict[str, Any], sql: bytes) -> dict[str, Any]:
    """*found* with its place in characters, not bytes."""
    begin, end = int(found.pop("begin")), int(found.pop("end"))
    if end > begin:
        found["offset"] = len(sql[:begin].decode("utf-8", "replace"))
        found["length"] = len(sql[begin:end].decode("utf-8", "replace"))
    return found


def report_from(found: Mapping[str, Any], sql: str) -> QueryReport:
    """From the core's JSON of the analysis of *sql*."""
    encoded = sql.encode()
    return QueryReport(
        fingerprint=found["fingerprint"],
        hash=found["hash"],
        issues=tuple(Issue(**_placed(issue, encoded)) for issue in found["issues"]),
        plan=_plan_from(found["plan"]),
        indexes=tuple(index_from(index) for index in found["indexes"]),
        rewrites=tuple(Rewrite(**_placed(rewrite, encoded)) for rewrite in found["rewrites"]),
    )
