"""Workloads: lists, and the log files that programs and SQLite's own tools write."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from .. import _core
from .._base._checks import file_name, several
from ..errors import ConfigurationError, QueryError

__all__ = ["Workload", "entries_of", "read_workload"]

Parameters: TypeAlias = Sequence[Any] | Mapping[str, Any]
Statement: TypeAlias = str | tuple[str, float] | tuple[str, float, Parameters | None] | Mapping[str, Any]
Workload: TypeAlias = Sequence[Statement] | os.PathLike[str]
"""Statements, or the file of a log. A statement is a text, a text with a weight (how often it runs), those
with its parameters, or a mapping with the keys that :func:`read_workload` knows."""
Entry: TypeAlias = tuple[str, float, Parameters | None]

_TEXT = ("sql", "statement", "query")
_PARAMETERS = ("params", "parameters", "args")
_WEIGHT = ("calls", "count", "weight")
_MOST_CALLS = 1e300


def read_workload(path: str | os.PathLike[str]) -> list[Entry]:
    """Read a log of statements: ``(statement, weight, parameters or None)``, equal ones counted together.

    A line that begins with ``{`` is JSON: ``sql`` (or ``statement``, ``query``) is the statement, ``params``
    (or ``parameters``, ``args``) an array or an object of its values, ``calls`` (or ``count``, ``weight``)
    how often it ran. All else is SQL: one statement a line; or, where a line ends with a semicolon,
    statements that end there, on as many lines as they take: what the ``sqlite3`` shell's ``.trace`` and
    ``sqlite3.Connection``'s trace callback print. Empty lines and comments are skipped.

    Raises:
        ConfigurationError: the file cannot be read, is not UTF-8, or a line is no JSON object with a
        statement;
            the message names the path and the line.
    """
    name = file_name("path", path)
    try:
        text = Path(name).read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigurationError(f"workload={name!r}: {reason or error}") from None
    counted: dict[tuple[str, str], Entry] = {}
    for sql, weight, params in _statements(name, text):
        key = (sql, repr(params))
        known = counted.get(key)
        counted[key] = (sql, weight + (known[1] if known else 0.0), params)
    return list(counted.values())


def _statements(name: str, text: str) -> Iterator[Entry]:
    lines = [line.strip() for line in text.split("\n")]
    ends = any(line.endswith(";") for line in lines if not line.startswith(("{", "--")))
    open_lines: list[str] = []
    for number, line in enumerate(lines, 1):
        if not open_lines and (not line or line.startswith(("--", "#"))):
            continue
        if not open_lines and line.startswith(("{", "[")):  # no statement begins so
            yield _from_json(f"{name}:{number}", line)
            continue
        open_lines.append(line)
        statement = "\n".join(open_lines)
        if not ends or (line.endswith(";") and _is_complete(statement)):
            open_lines.clear()
            yield statement.rstrip("; "), 1.0, None
    if open_lines:
        yield "\n".join(open_lines), 1.0, None


def _is_complete(statement: str) -> bool:
    return "\0" in statement or sqlite3.complete_statement(statement)  # which refuses a NUL


def _from_json(place: str, line: str) -> Entry:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"workload={place}: {error}") from None
    if not isinstance(found, dict):
        raise ConfigurationError(f"workload={place}: expected an object with the statement as 'sql'")
    return _from_mapping(f"workload={place}", found)


def _from_mapping(place: str, found: Mapping[str, Any]) -> Entry:
    sql = _first(found, _TEXT)
    if not isinstance(sql, str):
        raise ConfigurationError(f"{place}: expected an object with the statement as 'sql'")
    params = _first(found, _PARAMETERS)
    if params is not None and (
        isinstance(params, (str, bytes)) or not isinstance(params, (Sequence, Mapping))
    ):
        raise ConfigurationError(f"{place}: 'params' is {params!r}: expected an array or an object")
    weight = _first(found, _WEIGHT)
    return sql, _weight(place, 1 if weight is None else weight), params


def _first(found: Mapping[str, Any], names: Iterable[str]) -> Any:
    return next((found[name] for name in names if found.get(name) is not None), None)


def _weight(place: str, weight: Any) -> float:
    # A whole number that no float can hold is no count of calls either.
    fits = isinstance(weight, (int, float)) and not isinstance(weight, bool) and 0 < weight < _MOST_CALLS
    if not fits:
        raise ConfigurationError(f"{place}: weight={weight!r}: expected a positive number")
    return float(weight)


def entries_of(workload: Workload) -> list[Entry]:
    """*workload* as the core takes it.

    Raises:
        ConfigurationError: an item that is none of the forms, or what :func:`read_workload` refuses.
    """
    if isinstance(workload, os.PathLike):
        readable = [entry for entry in read_workload(workload) if _can_be_read(entry[0])]
        return [entry if _fits(entry) else (entry[0], entry[1], None) for entry in readable]
    if isinstance(workload, (str, bytes, Mapping)):
        raise ConfigurationError(
            f"workload={workload!r}: expected a list of statements, or the Path of a log"
        )
    return [_entry(item) for item in several("workload", workload, "statements, or the Path of a log")]


def _can_be_read(sql: str) -> bool:
    try:
        return bool(_core.checked_sql(sql))
    except (QueryError, UnicodeEncodeError):
        return False


def _fits(entry: Entry) -> bool:
    """Whether the parameters are the statement's: of those that are not, values are taken from the tables."""
    return entry[2] is None or _core.params_fit(entry[0], entry[2])


def _entry(item: object) -> Entry:
    place = f"workload item {item!r}"
    if isinstance(item, str):
        return _core.checked_sql(item), 1.0, None
    if isinstance(item, Mapping):
        sql, weight, params = _from_mapping(place, item)
        return _core.checked_sql(sql), weight, params
    if isinstance(item, (tuple, list)) and len(item) in (2, 3):
        sql, weight, *rest = item
        if isinstance(weight, (int, float)) and not isinstance(weight, bool):
            return _core.checked_sql(sql), _weight(place, weight), rest[0] if rest else None
    raise ConfigurationError(f"{place}: expected a statement, or a statement, its weight and its parameters")
