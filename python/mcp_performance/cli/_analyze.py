"""``mcp-performance analyze``: findings on statements, and advice on a workload."""

from __future__ import annotations

import argparse
import json
import os
import re
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._base._checks import MAX_DURATION, integer, number
from ..errors import ConfigurationError, DatabaseCorrupt, QueryError
from ..query import Advice, QueryAnalyzer, QueryReport, read_workload
from ._findings import as_html, as_json, as_markdown, as_sarif, as_text

__all__ = ["Analyzed", "add_analyze"]

_LEVELS = ("info", "warning", "high", "never")
_FORMATS = ("text", "json", "html", "markdown", "sarif")
_FINE, _FINDINGS = 0, 1
_MOST_LOGGED = 50
_COMMENTS = re.compile(r"(?:[\s;]+|--[^\n]*|/\*.*?(?:\*/|\Z))*", re.DOTALL)
_WORD = re.compile(r"\w+|.")


@dataclass(frozen=True)
class Analyzed:
    """One statement, where it came from, and what was found."""

    sql: str
    report: QueryReport
    source: str | None = None
    """The file, where it came from one."""
    line: int = 1
    column: int = 1


def add_analyze(commands: Any) -> None:
    """Add the command to the subparsers *commands*."""
    analyze = commands.add_parser(
        "analyze",
        help="say why queries are slow, and which index would help",
        description="Exit code 0: nothing at the level of --fail-on or above; 1: findings; 2: not analyzed.",
    )
    analyze.add_argument("database", type=Path, metavar="DATABASE")
    analyze.add_argument("sql", nargs="*", metavar="SQL", help="a statement, or a file of statements")
    analyze.add_argument("--workload", type=Path, metavar="FILE", help="a log of statements to advise on")
    analyze.add_argument("--advise", action="store_true", help="try indexes for these statements on a copy")
    analyze.add_argument("--budget", type=float, default=30.0, metavar="SECONDS", help="for trying indexes")
    analyze.add_argument("--max-indexes", type=int, default=16, metavar="N")
    analyze.add_argument("--format", choices=_FORMATS, default=None, help="text by default")
    analyze.add_argument("--json", action="store_true", help="the same as --format json")
    analyze.add_argument(
        "--fail-on",
        choices=_LEVELS,
        default="never",
        help="the lowest severity that makes the exit code 1; never by default",
    )
    analyze.set_defaults(run=_analyze)


def _without_comments(sql: str) -> str:
    """*sql* from its first word on."""
    return _COMMENTS.sub("", sql, count=1)


def _statements_of(path: Path) -> Iterator[tuple[str, int, int]]:
    """The statements of a file, each up to its semicolon, with the line and column where it begins."""
    try:
        text = path.read_bytes().decode("utf-8-sig")  # what other systems put in front is no statement
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigurationError(f"{str(path)!r}: {reason}") from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ConfigurationError(f"{str(path)!r}: there is a NUL in line {line}: expected text")
    start = end = 0
    while start < len(text):
        end = text.find(";", end) + 1
        if end and not sqlite3.complete_statement(text[start:end]):
            continue  # a semicolon in a string, a comment or a trigger
        piece = text[start : end or len(text)]
        bare = _without_comments(piece)
        if bare.strip("; \t\r\n"):
            first = start + len(piece) - len(bare)
            line = text.count("\n", 0, first) + 1
            yield bare.strip(), line, first - text.rfind("\n", 0, first)
        start = end = end or len(text)


def _is_file(word: str) -> bool:
    """Whether *word* can only be a file: it is there, or is named like one."""
    if len(word) > 4096 or "\0" in word or "\n" in word:
        return False
    if Path(word).suffix.lower() == ".sql" and " " not in word.strip():
        return True
    return os.path.exists(word)


def _given(words: Sequence[str]) -> Iterator[tuple[str, str | None, int, int]]:
    for word in words:
        if not _is_file(word):
            yield word, None, 1, 1
            continue
        found = list(_statements_of(Path(word)))
        if not found:
            raise ConfigurationError(f"{word!r}: there is no statement in it")
        yield from ((sql, word, line, column) for sql, line, column in found)


