"""Figures of a :class:`SQLitePool` and of the statements that it ran."""

from __future__ import annotations

from dataclasses import dataclass, field

from .._base._stats import CacheStats

__all__ = ["PoolStats", "QueryStats", "SlowQuery"]


@dataclass(frozen=True, slots=True)
class PoolStats:
    """Figures of one pool since it was made."""

    size: int
    """Connections that the pool may open: one writer, the others readers."""
    open: int
    """Connections that are open."""
    idle: int
    """Connections that nobody has."""
    in_use: int
    """Connections that run a statement or are leased."""
    waiting: int
    """Requests that wait for a connection."""
    reads: int
    """Statements that only read, results from the cache not counted."""
    writes: int
    """Statements that wrote."""
    errors: int
    """Statements that failed."""
    timeouts: int
    """Requests whose time ran out, waiting or running."""
    inline_runs: int
    """Statements that ran on their caller's thread within the inline budget."""
    inline_overruns: int
    """Statements that were stopped at the end of the inline budget and ran again on a worker."""
    worker_runs: int
    """Jobs that ran on the pool's own threads."""
    reconnects: int
    """Broken connections that were replaced."""
    quarantined: int
    """Of those, the ones that had met a corrupt database."""
    database_seconds: float
    """Time spent in SQLite, all threads together."""
    writer_wait_seconds: float
    """Time that requests waited for the writer, or for the commit that they shared, all together."""
    reader_wait_seconds: float
    """The same of the readers."""
    cache: CacheStats = field(default_factory=CacheStats)
    """The result cache; ``weight`` and ``maxsize`` are bytes. Its ``currsize`` and ``weight`` are of what is
    held: whether a result still holds shows when it is asked for. An invalidation is a result that a commit
    has voided; times of loads and the kinds of misses are not counted, and 0."""
    cache_bytes: int = 0
    """Memory held by cached results, about, bytes."""
    wal_bytes: int = 0
    """Size of the write-ahead log when it was last checkpointed, bytes."""
    starved_checkpoints: int = 0
    """Checkpoints after which over 4096 pages (16 MiB mostly) of the log still waited for an old reader to
    end; until it does, the log grows."""
    shared_commits: int = 0
    """Transactions that committed the writes of several callers together."""
    replaced: int = 0
    """Connections that a borrower had changed (a PRAGMA, a temporary table), and that were opened anew."""


@dataclass(frozen=True, slots=True)
class QueryStats:
    """Figures of all statements with one fingerprint. Times are seconds; waiting, stepping and conversion
    are apart, and min, mean, stddev and the percentiles are of the stepping."""

    fingerprint: str
    """The statement without its values."""
    hash: str
    """16 hexadecimal digits of the fingerprint."""
    calls: int
    """Executions, results from the cache not counted."""
    errors: int
    """Executions that failed."""
    total_seconds: float
    """Waiting, stepping and conversion together."""
    min_seconds: float
    mean_seconds: float
    stddev_seconds: float
    p95_seconds: float
    p99_seconds: float
    max_seconds: float
    queue_seconds: float
    """Waiting for a connection, in total."""
    step_seconds: float
    """Running in SQLite, in total."""
    convert_seconds: float
    """Making Python objects of the rows, in total."""
    rows: int
    """Rows returned."""
    rows_scanned: int
    """Rows visited by full table scans."""
    full_scans: int
    """Executions that made a full table scan."""
    sorts: int
    """Sorts that no index spared."""
    auto_indexes: int
    """Rows put into indexes that SQLite built for one execution."""
    cache_hits: int
    """Results served from the cache."""
    cache_misses: int
    """Lookups in the cache that found nothing to serve."""
    first_seen: float
    """Seconds since 1970."""
    last_seen: float
    """Seconds since 1970."""
    sample: str
    """A statement of this shape, its values replaced by ``?``."""


@dataclass(frozen=True, slots=True)
class SlowQuery:
    """One execution that took longer than the pool's ``slow_query_threshold``."""

    fingerprint: str
    hash: str
    sample: str
    """The statement, its values replaced by ``?``."""
    at: float
    """When it ended, seconds since 1970."""
    queue_seconds: float
    step_seconds: float
    rows: int
    rows_scanned: int
    sorts: int
    auto_indexes: int
