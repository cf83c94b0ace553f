"""The analyzer of one database: reports on statements, advice, and what was run."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .. import _core, config
from .._base._checks import file_name, flag, function, integer, number
from ..errors import ConfigurationError, QueryError
from ..sqlite import QueryStats, SQLitePool
from ..sqlite._library import check_not_open
from ._report import (
    Advice,
    QueryReport,
    WorkloadStatistics,
    advice_from,
    report_from,
)
from ._workload import Entry, Workload, entries_of

__all__ = ["QueryAnalyzer"]

_MOST_INDEXES = 64
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
            raise TypeError(f"pool_or_path={pool_or_path!r}: expected a SQLitePool or a file's name")
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
        return report_from(json.loads(found), sql)

    def advise(
        self,
        workload: Workload | None = None,
        *,
        budget: float = 30.0,
        max_indexes: int = 16,
        max_bytes: int | None = None,
        apply: bool = False,
        progress: Callable[[str, float], object] | None = None,
    ) -> Advice:
        """Find the indexes that the workload lacks, and try them on a copy of the data in memory.

        Candidates come from what the planner asks for: columns compared for equality, then a range or the
        order, then what makes the index cover the query; expressions that are compared; what triggers and
        foreign keys look up. They are made on a copy of the database (a sample of one that is larger than
        256 MiB), and sets of them are tried: each statement is planned with the set and run when its plan is
        new. An index is kept if it is used and what uses it got cheaper. Indexes that pay only together
        (arms of an OR, both sides of a join) are tried together. What counts is the work that SQLite does,
        not the clock: the same workload has the same advice.

        The answer also names indexes of the database that can go, and ``ANALYZE`` where that is what helps.

        Args:
            workload: statements, ``(statement, weight)`` pairs, ``(statement, weight, params)`` triples, or
                the path of a log (:func:`read_workload`). ``None``: what the pool saw, weighted by calls, or
                what was recorded. Where no parameters are given, values are taken from the tables.
            budget: seconds of processor time for copying, choosing and measuring: a busy machine does not
                change the advice. Copying may wait for locks, and takes at most four times that on the clock.
                ``notes`` say when the budget was spent before all was tried. 0: the planner's word alone,
                with ``verified`` false.
            max_indexes: how many may be advised.
            max_bytes: what they may take together; by default 0.6 times the database.
            apply: create the indexes that were verified, and run ``ANALYZE`` if it is advised, in one
                transaction. Without it nothing is ever written. No index is ever dropped.
            progress: called with what is being done and how far that is, from 0 to 1.

        Raises:
            ConfigurationError: a weight, the budget or a bound is wrong, or a log cannot be read.
            QueryError: the database cannot be read. Statements that SQLite refuses are left out instead, and
                named in ``notes``.
        """
        _seconds("budget", budget)
        integer("max_indexes", max_indexes, 1, _MOST_INDEXES)
        most_bytes = 0 if max_bytes is None else integer("max_bytes", max_bytes, 1)
        flag("apply", apply)
        if progress is not None:
            function("progress", progress)
        entries = self._seen() if workload is None else entries_of(workload)
        if not entries:
            return Advice()
        found = _core.advise(
            self._readable_path(), entries, self._pool, float(budget), max_indexes, most_bytes, progress
        )
        advice = advice_from(json.loads(found))
        if apply:
            advice.applied = self._create(advice)
        return advice

    def _create(self, advice: Advice) -> tuple[str, ...]:
        statements = [index.ddl for index in advice if index.verified]
        if advice.statistics is not None:
            statements.append(advice.statistics.ddl)
        if not statements:
            return ()
        path = self._readable_path()
        try:
            if self._pool is not None:  # its writer: the file is for one copy of SQLite
                with self._pool.blocking.transaction() as lent:
                    for statement in statements:
                        lent.execute(statement)
                return tuple(statements)
            connection = sqlite3.connect(path, uri=path.startswith("file:"), isolation_level=None)
            try:
                connection.execute("BEGIN IMMEDIATE")
                for statement in statements:
                    connection.execute(statement)
                connection.execute("COMMIT")
            finally:
                connection.close()
        except (sqlite3.Error, QueryError) as error:
            raise QueryError(f"{path}: nothing was created: {error}") from error
        return tuple(statements)

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

    def _seen(self) -> list[Entry]:
        return [(seen.sample, float(seen.calls), None) for seen in self.queries() if seen.calls > 0]

    def _readable_path(self) -> str:
        if self._path == ":memory:":
            raise ConfigurationError(
                "pool_or_path=a pool in memory: expected a database that another connection can open"
            )
        check_not_open(self._path)
        return self._path


def _seconds(name: str, value: float) -> float:
    return number(name, value, 0, _LONGEST_SECONDS, unit="seconds")
