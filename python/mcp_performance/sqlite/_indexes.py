"""What :meth:`SQLitePool.ensure_indexes` checks and reports."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigurationError, QueryError

__all__ = ["LIST_INDEXES", "IndexReport", "check_index_statement", "report_created", "report_existing"]

LIST_INDEXES = "SELECT name, tbl_name, sql FROM sqlite_schema WHERE type = 'index'"

_CREATE = re.compile(r"\s*CREATE\s+(UNIQUE\s+)?INDEX\s", re.IGNORECASE)
_THERE = re.compile(r"index (?P<name>.+) already exists", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class IndexReport:
    """What became of one ``CREATE INDEX`` statement."""

    name: str
    """The index."""
    table: str
    """The table that it belongs to."""
    created: bool
    """False when an index of this name was there already."""
    sql: str
    """The statement that the index in the database was made with."""


def check_index_statement(statement: str) -> None:
    """Raise ConfigurationError unless *statement* creates an index."""
    if not isinstance(statement, str) or _CREATE.match(statement) is None:
        raise ConfigurationError(f"statements: {statement!r} is not a CREATE INDEX statement")


def report_created(statement: str, before: Sequence[Any], after: Sequence[Any]) -> IndexReport:
    """The report of a statement that ran."""
    known = {row[0] for row in before}
    for name, table, sql in after:
        if name not in known:
            return IndexReport(name, table, True, sql)
    wanted = statement.lower()  # IF NOT EXISTS found it there
    there = [row for row in before if row[2] is not None and row[0].lower() in wanted]
    name, table, sql = max(there, key=lambda row: len(row[0]))
    return IndexReport(name, table, False, sql)


def report_existing(statement: str, before: Sequence[Any], error: QueryError) -> IndexReport:
    """The report of an index that is there; any other error goes on."""
    match = _THERE.search(str(error))
    for name, table, sql in before:
        if match is not None and name.lower() == match["name"].lower():
            return IndexReport(name, table, False, sql if sql is not None else statement)
    raise error
