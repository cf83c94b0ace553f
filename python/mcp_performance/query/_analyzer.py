"""The analyzer of one database: reports on statements, advice, and what was run."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from .. import _core, config
from .._base._checks import file_name, integer, number
from ..errors import ConfigurationError
from ..sqlite import QueryStats, SQLitePool
from ._report import (
    IndexAdvice,
    QueryReport,
    WorkloadStatistics,
    advice_from,
    report_from,
)

__all__ = ["QueryAnalyzer"]

Workload: TypeAlias = Sequence[str | tuple[str, float]]
"""Statements, each with a weight (how often it runs) or the weight 1."""

_LONGEST_SECONDS = 1e9


class QueryAnalyzer:
    """Analyzes statements over one SQLite database, which is only ever read.

    Safe from any thread. Every call opens a connection of its own and closes it again; no call holds the
    interpreter lock while SQLite works.

    Args:
        pool_or_path: a :class:`SQLitePool`, or the path or ``file:`` URI of a database file. With a pool,
            what the pool has seen is the workload; with a file, what :meth:`record` was told.
        slow_query_threshold: statements that took longer at least once are slow, in seconds;
            ``config.SLOW_QUERY_THRESHOLD`` by default.

    Raises:
        ConfigurationError: neither a pool nor a file's name, or a bad threshold.
    """

    def __init__(
        self,
        pool_or_path: SQLitePool | str | os.PathLike[str],
        *,
        slow_query_threshold: float | None = None,
    ) -> None:
        self._pool: SQLitePool | None = None
        path: Any
        if isinstance(pool_or_path, (str, os.PathLike)):
            path = file_name("pool_or_path", pool_or_path)
        else:
            path = getattr(pool_or_path, "path", None)
            self._pool = pool_or_path
        if not isinstance(path, str) or not path:
            raise ConfigurationError(f"pool_or_path={pool_or_path!r}: expected a SQLitePool or a file's name")
        if path == ":memory:" and self._pool is None:
            raise ConfigurationError("pool_or_path=':memory:': expected a database that others can open")
        self._path = path
        threshold = config.SLOW_QUERY_THRESHOLD if slow_query_threshold is None else slow_query_threshold
        self._threshold = _seconds("slow_query_threshold", threshold)
        self._log = _core.StatementLog(self._threshold)

    def __repr__(self) -> str:
        return f"<QueryAnalyzer of {self._path!r}>"

    def analyze(self, sql: str, params: Sequence[Any] | Mapping[str, Any] | None = None) -> QueryReport:
        """Say what there is to say of one statement without running it.

        The plan is SQLite's own. Whether an index is missing is asked of the planner too, on an empty clone
        of the schema with its statistics.

        Args:
            sql: one SELECT, INSERT, UPDATE or DELETE. Of other statements only the fingerprint is reported.
            params: values of its parameters, if they are known: their types are checked against the columns.
                What :meth:`SQLitePool.fetch` takes, and the same errors.

        Raises:
            QueryError: SQLite refuses the statement, or the file cannot be opened.
            DatabaseCorrupt: the file is not a sound database.
        """
        found = _core.analyze(self._readable_path(), sql, params, self._pool)
        return report_from(json.loads(found))

    def advise(self, workload: Workload | None = None, *, budget: float = 10.0) -> list[IndexAdvice]:
        """Find the indexes that the workload lacks, and try them on a copy of the data in memory.

        Candidates are the columns compared for equality, then a range or the order, then what makes the index
        cover the query. They are made one at a time on a sample, the statements that would use them are run,
        and the best set is chosen greedily by weight. That set is made on a copy of the whole database (up to
        256 MiB, a sample of larger ones) and measured again; an index is kept if the planner uses it and the
        statements got cheaper. Where the statements hold ``?``, values are taken from the tables.

        Args:
            workload: statements, or ``(statement, weight)`` pairs. ``None``: what the pool saw, weighted by
                calls, or what was recorded.
            budget: seconds for copying and measuring; what does not fit is advised on the planner's word,
                with ``verified`` false.

        Raises:
            ConfigurationError: a weight or the budget is not a positive number.
            QueryError: the database cannot be read. Statements that SQLite refuses are left out instead.
        """
        _seconds("budget", budget)
        entries = self._seen() if workload is None else [_entry(item) for item in workload]
        if not entries:
            return []
        found = _core.advise(self._readable_path(), entries, float(budget), budget > 0)
        return [advice_from(index) for index in json.loads(found)]

    def record(self, sql: str, seconds: float, rows: int = 0) -> None:
        """Count one execution, where no pool does.

        The text is reduced to its fingerprint; values are not kept. At most 512 fingerprints are remembered,
        those that were seen last.

        Args:
            sql: the statement that ran.
            seconds: how long it took.
            rows: how many rows it returned.

        Raises:
            ConfigurationError: *seconds* or *rows* is negative, or the analyzer has a pool, which counts
                by itself.
        """
        if self._pool is not None:
            raise ConfigurationError(
                "record: expected an analyzer of a file; this one's pool counts by itself"
            )
        self._log.record(_core.checked_sql(sql), _seconds("seconds", seconds), integer("rows", rows))

    def queries(self) -> list[QueryStats]:
        """Figures by statement, most total time first: of the pool, or of what was recorded."""
        if self._pool is not None:
            return self._pool.query_stats()
        found = [QueryStats(**one) for one in self._log.totals()]
        return sorted(found, key=lambda one: one.total_seconds, reverse=True)

    def slow_queries(self, limit: int = 20) -> list[QueryStats]:
        """The statements that took longer than the threshold at least once, most total time first.

        Raises:
            ConfigurationError: *limit* is not a whole number of 1 or more.
        """
        integer("limit", limit, 1)
        slow = [query for query in self.queries() if query.max_seconds > self._threshold]
        return slow[:limit]

    def statistics(self) -> WorkloadStatistics:
        """All statements together. Percentiles are of single executions, to two digits (HDR histogram)."""
        if self._pool is not None:
            return WorkloadStatistics(**_core._sqlite_overall_totals(self._pool))
        return WorkloadStatistics(**self._log.overall())

    def _seen(self) -> list[tuple[str, float]]:
        return [(seen.sample, float(seen.calls)) for seen in self.queries() if seen.calls > 0]

    def _readable_path(self) -> str:
        if self._path == ":memory:":
            raise ConfigurationError(
                "pool_or_path=a pool in memory: expected a database that another connection can open"
            )
        return self._path


def _seconds(name: str, value: float) -> float:
    return number(name, value, 0, _LONGEST_SECONDS, unit="seconds")


def _entry(item: object) -> tuple[str, float]:
    if isinstance(item, str):
        return _core.checked_sql(item), 1.0
    if isinstance(item, (tuple, list)) and len(item) == 2:
        sql, weight = item
        if isinstance(weight, (int, float)) and not isinstance(weight, bool):
            return _core.checked_sql(sql), float(weight)
    raise ConfigurationError(f"workload item {item!r}: expected a statement, or a statement and its weight")
