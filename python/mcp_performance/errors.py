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
    │   │   └── TextError (UnicodeDecodeError)
    │   ├── IntegrityError (sqlite3.IntegrityError)
    │   ├── PoolTimeout (TimeoutError)
    │   ├── PoolClosed
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

__all__ = [
    "BackendUnavailable",
    "BatchError",
    "CacheError",
    "ConfigurationError",
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
    "ProtocolError",
    "QueryError",
    "SerializationError",
    "TargetRefused",
    "TextError",
]


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


class QueryError(DatabaseError, sqlite3.OperationalError):
    """SQLite refused a statement."""


class TextError(QueryError, UnicodeDecodeError):
    """A text of the database is not UTF-8. ``CAST(column AS BLOB)`` reads its bytes."""

    column: str = ""
    """The name of the column in the result."""

    def __str__(self) -> str:
        return f"column {self.column!r} is not UTF-8: {UnicodeDecodeError.__str__(self)}"


class IntegrityError(DatabaseError, sqlite3.IntegrityError):
    """A constraint failed."""


class PoolTimeout(DatabaseError, TimeoutError):
    """No connection came free, or a statement did not finish, within its time."""


class PoolClosed(DatabaseError):
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
