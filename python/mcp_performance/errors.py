"""Every exception that this package raises on purpose.

::

    Error
    ├── ConfigurationError (ValueError)
    ├── CacheError
    │   ├── SerializationError
    │   ├── BackendUnavailable
    │   ├── LoadTimeout (TimeoutError)
    │   └── ProtocolError
    ├── DatabaseError (sqlite3.DatabaseError)
    │   ├── QueryError (sqlite3.OperationalError)
    │   │   ├── ProgrammingError (sqlite3.ProgrammingError)
    │   │   ├── DataError (sqlite3.DataError)
    │   │   ├── TextError (UnicodeDecodeError)
    │   │   └── ConversionError (ValueError)
    │   ├── IntegrityError (sqlite3.IntegrityError)
    │   ├── PoolTimeout (sqlite3.OperationalError, TimeoutError)
    │   ├── PoolClosed (sqlite3.ProgrammingError)
    │   └── DatabaseCorrupt
    ├── BatchError
    ├── LoadTestError
    │   └── TargetRefused
    ├── HttpError (ConnectionError)
    │   └── HttpTimeout (TimeoutError)
    └── IdempotencyError
        ├── KeyReused
        └── InProgress
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

__all__ = [
    "BackendUnavailable",
    "BatchError",
    "CacheError",
    "ConfigurationError",
    "ConversionError",
    "DataError",
    "DatabaseCorrupt",
    "DatabaseError",
    "Error",
    "HttpError",
    "HttpTimeout",
    "IdempotencyError",
    "InProgress",
    "IntegrityError",
    "KeyReused",
    "LoadTestError",
    "LoadTimeout",
    "PoolClosed",
    "PoolTimeout",
    "ProgrammingError",
    "ProtocolError",
    "QueryError",
    "SerializationError",
    "TargetRefused",
    "TextError",
]


# Of the codes from 1.
_PRIMARY_NAMES = ["ERROR", "INTERNAL", "PERM", "ABORT", "BUSY", "LOCKED", "NOMEM", "READONLY", "INTERRUPT"]
_PRIMARY_NAMES += [
    "IOERR",
    "CORRUPT",
    "NOTFOUND",
    "FULL",
    "CANTOPEN",
    "PROTOCOL",
    "EMPTY",
    "SCHEMA",
    "TOOBIG",
]
_PRIMARY_NAMES += ["CONSTRAINT", "MISMATCH", "MISUSE", "NOLFS", "AUTH", "FORMAT", "RANGE", "NOTADB", "NOTICE"]
_PRIMARY_NAMES += ["WARNING"]


def _name_of_code(code: int) -> str:
    """An extended code that this Python has no name for has that of its primary code."""
    index = (code & 0xFF) - 1
    if index >= len(_PRIMARY_NAMES):
        return "unknown"
    primary = f"SQLITE_{_PRIMARY_NAMES[index]}"
    extended = (name for name in vars(sqlite3) if name.startswith(f"{primary}_"))
    return next((name for name in extended if getattr(sqlite3, name) == code), primary)


class Error(Exception):
    """The root: ``except mcp_performance.Error`` catches whatever this package raises on purpose."""


class ConfigurationError(Error, ValueError):
    """A bad argument or setting. The message names it and its value."""


class CacheError(Error):
    """A cache or its backend failed."""


class SerializationError(CacheError):
    """A value cannot be carried by the tier's codec; nothing was sent."""


class BackendUnavailable(CacheError):
    """The shared tier cannot be reached, or did not answer in time."""


class LoadTimeout(CacheError, TimeoutError):
    """The load of a key, which another caller began, did not end within *wait_timeout*."""


class ProtocolError(CacheError):
    """A peer answered something that is not its protocol."""


class DatabaseError(Error, sqlite3.DatabaseError):
    """SQLite, or the pool around it, failed."""

    code: int = 0
    """SQLite's extended result code; 0 where the failure is the pool's own."""

    if not TYPE_CHECKING:  # sqlite3's classes declare both

        def __getattr__(self, name: str) -> object:
            """``sqlite_errorcode`` and ``sqlite_errorname``, as with sqlite3: where SQLite itself failed."""
            if name not in ("sqlite_errorcode", "sqlite_errorname") or self.code == 0:
                raise AttributeError(f"{type(self).__name__!r} has no {name!r}", name=name, obj=self)
            return self.code if name == "sqlite_errorcode" else _name_of_code(self.code)


class QueryError(DatabaseError, sqlite3.OperationalError):
    """SQLite refused a statement."""


class ProgrammingError(QueryError, sqlite3.ProgrammingError):
    """A statement or its parameters are not what the method takes: two statements, a parameter too few."""


class DataError(QueryError, sqlite3.DataError):
    """A value, a row or a statement is longer than SQLite's limit."""


class TextError(QueryError, UnicodeDecodeError):
    """A text of the database is not UTF-8. ``CAST(column AS BLOB)`` reads its bytes."""

    column: str = ""
    """The name of the column in the result."""

    def __str__(self) -> str:
        return f"column {self.column!r} is not UTF-8: {UnicodeDecodeError.__str__(self)}"


class ConversionError(QueryError, ValueError):
    """A value of the database is not of the type that its column declares, and that an adapter makes of it.

    ``CAST(column AS TEXT)`` shows what is there. The adapter's own error is the cause.
    """

    column: str = ""
    """The name of the column in the result."""

    def __str__(self) -> str:
        return f"column {self.column!r}: {super().__str__()}"


class IntegrityError(DatabaseError, sqlite3.IntegrityError):
    """A constraint failed."""


class PoolTimeout(DatabaseError, sqlite3.OperationalError, TimeoutError):
    """No connection came free, or a statement did not finish, within its time."""


class PoolClosed(DatabaseError, sqlite3.ProgrammingError):
    """The pool was closed."""


class DatabaseCorrupt(DatabaseError):
    """The file is not a sound SQLite database; its connections are quarantined."""


class BatchError(Error):
    """A batch could not be run, or a batch function broke its contract."""


class LoadTestError(Error):
    """A load test could not be run."""


class TargetRefused(LoadTestError):
    """The target lies outside the hosts that were allowed."""


class HttpError(Error, ConnectionError):
    """An HTTP request got no response: no connection, one that broke, or no HTTP."""


class HttpTimeout(HttpError, TimeoutError):
    """The response did not come in time."""


class IdempotencyError(Error):
    """An idempotency key cannot be honoured."""


class KeyReused(IdempotencyError):
    """The key was used before with another payload."""


class InProgress(IdempotencyError):
    """The first request with this key has not finished."""