def _check_database(database: Path) -> None:
    name = repr(str(database))
    if not os.path.exists(database):
        raise ConfigurationError(f"database={name}: expected a SQLite file: there is no such file")
    if not os.path.isfile(database):
        raise ConfigurationError(f"database={name}: expected a SQLite file: it is none")
    if not os.access(database, os.R_OK):
        raise ConfigurationError(f"database={name}: permission denied")


def _reports(analyzer: QueryAnalyzer, options: argparse.Namespace) -> list[Analyzed]:
    analyzed = []
    for sql, source, line, column in _given(options.sql):
        place = f"{source}:{line}: " if source else ""
        _check_kind(place, sql)
        try:
            report = analyzer.analyze(sql)
        except DatabaseCorrupt as error:
            raise DatabaseCorrupt(f"database={str(options.database)!r}: {error}") from error
        except QueryError as error:
            raise QueryError(f"{place}{error} (database={str(options.database)!r})") from error
        analyzed.append(Analyzed(sql, report, source, line, column))
    return analyzed


def _logged(analyzer: QueryAnalyzer, log: Path) -> list[Analyzed]:
    """The heaviest statements of a log, each form once; what SQLite refuses is left to the advice's notes."""
    found: dict[str, Analyzed] = {}
    for sql, _, params in sorted(read_workload(log), key=lambda entry: -entry[1]):
        if len(found) == _MOST_LOGGED:
            break
        try:
            report = analyzer.analyze(sql, params)
        except (QueryError, TypeError, OverflowError, UnicodeEncodeError):
            continue
        if report.plan:
            found.setdefault(report.fingerprint, Analyzed(sql, report))
    return list(found.values())


def _check_kind(place: str, sql: str) -> None:
    """Refuse what is analyzed by nobody: DDL, PRAGMA, transactions."""
    first = _WORD.match(_without_comments(sql))
    word = first[0] if first else ""
    if word.upper() not in {"SELECT", "WITH", "INSERT", "REPLACE", "UPDATE", "DELETE", "VALUES"}:
        raise ConfigurationError(
            f"{place}sql={word!r}: expected a SELECT, INSERT, UPDATE or DELETE statement"
        )


def _advice(analyzer: QueryAnalyzer, options: argparse.Namespace) -> Advice | None:
    if options.workload is not None:
        entries = read_workload(options.workload)
        if not entries:
            raise ConfigurationError(f"workload={str(options.workload)!r}: there is no statement in it")
        advice = analyzer.advise(options.workload, budget=options.budget, max_indexes=options.max_indexes)
        if not advice and not advice.statements and len(advice.notes) >= len(entries):
            raise QueryError(f"workload={str(options.workload)!r}: {advice.notes[0]}")
        return advice
    if options.advise:
        statements = [sql for sql, *_ in _given(options.sql)]
        return analyzer.advise(statements, budget=options.budget, max_indexes=options.max_indexes)
    return None


def _fails(level: str, analyzed: Sequence[Analyzed], advice: Advice | None) -> bool:
    if level == "never":
        return False
    least = _LEVELS.index(level)
    if advice:  # an index that is worth having is as grave as can be
        return True
    return any(_LEVELS.index(issue.severity) >= least for one in analyzed for issue in one.report.issues)


def _analyze(options: argparse.Namespace) -> int:
    number("--budget", options.budget, 0, MAX_DURATION, unit="seconds")
    integer("--max-indexes", options.max_indexes, 1, 64)
    _check_database(options.database)
    if not options.sql and options.workload is None:
        raise ConfigurationError("sql=[]: expected a statement, a file of statements, or --workload FILE")
    analyzer = QueryAnalyzer(options.database)
    analyzed = _reports(analyzer, options)
    advice = _advice(analyzer, options)
    if options.workload is not None:
        analyzed += _logged(analyzer, options.workload)
    form = options.format or ("json" if options.json else "text")
    if form == "text":
        print(as_text(analyzed, advice, colour=sys.stdout.isatty() and "NO_COLOR" not in os.environ))
    elif form == "json":
        print(json.dumps(as_json(analyzed, advice), indent=2))
    elif form == "sarif":
        print(json.dumps(as_sarif(analyzed, advice), indent=2))
    elif form == "markdown":
        print(as_markdown(analyzed, advice))
    else:
        print(as_html(analyzed, advice))
    return _FINDINGS if _fails(options.fail_on, analyzed, advice) else _FINE
